"""`flopledger card`: a model's numbers for its card on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flopledger.reports.command.options import (
    Counters,
    Inputs,
    Jobs,
    Mode,
    ModeOption,
    NoCache,
    Quiet,
    Timeout,
    app,
    fail,
    writing_to,
    wrote,
)
from flopledger.reports.command.quoted import BaselineOption, kept, names_completed, numbers, of_project, text_of


@app.command()
def card(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A name in the baseline, or a model to count now.  [default: the only one of the baseline]",
            autocompletion=names_completed,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A card to update, or to begin.  [default: print it]"),
    ] = None,
    baseline: BaselineOption = None,
    inputs: Inputs = None,
    counters: Counters = None,
    mode: ModeOption = Mode.eval,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """A model card with the numbers: the key `flopledger` of its metadata, and a table between two marks.

    In a file that is there both are put in their place, and all else of it stays as it is.
    """
    from flopledger.reports.documents.writing import check_file, through, write_file
    from flopledger.reports.pages.card import CardError, updated

    before = ""
    if out is not None:
        with writing_to(out):
            check_file(out)
        before = text_of(out) if out.exists() and not through(out) else ""
    there = kept(baseline)
    name, *others = [model] if model else of_project(there)
    if others:
        fail(f"{there.path} has {len(others) + 1} models; name one, like {name}")
    found, wrong = numbers(name, there, inputs, counters, timeout, jobs, quiet, no_cache, mode)
    try:
        after = updated(before, name, found)
    except CardError as error:
        fail(f"{out}:{error.line}: {error}")
    if out is None:
        print(after, end="")
    elif after != before:
        with writing_to(out):
            write_file(out, after.encode())
        if not quiet and not through(out):
            wrote([out])
    raise typer.Exit(int(wrong))
