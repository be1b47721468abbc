"""The tree of modules adds up at every level, whatever the model and whoever speaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from sample_run import hostile_run, sample_run, small_run, step_run
from torch import nn

from flopledger.counters.tally import Part
from flopledger.reference_model.running import trace
from flopledger.reports.documents.run import Run
from flopledger.reports.tree import Amounts, Tree, tree

RUNS = {
    "plain": sample_run,
    "residual": lambda: sample_run(extra={"thop": (Part("nowhere.at.all", None, 7), Part("", "unattributed", 5))}),
    "hostile": hostile_run,
    "small, without its modules": small_run,
    "step": step_run,
}


def amounts(found: Amounts) -> list[int]:
    return [found.params, found.macs, found.outputs, found.unpriced, *found.counts]


def added(found: list[Amounts], counters: int) -> list[int]:
    return [sum(column) for column in zip([0] * (4 + counters), *map(amounts, found), strict=True)]


@pytest.mark.parametrize("name", RUNS)
def test_it_adds_up_at_every_level(name: str) -> None:
    """A parent that is not the sum of what stands below it makes a reader doubt every number."""
    run: Run = RUNS[name]()
    found = tree(run)
    for node in found.nodes:
        below = [found.nodes[i].whole for i in node.children]
        assert amounts(node.whole) == added([node.own, *below], len(found.counters)), node.site
    totals = [tally.total for tally in run.counted()]
    assert totals == [n + aside for n, aside in zip(found.root.whole.counts, found.asides, strict=True)]
    assert run.ledger.totals["macs"] == found.root.whole.macs
    assert {entry.site for entry in run.ledger.entries} <= {node.site for node in found.nodes}


@pytest.mark.parametrize("depth", [None, 0, 1, 2, 3])
def test_the_rows_of_a_table_add_up(depth: int | None) -> None:
    """What a reader sees is enough to add up: also what a module does itself, and what is folded into it."""
    found = tree(sample_run(extra={"thop": (Part("features", None, 9),)}))
    rows = list(found.rows(depth))
    for i, row in enumerate(rows):
        inner: list[Amounts] = []
        for other in rows[i + 1 :]:
            if other.depth <= row.depth:
                break
            if other.depth == row.depth + 1:
                inner.append(other.amounts)
        if inner and not row.own:
            mine, theirs = amounts(row.amounts), added(inner, len(found.counters))
            assert mine[:2] + mine[3:] == theirs[:2] + theirs[3:], row.node.site  # elements out are no charge
    shown = sum(not row.own for row in rows) + sum(row.folded for row in rows)
    assert len(found.nodes) == shown


class Tied(nn.Module):
    """Parameters held twice, a module under two names, one that is never called, one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.never = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(5, 7)
        self.second.weight = self.first.weight
        self.inner = nn.Sequential(nn.Linear(6, 3), nn.ReLU())
        self.again = self.inner[0]
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Any) -> Any:
        return self.inner(self.second(self.first(x))) * self.scale + self.again(x)


def test_the_ledger_knows_every_module_and_counts_each_parameter_once() -> None:
    """A tree whose parameters come to more than the model's is the fault that people know from other tools."""
    found = trace(Tied(), (torch.rand(2, 6),))
    assert found.params == sum(member.params for member in found.members.values())
    said = {site: (m.kind, m.params, m.calls, m.output) for site, m in found.members.items()}
    assert said["first"] == ("Linear", 42, 1, [2, 6])
    assert said["second"] == ("Linear", 6, 1, [2, 6])
    assert said["never"] == ("Linear", 42, 0, None)
    assert said["inner.0"] == ("Linear", 21, 2, [2, 3])
    assert said[""][1:] == (3, 1, [2, 3]) and "again" not in said


def test_flops_are_compared_in_macs() -> None:
    """Twice as many FLOPs as MACs is no difference; one more is."""
    found = Tree(nodes=[], counters=["macs", "flops"], units=["MAC", "FLOP"], asides=[0, 0])
    agreeing, off = Amounts(macs=6, counts=[6, 12]), Amounts(macs=6, counts=[7, 13])
    assert [False, False] == [found.differs(agreeing, i) for i in range(2)]
    assert [True, True] == [found.differs(off, i) for i in range(2)]


def test_a_place_that_the_model_does_not_have_is_shown() -> None:
    """What a counter reports of nowhere is in its total, so it must be somewhere in the tree."""
    found = tree(sample_run(extra={"thop": (Part("features.99.x", None, 7),)}))
    node = next(node for node in found.nodes if node.site == "features.99.x")
    assert node.member is None and node.name == "99.x" and node.own.counts[0] == 7
    assert found.nodes[node.parent or 0].site == "features"


def test_without_counters_it_is_the_ledgers() -> None:
    """`flopledger layers` without `-c` asks nobody."""
    run = sample_run()
    found = tree(replace(run, tallies=[]))
    assert found.counters == [] and found.root.whole.macs == 1_034_229_632
    assert found.share(found.root.whole) == 1
