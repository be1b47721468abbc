"""Where the numbers come from that a project shows: its baseline, or one that was named, or a count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from flopledger.reports.command.guarded import complete_guarded, configured, read_baseline, shown_path
from flopledger.reports.command.options import DEFAULT, Mode, compared, fail, models_completed


class Kept(NamedTuple):
    """The entries of a baseline by name, where it is (None without one), the project's folder and its models' names."""

    path: Path | None
    models: dict[str, Any]
    folder: Path
    configured: list[str]


def kept(baseline: Path | None) -> Kept:
    """The baseline that was named, or the project's; a usage error where it cannot be read."""
    if baseline is not None:
        return Kept(baseline, read_baseline(baseline).models, Path(), [])
    project = configured()
    if project is None:
        return Kept(None, {}, Path(), [])
    models = read_baseline(project.baseline).models if project.baseline.exists() else {}
    folder = Path(shown_path(project.path.parent))
    return Kept(Path(shown_path(project.baseline)), models, folder, [each.name for each in project.models])


def of_project(found: Kept) -> list[str]:
    """The models whose numbers are shown where none is named: all of a baseline but those of tests.

    Without a project the reference model; a usage error where a project's baseline has none yet.
    """
    from flopledger.reports.documents.baseline import is_test

    names = [name for name in found.models if not is_test(name)]
    if not names and found.path is not None:
        fail(f"{found.path} has no model yet: flopledger snapshot writes it")
    return names or [DEFAULT]


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
    from flopledger.reference_model.names import nearest
    from flopledger.reference_model.subject import SAVED
    from flopledger.reports.documents.baseline import snapshot
    from flopledger.reports.verdict import wrong

    if inputs is None and counters is None and mode is Mode.eval:
        if name in found.models:
            return found.models[name], False
        if name in found.configured:
            fail(f"{name!r} is not in {found.path} yet: flopledger snapshot writes it")
    known = [*found.models, *found.configured]
    if known and ":" not in name and name.partition("?")[0] != DEFAULT and not name.endswith(SAVED):
        fail(f"no model {name!r} in {found.path}{nearest(name, known) or '; a spec is like torchvision:resnet50'}")
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
    """The names of the project's models, and of those that there are."""
    return [*complete_guarded(incomplete), *models_completed(incomplete)]


BaselineOption = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Whose numbers.  [default: the project's baseline]"),
]
