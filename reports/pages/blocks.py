"""What commands say, as data: paragraphs and tables. The terminal and the pages draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec


class Column(msgspec.Struct, frozen=True):
    """A heading; numbers go to the right."""

    heading: str
    numeric: bool = False


# What a row of a table of lines is: one that makes up the difference, one that is charged alike, what no formula
# explains (or that this is nothing), the sum.
Kind = Literal["on", "same", "residual", "nothing", "sum"]


class Table(msgspec.Struct, frozen=True):
    """Rows of text under columns; `kinds` says what each row of a table of lines is."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    kinds: Sequence[Kind] = ()


Block = str | Table
