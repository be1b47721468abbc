"""What fvcore did before today: older releases' rules, and how their numbers are had site by site.

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
from types import TracebackType
from typing import TYPE_CHECKING, Any
from unittest import mock

from counters.convention import Step, has, in_modules, rule
from counters.shims import Shim
from counters.tally import Count, Part, exact
from reference_model.ledger import Entry

if TYPE_CHECKING:
    from torch import nn

HANDLES, TABLE = "fvcore/nn/jit_handles.py", "fvcore/nn/flop_count.py"
Handle = Callable[[list[Any], list[Any]], Any]


def count_by_handle(model: nn.Module, inputs: tuple[Any, ...]) -> Count:
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
        params=sum(p.numel() for p in model.parameters()),
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

    from counters.sites import watched

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


def _as_mm(entry: Entry) -> bool:
    """as mm"""
    return entry.aten == "aten.mm"


def _as_bmm(entry: Entry) -> bool:
    """as bmm"""
    return entry.aten == "aten.bmm" and not entry.api.endswith("einsum")


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
        rule("matmul attention", "0", "no handle for bmm", f"{TABLE}:20 _DEFAULT_SUPPORTED_OPS", _as_bmm),
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
        rule("matmul", "0", "no handle for mm", f"{TABLE}:26 _DEFAULT_SUPPORTED_OPS", _as_mm),
    )),
    # Transposed convolutions are counted over their input positions.
    Step("0.1.5.post20220119", (
        rule("conv_transpose", "taps_at_output",
             "counted like a convolution: an output costs all the weights at one index of the first dimension",
             f"{HANDLES}:122 conv_flop_count"),
    )),
)  # fmt: skip
