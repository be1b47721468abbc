"""The statement: exact numbers, sentences that say what is in them, and a range that is nobody's opinion."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace
from sample_run import HOSTILE, assembled, calls, hostile_run, sample_run, step_run, tally_of

from flopledger.counters.convention import Convention, rule
from flopledger.reference_model.ledger import Entry, Ledger
from flopledger.reports.command.main import app
from flopledger.reports.documents.run import Run
from flopledger.reports.pages import latex
from flopledger.reports.pages import statement_words as words
from flopledger.reports.pages.blocks import Code
from flopledger.reports.pages.blocks import Table as Grid
from flopledger.reports.statement import Training, statement

TEXT = ["input_ids=4x128:int64"]


def a_step(macs: int = 1000, *, inputs: list[str] = TEXT, **beside: int) -> Run:
    """One step of a model of tokens: a table of embeddings, a linear layer, attention; who counts half of it."""
    entries = [
        Entry(site="table", op="embedding", aten="embedding", module="Embedding", params=300,
              calls=calls(outputs=512)),
        Entry(site="head", op="linear", aten="addmm", module="Linear", calls=calls(macs=macs, bias_adds=7, outputs=9)),
        Entry(site="mix", op="attention", aten="sdpa", module="Mix", phase="backward",
              calls=calls(macs=macs, outputs=3, **beside)),
    ]  # fmt: skip
    ledger = Ledger(model="net", inputs=inputs, params=500, entries=entries, mode="step")
    half = Convention("half", (rule("linear", "macs", "no attention", "half.py:1"),))
    both = Convention("torch_flop_counter", (rule("linear attention", "2·macs", "all", "torch.py:1"),))
    return assembled(ledger, [(tally_of(each, ledger), each) for each in (half, both)])


def named(run: Run, training: Training | None = None) -> dict[str, int]:
    return {each.name: each.flop for each in statement(run, training).conventions}


def test_each_convention_has_its_number() -> None:
    """By hand: 2,000 MACs; 6·500·512 by the annex of the guidelines, 6·(500 − 300)·512 without the table."""
    assert {
        "ledger": 4000, "ledger with recomputation": 4200, "ledger without masked products of the backward": 3700,
        "6·N·D": 6 * 500 * 512, "6·N·D without embeddings": 6 * 200 * 512, "half 1.2.3": 2000,
        "torch_flop_counter 1.2.3": 4000,
    } == named(a_step(recomputed_macs=100, masked_macs=150))  # fmt: skip
    found = statement(a_step())
    assert (4000, 6 * 500 * 512) == (found.low, found.high)
    assert ["half 1.2.3"] == [each.name for each in found.conventions if not each.in_range]
    forward = replace(a_step(), model=replace(a_step().model, mode="eval"))
    assert {"2·N·D", "2·N·D without embeddings"} < set(named(forward))


def test_a_counter_that_charges_work_that_is_not_there_sets_no_bound() -> None:
    """torch's counter takes gradients of grouped weights as if there were no groups: seven times MobileNet's step."""
    run = a_step(10**6, inputs=["1x3x8x8"])
    ledger = Ledger(model="net", inputs=["1x3x8x8"], params=1, mode="step", entries=run.ledger.entries)
    thrice = Convention("thrice", (rule("linear", "3·macs", "as if there were no groups", "x.py:1"),
                                   rule("attention", "macs + 5·outputs", "all, and a softmax", "x.py:2")))  # fmt: skip
    found = statement(assembled(ledger, [(tally_of(thrice, ledger), thrice)]))
    (counter,) = (each for each in found.conventions if each.name == "thrice 1.2.3")
    # 2·(3·macs − macs), but for ten FLOP for each of the 9 elements of the linear layer.
    assert (
        f"it charges {4 * 10**6 - 90:,} FLOP more for products than they take (as if there were no groups)"
        == counter.note
    )
    assert not counter.in_range and found.high == found.low == found.flop
    assert "thrice 1.2.3 sets no bound, for the reason beside it." in words.how_sure(found)


def test_no_tokens_no_closed_form() -> None:
    """D counts tokens; of images there are none, and a formula that does not apply gives no bound."""
    assert not [name for name in named(sample_run(64)) if "N·D" in name]


def test_who_says_the_same_is_named() -> None:
    """A number that a second tool prints is one that a reader can check."""
    said = words.how_much(statement(sample_run(64)))
    assert "torch_flop_counter 1.2.3 reports exactly this number." in said
    assert "5.146·10⁷ FLOP (51,457,024) for one forward pass on an input of 1×3×64×64 (1 sample)" in said
    assert "25,728,512 multiply-accumulate operations, each counted as two FLOP" in said


def test_what_is_left_out_is_said_with_its_size() -> None:
    """Recomputation, the masked half, norms, biases and look-ups are where two honest numbers differ."""
    said = words.what_is_in_it(statement(a_step(recomputed_macs=100, masked_macs=150)))
    assert "Included are the products of attention (50 %) and linear layer (50 %)." in said
    assert "Left out are look-ups of embeddings (512 elements), none of which multiplies matrices." in said
    assert "So are the 7 additions of biases." in said
    assert "300 FLOP (300) of its backward are behind a mask" in said
    assert "Recomputation is left out: 200 FLOP (200) are computed a second time" in said
    assert "Nothing was recomputed" in words.what_is_in_it(statement(a_step()))
    assert "batch norm (545,152 elements)" in words.what_is_in_it(statement(sample_run(64)))


@pytest.mark.parametrize(("training", "inputs", "passes"), [
    (Training(steps=10), TEXT, Fraction(10)), (Training(tokens=5120), TEXT, Fraction(10)),
    (Training(tokens=100, epochs=3), TEXT, Fraction(300, 512)), (Training(samples=6, epochs=2), TEXT, Fraction(3)),
    (Training(samples=64), ["32x3x8x8"], Fraction(2)), (Training(samples=4), ["[3x8x8, 3x9x9]"], Fraction(2)),
])  # fmt: skip
def test_a_training_is_so_many_steps(training: Training, inputs: list[str], passes: Fraction) -> None:
    """A last step that is not full counts by its share; nothing is rounded up."""
    assert passes == training.passes(inputs)
    if training.tokens is None:
        assert str(round(4000 * passes)) == statement(a_step(inputs=inputs), training).total


def test_a_total_has_all_of_its_digits() -> None:
    """10²⁵ is a line in a law; JSON's numbers end at 2⁵³, so totals are texts."""
    found = statement(a_step(inputs=["1x3x8x8"]), Training(steps=10**22 + 1))
    assert "40000000000000000000004000" == json.loads(words.as_json(found))["total"]
    long = words.how_long(statement(a_step(inputs=["1x3x8x8"]), Training(steps=10**22)))
    assert "4.000·10²⁵ FLOP (40,000,000,000,000,000,000,000,000), forward and backward" in long


