"""What ptflops charges, by release and backend, and where each release says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import prod

import msgspec
from packaging.version import Version

from flopledger.counters import dispatched  # noqa: F401  (its quantities)
from flopledger.counters.condition import (
    Condition,
    any_of,
    as_aten,
    both,
    by_way_of,
    called_as,
    given,
    has,
    in_modules,
    inside_of,
    lacks,
    on_real_tensors,
)
from flopledger.counters.convention import Deviation, Rule, Step, in_force, rule, times
from flopledger.counters.formula import Case, Formula, quantity
from flopledger.counters.hooked import layers, of_one_sample, steps_as_seen

# Where each release has what a rule cites: the lines from these releases on, 0 where it is gone. Up to 0.6.7 all
# is in one file. 0.7.2 has the files of 0.7.2.1, but cannot be installed.
LINES = {
    "conv_flops_counter_hook": "0.1:227 0.2:257 0.3:262 0.4:261 0.5.1:277 0.5.2:287 0.6:314 0.6.1:307 0.6.3:317 "
                               "0.6.4:290 0.6.5:296 0.6.8:53 0.7.1:56 0.7.2:58 0.7.5:60",
    "deformable_conv_flops_counter_hook": "0.7.1:87 0.7.2:89 0.7.5:95",
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
    "timm_attention_counter_hook": "0.7.2:240 0.7.5:246",
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
    return case.ledger.batch if len(case.ledger.input_shapes) == 1 and not case.ledger.nested else 1


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


@quantity
def channels_for_samples(case: Case) -> int:
    """What a convolution is charged whose input, which has no batch, is taken to have its samples where channels are.

    The kernel's taps (transposed: for every input) at all sides but the first, and the bias, all for each channel.
    """
    facts = case.call.facts
    sides = (facts["x"] if facts["transposed"] else facts["out"])[3:]
    bias = prod(facts["out"][2:]) if case.call.quantities.get("biases") else 0
    return int(facts["x"][1] * (prod(facts["weight"]) * prod(sides) + bias))


@quantity
def deformed(case: Case) -> int:
    """MACs of a deformable convolution, 24 for each tap of a position (25 with a mask), and the bias."""
    facts, module = case.call.facts, case.module
    out, kernel = facts["out"], facts["weight"][2:]
    masked = any(len(seen.inputs) > 2 and seen.inputs[2] is not None for seen in module.seen)
    taps = out[0] * prod(out[2:]) * prod(kernel)
    return int(case.call.quantities["macs"] + (24 + masked) * taps + ("bias" in module.parameters) * prod(out))


@quantity
def cells_by_hook(case: Case) -> int:
    """What the hook charges a recurrent layer, in all: two matrices a layer, no projection, element-wise work, biases.

    All for each step and sample that the input's shape shows.
    """
    module = case.module
    hidden = int(module.settings["hidden_size"])
    gates, work = {"RNN": (1, 1), "GRU": (3, 7), "LSTM": (4, 10)}[module.kind]
    beside = hidden * (work + 2 * gates * bool(module.settings["bias"]))
    directions = 2 if module.settings["bidirectional"] else 1
    return directions * sum(first + second + beside for first, second in layers(module)) * steps_as_seen(case)


@quantity
def attention_by_hook(case: Case) -> int:
    """What the hook charges attention whose keys or values have another width, or rows of their own, in all.

    Projections are squares of each width, and keys are as many as go in (`bias_k` and `add_zero_attn` add to them).
    """
    module = case.module
    query, key, value = case.call.facts["attends"]
    (queries, batch, width), (keys, _, k), (values, _, v) = query, key, value
    heads = int(module.settings["num_heads"])
    found = queries * width + queries * width**2 + keys * k**2 + values * v**2
    if "in_proj_bias" in module.parameters:
        found += (queries + keys + values) * width
    found += heads * queries * keys * (width // heads + 1 + v // heads)
    return int((found + queries * v * (v + 1)) * batch)


@quantity
def not_as_wide(case: Case) -> int:
    """1 in attention whose keys or values have another width than queries, or rows that the layer adds, or no bias."""
    module, widths = case.module, {case.module.settings.get(name) for name in ("embed_dim", "kdim", "vdim")}
    added = bool(module.settings.get("add_zero_attn")) or "bias_k" in module.parameters
    return int(len(widths) > 1 or added or "in_proj_bias" not in module.parameters)


@quantity
def whole(case: Case) -> int:
    """1 for the operation with which a call of attention begins."""
    return int("attends" in case.call.facts)


@quantity
def as_scaled(case: Case) -> Fraction:
    """What the patched interpolate is charged: the size that is asked for, or the input times the factor as written.

    A list of factors it cannot raise to a power; those of a tuple it rounds down.
    """
    facts, inputs = case.call.facts, case.call.quantities["inputs"]
    sides = len(facts["input"]) - 2
    if facts.get("size") is not None:
        size = facts["size"]
        return Fraction(prod(facts["input"][:2]) * (prod(size) if isinstance(size, (list, tuple)) else size**sides))
    factor = facts["scale_factor"]
    each = Fraction(prod(map(int, factor))) if isinstance(factor, (list, tuple)) else Fraction(factor) ** sides
    return inputs * each


@quantity
def scaled(case: Case) -> int:
    """1 for an operation of interpolate, patched when it is called."""
    return int(
        "resamples" in case.call.facts and "torch.nn.functional.interpolate" not in case.call.facts.get("held", ())
    )


@quantity
def off_scale(case: Case) -> int:
    """1 where that is not what comes out: torch rounds each side down."""
    return int(scaled(case) and as_scaled(case) != case.call.quantities["outputs"])


@quantity
def held_back(case: Case) -> int:
    """1 where each patched function on the way was got hold of before it was patched, by a name of the model's own."""
    ways = {api for api in (case.entry.api, *case.entry.inside) if api in PATCHED}
    return int(bool(ways) and ways <= set(case.call.facts.get("held", ())))


