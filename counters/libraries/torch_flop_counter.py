"""torch.utils.flop_counter.FlopCounterMode: formulas registered for dispatched operations."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from flopledger.counters import dispatched, hooked
from flopledger.counters.condition import (
    any_of,
    as_aten,
    both,
    given,
    has,
    in_modules,
    in_phase,
    on_real_tensors,
)
from flopledger.counters.convention import Convention, of_complex, rule
from flopledger.counters.formula import Case, quantity
from flopledger.counters.tally import Count, Part, exact

if TYPE_CHECKING:
    from torch import nn

SOURCE = "torch/utils/flop_counter.py"


class TorchFlopCounter:
    """Two FLOPs per multiply-accumulate of a contraction, nothing else.

    On the meta device, where fused attention and LSTM kernels come apart into products that it
    knows: on a CPU it has no formula for those kernels and counts them as 0.
    """

    distribution = "torch"
    unit = "FLOP"
    device = "meta"
    repository = "https://github.com/pytorch/pytorch/blob/v{version}/"
    script = """from torch.utils.flop_counter import FlopCounterMode
with FlopCounterMode(display=False) as mode:
    model(*inputs)
print("torch", mode.get_total_flops())"""
    modes = ("eval", "train", "step")
    about = "formulas on dispatched operations; two FLOPs per MAC of convolutions and products"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from torch.utils.flop_counter import FlopCounterMode

        from flopledger.reference_model.known import knowing_of
        from flopledger.reference_model.sites import watched

        mode = FlopCounterMode(display=False)
        whole = mode._count_flops
        found: list[Part] = []

        def placed(packet: Any, *args: Any) -> Any:
            before, site = mode.flop_counts["Global"][packet], sites.here
            out = whole(packet, *args)  # type: ignore[no-untyped-call]
            if change := exact(mode.flop_counts["Global"][packet] - before):
                found.append(Part(site, None, change))
            return out

        mode._count_flops = placed  # type: ignore[method-assign]
        with knowing_of([*model.parameters(), *inputs]), watched(model) as sites, mode:
            model(*inputs)
        return Count(total=exact(mode.get_total_flops()), parts=found)

    def convention(self, version: str | None) -> Convention:
        rules = (COMPLEX_BACKWARD, *of_complex(RULES, Fraction(3, 4)))
        return Convention("torch", rules, (dispatched.MASK_BY_HEAD, hooked.DROPS_PADDING))


@quantity
def crossed_groups(case: Case) -> int:
    """MACs of a convolution's weight gradient between groups that never meet"""
    facts = case.call.facts
    groups = facts.get("groups", 1)
    if "b" in facts:  # complex numbers: of the whole function only its tensors are facts
        channels = facts["out" if case.entry.op == "conv_transpose" else "a"]
        groups = channels[-len(facts["b"]) + 1] // facts["b"][1]
    return (int(groups) - 1) * case.call.quantities.get("weight_gradient_macs", 0)


_SEEN = ("mm", "addmm", "bmm", "baddbmm", "_scaled_mm")
_FUSED = ("_scaled_dot_product_flash_attention_backward", "_scaled_dot_product_efficient_attention_backward",
          "_scaled_dot_product_cudnn_attention_backward", "_flash_attention_backward",
          "_efficient_attention_backward")  # fmt: skip
_BACKWARD = in_phase("backward")
_CONVOLUTION = as_aten("convolution", "_convolution")
_IN_PRODUCTS = as_aten(
    *_SEEN, "matmul", "rmatmul", "linear", "scaled_dot_product_attention", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention", "_flash_attention_forward",
    "_efficient_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
    "rnn_relu_cell",
)  # fmt: skip
_WHOLE = as_aten("scaled_dot_product_attention", "lstm")
_PRODUCTS = "2·m·n·k for every product; fused kernels come apart into products on the meta device"
COMPLEX_BACKWARD = rule(
    "conv conv_transpose", "3·macs / 2 + 3·crossed_groups / 2",
    "three real convolutions for each gradient that is needed, the weight's as if there were no groups",
    f"{SOURCE}:265 conv_backward_flop",
    both(_BACKWARD, given("complex", True), as_aten(*(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)))),
)  # fmt: skip
RULES = (
    rule("linear matmul attention", "0", "a side is a vector, so it is an mv or a dot, which have no formula",
         f"{SOURCE}:822 flop_registry", has("by_vector")),
    rule("attention recurrent", "0", "one kernel on a CPU, which has no formula",
         f"{SOURCE}:822 flop_registry", both(on_real_tensors, _WHOLE, has("in_one_kernel"))),
    rule("conv conv_transpose", "2·recomputed_macs", "run again by a checkpoint: as in the forward",
         f"{SOURCE}:215 conv_flop_count", both(given("recomputed", True), _CONVOLUTION)),
    rule("linear matmul attention recurrent", "2·recomputed_macs", "run again by a checkpoint: as in the forward",
         f"{SOURCE}:160 mm_flop", both(given("recomputed", True), _IN_PRODUCTS)),
    rule("conv conv_transpose", "2·macs + 2·crossed_groups",
         "as much as the forward for each gradient that is needed, but the weight's as if there were no groups",
         f"{SOURCE}:265 conv_backward_flop", both(_BACKWARD, as_aten("convolution_backward"))),
    rule("*", "2·macs + 2·recomputed_macs", "five products, the scores computed again among them",
         f"{SOURCE}:593 sdpa_backward_flop_count", both(_BACKWARD, as_aten(*_FUSED))),
    rule("*", "2·macs", _PRODUCTS, f"{SOURCE}:160 mm_flop", both(_BACKWARD, any_of(_IN_PRODUCTS, _CONVOLUTION))),
    rule("*", "0", "no formula is registered for this operation", f"{SOURCE}:822 flop_registry", _BACKWARD),
    rule("conv conv_transpose", "2·macs", "a multiplication and an addition per tap, bias left out",
         f"{SOURCE}:215 conv_flop_count", _CONVOLUTION),
    rule("linear attention", "0", "frozen, so that a CPU takes torch's fused path, which has no formula",
         f"{SOURCE}:822 flop_registry", both(on_real_tensors, in_modules("MultiheadAttention"), has("fused"))),
    rule("matmul", "2·dense_macs", "shapes do not tell what a sparse side stores", f"{SOURCE}:160 mm_flop",
         both(_IN_PRODUCTS, has("stored_alone"))),
    rule("linear matmul attention recurrent", "2·macs", _PRODUCTS, f"{SOURCE}:160 mm_flop", _IN_PRODUCTS),
    rule("*", "0", "no formula is registered for this operation", f"{SOURCE}:822 flop_registry"),
)  # fmt: skip
