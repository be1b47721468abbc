"""torch.utils.flop_counter.FlopCounterMode: formulas registered for dispatched operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flopledger.counters import dispatched, hooked  # noqa: F401  (its quantities)
from flopledger.counters.condition import as_aten, both, has, in_modules, negated, on_real_tensors
from flopledger.counters.convention import Convention, rule
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
    about = "formulas on dispatched operations; two FLOPs per MAC of convolutions and products"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from torch.utils.flop_counter import FlopCounterMode

        from flopledger.reference_model.sites import watched

        mode = FlopCounterMode(display=False)
        whole, found = mode._count_flops, []

        def placed(packet: Any, *args: Any) -> Any:
            before = mode.flop_counts["Global"][packet]
            out = whole(packet, *args)  # type: ignore[no-untyped-call]
            if change := exact(mode.flop_counts["Global"][packet] - before):
                found.append(Part(sites.here, None, change))
            return out

        mode._count_flops = placed  # type: ignore[method-assign]
        with watched(model) as sites, mode:
            model(*inputs)
        return Count(
            total=exact(mode.get_total_flops()),
            parts=found,
            params=sum(p.numel() for p in model.parameters()),
        )

    def convention(self, version: str | None) -> Convention:
        return Convention("torch", RULES)


RULES = (
    rule("conv conv_transpose", "2·macs", "a multiplication and an addition per tap, bias left out",
         f"{SOURCE}:215 conv_flop_count"),
    rule("linear matmul attention", "0", "a side is a vector, so it is an mv or a dot, which have no formula",
         f"{SOURCE}:822 flop_registry", has("by_vector")),
    rule("linear attention", "0", "frozen, so that a CPU takes torch's fused path, which has no formula",
         f"{SOURCE}:822 flop_registry", both(on_real_tensors, in_modules("MultiheadAttention"), has("fused"))),
    rule("attention recurrent", "0", "one kernel on a CPU, which has no formula",
         f"{SOURCE}:822 flop_registry", both(on_real_tensors, has("in_one_kernel"))),
    rule("linear matmul attention recurrent", "2·macs",
         "2·m·n·k for every product; fused kernels come apart into products on the meta device",
         f"{SOURCE}:160 mm_flop", negated(as_aten("addbmm"))),
    rule("*", "0", "no formula is registered for this operation", f"{SOURCE}:822 flop_registry"),
)  # fmt: skip
