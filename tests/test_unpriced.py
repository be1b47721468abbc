"""An operation without a formula is unknown, never a zero: in every text, page, JSON, sentence and exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from documents import baseline
from msgspec.structs import replace
from sample_run import everywhere, small_history
from torch import Tensor, nn

from flopledger.counters.tally import Part
from flopledger.reference_model.ledger import MEANING, Unpriced
from flopledger.reference_model.running import trace
from flopledger.reports.budget import assert_macs
from flopledger.reports.command import count as count_command
from flopledger.reports.command import explain as explain_command
from flopledger.reports.command import ledger as ledger_command
from flopledger.reports.command import report as report_command
from flopledger.reports.command import snapshot as snapshot_command
from flopledger.reports.command.drift import drift as drift_command
from flopledger.reports.command.releases import releases as releases_command
from flopledger.reports.command.render import render as render_command
from flopledger.reports.compare import Report, compare
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.baseline import snapshot
from flopledger.reports.documents.reading import RunError, digest, encode
from flopledger.reports.documents.run import Run, decode
from flopledger.reports.drift import drift
from flopledger.reports.pages import analysis, coverage_words, drift_words, history_words, pair_words, paper, words
from flopledger.reports.pages.files import history_pages, pages
from flopledger.reports.pages.terminal import Format, shown
from flopledger.reports.verdict import wrong

NAME = "flopledger_unpriced.mystery"
AGAIN: dict[str, Any] = {"timeout": 1.0, "jobs": 1, "no_cache": False, "quiet": False}
FORMS = [Format.table, Format.markdown, Format.json]


@torch.library.custom_op("flopledger_unpriced::mystery", mutates_args=())
def mystery(x: Tensor, weight: Tensor) -> Tensor:
    """Somebody's kernel: a product, for all that anybody can know."""
    return x @ weight


@mystery.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


class Alone(nn.Module):
    """A kernel of one's own, and nothing else: what every counter calls 0."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        return mystery(x, self.kernel)


SOME = ["thop", "torch"]
ALONE = compare(Alone(), torch.rand(2, 4), counters=SOME).run
LARGER = nn.Sequential(nn.Linear(3, 4), Alone(), nn.Sequential(nn.Linear(8, 4), Alone()))
MIXED = compare(LARGER, torch.rand(2, 3), counters=SOME).run
RUNS = {"alone": ALONE, "mixed": MIXED}
HISTORY = replace(small_history(), unpriced={NAME: 1})
BOTH = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def honest(text: str) -> bool:
    """Whether a text names what is unpriced, and neither calls its zero a result nor tells anybody to use it."""
    plain = re.sub(r"\s+", " ", text.replace("\\", ""))
    forbidden = r"agree on 0\b|Nothing is left over: the|Use the ledger|(?<!at least )\b0 MACs in the ledger"
    return NAME in plain and not re.search(forbidden, plain)


def bounded(text: str) -> bool:
    """Whether it is honest, and says of the ledger's number that it is a bound."""
    return honest(text) and "at least" in text


def test_the_ledger_says_what_it_knows_of_it() -> None:
    """Calls, shapes and site are what somebody needs who wants to give it a price."""
    ledger = trace(nn.Sequential(Alone(), nn.Linear(8, 4), Alone()), (torch.rand(2, 4),))
    about = {"name": NAME, "calls": 1, "outputs": 16, "inputs": [[2, 4], [4, 8]], "output": [[2, 8]]}
    module = f"{__name__}.Alone"
    found = [replace(one, api="") for one in ledger.unpriced()]
    assert [Unpriced(site=site, module=module, **about) for site in ("0", "2")] == found  # type: ignore[arg-type]
    assert 64 == ledger.total("macs")
    frame = ledger.frame()
    assert [True, False, True] == list(frame["macs"].isna()) and {"Int64"} == {
        str(frame[n].dtype) for n in ("macs", "calls")
    }


@BOTH
def test_something_is_wrong_with_the_run(run: Run) -> None:
    """A CI job looks at the status alone."""
    assert wrong(run)
    assert not wrong(replace(run, ledger=replace(run.ledger, unpriced=[])))


@BOTH
def test_pages_name_it_first_and_say_at_least(run: Run) -> None:
    """Whoever reads one paragraph must not take the ledger's number for all there is."""
    files = pages(run)
    markdown, html = files["report.md"], files["report.html"]
    first = markdown.split("\n\n")[1]
    lead = html.split('<p class="lead">', 1)[1].split("</p>", 1)[0]
    for text in (first, lead, markdown, re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)):
        assert bounded(text)
    assert "UNPRICED" in first and "UNPRICED" in lead
    assert "2×4, 4×8 → 2×8" in first
    assert "without a formula" in files["totals.svg"]


