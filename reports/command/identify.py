"""`flopledger identify`: which conventions, releases and units print a number."""

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
    Quiet,
    Timeout,
    app,
    progress,
    refuse,
)
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def identify(
    number: Annotated[
        str,
        typer.Argument(metavar="NUMBER", help="As a paper prints it: 4.36G, '8.7 GFLOPs', 314M, 1,034,246,688, 0.39B."),
    ],
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    every: Annotated[bool, typer.Option("--all", help="Every way to print it, however much it assumes.")] = False,
    form: Form = Format.table,
    mode: ModeOption = Mode.eval,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Which convention prints this number for this model: every counter, its releases, units, inputs and variants.

    The ways to print it come in order of how little has to be assumed. Exit 1 if there is none.
    """
    from flopledger.reference_model.subject import Spec
    from flopledger.reports.identify import words
    from flopledger.reports.identify.number import parse
    from flopledger.reports.identify.search import Scales
    from flopledger.reports.identify.search import identify as searched

    try:
        printed = parse(number)
        spec = Spec.parse(model, inputs, str(mode))  # type: ignore[arg-type]
        with progress(None, quiet) as (_, advance):
            found = searched(printed, spec, Scales(timeout, jobs, not no_cache, advance))
    except ValueError as error:
        refuse(error)
    if form is Format.json:
        show_json(words.plain(found))
    else:
        show(words.blocks(found, every), form)
    raise typer.Exit(int(not found.found))
