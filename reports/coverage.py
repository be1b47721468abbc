"""The share of the ledger's multiply-accumulates that a counter saw.

What is charged for a call counts in MACs (half of it where the counter says FLOPs), and up to the MACs that the call
takes: a counter that charges a linear layer its weights, whatever the batch, saw that much of it and no more, and one
that charges a bias as well saw no more than all. What was reported at a place where formulas fail may be any of its
calls', so it is not seen but `unsure`.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import msgspec

from flopledger.reports.align import failed
from flopledger.reports.reconcile import Rows, Side


class Seen(msgspec.Struct, frozen=True):
    """MACs seen, of how many; `unsure` are those at places where formulas fail, of which any part may have been seen.

    They are of `at_least` so many where some operation has no formula.
    """

    macs: int
    of: int
    unsure: int = 0
    at_least: bool = False

    @property
    def share(self) -> Fraction | None:
        """Between 0 and 1, None where there are no MACs to see."""
        return Fraction(self.macs, self.of) if self.of else None

    @property
    def missed(self) -> int:
        """MACs that it saw nothing of, for sure."""
        return self.of - self.macs - self.unsure


class Coverage(msgspec.Struct, frozen=True):
    """What a counter saw, in all, by op and by the module class in which they run (of those that take MACs)."""

    total: Seen
    ops: dict[str, Seen]
    modules: dict[str, Seen]


def coverage(side: Side, rows: Rows) -> Coverage:
    """What a tally saw of the ledger's calls."""
    wrong = failed(side.failures, [entry for entry, _ in rows])
    ops: dict[str, list[Seen]] = {}
    modules: dict[str, list[Seen]] = {}
    for i, ((entry, call), (_, amount)) in enumerate(zip(rows, side.rows, strict=True)):
        if macs := call.times * call.quantities.get("macs", 0):
            charged = max(0, amount // 2 if side.unit == "FLOP" else amount)
            found = Seen(0, macs, macs) if i in wrong else Seen(min(charged, macs), macs)
            ops.setdefault(entry.op, []).append(found)
            modules.setdefault(entry.module.rpartition(".")[2], []).append(found)
    unknown = any(entry.op == "unpriced" for entry, _ in rows)
    return Coverage(
        _sum((found for op in ops.values() for found in op), unknown),
        {op: _sum(found) for op, found in ops.items()},
        {name: _sum(found) for name, found in modules.items()},
    )


def _sum(found: Iterable[Seen], at_least: bool = False) -> Seen:
    sums = [(each.macs, each.of, each.unsure) for each in found]
    macs, of, unsure = (sum(column) for column in zip(*sums, strict=True)) if sums else (0, 0, 0)
    return Seen(macs, of, unsure, at_least)
