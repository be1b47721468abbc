"""ptflops' published releases: totals on both sides of every step, and a claim that holds at every site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import agreement
import pytest
import torch
import torch.nn.functional as F
from agreement import disagreeing
from torch import nn

from flopledger.counters import registry
from flopledger.counters.engine import overlays as releases
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger

ZOO = Path(__file__).with_name("zoo.py")

# What the releases around each step reported for MobileNetV2 at 1x3x416x416, seen on 2026-11-25.
MOBILENET_V2 = {
    "0.1": 1_101_570_048,
    "0.2": 1_101_570_048,  # 3d layers, transposed convolutions
    "0.3": 1_101_570_048,  # 1d layers
    "0.4": 1_101_570_048,  # classes by exact type
    "0.5.1": 1_101_570_048,
    "0.5.2": 1_101_570_048,  # linear layers on more than two dimensions
    "0.6": 1_101_570_048,
    "0.6.1": 1_101_570_048,  # recurrent layers
    "0.6.3": 1_101_570_048,
    "0.6.4": 1_101_571_048,  # the bias of linear layers
    "0.6.5": 1_101_571_048,  # attention
    "0.6.6": 1_101_571_048,  # instance and group norm
    "0.6.7": 1_101_571_048,  # attention with its batch first
    "0.6.8": 1_101_571_048,  # GELU
    "0.6.9": 1_101_571_048,
    "0.7": 1_101_571_048,  # layer norm
    "0.7.1": 1_103_068_368,  # functions, which counts some modules twice
    "0.7.1.1": 1_101_787_368,  # F.linear no more
    "0.7.1.2": 1_101_787_368,  # takes tensors, so knows a batch
    "0.7.2.1": 1_101_787_368,  # the bias of linear layers for every row
    "0.7.3": 1_101_787_368,  # the aten backend
    "0.7.4": 1_101_787_368,  # interpolation
    "0.7.5": 1_101_787_368,  # transposed convolutions
}
# The same for tests/zoo.py:Layers at 1x3x9x9, which has the layers that MobileNetV2 has not.
LAYERS = {
    "0.1": 16_080,
    "0.2": 36_464,
    "0.3": 36_770,
    "0.5.1": 36_770,
    "0.5.2": 37_058,
    "0.6.3": 37_058,
    "0.6.4": 97_542,
    "0.6.5": 97_542,
    "0.6.6": 111_982,
    "0.6.7": 111_982,
    "0.6.8": 112_110,
    "0.7": 112_254,
    "0.7.1": 116_882,
    "0.7.1.1": 116_462,
    "0.7.1.2": 116_462,
    "0.7.2.1": 116_490,
    "0.7.4": 116_490,
    "0.7.5": 56_010,
}
# And for the model below at 1x6x8.
SEQUENCES = {
    "0.3": 1_170,
    "0.4": 162,
    "0.5.1": 162,
    "0.5.2": 366,
    "0.6": 366,
    "0.6.1": 2_424,
    "0.6.4": 2_429,
    "0.6.5": 6_209,
    "0.6.6": 6_209,
    "0.6.7": 7_349,
    "0.7": 7_349,
    "0.7.1": 12_418,
    "0.7.1.1": 8_951,
    "0.7.3": 8_976,
    "0.7.4": 9_480,
}


class Sequences(nn.Module):
    """What came or changed at some release besides layers on images, in numbers that do not coincide."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.unfused = nn.MultiheadAttention(8, 4, batch_first=True)
        self.linear = nn.Linear(8, 5)
        self.gru = nn.GRU(5, 7, batch_first=True)
        self.up = nn.Upsample(scale_factor=3)
        self.nearest = nn.UpsamplingNearest2d(scale_factor=2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x, _ = self.attention(x, x, x, need_weights=False)
        x, _ = self.unfused(x, x, x)
        x, _ = self.gru(self.linear(x))
        up = F.interpolate(self.up(x), scale_factor=2)
        return [self.nearest(up[:, None]), F.linear(x, x[0, :2], x[0, 0, :2])]


def counted(counter: str, of: Sequence[str], model: str, *shapes: str) -> tuple[Ledger, dict[str, Tally]]:
    ledger, tallies = agreement.counted([f"{counter}=={release}" for release in of], model, *shapes)
    return ledger, {str(tally.release): tally for tally in tallies.values()}


@pytest.mark.parametrize(
    ("totals", "model", "shape"),
    [
        pytest.param(MOBILENET_V2, "mobilenet_v2", "1x3x416x416", marks=pytest.mark.slow),
        (LAYERS, f"{ZOO}:Layers", "1x3x9x9"),
        (SEQUENCES, f"{__file__}:Sequences", "1x6x8"),
    ],
    ids=["MobileNetV2", "layers", "sequences"],
)
def test_totals_and_sites_around_every_step(totals: dict[str, int], model: str, shape: str) -> None:
    """The facts that the steps were written from; a step at a wrong release shows here."""
    ledger, tallies = counted("ptflops-pytorch", list(totals), model, shape)
    assert totals == {release: tally.total for release, tally in tallies.items()}
    assert [] == disagreeing(ledger, tallies)
    assert [] == [note for tally in tallies.values() for note in (*tally.warnings, *tally.shims)]


def test_before_a_tensor_was_taken_a_batch_goes_in_by_name_and_is_not_averaged() -> None:
    """The same samples come out as a sum or as a mean; two releases can do neither, which is theirs to say."""
    of = ["0.1", "0.6.4", "0.7", "0.7.1", "0.7.1.1", "0.7.1.2", "0.7.2.1"]
    ledger, tallies = counted("ptflops-pytorch", of, "mobilenet_v2?pooling=mean", "4x3x96x96")
    found = {release: tally.total or tally.reason for release, tally in tallies.items()}
    reason = "UnboundLocalError: cannot access local variable 'batch' where it is not associated with a value (ptflops/"
    assert {str(found.pop(release))[: len(reason)] for release in ("0.7.1", "0.7.1.1")} == {reason}
    assert found == {
        "0.1": 4 * 59_863_808,
        "0.6.4": 4 * 59_863_808 + 1_000,
        "0.7": 4 * 59_863_808 + 1_000,
        "0.7.1.2": 59_863_808 + 250,
        "0.7.2.1": 59_863_808 + 1_000,
    }
    assert [] == disagreeing(ledger, {release: tallies[release] for release in found})


def test_several_inputs_go_in_by_name() -> None:
    """They have to in every release, and no batch is seen."""
    of = ["0.1", "0.7", "0.7.1.2", "0.7.2.1"]
    ledger, tallies = counted("ptflops-pytorch", of, f"{ZOO}:TwoInputs", "5x4", "5x4")
    assert {"0.1": 320, "0.7": 336, "0.7.1.2": 336, "0.7.2.1": 400} == {
        release: tally.total for release, tally in tallies.items()
    }
    assert [] == disagreeing(ledger, tallies)


def test_a_model_that_is_one_layer_is_given_a_shape() -> None:
    """Called by name, hooks up to 0.7 find no input at the root; their own tensor of that shape they find."""
    ledger, tallies = counted("ptflops-pytorch", ["0.1", "0.3", "0.7"], f"{__file__}:one_layer", "1x3x9x9")
    assert {5_488} == {tally.total for tally in tallies.values()}
    assert [] == disagreeing(ledger, tallies)


def one_layer() -> nn.Module:
    return nn.Conv2d(3, 4, 3)


def test_the_aten_backend_is_placed_in_every_release_that_has_it() -> None:
    """0.7.3 takes no formulas of others, so its own table is observed; before, there was no such backend."""
    ledger, tallies = counted("ptflops-aten", ["0.7.3", "0.7.4", "0.7.5"], "mobilenet_v2", "1x3x416x416")
    assert {1_034_230_632} == {tally.total for tally in tallies.values()}
    assert [] == disagreeing(ledger, tallies)
    _, tallies = counted("ptflops-aten", ["0.1", "0.6.9", "0.7.2.2"], "mobilenet_v2", "1x3x32x32")
    assert {(tally.status, tally.reason) for tally in tallies.values()} == {
        ("unsupported", f"ptflops {release} counts as ptflops-pytorch does; aten came with 0.7.3")
        for release in tallies
    }


@pytest.mark.parametrize("release", MOBILENET_V2)
def test_sources_point_at_the_line_that_says_so(release: str) -> None:
    """Each release has its own lines, and its files moved; a pointer to another line is worth nothing."""
    try:
        place = releases.overlay("ptflops", release)
    except releases.OverlayError as error:
        pytest.skip(str(error))
    rules = registry.get("ptflops-pytorch").convention(release).rules
    assert len(rules) > 20
    for rule in rules:
        path, line, symbol = re.fullmatch(r"(\S+):(\d+) (\w+)", rule.source).groups()  # type: ignore[union-attr]
        text = (place / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert re.match(rf"(def )?{symbol}\b", text), rule.source


def test_versions_that_cannot_be_installed_have_rules() -> None:
    """0.7.2 cannot be built; what it charged is known from its files, which are those of 0.7.2.1."""
    said = {
        version: [(str(rule.formula), rule.source) for rule in registry.get("ptflops-pytorch")
                  .convention(version).rules]
        for version in ("0.7.1.2", "0.7.2", "0.7.2.1", "0.7.5", "1.0", None)
    }  # fmt: skip
    assert said["0.7.1.2"] != said["0.7.2"] == said["0.7.2.1"] != said["0.7.5"] == said["1.0"] == said[None]
