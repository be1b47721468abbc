"""The table of lines, residual and sum: once, as data that every renderer draws.

Every column of numbers adds up to its last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flopledger.reports.moves import Row
from flopledger.reports.pages.analysis import contributing, equal
from flopledger.reports.pages.blocks import Column, Kind, Table
from flopledger.reports.pages.numbers import number, signed, visible
from flopledger.reports.pages.pair_words import verified
from flopledger.reports.pages.vocabulary import operation
from flopledger.reports.reconcile import Reconciliation


class Shown(NamedTuple):
    """One line, or what no formula explains: of the first side and of the second."""

    operation: str
    first_formula: str
    second_formula: str
    first: int
    second: int
    difference: int
    verified: str = ""
    kind: Kind = "on"


def of_pair(r: Reconciliation) -> Table:
    """Left minus right. Lines on which both charge the same come after those that make up the difference."""
    left, right = visible(r.left), visible(r.right)
    shown = [
        Shown(operation(line), line.left_formula, line.right_formula, line.left, line.right, line.difference,
              verified(line), "on" if line.difference else "same")
        for line in [*contributing(r), *equal(r)]
    ]  # fmt: skip
    rest = r.unexplained(r.left), r.unexplained(r.right), r.residual
    return _table((f"{left} charges", f"{right} charges", left, right, "difference", "formulas hold at"), shown, rest)


def of_step(r: Reconciliation) -> Table:
    """A later release (left) after an earlier one (right): what changed."""
    shown = [
        Shown(
            operation(line),
            line.right_formula,
            line.left_formula,
            line.right,
            line.left,
            line.difference,
            verified(line),
        )
        for line in contributing(r)
    ]
    rest = r.unexplained(r.right), r.unexplained(r.left), r.residual
    return _table(("charged before", "charges after", "before", "after", "change", "formulas hold at"), shown, rest)


def of_drift(row: Row) -> Table:
    """What has moved since a baseline."""
    shown = [
        Shown(operation(line), line.before_formula, line.after_formula, line.before, line.after, line.difference)
        for line in row.lines
    ]
    return _table(("charged then", "charged now", "then", "now", "change"), shown, (0, row.residual, row.residual))


def _table(heads: Sequence[str], shown: Sequence[Shown], rest: tuple[int, int, int]) -> Table:
    """The heads of the formulas, the amounts and the difference; the residual is a row always."""
    residual = Shown("residual", "", "", *rest, kind="residual" if any(rest) else "nothing")
    every = [*shown, residual]
    sums = [sum(amounts) for amounts in zip(*((x.first, x.second, x.difference) for x in every), strict=True)]
    rows = [
        [x.operation, visible(x.first_formula), visible(x.second_formula), number(x.first), number(x.second),
         signed(x.difference), x.verified]
        for x in every
    ]  # fmt: skip
    rows.append(["sum", "", "", number(sums[0]), number(sums[1]), signed(sums[2]), ""])
    columns = [Column("operation"), *(Column(head, i > 1, spare=i < 2) for i, head in enumerate(heads))]
    return Table(columns, [row[: len(columns)] for row in rows], [*(x.kind for x in every), "sum"])
