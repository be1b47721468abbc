"""torchinfo's published releases: totals on both sides of every step, and a claim that holds at every site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import agreement
import pytest
import torch
from torch import nn

from flopledger.counters import registry
from flopledger.counters.libraries.torchinfo.rules import uploaded
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger
from flopledger.reports.align import align

ZOO = Path(__file__).parent / "zoo.py"

# What the releases around each step reported for MobileNetV2 at 1x3x416x416, seen on 2026-11-25.
MOBILENET_V2 = {
    "0.0.2": 523_578_144,  # the first that counts: the 66 layers below depth 4 have no hook
    "1.4.4": 523_578_144,  # a wrong number, uploaded before 0.0.3
    "0.0.3": 523_578_144,
    "0.0.8": 523_578_144,
    "0.0.9": 6_414_392_064,  # batch and channels of a block multiply all the weights in it
    "0.1.1": 6_414_392_064,
    "0.1.2": 1_034_264_744,  # leaves only, at any depth, and their biases
    "1.5.0": 1_034_264_744,
    "1.5.1": 1_034_264_744,  # is_leaf_layer
    "1.8.0": 1_034_264_744,
}
# The same for other models: batches, hooks that reach every layer, leaves of most kinds.
OTHERS = {
    ("torchvision:resnet18", "2x3x64x64"): {
        "0.0.8": 171_060_032,
        "0.1.1": 20_091_389_312,
        "0.1.2": 297_136_848,
    },
    (f"{ZOO}:Layers", "2x3x9x9"): {"0.0.8": 90_972, "0.1.1": 193_044, "0.1.2": 186_106, "1.8.0": 186_106},
    (f"{ZOO}:Recurrent", "3x4x6"): {"0.0.8": 1_539, "0.1.1": 18_468, "0.1.2": 21_276, "1.8.0": 21_276},
}


class Deep(nn.Module):
    """A block in a block, with a branch that is put beside another one, and two samples to tell batch from channels."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Sequential(nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1)))))
        self.block = Branches()
        self.head = nn.Sequential(nn.Linear(12, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.inner(x)).mean([2, 3]))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(5, 8, 1)
        self.right = nn.Sequential(nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.left(x), self.right(x)], 1)


class Attending(nn.Module):
    """Attention at the root, in a block and below the last hook, with one matrix and with three, and a weight apart."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = nn.MultiheadAttention(6, 2, bias=False)
        self.block = nn.Sequential(nn.TransformerEncoderLayer(6, 3, 10, batch_first=True))
        self.deep = nn.Sequential(nn.Sequential(nn.Sequential(nn.TransformerEncoderLayer(6, 1, 10))))
        self.three = Scaled()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.three(self.deep(self.block(self.alone(x, x, x)[0])))


class Scaled(nn.Module):
    """Its weights are beside those of the attention in it, whose keys and values have other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_of_keys = nn.Parameter(torch.ones(6, 5))
        self.attention = nn.MultiheadAttention(6, 2, kdim=5, vdim=6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x @ self.weight_of_keys, x)[0]


def counted(releases: Sequence[str], model: str, shape: str) -> tuple[Ledger, list[Tally]]:
    ledger, tallies = agreement.counted([f"torchinfo=={release}" for release in releases], model, shape)
    return ledger, list(tallies.values())


def check(ledger: Ledger, tallies: list[Tally], expected: dict[str, int]) -> None:
    assert [(t.release, t.status, t.reason) for t in tallies] == [(r, "counted", None) for r in expected]
    assert {t.release: t.total for t in tallies} == expected
    for tally in tallies:
        side = align(tally, registry.get("torchinfo").convention(tally.version), ledger)
        assert (tally.name, side.failures, side.agree) == (tally.name, [], side.sites)


def test_totals_and_claims_on_both_sides_of_every_step() -> None:
    """A step in the history is true only if the release before it and the one after it report just that."""
    ledger, tallies = counted(list(MOBILENET_V2), "mobilenet_v2", "1x3x416x416")
    check(ledger, tallies, MOBILENET_V2)
    deep = {t.release for t in tallies if any("66 modules with parameters" in warning for warning in t.warnings)}
    assert deep == {r for r, total in MOBILENET_V2.items() if total != MOBILENET_V2["1.8.0"]}


