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
from flopledger.reports.pages.blocks import Column
from flopledger.reports.pages.terminal import Format, show_json, show_table, show_text


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
    from flopledger.reports.coverage import coverage
    from flopledger.reports.pages import numbers, words
    from flopledger.reports.verdict import wrong

    run = compared(model, inputs, counters, timeout, jobs, quiet, no_cache, mode, past).run
    seen = {tally.name: coverage(tally, run.rows).total for tally in run.counted()}
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
    rows = [
        [
            t.name,
            t.version or "",
            "" if t.total is None else numbers.number(t.total),
            t.unit if t.status == "counted" else "",
            words.seen(run, t) if t.status == "counted" else "",
            "" if t.params is None else numbers.number(t.params),
            t.status if not t.reason else f"{t.status}: {numbers.brief(t.reason)}",
        ]
        for t in run.tallies
    ]
    show_text(words.at(run), form)
    show_table(
        [Column("counter"), Column("version"), Column("total", True), Column("unit"), Column("MACs seen", True),
         Column("params", True, 1), Column("status")], rows, form,
    )  # fmt: skip
    if run.ledger.unpriced:
        show_text(words.unpriced(run), form)
    if not rows:
        note(words.anything_left(run))
    raise typer.Exit(int(wrong(run)))
