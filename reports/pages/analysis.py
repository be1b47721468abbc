"""What is worth saying of a run or a pair: which pair, which lines, who charges what. No prose."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

from flopledger.reports.align import failed
from flopledger.reports.documents.run import ConventionLine, Run, TallyRecord
from flopledger.reports.pages.numbers import number
from flopledger.reports.pages.vocabulary import NOT_AN_OPERATION
from flopledger.reports.reconcile import Line, Reconciliation

NEARLY = Fraction(9, 10)
PAIRS = 45  # pairs that a page lists one by one


_BATCHED = {"conv", "conv_transpose", "batch_norm", "instance_norm"}  # their first dimension is samples, always
_LENGTH_FREE = {"view", "fill", "move", "elementwise", "add", "sub", "mul", "div", "rounding"}  # what may come before


def batch(run: Run) -> int | None:
    """How many samples the first input holds; None where nobody can tell.

    Its first dimension is a batch if the first layer that it goes into takes it for one: a convolution, a batch norm,
    a linear layer that is given rows. A recurrent layer may have it second, and a model of transformers has it first.
    """
    first = re.match(r"(?:[A-Za-z_]\w*=)?(\d+)((?:x\d+)*)(?![\d.x])", run.model.inputs[0]) if run.model.inputs else None
    if not first:
        return None
    size, sides = int(first[1]), first[2].count("x")
    if run.model.spec.startswith("transformers:"):
        return size
    layer = next((entry for entry in run.ledger.entries if entry.op not in _LENGTH_FREE), None)
    known = layer is not None and (layer.op in _BATCHED or (layer.op == "linear" and sides == 1))
    return size if known and layer is not None and layer.calls[0].quantities.get("samples") == size else None


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


def in_macs(tally: TallyRecord) -> Fraction:
    """A total in MACs: half of what is said in FLOPs."""
    return Fraction(tally.total or 0, 2 if tally.unit == "FLOP" else 1)


class Pair(NamedTuple):
    """Two counters, and how far apart they are, without the lines that say why.

    `difference` is of the totals as they were reported, `in_macs` of both in one unit. `off` is what no formula
    explains of each of the two totals; the residual is what that comes to.
    """

    left: str
    right: str
    difference: int
    in_macs: Fraction
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
        Pair(a.name, b.name, (a.total or 0) - (b.total or 0), in_macs(a) - in_macs(b), (a.unexplained, b.unexplained))
        for a, b in combinations(run.counted(), 2)
    ]


def listed_pairs(run: Run) -> list[Pair]:
    """The pairs to list: all of a few; of many those that have a residual, the largest first, and not all of them."""
    every = pairs(run)
    if len(every) <= PAIRS:
        return every
    return sorted((pair for pair in every if pair.residual), key=lambda pair: -abs(pair.residual))[:PAIRS]


def most_different(run: Run) -> Reconciliation | None:
    """The pair whose totals are furthest apart in MACs, or nearly so and with one unit; the first of them in a tie.

    A line for the unit beside the others is one that a reader need not have, if another pair shows as much.
    """
    units = {tally.name: tally.unit for tally in run.counted()}
    every = sorted(pairs(run), key=lambda pair: -abs(pair.in_macs))
    alike = [pair for pair in every if units[pair.left] == units[pair.right]]
    if not every:
        return None
    pair = alike[0] if alike and abs(alike[0].in_macs) >= NEARLY * abs(every[0].in_macs) else every[0]
    return run.between(pair.left, pair.right)


class Missed(NamedTuple):
    """What a counter left out of one op: of how many MACs, how many for sure; and the formulas it charged instead."""

    op: str
    macs: int
    of: int
    formulas: list[str]
    modules: list[str]


def missed(run: Run, tally: TallyRecord) -> list[Missed]:
    """The ops of which a counter did not see all MACs, largest first, with the module classes in which they run."""
    seen = run.coverage(tally).ops
    charged: dict[str, dict[str, int]] = {}
    where: dict[str, dict[str, int]] = {}
    for (entry, call), (claim, amount) in zip(run.rows, tally.rows, strict=True):
        macs = call.times * call.quantities.get("macs", 0)
        if macs * (2 if tally.unit == "FLOP" else 1) > amount:
            charged.setdefault(entry.op, {})[tally.claims[claim].formula] = 0
            where.setdefault(entry.op, {})[entry.module.rpartition(".")[2]] = 0
    found = [
        Missed(op, each.missed, each.of, list(charged.get(op, ())), list(where.get(op, ())))
        for op, each in seen.items()
        if each.missed > 0
    ]
    return sorted(found, key=lambda each: -each.macs)


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


def differs(run: Run, op: str) -> bool:
    """Whether counters charge for an op by different formulas, once all of them are in MACs."""
    found = set()
    for tally in run.counted():
        mine = {claim for (entry, _), (claim, _) in zip(run.rows, tally.rows, strict=True) if entry.op == op}
        found.add(frozenset(tally.claims[i].in_macs or tally.claims[i].formula for i in mine) or frozenset("0"))
    return len(found) > 1
