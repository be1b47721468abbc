"""thop's releases and its fork's: totals on both sides of every step, and a claim that holds at every site."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from agreement import counted, disagreeing
from torch import nn

from flopledger.counters.convention import Step
from flopledger.counters.engine import overlays as releases
from flopledger.counters.libraries import ultralytics_thop
from flopledger.counters.libraries.thop import rules as thop_rules
from flopledger.counters.libraries.thop.rules import uploaded

# What the releases around each step reported for MobileNetV2 at 1x3x416x416, seen on 2026-11-25.
MOBILENET_V2 = {
    "thop==0.0.22": 1_148_915_712,  # takes a shape
    "thop==0.0.23.post1906241402": 1_148_915_712,
    "thop==0.0.23.post1907011323": 1_148_915_712,  # takes tensors
    "thop==0.0.23.post1907171430": 1_148_915_712,  # max pools are free
    "thop==0.0.23.post1908021517": 1_148_915_712,  # average pools, too, for this release
    "thop==0.0.23.post1908021522": 1_148_915_712,
    "thop==0.0.23.post1908061459": 1_127_856_896,  # rectifiers are free
    "thop==0.0.30.post190806": 1_127_856_896,
    "thop==0.0.30.post1908281655": 1_127_856_896,  # upsampling
    "thop==0.0.31.post1909230639": 1_127_856_896,
    "thop==0.0.31.post1910280903": 1_127_857_920,  # the bias of linear layers
    "thop==0.0.31.post1912272122": 1_127_857_920,
    "thop==0.0.31.post2001170342": 1_081_792_512,  # two operations per element of a batch norm
    "thop==0.0.31.post2004101309": 1_080_512_576,  # MACs of linear layers, in float64
    "thop==0.0.31.post2005141432": 1_080_512_576,
    "thop==0.0.31.post2005241907": 1_080_512_576,  # recurrent layers
    "thop==0.0.4.post2108202217": 1_080_512_576,
    "thop==0.0.4.post2109101449": 1_080_512_576,  # the root
    "thop==0.0.5.post2110061705": 1_080_512_576,
    "thop==0.0.5.post2206100352": 1_080_512_576,  # other norms, softmax
    "thop==0.0.5.post2206102148": 1_126_577_920,  # four per element, no biases
    "thop==0.1.0.post2206102148": 1_126_577_920,
    "thop==0.1.0.post2207010342": 1_126_577_920,  # windows of adaptive pools are not cut
    "thop==0.1.1.post2207130030": 1_126_577_920,
    "thop==0.1.1.post2209072238": 1_126_577_920,  # layer norm does not fail
    "ultralytics-thop==0.0.1": 1_126_577_920,
    "ultralytics-thop==2.0.22": 1_126_577_920,
    "ultralytics-thop==2.1.0": 1_126_577_920,
    "ultralytics-thop==2.1.1": 1_126_577_920,
    "ultralytics-thop==2.1.2": 1_126_577_920,
    "ultralytics-thop==2.2.3": 1_126_577_920,
}
# What those that add up in float32 would have reported.
EXACTLY = {1_148_915_712: "1,148,915,672", 1_127_856_896: "1,127,856,920", 1_081_792_512: "1,081,792,576"}
# The same for the models below.
STEPS = {
    "thop==0.0.22": 156_906,
    "thop==0.0.23.post1907011323": 156_906,
    "thop==0.0.23.post1907171430": 156_306,
    "thop==0.0.23.post1908021457": 156_306,
    "thop==0.0.23.post1908021517": 155_946,
    "thop==0.0.23.post1908021522": 156_306,
    "thop==0.0.23.post1908061459": 152_988,
    "thop==0.0.30.post1908061501": 152_988,
    "thop==0.0.30.post1908281655": 159_228,
    "thop==0.0.31.post1909230639": 159_228,
    "thop==0.0.31.post1910280903": 158_352,
    "thop==0.0.31.post1912272122": 158_352,
    "thop==0.0.31.post2001170342": 155_208,
    "thop==0.0.31.post2004101309": 153_108,
    "thop==0.0.31.post2005141432": 153_108,
    "thop==0.0.31.post2005241907": 155_316,
    "thop==0.0.5.post2110061705": 155_316,
    "thop==0.0.5.post2206100352": 158_580,
    "thop==0.0.5.post2206102148": 158_712,
    "thop==0.1.0.post2206102148": 158_712,
    "thop==0.1.0.post2207010342": 159_192,
    "thop==0.1.1.post2209072238": 159_192,
    "ultralytics-thop==0.0.1": 159_192,
}
FORK = {
    "thop==0.1.1.post2209072238": 6_084,
    "ultralytics-thop==0.0.1": 6_084,
    "ultralytics-thop==2.0.14": 6_084,
    "ultralytics-thop==2.0.15": 53_700,
    "ultralytics-thop==2.0.16": 51_252,
    "ultralytics-thop==2.1.1": 51_252,
    "ultralytics-thop==2.1.2": 55_548,
    "ultralytics-thop==2.1.3": 87_984,
    "ultralytics-thop==2.1.4": 97_776,
    "ultralytics-thop==2.1.6": 97_776,
    "ultralytics-thop==2.2.0": 102_384,
    "ultralytics-thop==2.2.1": 102_384,
    "ultralytics-thop==2.2.2": 103_536,
    "ultralytics-thop==2.2.3": 118_560,
}
THE_FIRST_TAKES = "this release makes its own input from a shape: one float32 tensor and nothing else"


class Steps(nn.Module):
    """A layer for each step of thop, in numbers that do not coincide."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ConvTranspose2d(8, 6, 3),
            nn.BatchNorm2d(6, affine=False),
            nn.InstanceNorm2d(6, affine=True),
            nn.MaxPool2d(2),
            nn.AvgPool2d((2, 1)),
            nn.LeakyReLU(),
            nn.PReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.AdaptiveAvgPool2d(5),
            nn.Flatten(2),
            nn.Linear(25, 7),
            nn.Softmax(-1),
        )
        self.recurrent = nn.GRU(7, 4, batch_first=True)
        self.up = nn.Upsample(scale_factor=2)  # last: 0.0.5.post2206100352 puts its count in the place of the output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.recurrent(self.layers(self.act(self.act(x))))
        return self.up(x)  # type: ignore[no-any-return]


