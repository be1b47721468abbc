"""The plugin, as a project uses it: a snapshot beside the test, a failure that explains, a budget."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

import flopledger
from flopledger import assert_macs, compare

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


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """All that a check imports, once: a run of pytest in this process forgets what it has imported itself."""
    import torch  # noqa: F401

    for module in pkgutil.walk_packages(flopledger.__path__, "flopledger."):
        importlib.import_module(module.name)


def suite(pytester: pytest.Pytester, width: int) -> None:
    pytester.makepyfile(test_net=TEST.replace("WIDTH", str(width)))


def test_a_snapshot_is_asked_for_written_and_kept(pytester: pytest.Pytester) -> None:
    """The life of a snapshot: none, written on request, quiet, loud when the model changes, written anew."""
    suite(pytester, 8)
    none = pytester.runpytest_inprocess()
    none.assert_outcomes(failed=1)
    none.stdout.fnmatch_lines(["there is no *__flops__/test_net.test_net.json yet; pytest --flop-update writes it"])
    pytester.runpytest_inprocess("--flop-update").assert_outcomes(passed=1)
    folder = pytester.path / "__flops__"
    names = sorted(path.name for path in folder.iterdir())
    assert "test_net.test_net.json" in names
    assert 2 == len(names)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    pytester.runpytest_inprocess("--flop-update").assert_outcomes(passed=1)
    assert written == {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    suite(pytester, 9)
    moved = pytester.runpytest_inprocess()
    moved.assert_outcomes(failed=1)
    # 3·3·3 taps at 6·6 positions and ten products for one more channel, two FLOPs each.
    moved.stdout.fnmatch_lines(["*convolution*2·macs*2·macs*15,552*17,496*+1,944*", "*linear layer*160*180*+20*",
                                "*residual*0*", "*+1,964*", "*the model itself does other work*",
                                "*pytest --flop-update writes*"])  # fmt: skip
    assert "Traceback" not in moved.stdout.str()
    pytester.runpytest_inprocess("--flop-update").assert_outcomes(passed=1)
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_damaged_snapshot_is_said(pytester: pytest.Pytester) -> None:
    """A merge conflict in the file must not look like drift."""
    suite(pytester, 8)
    folder = pytester.path / "__flops__"
    folder.mkdir()
    (folder / "test_net.test_net.json").write_text("<<<<<<< HEAD")
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["cannot read *: it is not whole JSON*"])
    pytester.runpytest_inprocess("--flop-update").assert_outcomes(passed=1)


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
    pytester.runpytest_inprocess("--flop-update").assert_outcomes(passed=4)
    files = list((pytester.path / "__flops__").iterdir())
    assert 4 == len(files)
    assert all("baseline" == json.loads(path.read_text())["kind"] for path in files)


COLLIDING = """
import pytest
ASKED = "mobilenet_v2?width_mult=0.1", "1x3x32x32", ["miniatures:Honest"]
def test_one_name_twice(flop_snapshot):
    flop_snapshot.check(*ASKED, name="n")
    flop_snapshot.check(*ASKED, name="n")
def test_a_number_that_is_a_name(flop_snapshot):
    flop_snapshot.check(*ASKED, name="2")
    flop_snapshot.check(*ASKED)
def test_names_that_differ_in_case(flop_snapshot):
    flop_snapshot.check(*ASKED, name="A")
    flop_snapshot.check(*ASKED, name="a")
@pytest.mark.parametrize("x", ["b", "B"])
def test_parameters(flop_snapshot, x):
    flop_snapshot.check(*ASKED)
def test_itself(flop_snapshot):
    flop_snapshot.check(*ASKED, name="fine")
    flop_snapshot.check(*ASKED, name="also fine")
"""


def test_two_checks_with_one_file_are_an_error(pytester: pytest.Pytester) -> None:
    """The second would overwrite what the first wrote, and one of them would be compared with the other's numbers."""
    pytester.makepyfile(test_net=COLLIDING)
    for options in (["--flop-update"], []):
        done = pytester.runpytest_inprocess(*options)
        done.assert_outcomes(passed=2, failed=4)
        done.stdout.fnmatch_lines([
            "check(name='n') in test_net.py::test_one_name_twice and check(name='n') both have the file *",
            "check() number 2 in test_net.py::test_a_number_that_is_a_name and check(name='2') both have the file *",
            "check(name='a') in test_net.py::test_names_that_differ_in_case and check(name='A') both have the file *",
            "check() number 1 in test_net.py::test_parameters*B* and check() number 1 in test_net.py::*both have*name",
        ])  # fmt: skip


def test_a_snapshot_without_a_number_is_not_written(pytester: pytest.Pytester) -> None:
    """It would guard nothing, and pass for ever."""
    pytester.makepyfile("""
        def test_it(flop_snapshot):
            flop_snapshot.check("mobilenet_v2?width_mult=0.1", "1x3x32x32", ["miniatures:SaysItCannot"])
    """)
    done = pytester.runpytest_inprocess("--flop-update")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["no counter has a number, so there is none to write to *"])
    assert not (pytester.path / "__flops__").exists()


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
        def test_more(assert_macs):
            assert_macs(torch.nn.Linear(8, 9), torch.rand(8), at_most=71)
    """)
    found = pytester.runpytest_inprocess()
    found.assert_outcomes(passed=1, failed=1)
    faults = [line for line in found.outlines if line.startswith("E  ")]
    assert faults[0].startswith("E       AssertionError: Linear takes 72 MACs, 1 over the budget of 71")
    assert "budget.py" not in found.stdout.str() and "heaviest" not in found.stdout.str()  # our own source


def test_the_plugin_is_registered() -> None:
    """`pip install flopledger` is all that a project does."""
    from importlib.metadata import entry_points

    (point,) = [p for p in entry_points(group="pytest11") if p.name == "flopledger"]
    assert "flopledger.reports.pytest_plugin" == point.value
    assert Path(str(point.load().__file__)).name == "pytest_plugin.py"


PROJECT = """
[tool.flopledger]
baseline = "flops.json"
counters = ["torch"]

