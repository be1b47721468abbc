"""Tables for the terminal, in Markdown, or as JSON for machines."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from flopledger.reports.pages.blocks import Block, Column, Table


class Format(StrEnum):
    """How a command prints."""

    table = "table"
    json = "json"
    markdown = "markdown"


def show(blocks: Sequence[Block], form: Format) -> None:
    """Paragraphs and tables, one after the other."""
    for block in blocks:
        if isinstance(block, Table):
            show_table(block.columns, block.rows, form)
            if form is Format.markdown:
                print()
        else:
            show_text(block, form)


def shown(blocks: Sequence[Block], width: int = 110) -> str:
    """The same as plain text."""
    from rich.console import Console

    text = io.StringIO()
    plain = Console(file=text, width=width, highlight=False, color_system=None)
    for block in blocks:
        plain.print(_table(block.columns, block.rows) if isinstance(block, Table) else _text(block))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def show_json(value: Any) -> None:
    """Any of our types as indented JSON on stdout."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(text.decode() + "\n")


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], form: Format, title: str = "") -> None:
    """Rows of text under columns, as a table for people or as Markdown."""
    if form is Format.markdown:
        print("| " + " | ".join(column.heading for column in columns) + " |")
        print("| " + " | ".join("---:" if column.numeric else "---" for column in columns) + " |")
        for row in rows:
            print("| " + " | ".join(escaped(cell) for cell in row) + " |")
        return
    console().print(_table(columns, rows, title))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str = "") -> Any:
    from rich import box
    from rich.table import Table as RichTable

    table = RichTable(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.numeric else "left",
            no_wrap=column.numeric,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _text(text: str) -> Any:
    """Text: names are not markup."""
    from rich.text import Text

    return Text(text)


def show_text(text: str, form: Format) -> None:
    """A paragraph: wrapped for people, one line in Markdown."""
    if form is Format.markdown:
        bullet = "- " if text.startswith("- ") else ""
        print(bullet + escaped(text.removeprefix(bullet)) + "\n")
    else:
        console().print(_text(text), soft_wrap=not sys.stdout.isatty())


def console() -> Any:
    """Standard output; wide where it goes to a file or a pipe, so that no number is broken."""
    from rich.console import Console

    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 160
    return Console(width=width, highlight=False)


def escaped(text: str) -> str:
    """Safe in a Markdown table cell, whatever the text."""
    from flopledger.reports.pages.markdown import escape

    return escape(text)