@pytest.mark.parametrize(("steps", "sides"), [
    (10, ["below", "below"]), (10**18, ["both", "below"]), (10**20, ["above", "both"]), (10**22, ["above", "above"]),
])  # fmt: skip
def test_conventions_on_both_sides_of_a_threshold_are_loud(steps: int, sides: list[str]) -> None:
    """One training is 4·10²¹ or 1.5·10²⁴ FLOP by what one counts; who signs must know that it matters."""
    found = statement(a_step(), Training(steps=steps))
    assert sides == [each.side for each in found.thresholds]
    loud = [text for text in words.paragraphs(found) if "DO NOT AGREE" in text]
    assert sides.count("both") == len(loud)
    assert all("point 17" in text or "Article 51(2)" in text for text in loud)


def test_a_lower_bound_is_never_below_a_threshold() -> None:
    """What an operation without a formula takes may be anything."""
    found = statement(step_run(), Training(steps=3))
    assert ["unknown", "unknown"] == [each.side for each in found.thresholds]
    said = words.paragraphs(found)
    assert "takes at least" in said[0] and "lower bound" in said[1] and "took at least" in said[2]


@pytest.mark.parametrize(("training", "run", "why"), [
    (Training(), a_step(), "one of steps, tokens and samples"),
    (Training(steps=1, tokens=2), a_step(), "one of steps, tokens and samples"),
    (Training(steps=1, epochs=2), a_step(), "epochs go with tokens or samples"),
    (Training(tokens=0), a_step(), "at least 1"), (Training(steps=1), sample_run(64), "count one with --mode step"),
    (Training(tokens=5), a_step(inputs=["1x3x8x8"]), "do not tell how many tokens"),
])  # fmt: skip
def test_a_training_that_is_none(training: Training, run: Run, why: str) -> None:
    """One line that says what is missing."""
    with pytest.raises(ValueError, match=why):
        statement(run, training)


@pytest.mark.parametrize(("arguments", "why"), [
    (["--tokens", "5", "--steps", "3"], "one of steps, tokens and samples"),
    (["--epochs", "5"], "one of steps, tokens and samples"), (["--tokens", "5"], "do not tell how many tokens"),
    (["--steps", "5", "--mode", "eval"], "a training consists of steps"), (["nope"], "no model 'nope'"),
    (["--samples", "5", "-i", "big"], "is not a shape"),
])  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, before anything is counted."""
    assert 2 == app(["statement", *arguments], standalone_mode=False)
    said = capsys.readouterr()
    assert ("", 1) == (said.out, len(said.err.splitlines()))
    assert why in said.err


def test_a_page_is_paragraphs_conventions_and_json() -> None:
    """The block of JSON is the statement; what the table says of a convention is in it."""
    found = statement(a_step(), Training(tokens=10**9))
    blocks = words.page(found)
    grid, code = blocks[-2:]
    assert isinstance(grid, Grid) and isinstance(code, Code)
    plain: dict[str, Any] = json.loads(code.text)
    assert [row[0] for row in grid.rows] == [each["name"] for each in plain["conventions"]]
    assert [int(row[3].replace(",", "")) for row in grid.rows] == [int(each["total"]) for each in plain["conventions"]]
    assert {"flop": 4000, "macs": 2000, "parameters": 500, "mode": "step"}.items() <= plain.items()


def test_names_stay_on_their_line() -> None:
    """A paragraph is signed; no model's name may write another one below it."""
    found = statement(hostile_run())
    for text in words.paragraphs(found):
        assert text.isprintable()
    lines = latex.render(words.page(found)).splitlines()
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", latex.render(words.page(found)))
    assert columns
    body = [line for line in lines if line.endswith(r" \\")]
    assert {len(columns[1])} == {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body}
    assert HOSTILE[0] in json.loads(words.as_json(found))["model"]


@pytest.mark.parametrize(("n", "text"), [
    (0, "0"), (999_999, "999,999"), (10**6, "1.000·10⁶"), (9_999_500_000, "1.000·10¹⁰"), (123_456_789, "1.235·10⁸"),
    (10**25, "1.000·10²⁵"), (16_867_412_736, "1.687·10¹⁰"),
])  # fmt: skip
def test_powers_have_four_digits(n: int, text: str) -> None:
    """As a law and a paper write them."""
    assert text == words.power(n)