def test_the_layer_table_does_not_know_it_either() -> None:
    """A row of zeros between rows of numbers reads as an operation that is free."""
    page = pages(MIXED)["report.md"]
    rows = [line for line in page.split("## Layer by layer")[1].split("\n## ")[0].splitlines() if "unpriced" in line]
    assert 2 == len(rows)
    assert all({"unknown", "–"} == {cell.strip() for cell in row.strip("|").split("|")[2:]} for row in rows)
    assert "at least 88" in page.split("## The ledger")[1]


@BOTH
def test_a_pair_says_that_it_is_in_neither(run: Run) -> None:
    """`Nothing is left over` is true of what the two counted, and of that alone."""
    found = run.between("thop", "torch")
    said = pair_words.leftover(found, run)
    assert said.endswith(f"{NAME}, which has no formula, is in neither total.")
    assert f"unpriced operation ({NAME};" in pair_words.neither(found, run)
    assert "alike for unpriced" not in words.same_measure(run) and NAME in words.same_measure(run)
    assert {"not counted"} == {text for row in [analysis.matrix(run)["unpriced"]] for (text,) in row.values()}


def test_a_counter_that_charged_something_there_is_not_said_to_have_left_it_out() -> None:
    """One that counts a kernel which the ledger cannot price knows more, or is wrong: nobody can tell."""
    site, more = "1", Part("1", "unpriced", 5)
    thop = MIXED.tally("thop")
    index = next(i for i, (entry, _) in enumerate(MIXED.rows) if (entry.site, entry.op) == (site, "unpriced"))
    rows = [(claim, 5 if i == index else amount) for i, (claim, amount) in enumerate(thop.rows)]
    seeing = replace(thop, rows=rows, total=(thop.total or 0) + 5, parts=[*thop.parts, more])
    run = replace(MIXED, tallies=[seeing, MIXED.tally("torch")])
    assert (False, True) == tuple(analysis.blind(run, tally) for tally in run.tallies)
    for text in (pair_words.leftover(run.between("thop", "torch"), run), words.headline(run), words.totals(run)):
        assert f"what thop charged for {NAME} is not known" in text


@BOTH
def test_no_number_is_for_a_paper(run: Run) -> None:
    """The number of the paper is the one that others will compare with."""
    assert bounded(paper.recommended(run) or "")
    for tally in (None, *run.counted()):
        assert bounded(paper.paper_sentence(run, tally))
        assert bounded(paper.paper_latex(run, tally))
        assert paper.LATEX_COLUMNS.count("&") == paper.paper_latex(run, tally).replace("\\&", "").count("&")


def test_coverage_is_of_at_least_so_many() -> None:
    """`100 %` of what has a formula is no 100 % of the model."""
    thop = MIXED.tally("thop")
    assert coverage(thop, MIXED.rows).total.at_least
    assert "100 % of at least 88" == coverage_words.seen(MIXED, thop)
    assert "unknown" == coverage_words.seen(ALONE, ALONE.tally("thop"))


@BOTH
def test_a_prompt_and_a_notebook_show_it(run: Run) -> None:
    """Most people see a report there, and nothing else of it."""
    report = Report(run)
    assert "UNPRICED" in repr(report) and honest(repr(report))
    assert honest(report._repr_html_()) and NAME in report._repr_html_()


# --- commands


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that every command takes for the one it has just counted."""
    found = RUNS[request.param]
    for command in (count_command, explain_command, ledger_command, report_command, snapshot_command):
        monkeypatch.setattr(command, "compared", lambda *_: Report(found))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_commands_that_count_name_it_and_exit_1(run: Run, form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    """What a terminal or a pipe gets is all that there is for whoever wrote no page."""
    for command in (
        lambda: count_command.count(form=form, **AGAIN),
        lambda: explain_command.explain("thop", "torch", form=form, **AGAIN),
        lambda: ledger_command.ledger(form=form, timeout=1.0, no_cache=False, quiet=False),
    ):
        with pytest.raises(typer.Exit) as left:
            command()
        assert 1 == left.value.exit_code
        said = capsys.readouterr().out
        if form is Format.json:
            answer = json.loads(said)
            found = answer.get("ledger", answer)
            assert {NAME} == {one["name"] for one in found["unpriced"]}
            assert found.get("at_least") or ("macs_at_least" in found and "macs" not in found)
        else:
            assert bounded(said)


def test_a_counter_without_a_number_does_not_hide_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks for two counters of which one fails still wants to know what has no formula."""
    run = replace(MIXED, tallies=[replace(tally, status="failed", total=None, reason="no") for tally in MIXED.tallies])
    monkeypatch.setattr(explain_command, "compared", lambda *_: Report(run))
    with pytest.raises(typer.Exit):
        explain_command.explain("thop", "torch", form=Format.table, **AGAIN)
    assert "UNPRICED" in (said := capsys.readouterr().err) and NAME in said


