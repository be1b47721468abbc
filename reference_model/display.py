"""What an object shows of itself at a prompt and in a notebook: one line, and a small table in HTML.

Names come from models, libraries and files: a line is printable, and HTML holds them as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

MOST = 40  # rows of a table in a notebook
CELL, LINE, NOTE = 300, 600, 2000  # letters of a cell, of the line, of a note

# Letters and marks by their category, so `isprintable`, of which nothing is seen.
_UNSEEN = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")


def visible(text: str) -> str:
    """The text on one line: what cannot be printed or seen is written as an escape (`\\n`). Twice is as once."""
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    seen = (c.isprintable() and not _UNSEEN.match(c) for c in text)
    return "".join(c if shown else c.encode("unicode_escape").decode() for c, shown in zip(text, seen, strict=True))


def signed(n: int) -> str:
    """With its sign and thousands separators: `+1,034`, `−5`, `0`."""
    return f"{n:+,}".replace("-", "−") if n else "0"


class Grid(NamedTuple):
    """A table to show: whole numbers go to the right with separators, None is a dash, the last rows may be sums."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | int | None]]
    sums: Sequence[Sequence[str | int | None]] = ()


class Displayed:
    """Has a short `repr` and, in a notebook, `_repr_html_`: its line and its tables."""

    __slots__ = ()

    def _line(self) -> str:
        """What it is, in a few words."""
        raise NotImplementedError

    def _notes(self) -> Iterable[str]:
        return ()

    def _grids(self) -> Iterable[Grid]:
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {_brief(self._line(), LINE)}>"

    def _repr_html_(self) -> str:
        notes = "".join(f"<p><strong>{escape(_brief(text, NOTE))}</strong></p>" for text in self._notes())
        return f"<p>{escape(_brief(self._line(), LINE))}</p>{notes}{''.join(map(_table, self._grids()))}"


def by_size(rows: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Rows with an amount at their end, the largest first."""
    return sorted(rows, key=lambda row: -abs(row[2]))


def _table(grid: Grid) -> str:
    left_out = len(grid.rows) - MOST
    head = "".join(f'<th scope="col">{_text(text)}</th>' for text in grid.heads)
    rows = "".join(map(_row, grid.rows[:MOST]))
    more = f'<tr><td colspan="{len(grid.heads)}">and {left_out:,} more</td></tr>' if left_out > 0 else ""
    foot = f"<tfoot>{''.join(map(_row, grid.sums))}</tfoot>" if grid.sums else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}{more}</tbody>{foot}</table>"


def _row(cells: Sequence[str | int | None]) -> str:
    name, *rest = cells
    return f'<tr><th scope="row" style="text-align:left">{_said(name)}</th>{"".join(map(_cell, rest))}</tr>'


def _cell(value: str | int | None) -> str:
    return f'<td style="text-align:{"right" if isinstance(value, int) else "left"}">{_said(value)}</td>'


def _said(value: str | int | None) -> str:
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return "–" if value is None else _text(value)


def _text(text: str) -> str:
    return escape(_brief(text, CELL))


def _brief(text: str, most: int) -> str:
    shown = visible(text)
    return shown if len(shown) <= most else f"{shown[:most]}…"
