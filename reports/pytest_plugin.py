"""For a test suite: `flop_snapshot` holds models against a baseline, `assert_macs` against a budget.

The baseline is the project's, where there is one (`[tool.flopledger]`), and else a file in `__flops__` beside the test.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from torch import nn

    from flopledger.reports.documents.baseline import Snapshot
    from flopledger.reports.moves import Drift, Row
    from flopledger.reports.project import Guarded, Project

FOLDER = "__flops__"
_TAKEN: pytest.StashKey[dict[tuple[str, str], tuple[str, str]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flopledger")
    group.addoption(
        "--flop-update", action="store_true", help="write what the counters say today into the tests' FLOP snapshots"
    )


class _Entry(NamedTuple):
    """Where a check's numbers are kept: a file, which it may have alone, and the name in it."""

    file: Path
    name: str
    alone: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """In a spelling that no file system tells apart."""
        return unicodedata.normalize("NFKC", str(self.file)).casefold(), "" if self.alone else self.name

    def __str__(self) -> str:
        return str(self.file) if self.alone else f"entry {self.name} of {self.file}"


class FlopSnapshot:
    """The snapshots of one test, one for each `check`.

    `taken` says of every entry which check of which test has it.
    """

    def __init__(self, test: Path, name: str, update: bool, taken: dict[tuple[str, str], tuple[str, str]]):
        self._test, self._name, self._update, self._taken = test, name, update, taken
        self._checks = 0
        for key in [key for key, (owner, _) in taken.items() if owner == self._owner]:
            del taken[key]  # the same test runs again

    @property
    def _owner(self) -> str:
        return f"{self._test.name}::{self._name}"

    def check(
        self, model: nn.Module | str, inputs: Any = None, counters: Sequence[str] | None = None, *, name: str = ""
    ) -> None:
        """Compare what the counters say of a model with what they said when the snapshot was taken.

        Args:
            model: a live module, which comes back as it was, a spec like `"mobilenet_v2"`, or the name of a model that
                the project configures: that is counted as the project says, and compared with its entry.
            inputs: a tensor or a tuple of arguments; for a spec, shapes.
            counters: as `compare` takes them; default the project's, or every one that is installed.
            name: tells several checks of one test apart, where their order does not.

        Raises:
            AssertionError: there is no snapshot yet, or something has moved; the message is the
                reconciliation, operation by operation. Also where another check has this one's entry, where the model
                cannot be counted, and with `--flop-update` where no counter has a number to write.
        """
        __tracebackhide__ = True
        from flopledger.reports.pages.terminal import printable

        try:
            said = self._checked(model, inputs, counters, name)
        except (ValueError, OSError) as error:
            said = str(error)
        if said:
            pytest.fail("\n".join(map(printable, said.split("\n"))), pytrace=False)

    def _checked(self, model: Any, inputs: Any, counters: Sequence[str] | None, name: str) -> str:
        """What is wrong, "" if nothing is. Raises ValueError and OSError."""
        from flopledger.reports.documents.baseline import only, snapshot
        from flopledger.reports.drift import drift
        from flopledger.reports.verdict import wrong

        found = _project(self._test)
        guarded = _configured(found, model, inputs)
        if guarded is None:
            self._checks += 1
            entry = self._entry(found, name or ("" if self._checks == 1 else str(self._checks)))
            if other := self._take(entry, f"check(name={name!r})" if name else f"check() number {self._checks}"):
                return other
        else:
            assert found is not None
            entry = _Entry(found.baseline, guarded.name)
        before = _kept(entry, self._update)
        now = snapshot(_counted(model, inputs, counters, found, guarded, self._update))
        if self._update:
            return _updated(entry, before, now)
        if before is None:
            return f"there is no {entry} yet; pytest --flop-update writes it"
        if guarded is not None and counters is not None:
            before = only(before, {tally.name for tally in now.tallies})
        moved = drift(before, now)
        return _said(moved, entry) if wrong(moved) else ""

    def _take(self, entry: _Entry, check: str) -> str:
        """What is wrong where another check has this entry: one of the two would meet the other's numbers."""
        if entry.key in self._taken:
            owner, other = self._taken[entry.key]
            both = f"{check} in {self._owner} and {other}{'' if owner == self._owner else f' in {owner}'} both have"
            return f"{both} the {'file ' if entry.alone else ''}{entry}; give one of them another name"
        self._taken[entry.key] = self._owner, check
        return ""

    def _entry(self, project: Project | None, name: str) -> _Entry:
        """Where a check of this test has its numbers: in the project's baseline, or else in a file of its own.

        A name that no file can have gets a digest of itself.
        """
        if project is not None:
            where = self._test.resolve().relative_to(project.path.parent).as_posix()
            return _Entry(project.baseline, f"{where}::{self._name}{f'#{name}' if name else ''}")
        whole = f"{self._test.stem}.{self._name.replace('::', '.')}{f'.{name}' if name else ''}"
        plain = re.sub(r"[^\w.\[\]=-]", "_", whole)[:150]
        if plain != whole:
            plain += f"-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
        return _Entry(self._test.parent / FOLDER / f"{plain}.json", self._owner, alone=True)


def _project(test: Path) -> Project | None:
    """The project that a test is in. Raises ProjectError, a ValueError."""
    from flopledger.reports.project import project

    return project(test.parent)