@quantity
def undivided(case: Case) -> int:
    """1 where the batch, or what is taken for it, does not divide what a hook counts."""
    batch, counts = sole_batch(case) * prod(case.call.facts.get("vmap", ())), case.call.quantities
    return int(any(counts.get(name, 0) % batch for name in ("macs", "bias_adds", "inputs", "outputs", "scores")))


CUT_OFF = Deviation(
    has("undivided"),
    "the length of the first input, by which it divides, does not divide this: a count of one place is cut off",
    "ptflops/pytorch_engine.py:180 compute_average_flops_cost",
)


def of(version: str | None) -> tuple[Rule, ...]:
    """The rules of a release's pytorch backend, None for the newest. Those that take no tensor see no batch."""
    each_once = version is not None and Version(version) < Version("0.6.5")
    rules = sourced(version, in_force(version, STEPS, RULES if each_once else tuple(_shared(RULES))))
    rules = tuple(of_one_sample(rules))
    return rules if takes_a_tensor(version) else tuple(map(_undivided, rules))


def _shared(rules: Iterable[Rule]) -> Iterator[Rule]:
    """The rules, each after what it is in modules that more than one way leads to: what a hook adds up is for each."""
    for each in rules:
        if any("sole_batch" in term.under for term in each.formula.terms):
            because = "; a module with two parents is read twice"
            yield times("paths", each, has("shared"), because, where="sole_batch")
        yield each


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
ELEMENTWISE = (
    *(f"torch.nn.functional.{name}" for name in ("relu", "prelu", "elu", "relu6", "gelu", "silu", "softmax")),
    *(f"torch.nn.functional.{a}{kind}_pool{d}d" for a in ("", "adaptive_") for kind in ("avg", "max")
      for d in (1, 2, 3)),
)  # fmt: skip
PATCHED = {*ELEMENTWISE, *_RESAMPLES}
_PATCHED = by_way_of(*ELEMENTWISE)
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


