"""What `snapshot`, `drift` and `releases --new` share: the project's configuration, its baseline, and counting both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flopledger.reports.command.options import Advance, fail, note, progress
from flopledger.reports.pages.terminal import printable


def configured() -> Any:
    """The project's configuration, None where there is none; a usage error where it cannot be read."""
    from flopledger.reports.project import ProjectError, project

    try:
        return project()
    except ProjectError as error:
        fail(str(error))


def check_name(name: str) -> None:
    """A usage error where no model of a baseline can be called so."""
    from flopledger.reports.project import is_name

    if not is_name(name):
        fail(f"{name!r} cannot be a name; it is one line of text that has no '::' and no dash in front")


def complete_guarded(incomplete: str) -> list[str]:
    """Names of models for a shell: the project's."""
    from flopledger.reports.project import ProjectError, project

    try:
        found = project()
    except ProjectError:
        return []
    names = [each.name for each in found.models] if found else []
    return [name for name in names if name == printable(name) and name.startswith(incomplete)]


def usual_counters(project: Any) -> list[str]:
    """The configuration's counters, or else all that are installed."""
    from flopledger.counters.engine.adapters import at_hand

    return at_hand() if project.counters is None else list(project.counters)


def with_those_of(entry: Any, counters: list[str], project: Any) -> list[str]:
    """These counters, and where the configuration names none also those that a model's entry has beside them."""
    if entry is None or project.counters is not None:
        return counters
    return list(dict.fromkeys([*counters, *(tally.name for tally in only_known(entry, project).tallies)]))


def only_known(entry: Any, project: Any) -> Any:
    """A baseline's entry with the counters that are part of flopledger, registered or in the configuration.

    A baseline is data: another that only it names is not run.
    """
    from msgspec.structs import replace

    from flopledger.counters import registry

    known = {*registry.table(), *(name.partition("==")[0] for name in project.counters or ())}
    return replace(entry, tallies=[tally for tally in entry.tallies if tally.counter in known])


@contextmanager
def writing(project: Any) -> Iterator[None]:
    """Say before the counting, and after it, what keeps the project's baseline from being written."""
    from flopledger.reports.documents.reading import RunError
    from flopledger.reports.documents.writing import check_file

    where = project.baseline
    try:
        if where.exists():
            read_baseline(where)
        check_file(where)
        yield
    except RunError as error:
        fail(_unread(where, error))
    except OSError as error:
        fail(
            str(project.fault(project.baseline_line, f"cannot write to {shown_path(where)}: {error.strerror or error}"))
        )


def answered(
    wanted: Sequence[Any], project: Any, timeout: float, jobs: int | None, quiet: bool, no_cache: bool
) -> list[Any]:
    """Each model with what counters say now. One that cannot be counted is one line, with its line in the file."""
    from flopledger.reports.budget import BudgetError, check
    from flopledger.reports.guard import counted

    order = {each.name: at for at, each in enumerate(wanted)}

    def work(start: Callable[[int], None], advance: Advance) -> list[Any]:
        coming = counted(
            wanted, timeout=timeout, workers=jobs, keep=not no_cache,
            on_start=start, on_running=advance.running, on_done=advance,
        )  # fmt: skip
        return sorted(coming, key=lambda each: order[each.wanted.name])

    try:
        with progress(0, quiet) as (start, advance):
            if project is None:
                found = work(start, advance)
            else:
                with project.here():
                    found = work(start, advance)
    except ValueError as error:
        fail(str(error))
    for each in found:
        if each.now is None:
            name, said = each.wanted.name, each.reason
            note(str(project.fault(each.wanted.line, f"model {name!r}: {said}")) if project else f"{name}: {said}")
        elif each.wanted.budget is not None:
            try:
                check(each.wanted.budget, each.now.measured)
            except BudgetError as error:
                fail(str(project.fault(error.line, f"model {each.wanted.name!r}: {error}")))
    return found


def read_baseline(path: Path) -> Any:
    """A baseline; a usage error where it cannot be read, with its line where that can be told."""
    from flopledger.reports.documents.baseline import read
    from flopledger.reports.documents.reading import RunError

    try:
        return read(path)
    except RunError as error:
        fail(_unread(path, error))
    except OSError as error:
        fail(f"cannot read {shown_path(path)}: {error.strerror or error}")


def _unread(path: Path, error: Any) -> str:
    return f"{shown_path(path)}:{error.line or 1}: {error}"  # where nothing more is known, it is the whole file


def shown_path(path: Path) -> str:
    """A file as it is seen from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
