"""The run document: one JSON file that holds everything a report shows. Rendering never counts."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec

from counters import registry
from counters.convention import Convention
from counters.tally import Part, Status, Tally
from reference_model.ledger import Entry, Ledger
from reports.document import RunError, parse
from reports.reconcile import Failure, Reconciliation, align, reconcile, rounded

FORMAT: Literal[1] = 1


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
    totals: dict[str, int]
    entries: list[Entry]
    notes: list[str] = []
    source: str = ""  # the code that makes ledgers, by its digest


class ConventionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was used in this run; `when` says which of the op's sites it speaks of."""

    op: str
    formula: str
    because: str
    source: str
    when: str = ""
    count: int = 0
    sites: int = 0


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    sites: int
    agree: int


class TallyRecord(msgspec.Struct, frozen=True, kw_only=True):
    counter: str
    distribution: str
    version: str | None
    release: str | None
    status: Status
    unit: str
    total: int | None
    params: int | None
    parts: list[Part]
    convention: list[ConventionLine]
    verified: Verified
    shims: list[str]
    uncounted: dict[str, int]
    warnings: list[str]
    seconds: float | None
    reason: str | None
    device: str | None = None
    failures: list[Failure] = []
    adapter: str = ""  # the source of our own adapter, by its digest

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Run(msgspec.Struct, frozen=True, kw_only=True):
    format: Literal[1]
    flopledger: str
    created: str
    environment: Environment
    model: Model
    ledger: LedgerRecord
    tallies: list[TallyRecord]
    reconciliations: list[Reconciliation]

    def tally(self, name: str) -> TallyRecord:
        return next(tally for tally in self.tallies if tally.name == name)

    def counted(self) -> list[TallyRecord]:
        return [tally for tally in self.tallies if tally.status == "counted"]

    def between(self, left: str, right: str) -> Reconciliation:
        """The reconciliation of two counters, in the order asked for.

        Raises:
            KeyError: one of them did not count in this run.
        """
        for r in self.reconciliations:
            if (r.left, r.right) == (left, right):
                return r
            if (r.left, r.right) == (right, left):
                return mirrored(r)
        raise KeyError(f"{left} and {right} were not both counted in this run")


def mirrored(r: Reconciliation) -> Reconciliation:
    """The same reconciliation with left and right exchanged."""
    lines = [
        msgspec.structs.replace(
            line,
            left=line.right,
            right=line.left,
            difference=-line.difference,
            left_formula=line.right_formula,
            right_formula=line.left_formula,
            left_because=line.right_because,
            right_because=line.left_because,
            left_source=line.right_source,
            right_source=line.left_source,
        )
        for line in r.lines
    ]
    return msgspec.structs.replace(
        r, left=r.right, right=r.left, difference=-r.difference, residual=-r.residual, lines=lines
    )


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
) -> Run:
    """Check every tally against its convention and reconcile every pair.

    `source` and `adapters` are the digests of the code that made the ledger and ran each counter.
    """
    records: list[TallyRecord] = []
    sides = []
    for tally, convention in tallies:
        adapter = (adapters or {}).get(tally.counter, "")
        if tally.status != "counted":
            records.append(_record(tally, [], Verified(sites=0, agree=0), [], [], adapter))
            continue
        side = align(tally, convention, ledger)
        used: dict[tuple[str, str, str, str], list[int]] = {}
        for i, (entry, rule) in enumerate(zip(ledger.entries, side.rules, strict=True)):
            if entry.op != "view" or side.charges[i]:
                key = (entry.op, str(rule.formula), rule.because, rule.condition)
                used.setdefault(key, []).append(i)
        convention_lines = [
            ConventionLine(
                op=op,
                formula=formula,
                because=because,
                source=side.rules[where[0]].source,
                when=when,
                count=sum(side.charges[i] for i in where),
                sites=len({ledger.entries[i].site for i in where}),
            )
            for (op, formula, because, when), where in used.items()
        ]
        if side.rounding:
            because = rounded(tally.total or 0, side.rounding)
            convention_lines.append(
                ConventionLine(op="rounding", formula="rounding", because=because, source="", count=side.rounding)
            )
        verified = Verified(sites=side.sites, agree=side.agree)
        records.append(_record(tally, convention_lines, verified, side.parts, side.failures, adapter))
        sides.append((tally, side))
    return Run(
        format=FORMAT,
        flopledger=flopledger,
        created=created,
        environment=environment,
        model=Model(spec=spec, inputs=ledger.inputs, params=ledger.params, device=ledger.device),
        ledger=LedgerRecord(totals=ledger.totals(), entries=ledger.entries, notes=ledger.notes, source=source),
        tallies=records,
        reconciliations=[
            reconcile(a, b, a_side, b_side, ledger) for (a, a_side), (b, b_side) in combinations(sides, 2)
        ],
    )


def _record(
    tally: Tally,
    convention: list[ConventionLine],
    verified: Verified,
    parts: list[Part],
    failures: list[Failure],
    adapter: str,
) -> TallyRecord:
    return TallyRecord(
        counter=tally.counter,
        distribution=tally.distribution,
        version=tally.version,
        release=tally.release,
        status=tally.status,
        unit=tally.unit,
        total=tally.total,
        params=tally.params,
        parts=parts,
        convention=convention,
        verified=verified,
        shims=tally.shims,
        uncounted=tally.uncounted,
        warnings=tally.warnings,
        seconds=tally.seconds,
        reason=tally.reason,
        device=tally.device,
        failures=failures,
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
    totals: dict[str, int] = {}
    for tally in run.counted():
        if tally.total is None or sum(part.count for part in tally.parts) != tally.total:
            raise RunError(f"the parts of {tally.name} do not sum to its total")
        totals[tally.name] = tally.total
    sums: dict[str, int] = {}
    for entry in run.ledger.entries:
        for quantity, value in entry.quantities.items():
            sums[quantity] = sums.get(quantity, 0) + value
    if sums != run.ledger.totals:
        raise RunError("the ledger's entries do not sum to its totals")
    for r in run.reconciliations:
        if r.left not in totals or r.right not in totals:
            raise RunError(f"it reconciles {r.left} and {r.right}, but one of them has no number")
        check_sums(r, totals[r.left] - totals[r.right])
    return run


def check_sums(r: Reconciliation, difference: int) -> None:
    """Add up the lines of a reconciliation of totals that are `difference` apart. Raises RunError."""
    if difference != r.difference:
        raise RunError(f"the difference of {r.left} and {r.right} is not that of their totals")
    if sum(line.difference for line in r.lines) + r.residual != r.difference:
        raise RunError(f"the lines of {r.left} and {r.right} do not add up")
    if any(line.left - line.right != line.difference for line in r.lines):
        raise RunError(f"a line of {r.left} and {r.right} does not add up")


def read(path: Path) -> Run:
    """`decode` of a file's bytes; raises RunError and OSError."""
    return decode(path.read_bytes())


def schema() -> dict[str, Any]:
    """The JSON Schema of the run document."""
    return msgspec.json.schema(Run)
