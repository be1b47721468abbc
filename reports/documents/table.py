"""A table of many models and counters, as data: what is printed, written and handed to pandas is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec

from flopledger.counters.tally import Status
from flopledger.reference_model.ledger import Mode
from flopledger.reports.coverage import Seen
from flopledger.reports.scale import PER, Per, Unit, plain


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter said of one model, in its own unit.

    `failing` of `places` are where its stated formulas do not give what it reported, `unexplained` is by how much;
    `seen` is how many of the ledger's MACs it saw.
    """

    counter: str
    version: str | None
    unit: str
    status: Status
    total: int | None = None
    params: int | None = None
    seen: Seen | None = None
    failing: int = 0
    places: int = 0
    unexplained: int = 0
    reason: str | None = None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of one model. Where something is `unpriced` (name → calls), `macs` is "at least"."""

    macs: int
    params: int
    inputs: list[str]
    device: str
    notes: list[str] = []
    unpriced: dict[str, int] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one input. Without a `ledger` there is no number, and `reason` says why.

    `size` is what a sweep gave to the `dimension` of its inputs that `axes` tells.
    """

    name: str
    model: str
    mode: Mode
    ledger: Head | None
    cells: list[Cell]
    reason: str = ""
    dimension: str = ""
    size: int | None = None
    axes: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Many models through many counters.

    `counters` are the columns, `asked` whether they were named, `unit` and `per` how its numbers are to be shown.
    """

    flopledger: str
    counters: list[str]
    asked: bool
    rows: list[Row]
    unit: str | None = None
    per: str | None = None

    @property
    def swept(self) -> bool:
        """Whether its rows differ in a size of their inputs."""
        return any(row.size is not None for row in self.rows)

    @property
    def scale(self) -> Unit | None:
        """The unit of every number; None where each counter has its own."""
        return Unit.parse(self.unit) if self.unit else None

    @property
    def divided(self) -> Per | None:
        """What its numbers are divided by."""
        return PER[self.per] if self.per else None

    def divisor(self, row: Row) -> int | None:
        """What the numbers of a row are divided by: 1, or what `per` is of its inputs; None where it has none."""
        if self.divided is None or row.ledger is None:
            return 1
        return self.divided.of(row.ledger.inputs, row.ledger.params) or None

    def value(self, row: Row, total: int | None, unit: str) -> Fraction | None:
        """A total as the table shows it, exactly; None where it has no number, or none in this unit."""
        by = self.divisor(row)
        if total is None or by is None:
            return None
        value = self.scale.of(total, unit) if self.scale else Fraction(total)
        return None if value is None else value / by

    @property
    def wrong(self) -> bool:
        """Whether a model has no ledger, or an operation without a formula; or a counter that was asked for (or every
        counter, where none was) has no number; or what it says its formulas do not give."""
        return any(self._wrong(row) for row in self.rows)

    def _wrong(self, row: Row) -> bool:
        if row.ledger is None or row.ledger.unpriced or self.divisor(row) is None:
            return True
        missing = [cell for cell in row.cells if cell.total is None]
        without = bool(missing) if self.asked else len(missing) == len(row.cells)
        return without or any(cell.failing for cell in row.cells)

    def records(self) -> list[dict[str, Any]]:
        """One row per model, as CSV and pandas have it: exact integers, or floats where a unit or `per` make them so.

        `macs` is empty and `macs at least` has the number where something is unpriced.
        """
        return [self._record(row) for row in self.rows]

    def _record(self, row: Row) -> dict[str, Any]:
        head = row.ledger
        sizes = {"dimension": row.dimension, "size": row.size} if self.swept else {}
        macs = None if head is None else _plain(self.value(row, head.macs, "MAC"))
        whole = head is not None and not head.unpriced
        found: dict[str, Any] = {
            "name": row.name, "model": row.model, "input": ", ".join(head.inputs) if head else None, "mode": row.mode,
            **sizes, "params": head.params if head else None, "macs": macs if whole else None,
            "macs at least": None if whole else macs, "reason": row.reason or None,
        }  # fmt: skip
        cells = {cell.counter: cell for cell in row.cells}
        for name in self.counters:
            cell = cells.get(name)
            value = self.value(row, cell.total, cell.unit) if cell else None
            found[name] = _plain(value)
            found[f"{name} unit"] = (self.unit or cell.unit) if cell else None
            found[f"{name} seen"] = _plain(cell.seen.share) if cell and cell.seen else None
            found[f"{name} status"] = _status(cell) if cell else "no ledger"
        return found

    def columns(self) -> Sequence[str]:
        """The names of the records' fields."""
        return list(self.records()[0]) if self.rows else []


def _plain(value: Fraction | None) -> int | float | None:
    return None if value is None else plain(value)


def _status(cell: Cell) -> str:
    if cell.total is None:
        return f"{cell.status}: {cell.reason}" if cell.reason else cell.status
    return f"formulas fail at {cell.failing} of {cell.places} places" if cell.failing else cell.status
