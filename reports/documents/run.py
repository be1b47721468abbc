"""The run document: one JSON file that holds everything a report shows. Rendering never counts.

It holds the ledger once and, per tally, which rule speaks of each call and what that charges; any pair of
counters is reconciled from it when somebody asks.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec

from flopledger.counters import registry
from flopledger.counters.convention import Convention
from flopledger.counters.tally import Aside, Granularity, Part, Status, Tally
from flopledger.reference_model.ledger import Entry, Ledger
from flopledger.reports.align import Claim, Failure, align
from flopledger.reports.documents.reading import FORMAT, RunError, parse
from flopledger.reports.reconcile import Reconciliation, Rows, reconcile


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    python: str
    torch: str | None
    platform: str


def environment() -> Environment:
    """Where this runs."""
    return Environment(
        python=platform.python_version(),
        torch=registry.version_of("torch"),
        platform=platform.platform(terse=True),
    )


class Model(msgspec.Struct, frozen=True, kw_only=True):
    spec: str
    inputs: list[str]
    params: int
    device: str


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger without the facts of its calls: charges have been computed from them already."""

    totals: dict[str, int]
    entries: list[Entry]
    notes: list[str] = []
    source: str = ""  # the code that makes ledgers, by its digest

    def rows(self) -> list[Any]:
        """Every call with its entry, in order, as `Ledger.rows`."""
        return [(entry, call) for entry in self.entries for call in entry.calls]


class ConventionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One rule at one op, as it was used in a run; `when` says which of the op's calls it speaks of."""

    op: str
    formula: str
    because: str
    source: str
    when: str = ""
    count: int = 0
    sites: int = 0


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """At how many places (of the tally's granularity) the formulas were compared, and agree."""

    sites: int
    agree: int


class TallyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One counter. Where it counted, `rows` has for each call of the ledger the rule's index in `claims` and the
    amount, in the tally's own unit; `parts` is what it reported, split by formula where that is verified."""

    counter: str
    distribution: str
    version: str | None
    release: str | None
    status: Status
    unit: str
    total: int | None
    params: int | None
    parts: list[Part]
    claims: list[Claim]
    rows: list[tuple[int, int]]
    verified: Verified
    shims: list[str]
    uncounted: dict[str, int]
    warnings: list[str]
    seconds: float | None
    reason: str | None
    granularity: Granularity = "site"
    device: str | None = None
    failures: list[Failure] = []
    asides: list[Aside] = []
    adapter: str = ""  # the source of our own adapter, by its digest

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter

    @property
    def unexplained(self) -> int:
        """What no formula explains of its total."""
        return sum(failure.unexplained for failure in self.failures)