[[tool.flopledger.models]]
name = "small"
model = "mobilenet_v2?width_mult=0.1"
inputs = "1x3x32x32"
budget = { macs = "1 k", sites = { "classifier" = "1 M" } }
"""
GUARDED = """
import pytest

@pytest.mark.parametrize("n", range(6))
def test_it(flop_snapshot, n):
    flop_snapshot.check("mobilenet_v2?width_mult=0.1", "SHAPE")
    flop_snapshot.check("small", name="no entry of this test")

def test_two(flop_snapshot):
    flop_snapshot.check("mobilenet_v2?width_mult=0.1", "1x3x32x32", name="a")
    flop_snapshot.check("small", counters=["torch"])
"""
BUDGETS = """
import pytest, torch

def test_configured(assert_macs):
    assert_macs("small")

def test_of_its_own(assert_macs):
    assert 1_797_952 == assert_macs("small", at_most=10**9, sites={"classifier": 1_280_000})

def test_by_op(assert_macs):
    assert_macs(torch.nn.Sequential(torch.nn.Linear(8, 9)), torch.rand(8), ops={"linear": 71}, sites={"0": 72})

def test_of_nothing(assert_macs):
    assert_macs("small", sites={"clasifier": 1})

def test_of_no_input(assert_macs):
    assert_macs(torch.nn.Linear(8, 9), torch.rand(7), at_most=1)
"""


def test_a_project_has_one_baseline_for_command_and_tests(pytester: pytest.Pytester) -> None:
    """Several processes that write one file lose nothing of each other's; test modules need no package."""
    compare("mobilenet_v2?width_mult=0.1", "1x3x32x32", counters=["torch"])  # what is kept needs no torch below
    (pytester.path / "pyproject.toml").write_text(PROJECT)
    folder = pytester.mkdir("tests")
    (folder / "test_net.py").write_text(GUARDED.replace("SHAPE", "1x3x32x32"))
    options = ["--import-mode=importlib", "--tb=short"]
    workers = ["-n", "2", "-p", "no:hypothesispytest"]  # which takes longer to import than all of this
    pytester.runpytest_subprocess("--flop-update", *options, *workers).assert_outcomes(passed=7)
    names = {*(f"tests/test_net.py::test_it[{n}]" for n in range(6)), "tests/test_net.py::test_two#a"}
    file = pytester.path / "flops.json"
    written = file.read_bytes()
    assert {*names, "small"} == {*json.loads(written)["models"]}
    (folder / "test_net.py").write_text(GUARDED.replace("SHAPE", "1x3x64x64"))
    done = pytester.runpytest_inprocess(*options, "-k", "2 or two")
    done.assert_outcomes(passed=1, failed=1, deselected=5)
    head = next(i for i, line in enumerate(done.outlines) if line.startswith("___") and " test_it[2] " in line)
    assert done.outlines[head + 1].startswith("torch +")
    assert "pytest_plugin.py" not in done.stdout.str()
    assert written == file.read_bytes()


def test_budgets_of_a_project_by_op_and_site(pytester: pytest.Pytester) -> None:
    """The configured one where none is given; and what is said begins with what is over by how much."""
    (pytester.path / "pyproject.toml").write_text(PROJECT)
    pytester.makepyfile(test_net=BUDGETS)
    done = pytester.runpytest_inprocess("--tb=short")
    done.assert_outcomes(passed=1, failed=4)
    faults = [line for line in done.outlines if line.startswith("E  ")]
    for begin in (
        "E   AssertionError: small takes ",
        "E   AssertionError: Sequential: linear layer takes 72 MACs, 1 over its budget of 71",
        "E   flopledger.reports.budget.BudgetError: a budget is for 'clasifier', and no module is named so",
    ):
        assert any(line.startswith(begin) for line in faults), faults
    assert any("over the budget of 1,000 " in line for line in faults)
    assert not [line for line in done.outlines if re.search(r"(budget|pytest_plugin|compare|plan)\.py", line)]


def test_what_is_wrong_with_a_project_is_one_line(pytester: pytest.Pytester) -> None:
    """A configuration or a baseline that cannot be read is no fault of the test, and is not written over."""
    pytester.makepyfile("def test_it(flop_snapshot): flop_snapshot.check('small')")
    file = pytester.path / "flops.json"
    for project, baseline, said in [
        (PROJECT.replace("counters", "countres"), None, "*pyproject.toml:*countres*did you mean counters*"),
        (PROJECT, "<<<<<<< HEAD", "cannot read *flops.json: it is not whole JSON*"),
    ]:
        (pytester.path / "pyproject.toml").write_text(project)
        if baseline is not None:
            file.write_text(baseline)
        done = pytester.runpytest_inprocess("--flop-update")
        done.assert_outcomes(failed=1)
        done.stdout.fnmatch_lines([said])
        assert "pytest_plugin.py" not in done.stdout.str()
    assert "<<<<<<< HEAD" == file.read_text()
