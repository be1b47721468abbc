"""What is worth saying of a run or a pair: which pair, which lines, who charges what. No prose."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple

from flopledger.reports.align import failed
from flopledger.reports.documents.run import ConventionLine, Run, TallyRecord
from flopledger.reports.pages.numbers import number
from flopledger.reports.pages.vocabulary import NOT_AN_OPERATION
from flopledger.reports.reconcile import Line, Reconciliation

PAIRS = 45  # pairs that a page lists one by one


def batch(run: Run) -> int | None:
    """The first dimension of the first input; None where it has none."""
    first = re.match(r"(?:[A-Za-z_]\w*=)?(\d+)(?![\d.])", run.model.inputs[0]) if run.model.inputs else None
    return int(first[1]) if first else None


def macs(run: Run) -> int:
    """The ledger's multiply-accumulates: all of them only where nothing is unpriced."""
    return run.ledger.totals.get("macs", 0)


def blind(run: Run, tally: TallyRecord) -> bool:
    """Whether a counter charged and reported nothing for what is unpriced."""
    wrong = failed(tally.failures, [entry for entry, _ in run.rows])
    return not any(
        entry.op == "unpriced" and (amount or i in wrong)
        for i, ((entry, _), (_, amount)) in enumerate(zip(run.rows, tally.rows, strict=True))
    )


class Pair(NamedTuple):
    """Two counters, and how far apart they are, without the lines that say why.

    `off` is what no formula explains of each of the two totals; the residual is what that comes to.
    """

    left: str
    right: str
    difference: int
    off: tuple[int, int]

    @property
    def residual(self) -> int:
        return self.off[0] - self.off[1]

    @property
    def explained(self) -> int:
        """What the formulas make of the difference."""
        return self.difference - self.residual


def pairs(run: Run) -> list[Pair]:
    """Every pair of counters that counted."""
    return [
        Pair(a.name, b.name, (a.total or 0) - (b.total or 0), (a.unexplained, b.unexplained))
        for a, b in combinations(run.counted(), 2)
    ]


def listed_pairs(run: Run) -> list[Pair]:
    """The pairs to list: all of a few; of many those that have a residual, the largest first, and not all of them."""
    every = pairs(run)
    if len(every) <= PAIRS:
        return every
    return sorted((pair for pair in every if pair.residual), key=lambda pair: -abs(pair.residual))[:PAIRS]


def most_different(run: Run) -> Reconciliation | None:
    """The pair whose totals are furthest apart; the first of them in a tie."""
    pair = max(pairs(run), key=lambda pair: abs(pair.difference), default=None)
    return run.between(pair.left, pair.right) if pair else None


def contributing(reconciliation: Reconciliation) -> list[Line]:
    """The lines that make up the difference, largest first."""
    lines = [line for line in reconciliation.lines if line.difference]
    return sorted(lines, key=lambda line: -abs(line.difference))


def uncharged(reconciliation: Reconciliation) -> dict[str, list[Line]]:
    """Op → its lines on which both counters charge 0, most elements first.

    A formula over something that is not there, such as the weights of a ReLU, is a charge of 0 too.
    """
    found: dict[str, list[Line]] = {}
    for line in reconciliation.lines:
        if not (line.left or line.right or line.failing or line.op in NOT_AN_OPERATION):
            found.setdefault(line.op, []).append(line)
    return dict(sorted(found.items(), key=lambda item: -sum(line.elements for line in item[1])))


def equal(reconciliation: Reconciliation) -> list[Line]:
    """The lines on which both counters charge the same amount, and those of 0 that fail somewhere."""
    return [line for line in reconciliation.lines if not line.difference and (line.left or line.failing)]


def matrix(run: Run) -> dict[str, dict[str, list[str]]]:
    """Op → counter → its formulas there (more than one where a convention differs within an op)."""
    weight: dict[str, tuple[int, int]] = {}
    for entry in run.ledger.entries:
        before = weight.get(entry.op, (0, 0))
        weight[entry.op] = (before[0] + entry["macs"], before[1] + entry["outputs"])
    rows: dict[str, dict[str, list[str]]] = {}
    for op in sorted(weight, key=lambda op: (-weight[op][0], -weight[op][1], op)):
        if op not in NOT_AN_OPERATION:
            rows[op] = {
                tally.name: list(dict.fromkeys(charge(line)[0] for line in run.convention(tally) if line.op == op))
                or ["0"]
                for tally in run.counted()
            }
    return rows


def charge(line: ConventionLine) -> tuple[str, str]:
    """A formula and what it charged; that it leaves out what is unpriced is no formula of 0."""
    if line.op == "unpriced" and line.formula == "0" and not line.count:
        return "not counted", "–"
    return line.formula, number(line.count)


def differs(formulas: dict[str, list[str]]) -> bool:
    """Whether the counters of one row of the matrix charge by different formulas."""
    return len({tuple(sorted(f)) for f in formulas.values()}) > 1
