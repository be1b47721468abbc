"""`flopledger releases`: every published release of a counter, or whether there are newer ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from msgspec.structs import replace

from flopledger.reports.command.drift import check_trust, show_moves
from flopledger.reports.command.guarded import answered, configured, only_known, read_baseline, shown_path
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

NEWEST = "the newest releases"


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
        Path | None, typer.Option("--baseline", metavar="FILE", help="For --new: a baseline to compare with.  "
                                  "[default: the project's, or flopledger.json if it is here, else what is installed]")
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
    from flopledger.reports.guard import moves

    how: dict[str, Any] = {"timeout": timeout, "jobs": jobs, "quiet": quiet, "no_cache": no_cache}
    project, every, before, place = _guarded(baseline, model, inputs, counter, trust)
    if place:
        versions = _versions(before.values())
        if not versions:
            fail(f"no counter has a number in {place}, so there is nothing to compare; take a snapshot anew")
    else:
        versions = _installed()
    if counter is not None:
        counter = _canonical(counter)
        versions = {key: about for key, about in versions.items() if counter in (key[0], about[0])}
        if not versions:
            fail(f"there is no {counter} in {place or 'what is installed'}")
    newer = _newest(versions, quiet)
    if not newer:
        what = "the baseline's" if place else "what is installed"
        if form is Format.json:
            show_json({"baseline": place, "drifts": {}, "notes": [f"no newer release than {what}"]})
        else:
            show_text(f"No counter has a newer release than {what}.", form)
        raise typer.Exit()
    if not place:
        done = answered([replace(each, counters=[name for name, _ in newer]) for each in every], project, **how)
        before = {each.wanted.name: each.now.snapshot for each in done if each.now}
    then = {
        name: replace(entry, tallies=[tally for tally in entry.tallies if (tally.name, tally.version) in newer])
        for name, entry in before.items()
    }
    then = {name: entry for name, entry in then.items() if entry.tallies}
    asked = [  # without budgets, which no release of a counter can break
        replace(
            each,
            counters=list(dict.fromkeys(newer[t.name, t.version] for t in then[each.name].tallies)),
            budget=None,
        )
        for each in every
        if each.name in then
    ]
    done = answered(asked, project, **how)
    with project.here() if project else nullcontext():  # a ledger may be read
        found = moves(then, done, baseline=place or "what is installed", other=NEWEST)
    show_moves(found, form)
    raise typer.Exit(2 if found.failed else int(found.wrong))


def _guarded(
    baseline: Path | None, model: str, inputs: list[str] | None, counter: str | None, trust: bool
) -> tuple[Any, list[Any], dict[str, Any], str]:
    """The configuration, the models to run, their entries, and the file that these are from; "" where none is."""
    from flopledger.reference_model.subject import Spec
    from flopledger.reports.documents.baseline import is_test
    from flopledger.reports.guard import Wanted, again, wanted

    project = configured() if baseline is None and model == DEFAULT and not inputs else None
    if project and project.baseline.is_file():
        entries = read_baseline(project.baseline).models
        every = [each for each in wanted(project.models, []) if each.name in entries]
        known = {each.name: only_known(entries[each.name], project) for each in every}
        return project, every, known, shown_path(project.baseline)
    if baseline is None and BASELINE.is_file():
        baseline = BASELINE
    try:
        if baseline is None:
            return None, [Wanted(name=model, spec=Spec.parse(model, inputs), counters=[])], {}, ""
        found = read_baseline(baseline).models
        entries = {name: entry for name, entry in found.items() if not is_test(name)}
        for entry in entries.values():
            check_trust(entry, baseline, trust, model, counter)
        return None, again(entries), entries, str(baseline)
    except ValueError as error:
        fail(str(error))


def _versions(entries: Iterable[Any]) -> dict[Any, tuple[str, str | None]]:
    """The counter and release of every number in these entries, by the tally's name and version."""
    tallies = [tally for entry in entries for tally in entry.tallies if tally.status == "counted"]
    return {(tally.name, tally.version): (tally.counter, tally.version) for tally in tallies}


def _canonical(counter: str) -> str:
    from flopledger.counters.engine.plan import distinct

    try:
        return distinct([counter])[0]
    except ValueError as error:
        fail(str(error))


def _installed() -> dict[Any, tuple[str, str | None]]:
    from flopledger.counters import registry
    from flopledger.counters.engine.adapters import about, at_hand

    every = {name: registry.version_of(about(name).distribution) for name in at_hand()}
    return {(name, version): (name, version) for name, version in every.items()}


def _newest(versions: dict[Any, tuple[str, str | None]], quiet: bool) -> dict[Any, str]:
    """The newest release of each counter, by the key that it has, of those that have one that is newer."""
    from flopledger.counters.engine.adapters import about
    from flopledger.counters.engine.package_index import newest, published

    found: dict[Any, str] = {}
    troubles: dict[str, None] = {}
    for key, (counter, version) in versions.items():
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
            found[key] = f"{counter}=={release.version}"
    for trouble in () if quiet else troubles:
        note(trouble)
    return found
