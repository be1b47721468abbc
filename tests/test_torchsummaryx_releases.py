"""torchsummaryX's four releases: one convention, and three ways of saying what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import agreement
import pytest

from flopledger.counters import registry
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger
from flopledger.reports.align import align

RELEASES = ("1.0.0", "1.1.0", "1.2.0", "1.3.0")
ZOO = Path(__file__).parent / "zoo.py"

# What each of the releases reported, seen on 2026-11-25.
TOTALS = {
    ("mobilenet_v2", "1x3x416x416"): 1_034_246_688,
    ("mobilenet_v2?pooling=mean", "4x3x96x96"): 56_306_208,
    (f"{ZOO}:Layers", "2x3x9x9"): 89_862,
    (f"{ZOO}:Recurrent", "3x4x6"): 1_539,
}


def counted(releases: Sequence[str], model: str, shape: str) -> tuple[Ledger, list[Tally]]:
    ledger, tallies = agreement.counted([f"torchsummaryX=={release}" for release in releases], model, shape)
    return ledger, list(tallies.values())


@pytest.mark.parametrize(("model", "shape"), TOTALS)
def test_every_release_reports_the_same(model: str, shape: str) -> None:
    """The article does not say which release it used: it does not matter, and every site shows why."""
    ledger, tallies = counted(RELEASES, model, shape)
    assert [(t.status, t.reason, t.total) for t in tallies] == [("counted", None, TOTALS[model, shape])] * 4
    for tally in tallies:
        side = align(tally, registry.get("torchsummaryX").convention(tally.version), ledger)
        assert (tally.name, side.failures, side.agree) == (tally.name, [], side.sites)
        assert tally.params == ledger.params


def test_how_each_release_says_it() -> None:
    """The first two print a rounded number and return nothing, and only those that use pandas need help from us."""
    _, tallies = counted(RELEASES, "mobilenet_v2", "1x3x416x416")
    printed = "it only prints 1,034.25M; exactly, its hooks count 1,034,246,688"
    assert [tally.warnings for tally in tallies] == [[printed], [printed], [], []]
    assert [tally.shims for tally in tallies[:2]] == [[], []]


def test_a_model_that_is_one_layer() -> None:
    """Since 1.2.0 a layer is looked up by a name that a root does not have; before, it was counted."""
    _, tallies = counted(RELEASES, f"{__file__}:one_layer", "2x3x4x4")
    assert [(t.status, t.total) for t in tallies[:2]] == [("counted", 4 * 3 * 9 * 16)] * 2
    for tally in tallies[2:]:
        assert (tally.status, "this is a single one" in (tally.reason or "")) == ("unsupported", True)


def one_layer() -> object:
    from torch import nn

    return nn.Conv2d(3, 4, 3, padding=1)
