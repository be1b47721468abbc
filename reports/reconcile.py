"""Two tallies, their difference, the lines that make it up, and what is left over.

A counter's parts are laid on the ledger, site by site, beside what its convention charges there.
Where the two agree, the amount is explained and splits over the site's operations by formula.
Where they do not, the formula's amount stays on its line and the rest is *unexplained*: it goes
into the residual, with the site's name. So for every pair

    difference == sum(line.difference) + residual

and the residual is zero exactly when the formulas account for the whole difference.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from counters.convention import Convention, Rule
from counters.tally import Part, Tally
from reference_model.ledger import Entry, Ledger


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A site (and op, if the counter names one) at which a convention does not give what was reported."""

    site: str
    op: str | None
    reported: int
    claimed: int

    @property
    def unexplained(self) -> int:
        return self.reported - self.claimed


class Aligned(msgspec.Struct, frozen=True, kw_only=True):
    """One counter laid on the ledger: its rule for each entry, the amounts, and where it failed."""

    rules: list[Rule]
    charges: list[int]
    parts: list[Part]
    failures: list[Failure]
    failed: frozenset[int]
    sites: int
    agree: int
    rounding: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One op under one pair of formulas. `left` and `right` are what the two counters charged there."""

    op: str
    left_formula: str
    right_formula: str
    left: int
    right: int
    difference: int
    sites: int
    verified_sites: int
    elements: int
    left_because: str = ""
    right_because: str = ""
    left_source: str = ""
    right_source: str = ""
    failing: list[str] = []


class Residue(msgspec.Struct, frozen=True, kw_only=True):
    """An amount that no formula explains: which counter, where, reported and claimed."""

    counter: str
    site: str
    op: str | None
    reported: int
    claimed: int
    unexplained: int


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    left: str
    right: str
    difference: int
    residual: int
    lines: list[Line]
    residue: list[Residue] = []


def align(tally: Tally, convention: Convention, ledger: Ledger) -> Aligned:
    """Check a convention against what was reported, at every site.

    Where the counter names ops that the ledger has at that site, each (site, op) is checked;
    elsewhere the site as a whole. A part at a site that the ledger does not know, or one that the
    library did not place, is a failure with a claim of 0. What a float32 sum lost is no site's.
    """
    rules = [convention.rule_for(entry) for entry in ledger.entries]
    charges: list[int] = []
    failures: list[Failure] = []
    failed: set[int] = set()
    parts: list[Part] = []
    at_site: dict[str, list[int]] = {}
    for index, (entry, rule) in enumerate(zip(ledger.entries, rules, strict=True)):
        charge = rule.formula.of(entry.quantities)
        if charge.denominator != 1:
            failed.add(index)
        charges.append(int(charge))
        at_site.setdefault(entry.site, []).append(index)

    reported: dict[str, list[Part]] = {}
    rounding = sum(part.count for part in tally.parts if part.op == "rounding")
    for part in tally.parts:
        if part.op != "rounding":
            reported.setdefault(part.site, []).append(part)

    agree = 0
    for site in at_site.keys() | reported.keys():
        indices, here = at_site.get(site, []), reported.get(site, [])
        known = {ledger.entries[i].op for i in indices}
        stray = [part for part in here if part.op == "unattributed"]
        placed = [part for part in here if part.op != "unattributed"]
        by_op = bool(placed) and all(part.op in known for part in placed)
        groups: list[str | None] = [*sorted(known)] if by_op else [None]
        fine = not any(part.count for part in stray)
        for op in groups:
            mine = [i for i in indices if op is None or ledger.entries[i].op == op]
            said = sum(part.count for part in placed if op is None or part.op == op)
            claimed = sum(charges[i] for i in mine)
            if said == claimed and not failed.intersection(mine):
                sums: dict[str, int] = {}
                for i in mine:
                    sums[ledger.entries[i].op] = sums.get(ledger.entries[i].op, 0) + charges[i]
                parts += [Part(site, name, count) for name, count in sorted(sums.items()) if count]
            else:
                fine = False
                failed.update(mine)
                failures.append(Failure(site=site, op=op, reported=said, claimed=claimed))
                parts.append(Part(site, op, said))
        if nowhere := sum(part.count for part in stray):
            failures.append(Failure(site=site, op="unattributed", reported=nowhere, claimed=0))
            parts.append(Part(site, "unattributed", nowhere))
        agree += fine
    order = {entry.site: i for i, entry in reversed(list(enumerate(ledger.entries)))}
    if rounding:
        parts.append(Part("", "rounding", rounding))
    parts.sort(key=lambda part: (order.get(part.site, len(order)), part.site, part.op or ""))
    failures.sort(key=lambda f: (order.get(f.site, len(order)), f.site, f.op or ""))
    return Aligned(
        rules=rules,
        charges=charges,
        parts=parts,
        failures=failures,
        failed=frozenset(failed),
        sites=len(at_site.keys() | reported.keys()),
        agree=agree,
        rounding=rounding,
    )


def reconcile(left: Tally, right: Tally, left_side: Aligned, right_side: Aligned, ledger: Ledger) -> Reconciliation:
    """Explain `left.total - right.total`. Both must have counted."""
    assert left.total is not None and right.total is not None
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, entry in enumerate(ledger.entries):
        if entry.op == "view" and not (left_side.charges[i] or right_side.charges[i]):
            continue  # moves nothing and costs nothing; hundreds of lines that nobody asks about
        key = (entry.op, str(left_side.rules[i].formula), str(right_side.rules[i].formula))
        groups.setdefault(key, []).append(i)

    lines = [_line(key, indices, left_side, right_side, ledger.entries) for key, indices in groups.items()]
    if left_side.rounding or right_side.rounding:
        lines.append(_rounding(left, right, left_side, right_side))
    lines.sort(key=lambda line: (-abs(line.difference), -line.left, -line.elements, line.op))
    residue = [
        *_residue(left.name, left_side.failures),
        *_residue(right.name, right_side.failures),
    ]
    difference = left.total - right.total
    residual = sum(r.unexplained for r in residue if r.counter == left.name) - sum(
        r.unexplained for r in residue if r.counter == right.name
    )
    summed = sum(line.difference for line in lines)
    if summed + residual != difference:  # cannot be, and a report that does not add up must not be written
        raise ArithmeticError(
            f"{left.name} and {right.name}: lines {summed} + residual {residual} != difference {difference}"
        )
    return Reconciliation(
        left=left.name,
        right=right.name,
        difference=difference,
        residual=residual,
        lines=lines,
        residue=residue,
    )


def _residue(counter: str, failures: Iterable[Failure]) -> list[Residue]:
    return [
        Residue(
            counter=counter,
            site=f.site,
            op=f.op,
            reported=f.reported,
            claimed=f.claimed,
            unexplained=f.unexplained,
        )
        for f in failures
    ]


def _line(key: tuple[str, str, str], indices: list[int], left: Aligned, right: Aligned, entries: list[Entry]) -> Line:
    charged_left = sum(left.charges[i] for i in indices)
    charged_right = sum(right.charges[i] for i in indices)
    sites = {entries[i].site for i in indices}
    failing = sorted({entries[i].site for i in indices if i in left.failed or i in right.failed})
    return Line(
        op=key[0],
        left_formula=key[1],
        right_formula=key[2],
        left=charged_left,
        right=charged_right,
        difference=charged_left - charged_right,
        sites=len(sites),
        verified_sites=len(sites) - len(failing),
        elements=sum(entries[i]["outputs"] for i in indices),
        left_because=_joined(left.rules[i].because for i in indices),
        right_because=_joined(right.rules[i].because for i in indices),
        left_source=_joined(left.rules[i].source for i in indices),
        right_source=_joined(right.rules[i].source for i in indices),
        failing=failing,
    )


def rounded(total: int, rounding: int) -> str:
    """Why a total is not the sum of its parts, and what that is."""
    return f"its total is a sum in float32, which keeps 24 bits; exactly it is {total - rounding:,}" if rounding else ""


def _rounding(left: Tally, right: Tally, left_side: Aligned, right_side: Aligned) -> Line:
    """What the two totals lost, or gained, where they were added up in float32."""
    return Line(
        op="rounding",
        left_formula="rounding" if left_side.rounding else "0",
        right_formula="rounding" if right_side.rounding else "0",
        left=left_side.rounding,
        right=right_side.rounding,
        difference=left_side.rounding - right_side.rounding,
        sites=0,
        verified_sites=0,
        elements=0,
        left_because=rounded(left.total or 0, left_side.rounding),
        right_because=rounded(right.total or 0, right_side.rounding),
    )


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
