"""`flopledger check`: a counter on the shipped probes, op by op."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopledger.reports.command.conventions import plain
from flopledger.reports.command.options import (
    Form,
    Jobs,
    NoCache,
    Quiet,
    Timeout,
    app,
    complete_counters,
    fail,
    progress,
)
from flopledger.reports.pages.blocks import Block, Column, Point, Table
from flopledger.reports.pages.terminal import Format, show, show_json

if TYPE_CHECKING:
    from flopledger.reports.probing import Probed


@app.command()
def check(
    counter: Annotated[
        str,
        typer.Argument(metavar="COUNTER", help="A registered name, COUNTER==RELEASE or FILE.py:Class.",
                       autocompletion=complete_counters),
    ],
    form: Form = Format.table,
    timeout: Timeout = 60.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Does a counter's convention hold? Runs it on some hundred tiny models, each with one operation.

    Says, op by op, where its rules give what it reported, and what it really reported where they do not. Exit 1
    where they fail anywhere, or it has no number for any of them.
    """
    from flopledger.reference_model.probes import PROBES
    from flopledger.reports.probing import probed

    try:
        with progress(len(PROBES), quiet) as (_, advance):
            told: Any = {"on_running": advance.running, "on_done": advance}
            found = probed(counter, timeout=timeout, jobs=jobs, keep=not no_cache, **told)
    except ValueError as error:
        fail(str(error))
    if form is Format.json:
        show_json({"counter": found.counter, "version": found.version, "findings": found.findings,
                   "silent": found.silent, "idle": [plain(rule) for rule in found.idle]})  # fmt: skip
    else:
        show(_blocks(found), form)
    raise typer.Exit(int(bool(found.broken) or not found.findings))


def _blocks(found: Probed) -> list[Block]:
    from flopledger.reports.pages.numbers import listed, number, plural, visible
    from flopledger.reports.pages.vocabulary import op_word, place

    said: list[Block] = []
    by_op: dict[str, list[bool]] = {}
    for finding in found.findings:
        for op in finding.ops or ["unpriced"]:
            by_op.setdefault(op, []).append(finding.holds)
    ops = Table(
        [Column("operation"), Column("holds at", True)],
        [[op_word(op), f"{number(sum(held))} of {number(len(held))}"] for op, held in sorted(by_op.items())],
    )
    probes = {finding.probe for finding in found.findings} | set(found.silent)
    said += [
        f"{visible(found.counter)} {visible(found.version or '')} on {plural(len(probes), 'probe')}",
        ops,
    ]
    if found.broken:
        columns = [Column("probe"), Column("site"), Column("operation"), Column("its rule"), Column("gives", True),
                   Column("it reported", True), Column("which is")]  # fmt: skip
        rows = [
            [f.probe, place(f.site), listed([op_word(op) for op in f.ops]), " and ".join(f.formulas) or "–",
             number(f.claimed), number(f.reported), " or ".join(f.reads) or "no one quantity times a number"]
            for f in found.broken
        ]  # fmt: skip
        said.append(Table(columns, rows))
    for rule in found.idle:
        kinds = listed([op_word(op) for op in rule.ops]) or "everything"
        when = f" ({rule.condition})" if rule.condition else ""
        said.append(Point(f"spoke of no probe: {kinds}{when}, {rule.formula}"))
    for probe, reason in found.silent.items():
        said.append(Point(f"no number for {probe}: {visible(reason)}"))
    if not found.findings:
        return [*said, "It has no number for any probe."]
    if found.broken:
        return [*said, f"ITS RULES FAIL at {plural(len(found.broken), 'place')}."]
    return [*said, f"Its rules hold at all {plural(len(found.findings), 'place')}."]
