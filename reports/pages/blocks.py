"""What commands say, as data: paragraphs, points of a list and tables. The terminal and the pages draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec


class Point(msgspec.Struct, frozen=True):
    """One point of a list. No paragraph is one for the sign that its first name begins with."""

    text: str


class Column(msgspec.Struct, frozen=True):
    """A heading; numbers go to the right. A terminal without room leaves out the most spare ones first, and says so."""

    heading: str
    numeric: bool = False
    spare: int = 0


# What a row of a table of lines is: one that makes up the difference, one that is charged alike, what no formula
# explains (or that this is nothing), the sum.
Kind = Literal["on", "same", "residual", "nothing", "sum"]


class Table(msgspec.Struct, frozen=True):
    """Rows of text under columns; `kinds` says what each row of a table of lines is."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    kinds: Sequence[Kind] = ()


Block = str | Point | Table
