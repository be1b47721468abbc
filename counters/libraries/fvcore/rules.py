"""What fvcore charges, and what it charged before: one step per change, with the lines of the releases before it."""

from __future__ import annotations

from math import prod

from flopledger.counters import dispatched, hooked  # noqa: F401  (their quantities)
from flopledger.counters.condition import (
    as_aten,
    both,
    by_way_of,
    called_as,
    given,
    has,
    in_modules,
    in_the_end,
    negated,
)
from flopledger.counters.convention import Rule, Step, in_force, rule
from flopledger.counters.formula import Case, quantity

HANDLES, TABLE = "fvcore/nn/jit_handles.py", "fvcore/nn/flop_count.py"
_LIST = f"{TABLE}:26 _DEFAULT_SUPPORTED_OPS"
_ESTIMATE = f"{HANDLES}:236 norm_flop_jit"
_PRODUCTS = in_the_end("torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__", "torch.Tensor.__rmatmul__",
                       "torch.linalg.matmul",
                       *(f"{t}.{f}" for t in ("torch", "torch.Tensor", "aten") for f in ("mm", "bmm", "addmm")),
                       "aten.matmul")  # fmt: skip
_BMM = both(as_aten("bmm"), negated(called_as("torch.functional.einsum", "torch.einsum")))


def of(version: str | None) -> tuple[Rule, ...]:
    """The rules of a release, None for the newest."""
    return in_force(version, STEPS, RULES)


@quantity
def taps_at_output(case: Case) -> int:
    """Outputs of a convolution times the weights at one index of the weight tensor's first dimension."""
    facts = case.call.facts
    return int(prod(facts["out"]) * prod(facts["weight"][1:]))


@quantity
def features_as_read(case: Case) -> int:
    """The length of a linear function's weight that is a vector, 0 of one that is a matrix."""
    weight = case.call.facts.get("weight", ())
    return int(weight[0]) if len(weight) == 1 else 0


@quantity
def as_planned(case: Case) -> int:
    """What fvcore charges an einsum: half of NumPy's optimal plan, as that prints it with four digits."""
    import numpy as np

    facts = case.call.facts
    equation, shapes = facts["equation"], facts["operands"]
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    plain = equation.translate({ord(letter): 97 + i for i, letter in enumerate(letters)})
    if plain in ("abc,abd->acd", "abc,adc->adb"):
        return int(prod(shapes[0]) * shapes[1][2 if plain.startswith("abc,abd") else 1])
    plan = np.einsum_path(equation, *(np.broadcast_to(np.zeros(()), shape) for shape in shapes), optimize="optimal")[1]
    operations = next(line for line in plan.split("\n") if "optimized flop" in line.lower())
    return int(float(operations.split(":")[-1]) / 2)


@quantity
def planned(case: Case) -> int:
    """1 for the operation with which an einsum begins."""
    return int("equation" in case.call.facts)


@quantity
def in_a_function(case: Case) -> int:
    """1 inside a torch.autograd.Function of somebody's, which is one node of a jit trace."""
    return int("autograd_function" in case.call.facts)