class Own(nn.Linear):
    """Somebody's subclass."""


class Fork(nn.Module):
    """A layer or a function for each step of the fork."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Own(16, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norms = nn.Sequential(nn.RMSNorm(16), nn.GroupNorm(2, 6), nn.LeakyReLU())
        self.softmax = nn.ModuleList([nn.LogSoftmax(-1), nn.Softmin(-1), nn.Softmax(-1)])
        self.bilinear = nn.Bilinear(16, 16, 3)
        self.transposed = nn.ConvTranspose1d(6, 4, 3, stride=2)
        self.pools = nn.ModuleList([
            nn.AvgPool1d(3, 2, 1, ceil_mode=True, count_include_pad=False), nn.AdaptiveAvgPool1d(7)
        ])  # fmt: skip
        self.up, self.trilinear = nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="trilinear")

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.norms(self.own(x))
        inner = self.attention
        x, _ = F.multi_head_attention_forward(
            x, x, x, 16, 4, inner.in_proj_weight, inner.in_proj_bias, None, None, False, 0.0,
            inner.out_proj.weight, inner.out_proj.bias, training=False,
        )  # fmt: skip
        return [
            *(self.attention(x, x, x, need_weights=weights)[0] for weights in (True, False)),
            *(layer(x) for layer in (*self.softmax, *self.pools, self.transposed, self.up)),
            self.bilinear(x, x),
            self.trilinear(x[None, None]),
            F.scaled_dot_product_attention(x, x, x),
            F.linear(x, self.own.weight[:9]),
            torch.bmm(x, x.transpose(1, 2)),
            x @ x.transpose(1, 2),
            torch.einsum("bij,bkj->bik", x, x),
        ]


class Shared(nn.Module):
    """One layer below two parents."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Linear(6, 6)
        self.left, self.right = nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared, nn.PReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.right(self.left(x))  # type: ignore[no-any-return]


def single() -> nn.Module:
    return nn.Linear(5, 3)


def test_totals_and_sites_around_every_step() -> None:
    """The facts that the steps were written from; a step at a wrong release shows here."""
    ledger, tallies = counted(list(MOBILENET_V2), "mobilenet_v2", "1x3x416x416")
    assert MOBILENET_V2 == {name: tally.total for name, tally in tallies.items()}
    assert [] == disagreeing(ledger, tallies)


def test_a_rounded_total_is_told_with_the_exact_one() -> None:
    """Up to January 2020 it printed what no formula gives, by a few dozen."""
    _, tallies = counted(list(MOBILENET_V2), "mobilenet_v2", "1x3x416x416")
    for tally in tallies.values():
        exactly = EXACTLY.get(tally.total or 0)
        told = [f"it adds up in float32; exactly, its hooks count {exactly}"] if exactly else []
        assert told == tally.warnings, tally.name


def test_a_layer_for_every_step() -> None:
    """MobileNetV2 has few kinds of layers, so it cannot tell most steps."""
    _, tallies = counted(list(STEPS), f"{__file__}:Steps", "2x3x11x11")
    assert STEPS == {name: tally.total for name, tally in tallies.items()}
    _, tallies = counted(list(FORK), f"{__file__}:Fork", "2x6x16")
    assert FORK == {name: tally.total for name, tally in tallies.items()}


def test_a_layer_for_every_step_agrees() -> None:
    """Each kind of layer is claimed at its own site."""
    assert [] == disagreeing(*counted(list(STEPS), f"{__file__}:Steps", "2x3x11x11"))
    assert [] == disagreeing(*counted(list(FORK), f"{__file__}:Fork", "2x6x16"))


