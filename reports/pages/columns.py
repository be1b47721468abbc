"""A table as lines of text, in the columns that a terminal has.

Nothing is cropped, no number and no word is broken. A table that needs more than there is has its text wrapped
between words; then it is drawn without its spare columns, and says so; else its rows become records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len

from flopledger.reports.pages.blocks import Column, Table

GAP = "  "
INDENT = "    "
_EASY = 12  # a column of text that has more to say is not made narrower than this


def drawn(table: Table, width: int, rule: str = "─") -> list[str]:
    """The lines of a table, at most `width` wide but where a single word or number is wider."""
    kept = _kept(table, width)
    columns, rows = [table.columns[i] for i in kept], [[row[i] for i in kept] for row in table.rows]
    widths = _widths(columns, rows, width)
    records = [line for row in table.rows for line in _record(table.columns, row, width)]
    if widths is None:
        return records
    lines = [*_row([column.heading for column in columns], columns, widths)]
    lines.append(GAP.join(rule * at for at in widths))
    for row in rows:
        lines += _row(row, columns, widths)
    if left_out := [column.heading for i, column in enumerate(table.columns) if i not in kept]:
        lines += wrapped(f"(left out at a width of {width}: {', '.join(left_out)})", width)
    narrowed = any(cell_len(cell) > at for row in rows for cell, at in zip(row, widths, strict=True))
    return records if narrowed and len(records) < len(lines) else lines


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of whole words, those after the first behind `indent` more than it; a wider word is a line by itself."""
    if cell_len(text) <= width:
        return [text]
    margin = _margin(text)
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{margin}{indent if lines else ''}{word}")
    return lines


def _margin(text: str) -> str:
    return text[: len(text) - len(text.lstrip(" "))]


def _words(text: str) -> list[str]:
    """The words of a text, each as far in as a line that begins with it."""
    return [f"{_margin(text)}{word}" for word in text.split()]


def _kept(table: Table, width: int) -> list[int]:
    """Which columns there is room for: the others than spare ones always, and of those the least spare ones first."""
    kept = [i for i, column in enumerate(table.columns) if not column.spare]
    for spare in sorted({column.spare for column in table.columns} - {0}):
        more = [i for i, column in enumerate(table.columns) if i in kept or column.spare == spare]
        if _widths([table.columns[i] for i in more], [[row[i] for i in more] for row in table.rows], width):
            kept = more
    return kept


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """How wide each column is, the widest ones of text narrowed first; None where that is not enough."""
    least, most = [], []
    for i, column in enumerate(columns):
        cells = [row[i] for row in rows]
        whole = max(map(cell_len, [column.heading, *cells]))
        words = [*column.heading.split(), *(cells if column.numeric else (w for cell in cells for w in _words(cell)))]
        longest = max(map(cell_len, words), default=0)
        least.append(longest if column.numeric else max(longest, min(whole, _EASY)))
        most.append(whole)
    room = width - len(GAP) * (len(columns) - 1)
    cap = max(most, default=0)
    found = most
    while sum(found) > room:
        if found == least:
            return None
        cap -= 1
        found = [max(low, min(high, cap)) for low, high in zip(least, most, strict=True)]
    return found


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> Iterator[str]:
    texts = [wrapped(cell, at) for cell, at in zip(cells, widths, strict=True)]
    for parts in zip_longest(*texts, fillvalue=""):
        padded = []
        for part, column, at in zip(parts, columns, widths, strict=True):
            space = " " * (at - cell_len(part))
            padded.append(space + part if column.numeric else part + space)
        yield GAP.join(padded).rstrip()


def _record(columns: Sequence[Column], cells: Sequence[str], width: int) -> Iterator[str]:
    """One row by itself: what it is about, and below it what else it says, each with its heading."""
    first = next((i for i, column in enumerate(columns) if column.heading), 0) + 1
    yield from wrapped(" ".join(filter(None, cells[:first])), width, INDENT)
    line = ""
    for column, cell in zip(columns[first:], cells[first:], strict=True):
        said = f"{column.heading}: {cell}" if column.heading else cell
        if cell and line and cell_len(f"{line}{GAP} {said}") <= width:
            line += f"{GAP} {said}"
        elif cell:
            if line:
                yield line
            line, *more = wrapped(f"{INDENT}{said}", width, GAP)
            if more:
                yield from (line, *more)
                line = ""
    if line:
        yield line
