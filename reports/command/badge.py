"""`flopledger badge`: a badge of each model, as a picture and for shields.io."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
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
    writing_to,
    wrote,
)
from flopledger.reports.command.quoted import BaselineOption, kept, names_completed, numbers, of_project


class Unit(StrEnum):
    """What is counted."""

    macs = "MACs"
    flops = "FLOPs"


@app.command()
def badge(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="A name in the baseline, or a model to count now.  [default: all of the baseline]",
            autocompletion=names_completed,
        ),
    ] = None,
    unit: Annotated[Unit, typer.Option("--unit", case_sensitive=False, help="One MAC is two FLOPs.")] = Unit.flops,
    label: Annotated[
        str | None, typer.Option("--label", metavar="TEXT", help="What is on the left.  [default: the unit]")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where they go.")] = Path("badges"),
    baseline: BaselineOption = None,
    inputs: Inputs = None,
    counters: Counters = None,
    mode: ModeOption = Mode.eval,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Write a badge: NAME.svg, and NAME.json for https://img.shields.io/endpoint?url=…

    It says "verified" if a counter saw all MACs of the model, and all counters reported, wherever they speak, what
    their formulas give of the ledger's calls; "at least" if an operation has no formula.
    """
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.pages import badge as drawing

    with writing_to(out):
        check_writable(out)
    found = kept(baseline)
    files: dict[str, bytes] = {}
    odd = False
    for name in dict.fromkeys(models or of_project(found)):
        model, wrong = numbers(name, found, inputs, counters, timeout, jobs, quiet, no_cache, mode)
        odd |= wrong
        drawn = drawing.badge(name, model, "MAC" if unit is Unit.macs else "FLOP", label)
        stem = _stem(name)
        files |= {f"{stem}.svg": drawing.svg(drawn).encode(), f"{stem}.json": drawing.endpoint(drawn)}
    with writing_to(out):
        paths = write_whole(out, files)
    if not quiet:
        wrote(paths)
    raise typer.Exit(int(odd))


def _stem(name: str) -> str:
    """The files' name without its ending; what no file can be called gets a digest, so that no two are one."""
    plain = re.sub(r"[^\w.=-]", "-", name)[:100].lstrip(".")
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
