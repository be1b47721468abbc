"""`flopledger render`: the pages of a document again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flopledger.reports.command.options import Out, Quiet, app, fail, note, writing_to, wrote


@app.command()
def render(
    run: Annotated[Path, typer.Argument(metavar="RUN.json", help="A run document, or a history of `releases`.")],
    out: Out = Path(),
    quiet: Quiet = False,
) -> None:
    """Write the pages of a run again, without counting and without torch. Exit 1 if something is wrong with it."""
    from flopledger.reports.documents.reading import RunError, content
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.pages import files as pages
    from flopledger.reports.verdict import wrong

    try:
        found = pages.read(content(run))
    except RunError as error:
        fail(f"cannot read {run}: {error}")
    except OSError as error:
        fail(f"cannot read {run}: {error.strerror or error}")
    with writing_to(out):
        check_writable(out)
        written = write_whole(out, pages.rendered(found))
    if not quiet:
        wrote(written)
    if wrong(found):
        note(pages.verdict(found))
    raise typer.Exit(int(wrong(found)))
