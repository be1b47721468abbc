"""Two tallies, their difference, the lines that make it up, and what is left over.

Each tally has been laid on the ledger (`flopledger.reports.align`). For every pair

    difference == sum(line.difference) + residual

and the residual is zero exactly when the formulas account for the whole difference. Where one counter says
FLOPs and the other MACs, its formulas are halved, and that one MAC is two FLOPs is a line of its own
(`unit`), so that every other line shows what really differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from flopledger.counters.tally import Aside, Granularity, Natural
from flopledger.reference_model.display import Displayed, Grid, signed
from flopledger.reference_model.ledger import Call, Entry, Phase
from flopledger.reports.align import Claim, Failure, failed

UNIT = "one MAC is two FLOPs"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One op under one pair of formulas. `left` and `right` are what the two counters charged there."""

    op: str
    left_formula: str
    right_formula: str
    left: int
    right: int
    difference: int
    sites: Natural
    verified_sites: Natural
    elements: Natural
    left_because: str = ""
    right_because: str = ""
    left_source: str = ""
    right_source: str = ""
    failing: list[str] = []
    phase: Phase = "forward"


class Residue(msgspec.Struct, frozen=True, kw_only=True):
    """An amount that no formula explains: which counter, where, reported and claimed, and why, if known (`Failure`)."""

    counter: str
    site: str
    op: str | None
    reported: int
    claimed: int
    unexplained: int
    level: Granularity = "site"
    known: str = ""


class Reconciliation(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    left: str
    right: str
    difference: int
    residual: int
    lines: list[Line]
    residue: list[Residue] = []

    def unexplained(self, counter: str) -> int:
        """What no formula explains of one of the two totals."""
        return sum(residue.unexplained for residue in self.residue if residue.counter == counter)

    def _line(self) -> str:
        lines = sum(1 for line in self.lines if line.difference)
        found = f"{self.left} − {self.right} = {signed(self.difference)}"
        return f"{found}: {lines:,} line{'s' * (lines != 1)}, residual {signed(self.residual)}"

    def _grids(self) -> Iterator[Grid]:
        lines = sorted((line for line in self.lines if line.difference), key=lambda line: -abs(line.difference))
        lines += [line for line in self.lines if not line.difference and (line.left or line.failing)]
        rows = [
            (line.op + (" (backward)" if line.phase == "backward" else ""), line.left_formula, line.right_formula,
             line.left, line.right, line.difference, f"{line.verified_sites:,} of {line.sites:,}" if line.sites else "")
            for line in lines
        ]  # fmt: skip
        off = self.unexplained(self.left), self.unexplained(self.right)
        sides = [sum(line.left for line in lines) + off[0], sum(line.right for line in lines) + off[1]]
        heads = ("op", f"{self.left} charges", f"{self.right} charges", self.left, self.right, "difference",
                 "formulas hold at")  # fmt: skip
        yield Grid(heads, rows, [("residual", "", "", *off, self.residual, ""),
                                 ("sum", "", "", *sides, self.difference, "")])  # fmt: skip


class Side(Protocol):
    """A tally on the ledger: freshly aligned, or read from a document."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def total(self) -> int | None: ...
    @property
    def claims(self) -> list[Claim]: ...
    @property
    def rows(self) -> list[tuple[int, int]]: ...
    @property
    def failures(self) -> list[Failure]: ...
    @property
    def asides(self) -> list[Aside]: ...


Key = tuple[Phase, str, str, str]
Rows = Sequence[tuple[Entry, Call]]


def reconcile(left: Side, right: Side, rows: Rows) -> Reconciliation:
    """Explain `left.total - right.total`; `rows` are the ledger's. Both must have counted."""
    assert left.total is not None and right.total is not None
    groups: dict[Key, list[int]] = {}
    for i, key in enumerate(keys(left, right, rows)):
        if key[1] == "view" and not (left.rows[i][1] or right.rows[i][1]):
            continue  # moves nothing and costs nothing; hundreds of lines that nobody asks about
        groups.setdefault(key, []).append(i)
    entries = [entry for entry, _ in rows]
    wrong = failed(left.failures, entries) | failed(right.failures, entries)
    lines = [_line(key, mine, left, right, rows, wrong) for key, mine in groups.items()]
    if left.unit != right.unit and "FLOP" in (left.unit, right.unit):
        lines.append(_unit(left, right, lines))
    names = dict.fromkeys(aside.name for side in (left, right) for aside in side.asides)
    lines += [_aside(name, left, right) for name in names]
    lines.sort(key=lambda line: (-abs(line.difference), -line.left, -line.elements, line.op))
    difference = left.total - right.total
    residual = sum(f.unexplained for f in left.failures) - sum(f.unexplained for f in right.failures)
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
        residue=[*_residue(left), *_residue(right)],
    )


