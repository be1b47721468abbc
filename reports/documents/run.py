"""The run document: one JSON file that holds everything a report shows. Rendering never counts.

It holds the ledger once and, per tally, which rule speaks of each call and what that charges; any pair of
counters is reconciled from it when somebody asks.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from flopledger.counters import registry
from flopledger.counters.convention import Convention
from flopledger.counters.formula import Case, Formula
from flopledger.counters.tally import Aside, Granularity, Natural, Part, Status, Tally, believed
from flopledger.counters.tally import told as said
from flopledger.reference_model import inputs, subject
from flopledger.reference_model.display import Displayed, Grid, by_size, signed
from flopledger.reference_model.ledger import (
    MEANING,
    Entry,
    Ledger,
    Member,
    Mode,
    Phase,
    Unpriced,
    calls_without_formula,
    unpriced,
)
from flopledger.reference_model.names import SpecError
from flopledger.reports import coverage
from flopledger.reports.align import Claim, Failure, align, compared, halved, in_order, rows_at, told
from flopledger.reports.documents.reading import (
    FORMAT,
    Moment,
    RunError,
    Version,
    check_moment,
    check_numbers,
    check_unlike,
    content,
    parse,
    quoted,
)
from flopledger.reports.reconcile import Reconciliation, Rows, reconcile


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    python: Version
    torch: Version | None
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
    params: Natural
    device: str
    mode: Mode = "eval"


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger without the facts of its calls: charges have been computed from them already.

    Where something is `unpriced`, which may hold arithmetic and has no formula, the MACs of `totals` are "at least".
    """

    totals: dict[str, Natural]
    unpriced: list[Unpriced]
    entries: list[Entry]
    notes: list[str] = []
    members: dict[str, Member] = {}
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
    sites: Natural = 0
    phase: Phase = "forward"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """At how many places (of the tally's granularity) the formulas were compared, and agree."""

    sites: Natural
    agree: Natural


