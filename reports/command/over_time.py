"""The commands over time: `releases`, `snapshot` and `drift`."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Form,
    Inputs,
    Jobs,
    ModelArgument,
    Quiet,
    Timeout,
    app,
    compared,
    complete_counters,
    fail,
    note,
    progress,
    writing_to,
)
from flopledger.reports.pages.terminal import Format, show, show_json, show_text

BASELINE = Path("baseline.json")


@app.command()
def releases(
    counter: Annotated[
        str | None,
        typer.Argument(help="A counter; with --new, all of the baseline's.", autocompletion=complete_counters),
    ] = None,
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    every: Annotated[bool, typer.Option("--all", help="Every published release.  [this is the default]")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DATE|RELEASE", help="Only from this date or release on.")
    ] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", min=1, help="Only the N newest.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Which counters have a newer release, and what would it change? Exit 1 if any "
                           "number would move.")
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", metavar="FILE", help="For --new: a snapshot to compare with.  "
                                  "[default: baseline.json if it is here, else what is installed]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the history here as a Markdown page, an "
                                  "HTML page and JSON.")
    ] = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Every published release of a counter on one model: where the number moved, and why.

    Each release is installed into a cache of its own, never into your environment. What is finished
    is kept: a second call is immediate, and one that was interrupted goes on.
    """
    if every and (since or last):
        fail("--all and --since or --last contradict each other")
    if new:
        _newer(counter, model, inputs, baseline, form, timeout, jobs, quiet)
    if not counter:
        fail("name a counter, as `flopledger counters` lists them, or ask for --new")
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.history import history
    from flopledger.reports.pages.files import history_files
    from flopledger.reports.pages.history_words import blocks

    if out:
        with writing_to(out):
            check_writable(out)
    try:
        with progress(None, quiet) as (start, advance):
            found = history(
                counter, model, inputs, since=since, last=last, timeout=timeout, jobs=jobs,
                on_start=lambda count: start(count + 1), on_done=advance,
                on_trouble=(lambda line: None) if quiet else note,
            )  # fmt: skip
    except ValueError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("flopledger: interrupted; what is finished is kept, and the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    if form is Format.json:
        show_json(found)
    else:
        show(blocks(found), form)
    if out:
        with writing_to(out):
            written = write_whole(out, history_files(found))
        if not quiet:
            print("\n".join(f"wrote {path}" for path in written), file=sys.stderr)
    raise typer.Exit(int(found.residual))


@app.command()
def snapshot(
    model: ModelArgument = DEFAULT,
    inputs: Inputs = None,
    counters: Counters = None,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the baseline goes.")] = BASELINE,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Keep what every counter says today as a baseline: a small JSON file to check in."""
    from flopledger.reports.documents.reading import encode
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.drift import snapshot as pinned
    from flopledger.reports.pages import words

    with writing_to(out):
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file, like baseline.json")
        check_writable(out.parent)
    run = compared(model, inputs, counters, timeout, jobs, quiet).run
    with writing_to(out):
        write_whole(out.parent, {out.name: encode(pinned(run))})
    if not quiet:
        show_text(words.totals(run), Format.table)
        print(f"wrote {out}")


@app.command()
def drift(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE.json", help="A snapshot, or a run document.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[OTHER.json]", help="What to compare with.  [default: count now]")
    ] = None,
    form: Form = Format.table,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """What has moved since the baseline, and the lines that moved it. Exit 1 if anything has."""
    from flopledger.reference_model.subject import Spec
    from flopledger.reports.drift import drift as compare_snapshots
    from flopledger.reports.drift import snapshot as pinned

    before = _read(baseline)
    if other is not None:
        after = _read(other)
    else:
        try:
            Spec.parse(before.model.spec, before.model.inputs)
        except ValueError as error:  # a live model's snapshot, or a file that is not here
            fail(f"{baseline} cannot be counted again ({error}); name a second file to compare it with")
        names = [tally.name for tally in before.tallies]
        after = pinned(compared(before.model.spec, before.model.inputs, names, timeout, jobs, quiet).run)
    found = compare_snapshots(before, after)
    _show_drift(found, form)
    raise typer.Exit(int(found.drifted))


def _read(path: Path) -> Any:
    from flopledger.reports.documents.reading import RunError
    from flopledger.reports.drift import read

    try:
        return read(path)
    except RunError as error:
        fail(f"cannot read {path}: {error}")
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}")


def _show_drift(found: Any, form: Format) -> None:
    from flopledger.reports.pages.drift_words import blocks

    if form is Format.json:
        show_json(found)
    else:
        show(blocks(found), form)


def _newer(
    counter: str | None, model: str, inputs: list[str] | None, baseline: Path | None, form: Format,
    timeout: float, jobs: int | None, quiet: bool,
) -> NoReturn:  # fmt: skip
    """`releases --new`: the baseline, or else what is installed, against the newest releases."""
    from flopledger.reports.drift import drift as compare_snapshots
    from flopledger.reports.drift import only
    from flopledger.reports.drift import snapshot as pinned

    if baseline is None and BASELINE.is_file():
        baseline = BASELINE
    before = _read(baseline) if baseline is not None else None
    if before is not None:
        model, inputs = before.model.spec, before.model.inputs
        versions = {t.name: (t.counter, t.version) for t in before.tallies if t.status == "counted"}
    else:
        versions = _installed()
    if counter is not None:
        versions = {name: about for name, about in versions.items() if counter in (name, about[0])}
        if not versions:
            fail(f"there is no {counter} in {baseline or 'what is installed'}")
    found = _newest(versions, quiet)
    what = "the baseline's" if before else "what is installed"
    if not found:
        if form is Format.json:
            show_json({"model": model, "inputs": inputs or [], "rows": [], "notes": [f"no newer release than {what}"]})
        else:
            show_text(f"No counter has a newer release than {what}.", form)
        raise typer.Exit()
    if before is None:
        before = pinned(compared(model, inputs, list(found), timeout, jobs, quiet).run)
    after = pinned(compared(model, inputs, list(found.values()), timeout, jobs, quiet).run)
    changes = compare_snapshots(only(before, set(found)), after)
    _show_drift(changes, form)
    raise typer.Exit(int(changes.drifted))


def _installed() -> dict[str, tuple[str, str | None]]:
    from flopledger.counters import registry

    return {name: (name, registry.version_of(registry.get(name).distribution)) for name in registry.at_hand()}


def _newest(versions: dict[str, tuple[str, str | None]], quiet: bool) -> dict[str, str]:
    """Name → the newest release of its counter, of those that have one that is newer."""
    from flopledger.counters import registry
    from flopledger.counters.engine.package_index import published
    from flopledger.reports.drift import newest

    found: dict[str, str] = {}
    troubles: dict[str, None] = {}
    for name, (counter, version) in versions.items():
        try:
            distribution = registry.get(counter).distribution
            if distribution in ("", "torch"):
                continue
            listing = published(distribution, ask=True)
        except ValueError as error:
            fail(str(error))
        if listing.trouble:
            troubles[f"{listing.trouble}; going by the list of {listing.asked[:10]}"] = None
        if release := newest(listing, version):
            found[name] = f"{counter}=={release.version}"
    for trouble in () if quiet else troubles:
        note(trouble)
    return found
