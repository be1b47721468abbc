"""The tree of modules as a table, for the terminal and in Markdown, and as plain data."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from flopledger.reports.documents.run import Run
from flopledger.reports.pages import words
from flopledger.reports.pages.blocks import Block, Column, Table
from flopledger.reports.pages.layers import kind, label, output
from flopledger.reports.pages.numbers import brief, listed, number, percent, plural, signed, visible
from flopledger.reports.tree import Row, Tree, tree

DIFFERS = "≠"
_STEP = "  "  # a module stands so much further in than the one that holds it


def blocks(run: Run, depth: int | None, paths: bool = False) -> list[Block]:
    """The modules down to `depth` (None: all), what each takes with all inside it, and what the counters report.

    With `paths` they are called by their whole path, for where nothing can stand further in.
    """
    found = tree(run)
    rows = list(found.rows(depth))
    units = [f"{visible(name)} ({visible(unit)}s)" for name, unit in zip(found.counters, found.units, strict=True)]
    more = len(units)  # of which the first stays longest
    columns = [
        Column("module"), Column("class", spare=more + 1), Column("inside", True, spare=more + 4),
        Column("output", spare=more + 2), Column("parameters", True), Column("MACs", True),
        Column("share", True, spare=more + 3), *(Column(heading, True, i) for i, heading in enumerate(units)),
    ]  # fmt: skip
    said: list[Block] = [
        f"{words.at(run)}: {number(run.model.params)} parameters, {words.macs_said(run)}",
        Table(columns, [_cells(found, row, run, paths) for row in rows]),
        _meaning(found, rows),
    ]
    for name, unit, aside in zip(found.counters, found.units, found.asides, strict=True):
        if aside:
            said.append(f"{signed(aside)} of what {visible(name)} reports, in {visible(unit)}s, belong to no module.")
    coarse = [visible(t.name) for t in run.counted() if t.granularity in ("op", "total")]
    if coarse:
        said.append(f"Of {listed(coarse)} nobody knows which module a charge belongs to: all of it is at the root.")
    for tally in run.tallies:
        if tally.status != "counted":
            said.append(f"{visible(tally.name)} has no number ({tally.status}): {brief(tally.reason or '')}")
    return [*said, words.unpriced(run)] if run.ledger.unpriced else said


def _cells(found: Tree, row: Row, run: Run, paths: bool) -> list[str]:
    amounts = row.amounts
    site = visible(row.node.site)
    path = " ".join(filter(None, [site, label(row, run) if row.own or not site else ""]))
    macs = f"at least {number(amounts.macs)}" if amounts.unpriced else number(amounts.macs)
    return [
        path if paths else _STEP * row.depth + label(row, run),
        kind(row, run),
        number(row.folded) if row.folded else "",
        "" if row.own else output(row),
        number(amounts.params),
        macs,
        _share(found.share(amounts)),
        *(f"{DIFFERS} " * found.differs(amounts, i) + number(count) for i, count in enumerate(amounts.counts)),
    ]


def _share(share: Fraction | None) -> str:
    return "< 0.1 %" if share and share < Fraction(1, 1000) else percent(share)


def _meaning(found: Tree, rows: list[Row]) -> str:
    """What the columns say, and what is not shown."""
    said = "Each module with all that is inside it."
    if any(row.own for row in rows):
        said += " (its own calls) are those that it makes beside its modules, and the parameters that it holds itself."
    folded = sum(row.folded for row in rows)
    if folded:
        are = "is" if folded == 1 else "are"
        said += f" {plural(folded, 'module')} further inside {are} in the sums alone; --depth goes further."
    if found.counters:
        said += f" {DIFFERS}: not the MACs of the ledger; one MAC is two FLOPs."
    return said


def data(run: Run, depth: int | None) -> dict[str, Any]:
    """The same for a program. Where something is unpriced there is no `macs` but `macs_at_least`."""
    found = tree(run)
    counted = zip(run.counted(), found.asides, strict=True)
    return {
        "counters": [
            {"counter": t.name, "version": t.version, "unit": t.unit, "total": t.total, "of_no_module": aside}
            for t, aside in counted
        ],
        "without_number": {t.name: t.reason for t in run.tallies if t.status != "counted"},
        "rows": [_plain(found, row) for row in found.rows(depth)],
    }  # fmt: skip


def _plain(found: Tree, row: Row) -> dict[str, Any]:
    member, amounts = row.node.member, row.amounts
    return {
        "module": row.node.site,
        "depth": row.depth,
        "own_calls": row.own,
        "class": member.kind if member else None,
        "calls": member.calls if member else None,
        "output": member.output if member else None,
        "inside": row.folded,
        "params": amounts.params,
        "macs_at_least" if amounts.unpriced else "macs": amounts.macs,
        "unpriced": amounts.unpriced,
        "counts": dict(zip(found.counters, amounts.counts, strict=True)),
        "differ": [name for i, name in enumerate(found.counters) if found.differs(amounts, i)],
    }