class TallyRecord(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """One counter. Where it counted, `rows` has for each call of the ledger the rule's index in `claims` and the
    amount, in the tally's own unit; `parts` is what it reported, split by formula where that is verified."""

    counter: str
    distribution: str
    version: Version | None
    release: Version | None
    status: Status
    unit: str
    total: Natural | None
    params: Natural | None
    parts: list[Part]
    claims: list[Claim]
    rows: list[tuple[Natural, int]]
    verified: Verified
    shims: list[str]
    uncounted: dict[str, Natural]
    warnings: list[str]
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None
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

    def _line(self) -> str:
        return said(self.name, self.version, self.total, self.unit, self.status, self.reason)

    def _grids(self) -> Iterator[Grid]:
        charged: dict[int, int] = {}
        for claim, amount in self.rows:
            charged[claim] = charged.get(claim, 0) + amount
        rows: list[tuple[str, str, int]] = [
            (self.claims[i].formula, self.claims[i].because, n) for i, n in charged.items() if n
        ]
        rows += [(aside.name, aside.because, aside.amount) for aside in self.asides]
        if self.failures:
            rows.append(("residual", "no formula explains it", self.unexplained))
        if self.total is not None:
            yield Grid(("formula", "because", self.unit), by_size(rows),
                       [("sum", "", self.total)])  # fmt: skip


class Run(Displayed, msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`asked` are the counters that were asked for by name, perhaps none; null where it was up to us."""

    format: Literal[3]
    flopledger: Version
    created: Moment
    environment: Environment
    model: Model
    ledger: LedgerRecord
    tallies: list[TallyRecord]
    asked: list[str] | None = None

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

    def coverage(self, tally: TallyRecord) -> coverage.Coverage:
        """What share of the ledger's MACs a counter that counted saw."""
        return self._kept(("coverage", tally.name), lambda: coverage.coverage(tally, self.rows))  # type: ignore[no-any-return]

    def _line(self) -> str:
        model = f"{self.model.spec} at {', '.join(self.model.inputs) or 'no inputs'}"
        totals = ", ".join(f"{t.name} {t.total:,} {t.unit}s" for t in self.counted()) or "no counter has a number"
        names = list(calls_without_formula(self.ledger.unpriced))
        least = "at least " if names else ""
        aside = f"; UNPRICED: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}" if names else ""
        return f"{model}: ledger {least}{self.ledger.totals.get('macs', 0):,} MACs{aside}; {totals}"

    def _grids(self) -> Iterator[Grid]:
        least = "at least; unpriced operations" if self.ledger.unpriced else ""
        rows: list[tuple[str | int | None, ...]] = [
            ("ledger", self.flopledger, self.ledger.totals.get("macs", 0), "MAC", self.model.params, least)
        ]
        for tally in self.tallies:
            remark = f"{tally.status}: {tally.reason}" if tally.total is None else ""
            if tally.failures:
                remark = f"formulas fail, {signed(tally.unexplained)} unexplained"
            rows.append((tally.name, tally.version, tally.total, tally.unit, tally.params, remark))
        yield Grid(("counter", "version", "total", "unit", "parameters", "remark"), rows)

    def _kept(self, key: Any, make: Any) -> Any:
        """What was computed from this document before; a document never changes."""
        if key not in self.__dict__:
            self.__dict__[key] = make()
        return self.__dict__[key]


def convention_lines(tally: TallyRecord, rows: Rows) -> list[ConventionLine]:
    """What a tally's rules charged, op by op; rules of views that charge nothing are left out."""
    if tally.total is None:
        return []
    used: dict[tuple[Phase, str, int], list[int]] = {}
    for i, ((entry, _), (claim, amount)) in enumerate(zip(rows, tally.rows, strict=True)):
        if entry.op != "view" or amount:
            used.setdefault((entry.phase, entry.op, claim), []).append(i)
    lines = [
        ConventionLine(
            op=op,
            formula=tally.claims[claim].formula,
            because=tally.claims[claim].because,
            source=tally.claims[claim].source,
            when=tally.claims[claim].when,
            count=sum(tally.rows[i][1] for i in where),
            sites=len({rows[i][0].site for i in where}),
            phase=phase,
        )
        for (phase, op, claim), where in used.items()
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
    asked: Sequence[str] | None = None,
) -> Run:
    """Check every tally against its convention.

    `source` and `adapters` are the digests of the code that made the ledger and ran each counter; `asked` are
    the names of the counters that were asked for.

    Raises:
        RunError: a number beyond 2**62.
    """
    entries = [
        msgspec.structs.replace(entry, calls=[msgspec.structs.replace(call, facts={}) for call in entry.calls])
        for entry in ledger.entries
    ]
    run = Run(
        format=FORMAT,
        flopledger=flopledger,
        created=created,
        environment=environment,
        model=Model(spec=spec, inputs=ledger.inputs, params=ledger.params, device=ledger.device, mode=ledger.mode),
        ledger=LedgerRecord(
            totals=ledger.totals(),
            unpriced=ledger.unpriced(),
            entries=entries,
            notes=ledger.notes,
            members=ledger.members,
            source=source,
        ),
        tallies=[
            record(tally, convention, ledger, (adapters or {}).get(tally.counter, "")) for tally, convention in tallies
        ],
        asked=None if asked is None else list(asked),
    )
    check_numbers(run)
    return run


def record(tally: Tally, convention: Convention, ledger: Ledger, adapter: str) -> TallyRecord:
    """A tally checked against its convention; `adapter` is the digest of the code that ran its counter."""
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
        warnings=side.warnings if side else tally.warnings,
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
        RunError: cut off, not JSON, another format, of another shape, changed, or sums that do not hold.
    """
    run: Run = parse(data, {"run": (Run, check)})
    return run


def check(run: Run) -> Run:
    """Add everything up again: a document that was changed by hand must not become a page.

    Raises:
        RunError: what does not hold.
    """
    check_moment(run.created, "when it was made")
    check_model(run.model)
    names = [tally.name for tally in run.tallies]
    check_unlike(names, "tallies")
    if stranger := next((name for name in run.asked or [] if name not in names), None):
        raise RunError(f"{quoted(stranger)} was asked for and has no tally")
    _check_ledger(run.ledger)
    ledger = Ledger(model=run.model.spec, inputs=run.model.inputs, params=run.model.params, entries=run.ledger.entries)
    for tally in run.tallies:
        check_status(quoted(tally.name), tally.status, tally.total)
        if tally.status == "counted":
            _check_tally(tally, ledger)
        elif tally.params is not None or tally.parts or tally.claims or tally.rows or tally.failures or tally.asides:
            raise RunError(f"{quoted(tally.name)} did not count and has numbers")
        elif tally.verified != Verified(sites=0, agree=0):
            raise RunError(f"{quoted(tally.name)} did not count and was compared at {tally.verified.sites} places")
    return run


def check_model(model: Model) -> None:
    """Raise RunError where an input is none; the inputs of a live model, which has a bare name, are what it got."""
    name = model.spec.partition("?")[0]
    if ":" not in name and name != subject.DEFAULT_MODEL:
        return
    try:
        inputs.check(model.inputs)
    except SpecError as error:
        raise RunError(f"its input {error}") from None


def check_status(name: str, status: Status, total: int | None) -> None:
    """Raise RunError unless a counter that counted, and no other, has a total."""
    if (status == "counted") != (total is not None):
        raise RunError(f"{name} is {status} and has {'no' if total is None else 'a'} total")


def _check_ledger(ledger: LedgerRecord) -> None:
    for entry in ledger.entries:
        amounts = [value for call in entry.calls for value in call.quantities.values()]
        if not entry.calls or any(call.times < 1 for call in entry.calls) or min(amounts, default=0) < 0:
            raise RunError(f"the ledger's {quoted(entry.op)} at {quoted(entry.site)} has no calls, or fewer than none")
    if ledger.totals != _totals(ledger.entries):
        raise RunError("the ledger's entries do not sum to its totals")
    said = [msgspec.structs.replace(found, inputs=[], output=[]) for found in ledger.unpriced]
    if said != unpriced(ledger.rows()):
        raise RunError("what the ledger says has no formula is not what its entries say")


def check_unpriced(unpriced: Mapping[str, int], ledger: Mapping[str, int]) -> None:
    """Raise RunError where operations without a formula have no calls, or more than there were."""
    if min(unpriced.values(), default=1) < 1 or sum(unpriced.values()) > ledger.get("calls", 0):
        raise RunError("an operation without a formula has no calls, or more than the model made")


def _totals(entries: Sequence[Entry]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        for quantity, value in entry.quantities.items():
            sums[quantity] = sums.get(quantity, 0) + value
    return sums


def _check_tally(tally: TallyRecord, ledger: Ledger) -> None:
    name, entries = quoted(tally.name), [entry for entry, _ in ledger.rows()]
    asides = sum(aside.amount for aside in tally.asides)
    if tally.total is None or sum(part.count for part in tally.parts) + asides != tally.total:
        raise RunError(f"the parts of {name} do not sum to its total")
    if not believed(tally.asides, tally.total, sum(entry["calls"] for entry in ledger.entries)):
        raise RunError(f"{name} has {asides:+,} in its total that can be no rounding, nor one for each call")
    if len(tally.rows) != len(entries):
        raise RunError(f"{name} has {len(tally.rows)} rows where the ledger has {len(entries)} calls")
    if list(dict.fromkeys(claim for claim, _ in tally.rows)) != list(range(len(tally.claims))):
        raise RunError(f"a row of {name} has a rule that it does not have, or a rule of it has no row")
    if sum(amount for _, amount in tally.rows) + tally.unexplained + asides != tally.total:
        raise RunError(f"the rows of {name}, and what no formula explains, do not sum to its total")
    _check_failures(tally, entries)
    amounts = [amount for _, amount in tally.rows]
    if tally.parts != told(tally.failures, entries, amounts):
        raise RunError(f"the parts of {name} are not what its rows and failures say")
    sites, agree = compared(tally.granularity, tally.parts, tally.failures, entries)
    if tally.verified != Verified(sites=sites, agree=agree):
        raise RunError(f"{name} says that it agrees at {tally.verified.agree} of {tally.verified.sites} places, "
                       f"and it does at {agree} of {sites}")  # fmt: skip
    _check_claims(tally, ledger)


LEVELS: dict[Granularity, tuple[Granularity, ...]] = {
    "total": ("total",), "op": ("op",), "operation": ("operation",), "site": ("site", "operation"),
}  # fmt: skip


def _check_failures(tally: TallyRecord, entries: Sequence[Entry]) -> None:
    """Each at a place of the tally's own granularity, once, with what its rows charge there."""
    rows, name = rows_at(entries), quoted(tally.name)
    if len({failure.place for failure in tally.failures}) != len(tally.failures):
        raise RunError(f"{name} fails twice at one place")
    if tally.failures != in_order(tally.failures, entries):
        raise RunError(f"the failures of {name} are not in the order of the ledger")
    for failure in tally.failures:
        if failure.level not in LEVELS[tally.granularity]:
            raise RunError(f"{name} speaks by {tally.granularity}, and fails by {failure.level}")
        if failure.claimed != sum(tally.rows[i][1] for i in rows.get(failure.place, ())):
            raise RunError(f"what {name} claims at {quoted(failure.site)} is not what its rows charge there")


def _check_claims(tally: TallyRecord, ledger: Ledger) -> None:
    """Where a formula says it with the ledger's own quantities, the amounts are what it gives."""
    name = quoted(tally.name)
    if len(set(tally.claims)) != len(tally.claims):
        raise RunError(f"{name} has one rule twice")
    formulas = [_formula(claim.formula) for claim in tally.claims]
    for claim, formula in zip(tally.claims, formulas, strict=True):
        half = str(halved(formula)) if formula else claim.in_macs
        if claim.in_macs != (half if tally.unit == "FLOP" else "") or (tally.unit == "FLOP" and not half):
            raise RunError(f"{name} says {quoted(tally.unit)}s, and a formula of it in MACs is {quoted(claim.in_macs)}")
    if not any(amount for _, amount in tally.rows):  # as where the formulas give more than 2**62
        return
    charges: dict[tuple[Any, ...], int] = {}  # a deep network makes the same call at many sites
    for case, (claimed, amount) in zip(Convention(tally.counter, ()).cases(ledger), tally.rows, strict=True):
        formula, call = formulas[claimed], case.call
        if formula is None:
            continue
        alike = claimed, call.times, case.last, case.entry.params, tuple(call.quantities.items())
        if alike not in charges:
            charges[alike] = _charge(formula, case)
        if amount != charges[alike]:
            raise RunError(
                f"{name} charges {amount:,} at {quoted(case.entry.site)}, which is not what its formula gives"
            )


def _formula(text: str) -> Formula | None:
    """A formula of quantities that a document holds; those of a counter's own file, and `batch`, need more."""
    try:
        formula = Formula.parse(text)
    except ValueError:
        return None
    return formula if formula.names <= {*MEANING, "calls", "last", "own_params"} else None


def _charge(formula: Formula, case: Case) -> int:
    """As `align` has it: whole, and 0 where there is no value."""
    try:
        return int(formula.over_calls(case))
    except ArithmeticError:
        return 0


def read(path: Path) -> Run:
    """`decode` of a file's bytes; raises RunError and OSError."""
    return decode(content(path))


def schema() -> dict[str, Any]:
    """The JSON Schema of the run document."""
    found = msgspec.json.schema(Run)
    run = found["$defs"]["Run"]
    run["properties"]["digest"] = {
        "type": "string",
        "description": "SHA-256 of everything else, as JSON without blanks and with sorted keys",
    }
    run["required"].append("digest")
    return found
