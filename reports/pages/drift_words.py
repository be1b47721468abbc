"""What has moved, in words and tables, for the terminal and for a failing test."""

from __future__ import annotations

from flopledger.reports.drift import Broken, Drift, Moves, Row
from flopledger.reports.pages import numbers, vocabulary
from flopledger.reports.pages.blocks import Block, Column, Point, Table
from flopledger.reports.pages.lines import of_drift
from flopledger.reports.pages.numbers import brief, few, signed, visible
from flopledger.reports.pages.words import without_formula


def of_all(found: Moves) -> list[Block]:
    """Every model that moved, then what is new, gone, broken or could not be counted, and what to do next."""
    said: list[Block] = []
    for name, one in found.drifts.items():
        if one.drifted or not one.compared or len(found.drifts) == 1:
            said += [f"{visible(name)}:", *blocks(one)[:-1]] if len(found.drifts) > 1 else blocks(one)[:-1]
    said += [Point(f"{visible(name)}: not in the baseline") for name in found.new]
    said += [Point(f"{visible(name)}: gone, and still in the baseline") for name in found.gone]
    said += [Point(f"{visible(name)}: cannot be counted: {brief(reason)}") for name, reason in found.failed.items()]
    said += [Point(_broken(each)) for each in found.broken]
    said += [f"note: {visible(text)}" for text in found.notes]
    if found.accepted:
        said.append(f"Accepted into {visible(found.baseline)}: {', '.join(map(visible, found.accepted))}.")
    return [*said, _verdict(found)]


def _broken(each: Broken) -> str:
    least = "at least " if each.at_least else ""
    return (
        f"{visible(each.model)}: {visible(each.what)} {least}{numbers.number(each.value)}, over the budget of "
        f"{numbers.number(each.limit)}"
    )


def _verdict(found: Moves) -> str:
    if found.moved:
        meant = f" If that is meant: {visible(found.next_step)}" if found.next_step else ""
        return f"Something has drifted.{meant}"
    if any(not one.compared for name, one in found.drifts.items() if name not in found.accepted):
        return "NOTHING TO COMPARE: no counter has a number both then and now."
    if found.broken or found.failed:
        return "A budget is broken." if found.broken else "Not everything could be counted."
    return "Nothing has drifted." if not found.accepted else "Nothing else has drifted."


def blocks(found: Drift) -> list[Block]:
    """One row per counter, then the lines of each one that moved."""
    counters = Table(
        [Column("counter"), Column("mark"), Column("version then", spare=1), Column("then", True),
         Column("version now", spare=1), Column("now", True), Column("change", True)],
        [
            [visible(row.counter), _mark(row), visible(row.before_version or ""), _number(row.before),
             visible(row.after_version or ""), _number(row.after),
             "" if row.difference is None else signed(row.difference)]
            for row in found.rows
        ],
    )  # fmt: skip
    shapes = ", ".join(visible(text).replace("x", "×") for text in found.inputs)
    how = "" if found.mode == "eval" else f" ({vocabulary.PASSES[found.mode]})"
    said: list[Block] = [f"{visible(found.model)} at {shapes}{how}", counters]
    for row in found.rows:
        said += _row(row)
    said += [f"note: {visible(text)}" for text in found.notes]
    if found.unpriced:
        said.append(_unpriced(found))
    return [*said, verdict(found)]


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
    said += [f"{visible(row.counter)}: {signed(row.difference or 0)}", of_drift(row)]
    for x in row.lines:
        then, now = (visible(because) or "not charged" for because in (x.before_because, x.after_because))
        if then != now:
            said.append(Point(f"{vocabulary.operation(x)}, then: {then}; now: {now}"))
    return said


def _number(n: int | None) -> str:
    return "" if n is None else numbers.number(n)
