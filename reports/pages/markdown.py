"""Blocks as Markdown, GitHub-flavoured; charts are the SVG files that lie beside the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from flopledger.reports.pages.blocks import (
    Block,
    Chart,
    Code,
    Fold,
    Heading,
    Link,
    Live,
    Loud,
    Note,
    Paragraph,
    Point,
    Table,
)
from flopledger.reports.pages.numbers import visible

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "$": "&#36;", "@": "&#64;"}
_MARKS = re.compile(r"[\\*\[\]~]|(?<![^\W_])_|_(?![^\W_])")
# What makes a line a heading, a list or a rule, and what ends a heading: a backslash stands behind it.
_STARTS = re.compile(r"^(?==|[+-](?!\d))|^\d{1,9}(?=[.)](?:\s|$))|(?<!\S)(?=#)")
# What code-hosting pages look for when Markdown is through and an escaped sign is the sign again: addresses of pages
# and of people, mentions, numbers of issues, names of pictures. Only code they leave as it is.
_LOOKED_FOR = re.compile(r"://|www\.|@\w|\w@|[#!]\d|GH-\d|:(?!\d{1,2}:)[\w+-]+:", re.IGNORECASE)


def escape(raw: str) -> str:
    """One line of plain text: nothing in it is Markdown, HTML, a link or the end of a table cell."""
    pieces = re.split(r"([\s|`]+)", visible(raw).strip())
    return _STARTS.sub(r"\g<0>\\", "".join(map(_word, pieces)))


def _word(plain: str) -> str:
    if _LOOKED_FOR.search(plain):
        return f"`{plain}`"
    return "".join(_ENTITIES.get(c, c) for c in _MARKS.sub(r"\\\g<0>", plain))


def table(found: Table) -> str:
    """A table; in one of lines, what no formula explains and the sum are bold."""
    rule = ["---:" if column.numeric else "---" for column in found.columns]
    kinds = found.kinds or ["on"] * len(found.rows)
    rows = [
        [f"**{escape(cell)}**" if cell and kind in ("residual", "sum") else escape(cell) for cell in row]
        for row, kind in zip(found.rows, kinds, strict=True)
    ]
    heads = [escape(column.heading) for column in found.columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def fenced(raw: str, language: str) -> str:
    """A code block that its content cannot close."""
    longest = max((len(run) for run in re.findall("`+", raw)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{raw}\n{fence}"


def render(blocks: Sequence[Block]) -> str:
    """All of them, with a blank line between any two but the points of one list."""
    text = ""
    before: Block | None = None
    for block in blocks:
        gap = "\n" if isinstance(before, Point | Link) and isinstance(block, Point | Link) else "\n\n"
        text += f"{gap if text else ''}{_drawn(block)}"
        before = block
    return text


def _drawn(block: Block) -> str:
    match block:
        case str():
            return escape(block)
        case Heading(text, level):
            return f"{'#' * level} {escape(text)}"
        case Paragraph(sentences):
            return " ".join(
                f"**{escape(said.text)}**" if isinstance(said, Loud) else escape(said) for said in sentences
            )
        case Point(text):
            return f"- {escape(text)}"
        case Link(text, address):
            return f"- {escape(text)} ([source]({address}))"
        case Note(text):
            return escape(text)
        case Table():
            return table(block)
        case Chart(name, title):
            return f"![{escape(title)}]({quote(name)}.svg)"
        case Code(text, language):
            return fenced(text, language)
        case Fold(summary, inner):
            return f"<details><summary>{escape(summary)}</summary>\n\n{render(inner)}\n\n</details>"
        case Live(_, inner):
            return render(inner)
