"""Budgets: in all, by op and by module; what is over, by how much, and which layers take most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from sample_run import KERNEL, calls, mobilenet_entries, sample_run
from torch import nn

from flopledger import assert_macs
from flopledger.reference_model.ledger import Entry
from flopledger.reference_model.subject import Spec
from flopledger.reports import guard
from flopledger.reports.budget import broken, check, inside, measured
from flopledger.reports.command import guarded
from flopledger.reports.documents.baseline import snapshot
from flopledger.reports.moves import Broken, Measured
from flopledger.reports.pages.budget_words import sentence
from flopledger.reports.project import Budget, Project


def conv(site: str, macs: int, op: str = "conv", phase: str = "forward") -> Entry:
    return Entry(site=site, op=op, aten="a", module="Conv2d", phase=phase, calls=calls(macs=macs))  # type: ignore[arg-type]


ENTRIES = [conv("layer4.0.conv1", 700), conv("layer4.0.conv2", 500), conv("layer4", 0, "add"), conv("layer40.conv", 11),
           conv("fc", 30, "linear"), conv("fc", 60, "linear", "backward")]  # fmt: skip
MODULES = ["", "layer4", "layer4.0", "layer4.0.conv1", "layer4.0.conv2", "layer4.0.relu", "layer40", "layer40.conv",
           "fc"]  # fmt: skip
BASE = snapshot(sample_run())
COSTS = measured(70, ENTRIES, MODULES)
UNKNOWN = measured(70, [*ENTRIES, KERNEL], MODULES)


def over(budget: Budget, found: Measured = COSTS) -> list[Broken]:
    check(budget, found)
    return broken("net", budget, found)


def test_a_site_is_a_whole_name_and_what_lies_in_it() -> None:
    """A prefix of letters would put layer40's MACs on the account of layer4."""
    (found,) = over(Budget(sites={"layer4": 1000}))
    assert ("site layer4", 1000, 1200, False) == (found.what, found.limit, found.value, found.at_least)
    assert [("layer4.0.conv1", "conv", 700), ("layer4.0.conv2", "conv", 500)] == found.heaviest
    assert (
        "net: layer4 takes 1,200 MACs, 200 over its budget of 1,000 (20 %); "
        "most of them: layer4.0.conv1 (convolution) 700 and layer4.0.conv2 (convolution) 500"
    ) == sentence(found)
    assert [] == over(Budget(sites={"layer4": 1200, "layer40": 11, "layer4.0.relu": 0, "": 1301}))
    assert 1301 == over(Budget(sites={"": 1300}))[0].value
    assert not inside("layer4", "layer4.0") and not inside("a", "a.") and inside("a.b", "a")


def test_an_op_is_counted_wherever_it_is_and_forward_and_backward() -> None:
    """A budget of a training step is of all its MACs."""
    assert [90, 1211] == [each.value for each in over(Budget(ops={"linear": 89, "conv": 1210, "attention": 0}))]
    assert [] == over(Budget(ops={"linear": 90, "conv": 1211}, macs=1301, params=70))


def test_every_limit_that_is_broken_is_said_once() -> None:
    """Who mends one and runs again for the next one is told too little."""
    found = over(Budget(macs=1, params=1, ops={"conv": 1}, sites={"fc": 1}, line=7, lines={"op conv": 9}))
    assert ["macs", "op conv", "site fc", "params"] == [each.what for each in found]
    assert [7, 9, 7, 7] == [each.line for each in found]
    said = sentence(found[-1])
    assert "net has 70 parameters, 69 over the budget of 1 (6900 %)" == said


def test_what_has_no_formula_is_in_every_budget_that_holds_it() -> None:
    """It may take any number of MACs, so none of them can be promised; of those beside it, each can."""
    budget = Budget(macs=10**9, ops={"conv": 10**9}, sites={"kernel": 5, "layer4": 10**9}, params=10**9)
    everything, kernel = over(budget, UNKNOWN)
    assert ("macs", 1301, True) == (everything.what, everything.value, everything.at_least)
    assert ("site kernel", 0, True) == (kernel.what, kernel.value, kernel.at_least)
    assert sentence(everything).startswith(
        "net takes at least 1,301 MACs, and whether that is within the budget of 1,000,000,000 cannot be told. "
        "UNPRICED: mylib.op ("
    )
    assert "kernel takes an unknown number of MACs, at least 0, and whether" in sentence(kernel)
    (more,) = over(Budget(macs=1000), UNKNOWN)
    assert "takes at least 1,301 MACs, at least 301 over the budget of 1,000 (30.1 %); most" in sentence(more)
    assert {"mylib.op"} == set(more.unpriced)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(sites={"layer5": 1}), r"for 'layer5', and no module is named so; did you mean .*layer4.*"
                                      r"as named_modules\(\) gives it, and all .* it: fc, layer4 and layer40$"),
        (Budget(sites={"layer4.": 1}), "no module is named so"),
        (Budget(sites={"conv1": 1}), "no module is named so"),
        (Budget(ops={"convolution": 1}), "for 'convolution', which is no kind of operation.*there is activation, add,"),
        (Budget(ops={"unpriced": 1}), "no kind of operation"),
    ],
)  # fmt: skip
def test_what_there_is_not_has_no_budget(budget: Budget, said: str) -> None:
    """A limit on a name that is spelt wrong is kept for ever."""
    with pytest.raises(ValueError, match=said) as caught:
        check(budget, COSTS)
    assert 1 == len(str(caught.value).splitlines())


