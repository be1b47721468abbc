"""`flopledger count`: totals, and how much of the ledger each counter saw."""

from __future__ import annotations

import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Form,
    Inputs,
    Jobs,
    Mode,
    ModelArgument,
    ModeOption,
    NoCache,
    Past,
    Quiet,
    Timeout,
    about,
    app,
    compared,
    note,
)
from flopledger.reports.pages.blocks import Point, Table
from flopledger.reports.pages.terminal import Format, show, show_json, show_text


@app.command()
def count(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    form: Form = Format.table,
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Totals only: what each counter says."""
    from flopledger.reports.pages import coverage_words, page, words
    from flopledger.reports.verdict import wrong

    run = compared(model, inputs, counters, timeout, jobs, quiet, no_cache, mode, past).run
    seen = {tally.name: run.coverage(tally).total for tally in run.counted()}
    if form is Format.json:
        fields = ("counter", "release", "version", "status", "unit", "total", "params", "seconds", "reason")
        show_json({
            **about(run),
            "counters": [
                {**{field: getattr(tally, field) for field in fields}, "macs_seen": seen.get(tally.name)}
                for tally in run.tallies
            ],
        })  # fmt: skip
        raise typer.Exit(int(wrong(run)))
    said = [block for block in page.says(run) if isinstance(block, Table | Point)]
    show([words.at(run), *said, *coverage_words.parameters(run)], form)
    if run.ledger.unpriced:
        show_text(words.unpriced(run), form)
    if not run.tallies:
        note(words.anything_left(run))
    raise typer.Exit(int(wrong(run)))
