"""The Python side: a live model in, a report out, and the model as it was."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from flopledger import Report, compare

FAST = ["thop", "fvcore", "ptflops-pytorch", "torch"]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report() -> Report:
    return compare(network(), torch.rand(2, 3, 8, 8), counters=FAST)


def test_a_live_model_is_counted_and_reconciled(report: Report) -> None:
    """The road from a notebook must lead to the same arithmetic as the command's."""
    macs = 2 * 4 * 36 * 27 + 2 * 4 * 5
    assert 2 * macs == report.frame().loc["torch", "total"]
    assert macs + 4 * 288 + 288 + 8 == report.frame().loc["thop", "total"]
    found = report.reconcile("thop", "fvcore")
    assert 4 * 288 + 288 + 8 - (2 * 288 + 288) == found.difference
    assert 0 == found.residual
    assert -found.difference == report.reconcile("fvcore", "thop").difference


def test_the_model_comes_back_as_it_was() -> None:
    """Counters leave buffers, hooks and flags behind; none of it may reach the caller's model."""
    model = network()
    model[0].train()
    model[1].eval()
    model.register_forward_hook(lambda *args: None)
    x = torch.rand(2, 3, 8, 8)
    before = {
        "state": copy.deepcopy(model.state_dict()),
        "ids": [id(m) for m in model.modules()],
        "tensors": [t.data_ptr() for t in model.state_dict().values()],
        "training": [m.training for m in model.modules()],
        "hooks": [dict(m._forward_hooks) for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "buffers": [sorted(m._buffers) for m in model.modules()],
        "input": x.clone(),
    }
    compare(model, (x,), counters=[*FAST, "torchsummaryX", "ptflops-aten", "torchinfo"])
    assert before["state"].keys() == model.state_dict().keys()
    assert all(torch.equal(before["state"][k], v) for k, v in model.state_dict().items())
    assert before["ids"] == [id(m) for m in model.modules()]
    assert before["tensors"] == [t.data_ptr() for t in model.state_dict().values()]
    assert before["training"] == [m.training for m in model.modules()]
    assert before["hooks"] == [dict(m._forward_hooks) for m in model.modules()]
    assert before["attributes"] == [sorted(vars(m)) for m in model.modules()]
    assert before["buffers"] == [sorted(m._buffers) for m in model.modules()]
    assert torch.equal(before["input"], x)


def test_a_model_that_no_pickle_can_carry_is_counted() -> None:
    """Notebooks define models in __main__, with lambdas; a worker must not need to import them."""
    model = network()
    model.secret = lambda x: x
    assert 1 == len(compare(model, torch.rand(1, 3, 8, 8), counters=["torch"]).run.counted())


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    """A worker that imported the caller's script again would run it again, for ever."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from flopledger import compare\n"
        "print(compare('mobilenet_v2', '1x3x64x64', counters=['torch']).frame().loc['torch', 'total'])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    once, total = done.stdout.split()
    assert "once" == once
    assert int(total) > 0


def test_a_report_saves_and_reads_itself(report: Report, tmp_path: Path) -> None:
    """What a run leaves behind must be all that its pages need."""
    written = report.save(tmp_path / "new" / "folder")
    assert {"report.md", "report.html", "run.json", "totals.svg", "waterfall.svg"} == {p.name for p in written}
    again = Report.read(tmp_path / "new" / "folder" / "run.json")
    assert report.run == again.run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((nn.Identity(),), "needs inputs"),
        (("mobilenet_v3", "1x3x8x8"), "no model 'mobilenet_v3'"),
        (("mobilenet_v2", "big"), "not a shape"),
        ((nn.Linear(3, 4), torch.rand(2, 5)), r"rejects these inputs: [^\n]+ \(2x5 and 3x4\)\nlinear got input 2×5"),
    ],
    ids=["no inputs", "no model", "no shape", "wrong shape"],
)
def test_bad_arguments_say_what_is_wrong(arguments: tuple, words: str) -> None:
    """A person at a prompt gets a ValueError with a line or two, not a worker's traceback."""
    with pytest.raises(ValueError, match=words) as caught:
        compare(*arguments, counters=["torch"])
    assert str(caught.value).count("\n") <= 1


def test_an_unexplained_amount_is_said_and_not_absorbed() -> None:
    """A counter whose convention is wrong must show in the residual, to the last operation."""
    report = compare("mobilenet_v2", "1x3x32x32", counters=["miniatures:LiesAtOneSite", "miniatures:Honest",
                                                            "miniatures:AddsWithoutSayingWhere"])  # fmt: skip
    lies = report.reconcile("miniatures:LiesAtOneSite", "miniatures:Honest")
    assert (5, 5) == (lies.difference, lies.residual)
    assert ["features.0.0"] == [r.site for r in lies.residue]
    assert ["features.0.0"] == [site for line in lies.lines for site in line.failing]
    adds = report.reconcile("miniatures:AddsWithoutSayingWhere", "miniatures:Honest")
    assert (7, 7) == (adds.difference, adds.residual)
    assert ["unattributed"] == [r.op for r in adds.residue]
    assert "A SMALL RESIDUAL: 3 pairs of 3 leave a residual, the largest −7" in report._repr_html_()
