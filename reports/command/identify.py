"""`flopledger identify`: which conventions, releases and units print a number."""

from __future__ import annotations

from typing import Annotated, Any

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
    then: Annotated[
        str | None,
        typer.Option("--then", metavar="MINE", help="Another model, to be counted under the same convention, at the "
                     "same input: a row for the same table."),
    ] = None,
    pick: Annotated[
        int, typer.Option("--pick", metavar="N", min=1, help="For --then: which of the conventions, by its row.")
    ] = 1,
    every: Annotated[
        bool, typer.Option("--all", help="Every way to print it, at every usual input, mode and variant, however much "
                           "it assumes.")
    ] = False,
    form: Form = Format.table,
    mode: ModeOption = Mode.eval,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
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
        _check_alone(number, model)
        spec = Spec.parse(model, inputs, str(mode))  # type: ignore[arg-type]
        with progress(None, quiet) as (_, advance):
            scales = Scales(timeout, jobs, not no_cache, advance)
            found = searched(printed, spec, scales, every)
            mine = _then(found, then, pick, scales) if then is not None else []
    except ValueError as error:
        refuse(error)
    if form is Format.json:
        show_json({**words.plain(found), **({"then": [words.plain_candidate(each) for each in mine]} if mine else {})})
    else:
        show(words.blocks(found, every), form)
        if mine:
            show(words.side_by_side(found.found[pick - 1], mine), form)
    raise typer.Exit(int(not found.found or (then is not None and not mine)))


def _check_alone(number: str, model: str) -> None:
    """Raise ValueError where what stands for the model is a second number, or the first one's unit."""
    from flopledger.reports.identify.number import NumberError, parse

    for text, said in ((model, f"{number} and {model} are two numbers; give one, and a model after it"),
                       (f"1 {model}", f"write '{number} {model}' in quotation marks: it is one number")):  # fmt: skip
        try:
            parse(text)
        except NumberError:
            continue
        raise ValueError(said)


def _then(found: Any, model: str, pick: int, scales: Any) -> list[Any]:
    """The other model's numbers, under the convention of that row. Raises ValueError."""
    from flopledger.reports.identify.same import same

    if not found.found:
        return []
    if pick > len(found.found):
        raise ValueError(f"--pick {pick}: there are {len(found.found)} ways to print it")
    return same(found.found[pick - 1], model, scales)
