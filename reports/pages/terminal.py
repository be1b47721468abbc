"""Tables for the terminal, in Markdown, or as JSON for machines."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from flopledger.reports.pages.blocks import Block, Chart, Code, Column, Fold, Heading, Live, Point, Table
from flopledger.reports.pages.columns import drawn, wrapped

WIDE = 160  # columns for a table in a file or a pipe
# What GitHub's runner takes for a command where a line of a job's log begins with it, or has it anywhere.
_WORKFLOW = re.compile(r"(?<!\S):(?=:)|#(?=#\[)")


class Format(StrEnum):
    """How a command prints."""

    table = "table"
    json = "json"
    markdown = "markdown"
    latex = "latex"


def show(blocks: Sequence[Block], form: Format) -> None:
    """Blocks, one after the other."""
    if form is Format.table:
        _print(blocks)
    else:
        from flopledger.reports.pages import latex, markdown

        print(f"{(latex if form is Format.latex else markdown).render(blocks)}\n")


def shown(blocks: Sequence[Block], width: int = 110) -> str:
    """The same as plain text."""
    return "\n".join(_lines(blocks, width))


def _lines(blocks: Sequence[Block], width: int | None, rule: str = "─") -> list[str]:
    """Blocks as lines, with an empty one between a table and what stands beside it."""
    lines: list[str] = []
    for block in blocks:
        found = _drawn(block, width, rule)
        lines += found[1:] if found[:1] == [""] and lines[-1:] == [""] else found
    return lines


def _drawn(block: Block, width: int | None, rule: str) -> list[str]:
    """A block as lines; without a width, text is one line. Lines to copy are never wrapped."""
    if isinstance(block, Table):
        columns = [replace(column, heading=printable(column.heading)) for column in block.columns]
        table = Table(columns, [[printable(cell) for cell in row] for row in block.rows])
        return ["", *drawn(table, width or WIDE, rule), ""]
    if isinstance(block, Fold | Live):
        return _lines([Heading(block.summary), *block.blocks] if isinstance(block, Fold) else block.blocks, width, rule)
    if isinstance(block, Chart):
        return []
    if isinstance(block, Heading) and block.level > 1:
        return ["", *_drawn(block.text, width, rule)]
    if isinstance(block, Code):
        return [printable(line) for line in block.text.split("\n")]
    bullet, text = "- " if isinstance(block, Point) else "", block if isinstance(block, str) else block.text
    said = f"{bullet}{printable(text)}"
    return [said] if width is None else wrapped(said, width, " " * len(bullet))


def show_json(value: Any) -> None:
    """Any of our types as indented JSON on stdout."""
    sys.stdout.write(json_text(value))


def json_text(value: Any) -> str:
    """Any of our types as indented JSON; what a terminal would obey is escaped, so the text is the same."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, which has no UTF-8; as an escape it is JSON
        text = json.dumps(msgspec.to_builtins(value), indent=2)
    return "".join(f"{_inert(line)}\n" for line in text.split("\n"))


def show_plain(text: str) -> None:
    """Text in a format of its own, as it is."""
    sys.stdout.write(text)


def _inert(line: str) -> str:
    """A line of JSON with `\\u009b` and the like for what cannot be printed, which stands in strings only."""
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], form: Format) -> None:
    """Rows of text under columns."""
    show([Table(columns, rows)], form)


def _print(blocks: Sequence[Block]) -> None:
    ascii_only = not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    for line in _lines(blocks, width(), "-" if ascii_only else "─"):
        print(line)


def printable(text: str) -> str:
    """What may go to a terminal: one line without escape sequences, whoever wrote the text."""
    from flopledger.reports.pages.numbers import visible

    return _WORKFLOW.sub(lambda sign: f"\\x{ord(sign[0]):02x}", visible(text))


def show_text(text: str, form: Format, bullet: str = "") -> None:
    """A paragraph, or a point of a list: wrapped for people, one line in Markdown."""
    show([Point(text) if bullet else text], form)


def width() -> int | None:
    """How many columns there are to write in: what COLUMNS says, or the terminal; None where neither does."""
    return shutil.get_terminal_size((0, 0)).columns or None
