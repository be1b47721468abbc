"""The share of the ledger's multiply-accumulates that a counter saw."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from flopledger.reports.align import failed
from flopledger.reports.reconcile import Rows, Side


class Seen(msgspec.Struct, frozen=True):
    """MACs seen, of how many; of `at_least` so many where some operation has no formula."""

    macs: int
    of: int
    at_least: bool = False

    @property
    def share(self) -> Fraction | None:
        """Between 0 and 1, None where there are no MACs to see."""
        return Fraction(self.macs, self.of) if self.of else None


class Coverage(msgspec.Struct, frozen=True):
    """What a counter saw, in all and by op (of those that take MACs)."""

    total: Seen
    ops: dict[str, Seen]


def coverage(side: Side, rows: Rows) -> Coverage:
    """A call is seen if it was charged more than 0, and the charge is not part of a sum that is wrong."""
    wrong = failed(side.failures, [entry for entry, _ in rows])
    ops: dict[str, list[tuple[int, bool]]] = {}
    for i, ((entry, call), (_, amount)) in enumerate(zip(rows, side.rows, strict=True)):
        if macs := call.times * call.quantities.get("macs", 0):
            ops.setdefault(entry.op, []).append((macs, amount > 0 and i not in wrong))
    unknown = any(entry.op == "unpriced" for entry, _ in rows)
    return Coverage(
        _seen([found for op in ops.values() for found in op], unknown), {op: _seen(found) for op, found in ops.items()}
    )


def _seen(found: Sequence[tuple[int, bool]], at_least: bool = False) -> Seen:
    return Seen(sum(macs for macs, seen in found if seen), sum(macs for macs, _ in found), at_least)
