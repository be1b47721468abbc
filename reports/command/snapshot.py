"""`flopledger snapshot`: keep a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flopledger.reference_model.names import nearest
from flopledger.reports.command.guarded import (
    answered,
    check_name,
    complete_guarded,
    configured,
    read_baseline,
    shown_path,
    usual_counters,
    writing,
)
from flopledger.reports.command.options import (
    DEFAULT,
    Counters,
    Inputs,
    Jobs,
    Mode,
    ModeOption,
    NoCache,
    Past,
    Quiet,
    Timeout,
    app,
    compared,
    fail,
    models_completed,
    note,
    writing_to,
    wrote,
)
from flopledger.reports.pages.terminal import Format, show_text

BASELINE = Path("flopledger.json")


def _complete(incomplete: str) -> list[str]:
    return [*complete_guarded(incomplete), *models_completed(incomplete)]


@app.command()
def snapshot(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…|MODEL]", help="Models of the project by name, or one by its spec.  "
                       "[default: all that the project's configuration names]", autocompletion=_complete),
    ] = None,
    inputs: Inputs = None,
    counters: Counters = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The baseline of a model by its spec.  "
                                  f"[default: the project's, or else {BASELINE}]")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What a model by its spec is called there; replaces "
                                 "whatever is called so.  [default: the spec]")
    ] = None,
    mode: ModeOption = Mode.eval,
    past: Past = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Keep what every counter says today as a baseline: one small JSON file for all models, to check in.

    Only the entries of these models are written. For a model of which no counter has a number nothing is written, and
    an entry that is there stays: one without a number guards nothing. Exit 1 then, and where a formula fails or a
    counter that was asked for has no number.
    """
    project = configured()
    named = {each.name for each in project.models} if project else set()
    of_one = bool(inputs or counters or out or name or past or mode is not Mode.eval)
    if project and project.models and not of_one and set(models or ()) <= named:
        _of_project(project, models, timeout, jobs, no_cache, quiet)
    if len(models or ()) > 1:
        missing = next((each for each in models or () if each not in named), models)
        fail(f"no model {missing!r} in the configuration; one at a time by its spec" if project else
             "without a configuration one model at a time, by its spec")  # fmt: skip
    if name is not None:
        check_name(name)
    model = models[0] if models else DEFAULT
    if project and models and not of_one and ":" not in model and not model.startswith(DEFAULT):
        fail(str(project.fault(project.line, f"no model {model!r}{nearest(model, named)}")))
    _of_spec(
        (model, inputs, counters, timeout, jobs, quiet, no_cache, mode, past),
        out or (project.baseline if project else BASELINE),
        name,
    )


def _of_project(
    project: Any, names: list[str] | None, timeout: float, jobs: int | None, no_cache: bool, quiet: bool
) -> NoReturn:
    """The models of a configuration, all or some."""
    from flopledger.reports.documents.baseline import rewrite
    from flopledger.reports.guard import wanted

    models = [each for each in project.models if not names or each.name in names]
    with writing(project):
        done = answered(wanted(models, usual_counters(project)), project, timeout, jobs, quiet, no_cache)
        entries, troubles = {}, False
        for each in done:
            if each.now is None:
                continue
            said, wrong = _told(each.now.snapshot, project.counters is not None)
            troubles |= wrong
            if any(tally.total is not None for tally in each.now.snapshot.tallies):
                entries[each.wanted.name] = each.now.snapshot
            else:
                note(f"{each.wanted.name}: {said} Nothing is written of it to {project.baseline.name}.")
                continue
            if not quiet:
                show_text(f"{each.wanted.name}: {said}", Format.table)
        if entries:
            rewrite(project.baseline, entries)
    if entries and not quiet:
        wrote([Path(shown_path(project.baseline))])
    if any(each.now is None for each in done):
        raise typer.Exit(2)
    raise typer.Exit(int(troubles))


def _told(found: Any, asked: bool) -> tuple[str, bool]:
    """What an entry says in a sentence; and whether a formula fails, or a number that was `asked` for is missing."""
    from flopledger.reports.pages.numbers import few, number, visible

    totals = [f"{visible(t.name)} {number(t.total)} {t.unit}s" for t in found.tallies if t.total is not None]
    missing = [visible(t.name) for t in found.tallies if t.total is None]
    failing = [visible(t.name) for t in found.tallies if t.verified.agree < t.verified.sites]
    said = f"{'; '.join(totals)}." if totals else ""
    said += f" No number from {few(missing)}." if missing else ""
    said += f" Formulas fail of {few(failing)}." if failing else ""
    said += f" UNPRICED: {few([visible(name) for name in found.unpriced])}." if found.unpriced else ""
    return said.strip() or "No counter is here.", bool((missing and asked) or failing or found.unpriced or not totals)


def _of_spec(asked: tuple[Any, ...], out: Path, name: str | None) -> NoReturn:
    """One model, by its spec; `asked` are the arguments of `compared`."""
    from flopledger.reports.documents.baseline import Baseline, encode, rewrite
    from flopledger.reports.documents.baseline import snapshot as pinned
    from flopledger.reports.documents.writing import check_file, through, write_file
    from flopledger.reports.pages import words
    from flopledger.reports.verdict import wrong

    with writing_to(out):
        check_file(out)
        shown = through(out)  # a summary would be in the way of what reads it
    there = read_baseline(out).models if out.is_file() and not shown else {}
    model, quiet = asked[0], asked[5]
    run = compared(*asked).run
    if not run.counted():
        note(f"{words.totals(run)} Nothing is written to {out}.")
        raise typer.Exit(1)
    entry, called = pinned(run), name or model
    if (old := there.get(called)) and not name and old.model != entry.model:
        what = f"{old.model.spec} at {', '.join(old.model.inputs)} ({old.model.mode})"
        fail(f"{out} has {what} by the name {called}; --name tells the two apart, or --name {called!r} replaces it")
    with writing_to(out):
        if shown:
            write_file(out, encode(Baseline(models={called: entry})))
        else:
            rewrite(out, {called: entry})
    if not quiet and not shown:
        show_text(words.totals(run), Format.table)
        wrote([out])
    if wrong(run):
        note(words.anything_left(run))
    raise typer.Exit(int(wrong(run)))