_TIMM = ("timm.layers.attention.Attention", "timm.models.vision_transformer.Attention")
_BIG = both(ATTENTION, has("not_as_wide"))
_ODD = "projections as squares of each width, and as many keys as go in"
RULES = (
    rule("activation softmax pool upsample", "0", "the model took hold of the function before it was patched",
         "FUNCTIONAL_MAPPING", has("held_back")),
    rule("attention matmul", "macs / sole_batch + scores / sole_batch + inputs / sole_batch",
         "both products, one per score for the softmax and one per query element for scaling" + _MEAN,
         "timm_attention_counter_hook", both(in_modules(*_TIMM), has("scores"))),
    rule("matmul", "macs / sole_batch + inputs / sole_batch",
         "both products, one per score for the softmax and one per query element for scaling, which are the inputs of"
         " the two products" + _MEAN, "timm_attention_counter_hook", in_modules(*_TIMM)),
    rule("linear layer_norm rms_norm", "0", "the hook is on the block around it, and what is below one is not added up",
         "timm_attention_counter_hook", inside_of(*_TIMM)),
    rule("conv conv_transpose", "channels_for_samples / sole_batch",
         "without a batch, channels are taken for samples, and one side is left out" + _MEAN,
         "conv_flops_counter_hook",
         both(in_modules(*(f"Conv{t}{d}d" for t in ("", "Transpose") for d in (1, 2, 3))), has("unbatched"))),
    rule("conv", "deformed / sole_batch", "taps of the kernel, 24 more for each (25 with a mask), and the bias" + _MEAN,
         "deformable_conv_flops_counter_hook", in_modules("torchvision.ops.deform_conv.DeformConv2d")),
    rule("recurrent", "cells_by_hook / sole_batch", "two matrices a layer, no projection, for each step and sample that"
         " the input's shape shows" + _MEAN, "rnn_flops_counter_hook",
         both(in_modules("RNN", "GRU", "LSTM"), any_of(has("projected"), has("unbatched")))),
    rule("attention", "macs / sole_batch + scores / sole_batch + inputs / sole_batch",
         "the hook's both products, scores and scaling;"
         " torch's fused path for what is frozen calls no patched function" + _MEAN, _MHA,
         both(ATTENTION, has("fused"))),
    rule("softmax", "0", "torch's fused path for what is frozen calls no patched function", _MHA,
         both(ATTENTION, has("fused"))),
    rule("attention", "attention_by_hook / sole_batch + macs + biases", _ODD + "; once more by the patched function",
         _MHA, both(_BIG, has("whole"), lacks("scores"))),
    rule("*", "attention_by_hook / sole_batch", _ODD + _MEAN, _MHA, both(_BIG, has("whole"))),
    rule("attention", "macs + biases", "a patched function; the hook's is with the first operation", _MHA,
         both(_BIG, lacks("scores"))),
    rule("linear attention", "0", "charged with the first operation of the call", _MHA, _BIG),
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
    rule("upsample", "first_sample / sole_batch + as_scaled",
         _BOTH_WAYS + ", which multiplies by the factor as written", "upsample_flops_counter_hook",
         both(in_modules("Upsample"), has("off_scale"))),
    rule("pool", "first_sample / sole_batch + as_scaled + inputs", _BOTH_WAYS + ", and by the pooling in that",
         "upsample_flops_counter_hook", in_modules("Upsample")),
    rule("pool", "as_scaled + inputs", "a patched function, and the patched pooling in it",
         "_interpolate_functional_flops_hook", has("scaled")),
    rule("upsample", "2·as_scaled", "a patched function, and the patched one that it calls",
         "_interpolate_functional_flops_hook", both(given("resamples", 2), has("scaled"))),
    rule("upsample", "first_sample / sole_batch + outputs",
         _BOTH_WAYS + " (its hook looks at the first sample only)",
         "upsample_flops_counter_hook", in_modules("Upsample")),
    *_recurrent(),
    rule("linear", "macs / sole_batch + bias_adds / sole_batch", "projections of attention" + _MEAN, _MHA, ATTENTION),
    rule("attention", "macs / sole_batch + scores / sole_batch + inputs / sole_batch",
         "both products, one per score for the softmax and one per query element for scaling" + _MEAN,
         _MHA, both(ATTENTION, has("scores"))),
    rule("attention", "macs / sole_batch + macs + biases + inputs / sole_batch",
         _BOTH_WAYS + "; the hook adds one per score for the softmax and one per query element for scaling,"
         " which are the inputs of the two products", _MHA, ATTENTION),
    rule("softmax", "outputs", "a patched function, besides what the hook charges with the products",
         _FUNCTIONAL, ATTENTION),
    rule("mul", "0", "charged with the attention products, whose inputs it makes", _MHA, ATTENTION),
    rule("activation softmax pool upsample", "inputs", "a patched function, one per input element",
         _FUNCTIONAL, _PATCHED),
    rule("upsample", "as_scaled", "a patched function: the input times the factor as written",
         "_interpolate_functional_flops_hook", has("off_scale")),
    rule("upsample", "outputs", "a patched function, one per output element",
         "_interpolate_functional_flops_hook",
         by_way_of("torch.nn.functional.interpolate", "torch.nn.functional.upsample")),
    rule("matmul", "left_by_columns", "a patched function: elements of the left side times columns of the right",
         "_matmul_tensor_flops_hook",
         both(by_way_of("torch.matmul", "torch.Tensor.matmul"), has("spread"))),
    rule("matmul attention", "macs", "a patched function, multiply-adds of the product",
         "_matmul_tensor_flops_hook",
         by_way_of(*(f"torch.{t}{f}" for t in ("", "Tensor.") for f in ("matmul", "mm", "bmm")))),
    rule("matmul attention", "macs + biases", "a patched function, the product and what is added to it",
         "_addmm_tensor_flops_hook",
         by_way_of("torch.addmm", "torch.Tensor.addmm", "torch.baddbmm")),
    rule("add mul", "outputs", "a patched function, one per element",
         "_elementwise_tensor_flops_hook",
         by_way_of("torch.add", "torch.Tensor.add", "torch.mul", "torch.Tensor.mul")),
    rule("activation", "0", "neither a hook nor a patched function is called for it", NO_HOOK),
    rule("add mul", "0", "an operator like x + y reaches no patched function", "TENSOR_OPS_MAPPING"),
    rule("*", "0", "neither a hook nor a patched function is called for it", f"FUNCTIONAL_MAPPING {NO_HOOK}"),
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


_IN_PRODUCTS = any_of(
    as_aten("mm", "addmm", "bmm", "matmul", "scaled_dot_product_attention"), called_as("torch.Tensor.__rmatmul__"),
)  # fmt: skip
ATEN = (
    rule("conv conv_transpose", "macs + bias_adds", "taps of the kernel, and the bias",
         f"{OPS}:71 conv_flop_count", as_aten("convolution", "_convolution")),
    rule("linear attention", "0", "frozen, so that a CPU takes torch's fused path, for which there is no formula",
         f"{OPS}:109 ATEN_OPS_MAPPING", both(on_real_tensors, in_modules("MultiheadAttention"), has("fused"))),
    rule("linear matmul attention", "0", "a side is a vector, so it is an mv or a dot, which have no formula",
         f"{OPS}:109 ATEN_OPS_MAPPING", has("by_vector")),
    rule("linear", "macs + addmm_adds", "products, and the bias where it is part of the product",
         f"{OPS}:36 addmm_flop", as_aten("linear")),
    rule("attention recurrent", "0", "one kernel on a CPU, for which no formula is registered",
         f"{OPS}:109 ATEN_OPS_MAPPING", both(on_real_tensors, has("in_one_kernel"))),
    rule("recurrent", "macs + bias_adds - adds_outside", "addmm for all but the first layer's transposed input, which"
         " a CPU multiplies without its bias", f"{OPS}:36 addmm_flop",
         both(on_real_tensors, in_modules("RNN", "GRU", "LSTM"))),
    rule("matmul", "dense_macs + bias_adds", "shapes do not tell what a sparse side stores", f"{OPS}:36 addmm_flop",
         both(_IN_PRODUCTS, has("stored_alone"))),
    rule("linear matmul", "macs + bias_adds", "an addmm carries its bias", f"{OPS}:36 addmm_flop", _IN_PRODUCTS),
    rule("attention", "macs", "fused attention comes apart into products on the meta device",
         f"{OPS}:57 bmm_flop", _IN_PRODUCTS),
    rule("recurrent", "macs + bias_adds", "comes apart into addmm on the meta device",
         f"{OPS}:36 addmm_flop"),
    rule("*", "0", "no formula is registered for it", f"{OPS}:109 ATEN_OPS_MAPPING"),
)  # fmt: skip