def test_a_module_without_operations_and_one_without_a_member_are_there() -> None:
    """A container runs nothing itself; an exported program has sites and perhaps no modules."""
    check(Budget(sites={"layer4.0": 1, "layer4.0.relu": 1}), COSTS)
    check(Budget(sites={"layer4.0": 1, "fc": 1}), measured(0, ENTRIES, []))


SITES = st.lists(st.sampled_from("abc"), max_size=4).map(".".join)


@given(st.lists(st.tuples(SITES, st.sampled_from(["conv", "linear"]), st.integers(0, 9)), max_size=9), SITES)
def test_a_module_takes_what_it_and_its_children_take(rows: list[tuple[str, str, int]], prefix: str) -> None:
    """By another definition: the names' parts, one by one."""
    entries = [conv(site, n, op) for site, op, n in rows]
    parts = prefix.split(".") if prefix else []
    expected = sum(n for site, _, n in rows if site.split(".")[: len(parts)] == parts or not parts)
    found = broken("m", Budget(sites={prefix: -1}), measured(0, entries, []))
    assert [expected] == [each.value for each in found]
    assert expected >= sum(n for *_, n in found[0].heaviest) >= min(expected, 1)


def test_costs_are_small_and_lose_nothing() -> None:
    """They are kept for each model, so that twenty budgets are checked without a ledger."""
    entries = mobilenet_entries(64)
    found = measured(1, entries, [])
    assert sum(entry["macs"] for entry in entries) == sum(n for _, _, n in found.macs)
    assert found == measured(1, entries, [])


def test_assert_macs_says_all_that_is_over() -> None:
    """In a test suite as in the project's file."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 10))
    asked = net, torch.rand(1, 3, 8, 8)
    fine = assert_macs(*asked, at_most=10656, params=3114, ops={"conv": 7776, "linear": 2880}, sites={"2": 2880})
    assert 36 * 27 * 8 + 288 * 10 == fine
    with pytest.raises(AssertionError) as caught:
        assert_macs(*asked, params=3113, ops={"conv": 7775}, sites={"2": 2879, "0": 1e9})
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("Sequential: convolution takes 7,776 MACs, 1 over its budget of 7,775 (less than 0.1 %)")
    assert second.startswith("Sequential: 2 takes 2,880 MACs, 1 over") and "2 (linear layer) 2,880" in second
    assert third.startswith("Sequential has 3,114 parameters, 1 over")
    for wrong, said in (
        ({}, "no budget is given"), ({"params": 0.5}, "whole number of parameters"), ({"ops": {"conv": -1}}, "whole"),
        ({"at_most": float("inf")}, "whole number of MACs"), ({"at_most": "4 G"}, "whole number of MACs, not '4 G'"),
        ({"sites": {"3": 1}}, "no module is named so"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            assert_macs(*asked, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "line", "said"),
    [
        (Budget(sites={"layer5": 1}, line=6, lines={"site layer5": 8}), 8, "a budget is for 'layer5', and no module"),
        (Budget(ops={"gelu": 1}, line=6), 6, "a budget is for 'gelu', which is no kind of operation"),
    ],
)
def test_a_budget_for_nothing_is_one_line_with_its_place(
    budget: Budget,
    line: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """It is known when the model has been looked at, and a mistake in the configuration all the same."""
    project = Project(path=tmp_path / "flopledger.toml", baseline=tmp_path / "flopledger.json")
    monkeypatch.chdir(tmp_path)
    asked = guard.Wanted(name="net", spec=Spec(model="net"), counters=[], budget=budget, line=3)
    done = guard.Counted(wanted=asked, now=guard.Now(snapshot=BASE, measured=COSTS))
    monkeypatch.setattr(guard, "counted", lambda *_, **__: [done])
    with pytest.raises(typer.Exit) as caught:
        guarded.answered([asked], project, 1.0, 1, True, False)
    error = capsys.readouterr().err
    assert 2 == caught.value.exit_code and 1 == len(error.splitlines())
    assert error.startswith(f"flopledger: flopledger.toml:{line}: model 'net': {said}"), error


def test_what_is_counted_is_held_against_its_budget() -> None:
    """From the configuration to what `drift` says, with the line of each limit."""
    budget = Budget(macs=10**9, sites={"layer4": 1000}, line=6, lines={"site layer4": 9})
    asked = guard.Wanted(name="net", spec=Spec(model="net"), counters=[], budget=budget, line=3)
    done = guard.Counted(wanted=asked, now=guard.Now(snapshot=BASE, measured=COSTS))
    found = guard.moves({"net": BASE}, [done], baseline="b.json")
    assert [("net", "site layer4", 1200, 9)] == [
        (each.model, each.what, each.value, each.line) for each in found.broken
    ]
    assert {"net": ["macs", "site layer4"]} == found.budgets and found.wrong