@pytest.mark.parametrize(("model", "shape"), OTHERS)
def test_other_models(model: str, shape: str) -> None:
    """A batch, transposed convolutions and recurrent layers tell formulas apart that MobileNetV2 does not."""
    if model.startswith("torchvision:"):
        pytest.importorskip("torchvision")
    expected = OTHERS[model, shape]
    check(*counted(list(expected), model, shape), expected)


def test_the_weights_of_a_layer_count_once_more_for_each_module_around_it() -> None:
    """Worked by hand: what old releases add for blocks within blocks, whose layers lie deeper than their hooks."""
    ledger, tallies = counted(["0.0.8", "0.1.1", "0.1.2"], f"{__file__}:Deep", "2x3x6x6")
    # Four modules around the deep convolution; one around each layer of head, left and right, two around right's.
    weights = {"deep": 135, "left": 40, "right": 180, "norm": 4, "head": 84}
    places, batch = 6 * 6, 2
    first = 4 * weights["deep"] + (places + 1) * weights["left"] + (places + 2) * weights["right"]
    first += 3 * weights["norm"] + 2 * weights["head"]
    inner, block, right, head = 2 * 5, 2 * 12, 2 * 4, 2 * 7
    second = 4 * inner * weights["deep"] + (batch * places + block) * weights["left"]
    second += (batch * places + block + right) * weights["right"]
    second += (batch + block + right) * weights["norm"] + (batch + head) * weights["head"]
    last = batch * places * (135 + 5 + 40 + 8 + 180 + 4) + batch * (4 + 4 + 84 + 7)
    check(ledger, tallies, {"0.0.8": first, "0.1.1": second, "0.1.2": last})


def test_attention_charges_for_weights_that_no_module_below_it_runs_with() -> None:
    """Old releases charge a module with children for its own weights, and attention has most of a transformer's."""
    ledger, tallies = counted(["0.0.2", "0.0.8", "0.0.9", "0.1.1", "0.1.2"], f"{__file__}:Attending", "3x4x6")
    for tally in tallies:
        side = align(tally, registry.get("torchinfo").convention(tally.version), ledger)
        assert (tally.name, side.failures, side.agree) == (tally.name, [], side.sites)
    alone = sum(part.count for part in tallies[2].parts if part.site == "alone")
    assert 3 * 4 * (18 * 6 + 6 * 6) == alone


def test_the_release_that_holds_the_name_only_says_so() -> None:
    """0.0.1 has a summary() without arguments: a release without a counter is unsupported, not broken."""
    _, [tally] = counted(["0.0.1"], f"{ZOO}:Functions", "1x3x9x9")
    assert (tally.status, tally.total) == ("unsupported", None)
    assert "takes no model" in (tally.reason or "")


def test_a_layer_that_is_listed_twice_is_a_residual_with_a_warning() -> None:
    """1.7.0 alone fills in modules that did not run, and with them some that did; no formula can know which."""
    ledger, [before, twice, after] = counted(["1.6.6", "1.7.0", "1.7.1"], f"{ZOO}:Attention", "2x7:int64")
    check(ledger, [before, after], {"1.6.6": 6_336, "1.7.1": 6_336})
    assert (twice.total, twice.warnings) == (6_656, ["it lists 8 layers twice, and adds up both"])
    side = align(twice, registry.get("torchinfo").convention("1.7.0"), ledger)
    assert sum(failure.unexplained for failure in side.failures) == 6_656 - 6_336


def test_the_wrong_version_number_stands_where_it_was_uploaded() -> None:
    """By its number 1.4.4 would be a later release than 0.1.5, with other rules."""
    versions = ["0.1.5", "1.4.4", "0.0.3", "1.5.0", "0.0.2"]
    assert sorted(versions, key=uploaded) == ["0.0.2", "1.4.4", "0.0.3", "0.1.5", "1.5.0"]
