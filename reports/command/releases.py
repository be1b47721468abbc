"""`flopledger releases`: every published release of a counter, or whether there are newer ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flopledger.reports.command.drift import check_trust, read_baseline, show_drift
from flopledger.reports.command.options import (
    DEFAULT,
    Form,
    Inputs,
    Jobs,
    ModelArgument,
    NoCache,
    Quiet,
    Timeout,
    Trust,
    app,
    compared,
    complete_counters,
    fail,
    note,
    progress,
    refuse,
    writing_to,
    wrote,
)
from flopledger.reports.command.snapshot import BASELINE
from flopledger.reports.pages.terminal import Format, show, show_json, show_text


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
    no_cache: NoCache = False,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Every published release of a counter on one model: where the number moved, and why.

    Each release is installed into a cache of its own, never into your environment. What is finished
    is kept: a second call is immediate, and one that was interrupted goes on.
    """
    if every and (since or last):
        fail("--all and --since or --last contradict each other")
    if new:
        _newer(counter, model, inputs, baseline, form, timeout, jobs, quiet, no_cache, trust)
    if not counter:
        fail("name a counter, as `flopledger counters` lists them, or ask for --new")
    from flopledger.reports.documents.reading import encode
    from flopledger.reports.documents.writing import check_writable, write_whole
    from flopledger.reports.history import history
    from flopledger.reports.pages.files import history_files
    from flopledger.reports.pages.history_words import blocks
    from flopledger.reports.verdict import wrong

    if out:
        with writing_to(out):
            check_writable(out)
    try:
        with progress(None, quiet) as (start, advance):
            found = history(
                counter, model, inputs, since=since, last=last, timeout=timeout, jobs=jobs, keep=not no_cache,
                on_start=lambda count: start(count + 1), on_running=advance.running, on_done=advance,
                on_trouble=(lambda line: None) if quiet else note,
            )  # fmt: skip
    except ValueError as error:
        refuse(error)
    except KeyboardInterrupt:
        print("flopledger: interrupted; what is finished is kept, and the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    if form is Format.json:
        sys.stdout.write(encode(found).decode())
    else:
        show(blocks(found), form)
    if out:
        with writing_to(out):
            written = write_whole(out, history_files(found))
        if not quiet:
            wrote(written, to=sys.stderr)
    raise typer.Exit(int(wrong(found)))


def _newer(
    counter: str | None, model: str, inputs: list[str] | None, baseline: Path | None, form: Format,
    timeout: float, jobs: int | None, quiet: bool, no_cache: bool, trust: bool,
) -> NoReturn:  # fmt: skip
    """`releases --new`: the baseline, or else what is installed, against the newest releases."""
    from flopledger.reports.documents.snapshot import only
    from flopledger.reports.documents.snapshot import snapshot as pinned
    from flopledger.reports.drift import drift as compare_snapshots
    from flopledger.reports.verdict import wrong

    if baseline is None and BASELINE.is_file():
        baseline = BASELINE
    before = read_baseline(baseline) if baseline is not None else None
    if before is not None and baseline is not None:
        check_trust(before, baseline, trust, model, counter)
        model, inputs = before.model.spec, before.model.inputs
        versions = {t.name: (t.counter, t.version) for t in before.tallies if t.status == "counted"}
        if not versions:
            fail(f"no counter has a number in {baseline}, so there is nothing to compare; take a snapshot anew")
    else:
        versions = _installed()
    if counter is not None:
        counter = _canonical(counter)
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
        before = pinned(compared(model, inputs, list(found), timeout, jobs, quiet, no_cache).run)
    after = pinned(compared(model, inputs, list(found.values()), timeout, jobs, quiet, no_cache).run)
    changes = compare_snapshots(only(before, set(found)), after)
    show_drift(changes, form)
    raise typer.Exit(int(wrong(changes)))


def _canonical(counter: str) -> str:
    from flopledger.counters.engine.plan import distinct

    try:
        return distinct([counter])[0]
    except ValueError as error:
        fail(str(error))


def _installed() -> dict[str, tuple[str, str | None]]:
    from flopledger.counters import registry
    from flopledger.counters.engine.adapters import about, at_hand

    return {name: (name, registry.version_of(about(name).distribution)) for name in at_hand()}


def _newest(versions: dict[str, tuple[str, str | None]], quiet: bool) -> dict[str, str]:
    """Name → the newest release of its counter, of those that have one that is newer."""
    from flopledger.counters.engine.adapters import about
    from flopledger.counters.engine.package_index import published
    from flopledger.reports.drift import newest

    found: dict[str, str] = {}
    troubles: dict[str, None] = {}
    for name, (counter, version) in versions.items():
        try:
            distribution = about(counter).distribution
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