def test_commands_that_write_name_it_and_exit_1(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A page that nobody has opened yet, and a baseline that will be compared with for years."""
    for command in (
        lambda: report_command.report(out=tmp_path, **AGAIN),
        lambda: render_command(tmp_path / "run.json", out=tmp_path, quiet=False),
        lambda: snapshot_command.snapshot(out=tmp_path / "baseline.json", **AGAIN),
    ):
        with pytest.raises(typer.Exit) as left:
            command()
        assert 1 == left.value.exit_code
        printed = capsys.readouterr()
        assert bounded(printed.out + printed.err)
    assert {NAME} == json.loads((tmp_path / "baseline.json").read_text())["models"]["mobilenet_v2"]["unpriced"].keys()


@pytest.mark.parametrize("form", FORMS)
def test_a_history_names_it_and_exits_1(
    form: Format, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All of a counter's releases may leave the same kernel out, and each step between them is explained."""
    monkeypatch.setattr("flopledger.reports.history.history", lambda *_, **__: HISTORY)
    with pytest.raises(typer.Exit) as left:
        releases_command("thop", form=form, out=tmp_path, **AGAIN)
    assert 1 == left.value.exit_code
    assert honest(capsys.readouterr().out)
    for name, text in history_pages(HISTORY).items():
        assert name.endswith(".svg") or honest(text)
    assert wrong(HISTORY)
    explained = replace(HISTORY, changes=[], rows=HISTORY.rows[:1])
    assert wrong(explained) and not wrong(replace(explained, unpriced={}))
    assert "UNPRICED" in history_words.verdict(explained) and "no step to explain" in history_words.verdict(explained)


@pytest.mark.parametrize("form", FORMS)
def test_a_drift_names_it_and_guards_against_more(
    form: Format, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was unpriced in the baseline has been seen; what is new is not, though no counter's number moves."""
    with_it, without = snapshot(MIXED), replace(snapshot(MIXED), unpriced={})
    (tmp_path / "a.json").write_bytes(baseline(with_it))
    with pytest.raises(typer.Exit) as left:
        drift_command([str(tmp_path / "a.json")] * 2, form=form, **AGAIN)
    assert 0 == left.value.exit_code
    assert honest(capsys.readouterr().out)
    assert "not in the baseline" in shown(drift_words.blocks(drift(without, with_it)), width=400)
    assert wrong(drift(without, with_it)) and not wrong(drift(with_it, without))


# --- budgets and documents


def test_no_budget_can_be_promised() -> None:
    """A guard that lets a kernel of unknown size through guards nothing."""
    with pytest.raises(AssertionError, match=r"cannot be told\. UNPRICED: .*mystery"):
        assert_macs(Alone(), torch.rand(2, 4), at_most=10**9)
    with pytest.raises(AssertionError, match=r"takes at least 12 MACs, at least 11 over the budget of 1"):
        assert_macs(nn.Sequential(nn.Linear(3, 4), Alone()), torch.rand(1, 3), at_most=1)


def test_a_document_cannot_lose_it() -> None:
    """The field follows from the entries, so one without the other is no document."""
    document = json.loads(encode(MIXED))
    document.pop("digest")
    for changed in (
        [],
        document["ledger"]["unpriced"][1:],
        [{**one, "calls": 2} for one in document["ledger"]["unpriced"]],
    ):
        other = {**document, "ledger": {**document["ledger"], "unpriced": changed}}
        with pytest.raises(RunError, match="has no formula is not what its entries say"):
            decode(json.dumps({**other, "digest": digest(other)}).encode())
    assert MIXED == decode(encode(MIXED))


def test_its_name_is_somebodys_text() -> None:
    """An operator and an autograd.Function are called what their author likes."""
    text = "\x1b[31m<b>`x`|http://a.example"
    found = everywhere(MIXED, text)
    page = pages(found)
    assert all(line.isprintable() for line in page["report.md"].split("\n"))
    said = shown([words.unpriced(found), paper.recommended(found) or "", words.headline(found)])
    assert "\x1b" not in said and "\\x1b[31m<b>" in said
    first = page["report.md"].split("\n\n")[1]
    assert "<b>" not in first and "\\x1b" not in repr(first).replace("\\\\", "")


def test_every_sentence_beside_the_macs_is_of_a_quantity() -> None:
    """A renamed quantity would leave its sentence for ever unsaid."""
    assert words.BESIDE.keys() <= MEANING.keys()
    for name, text in words.BESIDE.items():
        run = replace(MIXED, ledger=replace(MIXED.ledger, totals={**MIXED.ledger.totals, name: 1234}))
        assert [f"{text.format('1,234')}."] == words.beside(run)
        assert "1,234" in pages(run)["report.md"].split("## The ledger")[1]
