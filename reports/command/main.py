"""The command. Anything that imports torch happens in a worker; `--help` needs none of it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Form,
    Inputs,
    Jobs,
    Left,
    ModelArgument,
    Out,
    Quiet,
    Right,
    Timeout,
    app,
    compared,
    fail,
    writing_to,
)
from flopledger.reports.pages.terminal import Column, Format, show_json, show_table, show_text


@app.command()
def report(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    out: Out = Path(),
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Count with every counter, reconcile every pair, and write report.md, report.html and run.json."""
    from flopledger.reports.documents.writing import check_writable
    from flopledger.reports.pages import words

    with writing_to(out):
        check_writable(out)
    found = compared(model, inputs, counters, timeout, jobs, quiet)
    with writing_to(out):
        written = found.save(out)
    if not quiet:
        show_text(words.headline(found.run), Format.table)
        show_text(words.totals(found.run), Format.table)
        show_text(words.anything_left(found.run), Format.table)
        print("\n".join(f"wrote {path}" for path in written))
    raise typer.Exit(int(any(r.residual for r in found.run.reconciliations)))


@app.command()
def explain(
    left: Left,
    right: Right,
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Why two counters differ: the lines that add up to the difference, and what is left over."""
    from flopledger.reports.pages import words

    if left == right:
        fail(f"{left} and {right} are one counter; name two")
    run = compared(model, inputs, [left, right], timeout, jobs, quiet).run
    for name in (left, right):
        tally = run.tally(name)
        if tally.status != "counted":
            fail(f"{name} has no number ({tally.status}): {tally.reason}")
    found = run.between(left, right)
    if form is Format.json:
        show_json(found)
        raise typer.Exit(int(found.residual != 0))
    a, b = run.tally(left), run.tally(right)
    show_text(f"{run.model.spec} at {words.shapes(run)}, {words.number(run.model.params)} parameters", form)
    rows = [[t.name, t.version or "", words.number(t.total or 0), t.unit] for t in (a, b)]
    show_table([Column("counter"), Column("version"), Column("total", True), Column("unit")],
               [*rows, ["difference", "", words.signed(found.difference), ""]], form)  # fmt: skip
    lines = words.contributing(found)
    show_table(
        [Column("operation"), Column(f"{left} charges"), Column("", True), Column(f"{right} charges"),
         Column("", True), Column("difference", True), Column("sites verified", True)],
        [
            *([words.op_word(x.op), x.left_formula, words.number(x.left), x.right_formula, words.number(x.right),
               words.signed(x.difference), words.verified(x)] for x in lines),
            ["residual", "", "", "", "", words.signed(found.residual), ""],
            ["sum", "", "", "", "", words.signed(sum(x.difference for x in lines) + found.residual), ""],
        ],
        form,
    )  # fmt: skip
    for sentence in words.sentences(found, run):
        show_text(f"- {sentence}", form)
    show_text(words.neither(found, run), form)
    show_text(words.leftover(found), form)
    raise typer.Exit(int(found.residual != 0))


@app.command()
def count(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Totals only: what each counter says."""
    from flopledger.reports.pages import words

    run = compared(model, inputs, counters, timeout, jobs, quiet).run
    if form is Format.json:
        fields = ("counter", "release", "version", "status", "unit", "total", "params", "seconds", "reason")
        show_json([{field: getattr(tally, field) for field in fields} for tally in run.tallies])
        return
    rows = [
        [
            t.name,
            t.version or "",
            "" if t.total is None else words.number(t.total),
            t.unit if t.status == "counted" else "",
            "" if t.params is None else words.number(t.params),
            t.status if not t.reason else f"{t.status}: {words.visible(t.reason)}",
        ]
        for t in run.tallies
    ]
    show_text(f"{words.visible(run.model.spec)} at {words.shapes(run)}", form)
    show_table(
        [Column("counter"), Column("version"), Column("total", True), Column("unit"), Column("params", True),
         Column("status")], rows, form,
    )  # fmt: skip


@app.command()
def counters(form: Form = Format.table) -> None:
    """Who is here: every counter, the version installed, and its unit."""
    from flopledger.counters import registry

    adapters = {name: registry.get(name) for name in registry.names()}
    versions = {name: registry.version_of(adapter.distribution) for name, adapter in adapters.items()}
    if form is Format.json:
        show_json([
            {"counter": name, "distribution": adapter.distribution, "version": versions[name], "unit": adapter.unit,
             "about": adapter.about}
            for name, adapter in adapters.items()
        ])  # fmt: skip
        return
    rows = [
        [name, versions[name] or f"not installed ({registry.remedy(adapter)})", adapter.unit, adapter.about]
        for name, adapter in adapters.items()
    ]
    show_table([Column("counter"), Column("version"), Column("unit"), Column("what it counts")], rows, form)


@app.command()
def ledger(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    quiet: Quiet = False,
) -> None:
    """The reference itself: every kind of operation, and what could be charged for it."""
    from flopledger.reference_model.ledger import Ledger
    from flopledger.reports.pages import words

    run = compared(model, inputs, [], timeout, None, quiet).run
    found = Ledger(
        model=run.model.spec,
        inputs=run.model.inputs,
        params=run.model.params,
        entries=run.ledger.entries,
        device=run.model.device,
        notes=run.ledger.notes,
    )
    if form is Format.json:
        show_json({"model": run.model, **msgspec.to_builtins(run.ledger)})
        return
    quantities = ["sites", "calls", "macs", "bias_adds", "inputs", "outputs", "weights", "biases"]
    rows = [
        [words.op_word(op), *(words.number(values.get(q, 0)) for q in quantities)]
        for op, values in found.by_op().items()
    ]
    total = found.totals()
    rows.append(["sum", "", *(words.number(total.get(q, 0)) for q in quantities[1:])])
    show_text(
        f"{words.visible(found.model)} at {words.shapes(run)}, {words.number(found.params)} parameters, "
        f"traced on {found.device}",
        form,
    )
    show_table([Column("operation"), *(Column(q.replace("_", " "), True) for q in quantities)], rows, form)
    for name, (calls, outputs) in found.unclassified().items():
        show_text(f"no formula for {name}: {words.plural(calls, 'call')}, {words.plural(outputs, 'element')}", form)
    for note in found.notes:
        show_text(f"note: {words.visible(note)}", form)


@app.command()
def render(
    run: Annotated[Path, typer.Argument(metavar="RUN.json", help="A run document, or a history of `releases`.")],
    out: Out = Path(),
    quiet: Quiet = False,
) -> None:
    """Write the pages of a run again, without counting and without torch."""
    from flopledger.reports.documents.reading import RunError
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.pages import files as pages

    try:
        files = pages.rendered(run.read_bytes())
    except RunError as error:
        fail(f"cannot read {run}: {error}")
    except OSError as error:
        fail(f"cannot read {run}: {error.strerror or error}")
    with writing_to(out):
        check_writable(out)
        written = write_whole(out, files)
    if not quiet:
        print("\n".join(f"wrote {path}" for path in written))


import flopledger.reports.command.check
import flopledger.reports.command.conventions
import flopledger.reports.command.over_time  # noqa: E402, F401  (they join the app after these)


def _version(wanted: bool) -> None:
    if wanted:
        from flopledger.counters import registry

        print(f"flopledger {registry.version_of('flopledger') or 'unknown'}")
        raise typer.Exit()


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run one PyTorch model through many FLOP counters and explain every difference exactly."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Entry point: usage errors are one line and status 2, a closed pipe and Ctrl-C are quiet."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without `·` gets an escape, not a traceback
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except typer.TyperException as error:
        print(f"flopledger: {' '.join(error.format_message().split())}", file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        print("flopledger: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)


if __name__ == "__main__":
    main()