_EINSUM = by_way_of("torch.functional.einsum", "torch.einsum")
RULES = (
    rule("*", "0", "no output depends on it, and a jit trace drops what is not needed",
         "fvcore/nn/jit_analysis.py:176 _get_trace_graph", given("unused", True)),
    rule("*", "0", "an autograd.Function is one node of the trace, and there is no handle for what is in it", _LIST,
         has("in_a_function")),
    rule("*", "0", "frozen, so torch takes its fused path, and there is no handle for that", _LIST,
         both(in_modules("MultiheadAttention"), has("fused"))),
    rule("*", "as_planned", "half the operations that NumPy's plan for it prints, four digits of them",
         f"{HANDLES}:174 einsum_flop_jit", has("planned")),
    rule("*", "0", "charged with the first operation of the einsum", f"{HANDLES}:174 einsum_flop_jit", _EINSUM),
    rule("conv", "0", "padding by name makes it aten::_convolution_mode, which has no handle", _LIST,
         called_as("torch._convolution_mode")),
    rule("conv conv_transpose", "macs", "multiplications of the kernel; the bias is ignored",
         f"{HANDLES}:127 conv_flop_count", as_aten("convolution", "_convolution")),
    rule("linear", "inputs·features_as_read", "input elements times the first side of the weight, which is a vector",
         f"{HANDLES}:99 linear_flop_jit", both(as_aten("linear"), has("features_as_read"))),
    rule("linear", "macs", "input elements times output features; the bias is ignored",
         f"{HANDLES}:99 linear_flop_jit", as_aten("linear")),
    rule("linear", "macs", "products, in which it is seen where derivatives are computed beside it",
         f"{HANDLES}:217 matmul_flop_jit", as_aten("mm", "addmm", "bmm")),
    rule("attention matmul", "0", "no handle for fused attention or baddbmm", _LIST, negated(_PRODUCTS)),
    rule("matmul", "left_by_columns", "elements of the left side times columns of the right; what is repeated to fit"
         " counts once", f"{HANDLES}:217 matmul_flop_jit", has("spread")),
    rule("attention matmul", "macs", "one multiply-add per product",
         f"{HANDLES}:217 matmul_flop_jit"),
    rule("recurrent", "macs", "a cell comes apart into linear operations in the trace",
         f"{HANDLES}:99 linear_flop_jit", in_modules("LSTMCell", "GRUCell", "RNNCell")),
    rule("batch_norm layer_norm group_norm", "0", "no handle for the kernel itself", _LIST,
         in_the_end(*(f"{of}.native_{norm}_norm" for of in ("torch", "aten") for norm in ("batch", "layer", "group")))),
    rule("batch_norm", "5·inputs", "a rough estimate, as for the other norms, where it takes its own statistics",
         f"{HANDLES}:251 batchnorm_flop_jit", both(has("weights"), given("training", True))),
    rule("batch_norm", "4·inputs", "a rough estimate, without weights, where it takes its own statistics",
         f"{HANDLES}:251 batchnorm_flop_jit", given("training", True)),
    rule("batch_norm", "2·inputs", "a scale and a shift, folded for inference",
         f"{HANDLES}:251 batchnorm_flop_jit", has("weights")),
    rule("batch_norm", "inputs", "normalising only: there are no weights",
         f"{HANDLES}:251 batchnorm_flop_jit"),
    rule("layer_norm group_norm instance_norm", "5·inputs", "a rough estimate, says the source",
         _ESTIMATE, has("weights")),
    rule("layer_norm group_norm instance_norm", "4·inputs", "a rough estimate, without weights", _ESTIMATE),
    rule("pool", "inputs", "every input is added once",
         f"{TABLE}:42 adaptive_avg_pool2d",
         in_the_end("torch.nn.functional.adaptive_avg_pool2d", "torch._C._nn.adaptive_avg_pool2d")),
    rule("upsample", "outputs", "one per output", f"{TABLE}:40 upsample_nearest2d",
         as_aten("upsample_nearest2d")),
    rule("upsample", "4·outputs", "four neighbours per output", f"{TABLE}:41 upsample_bilinear2d",
         as_aten("upsample_bilinear2d")),
    rule("grid_sample", "4·outputs", "four neighbours per output", f"{TABLE}:43 grid_sampler"),
    rule("*", "0", "no handle for this operation", _LIST),
)  # fmt: skip

_CELLS = in_modules("LSTMCell", "GRUCell", "RNNCell")
_NORM = f"{HANDLES}:221 norm_flop_jit"

# Oldest first; lines are those of the last release before each step. No rule speaks of matmuls of more than two
# dimensions before 0.1.3.post20210226: where the second operand has them, an assertion fails; where only the first
# has, it is charged as if it had its first and last dimension only, and the ledger does not know those.
STEPS = (
    # A package of utilities, without a counter.
    Step("0.1.dev200201", (
        rule("*", "0", "this release has no counter", "fvcore/nn/__init__.py:1"),
    )),
    # The handle for batch norm, there for the first month, is dropped.
    Step("0.1.dev200226", (
        rule("batch_norm", "4·inputs", "four operations per element, with weights or without",
             f"{HANDLES}:188 batchnorm_flop_jit"),
    )),
    # A handle for aten::bmm is added.
    Step("0.1.2.post20210115", (
        rule("matmul attention", "0", "no handle for bmm", f"{TABLE}:20 _DEFAULT_SUPPORTED_OPS", _BMM),
    )),
    # A handle for aten::linear is added: the trace of an older torch had addmm in its place.
    Step("0.1.3.post20210224", (
        rule("linear", "0", "today's torch traces it as aten::linear; there is a handle for addmm only",
             f"{TABLE}:21 _DEFAULT_SUPPORTED_OPS"),
        rule("recurrent", "0", "a cell comes apart into aten::linear; there is a handle for addmm only",
             f"{TABLE}:21 _DEFAULT_SUPPORTED_OPS", _CELLS),
    )),
    # Handles for all that is no contraction.
    Step("0.1.3.post20210311", (
        rule("batch_norm layer_norm group_norm instance_norm pool upsample grid_sample", "0",
             "contractions only: no handle for norms, pools and resampling", f"{TABLE}:23 _DEFAULT_SUPPORTED_OPS"),
    )),
    # Batch norm in eval is no longer counted as if it were training.
    Step("0.1.5.post20210604", (
        rule("batch_norm", "5·inputs", "a rough estimate, as for the other norms", _NORM, has("weights")),
        rule("batch_norm", "4·inputs", "a rough estimate, without weights", _NORM),
    )),
    # A handle for aten::mm is added.
    Step("0.1.5.post20210719", (
        rule("matmul", "0", "no handle for mm", f"{TABLE}:26 _DEFAULT_SUPPORTED_OPS", as_aten("mm")),
    )),
    # Transposed convolutions are counted over their input positions.
    Step("0.1.5.post20220119", (
        rule("conv_transpose", "taps_at_output",
             "counted like a convolution: an output costs all the weights at one index of the first dimension",
             f"{HANDLES}:122 conv_flop_count"),
    )),
)  # fmt: skip
