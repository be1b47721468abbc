"""The snapshot document: a run without its sites, small enough to be checked in and read in a review."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from flopledger.counters.tally import Status
from flopledger.reports.documents.reading import FORMAT, RunError, parse
from flopledger.reports.documents.run import ConventionLine, Environment, Model, Run, TallyRecord, Verified
from flopledger.reports.documents.run import check as check_run


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter said: its total, and the amounts by operation and formula that make it up.

    `unexplained` is what no formula gives, so `total == sum(line.count) + unexplained`.
    """

    counter: str
    distribution: str
    version: str | None
    release: str | None
    unit: str
    status: Status
    total: int | None
    params: int | None
    reason: str | None
    lines: list[ConventionLine]
    unexplained: int
    verified: Verified
    adapter: str
    warnings: list[str] = []

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A baseline: a run without its sites, small enough to be checked in and read in a review.

    `ledger` holds the totals of every quantity, `source` the code that makes ledgers, by its digest.
    """

    format: Literal[2]
    kind: Literal["snapshot"]
    flopledger: str
    created: str
    environment: Environment
    model: Model
    ledger: dict[str, int]
    source: str
    tallies: list[Pinned]


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
        RunError: it cannot be read, or does not add up.
    """
    found: Run | Snapshot = parse(data, {"snapshot": Snapshot, "run": Run})
    if isinstance(found, Run):
        found = snapshot(check_run(found))
    names = [tally.name for tally in found.tallies]
    if len(names) != len(set(names)):
        raise RunError("it has two tallies of one name")
    for tally in found.tallies:
        if tally.status == "counted" and tally.total != sum(line.count for line in tally.lines) + tally.unexplained:
            raise RunError(f"the lines of {tally.name} do not sum to its total")
    return found


def read(path: Path) -> Snapshot:
    """`decode` of a file's bytes; raises RunError and OSError."""
    return decode(path.read_bytes())


def only(found: Snapshot, names: set[str]) -> Snapshot:
    """The same baseline with just these counters."""
    return msgspec.structs.replace(found, tallies=[tally for tally in found.tallies if tally.name in names])
