"""What ptflops did before its newest release: how a release takes inputs, what it charged and where it says so."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
from packaging.version import Version

from flopledger.counters.convention import Rule, Step, both, called_as, in_modules, rule
from flopledger.counters.tally import Unsupported
from flopledger.reference_model.ledger import Entry, Ledger

if TYPE_CHECKING:
    from torch import nn

# Where each release has what a rule cites: the lines from these releases on, 0 where it is gone. Up to 0.6.7 all
# is in one file. 0.7.2 has the files of 0.7.2.1, but cannot be installed.
LINES = {
    "conv_flops_counter_hook": "0.1:227 0.2:257 0.3:262 0.4:261 0.5.1:277 0.5.2:287 0.6:314 0.6.1:307 0.6.3:317 "
                               "0.6.4:290 0.6.5:296 0.6.8:53 0.7.1:56 0.7.2:58 0.7.5:60",
    "deconv_flops_counter_hook": "0.2:231 0.3:236 0.4:235 0.5.1:251 0.5.2:261 0.6:288 0.6.1:281 0.6.3:290 0.6.4:0",
    "linear_flops_counter_hook": "0.1:208 0.2:212 0.3:217 0.4:216 0.5.1:232 0.5.2:240 0.6:267 0.6.1:260 0.6.3:268 "
                                 "0.6.5:274 0.6.8:31 0.7.1:33 0.7.5:35",
    "bn_flops_counter_hook": "0.1:218 0.2:222 0.3:227 0.4:226 0.5.1:242 0.5.2:251 0.6:278 0.6.1:271 0.6.3:280 "
                             "0.6.4:281 0.6.5:287 0.6.8:44 0.7.1:47 0.7.2:49 0.7.5:51",
    "relu_flops_counter_hook": "0.1:203 0.2:207 0.3:212 0.4:211 0.5.1:227 0.5.2:235 0.6:262 0.6.1:255 0.6.3:263 "
                               "0.6.5:269 0.6.8:26 0.7.1:28 0.7.5:30",
    "pool_flops_counter_hook": "0.1:214 0.2:218 0.3:223 0.4:222 0.5.1:238 0.5.2:246 0.6:273 0.6.1:266 0.6.3:275 "
                               "0.6.4:276 0.6.5:282 0.6.8:39 0.7.1:42 0.7.2:44 0.7.5:46",
    "upsample_flops_counter_hook": "0.1:194 0.2:198 0.3:203 0.4:202 0.5.1:218 0.5.2:226 0.6:253 0.6.1:246 0.6.3:254 "
                                   "0.6.5:260 0.6.8:17 0.7.1:19 0.7.5:21",
    "rnn_flops_counter_hook": "0.6.1:374 0.6.3:386 0.6.4:359 0.6.5:365 0.6.8:109 0.7.1:122 0.7.2:124 0.7.5:130",
    "multihead_attention_counter_hook": "0.6.5:415 0.6.8:159 0.7.1:172 0.7.2:174 0.7.5:180",
    "is_supported_instance": "0.1:180 0.2:182 0.3:184 0.4:0",
    "MODULES_MAPPING": "0.4:332 0.5.1:348 0.5.2:358 0.6:390 0.6.1:453 0.6.3:467 0.6.4:440 0.6.5:483 0.6.7:512 "
                       "0.6.8:227 0.7.1:240 0.7.2:265 0.7.5:271",
    "FUNCTIONAL_MAPPING": "0.7.1:377 0.7.1.1:378 0.7.2:412 0.7.4:416 0.7.5:422",
    "TENSOR_OPS_MAPPING": "0.7.1:408 0.7.1.1:409 0.7.2:443 0.7.4:447 0.7.5:453",
    "_linear_functional_flops_hook": "0.7.1:302 0.7.1.1:0",
    "_numel_functional_flops_hook": "0.7.1:310 0.7.2:341 0.7.5:347",
    "_interpolate_functional_flops_hook": "0.7.1:314 0.7.2:345 0.7.5:351",
    "_matmul_tensor_flops_hook": "0.7.1:340 0.7.1.1:341 0.7.2:375 0.7.4:379 0.7.5:385",
    "_addmm_tensor_flops_hook": "0.7.1:345 0.7.1.1:346 0.7.2:380 0.7.4:384 0.7.5:390",
    "_elementwise_tensor_flops_hook": "0.7.1:352 0.7.1.1:353 0.7.2:387 0.7.4:391 0.7.5:397",
}  # fmt: skip
NO_HOOK = "MODULES_MAPPING is_supported_instance"
NOT_YET = "no hook for it yet"
LINEAR, ATTENTION = in_modules("Linear"), in_modules("MultiheadAttention")
BOTH_WAYS = in_modules("ReLU", "PReLU", "ELU", "GELU")  # modules whose function was patched as well
POOLS = in_modules(*(f"{kind}Pool{d}d" for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg") for d in (1, 2, 3)))


def takes_a_tensor(version: str | None) -> bool:
    """Whether an `input_constructor` may return a tensor; before, it returned a dict of arguments.

    The release says so nowhere but in the code of its function, so its number has to tell.
    """
    return version is None or Version(version) >= Version("0.7.1.2")


def asked(model: nn.Module, inputs: tuple[Any, ...], version: str | None) -> dict[str, Any]:
    """The arguments by which a release takes these inputs.

    A release that takes no tensor makes one of its own from a shape, a batch of one, and that is its usual
    way. Everything else goes in by name (0.7.1 and 0.7.1.1 fail there, of an error of their own).

    Raises:
        Unsupported: there is no name.
    """
    if takes_a_tensor(version):
        batch = inputs[0] if len(inputs) == 1 else named(model, inputs)
        return {"input_res": (1,), "input_constructor": lambda _: batch}
    assert version is not None
    if shape := _own_shape(model, inputs, version):
        return {"input_res": shape}
    by_name = named(model, inputs)
    any_shape = (1, 1) if Version(version) < Version("0.2") else (1, 1, 1)
    return {"input_res": any_shape, "input_constructor": lambda _: by_name}


def named(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """The inputs by the names that forward() has for them."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    if len(parameters) < len(inputs) or any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in
                                            parameters[: len(inputs)]):  # fmt: skip
        raise Unsupported("takes these inputs by name only, and this forward() does not name them")
    return {p.name: value for p, value in zip(parameters, inputs, strict=False)}


