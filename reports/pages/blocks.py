"""The page model: what a document has to say, as a list of blocks. Each renderer draws every kind of them.

Texts are plain: they hold no Markdown, HTML or LaTeX, and what a renderer writes is escaped by it. A page is made
by `flopledger.reports.pages.page`, once for all of terminal, Markdown, HTML and LaTeX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec


class Heading(msgspec.Struct, frozen=True):
    """A title: level 1 is the page's, 2 a section's. `anchor` is the section's name in an address."""

    text: str
    level: Literal[1, 2, 3] = 2
    anchor: str = ""


class Loud(msgspec.Struct, frozen=True):
    """A sentence that nobody may overlook: a residual, an unpriced operation, a missing number."""

    text: str


class Paragraph(msgspec.Struct, frozen=True):
    """Sentences, some of them loud. A paragraph without a loud one may be its text alone."""

    sentences: Sequence[str | Loud]

    @property
    def text(self) -> str:
        """All of it in one line."""
        return " ".join(said.text if isinstance(said, Loud) else said for said in self.sentences)


class Point(msgspec.Struct, frozen=True):
    """One point of a list. No paragraph is one for the sign that its first name begins with."""

    text: str


class Link(msgspec.Struct, frozen=True):
    """A point of a list that leads to an address, which is ours and holds no text of others unquoted."""

    text: str
    address: str


class Note(msgspec.Struct, frozen=True):
    """What explains a word, a table or a chart where it stands."""

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


class Chart(msgspec.Struct, frozen=True):
    """A chart by its name (`totals`, `waterfall`), which is its file's without `.svg`; a table beside it has its data.

    `title` says in words what there is to see. Terminal and LaTeX leave it out.
    """

    name: str
    title: str


class Code(msgspec.Struct, frozen=True):
    """Lines to copy, kept as they are: `language` is `python`, `latex` or `sh`."""

    text: str
    language: str = ""


class Fold(msgspec.Struct, frozen=True):
    """Blocks that a page can hide behind a line."""

    summary: str
    blocks: Sequence[Block]
    open: bool = False


class Live(msgspec.Struct, frozen=True):
    """What the HTML page lets one choose or sort: `pair`, `layers`, `papers`. Elsewhere it is its blocks."""

    name: Literal["pair", "layers", "papers"]
    blocks: Sequence[Block]


Block = str | Heading | Paragraph | Point | Link | Note | Table | Chart | Code | Fold | Live
