"""Where the numbers come from that a project shows: its baseline, or one that was named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from flopledger.reports.command.options import Mode, compared, fail, models_completed, refuse
from flopledger.reports.pages.terminal import printable


class Kept(NamedTuple):
    """The entries of a baseline by name, where it is (None without one), the project's folder and its models' names."""

    path: Path | None
    models: dict[str, Any]
    folder: Path
    configured: list[str] = []


def kept(baseline: Path | None) -> Kept:
    """The baseline that was named, or the project's; a usage error where it cannot be read."""
    from flopledger.reports.documents import baseline as documents
    from flopledger.reports.documents.reading import RunError
    from flopledger.reports.project import ProjectError, project

    try:
        found = project() if baseline is None else None
    except ProjectError as error:
        refuse(error)
    path = baseline or (_near(found.baseline) if found else None)
    folder, names = (_near(found.path.parent), [each.name for each in found.models]) if found else (Path(), [])
    if path is None or (baseline is None and not path.exists()):
        return Kept(path, {}, folder, names)
    try:
        return Kept(path, documents.read(path).models, folder, names)
    except RunError as error:
        fail(f"cannot read {path}: {error}")
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}")


def _near(path: Path) -> Path:
    """A path as it is seen from here, where that is shorter."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def numbers(
    name: str,
    found: Kept,
    inputs: list[str] | None,
    counters: list[str] | None,
    timeout: float,
    jobs: int | None,
    quiet: bool,
    no_cache: bool,
    mode: Mode,
) -> tuple[Any, bool]:
    """A model's entry of the baseline, or, of what is none or is asked for in another way, what it is now.

    And whether something is wrong with that, as `verdict` has it.
    """
    from flopledger.reports.documents.baseline import snapshot
    from flopledger.reports.verdict import wrong

    if inputs is None and counters is None and mode is Mode.eval:
        if name in found.models:
            return found.models[name], False
        if name in found.configured:
            fail(f"{name!r} is not in {found.path} yet: flopledger snapshot writes it")
    run = compared(name, inputs, counters, timeout, jobs, quiet, no_cache, mode).run
    return snapshot(run), wrong(run)


def text_of(path: Path) -> str:
    """What a file holds, with its own ends of lines; a usage error where it cannot be read."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror or error}")
    except UnicodeDecodeError as error:
        fail(f"cannot read {path}: it is not UTF-8 ({error.reason} at byte {error.start})")


def names_completed(incomplete: str) -> list[str]:
    """The names of the project's baseline, and of the models that there are."""
    from flopledger.reports.documents import baseline as documents
    from flopledger.reports.project import project

    try:
        found = project()
        known = list(documents.read(found.baseline).models) if found else []
    except (ValueError, OSError):  # nobody is there to be told
        known = []
    inert = [name for name in known if name == printable(name) and name.startswith(incomplete)]
    return [*inert, *models_completed(incomplete)]


BaselineOption = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Whose numbers.  [default: the project's baseline]"),
]
