"""`flopledger snapshot`: keep a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Inputs,
    Jobs,
    Mode,
    ModelArgument,
    ModeOption,
    NoCache,
    Past,
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
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Keep what every counter says today as a baseline: a small JSON file to check in.

    Where no counter has a number nothing is written, and a baseline that is there stays: one without a number
    guards nothing. Exit 1 then, and where a formula fails or a counter that was asked for has no number.
    """
    from flopledger.reports.documents.reading import encode
    from flopledger.reports.documents.snapshot import snapshot as pinned
    from flopledger.reports.documents.writing import check_file, through, write_file
    from flopledger.reports.pages import words
    from flopledger.reports.verdict import wrong

    with writing_to(out):
        check_file(out)
        shown = through(out)  # a summary would be in the way of what reads it
    run = compared(model, inputs, counters, timeout, jobs, quiet, no_cache, mode, past).run
    if not run.counted():
        note(f"{words.totals(run)} Nothing is written to {out}.")
        raise typer.Exit(1)
    with writing_to(out):
        write_file(out, encode(pinned(run)))
    if not quiet and not shown:
        show_text(words.totals(run), Format.table)
        wrote([out])
    if wrong(run):
        note(words.anything_left(run))
    raise typer.Exit(int(wrong(run)))
