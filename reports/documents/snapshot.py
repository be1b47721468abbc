"""The snapshot document: a run without its sites, small enough to be checked in and read in a review."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from flopledger.counters.tally import ROUNDING, Aside, Natural, Status, believed
from flopledger.reference_model.display import Displayed, Grid
from flopledger.reports.documents.reading import (
    FORMAT,
    Moment,
    RunError,
    Version,
    check_moment,
    check_unlike,
    content,
    parse,
    quoted,
)
from flopledger.reports.documents.run import (
    ConventionLine,
    Environment,
    Model,
    Run,
    TallyRecord,
    Verified,
    calls_without_formula,
    check_model,
    check_status,
    check_unpriced,
)
from flopledger.reports.documents.run import check as check_run


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter said: its total, and the amounts by operation and formula that make it up.

    `unexplained` is what no formula gives, so `total == sum(line.count) + unexplained`.
    """

    counter: str
    distribution: str
    version: Version | None
    release: Version | None
    unit: str
    status: Status
    total: Natural | None
    params: Natural | None
    reason: str | None
    lines: list[ConventionLine]
    unexplained: int
    verified: Verified
    adapter: str
    warnings: list[str] = []

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Snapshot(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """A baseline: a run without its sites, small enough to be checked in and read in a review.

    `ledger` holds the totals of every quantity, `unpriced` the operations without a formula and how often each was
    called, `source` the code that makes ledgers, by its digest.
    """

    format: Literal[3]
    kind: Literal["snapshot"]
    flopledger: Version
    created: Moment
    environment: Environment
    model: Model
    ledger: dict[str, Natural]
    unpriced: dict[str, Natural]
    source: str
    tallies: list[Pinned]

    def _line(self) -> str:
        totals = ", ".join(f"{t.name} {t.total:,} {t.unit}s" for t in self.tallies if t.total is not None)
        return f"{self.model.spec} at {', '.join(self.model.inputs)}: {totals or 'no counter has a number'}"

    def _grids(self) -> Iterator[Grid]:
        rows = [(t.name, t.version, t.total, t.unit, t.reason or "") for t in self.tallies]
        yield Grid(("counter", "version", "total", "unit", "remark"), rows)


def snapshot(run: Run) -> Snapshot:
    """The baseline of a run."""
    return Snapshot(
        format=FORMAT,
        kind="snapshot",
        flopledger=run.flopledger,
        created=run.created,
        environment=run.environment,
        model=run.model,
        ledger=run.ledger.totals,
        unpriced=calls_without_formula(run.ledger.unpriced),
        source=run.ledger.source,
        tallies=[_pinned(tally, run) for tally in run.tallies],
    )


def _pinned(tally: TallyRecord, run: Run) -> Pinned:
    return Pinned(
        counter=tally.counter,
        distribution=tally.distribution,
        version=tally.version,
        release=tally.release,
        unit=tally.unit,
        status=tally.status,
        total=tally.total,
        params=tally.params,
        reason=tally.reason,
        lines=[line for line in run.convention(tally) if line.count],
        unexplained=tally.unexplained,
        verified=tally.verified,
        adapter=tally.adapter,
        warnings=tally.warnings,
    )


def decode(data: bytes) -> Snapshot:
    """Read a baseline; a run document is one too.

    Raises:
        RunError: it cannot be read, was changed, or does not add up.
    """
    found: Run | Snapshot = parse(data, {"snapshot": (Snapshot, check), "run": (Run, check_run)})
    return snapshot(found) if isinstance(found, Run) else found


def check(found: Snapshot) -> Snapshot:
    """Add everything up again.

    Raises:
        RunError: what does not hold.
    """
    check_moment(found.created, "when it was made")
    check_model(found.model)
    check_unpriced(found.unpriced, found.ledger)
    check_unlike([tally.name for tally in found.tallies], "tallies")
    for tally in found.tallies:
        check_status(quoted(tally.name), tally.status, tally.total)
        _check_pinned(tally, found.ledger.get("calls", 0))
    return found


def _check_pinned(tally: Pinned, calls: int) -> None:
    name, wrong = quoted(tally.name), tally.verified.sites - tally.verified.agree
    if (tally.total or 0) != sum(line.count for line in tally.lines) + tally.unexplained:
        raise RunError(f"the lines of {name} do not sum to its total")
    if tally.total is None and (tally.lines or tally.verified.sites or tally.params is not None):
        raise RunError(f"{name} did not count and has numbers")
    if wrong < 0 or (tally.unexplained and not wrong):
        raise RunError(f"{name} agrees at {tally.verified.agree} of {tally.verified.sites} places, and "
                       f"{tally.unexplained:,} of it is unexplained")  # fmt: skip
    rules = [
        str((line.phase, line.op, line.formula, line.because, line.source, line.when))
        for line in tally.lines
        if line.sites
    ]
    check_unlike(rules, "lines")
    if any(line.count == 0 or line.formula == "0" or line.sites > calls for line in tally.lines):
        raise RunError(f"a line of {name} charges nothing, or at more sites than the model has calls")
    asides = [Aside(line.op, line.count, "") for line in tally.lines if line.op == ROUNDING or not line.sites]
    if not believed(asides, tally.total or 0, calls):
        raise RunError(f"{name} has more in its total of no operation than can be rounding, or one for each call")


def read(path: Path) -> Snapshot:
    """`decode` of a file's bytes; raises RunError and OSError."""
    return decode(content(path))


def only(found: Snapshot, names: set[str]) -> Snapshot:
    """The same baseline with just these counters."""
    return msgspec.structs.replace(found, tallies=[tally for tally in found.tallies if tally.name in names])
