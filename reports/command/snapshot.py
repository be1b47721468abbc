"""`flopledger snapshot`: keep a baseline."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated

import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Inputs,
    Jobs,
    ModelArgument,
    NoCache,
    Quiet,
    Timeout,
    app,
    compared,
    note,
    writing_to,
    wrote,
)
from flopledger.reports.pages.terminal import Format, show_text

BASELINE = Path("baseline.json")


@app.command()
def snapshot(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the baseline goes.")] = BASELINE,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Keep what every counter says today as a baseline: a small JSON file to check in."""
    from flopledger.reports.documents.reading import encode
    from flopledger.reports.documents.snapshot import snapshot as pinned
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.pages import words
    from flopledger.reports.verdict import wrong

    with writing_to(out):
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file, like baseline.json")
        check_writable(out.parent)
    run = compared(model, inputs, counters, timeout, jobs, quiet, no_cache).run
    with writing_to(out):
        write_whole(out.parent, {out.name: encode(pinned(run))})
    if not quiet:
        show_text(words.totals(run), Format.table)
        wrote([out])
    if wrong(run):
        note(words.anything_left(run))
    raise typer.Exit(int(wrong(run)))
