"""What ptflops charges, by release and backend, and where each release says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import prod

import msgspec
from packaging.version import Version

from flopledger.counters.condition import Condition, as_aten, both, by_way_of, called_as, has, in_modules, lacks
from flopledger.counters.convention import Rule, Step, in_force, rule
from flopledger.counters.formula import Case, Formula, quantity

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


@quantity
def sole_batch(case: Case) -> int:
    """The batch where the model has a single input, by which hooks are averaged; else 1: by name it sees no batch."""
    return case.ledger.batch if len(case.ledger.input_shapes) == 1 else 1


@quantity
def first_sample(case: Case) -> int:
    """Elements of the first sample that comes out."""
    return prod(case.call.facts["out"][1:])


@quantity
def second_dimensions(case: Case) -> int:
    """Samples of a linear layer times the second dimensions of what goes in and what comes out."""
    into, out = case.call.facts["input"], case.call.facts["out"]
    return int(into[0] * into[1] * out[1])


@quantity
def resized(case: Case) -> Fraction:
    """Inputs of a resampling times its factor to the power of the samples; 0 where sides have factors of their own."""
    sides = re.search(r"(\d)d", case.entry.aten)
    inputs, outputs = case.call.quantities["inputs"], case.call.quantities["outputs"]
    if not sides or not inputs:
        return Fraction(0)
    grown, d = Fraction(outputs, inputs), int(sides[1])
    factor = Fraction(round(grown.numerator ** (1 / d)), round(grown.denominator ** (1 / d)))
    return inputs * factor ** case.call.facts["input"][0] if factor**d == grown else Fraction(0)


def of(version: str | None) -> tuple[Rule, ...]:
    """The rules of a release's pytorch backend, None for the newest. Those that take no tensor see no batch."""
    rules = sourced(version, in_force(version, STEPS, RULES))
    return rules if takes_a_tensor(version) else tuple(map(_undivided, rules))


def _undivided(each: Rule) -> Rule:
    terms = tuple(
        msgspec.structs.replace(term, under=tuple(name for name in term.under if name != "sole_batch"))
        for term in each.formula.terms
    )
    return msgspec.structs.replace(
        each, formula=Formula.parse(str(Formula(terms))), because=each.because.replace(_MEAN, "")
    )


def _dimensions(d: int) -> Condition:
    kinds = ("Conv", "BatchNorm", "MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool")
    return in_modules(*(f"{kind}{d}d" for kind in kinds))


_AFFINE_NORMS = in_modules(*(f"{norm}{d}d" for norm in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)), "GroupNorm")
_RESAMPLES = ("torch.nn.functional.interpolate", "torch.nn.functional.upsample")
_PATCHED = by_way_of(
    *(f"torch.nn.functional.{name}" for name in ("relu", "prelu", "elu", "relu6", "gelu", "silu", "softmax")),
    *(f"torch.nn.functional.{a}{kind}_pool{d}d" for a in ("", "adaptive_") for kind in ("avg", "max")
      for d in (1, 2, 3)),
)  # fmt: skip
_MEAN = " (averaged over the batch)"
_BOTH_WAYS = f"once by the module's hook{_MEAN} and once more by the patched function it calls"
_ELEMENTS, _FUNCTIONAL = "relu_flops_counter_hook", "_numel_functional_flops_hook"
_MHA = "multihead_attention_counter_hook"
OPS = "ptflops/aten_ops.py"


def _recurrent() -> Iterator[Rule]:
    because = "products, biases twice, and the gates' element-wise work" + _MEAN
    for kinds, with_biases, without in ((("RNN", "RNNCell"), 3, 1), (("GRU", "GRUCell"), 13, 7),
                                        (("LSTM", "LSTMCell"), 18, 10)):  # fmt: skip
        for states, condition in ((with_biases, has("biases")), (without, lacks("biases"))):
            yield rule("recurrent", f"macs / sole_batch + {states}·states / sole_batch", because,
                       "rnn_flops_counter_hook", both(in_modules(*kinds), condition))  # fmt: skip


