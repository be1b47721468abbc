"""Tables for the terminal, in Markdown, or as JSON for machines."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from flopledger.reports.pages.blocks import Block, Chart, Code, Column, Fold, Live, Point, Table

# What GitHub's runner takes for a command where a line of a job's log begins with it, or has it anywhere.
_WORKFLOW = re.compile(r"(?<!\S):(?=:)|#(?=#\[)")


class Format(StrEnum):
    """How a command prints."""

    table = "table"
    json = "json"
    markdown = "markdown"


def show(blocks: Sequence[Block], form: Format) -> None:
    """Blocks, one after the other."""
    if form is Format.markdown:
        from flopledger.reports.pages.markdown import render

        print(f"{render(blocks)}\n")
        return
    for block in blocks:
        if isinstance(block, Table):
            show_table(block.columns, block.rows, form)
        elif isinstance(block, Fold | Live):
            show([block.summary, *block.blocks] if isinstance(block, Fold) else block.blocks, form)
        elif isinstance(block, Code):
            show_code(block)
        elif not isinstance(block, Chart):
            text = block if isinstance(block, str) else block.text
            show_text(text, form, "- " if isinstance(block, Point) else "")


def shown(blocks: Sequence[Block], width: int = 110) -> str:
    """The same as plain text."""
    from rich.console import Console

    text = io.StringIO()
    plain = Console(file=text, width=width, highlight=False, color_system=None)
    for block in blocks:
        for drawn in _drawn(block):
            plain.print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _drawn(block: Block) -> list[Any]:
    if isinstance(block, Table):
        return [_table(block.columns, block.rows)]
    if isinstance(block, Fold | Live):
        inner = [block.summary, *block.blocks] if isinstance(block, Fold) else block.blocks
        return [drawn for one in inner for drawn in _drawn(one)]
    if isinstance(block, Chart):
        return []
    if isinstance(block, Code):
        return [_text(line) for line in block.text.split("\n")]
    return [_text(f"- {block.text}" if isinstance(block, Point) else block if isinstance(block, str) else block.text)]


def show_code(block: Code) -> None:
    """Lines to copy, which are never wrapped."""
    for line in block.text.split("\n"):
        console().print(_text(line), soft_wrap=True)


def show_json(value: Any) -> None:
    """Any of our types as indented JSON on stdout; what a terminal would obey is escaped, so the text is the same."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, which has no UTF-8; as an escape it is JSON
        text = json.dumps(msgspec.to_builtins(value), indent=2)
    sys.stdout.write("".join(f"{_inert(line)}\n" for line in text.split("\n")))


def _inert(line: str) -> str:
    """A line of JSON with `\\u009b` and the like for what cannot be printed, which stands in strings only."""
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], form: Format) -> None:
    """Rows of text under columns, as a table for people or as Markdown."""
    if form is Format.markdown:
        from flopledger.reports.pages.markdown import table

        print(table(Table(columns, rows)))
        return
    console().print(_table(columns, rows))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table as RichTable

    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            _text(column.heading),
            justify="right" if column.numeric else "left",
            no_wrap=column.numeric,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _text(text: str) -> Any:
    """Text: names are not markup, and a terminal has nothing to obey in them."""
    from rich.text import Text

    return Text(printable(text))


def printable(text: str) -> str:
    """What may go to a terminal: one line without escape sequences, whoever wrote the text."""
    from flopledger.reports.pages.numbers import visible

    return _WORKFLOW.sub(lambda sign: f"\\x{ord(sign[0]):02x}", visible(text))


def show_text(text: str, form: Format, bullet: str = "") -> None:
    """A paragraph, or a point of a list: wrapped for people, one line in Markdown."""
    if form is Format.markdown:
        print(f"{bullet}{escaped(text)}\n")
    else:
        console().print(_text(f"{bullet}{text}"), soft_wrap=not sys.stdout.isatty())


def console() -> Any:
    """Standard output; wide where it goes to a file or a pipe, so that no number is broken."""
    from rich.console import Console

    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 160
    return Console(width=width, highlight=False)


def escaped(text: str) -> str:
    """Safe in a Markdown table cell, whatever the text."""
    from flopledger.reports.pages.markdown import escape

    return escape(text)
