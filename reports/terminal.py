"""Tables for the terminal, in Markdown, or as JSON for machines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec


class Format(str, Enum):
    """How a command prints."""

    table = "table"
    json = "json"
    markdown = "markdown"


class Column(msgspec.Struct, frozen=True):
    """A heading; numbers go to the right."""

    heading: str
    numeric: bool = False


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
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.numeric else "left",
            no_wrap=column.numeric,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: names are not markup
    console().print(table)


def show_text(text: str, form: Format) -> None:
    """A paragraph: wrapped for people, one line in Markdown."""
    if form is Format.markdown:
        print(escaped(text) + "\n")
    else:
        from rich.text import Text

        console().print(Text(text), soft_wrap=not sys.stdout.isatty())


def console() -> Any:
    """Standard output; wide where it goes to a file or a pipe, so that no number is broken."""
    from rich.console import Console

    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 160
    return Console(width=width, highlight=False)


def escaped(text: str) -> str:
    """Safe in a Markdown table cell, whatever the text."""
    from reports.markdown import escape

    return escape(text)