RULES = (
    rule("conv conv_transpose", "macs / sole_batch + bias_adds / sole_batch",
         "taps of the kernel, groups respected, and the bias" + _MEAN,
         "conv_flops_counter_hook",
         in_modules(*(f"Conv{t}{d}d" for t in ("", "Transpose") for d in (1, 2, 3)))),
    rule("linear", "macs / sole_batch + bias_adds / sole_batch", "products and the bias" + _MEAN,
         "linear_flops_counter_hook", LINEAR),
    rule("batch_norm instance_norm group_norm", "2·inputs / sole_batch",
         "normalise and scale every element" + _MEAN,
         "bn_flops_counter_hook", both(_AFFINE_NORMS, has("weights"))),
    rule("batch_norm instance_norm group_norm", "inputs / sole_batch", "normalise every element" + _MEAN,
         "bn_flops_counter_hook", both(_AFFINE_NORMS, lacks("weights"))),
    rule("layer_norm", "inputs / sole_batch",
         "one per element: its test for weights reads `affine`, which LayerNorm calls otherwise" + _MEAN,
         "bn_flops_counter_hook", in_modules("LayerNorm")),
    rule("activation", "outputs / sole_batch", "one per element" + _MEAN, _ELEMENTS,
         in_modules("ReLU6", "LeakyReLU")),
    rule("activation", "outputs / sole_batch + outputs", _BOTH_WAYS, _ELEMENTS, BOTH_WAYS),
    rule("pool", "inputs / sole_batch + inputs", _BOTH_WAYS, "pool_flops_counter_hook", POOLS),
    rule("upsample", "first_sample / sole_batch + outputs",
         _BOTH_WAYS + " (its hook looks at the first sample only)",
         "upsample_flops_counter_hook", in_modules("Upsample")),
    *_recurrent(),
    rule("linear", "macs / sole_batch + bias_adds / sole_batch", "projections of attention" + _MEAN, _MHA, ATTENTION),
    rule("attention", "macs / sole_batch + scores / sole_batch + inputs / sole_batch",
         "both products, one per score for the softmax and one per query element for scaling" + _MEAN,
         _MHA, both(ATTENTION, has("scores"))),
    rule("attention", "macs / sole_batch + macs + inputs / sole_batch",
         _BOTH_WAYS + "; the hook adds one per score for the softmax and one per query element for scaling,"
         " which are the inputs of the two products", _MHA, ATTENTION),
    rule("softmax", "outputs", "a patched function, besides what the hook charges with the products",
         _FUNCTIONAL, ATTENTION),
    rule("mul", "0", "charged with the attention products, whose inputs it makes", _MHA, ATTENTION),
    rule("activation", "0", "the layer took hold of its activation before that was patched",
         "FUNCTIONAL_MAPPING", in_modules("TransformerEncoderLayer", "TransformerDecoderLayer")),
    rule("activation softmax pool upsample", "inputs", "a patched function, one per input element",
         _FUNCTIONAL, _PATCHED),
    rule("upsample", "outputs", "a patched function, one per output element",
         "_interpolate_functional_flops_hook",
         by_way_of("torch.nn.functional.interpolate", "torch.nn.functional.upsample")),
    rule("matmul attention", "macs", "a patched function, multiply-adds of the product",
         "_matmul_tensor_flops_hook",
         by_way_of(*(f"torch.{t}{f}" for t in ("", "Tensor.") for f in ("matmul", "mm", "bmm")))),
    rule("matmul attention", "macs + biases", "a patched function, the product and what is added to it",
         "_addmm_tensor_flops_hook",
         by_way_of("torch.addmm", "torch.Tensor.addmm", "torch.baddbmm")),
    rule("add mul", "outputs", "a patched function, one per element",
         "_elementwise_tensor_flops_hook",
         by_way_of("torch.add", "torch.Tensor.add", "torch.mul", "torch.Tensor.mul")),
    rule("activation", "0", "neither a hook nor a patched function for it", NO_HOOK),
    rule("add mul", "0", "an operator like x + y reaches no patched function", "TENSOR_OPS_MAPPING"),
    rule("*", "0", "neither a hook nor a patched function for it", f"FUNCTIONAL_MAPPING {NO_HOOK}"),
)  # fmt: skip
STEPS = (
    # Only the dimensions of images were known.
    Step("0.2", (
        rule("conv batch_norm pool", "0", NOT_YET, NO_HOOK, _dimensions(3)),
        rule("conv_transpose", "0", NOT_YET, NO_HOOK, in_modules("ConvTranspose2d")),
    )),
    Step("0.3", (rule("conv batch_norm pool", "0", NOT_YET, NO_HOOK, _dimensions(1)),)),
    # Subclasses were known with their bases: torch.nn has these two.
    Step("0.4", (rule("upsample", "first_sample", "one per element; it looks at the first sample only",
                      "upsample_flops_counter_hook", in_modules("UpsamplingNearest2d", "UpsamplingBilinear2d")),)),
    # A linear layer was taken to have two dimensions.
    Step("0.5.2", (
        rule("linear", "second_dimensions", "takes the second dimensions for the features in and out",
             "linear_flops_counter_hook", LINEAR),
    )),
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
        rule("attention", "inputs + 2·batch·inputs + batch·queries", "takes the samples for the sequence: both"
             " products, one per score for the softmax and one per query element for scaling",
             "multihead_attention_counter_hook", both(ATTENTION, has("scores"))),
        rule("attention", "inputs + 2·batch·inputs", "takes the samples for the sequence: both products, and one"
             " per query element for scaling", "multihead_attention_counter_hook", ATTENTION),
        rule("softmax", "batch·rows - inputs - 2·batch·inputs", "takes the samples for the sequence, so a row"
             " has as many scores; what the products' inputs have of scores does not count",
             "multihead_attention_counter_hook", ATTENTION),
    )),
    Step("0.6.8", (rule("activation", "0", NOT_YET, NO_HOOK, in_modules("GELU")),)),
    Step("0.7", (rule("layer_norm", "0", NOT_YET, NO_HOOK),)),
    # No function was patched, so nothing was counted twice.
    Step("0.7.1", (
        rule("activation", "outputs", "one per element", "relu_flops_counter_hook", BOTH_WAYS),
        rule("pool", "inputs", "one per element", "pool_flops_counter_hook", POOLS),
        rule("upsample", "first_sample", "one per element; it looks at the first sample only",
             "upsample_flops_counter_hook", in_modules("Upsample")),
        rule("attention", "macs + scores + inputs", "both products, one per score for the softmax and one per"
             " query element for scaling", "multihead_attention_counter_hook", both(ATTENTION, has("scores"))),
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
    Step("0.7.2", (rule("linear", "macs / sole_batch + biases / sole_batch", "products, and the bias once a call" +
                        _MEAN, "linear_flops_counter_hook", LINEAR),)),
    Step("0.7.4", (
        rule("upsample", "first_sample / sole_batch + resized",
             "the module's hook, and a patched function: the input times the factor to the power of the samples",
             "_interpolate_functional_flops_hook", both(in_modules("Upsample"), has("resized"))),
        rule("upsample", "resized", "a patched function: the input times the factor to the power of the samples",
             "_interpolate_functional_flops_hook", both(called_as(*_RESAMPLES), has("resized"))),
    )),
    Step("0.7.5", (
        rule("conv_transpose", "macs_at_output / sole_batch + bias_adds / sole_batch",
             "counted like a convolution, over the output positions" + _MEAN, "conv_flops_counter_hook",
             in_modules(*(f"ConvTranspose{d}d" for d in (1, 2, 3)))),
    )),
)  # fmt: skip


@quantity
def addmm_adds(case: Case) -> int:
    """Additions of a linear layer's bias where torch does them inside the product, as addmm."""
    return case.call.quantities.get("bias_adds", 0) if case.call.facts.get("addmm") else 0


ATEN = (
    rule("conv conv_transpose", "macs + bias_adds", "taps of the kernel, and the bias",
         f"{OPS}:71 conv_flop_count"),
    rule("linear", "macs + addmm_adds", "products, and the bias where it is part of the product",
         f"{OPS}:36 addmm_flop"),
    rule("matmul", "0", "no formula is registered for it", f"{OPS}:109 ATEN_OPS_MAPPING",
         as_aten("baddbmm", "mv", "dot", "vdot", "addmv", "addbmm")),
    rule("matmul", "macs + bias_adds", "an addmm carries its bias", f"{OPS}:36 addmm_flop"),
    rule("attention", "macs", "fused attention comes apart into products on the meta device",
         f"{OPS}:57 bmm_flop"),
    rule("recurrent", "macs + bias_adds", "comes apart into addmm on the meta device",
         f"{OPS}:36 addmm_flop"),
    rule("*", "0", "no formula is registered for it", f"{OPS}:109 ATEN_OPS_MAPPING"),
)  # fmt: skip
