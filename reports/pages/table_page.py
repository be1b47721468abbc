"""A table of many models as blocks, and as CSV."""

from __future__ import annotations

import csv
import io

from flopledger.reference_model.subject import ON_REAL
from flopledger.reports.documents.table import Cell, Row, Table
from flopledger.reports.pages import blocks
from flopledger.reports.pages.blocks import Block, Column
from flopledger.reports.pages.numbers import brief, few, listed, number, percent, plural, signed, units, visible
from flopledger.reports.scale import shown

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
NONE = "–"


class _Notes:
    """Footnotes, each text once; `mark` gives the sign that stands at a number."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def mark(self, text: str) -> str:
        return str(self.texts.setdefault(text, len(self.texts) + 1)).translate(_RAISED)

    def listed(self) -> list[str]:
        return [f"{str(at).translate(_RAISED)} {text}" for text, at in self.texts.items()]


def page(found: Table) -> list[Block]:
    """The table, what its numbers are, and a note for each that is missing or not to be taken as it stands."""
    grid, notes = drawn(found)
    return [grid, *legend(found), *map(blocks.Note, notes)]


def drawn(found: Table) -> tuple[blocks.Table, list[str]]:
    """The table of a page, and its footnotes."""
    notes = _Notes()
    inputs = len({tuple(row.ledger.inputs) for row in found.rows if row.ledger}) > 1 or found.swept
    modes = len({row.mode for row in found.rows}) > 1
    sizes = list(dict.fromkeys(row.dimension for row in found.rows if row.dimension))
    columns = [Column("model")]
    if inputs and not found.swept:
        columns.append(Column("input"))
    if found.swept:
        columns.append(Column(sizes[0] if len(sizes) == 1 else "size", True))
    if modes:
        columns.append(Column("mode"))
    columns += [Column("parameters", True), Column(_head("ledger", "MAC", found), True)]
    columns += [Column(_head(name, _unit_of(found, name), found), True) for name in found.counters]
    rows = []
    for row in found.rows:
        cells = [visible(row.name)]
        if inputs and not found.swept:
            cells.append(visible(", ".join(row.ledger.inputs)) if row.ledger else NONE)
        if found.swept:
            cells.append(NONE if row.size is None else number(row.size))
        if modes:
            cells.append(row.mode)
        rows.append([*cells, *_numbers(found, row, notes)])
    return blocks.Table(columns, rows), notes.listed()


def _head(name: str, unit: str, found: Table) -> str:
    return visible(name) if found.unit or not unit else f"{visible(name)} ({visible(unit)})"


def _unit_of(found: Table, name: str) -> str:
    return next((cell.unit for row in found.rows for cell in row.cells if cell.counter == name), "")


def _numbers(found: Table, row: Row, notes: _Notes) -> list[str]:
    """Parameters, the ledger's MACs, and a cell for each counter."""
    head = row.ledger
    if head is None:
        mark = notes.mark(f"{visible(row.name)}: {brief(row.reason)}")
        return [NONE, f"{NONE}{mark}", *[NONE] * len(found.counters)]
    macs = found.value(row, head.macs, "MAC")
    if macs is None:
        said = found.divided.missing if found.divided else ""
        text = f"{NONE}{notes.mark(f'{visible(row.name)}: {said}, so nothing is per {found.per}')}"
    elif head.unpriced:
        names = few([f"{visible(name)} ({plural(calls, 'call')})" for name, calls in head.unpriced.items()])
        has = "has" if len(head.unpriced) == 1 else "have"
        text = f"at least {shown(macs, not _scaled(found))}" + notes.mark(
            f"{visible(row.name)}: {names} may hold arithmetic and {has} no formula, so the ledger's MACs are at "
            "least these, and a counter's total may be too small by it, too"
        )
    else:
        text = shown(macs, not _scaled(found))
    if real := next((note for note in head.notes if note.startswith(ON_REAL)), None):
        text += notes.mark(f"{visible(row.name)}: {visible(real)}, so other data may give another number")
    cells = {cell.counter: cell for cell in row.cells}
    return [number(head.params), text, *(_cell(found, row, cells.get(name), notes) for name in found.counters)]


def _scaled(found: Table) -> bool:
    """Whether numbers are rounded: by a prefix, or because they are divided."""
    return bool(found.per) or (found.scale is not None and bool(found.scale.prefix))


def _cell(found: Table, row: Row, cell: Cell | None, notes: _Notes) -> str:
    if cell is None:
        return NONE
    if cell.total is None:
        reason = f": {visible(cell.reason)}" if cell.reason else ""
        return f"{NONE}{notes.mark(f'{visible(cell.counter)} is {cell.status}{reason}')}"
    value = found.value(row, cell.total, cell.unit)
    if value is None:
        if found.divisor(row) is None:
            return NONE
        said = f"{visible(cell.counter)} counts in {units(cell.unit)}, which are no {units(found.unit or '')}"
        return f"{NONE}{notes.mark(said)}"
    text = shown(value, not _scaled(found))
    if cell.seen is not None and cell.seen.macs != cell.seen.of:
        text += f" ({percent(cell.seen.share)}{' or more' if cell.seen.unsure else ''})"
    if cell.failing:
        off = f", {signed(cell.unexplained)} in all" if cell.unexplained else ""
        text += notes.mark(
            f"{visible(cell.counter)}, {visible(row.name)}: its stated formulas do not give what it reported at "
            f"{number(cell.failing)} of {plural(cell.places, 'place')}{off}"
        )
    return text


def legend(found: Table) -> list[Block]:
    """What the numbers are."""
    said: list[Block] = []
    counted = [row for row in found.rows if row.ledger]
    inputs = {tuple(row.ledger.inputs) for row in counted if row.ledger}
    if len(inputs) == 1 and not found.swept:
        said.append(f"Input: {visible(', '.join(next(iter(inputs))))}.")
    if found.unit:
        base = found.scale.base if found.scale else ""
        said.append(f"All numbers are in {units(found.unit)}; one MAC is two FLOPs.{_converted(found, base)}")
    if found.divided:
        said.append(f"Divided {found.divided.meaning}.")
    if any(cell.seen and cell.seen.macs != cell.seen.of for row in counted for cell in row.cells):
        said.append("In parentheses: the share of the ledger's MACs that a counter saw, where that is not all of them.")
    axes: dict[tuple[str, str], list[str]] = {}
    for row in found.rows:
        if row.size is not None:
            axes.setdefault((row.dimension, row.axes), []).append(visible(row.name))
    for (dimension, where), names in axes.items():
        whose = f" for {few(list(dict.fromkeys(names)), 3)}" if len(axes) > 1 else ""
        said.append(f"{dimension}{whose}: {visible(where)}.")
    return said


def _converted(found: Table, base: str) -> str:
    """Which counters say another unit than the table has."""
    other = [visible(name) for name in found.counters if _unit_of(found, name) in {"MAC", "FLOP"} - {base}]
    says, has = ("says", "is") if len(other) == 1 else ("say", "are")
    way = "doubled" if base == "FLOP" else "halved"
    return f" {listed(other)} {says} {units('FLOP' if base == 'MAC' else 'MAC')} and {has} {way}." if other else ""


def to_csv(found: Table) -> str:
    """One line per model. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(visible, found.columns()))
    for record in found.records():
        writer.writerow(["" if value is None else _harmless(value) for value in record.values()])
    return text.getvalue()


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value[:1] in ("=", "+", "-", "@") else visible(value)
