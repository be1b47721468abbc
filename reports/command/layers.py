"""`flopledger layers`: the tree of modules."""

from __future__ import annotations

from typing import Annotated

import typer

from flopledger.reports.command.options import (
    DEFAULT,
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
    complete_counters,
)
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def layers(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Annotated[
        list[str] | None,
        typer.Option("-c", "--counter", metavar="COUNTER", help="COUNTER or COUNTER==RELEASE as a further column; "
                     "repeat for several.  [default: the ledger alone]", autocompletion=complete_counters),
    ] = None,
    depth: Annotated[
        int, typer.Option("--depth", metavar="N", min=0, help="How deep to go; what is further inside is in the sums.")
    ] = 3,
    form: Form = Format.table,
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """The tree of modules: class, output, parameters, MACs and share of each, and what counters report there.

    Each row has all that is inside its module, so every level adds up to the ledger's total.
    """
    from flopledger.reports.pages.tree_words import blocks, data
    from flopledger.reports.verdict import wrong

    run = compared(model, inputs, counters or [], timeout, jobs, quiet, no_cache, mode, past).run
    if form is Format.json:
        show_json({**about(run), **data(run, depth)})
    else:
        show(blocks(run, depth, paths=form is Format.markdown), form)
    raise typer.Exit(int(wrong(run)))
