"""`flopledger table`: many models, many counters, one table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

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
    models_completed,
    progress,
    refuse,
    writing_to,
    wrote,
)


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"
    csv = "csv"
    html = "html"
    latex = "latex"


SUFFIX = {Format.json: ".json", Format.markdown: ".md", Format.csv: ".csv", Format.html: ".html", Format.latex: ".tex"}
PARQUET = ".parquet"


@app.command()
def table(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", autocompletion=models_completed,
                       help="Models as for other commands, and patterns like 'torchvision:resnet*'."),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Models from a file: one per line, # before a remark; or TOML with "
                     "[[models]], each with model, and perhaps name, inputs and mode."),
    ] = None,
    inputs: Inputs = None,
    counters: Counters = None,
    mode: ModeOption = Mode.eval,
    unit: Annotated[
        str | None,
        typer.Option("--unit", metavar="UNIT", help="MAC or FLOP, with a prefix like GMAC.  [default: each counter's]"),
    ] = None,
    per: Annotated[
        str | None, typer.Option("--per", metavar="WHAT", help="Divide by sample, token, pixel or parameter.")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", metavar="[DIM=]SIZES", help="160,192,224 or 128..2048*2 or 64..512+64; DIM is "
                     "resolution, length, batch, or NAME.AXIS of an input.  [default DIM: resolution of images, "
                     "length of tokens]"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.", case_sensitive=False)] = Format.table,
    out: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it instead, by the file's ending: .csv, .json, .md, "
                     ".html, .tex, .parquet, and .svg for the chart of a sweep; repeat for several."),
    ] = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Many models, many counters: MACs, parameters, totals and coverage in one table."""
    from flopledger.reports.pages.table_page import page
    from flopledger.reports.pages.terminal import Format as Printed
    from flopledger.reports.pages.terminal import show, show_plain
    from flopledger.reports.subjects import listed as read
    from flopledger.reports.table import table as tabulate

    _check(out or [], sweep)
    try:
        named: list[Any] = [*(models or []), *(read(listed) if listed else [])]
        if not named:
            fail("no model was named; name one, like torchvision:resnet50, or a file of them with --from")
        with progress(0, quiet) as (start, advance):
            found = tabulate(
                named, counters=counters, inputs=inputs, mode=mode.value, unit=unit, per=per, sweep=sweep,
                timeout=timeout, jobs=jobs, keep=not no_cache,
                on_start=start, on_running=advance.running, on_done=advance,
            )  # fmt: skip
    except ValueError as error:
        refuse(error)
    if out:
        for path in out:
            with writing_to(path):
                found.save(path)
        if not quiet:
            wrote(out)
    elif form is Format.table:
        show(page(found.table), Printed.table)
    else:
        show_plain(found.text(SUFFIX[form]))
    raise typer.Exit(int(found.table.wrong))


def _check(out: list[Path], sweep: str | None) -> None:
    """Say now, rather than after the counting, what cannot be written."""
    from importlib.util import find_spec

    from flopledger.reports.documents.writing import check_file
    from flopledger.reports.pages.table_files import WRITERS

    for path in out:
        if path.suffix not in (*WRITERS, PARQUET):
            fail(f"{path}: name a file that ends in one of {', '.join([*WRITERS, PARQUET])}")
        if path.suffix == ".svg" and sweep is None:
            fail(f"{path}: there is a chart of a sweep only; name one, like --sweep 160,192,224")
        if path.suffix == PARQUET and not (find_spec("pyarrow") or find_spec("fastparquet")):
            fail(f"{path}: a Parquet file needs pyarrow; pip install pyarrow")
        with writing_to(path):
            check_file(path)
