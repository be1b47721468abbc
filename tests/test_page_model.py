"""One page model: every renderer has its cells, and its sentences are true of the models that made them false."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import cmarkgfm
import pytest
import typer
from cmarkgfm.cmark import Options
from msgspec.structs import replace
from sample_run import CONVENTIONS, assembled, calls, hostile_run, sample_run, small_history, small_run, tally_of

from flopledger.counters import registry
from flopledger.counters.convention import Convention, rule
from flopledger.counters.formula import Case
from flopledger.counters.tally import Part, Tally
from flopledger.reference_model.ledger import Entry, Ledger
from flopledger.reference_model.running import trace
from flopledger.reports.command import count as count_command
from flopledger.reports.command import snapshot as snapshot_command
from flopledger.reports.compare import Report
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.run import Run
from flopledger.reports.pages import analysis, coverage_words, history_words, markdown, page, pair_words, paper, words
from flopledger.reports.pages.blocks import Block, Fold, Live, Loud, Table
from flopledger.reports.pages.explained import blocks as explained
from flopledger.reports.pages.numbers import visible
from flopledger.reports.pages.terminal import Format


def tables(blocks: Sequence[Block]) -> Iterator[Table]:
    for block in blocks:
        if isinstance(block, Table):
            yield block
        elif isinstance(block, Fold | Live):
            yield from tables(block.blocks)


def cells(markup: str) -> list[str]:
    """What a reader sees in the cells of a table."""
    found = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", markup, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", "", cell)).split()) for cell in found]


PAGES: dict[str, list[Block]] = {
    "a run": page.of_run(sample_run()),
    "a run with everything": page.of_run(small_run()),
    "hostile names": page.of_run(hostile_run()),
    "a pair": explained(run := sample_run(), run.between("thop", "torchsummaryX")),
    "a hostile pair": explained(bad := hostile_run(), bad.between(*(t.name for t in bad.counted()[1:3]))),
    "a history": history_words.blocks(small_history()),
}


@pytest.mark.parametrize("name", PAGES)
def test_markdown_has_the_cells_of_the_page_model(name: str) -> None:
    """Two tables without a line between them were one, and two columns vanished; a pipe in a name is no column."""
    drawn = cmarkgfm.github_flavored_markdown_to_html(markdown.render(PAGES[name]), options=Options.CMARK_OPT_UNSAFE)
    shown = [cells(part.split("</table>")[0]) for part in drawn.split("<table>")[1:]]
    expected = [
        [" ".join(visible(text).split()) for text in [*(c.heading for c in t.columns), *(c for r in t.rows for c in r)]]
        for t in tables(PAGES[name])
    ]
    assert len(expected) > 1 and expected == shown


def test_the_first_paragraph_names_the_unit_apart_and_the_pair_differs_in_what_it_counts() -> None:
    """`From 1.034 G to 2.068 G` was the least interesting difference there is: one unit against the other."""
    run = sample_run()
    said = page.opening(run).text
    assert "from 1.034 GMACs to 1.127 GMACs." in said
    assert "Unit: torch_flop_counter says FLOPs; one MAC is two FLOPs, so half of that is compared." in said
    assert (pair := analysis.most_different(run)) and ("thop", "torchsummaryX") == (pair.left, pair.right)
    assert {"MAC"} == {run.tally(name).unit for name in (pair.left, pair.right)}
    unlike = replace(run, tallies=[run.tally("thop"), run.tally("torch_flop_counter")])
    assert (pair := analysis.most_different(unlike)) and ("thop", "torch_flop_counter") == (pair.left, pair.right)


ATTENTION = Ledger(
    model="torchvision:vit", inputs=["1x3x8x8"], params=100,
    entries=[
        Entry(site="a", op="attention", aten="a", module="MultiheadAttention", calls=calls(macs=400, outputs=8)),
        Entry(site="l", op="linear", aten="l", module="Linear", calls=calls(macs=600, weights=6, outputs=8)),
    ],
)  # fmt: skip


def seen_by(*formulas: str, extra: tuple[Part, ...] = (), **fields: Any) -> tuple[Tally, Convention]:
    """A counter that charges attention and linear layers so."""
    convention = Convention(
        f"counter{len(fields)}",
        tuple(rule(op, f, "", "") for op, f in zip(("attention", "linear"), formulas, strict=True)),
    )
    return replace(tally_of(convention, ATTENTION, extra), **fields), convention


def test_a_call_charged_less_than_its_macs_is_seen_that_much() -> None:
    """torchsummaryX `saw` 64 % of a ViT and charged 1 %: a layer's weights once, whatever the positions."""
    run = assembled(ATTENTION, [seen_by("0", "weights"), seen_by("2·macs", "macs", counter="whole", params=58)])
    narrow, whole = (coverage(tally, run.rows) for tally in run.counted())
    assert (Fraction(6, 1000), Fraction(1)) == (narrow.total.share, whole.total.share)
    assert (0, Fraction(1, 100)) == (narrow.ops["attention"].share, narrow.modules["Linear"].share)
    said = page.opening(run).text
    assert "Seen of the MACs: counter0 0.6 % and whole 100 %." in said
    assert "counter0 misses all of attention, which is 40 % of the MACs." in said
    assert "counter0 misses 99 % of linear layer, which is 60 % of the MACs." in said
    assert "whole counts 58 parameters; the model has 100." in said
    assert "99 % of linear layer (59.4 % of the MACs, in Linear, charging weights)" in coverage_words.missing(
        run, run.counted()[0]
    )


