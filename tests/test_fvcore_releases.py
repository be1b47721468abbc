"""fvcore's published releases: totals on both sides of every step, and a claim that holds at every site."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import agreement
import pytest
import torch
import torch.nn.functional as F
from agreement import disagreeing
from torch import nn

from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.subject import Spec

TF32 = "aten::_convolution shows its first 12 operands, without the choice of TF32 that came with torch 1.7"
PATH = "aten::einsum shows its first 2 operands, without the path that came with torch 1.13"

# What the releases around each step reported for MobileNetV2 at 1x3x416x416, seen on 2026-11-25.
MOBILENET_V2 = {
    "0.1.dev200201": 1_125_080_320,  # the first with a counter
    "0.1.dev200224": 1_125_080_320,
    "0.1.dev200226": 1_032_949_632,  # batch norm is dropped
    "0.1.1.post20200716": 1_032_949_632,
    "0.1.2.post20200910": 1_032_949_632,  # takes a convolution with 13 operands
    "0.1.2.post20210113": 1_032_949_632,
    "0.1.2.post20210115": 1_032_949_632,  # bmm
    "0.1.3.post20210213": 1_032_949_632,
    "0.1.3.post20210218": 1_032_949_632,  # FlopCountAnalysis
    "0.1.3.post20210223": 1_032_949_632,
    "0.1.3.post20210224": 1_034_229_632,  # linear
    "0.1.3.post20210310": 1_034_229_632,
    "0.1.3.post20210311": 1_149_609_312,  # norms, adaptive pools, resampling
    "0.1.5.post20210327": 1_149_609_312,
    "0.1.5.post20210328": 1_149_609_312,  # a count belongs to the owner of an operation
    "0.1.5.post20210518": 1_149_609_312,
    "0.1.5.post20210604": 1_080_511_296,  # batch norm in eval
    "0.1.5.post20210630": 1_080_511_296,
    "0.1.5.post20210719": 1_080_511_296,  # mm
    "0.1.5.post20211023": 1_080_511_296,
    "0.1.5.post20220119": 1_080_511_296,  # transposed convolutions
    "0.1.5.post20220512": 1_080_511_296,
    "0.1.5.post20221122": 1_080_511_296,  # takes an einsum with a path
    "0.1.5.post20221221": 1_080_511_296,
}
# The same for the model below at 4x3x6.
PRODUCTS = {
    "0.1.dev200201": 1_968,  # 1,536 of the transposed convolution, 432 of the einsum
    "0.1.2.post20210113": 1_968,
    "0.1.2.post20210115": 2_184,  # 216 of the bmm
    "0.1.3.post20210223": 2_184,
    "0.1.3.post20210224": 2_688,  # 504 of the linear layer
    "0.1.5.post20210630": 2_760,  # 72 of the pool
    "0.1.5.post20210719": 2_868,  # 108 of the mm
    "0.1.5.post20211023": 2_868,
    "0.1.5.post20220119": 2_196,  # 864 of the transposed convolution
    "0.1.5.post20221221": 2_196,
}


class Products(nn.Module):
    """Each product whose handle came or changed at some release, in numbers that do not coincide."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 7)
        self.transposed = nn.ConvTranspose1d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        transposed = x.transpose(1, 2)
        return [
            self.linear(x),
            self.transposed(x),
            torch.mm(x[0].t(), x[0]),
            torch.bmm(x, transposed),
            torch.einsum("nct,ncp->ntp", x, x),
            F.adaptive_avg_pool2d(x, 1),
        ]


def counted(releases: Sequence[str], model: str, shape: str) -> tuple[Ledger, dict[str, Tally]]:
    ledger, tallies = agreement.counted([f"fvcore=={release}" for release in releases], model, shape)
    return ledger, {str(tally.release): tally for tally in tallies.values()}


def test_totals_and_sites_around_every_step() -> None:
    """The facts that the steps were written from; a step at a wrong release shows here."""
    ledger, tallies = counted(list(MOBILENET_V2), "mobilenet_v2", "1x3x416x416")
    assert MOBILENET_V2 == {release: tally.total for release, tally in tallies.items()}
    assert [] == disagreeing(ledger, tallies)
    assert [] == [tally.warnings for tally in tallies.values() if tally.warnings]
    assert ["0.1.dev200201", "0.1.dev200224", "0.1.dev200226", "0.1.1.post20200716"] == [
        release for release, tally in tallies.items() if tally.shims == [TF32]
    ]


def test_products_around_their_steps() -> None:
    """MobileNetV2 has no bmm, mm or transposed convolution, so it cannot tell those steps."""
    ledger, tallies = counted(list(PRODUCTS), f"{__file__}:Products", "4x3x6")
    assert PRODUCTS == {release: tally.total for release, tally in tallies.items()}
    assert [] == disagreeing(ledger, tallies)
    assert [TF32, PATH] == tallies["0.1.dev200201"].shims
    assert [PATH] == tallies["0.1.5.post20220119"].shims


def test_what_a_release_leaves_out_is_told() -> None:
    """The oldest releases only log it, the next return it, later ones have a method."""
    releases = ["0.1.dev200224", "0.1.2.post20210115", "0.1.3.post20210224", "0.1.5.post20210630"]
    _, tallies = counted(releases, "mobilenet_v2", "1x3x32x32")
    assert [35] * 4 == [tally.uncounted.get("aten::hardtanh_") for tally in tallies.values()]
    assert [None, 52, 52, None] == [tally.uncounted.get("aten::batch_norm") for tally in tallies.values()]
    assert [1, 1, None, None] == [tally.uncounted.get("aten::linear") for tally in tallies.values()]


def test_a_release_without_a_counter_says_so() -> None:
    """The first releases are a package of utilities; that is no failure of theirs."""
    _, tallies = counted(["0.1.dev191230", "0.1.dev200114"], "mobilenet_v2", "1x3x32x32")
    assert {("unsupported", "this release of fvcore has no counter; the first with one is 0.1.dev200201")} == {
        (tally.status, tally.reason) for tally in tallies.values()
    }


def test_both_ways_of_counting_agree_on_the_installed_release() -> None:
    """The handles are observed where a release does not say where; today's does, so it can check them."""
    pytest.importorskip("fvcore")
    from flopledger.counters.libraries.fvcore.count import _analysed, _counted_by_handle

    model, inputs, _ = Spec.parse("mobilenet_v2", ["1x3x32x32"]).build("cpu")
    here, there = _counted_by_handle(model.eval(), inputs), _analysed(model.eval(), inputs)
    assert (there.total, there.uncounted, []) == (here.total, here.uncounted, here.warnings)
    assert {part.site: part.count for part in there.parts} == {part.site: part.count for part in here.parts}


def test_billions_that_are_not_the_sum_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A total is taken from the handles, so it has to be what the release itself prints."""
    pytest.importorskip("fvcore")
    from flopledger.counters.libraries.fvcore.count import _counted_by_handle

    module = importlib.import_module("fvcore.nn.flop_count")
    genuine = module.flop_count
    monkeypatch.setattr(module, "flop_count", lambda *args: ({"conv": 1.5}, genuine(*args)[1]))
    found = _counted_by_handle(nn.Conv2d(1, 2, 1), (torch.zeros(1, 1, 3, 3),))
    assert ["it reports 1.5 GFLOPs; exactly, its handles count 18"] == found.warnings
