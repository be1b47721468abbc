"""What has moved, in words and tables, for the terminal and for a failing test."""

from __future__ import annotations

from flopledger.reports.moves import Drift, Row
from flopledger.reports.pages import numbers, vocabulary
from flopledger.reports.pages.blocks import Block, Column, Point, Table
from flopledger.reports.pages.lines import of_drift
from flopledger.reports.pages.numbers import brief, few, signed, visible
from flopledger.reports.pages.words import without_formula


def blocks(found: Drift) -> list[Block]:
    """One row per counter, then the lines of each one that moved."""
    said: list[Block] = [described(found), counters(found)]
    for row in found.rows:
        said += _row(row)
    said += [f"note: {visible(text)}" for text in found.notes]
    if found.unpriced:
        said.append(_unpriced(found))
    return [*said, verdict(found)]


def described(found: Drift) -> str:
    """What was counted: `resnet50 at 1×3×224×224`, and how it was run where that is not a forward in eval mode."""
    shapes = ", ".join(visible(text).replace("x", "×") for text in found.inputs)
    how = "" if found.mode == "eval" else f" ({vocabulary.PASSES[found.mode]})"
    return f"{visible(found.model)} at {shapes}{how}"


def counters(found: Drift) -> Table:
    """A row for each counter."""
    return Table(
        [Column("counter"), Column("mark"), Column("version then", spare=1), Column("then", True),
         Column("version now", spare=1), Column("now", True), Column("change", True)],
        [
            [visible(row.counter), _mark(row), visible(row.before_version or ""), _number(row.before),
             visible(row.after_version or ""), _number(row.after),
             "" if row.difference is None else signed(row.difference)]
            for row in found.rows
        ],
    )  # fmt: skip


def _unpriced(found: Drift) -> str:
    """What is in neither side's numbers, and whether that is new."""
    new = found.newly_unpriced
    since = f", {few([visible(name) for name in new])} not in the baseline, or not so often" if new else ", then too"
    return f"UNPRICED: {without_formula(found.unpriced)}{since}; what it takes is in no number that was compared."


def verdict(found: Drift) -> str:
    """Whether anything has drifted, and whether that could be seen at all."""
    if found.drifted:
        return "Something has drifted."
    if not found.compared:
        return "NOTHING TO COMPARE: no counter has a number both then and now."
    return "Nothing has drifted."


def _mark(row: Row) -> str:
    alike = row.mark == "same" and row.before is None and row.after is None
    return "no number, then and now" if alike else row.mark


def _row(row: Row) -> list[Block]:
    said: list[Block] = []
    if row.reason and row.mark != "same":
        said.append(f"{visible(row.counter)}, {row.mark}: {brief(row.reason)}")
    if not row.lines and not row.residual:
        return said
    return [*said, f"{visible(row.counter)}: {signed(row.difference or 0)}", *lines(row)]


def lines(row: Row) -> list[Block]:
    """The operations that moved one counter's number, the residual, and why each is charged as it is."""
    said: list[Block] = [of_drift(row)]
    for x in row.lines:
        then, now = (visible(because) or "not charged" for because in (x.before_because, x.after_because))
        if then != now:
            said.append(Point(f"{vocabulary.operation(x)}, then: {then}; now: {now}"))
    return said


def _number(n: int | None) -> str:
    return "" if n is None else numbers.number(n)