def _own_shape(model: nn.Module, inputs: tuple[Any, ...], version: str) -> tuple[int, ...] | None:
    """The shape from which a release makes a tensor like the one that goes in, None where it cannot."""
    import torch

    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        return None
    if any(tensor.dtype != torch.float32 for tensor in (*inputs, *model.parameters())):
        return None
    batch, *rest = inputs[0].shape or (0,)
    if batch != 1:
        return None
    if Version(version) < Version("0.2"):  # height and width, of three channels
        return tuple(rest[1:]) if len(rest) == 3 and rest[0] == 3 else None
    least = 3 if Version(version) < Version("0.3") else 2 if Version(version) < Version("0.6.1") else 1
    return tuple(rest) if len(rest) >= least else None


def sourced(version: str | None, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules with the lines that this release has for what they cite: the first that is there, if they cite several.

    A rule of which nothing is there is none of this release's: what no release patched yet, it cannot charge.
    """
    old = version is not None and Version(version) < Version("0.6.8")
    path = "ptflops/flops_counter.py" if old else "ptflops/pytorch_ops.py"
    found = []
    for each in rules:
        places = ((_line(symbol, version), symbol) for symbol in each.source.split())
        line, symbol = next((place for place in places if place[0]), (0, ""))
        if line:
            found.append(msgspec.structs.replace(each, source=f"{path}:{line} {symbol}"))
    return tuple(found)


def _line(symbol: str, version: str | None) -> int:
    line = 0
    for entry in LINES[symbol].split():
        since, _, number = entry.partition(":")
        if version is None or Version(since) <= Version(version):
            line = int(number)
    return line


def steps(n: int, samples: int, ledger: Ledger) -> tuple[Step, ...]:
    """What changed, oldest first. Before 0.7.1.2, `n` (what hooks are divided by) is always 1."""
    hook, sample = Fraction(1, n), Fraction(1, samples)
    return (
        # Only the dimensions of images were known.
        Step("0.2", (
            rule("conv batch_norm pool", "0", NOT_YET, NO_HOOK, _dimensions(3)),
            rule("conv_transpose", "0", NOT_YET, NO_HOOK, in_modules("ConvTranspose2d")),
        )),
        Step("0.3", (rule("conv batch_norm pool", "0", NOT_YET, NO_HOOK, _dimensions(1)),)),
        # Subclasses were known with their bases: torch.nn has these two.
        Step("0.4", (rule("upsample", f"{sample}·outputs", "one per element; it looks at the first sample only",
                          "upsample_flops_counter_hook", in_modules("UpsamplingNearest2d", "UpsamplingBilinear2d")),)),
        # A linear layer was taken to have two dimensions.
        Step("0.5.2", tuple(_second_dimensions(ledger))),
        # Biases of linear layers, transposed convolutions: not yet, or in another way.
        Step("0.6.4", (
            rule("linear", "macs", "products, the bias left out", "linear_flops_counter_hook", LINEAR),
            rule("conv_transpose", "macs + bias_adds", "taps of the kernel at every input, and the bias at height times"
                 " height of the output", "deconv_flops_counter_hook", in_modules("ConvTranspose2d")),
            rule("conv_transpose", "0", NOT_YET, NO_HOOK, in_modules("ConvTranspose1d", "ConvTranspose3d")),
        )),
        Step("0.6.6", (rule("instance_norm group_norm", "0", NOT_YET, NO_HOOK),)),
        # Attention was taken to have its batch in the second dimension, as it has without `batch_first`. With it,
        # n samples of length l were l samples of length n. The ledger does not tell; `batch_first` is more usual.
        Step("0.6.7", (
            rule("attention", f"{1 + 2 * samples}·inputs", "takes the samples for the sequence: both products, and one"
                 " per query element for scaling", "multihead_attention_counter_hook", ATTENTION),
            rule("softmax", f"{samples}·rows - {1 + 2 * samples}·inputs", "takes the samples for the sequence, so a row"
                 " has as many scores; what the products' inputs have of scores does not count",
                 "multihead_attention_counter_hook", ATTENTION),
        )),
        Step("0.6.8", (rule("activation", "0", NOT_YET, NO_HOOK, in_modules("GELU")),)),
        Step("0.7", (rule("layer_norm", "0", NOT_YET, NO_HOOK),)),
        # No function was patched, so nothing was counted twice.
        Step("0.7.1", (
            rule("activation", "outputs", "one per element", "relu_flops_counter_hook", BOTH_WAYS),
            rule("pool", "inputs", "one per element", "pool_flops_counter_hook", POOLS),
            rule("upsample", f"{sample}·outputs", "one per element; it looks at the first sample only",
                 "upsample_flops_counter_hook", in_modules("Upsample")),
            rule("attention", "macs + inputs", "both products, one per score for the softmax and one per query element"
                 " for scaling, which are the inputs of the products", "multihead_attention_counter_hook", ATTENTION),
        )),
        # F.linear was patched as well, in this one release.
        Step("0.7.1.1", (
            rule("linear", "2·macs + 2·biases", "once by the module's hook and once more by the patched function, both"
                 " with the bias once a call", "_linear_functional_flops_hook", LINEAR),
            rule("linear", "2·macs + bias_adds + biases", "once by the module's hook and once more by the patched"
                 " function, which adds the bias once a call", "_linear_functional_flops_hook", ATTENTION),
            rule("linear", "macs + biases", "a patched function, products and the bias once a call",
                 "_linear_functional_flops_hook", called_as("torch.nn.functional.linear")),
        )),
        Step("0.7.2", (rule("linear", f"{hook}·macs + {hook}·biases", "products, and the bias once a call" +
                            " (averaged over the batch)" * (n > 1), "linear_flops_counter_hook", LINEAR),)),
        Step("0.7.4", tuple(_resized(hook * sample, samples, ledger))),
        Step("0.7.5", (
            rule("conv_transpose", f"{hook}·macs_at_output + {hook}·bias_adds", "counted like a convolution, over the"
                 " output positions" + " (averaged over the batch)" * (n > 1), "conv_flops_counter_hook",
                 in_modules(*(f"ConvTranspose{d}d" for d in (1, 2, 3)))),
        )),
    )  # fmt: skip


def _dimensions(d: int) -> Callable[[Entry], bool]:
    kinds = ("Conv", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool")
    return in_modules(*(f"{kind}{d}d" for kind in kinds))


def _second_dimensions(ledger: Ledger) -> Iterator[Rule]:
    """Linear layers on samples of several rows, which were taken for the features in and out (if not rows of rows)."""
    several = {_rows(entry) for entry in ledger.entries if entry.op == "linear"} - {Fraction(1)}
    for rows in sorted(rows for rows in several if rows.denominator == 1):

        def condition(entry: Entry, rows: Fraction = rows) -> bool:
            return entry.module == "Linear" and _rows(entry) == rows

        condition.__doc__ = f"in Linear with {rows} rows a sample"
        yield rule("linear", f"{rows}·rows", f"takes the second dimension, of {rows}, for the features in and out",
                   "linear_flops_counter_hook", condition)  # fmt: skip


def _rows(entry: Entry) -> Fraction:
    """Rows of one sample, where all calls are of one batch size."""
    if not entry["sample_weights"]:
        return Fraction(1)
    return Fraction(entry["rows"] * entry["weights"], entry["calls"] * entry["sample_weights"])


def _resized(hooked: Fraction, samples: int, ledger: Ledger) -> Iterator[Rule]:
    """Resampling by a factor, which was raised to the number of samples, not of sides. A size looks like a factor."""
    factors = {_factor(entry) for entry in ledger.entries if entry.op == "upsample"}
    for factor in sorted(factor for factor in factors if factor):

        def condition(entry: Entry, factor: Fraction = factor) -> bool:
            return entry.op == "upsample" and _factor(entry) == factor

        condition.__doc__ = f"by a factor of {factor}"
        because = f"a patched function, the input times the factor, {factor}, to the power of the samples, {samples}"
        function, source = f"{factor**samples}·inputs", "_interpolate_functional_flops_hook"
        yield rule("upsample", f"{hooked}·outputs + {function}", f"the module's hook, and {because}", source,
                   both(in_modules("Upsample"), condition))  # fmt: skip
        yield rule("upsample", function, because, source, both(
            called_as("torch.nn.functional.interpolate", "torch.nn.functional.upsample"), condition))  # fmt: skip


def _factor(entry: Entry) -> Fraction | None:
    """The factor by which every side grew, None where no single one did it."""
    sides = re.search(r"(\d)d", entry.aten)
    if not sides or not entry["inputs"]:
        return None
    grown, d = Fraction(entry["outputs"], entry["inputs"]), int(sides[1])
    factor = Fraction(round(grown.numerator ** (1 / d)), round(grown.denominator ** (1 / d)))
    return factor if factor**d == grown else None
