"""`flopledger ledger`: the reference itself."""

from __future__ import annotations

import msgspec
import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Form,
    Inputs,
    Mode,
    ModelArgument,
    ModeOption,
    NoCache,
    Past,
    Quiet,
    Timeout,
    app,
    compared,
)
from flopledger.reports.pages.blocks import Block, Column, Table
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def ledger(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    form: Form = Format.table,
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """The reference itself: every kind of operation, and what could be charged for it."""
    from flopledger.reference_model.ledger import Ledger
    from flopledger.reports.pages import numbers, vocabulary, words

    run = compared(model, inputs, [], timeout, None, quiet, no_cache, mode, past).run
    found = Ledger(
        model=run.model.spec,
        inputs=run.model.inputs,
        params=run.model.params,
        entries=run.ledger.entries,
        device=run.model.device,
        mode=run.model.mode,
        notes=run.ledger.notes,
    )
    if form is Format.json:
        show_json({"model": run.model, "at_least": bool(run.ledger.unpriced), **msgspec.to_builtins(run.ledger)})
        raise typer.Exit(int(bool(run.ledger.unpriced)))
    quantities = ["sites", "calls", "macs", "bias_adds", "inputs", "outputs", "weights", "biases"]
    spare = ["biases", "weights", "inputs", "bias_adds", "calls"]  # where there is no room for all, in this order
    unknown = ("macs", "bias_adds", "weights", "biases")  # of what has no formula
    rows = []
    for phase in ("forward", "backward"):
        part = msgspec.structs.replace(found, entries=[entry for entry in found.entries if entry.phase == phase])
        rows += [
            [
                vocabulary.op_word(op) + (" (backward)" if phase == "backward" else ""),
                *("unknown" if op == "unpriced" and q in unknown else numbers.number(n.get(q, 0)) for q in quantities),
            ]
            for op, n in part.by_op().items()
        ]
    total = {q: numbers.number(value) for q, value in found.totals().items()}
    rows.append(["sum", "", *(total.get(q, "0") for q in quantities[1:])])
    if run.ledger.unpriced:
        rows[-1][2:] = [f"at least {text}" if q in unknown else text
                        for q, text in zip(quantities[1:], rows[-1][2:], strict=True)]  # fmt: skip
    columns = [
        Column(quantity.replace("_", " "), True, len(spare) - spare.index(quantity) if quantity in spare else 0)
        for quantity in quantities
    ]
    blocks: list[Block] = [
        f"{words.at(run)}, {numbers.number(found.params)} parameters, traced on {found.device}",
        Table([Column("operation"), *columns], rows),
        *([words.unpriced(run)] if run.ledger.unpriced else []),
        *words.beside(run),
        *(f"note: {numbers.brief(note)}" for note in found.notes),
    ]
    show(blocks, form)
    if run.ledger.unpriced:
        raise typer.Exit(1)
