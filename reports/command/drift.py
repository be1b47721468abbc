"""`flopledger drift`: what has moved since a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flopledger.reports.command.options import Form, Jobs, NoCache, Quiet, Timeout, Trust, app, compared, fail
from flopledger.reports.pages.terminal import Format, show, show_json


@app.command()
def drift(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE.json", help="A snapshot, or a run document.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[OTHER.json]", help="What to compare with.  [default: count now]")
    ] = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """What has moved since the baseline, and the lines that moved it. Exit 1 if anything has.

    A baseline is data: a model or a counter that is not part of flopledger runs only if you say --trust.
    """
    from flopledger.reference_model.subject import Spec
    from flopledger.reports.documents.snapshot import snapshot as pinned
    from flopledger.reports.drift import drift as compare_snapshots
    from flopledger.reports.verdict import wrong

    before = read_baseline(baseline)
    if other is not None:
        after = read_baseline(other)
    else:
        try:
            Spec.parse(before.model.spec, before.model.inputs, before.model.mode)
        except ValueError as error:  # a live model's snapshot, or a file that is not here
            fail(f"{baseline} cannot be counted again ({error}); name a second file to compare it with")
        check_trust(before, baseline, trust)
        names = [tally.name for tally in before.tallies]
        subject = before.model
        after = pinned(compared(subject.spec, subject.inputs, names, timeout, jobs, quiet, no_cache, subject.mode).run)
    found = compare_snapshots(before, after)
    show_drift(found, form)
    raise typer.Exit(int(wrong(found)))


def check_trust(found: Any, path: Path, trust: bool, *said: str | None) -> None:
    """A usage error where running a baseline again would run or read what only the baseline names.

    What is built in or registered may be named by a document; `said` is what was named on the command line.
    """
    from flopledger.counters import registry
    from flopledger.reference_model import inputs, subject

    named = [tally.counter for tally in found.tallies if tally.counter not in registry.table()]
    try:
        if not subject.is_ours(found.model.spec):
            named.append(found.model.spec)
        files = inputs.files(found.model.inputs)
    except ValueError as error:
        fail(f"{path} cannot be counted again: {error}")
    strange = dict.fromkeys(name for name in named if name not in said)
    if strange and not trust:
        fail(f"{path} names code that is not part of flopledger: {', '.join(strange)}; "
             "if you know it and want it to run, say --trust")  # fmt: skip
    if files and not trust:
        fail(f"{path} has inputs in files: {', '.join(files)}; if they may be read, say --trust")


def read_baseline(path: Path) -> Any:
    """A snapshot; a usage error where it cannot be read."""
    from flopledger.reports.documents.reading import RunError
    from flopledger.reports.documents.snapshot import read

    try:
        return read(path)
    except RunError as error:
        fail(f"cannot read {path}: {error}")
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}")


def show_drift(found: Any, form: Format) -> None:
    """What has moved, on the terminal."""
    from flopledger.reports.pages.drift_words import blocks

    if form is Format.json:
        show_json(found)
    else:
        show(blocks(found), form)
