"""`flopledger drift`: what has moved since a baseline, and taking what is new."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from flopledger.reports.command.guarded import (
    answered,
    complete_guarded,
    configured,
    read_baseline,
    shown_path,
    usual_counters,
    with_those_of,
    writing,
)
from flopledger.reports.command.options import Jobs, NoCache, Quiet, Timeout, Trust, app, fail, writing_to, wrote
from flopledger.reports.pages.terminal import Format, show, show_plain


class Shape(StrEnum):
    """How it is printed."""

    table = "table"
    markdown = "markdown"
    json = "json"
    junit = "junit"
    github = "github"
    sarif = "sarif"


@app.command()
def drift(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…|BASELINE.json [OTHER.json]]", autocompletion=complete_guarded,
                       help="Models of the project by name; or a baseline or run document, perhaps another beside it.  "
                       "[default: all models of the project's configuration, counted now]"),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take what is new into the baseline: of the models named, or of all.")
    ] = False,
    form: Annotated[Shape, typer.Option("--format", help="How to print.", case_sensitive=False)] = Shape.table,
    out: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it, too, by the file's ending: .md, .json, .sarif, "
                     ".xml for JUnit; repeat for several."),
    ] = None,
    timeout: Timeout = 300.0,
    jobs: Jobs = None,
    no_cache: NoCache = False,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """What has moved since the baseline, the lines that moved it, and who did. Exit 1 if anything has.

    Without a file it is about the project's models. A baseline that is named is data: a model or a counter that is
    not part of flopledger runs only if you say --trust.
    """
    files, names = _sorted_out(targets or [], accept)
    project = None if files else configured()
    if not files and (project is None or not project.models):
        where = f"{project.path.name}:{project.line}: [tool.flopledger] names no model" if project else \
            "no pyproject.toml here or above has [tool.flopledger], and there is no flopledger.toml"  # fmt: skip
        fail(f'{where}; write [[tool.flopledger.models]] with model = "torchvision:resnet50", or name a baseline')
    check_files(out or [])
    how = {"timeout": timeout, "jobs": jobs, "quiet": quiet, "no_cache": no_cache}
    found = _of_project(project, names, accept, how) if project else _of_files(files, names, accept, trust, how)
    show_moves(found, form, out or [])
    if out and not quiet:
        wrote(out, sys.stderr)
    raise typer.Exit(2 if found.failed else int(found.wrong))


def _sorted_out(targets: Sequence[str], accept: bool) -> tuple[list[Path], list[str]]:
    """Which are files, and which names of models: a file comes first."""
    first = targets[0] if targets else ""
    try:
        is_file = first.endswith(".json") or bool(first and Path(first).exists())
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if not is_file:
        return [], list(targets)
    if accept:
        return [Path(first)], list(targets[1:])
    if len(targets) > 2:
        fail(f"a baseline is compared with one other file; what is {targets[2]!r}?")
    return [Path(target) for target in targets], []


def _of_project(project: Any, names: list[str], accept: bool, how: Any) -> Any:
    """The project's models, counted now, against its baseline; what is accepted is written."""
    from flopledger.reports.documents.baseline import Baseline
    from flopledger.reports.guard import moves, wanted

    there = read_baseline(project.baseline) if project.baseline.exists() else Baseline(models={})
    models = _chosen(project, names, there)
    counters = usual_counters(project)
    asked = [
        replace(each, counters=with_those_of(there.models.get(each.name), counters, project))
        for each in wanted(models, counters)
    ]
    before = {name: entry for name, entry in there.models.items() if not names or name in names}
    with writing(project) if accept else nullcontext():
        done = answered(asked, project, **how)
        places = {"project": shown_path(project.path), "baseline": shown_path(project.baseline)}
        with project.here():  # a ledger may be read
            found = moves(before, done, notes=_of_tests(before), **places)
        return _accepted(found, done, before, project.baseline) if accept else found


def _chosen(project: Any, names: list[str], there: Any) -> list[Any]:
    """The models of these names, or all; a name may also be that of an entry whose model is gone."""
    from flopledger.reports.project import ProjectError

    known = {each.name for each in project.models}
    try:
        return [project.model(name) for name in names if name in known or name not in there.models] if names else \
            list(project.models)  # fmt: skip
    except ProjectError as error:
        fail(str(error))


def _of_tests(entries: Any) -> list[str]:
    from flopledger.reports.documents.baseline import is_test

    tests = [name for name in entries if is_test(name)]
    return [f"{len(tests):,} entries are of tests, which pytest counts again"] if tests else []


def _accepted(found: Any, done: Sequence[Any], before: Any, path: Path) -> Any:
    """Write the entries that say something new, and say which; one without a number stays as it was."""
    from flopledger.reports.documents.baseline import rewrite
    from flopledger.reports.guard import without_number, worth_writing

    changes: dict[str, Any] = dict.fromkeys(found.gone)
    notes = list(found.notes)
    for each in done:
        if each.now is None or not worth_writing(before.get(each.wanted.name), each.now.snapshot):
            continue
        if without_number(each.now.snapshot):
            notes.append(f"{each.wanted.name}: no counter has a number, so nothing is written of it")
        else:
            changes[each.wanted.name] = each.now.snapshot
    if changes:
        rewrite(path, changes)
    return replace(found, accepted=sorted(changes), notes=notes)


def _of_files(files: list[Path], names: list[str], accept: bool, trust: bool, how: Any) -> Any:
    """A baseline against another file, or against what is counted now."""
    from flopledger.reports.documents.baseline import is_test
    from flopledger.reports.guard import again, compared, moves

    path = files[0]
    before = read_baseline(path).models
    if len(files) > 1:
        return compared(before, read_baseline(files[1]).models, baseline=str(path), other=str(files[1]))
    if names and (odd := [name for name in names if name not in before]):
        from flopledger.reference_model.names import nearest

        fail(f"{path} has no model {odd[0]!r}{nearest(odd[0], before)}")
    chosen = {name: entry for name, entry in before.items() if not names or name in names}
    counted = {name: entry for name, entry in chosen.items() if not is_test(name)}
    try:
        every = again(counted)
    except ValueError as error:  # a live model's entry, or a file that is not here
        fail(f"{path} cannot be counted again ({error}); name a second file to compare it with")
    for entry in counted.values():
        check_trust(entry, path, trust)
    done = answered(every, None, **how)
    found = moves(chosen, done, baseline=str(path), notes=_of_tests(chosen))
    if not accept:
        return found
    with writing_to(path):
        return _accepted(found, done, chosen, path)


def check_trust(found: Any, path: Path, trust: bool, *said: str | None) -> None:
    """A usage error where running a baseline's entry again would run or read what only the baseline names.

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


def check_files(out: Sequence[Path]) -> None:
    """Say now, rather than after the counting, what cannot be written."""
    from flopledger.reports.documents.writing import check_file
    from flopledger.reports.pages.moves_files import ENDINGS

    for path in out:
        if path.suffix not in ENDINGS:
            fail(f"{path}: name a file that ends in one of {', '.join(ENDINGS)}")
        with writing_to(path):
            check_file(path)


def show_moves(found: Any, form: str, out: Sequence[Path] = ()) -> None:
    """What has moved, on the terminal and in files."""
    from flopledger.reports.documents.writing import write_file
    from flopledger.reports.pages.moves_files import ENDINGS, WRITERS
    from flopledger.reports.pages.moves_words import blocks

    for path in out:
        with writing_to(path):
            write_file(path, WRITERS[ENDINGS[path.suffix]](found).encode())
    if form in WRITERS:
        show_plain(WRITERS[form](found))
    else:
        show(blocks(found), Format(form))
