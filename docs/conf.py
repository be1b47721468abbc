"""How the pages of this folder become a site: `sphinx-build -W docs out/site`, its packages are in the `test` extra."""

from __future__ import annotations

from pathlib import Path

import typer.cli
import typer.main
from sphinx.application import Sphinx

from flopledger.reports.command.main import app as command

project = "flopledger"
extensions = ["myst_parser"]
exclude_patterns = ["conf.py"]
nitpicky = True
smartquotes = False  # they make one dash of the two in front of an option
html_theme = "furo"
html_title = "flopledger"
html_copy_source = False
html_show_copyright = False
myst_heading_anchors = 4  # so that a link to a heading that is not there is a warning, too


def reference() -> str:
    """Every command with its arguments and options, in Markdown."""
    group = typer.main.get_group(command)
    context = typer.Context(group, info_name="flopledger")
    pages = [
        typer.cli.get_docs_for_click(obj=group.commands[name], ctx=context, indent=1, call_prefix="flopledger")
        for name in group.list_commands(context)
    ]
    return "\n".join(pages)


def with_the_commands(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "commands":
        source[0] += reference()


def from_the_top(app: Sphinx, file: Path, page: str, content: list[str]) -> None:
    """The README lies one floor above its page, and so do some files that it leads to."""
    content[0] = content[0].replace("](SECURITY.md)", "](security.md)").replace("](CITATION", "](../CITATION")


def setup(app: Sphinx) -> None:
    app.connect("source-read", with_the_commands)
    app.connect("include-read", from_the_top)