def test_a_root_without_children_is_not_counted_for_a_while() -> None:
    """A sum over the modules below the root is 0 for a single layer; that is what these releases print."""
    names = [f"thop==0.0.{release}" for release in ("31.post2001170342", "31.post2004101309", "4.post2109101449")]
    ledger, tallies = counted(names, f"{__file__}:single", "2x5")
    assert [60, 0, 30] == [tally.total for tally in tallies.values()]
    assert [] == disagreeing(ledger, tallies)


def test_a_layer_below_two_parents_is_placed_as_often_as_it_is_counted() -> None:
    """A walk down the tree meets it twice, and hooks it twice; nothing of that may go unplaced."""
    names = ["thop==0.0.30.post190806", "thop==0.0.4.post2108202217", "thop==0.1.1.post2209072238",
             "ultralytics-thop==2.0.21", "ultralytics-thop==2.0.22"]  # fmt: skip
    _, tallies = counted(names, f"{__file__}:Shared", "2x6")
    assert [528, 576, 588, 588, 156] == [tally.total for tally in tallies.values()]
    assert all(part.op is None for tally in tallies.values() for part in tally.parts)


def test_what_a_release_cannot_take_is_no_failure_of_the_model() -> None:
    """The first releases make a tensor of a shape: two inputs, or words, they cannot be given."""
    zoo = f"{__file__.rpartition('/')[0]}/zoo.py"
    for model, *shapes in ((f"{zoo}:TwoInputs", "2x4", "2x4"), (f"{zoo}:Block", "2x6:int64")):
        _, tallies = counted(["thop==0.0.22", "thop==0.0.23.post1907011323"], model, *shapes)
        first, second = tallies.values()
        assert ("unsupported", THE_FIRST_TAKES, "counted") == (first.status, first.reason, second.status)


def test_releases_stand_in_the_order_of_their_upload() -> None:
    """PEP 440 puts 0.0.4 before 0.0.31, and not every version tells its time in the same way."""
    listed = [
        "0.0.22", "0.0.22.post1906241147", "0.0.23.post1906241153", "0.0.23.post1908061459", "0.0.30.post190806",
        "0.0.30.post1908281655", "0.0.31.post2005241907", "0.0.4.post2006032126", "0.0.5.post2110061705",
        "0.0.5.post2206102148", "0.1.1.post2209072238", "0.2.0",
    ]  # fmt: skip
    assert listed == sorted(listed, key=uploaded)
    assert uploaded("0.0.22.post421392844089") == uploaded("0.0.22")
    assert [step.release for step in thop_rules.STEPS] == sorted(
        (step.release for step in thop_rules.STEPS), key=uploaded
    )


BEFORE = {
    "0.0.23.post1907171426": "0.0.23.post1907011323",
    "0.0.23.post1908021517": "0.0.23.post1908021457",
    "0.0.23.post1908021522": "0.0.23.post1908021517",
    "0.0.23.post1908061459": "0.0.23.post1908021522",
    "0.0.30.post1908281655": "0.0.30.post1908061501",
    "0.0.31.post1910280903": "0.0.31.post1909230639",
    "0.0.31.post2001170342": "0.0.31.post1912272122",
    "0.0.31.post2004070130": "0.0.31.post2001170342",
    "0.0.31.post2005241907": "0.0.31.post2005141432",
    "0.0.5.post2206100352": "0.0.5.post2110061705",
    "0.0.5.post2206102148": "0.0.5.post2206100352",
    "0.1.0.post2207010342": "0.1.0.post2206102148",
    "2.0.15": "2.0.14",
    "2.0.16": "2.0.15",
    "2.1.2": "2.1.1",
    "2.1.3": "2.1.2",
    "2.1.4": "2.1.3",
    "2.1.6": "2.1.5",
    "2.2.0": "2.1.6",
    "2.2.2": "2.2.1",
    "2.2.3": "2.2.2",
    "today": "2.2.3",
}


@pytest.mark.parametrize(
    ("distribution", "step"),
    [
        *(("thop", step) for step in thop_rules.STEPS),
        *(("ultralytics-thop", step) for step in ultralytics_thop.STEPS),
        ("ultralytics-thop", Step("today", ultralytics_thop.RULES)),
    ],
    ids=lambda value: getattr(value, "release", value),
)
def test_sources_point_at_the_line_that_says_so(distribution: str, step: Step) -> None:
    """A step's lines are those of the last release before it; a pointer to another line is worth nothing."""
    try:
        place = releases.overlay(distribution, BEFORE[step.release])
    except releases.OverlayError as error:
        pytest.skip(str(error))
    for rule in step.rules:
        path, line, symbol = re.fullmatch(r"(\S+):(\d+) (\w+)", rule.source).groups()  # type: ignore[union-attr]
        assert symbol in (place / path).read_text(encoding="utf-8").splitlines()[int(line) - 1], rule.source


def test_of_unlike_calls_the_last_is_left() -> None:
    """Hooks once set a module's count: ResNet-50's ReLUs, called on 64 and then on 256 channels, charged the latter."""
    ledger, tallies = counted(["thop==0.0.23.post1907011323"], "torchvision:resnet50", "1x3x64x64")
    assert [] == disagreeing(ledger, tallies)
