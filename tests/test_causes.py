"""Who moved a number: each cause alone, several at once, and how much of it is whose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_run import assembled, mobilenet_entries, sample_run, tally_of

from flopledger.counters import registry
from flopledger.reference_model.ledger import Ledger
from flopledger.reports.causes import middle
from flopledger.reports.documents.baseline import Pinned, Snapshot, snapshot
from flopledger.reports.drift import changes, drift
from flopledger.reports.moves import Amounts, Change, Drift

THEN, NOW = "0.0.5.post2110061705", "0.1.1.post2209072238"  # thop's batch norm: 2·outputs, then twice that with weights
BASE = snapshot(replace(sample_run(), tallies=sample_run().tallies[:1]))
TALLY = BASE.tallies[0]


def ledger(size: int = 64, blocks: int = 100) -> Ledger:
    """MobileNetV2's, or its first operations."""
    entries = mobilenet_entries(size)[:blocks]
    return Ledger(model="mobilenet_v2", inputs=[f"1x3x{size}x{size}"], params=7, entries=entries)


def taken(of: Ledger, version: str) -> Snapshot:
    """The entry that a thop of this version leaves, which does what its convention says."""
    convention = registry.claimed("thop", version)
    tally = replace(tally_of(convention, of), counter="thop", distribution="thop", version=version, unit="MAC")
    found = snapshot(assembled(of, [(tally, convention)]))
    return replace(found, model=replace(found.model, inputs=["1x3x64x64"]), source="s")


def compared(before: tuple[Ledger, str], after: tuple[Ledger, str]) -> Drift:
    return drift(taken(*before), taken(*after), lambda old, new: middle(old, new, after[0]))


def with_line(**fields: Any) -> list[Pinned]:
    """The one tally with another first line; its total and unit keep up."""
    first, *rest = TALLY.lines
    line = replace(first, **fields)
    return [replace(TALLY, lines=[line, *rest], total=(TALLY.total or 0) + line.count - first.count)]


FIRST = TALLY.lines[0]
MORE: dict[str, Any] = {"count": FIRST.count + 5}
ANEW: dict[str, Any] = {"formula": "3·macs", "because": "another reason"}
OTHER_WORK: dict[str, Any] = {"work": "other", "modules": "other"}
TORCH: dict[str, Any] = {"environment": replace(BASE.environment, torch="99")}
SOURCED = replace(BASE, source="ours")


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        ({"tallies": with_line(**MORE), **OTHER_WORK}, "model"),
        ({"tallies": with_line(**MORE), "work": "other"}, "model"),
        ({"tallies": with_line(**MORE), "model": replace(BASE.model, spec="torchvision:alexnet")}, "model"),
        ({"tallies": with_line(**MORE), "model": replace(BASE.model, inputs=["2x3x8x8"])}, "input"),
        ({"tallies": with_line(**MORE), "model": replace(BASE.model, mode="train")}, "input"),
        ({"tallies": [replace(t, version="99") for t in with_line(**MORE, **ANEW)]}, "release"),
        ({"tallies": with_line(**MORE)}, "release"),
        ({"tallies": with_line(**MORE), **TORCH}, "torch"),
        ({"tallies": with_line(**MORE), "work": "other", **TORCH}, "torch"),
        ({"tallies": [replace(t, version="99", distribution="torch") for t in with_line(**MORE)]}, "torch"),
        ({"tallies": with_line(**MORE, **ANEW)}, "ours"),
        ({"tallies": [replace(t, adapter="other") for t in with_line(**MORE)]}, "ours"),
        ({"tallies": with_line(**MORE), "work": "other", "source": "newer"}, "ours"),
        ({"tallies": with_line(**MORE), **OTHER_WORK, "source": "newer"}, "several"),
        ({"tallies": with_line(**MORE), **OTHER_WORK, **TORCH}, "several"),
        ({"tallies": [replace(t, version="99") for t in with_line(**MORE)], **OTHER_WORK}, "several"),
        ({"tallies": [replace(TALLY, unexplained=5, total=(TALLY.total or 0) + 5, version="99")]}, "release"),
    ],
)  # fmt: skip
def test_each_cause_is_told_from_the_others(after: dict[str, Any], cause: str) -> None:
    """The wrong one sends somebody to the wrong repository."""
    before = replace(SOURCED, tallies=[replace(TALLY, adapter="a")])
    after["tallies"] = [replace(t, adapter=t.adapter if t.adapter == "other" else "a") for t in after["tallies"]]
    found = drift(before, replace(SOURCED, **after))
    (row,) = found.rows
    assert (cause, cause) == (row.cause, found.cause)
    assert row.difference == sum(line.difference for line in row.lines) + row.residual == 5
    assert sum(row.parts.values()) == sum(line.difference for line in row.lines)


