"""`flopledger explain`: why two counters differ."""

from __future__ import annotations

import msgspec
import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Form,
    Inputs,
    Jobs,
    Left,
    Mode,
    ModelArgument,
    ModeOption,
    NoCache,
    Past,
    Quiet,
    Right,
    Timeout,
    about,
    app,
    compared,
    fail,
    note,
)
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def explain(
    left: Left,
    right: Right,
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    form: Form = Format.table,
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Why two counters differ: the lines that add up to the difference, and what is left over."""
    from flopledger.counters.engine.plan import distinct
    from flopledger.reports.pages import words
    from flopledger.reports.pages.explained import blocks
    from flopledger.reports.verdict import wrong

    try:
        names = distinct([left, right])
    except ValueError as error:
        fail(str(error))
    if len(names) == 1:
        fail(f"{left} and {right} are one counter; name two")
    left, right = names
    run = compared(model, inputs, [left, right], timeout, jobs, quiet, no_cache, mode, past).run
    for name in (left, right):
        tally = run.tally(name)
        if tally.status != "counted":
            note(f"{name} has no number ({tally.status}): {tally.reason}")
            if run.ledger.unpriced:
                note(words.unpriced(run))
            raise typer.Exit(1)
    found = run.between(left, right)
    if form is Format.json:
        show_json({**about(run), **msgspec.to_builtins(found)})
        raise typer.Exit(int(wrong(run)))
    show(blocks(run, found, whole=form is not Format.table), form)
    raise typer.Exit(int(wrong(run)))
