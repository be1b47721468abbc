"""`flopledger quotes`: whether the numbers that a text quotes are the baseline's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flopledger.reports.command.options import Quiet, app, fail, writing_to
from flopledger.reports.command.quoted import BaselineOption, kept, text_of
from flopledger.reports.pages.terminal import printable


@app.command()
def quotes(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Markdown.  [default: README.md and docs/ of the project]"),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write the right numbers, as many digits as are there.")] = False,
    baseline: BaselineOption = None,
    quiet: Quiet = False,
) -> None:
    """Check numbers that Markdown quotes between marks, like `<!-- flopledger: resnet50 macs -->4.089 G<!-- -->`.

    They are to be the baseline's, rounded to the digits that are written.

    Exit 1 if a number is wrong, also where --fix has written the right one; 2 if a mark names nothing, or has no end.
    """
    from flopledger.reports import quotes as checking
    from flopledger.reports.documents.writing import write_file

    found = kept(baseline)
    if found.path is None:
        fail("no pyproject.toml here or above has [tool.flopledger], so there is no baseline; name one with --baseline")
    status = count = 0
    for path in files or _usual(found.folder):
        text = text_of(path)
        checked = checking.check(text, found.models, found.configured)
        for each in checked.findings:
            said = f"{path}:{each.line}: {each.message}"
            print(printable(f"{said} (fixed)" if fix and not each.bad else said), flush=True)
        fixed = checking.fixed(text, checked.findings)
        if fix and fixed != text:
            with writing_to(path):
                write_file(path, fixed.encode())
        status, count = max(status, checked.status), count + checked.quotes
    if not status and not quiet:
        print(f"{count} {'number is' if count == 1 else 'numbers are'} as in {printable(str(found.path))}")
    raise typer.Exit(status)


def _usual(folder: Path) -> list[Path]:
    """README.md and the pages in docs/; a usage error where there is none of them."""
    readme = folder / "README.md"
    found = [*([readme] if readme.is_file() else []), *sorted((folder / "docs").rglob("*.md"))]
    if not found:
        fail(f"there is no README.md in {folder.resolve()}, and no docs/*.md; name the files")
    return found
