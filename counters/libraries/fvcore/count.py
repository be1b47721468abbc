"""fvcore's FlopCountAnalysis: handles on the operations of a jit trace.

Every release that counts looks each node of a jit trace up in a table of handles. Until March 2021 the
answer is in billions per operation, as floats, or files a count under every module that was running. So the
handles are observed: what each returns is exact, and the node that it is for knows its module.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec

from flopledger.counters.convention import Convention, of_complex
from flopledger.counters.libraries.fvcore import rules
from flopledger.counters.shims import Shim, helped
from flopledger.counters.tally import Count, Part, Unsupported, exact

if TYPE_CHECKING:
    from torch import nn

Handle = Callable[[list[Any], list[Any]], Any]


def _first_operands(kind: str, handle_name: str, number: int, which: str) -> Shim:
    """Show a handle only the first operands of its operation, all that there were when it was written."""

    def needed(error: Exception) -> bool:
        return isinstance(error, AssertionError) and _raised_in(error.__traceback__) == handle_name

    def apply() -> None:
        _, table = _handles()
        handle = table[kind]
        table[kind] = lambda operands, outputs: handle(operands[:number], outputs)

    return Shim(f"{kind} shows its first {number} operands, without {which}", needed, apply)


def _raised_in(trace: TracebackType | None) -> str:
    """The name of the function that raised."""
    name = ""
    while trace:
        name, trace = trace.tb_frame.f_code.co_name, trace.tb_next
    return name


SHIMS = (
    _first_operands("aten::_convolution", "conv_flop_jit", 12, "the choice of TF32 that came with torch 1.7"),
    _first_operands("aten::einsum", "einsum_flop_jit", 2, "the path that came with torch 1.13"),
)


class Fvcore:
    """One fused multiply-add is one flop; norms and some pools are counted in operations beside them."""

    distribution = "fvcore"
    unit = "MAC"
    device = "cpu"  # it traces with torch.jit, which needs real tensors
    script = """from fvcore.nn import FlopCountAnalysis
print("fvcore", int(FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).total()))"""
    about = "handles on jit-traced operations; MACs, plus operations of norms, adaptive pools, upsampling"
    shims = SHIMS

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        import fvcore.nn

        if not hasattr(fvcore.nn, "flop_count"):
            raise Unsupported("this release of fvcore has no counter; the first with one is 0.1.dev200201")
        # Before there were ancestor modes, a count was filed under every module that was running.
        by_owner = hasattr(getattr(fvcore.nn, "FlopCountAnalysis", None), "ancestor_mode")
        way = _analysed if by_owner else _counted_by_handle
        found, used = helped(lambda: way(model, inputs), self.shims)
        return msgspec.structs.replace(found, shims=used)

    def convention(self, version: str | None) -> Convention:
        return Convention("fvcore", of_complex(rules.of(version), Fraction(3, 4)))


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
        uncounted=dict(analysis.unsupported_ops()),
        warnings=warnings,
    )


def _counted_by_handle(model: nn.Module, inputs: tuple[Any, ...]) -> Count:
    """Count with a release whose results do not say where; `fvcore.nn.flop_count` is in all of those."""
    seen: list[tuple[str, str, int]] = []

    def observed(kind: str, handle: Handle) -> Handle:
        def observe(operands: list[Any], outputs: list[Any]) -> Any:
            found = handle(operands, outputs)
            site = outputs[0].node().scopeName().rpartition("/")[2]
            # A plain number is filed under the name of the operation.
            by_op = found if isinstance(found, Mapping) else {kind.partition("::")[2]: found}
            seen.extend((site, op, exact(number)) for op, number in by_op.items())
            return found

        return observe

    module, table = _handles()
    observers = {kind: observed(kind, handle) for kind, handle in table.items()}
    with mock.patch.dict(table, observers), _scopes(model), _skipped_in_log() as logged:
        answer = module.flop_count(model, inputs)
    reported, skipped = answer if isinstance(answer, tuple) else (answer, logged)
    by_site: Counter[str] = Counter()
    by_op: Counter[str] = Counter()
    for site, op, number in seen:
        by_site[site] += number
        by_op[op] += number
    total = by_op.total()
    warnings = []
    if dict(reported) != {op: number / 1e9 for op, number in by_op.items() if number}:
        warnings.append(f"it reports {sum(reported.values())} GFLOPs; exactly, its handles count {total}")
    return Count(
        total=total,
        parts=[Part(site, None, number) for site, number in by_site.items() if number],
        uncounted=dict(skipped),
        warnings=warnings,
    )


def _handles() -> tuple[Any, dict[str, Handle]]:
    """The module `fvcore.nn.flop_count`, which the package hides behind its function, and its table of handles."""
    module = importlib.import_module("fvcore.nn.flop_count")
    name = "_DEFAULT_SUPPORTED_OPS" if hasattr(module, "_DEFAULT_SUPPORTED_OPS") else "_SUPPORTED_OPS"
    return module, getattr(module, name)


@contextmanager
def _scopes(model: nn.Module) -> Iterator[None]:
    """Give the nodes of a jit trace the names of the modules that they run in, as later releases do."""
    import torch
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    from flopledger.reference_model.sites import watched

    with watched(model) as sites:

        def enter(module: nn.Module, args: Any) -> None:
            if state := torch._C._get_tracing_state():
                state.push_scope(sites.here)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if state := torch._C._get_tracing_state():
                state.pop_scope()

        hooks = [
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def _skipped_in_log() -> Iterator[dict[str, int]]:
    """What the oldest releases leave out: they only log it."""
    skipped: dict[str, int] = {}

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if match := re.fullmatch(r"Skipped operation (\S+) (\d+) time\(s\)", record.getMessage()):
                skipped[match[1]] = int(match[2])

    reader, root = Reader(), logging.getLogger()
    root.addHandler(reader)
    try:
        yield skipped
    finally:
        root.removeHandler(reader)
