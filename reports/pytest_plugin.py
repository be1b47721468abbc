"""For a test suite: `flop_snapshot` keeps what counters say beside the test, `assert_macs` keeps a budget."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import nn

FOLDER = "__flops__"
_TAKEN: pytest.StashKey[dict[str, tuple[str, str]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flopledger")
    group.addoption(
        "--flop-update", action="store_true", help="write what the counters say today into the tests' FLOP snapshots"
    )


class FlopSnapshot:
    """The snapshots of one test: files in `__flops__` beside it, one for each `check`.

    `taken` says of every file, in a spelling that no file system tells apart, which check of which test has it.
    """

    def __init__(self, test: Path, name: str, update: bool, taken: dict[str, tuple[str, str]]):
        self._test, self._name, self._update, self._taken = test, name, update, taken
        self._checks = 0
        for file in [file for file, (owner, _) in taken.items() if owner == self._owner]:
            del taken[file]  # the same test runs again

    @property
    def _owner(self) -> str:
        return f"{self._test.name}::{self._name}"

    def check(
        self, model: nn.Module | str, inputs: Any = None, counters: Sequence[str] | None = None, *, name: str = ""
    ) -> None:
        """Compare what the counters say of a model with what they said when the snapshot was taken.

        Args:
            model: a live module, which comes back as it was, or a spec like `"mobilenet_v2"`.
            inputs: a tensor or a tuple of arguments; for a spec, shapes.
            counters: as `compare` takes them; default every one that is installed.
            name: tells several checks of one test apart, where their order does not.

        Raises:
            AssertionError: there is no snapshot yet, or something has moved; the message is the
                reconciliation, operation by operation. Also where another check has this one's file, and with
                `--flop-update` where no counter has a number to write.
        """
        __tracebackhide__ = True
        from flopledger.counters.engine.adapters import at_hand
        from flopledger.reports.compare import compare
        from flopledger.reports.documents.baseline import read, rewrite, snapshot
        from flopledger.reports.documents.reading import RunError
        from flopledger.reports.drift import drift
        from flopledger.reports.pages.drift_words import blocks
        from flopledger.reports.pages.terminal import printable, shown
        from flopledger.reports.verdict import wrong

        self._checks += 1
        place = self._place(name or ("" if self._checks == 1 else str(self._checks)))
        self._take(place, f"check(name={name!r})" if name else f"check() number {self._checks}")
        now = snapshot(compare(model, inputs, counters=at_hand() if counters is None else counters).run)
        try:
            before = read(place).models.get(self._owner)
        except FileNotFoundError:
            before = None
        except RunError as error:
            if not self._update:
                said = f"cannot read {place}: {error}; pytest --flop-update writes it anew"
                pytest.fail(printable(said), pytrace=False)
            before = None
        if self._update:
            if all(tally.total is None for tally in now.tallies):
                pytest.fail(f"no counter has a number, so there is none to write to {place}", pytrace=False)
            if before is None or _timeless(before) != _timeless(now):
                rewrite(place, {self._owner: now}, anew=True)
            return
        if before is None:
            pytest.fail(printable(f"there is no {place} yet; pytest --flop-update writes it"), pytrace=False)
        found = drift(before, now)
        if wrong(found):
            text = shown(blocks(found))
            hint = printable(f"If this is meant, pytest --flop-update writes {place}")
            pytest.fail(f"{text}\n\n{hint}", pytrace=False)

    def _take(self, place: Path, check: str) -> None:
        """Fail where another check has this file: one of the two would be compared with the other's numbers."""
        __tracebackhide__ = True
        file = unicodedata.normalize("NFKC", str(place)).casefold()
        if file in self._taken:
            owner, other = self._taken[file]
            where = "" if owner == self._owner else f" in {owner}"
            pytest.fail(
                f"{check} in {self._owner} and {other}{where} both have the file {place}; "
                "give one of them another name",
                pytrace=False,
            )
        self._taken[file] = self._owner, check

    def _place(self, name: str) -> Path:
        """The file of one check; a name that no file can have gets a digest of itself."""
        whole = f"{self._test.stem}.{self._name}{f'.{name}' if name else ''}"
        plain = re.sub(r"[^\w.\[\]=-]", "_", whole)[:150]
        if plain != whole:
            plain += f"-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
        return self._test.parent / FOLDER / f"{plain}.json"


def _timeless(found: Any) -> bytes:
    """A snapshot without when and where it was taken."""
    import msgspec

    from flopledger.reports.documents.reading import encode

    return encode(msgspec.structs.replace(found, created="", environment=msgspec.structs.replace(
        found.environment, platform="", python="")))  # fmt: skip


@pytest.fixture
def flop_snapshot(request: pytest.FixtureRequest) -> FlopSnapshot:
    """What counters say of a model, compared with a file beside the test; `--flop-update` writes it."""
    name = request.node.nodeid.partition("::")[2].replace("::", ".")
    taken = request.config.stash.setdefault(_TAKEN, {})
    return FlopSnapshot(request.path, name, bool(request.config.getoption("--flop-update")), taken)


@pytest.fixture(name="assert_macs")
def _assert_macs() -> Any:
    """A budget: `assert_macs(model, inputs, at_most=320_000_000)`."""
    from flopledger.reports.budget import assert_macs

    return assert_macs