def test_what_a_wrong_sum_saw_is_not_known() -> None:
    """Nothing is said to be missed where formulas fail: it may have been seen."""
    run = assembled(ATTENTION, [seen_by("0", "macs", extra=(Part("a", None, 3),))])
    found = run.coverage(run.counted()[0]).total
    assert (600, 400, 0) == (found.macs, found.unsure, found.missed)
    assert "at least 60 %" == coverage_words.seen(run, run.counted()[0])
    assert not coverage_words.missing(run, run.counted()[0])


def test_count_has_the_ledger_as_a_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A total says nothing without what it is compared with."""
    monkeypatch.setattr(count_command, "compared", lambda *_: Report(sample_run()))
    with pytest.raises(typer.Exit):
        count_command.count(timeout=1.0, no_cache=False, quiet=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["ledger", "0.1.0", "1,034,229,632", "MAC", "1.000", "100", "%", "3,504,872", "–"] in rows


def reasons(name: str, module: Any, *inputs: Any) -> dict[str, str]:
    """Op → why a counter charges nothing for it, in a model."""
    ledger = trace(module, inputs)
    convention = registry.claimed(name, None)
    found: dict[str, str] = {}
    case: Case
    for case in convention.cases(ledger):
        used = convention.rule_for(case)
        if not used.formula.terms:
            found[case.entry.op] = used.because
    return found


def test_reasons_for_nothing_are_true_of_layers_that_have_it() -> None:
    """A recurrent layer has parameters, and a Linear that is never called has an entry in every table of hooks."""
    import torch
    from torch import nn

    class Never(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.fc.weight)

    ring = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    for name in ("torchinfo", "torchsummaryX"):
        found = reasons(name, ring, torch.rand(1, 3, 8, 8))
        assert found and not [why for why in found.values() if "has no parameters" in why or "nothing in this" in why]
    for name in ("thop", "ultralytics-thop"):
        found = reasons(name, Never(), torch.rand(2, 8))
        assert not [why for why in found.values() if "no entry" in why]
    assert "no hook of its table is called for this" == reasons("thop", Never(), torch.rand(2, 8))["linear"]


def test_nothing_is_left_out_by_both_only_where_that_is_known() -> None:
    """At a site where a formula fails nobody knows what was left out."""
    failing = sample_run(extra={"thop": (Part("features.0.2", None, 5),)})
    few = assembled(
        Ledger(model="m", inputs=["1x3x8x8"], params=1, entries=failing.ledger.entries[:1]),
        [(tally_of(c, ledger), c) for c in CONVENTIONS[:2]
         for ledger in [Ledger(model="m", inputs=["1x3x8x8"], params=1, entries=failing.ledger.entries[:1])]],
    )  # fmt: skip
    pair = few.between(*(tally.name for tally in few.counted()))
    assert "There is no operation that both counters leave out." == pair_words.neither(pair, few)
    odd = assembled(
        ATTENTION, [seen_by("macs", "macs"), seen_by("0", "macs", extra=(Part("a", None, 3),), counter="b")]
    )
    said = pair_words.neither(odd.between(*(tally.name for tally in odd.counted())), odd)
    assert said.startswith("Where the formulas hold, there is no operation")


def layered(op: str, shape: str, spec: str = "m", samples: int = 12) -> Run:
    """A model whose first layer is of this kind."""
    move = Entry(site="", op="move", aten="aten.pad", calls=calls(outputs=4))
    first = Entry(site="a", op=op, aten=op, calls=calls(macs=4, outputs=4, samples=samples))
    return assembled(Ledger(model=spec, inputs=[shape], params=1, entries=[move, first]), [])


@pytest.mark.parametrize(
    ("run", "batch"),
    [
        (layered("recurrent", "12x4x8"), None),  # its batch may be second
        (layered("conv", "12x3x8x8"), 12),
        (layered("conv", "3x8x8", samples=1), None),  # without a batch
        (layered("linear", "12x8"), 12),
        (layered("linear", "12x4x8"), None),  # a sequence first, or samples
        (layered("attention", "12x4x8"), None),
        (layered("embedding", "12x4:int64"), None),
        (layered("embedding", "12x4:int64", "transformers:gpt2"), 12),
        (layered("conv", "[3x8x8]"), None),
    ],
)
def test_a_batch_is_said_where_there_is_one(run: Run, batch: int | None) -> None:
    """`(batch size 12)` was the length of a sequence."""
    assert batch == analysis.batch(run)
    assert (f"(batch size {batch})" in paper.paper_sentence(run, None)) == (batch is not None)


@pytest.mark.parametrize("command", [count_command.count, snapshot_command.snapshot])
def test_a_release_that_there_is_not_is_no_success(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """`count -c thop==9.9` printed no number and ended with 0, so that a job went on."""
    gone = Tally(counter="thop", release="9.9", distribution="thop", version=None, unit="MAC", status="unavailable",
                 reason="no release 9.9")  # fmt: skip
    run = replace(assembled(ATTENTION, [(gone, CONVENTIONS[0])]), asked=["thop==9.9"])
    for module in (count_command, snapshot_command):
        monkeypatch.setattr(module, "compared", lambda *_: Report(run))
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"form": Format.table} if command is count_command.count else {"out": tmp_path / "s.json"}
    with pytest.raises(typer.Exit) as ended:
        command(timeout=1.0, jobs=1, no_cache=False, quiet=False, **options)
    assert 1 == ended.value.exit_code
    assert [Loud] == list(map(type, words.left(run)))