def keys(left: Side, right: Side, rows: Rows) -> list[Key]:
    """For each row the line to which it belongs: its phase, its op, and the two formulas in one unit."""
    a, b = _formulas(left, right), _formulas(right, left)
    return [
        (entry.phase, entry.op, a[mine], b[other])
        for (entry, _), (mine, _), (other, _) in zip(rows, left.rows, right.rows, strict=True)
    ]


def _in_macs(side: Side, other: Side) -> bool:
    """Whether this side is halved: it says FLOPs, and the other does not."""
    return side.unit == "FLOP" != other.unit


def _formulas(side: Side, other: Side) -> list[str]:
    halved = _in_macs(side, other)
    return [claim.in_macs if halved else claim.formula for claim in side.claims]


def _line(key: Key, mine: Sequence[int], left: Side, right: Side, rows: Rows, wrong: frozenset[int]) -> Line:
    a, b = (_charged(mine, *sides) for sides in ((left, right), (right, left)))
    sites = {rows[i][0].site for i in mine}
    failing = sorted({rows[i][0].site for i in mine if i in wrong})
    ours = [left.claims[left.rows[i][0]] for i in mine]
    theirs = [right.claims[right.rows[i][0]] for i in mine]
    return Line(
        phase=key[0],
        op=key[1],
        left_formula=key[2],
        right_formula=key[3],
        left=a,
        right=b,
        difference=a - b,
        sites=len(sites),
        verified_sites=len(sites) - len(failing),
        elements=sum(elements(rows[i][1]) for i in mine),
        left_because=_joined(claim.because for claim in ours),
        right_because=_joined(claim.because for claim in theirs),
        left_source=_joined(claim.source for claim in ours),
        right_source=_joined(claim.source for claim in theirs),
        failing=failing,
    )


def elements(call: Call) -> int:
    """Elements out, all the times that this call was made."""
    return call.times * call.quantities.get("outputs", 0)


def _charged(mine: Sequence[int], side: Side, other: Side) -> int:
    """The amount of a line; an odd one loses its half FLOP to the line `unit`."""
    amount = sum(side.rows[i][1] for i in mine)
    return amount // 2 if _in_macs(side, other) else amount


def _unit(left: Side, right: Side, lines: Sequence[Line]) -> Line:
    """What is left of a total in FLOPs when its lines are in MACs."""
    a = sum(amount for _, amount in left.rows) - sum(line.left for line in lines)
    b = sum(amount for _, amount in right.rows) - sum(line.right for line in lines)
    return _line_of_no_site("unit", left, right, a, b, UNIT if a else "", UNIT if b else "")


def _aside(name: str, left: Side, right: Side) -> Line:
    """An amount of the totals that belongs to no call."""
    a, b = ([aside for aside in side.asides if aside.name == name] for side in (left, right))
    sums = [sum(aside.amount for aside in mine) for mine in (a, b)]
    because = [_joined(aside.because for aside in mine) for mine in (a, b)]
    return _line_of_no_site(name, left, right, sums[0], sums[1], because[0], because[1])


def _line_of_no_site(op: str, left: Side, right: Side, a: int, b: int, left_because: str, right_because: str) -> Line:
    return Line(
        op=op,
        left_formula=op if a else "0",
        right_formula=op if b else "0",
        left=a,
        right=b,
        difference=a - b,
        sites=0,
        verified_sites=0,
        elements=0,
        left_because=left_because,
        right_because=right_because,
    )


def _residue(side: Side) -> list[Residue]:
    return [
        Residue(
            counter=side.name,
            site=f.site,
            op=f.op,
            reported=f.reported,
            claimed=f.claimed,
            unexplained=f.unexplained,
            level=f.level,
            known=f.known,
        )
        for f in side.failures
    ]


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
