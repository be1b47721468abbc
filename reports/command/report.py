"""`flopledger report`: count with every counter, and write the pages."""

from __future__ import annotations

from pathlib import Path

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
    Out,
    Past,
    Quiet,
    Timeout,
    app,
    compared,
    writing_to,
    wrote,
)
from flopledger.reports.pages.terminal import Format, show


@app.command()
def report(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    out: Out = Path(),
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Count with every counter, reconcile every pair, and write report.md, report.html and run.json."""
    from flopledger.reports.documents.writing import check_writable
    from flopledger.reports.pages import page
    from flopledger.reports.verdict import wrong

    with writing_to(out):
        check_writable(out)
    found = compared(model, inputs, counters, timeout, jobs, quiet, no_cache, mode, past)
    with writing_to(out):
        written = found.save(out)
    if not quiet:
        show([page.opening(found.run)], Format.table)
        wrote(written)
    raise typer.Exit(int(wrong(found.run)))
