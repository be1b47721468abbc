"""One tally laid on the ledger, beside what its convention charges: where the two agree, and where they do not.

They are compared as finely as the tally speaks (its granularity). Where they agree, the amount is explained
and splits over the calls by formula. Where they do not, the formulas' amounts stay and the rest is a failure.
So for every tally

    total == sum(amounts of rows) + sum(unexplained of failures) + sum(asides)

An aside that nothing bears out is no aside: it becomes `unattributed`, and so a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from flopledger.counters.convention import Convention, Rule
from flopledger.counters.formula import Formula
from flopledger.counters.tally import LARGEST, Aside, Granularity, Natural, Part, Tally, believed
from flopledger.reference_model.ledger import Entry, Ledger

NOWHERE = "unattributed"  # the op of a part that the library could not place


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Where a convention does not give what was reported; amounts are in the tally's own unit.

    `level` says what was added up: one op at a site (`operation`), a whole site, an op over the model, or the
    total. `site` is "" at the last two, and `op` is None where nobody named one. `known` is why, where the counter's
    convention knows that it fails there (`Convention.deviations`), else "".
    """

    site: str
    op: str | None
    reported: int
    claimed: int
    level: Granularity = "site"
    known: str = ""

    @property
    def place(self) -> Place:
        return self.site, self.op, self.level

    @property
    def unexplained(self) -> int:
        return self.reported - self.claimed


class Claim(msgspec.Struct, frozen=True):
    """A rule that was used. `in_macs` is its formula halved, for a tally in FLOPs; "" for one in MACs."""

    formula: str
    because: str
    source: str
    when: str = ""
    in_macs: str = ""


class Aligned(msgspec.Struct, frozen=True, kw_only=True):
    """One tally on the ledger. `rows` has, for each call of the ledger, the claim's index and the amount.

    `parts` and asides sum to the total. `sites` is how many places were compared, `agree` at how many of them
    the formulas give what was reported. `warnings` are the tally's, and what is to be said of its asides.
    """

    name: str
    unit: str
    total: int
    claims: list[Claim]
    rows: list[tuple[Natural, int]]
    parts: list[Part]
    failures: list[Failure]
    asides: list[Aside]
    granularity: Granularity
    sites: int
    agree: int
    warnings: list[str]


def align(tally: Tally, convention: Convention, ledger: Ledger) -> Aligned:
    """Check a convention against what was reported, everywhere that the tally speaks of.

    A part at a place that the ledger does not know, or one that the library did not place, is a failure with a
    claim of 0; so is a charge that is no whole number. A convention that charges more than 2**62 in all claims
    nothing, and fails everywhere. Asides are no call's.
    """
    tally = _borne_out(tally, ledger)
    ledger = as_run(tally, ledger)
    charged = convention.charges(ledger)
    amounts = [0 if amount is None else int(amount) for _, amount in charged]
    broken = {i for i, (_, amount) in enumerate(charged) if amount is None or amount.denominator != 1}
    if sum(map(abs, amounts)) > LARGEST:  # no document can hold that
        amounts, broken = [0] * len(amounts), set(range(len(amounts)))
    cases = convention.cases(ledger)
    entries = [case.entry for case in cases]
    failures: list[Failure] = []
    for (site, op, level), rows, reported in _places(tally, entries):
        claimed = sum(amounts[i] for i in rows)
        if reported != claimed or broken.intersection(rows):
            known = convention.known([cases[i] for i in rows])
            failures.append(Failure(site=site, op=op, reported=reported, claimed=claimed, level=level, known=known))
    failures = in_order(failures, entries)
    parts = told(failures, entries, amounts)
    claims, indices = _claims([rule for rule, _ in charged], tally.unit)
    sites, agree = compared(tally.granularity, parts, failures, entries)
    return Aligned(
        name=tally.name,
        unit=tally.unit,
        total=tally.total or 0,
        claims=claims,
        rows=list(zip(indices, amounts, strict=True)),
        parts=parts,
        failures=failures,
        asides=tally.asides,
        granularity=tally.granularity,
        sites=sites,
        agree=agree,
        warnings=tally.warnings,
    )


Place = tuple[str, str | None, Granularity]


def as_run(tally: Tally, ledger: Ledger) -> Ledger:
    """The ledger on the device on which the counter ran: a rule may be another there."""
    return msgspec.structs.replace(ledger, device=tally.device) if tally.device else ledger


def _borne_out(tally: Tally, ledger: Ledger) -> Tally:
    """The same tally, its asides `unattributed` if they cannot be what they say."""
    if believed(tally.asides, tally.total or 0, sum(entry["calls"] for entry in ledger.entries)):
        return tally
    warnings = [
        f"{aside.amount:+,} of its total is {aside.name} ({aside.because}), it says, and nothing bears that out"
        for aside in tally.asides
    ]
    parts = [Part("", NOWHERE, aside.amount) for aside in tally.asides]
    return msgspec.structs.replace(
        tally, parts=[*tally.parts, *parts], asides=[], warnings=[*tally.warnings, *warnings]
    )


