"""A counter on the shipped probes: op by op, where its convention holds and what it reported where it does not."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from fractions import Fraction

import msgspec

from flopledger.counters import registry
from flopledger.counters.convention import Convention, Rule
from flopledger.counters.engine import adapters
from flopledger.counters.engine.plan import Asked, count_each
from flopledger.counters.formula import OWN, Case, value
from flopledger.counters.tally import Granularity, Tally
from flopledger.reference_model import probes
from flopledger.reference_model.ledger import MEANING, Ledger
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import NOWHERE, align


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place of one probe. `reads` are formulas of one quantity that would give what was reported."""

    probe: str
    site: str
    ops: list[str]
    holds: bool
    formulas: list[str]
    claimed: int
    reported: int
    reads: list[str] = []


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """What a counter says of all probes.

    `silent` are those that it has no number for, with the reason; `idle` are the rules that spoke of nothing in any
    probe: a function or a fact in their condition may be misspelt.
    """

    counter: str
    version: str | None
    findings: list[Finding]
    silent: dict[str, str]
    idle: list[Rule] = []

    @property
    def broken(self) -> list[Finding]:
        """Where the convention does not give what was reported."""
        return [finding for finding in self.findings if not finding.holds]


def probed(
    name: str,
    *,
    only: Iterable[str] | None = None,
    timeout: float = 300.0,
    jobs: int | None = None,
    keep: bool = True,
    on_running: Callable[[str], None] = lambda probe: None,
    on_done: Callable[[str], None] = lambda probe: None,
) -> Probed:
    """Run a counter (or a release of it) on every probe, or on `only` some, and check its convention there.

    Raises:
        ValueError: no such counter, or what follows `==` is no version.
    """
    asked = Asked.parse(name)
    if asked.adapter.trouble:
        raise ValueError(asked.adapter.trouble)
    adapters.claimed(asked.counter, asked.release)  # one that cannot say what it charges is told before it counts
    chosen = list(probes.PROBES) if only is None else list(only)
    specs = {Spec.parse(probes.spec(probe), list(probes.PROBES[probe])): probe for probe in chosen}
    counted: dict[str, tuple[Tally, Ledger]] = {}
    silent: dict[str, str] = {}

    def told(spec: Spec, name: str) -> None:
        on_running(specs[spec])

    coming = count_each([asked], list(specs), timeout=timeout, workers=jobs, keep=keep, on_running=told)
    for spec, ledger, tallies, reason in coming:
        probe = specs[spec]
        on_done(probe)
        tally = tallies[0] if tallies else None
        if ledger is None or tally is None or tally.total is None:
            silent[probe] = (tally and tally.reason) or reason or "it has no number"
        else:
            counted[probe] = tally, ledger
    ordered = {probe: counted[probe] for probe in chosen if probe in counted}
    judged = adapters.ask(asked.counter, lambda: _judged(asked.counter, ordered), Judged)
    return Probed(
        counter=name,
        version=next((tally.version for tally, _ in reversed(ordered.values())), None),
        findings=judged.findings,
        silent={p: silent[p] for p in chosen if p in silent},
        idle=[adapters.claimed(asked.counter, version).rules[at] for version, at in judged.idle],
    )


class Judged(msgspec.Struct, frozen=True):
    """Every finding, and the rules that spoke of no probe: the version, and the index among its rules."""

    findings: list[Finding]
    idle: list[tuple[str | None, int]]


def _judged(counter: str, counted: Mapping[str, tuple[Tally, Ledger]]) -> Judged:
    """The counter's own convention on what it said; this runs its code."""
    conventions = {version: registry.claimed(counter, version) for version in {t.version for t, _ in counted.values()}}
    spoke = {id(rule) for tally, ledger in counted.values() for rule, _ in conventions[tally.version].charges(ledger)}
    return Judged(
        findings=[
            finding
            for probe, (tally, ledger) in counted.items()
            for finding in findings(probe, tally, conventions[tally.version], ledger)
        ],
        idle=[
            (version, at)
            for version, convention in conventions.items()
            for at, rule in enumerate(convention.rules)
            if id(rule) not in spoke
        ],
    )


def findings(probe: str, tally: Tally, convention: Convention, ledger: Ledger) -> list[Finding]:
    """One finding for each place of a probe at which something happened that could be charged for."""
    side = align(tally, convention, ledger)
    failures = {(f.site, f.op): f for f in side.failures}
    cases = convention.cases(ledger)
    own = sorted({name for rule in convention.rules for name in rule.formula.names} & OWN.keys())
    names = ["outputs", *(name for name in MEANING if name != "outputs"), *own]
    places: dict[tuple[str, str | None], list[int]] = {}
    for i, case in enumerate(cases):
        if case.entry.op not in ("view", "fill"):
            places.setdefault(_place(case, side.granularity, failures), []).append(i)
    found = []
    for (site, op), rows in places.items():
        failure = failures.pop((site, op), None)
        claimed = sum(side.rows[i][1] for i in rows)
        reported = failure.reported if failure else claimed
        found.append(
            Finding(
                probe=probe,
                site=site,
                ops=list(dict.fromkeys(cases[i].entry.op for i in rows)),
                holds=failure is None,
                formulas=list(dict.fromkeys(side.claims[side.rows[i][0]].formula for i in rows)),
                claimed=claimed,
                reported=reported,
                reads=readings(reported, [cases[i] for i in rows], names) if failure else [],
            )
        )
    for (site, op), failure in failures.items():  # where the ledger has nothing
        what = [] if op in (None, NOWHERE) else [str(op)]
        found.append(
            Finding(probe=probe, site=site, ops=what, holds=False, formulas=[], claimed=failure.claimed,
                    reported=failure.reported)
        )  # fmt: skip
    return found


def _place(case: Case, granularity: Granularity, failures: Container[tuple[str, str | None]]) -> tuple[str, str | None]:
    """Where a call is compared: as finely as the tally speaks, and a whole site unless one op of it fails alone."""
    site, op = case.entry.site, case.entry.op
    if granularity == "total":
        return "", None
    if granularity == "op":
        return "", op
    return (site, op) if (site, op) in failures else (site, None)


def readings(reported: int, cases: list[Case], names: list[str]) -> list[str]:
    """Formulas of one quantity, with a small factor, that give what was reported: a start for whoever mends a rule."""
    if not reported:
        return ["0"]
    found = []
    for name in names:
        try:
            amount = sum((Fraction(case.call.times) * value(name, case) for case in cases), Fraction(0))
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue
        if amount and (factor := reported / amount).denominator == 1 and factor <= 16:
            found.append(name if factor == 1 else f"{factor}·{name}")
    return found[:4]