class Run(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`asked` are the counters that were asked for by name; empty where it was up to us."""

    format: Literal[2]
    flopledger: str
    created: str
    environment: Environment
    model: Model
    ledger: LedgerRecord
    tallies: list[TallyRecord]
    asked: list[str] = []

    def tally(self, name: str) -> TallyRecord:
        return next(tally for tally in self.tallies if tally.name == name)

    def counted(self) -> list[TallyRecord]:
        return [tally for tally in self.tallies if tally.status == "counted"]

    @property
    def rows(self) -> Rows:
        """The ledger's calls, each with its entry."""
        return self._kept("rows", self.ledger.rows)  # type: ignore[no-any-return]

    def between(self, left: str, right: str) -> Reconciliation:
        """The reconciliation of two counters, in the order asked for.

        Raises:
            KeyError: one of them did not count in this run.
        """
        counted = {tally.name: tally for tally in self.counted()}
        if left not in counted or right not in counted:
            raise KeyError(f"{left} and {right} were not both counted in this run")
        return self._kept(("pair", left, right), lambda: reconcile(counted[left], counted[right], self.rows))  # type: ignore[no-any-return]

    def pairs(self) -> Iterator[Reconciliation]:
        """Every pair of counters that counted, each once."""
        for left, right in combinations(self.counted(), 2):
            yield self.between(left.name, right.name)

    def convention(self, tally: TallyRecord) -> list[ConventionLine]:
        """The rules that were used, op by op, and what they charged; asides are lines too."""
        return self._kept(("convention", tally.name), lambda: convention_lines(tally, self.rows))  # type: ignore[no-any-return]

    def _kept(self, key: Any, make: Any) -> Any:
        """What was computed from this document before; a document never changes."""
        if key not in self.__dict__:
            self.__dict__[key] = make()
        return self.__dict__[key]


def convention_lines(tally: TallyRecord, rows: Rows) -> list[ConventionLine]:
    """What a tally's rules charged, op by op; rules of views that charge nothing are left out."""
    if tally.total is None:
        return []
    used: dict[tuple[str, int], list[int]] = {}
    for i, ((entry, _), (claim, amount)) in enumerate(zip(rows, tally.rows, strict=True)):
        if entry.op != "view" or amount:
            used.setdefault((entry.op, claim), []).append(i)
    lines = [
        ConventionLine(
            op=op,
            formula=tally.claims[claim].formula,
            because=tally.claims[claim].because,
            source=tally.claims[claim].source,
            when=tally.claims[claim].when,
            count=sum(tally.rows[i][1] for i in where),
            sites=len({rows[i][0].site for i in where}),
        )
        for (op, claim), where in used.items()
    ]
    asides = [
        ConventionLine(op=aside.name, formula=aside.name, because=aside.because, source="", count=aside.amount)
        for aside in tally.asides
    ]
    return lines + asides


def assemble(
    *,
    flopledger: str,
    created: str,
    environment: Environment,
    spec: str,
    ledger: Ledger,
    tallies: list[tuple[Tally, Convention]],
    source: str = "",
    adapters: Mapping[str, str] | None = None,
    asked: Sequence[str] = (),
) -> Run:
    """Check every tally against its convention.

    `source` and `adapters` are the digests of the code that made the ledger and ran each counter; `asked` are
    the names of the counters that were asked for.
    """
    entries = [
        msgspec.structs.replace(entry, calls=[msgspec.structs.replace(call, facts={}) for call in entry.calls])
        for entry in ledger.entries
    ]
    return Run(
        format=FORMAT,
        flopledger=flopledger,
        created=created,
        environment=environment,
        model=Model(spec=spec, inputs=ledger.inputs, params=ledger.params, device=ledger.device),
        ledger=LedgerRecord(totals=ledger.totals(), entries=entries, notes=ledger.notes, source=source),
        tallies=[
            _record(tally, convention, ledger, (adapters or {}).get(tally.counter, "")) for tally, convention in tallies
        ],
        asked=list(asked),
    )


def _record(tally: Tally, convention: Convention, ledger: Ledger, adapter: str) -> TallyRecord:
    side = align(tally, convention, ledger) if tally.status == "counted" else None
    return TallyRecord(
        counter=tally.counter,
        distribution=tally.distribution,
        version=tally.version,
        release=tally.release,
        status=tally.status,
        unit=tally.unit,
        total=tally.total,
        params=tally.params,
        parts=side.parts if side else [],
        claims=side.claims if side else [],
        rows=side.rows if side else [],
        verified=Verified(sites=side.sites if side else 0, agree=side.agree if side else 0),
        shims=tally.shims,
        uncounted=tally.uncounted,
        warnings=tally.warnings,
        seconds=tally.seconds,
        reason=tally.reason,
        granularity=tally.granularity,
        device=tally.device,
        failures=side.failures if side else [],
        asides=side.asides if side else [],
        adapter=adapter,
    )


def decode(data: bytes) -> Run:
    """Read a document and check that it adds up.

    Raises:
        RunError: cut off, not JSON, another format, of another shape, or sums that do not hold.
    """
    run: Run = parse(data, {"run": Run})
    return check(run)


def check(run: Run) -> Run:
    """Add everything up again: a document that was changed by hand must not become a page.

    Raises:
        RunError: a sum that does not hold.
    """
    names = [tally.name for tally in run.tallies]
    if len(names) != len(set(names)):
        raise RunError("it has two tallies of one name")
    if run.ledger.totals != _totals(run.ledger.entries):
        raise RunError("the ledger's entries do not sum to its totals")
    for tally in run.counted():
        _check_tally(tally, run.rows)
    return run


def _totals(entries: Sequence[Entry]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        for quantity, value in entry.quantities.items():
            sums[quantity] = sums.get(quantity, 0) + value
    return sums


def _check_tally(tally: TallyRecord, rows: Rows) -> None:
    asides = sum(aside.amount for aside in tally.asides)
    if tally.total is None or sum(part.count for part in tally.parts) + asides != tally.total:
        raise RunError(f"the parts of {tally.name} do not sum to its total")
    if len(tally.rows) != len(rows):
        raise RunError(f"{tally.name} has {len(tally.rows)} rows where the ledger has {len(rows)} calls")
    if not all(0 <= claim < len(tally.claims) for claim, _ in tally.rows):
        raise RunError(f"a row of {tally.name} has a rule that it does not have")
    if sum(amount for _, amount in tally.rows) + tally.unexplained + asides != tally.total:
        raise RunError(f"the rows of {tally.name}, and what no formula explains, do not sum to its total")
    _check_places(tally, rows)


def _check_places(tally: TallyRecord, rows: Rows) -> None:
    """A part is what was reported: where nothing failed, what the rows of that site and op charge."""
    left: dict[tuple[str, str | None], int] = {}
    for part in tally.parts:
        left[part.site, part.op] = left.get((part.site, part.op), 0) + part.count
    by_site: dict[str, int] = {}
    for (entry, _), (_, amount) in zip(rows, tally.rows, strict=True):
        by_site[entry.site] = by_site.get(entry.site, 0) + amount
    if tally.granularity in ("op", "total"):
        return
    for failure in tally.failures:
        by_site[failure.site] = by_site.get(failure.site, 0) + failure.unexplained
    for (site, _), count in left.items():
        by_site[site] = by_site.get(site, 0) - count
    if wrong := next((site for site, rest in by_site.items() if rest), None):
        raise RunError(f"the parts of {tally.name} at {wrong!r} are not what its rows and failures say")


def read(path: Path) -> Run:
    """`decode` of a file's bytes; raises RunError and OSError."""
    return decode(path.read_bytes())


def schema() -> dict[str, Any]:
    """The JSON Schema of the run document."""
    return msgspec.json.schema(Run)
