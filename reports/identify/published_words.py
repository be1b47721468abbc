"""Published numbers in words: what was claimed, what it is, and which contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flopledger.reports.identify.published import Group, Verdict
from flopledger.reports.identify.words import assumptions, plain_candidate, unit, who
from flopledger.reports.pages.blocks import Block, Column, Point, Table
from flopledger.reports.pages.numbers import listed, number, plural, units, visible

Found = Sequence[tuple[Group, Sequence[Verdict]]]


def blocks(found: Found) -> list[Block]:
    """All that a person reads: how many are explained, what contradicts what, and every number."""
    verdicts = [verdict for _, each in found for verdict in each]
    explained = sum(verdict.best is not None for verdict in verdicts)
    said: list[Block] = [
        f"{plural(len(verdicts), 'published number')} of {plural(len(found), 'model')}: {number(explained)} explained "
        f"to the digits that were printed, {number(len(verdicts) - explained)} with a reason why not."
    ]
    for group, each in found:
        if group.why and len(each) > 1:
            said.append(Point(contradiction(group, each)))
    columns = [Column("model"), Column("input"), Column("claimed", True), Column("called"), Column("by"),
               Column("the ledger's MACs", True), Column("exactly", True), Column("which is")]  # fmt: skip
    said.append(Table(columns, [_row(verdict) for verdict in verdicts]))
    return said


def contradiction(group: Group, verdicts: Sequence[Verdict]) -> str:
    """The numbers of one model side by side, and why they differ."""
    numbers = [f"{visible(v.claim.number)} ({visible(_short(v.claim.source))})" for v in verdicts]
    return f"{visible(group.name)}: {listed(numbers)}. {visible(group.why)}"


def _short(source: str) -> str:
    """A source by its project."""
    project, comma, rest = source.partition(",")
    name = project.split()[0].partition("@")[0].rpartition("/")[2]
    return f"{name},{rest}" if comma and len(rest) < 12 else name


def _row(verdict: Verdict) -> list[str]:
    claim, best = verdict.claim, verdict.best
    return [
        visible(claim.spec), visible(claim.input), visible(claim.number), visible(claim.label), visible(claim.source),
        "" if verdict.macs is None else number(verdict.macs),
        "" if best is None else number(best.value),
        f"unexplained: {visible(verdict.reason)}" if best is None else "; ".join(
            [f"{who(best)}, in {units(unit(best))}", *assumptions(best)]),
    ]  # fmt: skip


def plain(found: Found) -> list[dict[str, Any]]:
    """The same for a program."""
    return [
        {
            "name": group.name,
            "why": group.why or None,
            "claims": [
                {
                    "spec": v.claim.spec,
                    "input": v.claim.input,
                    "number": v.claim.number,
                    "label": v.claim.label,
                    "source": v.claim.source,
                    "macs": v.macs,
                    "explained": plain_candidate(v.best) if v.best else None,
                    "reason": v.reason or None,
                }
                for v in verdicts
            ],
        }
        for group, verdicts in found
    ]
