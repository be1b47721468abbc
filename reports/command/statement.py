"""`flopledger statement`: what a model takes, in sentences to sign, and as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Form,
    Inputs,
    Jobs,
    Mode,
    ModelArgument,
    NoCache,
    Quiet,
    Timeout,
    app,
    compared,
    fail,
    refuse,
)
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def statement(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    mode: Annotated[
        Mode | None,
        typer.Option("--mode", case_sensitive=False, help="eval, train or step.  [default: step of a training, else "
                     "eval]"),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps of the whole training.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Tokens that an epoch has.")] = None,
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="Samples that an epoch has.")] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How often they were seen.")] = 1,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """What a model takes, in sentences to sign: method, input, what is in it, the range over conventions."""
    from flopledger.reference_model import subject
    from flopledger.reports.pages import statement_words
    from flopledger.reports.statement import Training
    from flopledger.reports.statement import statement as stated
    from flopledger.reports.verdict import wrong

    given = [each for each in (steps, tokens, samples) if each is not None]
    trained = Training(steps=steps, tokens=tokens, samples=samples, epochs=epochs) if given or epochs != 1 else None
    way = mode or (Mode.step if trained else Mode.eval)
    if trained and way is not Mode.step:
        fail(f"a training consists of steps, and --mode {way} is none; leave it out, or the training")
    try:
        if trained:  # before anything is counted, as far as that can be told
            spec = subject.Spec.parse(model, inputs)
            trained.passes(spec.inputs or ()) if spec.inputs is not None else trained.told()
        run = compared(model, inputs, counters, timeout, jobs, quiet, no_cache, way).run
        found = stated(run, trained)
    except ValueError as error:
        refuse(error)
    if form is Format.json:
        show_json(found)
    else:
        show(statement_words.page(found, code=form is not Format.latex), form)  # LaTeX would spell its quotes anew
    raise typer.Exit(int(wrong(run)))