def test_a_rule_of_ours_that_is_worded_anew_is_told_and_is_no_drift() -> None:
    """Nobody's build fails because we found better words; and whoever reads the diff knows whose change it is."""
    found = drift(SOURCED, replace(SOURCED, tallies=with_line(**ANEW)))
    assert not found.drifted
    (change,) = changes({"net": found})
    assert ("ours", FIRST.formula, "3·macs", {"net": Amounts(before=FIRST.count, after=FIRST.count)}) == (
        change.cause, change.before_formula, change.after_formula, change.models
    )  # fmt: skip


def test_a_release_is_one_change_for_all_models_that_it_touches() -> None:
    """Forty models with batch norm are one rule; one without is not touched."""
    plain = replace(ledger(), entries=[each for each in ledger().entries if each.op != "batch_norm"])
    models = {"a": ledger(64), "b": ledger(64, 30), "plain": plain}
    found = {name: compared((of, THEN), (of, NOW)) for name, of in models.items()}
    (change,) = changes(found)
    assert ("batch_norm", "release", ["a", "b"], THEN, NOW) == (
        change.op, change.cause, [*change.models], change.before_version, change.after_version
    )  # fmt: skip
    assert ("thop/vision/basic_hooks.py:64 count_bn", "thop/vision/basic_hooks.py:60 count_normalization") == (
        change.before_source, change.after_source
    )  # fmt: skip
    for name in ("a", "b"):
        (row,) = found[name].rows
        assert change.models[name].difference == row.difference == row.parts["release"] > 0
    assert not found["plain"].drifted


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 100), st.integers(1, 100), st.booleans())
def test_where_both_moved_each_has_its_part(then: int, now: int, back: bool) -> None:
    """What the old rules charge on today's ledger lies between: up to there it is the model's, then the release's."""
    old, new = (NOW, THEN) if back else (THEN, NOW)
    before, after = ledger(blocks=then), ledger(blocks=now)
    (row,) = compared((before, old), (after, new)).rows
    charged = [taken(of, version).tallies[0].total or 0 for of, version in ((before, old), (after, old), (after, new))]
    expected = {"model": charged[1] - charged[0], "release": charged[2] - charged[1]}
    assert {cause: n for cause, n in expected.items() if n} == {cause: n for cause, n in row.parts.items() if n}
    assert row.difference == sum(row.parts.values())
    assert all(line.difference == sum(line.parts.values()) for line in row.lines)


def test_what_cannot_be_split_is_not() -> None:
    """Rules that do not give today's amounts say nothing of what the old ones would have given."""
    before, after = taken(ledger(blocks=30), THEN), taken(ledger(), NOW)
    other = ledger(blocks=90)
    assert middle(before.tallies[0], after.tallies[0], other) is None
    (row,) = drift(before, after, lambda old, new: middle(old, new, other)).rows
    assert ("several", {"several": row.difference}) == (row.cause, row.parts)


def test_a_change_adds_up_over_its_models() -> None:
    """Its sum is what a pull request shows."""
    models = {"a": Amounts(before=1, after=5), "b": Amounts(before=7, after=2)}
    fields = dict.fromkeys(("before_formula", "after_formula", "before_because", "after_because", "before_source",
                            "after_source", "op", "counter", "unit"), "")  # fmt: skip
    change = Change(cause="ours", before_version=None, after_version=None, phase="forward", models=models, **fields)
    assert -1 == change.difference
