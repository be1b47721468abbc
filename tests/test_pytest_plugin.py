"""The plugin, as a project uses it: a snapshot beside the test, a failure that explains, a budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flopledger import assert_macs

pytest_plugins = ["pytester"]

TEST = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, WIDTH, 3)
        self.fc = torch.nn.Linear(WIDTH, 10)

    def forward(self, x):
        return self.fc(self.conv(x).mean([2, 3]))

def test_net(flop_snapshot):
    net = Net().train()
    flop_snapshot.check(net, torch.rand(1, 3, 8, 8), counters=["torch", "miniatures:Honest"])
    flop_snapshot.check(net, torch.rand(2, 3, 8, 8), ["torch"], name="batch of two")
    assert net.training
"""


def suite(pytester: pytest.Pytester, width: int) -> None:
    pytester.makepyfile(test_net=TEST.replace("WIDTH", str(width)))


def test_a_snapshot_is_asked_for_written_and_kept(pytester: pytest.Pytester) -> None:
    """The life of a snapshot: none, written on request, quiet, loud when the model changes, written anew."""
    suite(pytester, 8)
    none = pytester.runpytest_subprocess()
    none.assert_outcomes(failed=1)
    none.stdout.fnmatch_lines(["there is no *__flops__/test_net.test_net.json yet; pytest --flop-update writes it"])
    pytester.runpytest_subprocess("--flop-update").assert_outcomes(passed=1)
    folder = pytester.path / "__flops__"
    names = sorted(path.name for path in folder.iterdir())
    assert "test_net.test_net.json" in names
    assert 2 == len(names)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    pytester.runpytest_subprocess("--flop-update").assert_outcomes(passed=1)
    assert written == {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    suite(pytester, 9)
    moved = pytester.runpytest_subprocess()
    moved.assert_outcomes(failed=1)
    # 3·3·3 taps at 6·6 positions and ten products for one more channel, two FLOPs each.
    moved.stdout.fnmatch_lines(["*convolution*2·macs*2·macs*15,552*17,496*+1,944*", "*linear layer*160*180*+20*",
                                "*residual*0*", "*+1,964*", "*the model itself does other work*",
                                "*pytest --flop-update writes*"])  # fmt: skip
    assert "Traceback" not in moved.stdout.str()
    pytester.runpytest_subprocess("--flop-update").assert_outcomes(passed=1)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_damaged_snapshot_is_said(pytester: pytest.Pytester) -> None:
    """A merge conflict in the file must not look like drift."""
    suite(pytester, 8)
    folder = pytester.path / "__flops__"
    folder.mkdir()
    (folder / "test_net.test_net.json").write_text("<<<<<<< HEAD")
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["cannot read *: it is not whole JSON*"])
    pytester.runpytest_subprocess("--flop-update").assert_outcomes(passed=1)


def test_files_of_different_tests_never_meet(pytester: pytest.Pytester) -> None:
    """Parameters may hold what no file name can."""
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("x", ["a/b", "a_b", "a" * 400])
        def test_it(flop_snapshot, x):
            flop_snapshot.check("mobilenet_v2", "1x3x32x32", ["miniatures:Honest"])
        class TestIt:
            def test_it(self, flop_snapshot):
                flop_snapshot.check("mobilenet_v2", "1x3x32x32", ["miniatures:Honest"])
    """)
    pytester.runpytest_subprocess("--flop-update").assert_outcomes(passed=4)
    files = list((pytester.path / "__flops__").iterdir())
    assert 4 == len(files)
    assert all("snapshot" == json.loads(path.read_text())["kind"] for path in files)


def test_loading_the_plugin_imports_no_torch(pytester: pytest.Pytester) -> None:
    """Every pytest run on the machine loads it, also those that have nothing to do with models."""
    pytester.makepyfile("""
        import sys
        def test_it():
            assert "flopledger.reports.pytest_plugin" in sys.modules
            assert not {"torch", "pandas", "rich", "flopledger.counters.registry"} & set(sys.modules)
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_budget_is_kept_or_names_what_costs_most(pytester: pytest.Pytester) -> None:
    """A number that is too large is only half of what one wants to know."""
    assert 1_034_229_632 == assert_macs("mobilenet_v2", at_most=1_034_229_632)
    with pytest.raises(AssertionError) as caught:
        assert_macs("mobilenet_v2", at_most=1e9)
    said = str(caught.value)
    assert "takes 1,034,229,632 MACs, 34,229,632 over the budget of 1,000,000,000" in said
    assert "features.18.0 (convolution) 69,222,400" in said
    with pytest.raises(ValueError, match="whole number"):
        assert_macs("mobilenet_v2", at_most=0.5)
    pytester.makepyfile("""
        import torch
        def test_it(assert_macs):
            assert 72 == assert_macs(torch.nn.Linear(8, 9), torch.rand(8), at_most=72)
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_plugin_is_registered() -> None:
    """`pip install flopledger` is all that a project does."""
    from importlib.metadata import entry_points

    (point,) = [p for p in entry_points(group="pytest11") if p.name == "flopledger"]
    assert "flopledger.reports.pytest_plugin" == point.value
    assert Path(str(point.load().__file__)).name == "pytest_plugin.py"
