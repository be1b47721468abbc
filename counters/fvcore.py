"""fvcore's FlopCountAnalysis: handles on the operations of a jit trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from counters.convention import Convention, called_as, has, in_force, in_modules, rule
from counters.fvcore_history import HANDLES, SHIMS, STEPS, TABLE, count_by_handle
from counters.shims import Shim, helped
from counters.tally import Count, Part, Unsupported, exact
from reference_model.ledger import Entry, Ledger

if TYPE_CHECKING:
    from torch import nn

PRODUCTS = frozenset({"aten.mm", "aten.bmm", "aten.addmm", "aten.matmul"})


class Fvcore:
    """One fused multiply-add is one flop; norms and some pools are counted in operations beside them."""

    distribution = "fvcore"
    unit = "MAC"
    device = "cpu"  # it traces with torch.jit, which needs real tensors
    about = "handles on jit-traced operations; MACs, plus operations of norms, adaptive pools, upsampling"
    shims: ClassVar[tuple[Shim, ...]] = SHIMS

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        import fvcore.nn

        if not hasattr(fvcore.nn, "flop_count"):
            raise Unsupported("this release of fvcore has no counter; the first with one is 0.1.dev200201")
        # Before there were ancestor modes, a count was filed under every module that was running.
        by_owner = hasattr(getattr(fvcore.nn, "FlopCountAnalysis", None), "ancestor_mode")
        way = _analysed if by_owner else count_by_handle
        found, used = helped(lambda: way(model, inputs), self.shims)
        return msgspec.structs.replace(found, shims=used)

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        table = f"{TABLE}:26 _DEFAULT_SUPPORTED_OPS"
        norm = f"{HANDLES}:236 norm_flop_jit"
        today = (
            rule("conv", "0", "padding by name makes it aten::_convolution_mode, which has no handle", table,
                 called_as("torch._convolution_mode")),
            rule("conv conv_transpose", "macs", "multiplications of the kernel; the bias is ignored",
                 f"{HANDLES}:127 conv_flop_count"),
            rule("linear", "macs", "input elements times output features; the bias is ignored",
                 f"{HANDLES}:99 linear_flop_jit"),
            rule("attention matmul", "0", "no handle for fused attention or baddbmm", table, _unhandled),
            rule("attention matmul", "macs", "one multiply-add per product",
                 f"{HANDLES}:217 matmul_flop_jit"),
            rule("recurrent", "macs", "a cell comes apart into linear operations in the trace",
                 f"{HANDLES}:99 linear_flop_jit", in_modules("LSTMCell", "GRUCell", "RNNCell")),
            rule("batch_norm", "2·inputs", "a scale and a shift, folded for inference",
                 f"{HANDLES}:251 batchnorm_flop_jit", has("weights")),
            rule("batch_norm", "inputs", "normalising only: there are no weights",
                 f"{HANDLES}:251 batchnorm_flop_jit"),
            rule("layer_norm group_norm instance_norm", "5·inputs", "a rough estimate, says the source",
                 norm, has("weights")),
            rule("layer_norm group_norm instance_norm", "4·inputs", "a rough estimate, without weights", norm),
            rule("pool", "inputs", "every input is added once",
                 f"{TABLE}:42 adaptive_avg_pool2d", _adaptive),
            rule("upsample", "outputs", "one per output", f"{TABLE}:40 upsample_nearest2d",
                 _aten("aten.upsample_nearest2d")),
            rule("upsample", "4·outputs", "four neighbours per output", f"{TABLE}:41 upsample_bilinear2d",
                 _aten("aten.upsample_bilinear2d")),
            rule("grid_sample", "4·outputs", "four neighbours per output", f"{TABLE}:43 grid_sampler"),
            rule("*", "0", "no handle for this operation", table),
        )  # fmt: skip
        return Convention("fvcore", in_force(version, STEPS, today))


def _analysed(model: nn.Module, inputs: tuple[Any, ...]) -> Count:
    """Count with a FlopCountAnalysis, which gives an operation to the module that ran it and to its parents."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    total = exact(analysis.total())
    whole = {site: exact(sum(ops.values())) for site, ops in analysis.by_module_and_operator().items()}
    own = dict(whole)
    for site, count in whole.items():
        if site:
            own[site.rpartition(".")[0]] -= count
    warnings = []
    if uncalled := sorted(analysis.uncalled_modules() - {""}):
        warnings.append(f"modules never called: {', '.join(uncalled)}")
    if "einsum" in analysis.by_operator():
        warnings.append("einsum is read from a table that numpy prints with four digits "
                        "(einsum_flop_jit), so its count may be rounded")  # fmt: skip
    return Count(
        total=total,
        parts=[Part(site, None, count) for site, count in own.items() if count],
        params=sum(p.numel() for p in model.parameters()),
        uncounted=dict(analysis.unsupported_ops()),
        warnings=warnings,
    )


def _unhandled(entry: Entry) -> bool:
    """in fused attention or baddbmm"""
    return entry.api.endswith("scaled_dot_product_attention") or entry.aten not in PRODUCTS


def _adaptive(entry: Entry) -> bool:
    """called as adaptive_avg_pool2d"""
    return entry.api.endswith("adaptive_avg_pool2d")


def _aten(name: str) -> Any:
    def condition(entry: Entry) -> bool:
        return entry.aten == name

    condition.__doc__ = f"as {name.removeprefix('aten.')}"
    return condition