def _places(tally: Tally, entries: Sequence[Entry]) -> list[tuple[Place, list[int], int]]:
    """Everywhere to compare: the place, the rows there, and what was reported."""
    rows: dict[Place, list[int]] = {}
    reported: dict[Place, int] = {}
    named = _ops_named(tally, entries)

    def place(site: str, op: str | None) -> Place:
        if tally.granularity == "total":
            return "", None, "total"
        if tally.granularity == "op":
            return "", op, "op"
        if tally.granularity == "operation" or site in named:
            return site, op, "operation"
        return site, None, "site"

    for i, entry in enumerate(entries):
        rows.setdefault(place(entry.site, entry.op), []).append(i)
    for part in tally.parts:
        if part.op != NOWHERE:
            at = place(part.site, part.op)
            reported[at] = reported.get(at, 0) + part.count
    found = [(at, rows.get(at, []), reported.get(at, 0)) for at in dict.fromkeys([*rows, *reported])]
    lost: dict[Place, int] = {}
    for part in tally.parts:
        if part.op == NOWHERE:
            level: Granularity = "operation" if tally.granularity == "site" else tally.granularity
            at = "" if level in ("op", "total") else part.site, NOWHERE, level
            lost[at] = lost.get(at, 0) + part.count
    return found + [(at, [], count) for at, count in lost.items() if count]


def _ops_named(tally: Tally, entries: Sequence[Entry]) -> set[str]:
    """The sites at which every part names an op that the ledger has there."""
    known: dict[str, set[str | None]] = {}
    for entry in entries:
        known.setdefault(entry.site, set()).add(entry.op)
    fits: dict[str, bool] = {}
    for part in tally.parts:
        if part.op != NOWHERE:
            fits[part.site] = fits.get(part.site, True) and part.op in known.get(part.site, ())
    return {site for site, fit in fits.items() if fit}


def where(level: Granularity, site: str, op: str | None) -> str:
    """What counts as one place: a site, an op over the model, or the total."""
    return (op or "") if level == "op" else site


def compared(
    level: Granularity, parts: Iterable[Part], failures: Iterable[Failure], entries: Sequence[Entry]
) -> tuple[int, int]:
    """At how many places (of a tally's granularity) formulas and reports were compared, and at how many they agree.

    They are the ledger's, and those that something was reported of (`told`).
    """
    places = [(entry.site, entry.op) for entry in entries] + [(part.site, part.op) for part in parts]
    every = {""} if level == "total" else {where(level, site, op) for site, op in places}
    return len(every), len(every - {where(f.level, f.site, f.op) for f in failures})


def rows_at(entries: Sequence[Entry]) -> dict[Place, list[int]]:
    """The rows (one entry for each) of every place that a failure may name."""
    found: dict[Place, list[int]] = {}
    for i, entry in enumerate(entries):
        places: tuple[Place, ...] = (
            ("", None, "total"),
            ("", entry.op, "op"),
            (entry.site, None, "site"),
            (entry.site, entry.op, "operation"),
        )
        for place in places:
            found.setdefault(place, []).append(i)
    return found


Found = TypeVar("Found", Part, Failure)


def in_order(found: Iterable[Found], entries: Sequence[Entry]) -> list[Found]:
    """In the order of the ledger's sites; what is at none of them comes last."""
    order: dict[str, int] = {}
    for entry in entries:
        order.setdefault(entry.site, len(order))
    return sorted(found, key=lambda at: (order.get(at.site, len(order)), at.site, at.op or ""))


def told(failures: Sequence[Failure], entries: Sequence[Entry], amounts: Sequence[int]) -> list[Part]:
    """What was reported: by site and op what the formulas give, and where they fail what it was instead."""
    rows = rows_at(entries)
    wrong = {i for failure in failures for i in rows.get(failure.place, ())}
    parts = _split((i for i in range(len(entries)) if i not in wrong), entries, amounts)
    return in_order([*parts, *(Part(f.site, f.op, f.reported) for f in failures)], entries)


def _split(rows: Iterable[int], entries: Sequence[Entry], amounts: Sequence[int]) -> list[Part]:
    """What the formulas give, by site and op."""
    sums: dict[tuple[str, str], int] = {}
    for i in rows:
        key = (entries[i].site, entries[i].op)
        sums[key] = sums.get(key, 0) + amounts[i]
    return [Part(site, op, count) for (site, op), count in sums.items() if count]


def _claims(rules: Sequence[Rule], unit: str) -> tuple[list[Claim], list[int]]:
    """The rules in order of first use, and for each row which of them speaks of it."""
    by_rule: dict[int, Claim] = {}  # a rule is made once and speaks of thousands of rows
    claims: dict[Claim, int] = {}
    indices = []
    for rule in rules:
        claim = by_rule.get(id(rule))
        if claim is None:
            half = str(halved(rule.formula)) if unit == "FLOP" else ""
            claim = Claim(str(rule.formula), rule.because, rule.source, rule.condition, half)
            by_rule[id(rule)] = claim
        indices.append(claims.setdefault(claim, len(claims)))
    return list(claims), indices


def halved(formula: Formula) -> Formula:
    """The same in MACs, where a formula is in FLOPs: one MAC is two."""
    return Formula(tuple(msgspec.structs.replace(term, coefficient=term.coefficient / 2) for term in formula.terms))


def failed(failures: Iterable[Failure], entries: Sequence[Entry]) -> frozenset[int]:
    """The rows (one entry for each) whose amounts are not verified, because they are part of a sum that is wrong."""
    found: set[int] = set()
    for failure in failures:
        if failure.op == NOWHERE and not failure.claimed:
            continue
        anywhere = failure.level in ("op", "total")
        found.update(
            i
            for i, entry in enumerate(entries)
            if (anywhere or entry.site == failure.site) and failure.op in (None, entry.op)
        )
    return frozenset(found)