def _configured(project: Project | None, model: Any, inputs: Any) -> Guarded | None:
    """The model of the project that is meant, if one is."""
    if project is None or not isinstance(model, str) or inputs is not None:
        return None
    return next((each for each in project.models if each.name == model), None)


def _counted(
    model: Any, inputs: Any, counters: Sequence[str] | None, project: Project | None, guarded: Guarded | None, all: bool
) -> Any:
    """The run of a model, of a configured one as its project says; `all` is with all of the project's counters."""
    from flopledger.counters.engine.adapters import at_hand
    from flopledger.reports.compare import compare

    usual = at_hand() if project is None or project.counters is None else project.counters
    if guarded is None:
        return compare(model, inputs, counters=usual if counters is None else counters).run
    assert project is not None
    spec = guarded.spec
    with project.here():
        return compare(
            spec.model,
            None if spec.inputs is None else list(spec.inputs),
            counters=usual if counters is None or all else counters,
            mode=spec.mode,
        ).run


def _updated(entry: _Entry, before: Snapshot | None, now: Snapshot) -> str:
    """Write an entry, if it is another than is there; what keeps it from that."""
    from flopledger.reports.documents.baseline import rewrite

    if all(tally.total is None for tally in now.tallies):
        return f"no counter has a number, so there is none to write to {entry.file}"
    if before is None or _timeless(before) != _timeless(now):
        rewrite(entry.file, {entry.name: now}, anew=entry.alone)
    return ""


def _kept(entry: _Entry, update: bool) -> Snapshot | None:
    """What is there, None if nothing is; in a file of its own that is written anew it need not be readable.

    Raises:
        RunError: it cannot be read.
    """
    from flopledger.reports.documents.baseline import read
    from flopledger.reports.documents.reading import RunError

    try:
        return read(entry.file).models.get(entry.name)
    except FileNotFoundError:
        return None
    except RunError as error:
        if entry.alone and update:
            return None
        hint = "; pytest --flop-update writes it anew" if entry.alone else ""
        raise RunError(f"cannot read {entry.file}: {error}{hint}") from None


def _said(found: Drift, entry: _Entry) -> str:
    """What has moved: in one line, which is all that a summary has room for, and by operation."""
    from flopledger.reports.moves import FINE
    from flopledger.reports.pages.drift_words import blocks
    from flopledger.reports.pages.numbers import few, visible
    from flopledger.reports.pages.terminal import shown

    moved = [_row(row) for row in found.rows if row.mark not in FINE]
    said = few(moved) or "there is nothing to compare, or something has no formula that was not there"
    what = entry.name.partition("#")[2] if "::" in entry.name else entry.name  # the test's name stands above
    head = f"{visible(what)}: {said}" if what else said
    hint = f"If this is meant, pytest --flop-update writes {entry}"
    return f"{head}\n\n{shown(blocks(found))}\n\n{hint}"


def _row(row: Row) -> str:
    """`thop +1,964 MACs`, or what else has become of it."""
    from flopledger.reports.pages.numbers import signed, units, visible

    change = f"{signed(row.difference)} {units(row.unit)}" if row.difference else row.mark
    return f"{visible(row.counter)} {change}"


def _timeless(found: Snapshot) -> Any:
    """A snapshot without when and where it was taken."""
    import msgspec

    where = msgspec.structs.replace(found.environment, platform="", python="")
    return msgspec.structs.replace(found, created="", environment=where)


@pytest.fixture
def flop_snapshot(request: pytest.FixtureRequest) -> FlopSnapshot:
    """What counters say of a model, compared with the project's baseline or a file; `--flop-update` writes it."""
    name = request.node.nodeid.partition("::")[2]
    taken = request.config.stash.setdefault(_TAKEN, {})
    return FlopSnapshot(request.path, name, bool(request.config.getoption("--flop-update")), taken)


@pytest.fixture(name="assert_macs")
def _assert_macs(request: pytest.FixtureRequest) -> Any:
    """A budget: `assert_macs(model, inputs, at_most=320_000_000)`, as `flopledger.assert_macs` has it.

    Or that of a model that the project configures: `assert_macs("resnet50")`, where no other is given.
    """

    def assert_macs(model: nn.Module | str, inputs: Any = None, **limits: Any) -> int:
        __tracebackhide__ = True
        from flopledger.reports import budget

        try:
            found = _project(request.path)
            guarded = _configured(found, model, inputs)
            if found is None or guarded is None:
                return budget.assert_macs(model, inputs, **limits)
            return _held(found, guarded, limits)
        except (AssertionError, ValueError) as error:
            raise error.with_traceback(None) from None  # where in our code is nobody's business

    return assert_macs


def _held(project: Project, guarded: Guarded, limits: Mapping[str, Any]) -> int:
    """The MACs of a model that a project configures. Raises AssertionError and ValueError."""
    from flopledger.reports import budget

    limit = budget.budget_of(**limits) if limits else guarded.budget
    if limit is None:
        raise project.fault(guarded.line, f"{guarded.name!r} has no budget; write one here, or at_most= in the test")
    run = _counted(guarded.name, None, [], project, guarded, all=False)
    try:
        return budget.held(run, limit, guarded.name)
    except budget.BudgetError as error:
        raise project.fault(error.line, str(error)) if error.line else error from None
