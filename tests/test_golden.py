"""What every command prints at 80, 100 and 160 columns, as text that is kept, and read back.

The text is in `tests/golden/`. After a change that is meant, this writes it anew, for a diff to be looked at:

    FLOPLEDGER_GOLDEN=write python -m pytest tests/test_golden.py
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from documents import baseline
from golden_models import ATTENTIVE, FOLDER, MODELS, golden_run
from msgspec.structs import replace
from sample_run import CONVENTIONS, assembled, small_history, small_run, tally_of

from flopledger.counters import registry
from flopledger.counters.convention import Convention, rule
from flopledger.counters.engine import adapters
from flopledger.reference_model.ledger import Ledger
from flopledger.reports.command import (
    check,
    conventions,
    count,
    counters,
    drift,
    explain,
    identify,
    layers,
    ledger,
    published,
    releases,
    render,
    report,
    snapshot,
    statement,
    table,
)
from flopledger.reports.command.options import app
from flopledger.reports.compare import Report
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.baseline import snapshot as pinned
from flopledger.reports.documents.reading import encode
from flopledger.reports.documents.run import Run
from flopledger.reports.documents.table import Cell, Head, Row, Table
from flopledger.reports.identify.candidates import Departure, candidates, ranked
from flopledger.reports.identify.gaps import nearest
from flopledger.reports.identify.number import parse
from flopledger.reports.identify.published import Claim, Group, Verdict
from flopledger.reports.identify.releases import Epoch, Span
from flopledger.reports.identify.search import Identified
from flopledger.reports.identify.weighing import weighed
from flopledger.reports.pages import files, tree_words
from flopledger.reports.pages.terminal import Format, shown
from flopledger.reports.probing import Finding, Probed
from flopledger.reports.table import Tabulated

WIDTHS = (80, 100, 160)
UNBOUND = 5000  # columns: nothing is wrapped, left out or turned into records
HOW: dict[str, Any] = {"timeout": 1.0, "jobs": 1, "no_cache": False, "quiet": False}
OTHERS = "no model"


def printed(command: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """What a command writes to standard output, and its status where that is not 0."""
    out, status = io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            command(*arguments, **options)
        except typer.Exit as error:
            status = error.exit_code
    return out.getvalue() + (f"[exit status {status}]\n" if status else "")


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, int], str]:
    """All that the commands print of one of `MODELS`, or of none, at a width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Report, "save", lambda *_: [Path("out/report.html"), Path("out/run.json")])
    monkeypatch.setattr(files, "rendered", lambda *_: {"report.html": b""})

    def said(model: str, width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        if model == OTHERS:
            return "".join(_others(monkeypatch))
        run = golden_run(model)
        for command in (count, explain, layers, ledger, report, snapshot, statement):
            monkeypatch.setattr(command, "compared", lambda *_, run=run: Report(run))
        return "".join([*_of_a_model(model, run), *_of_a_number(model, run, monkeypatch)])

    return said


def _of_a_model(model: str, run: Run) -> Iterator[str]:
    yield "$ flopledger ledger\n" + printed(ledger.ledger, timeout=1.0, no_cache=False, quiet=False)
    yield "$ flopledger count\n" + printed(count.count, **HOW)
    for pair in (("thop", "torch_flop_counter"), ("attentive-counter", "torchsummaryX")):
        yield f"$ flopledger explain {' '.join(pair)}\n" + printed(explain.explain, *pair, **HOW)
    yield "$ flopledger layers --depth 3 -c …\n" + printed(layers.layers, depth=3, **HOW)
    yield "$ flopledger report\n" + printed(report.report, **HOW)
    yield "$ flopledger statement\n" + printed(statement.statement, **HOW)
    Path("old.json").write_bytes(baseline(pinned(_cheaper(run))))
    Path("new.json").write_bytes(baseline(pinned(run)))
    yield "$ flopledger snapshot\n" + printed(snapshot.snapshot, out=Path("baseline.json"), **HOW)
    yield "$ flopledger drift\n" + printed(drift.drift, ["old.json", "new.json"], **HOW)


def _of_a_number(model: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What prints the model's number under made-up conventions, and the same number as somebody published it."""
    found = _ledger(run)
    about = adapters.About(name="attentive-counter", distribution="attentive", unit="MAC", about="products")
    spans = [(CONVENTIONS[0], Span("0.1", "0.9.post2209072238", 31)), (ATTENTIVE, Span("", "1.2.0", None, 1))]
    epochs = [
        Epoch(counter=convention.counter, adapter=replace(about, name=convention.counter), modes=("eval",), span=span,
              version="0.9", current=convention is ATTENTIVE, convention=convention)
        for convention, span in spans
    ]  # fmt: skip
    scales = weighed(found, epochs)
    departures = (Departure(), Departure(("at 320×320, which is not its own input",), 7))

    def identified(text: str) -> Identified:
        printed_as = parse(text)
        ways = ranked([each for why in departures for each in candidates(printed_as, scales, why)])
        near = [] if ways else nearest(printed_as, scales)
        return Identified(printed=printed_as, asked=scales, found=ways, near=near, looked_at=[],
                          skipped=["at a batch of 2", "in a training step"])  # fmt: skip

    monkeypatch.setattr("flopledger.reports.identify.search.identify", lambda number, *_: identified(number.text))
    about_right, none = f"{scales.macs / 10**9:.2f}G", "7T"
    for number in (about_right, none):
        yield f"$ flopledger identify {number}\n" + printed(identify.identify, number, **HOW)
    claims = [
        Claim(name=model, spec=run.model.spec, input=run.model.inputs[0], number=number, label="GFLOPs",
              source=source, unexplained="a head that only training has")
        for number, source in ((about_right, "somebody/models@abc1234"), (none, "somebody-else/models@def5678"))
    ]  # fmt: skip
    best = identified(about_right).found[0]
    group = Group(name=model, claims=claims, why="the one is a forward, and the other a whole day of them")
    verdicts = [Verdict(claim=claims[0], macs=scales.macs, best=best),
                Verdict(claim=claims[1], macs=scales.macs, reason=claims[1].unexplained)]  # fmt: skip
    for name, answer in (("collected", list), ("torchvisions", lambda *_: []), ("chosen", lambda *_: [group]),
                         ("explained", lambda *_: [(group, verdicts)])):  # fmt: skip
        monkeypatch.setattr(f"flopledger.reports.identify.published.{name}", answer)
    yield "$ flopledger published\n" + printed(published.published, **HOW)


def _ledger(run: Run) -> Ledger:
    """A run's ledger by itself."""
    return Ledger(model=run.model.spec, inputs=run.model.inputs, params=run.model.params, entries=run.ledger.entries,
                  members=run.ledger.members)  # fmt: skip


def _cheaper(run: Run) -> Run:
    """The same run, in which two counters charged less than they do now, and one crashed."""
    found = _ledger(run)
    before = [replace(CONVENTIONS[0], rules=CONVENTIONS[0].rules[:1]), replace(ATTENTIVE, rules=ATTENTIVE.rules[:1])]
    return assembled(found, [(tally_of(convention, found), convention) for convention in (*before, CONVENTIONS[3])])


def _others(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    about = adapters.About(name="attentive-counter", distribution="attentive", unit="MAC",
                           about="products, wherever they are, and one operation per element of a norm")  # fmt: skip
    absent = replace(about, name="other", distribution="other-counter", unit="FLOP", about="what nobody else counts")
    for room, name, answer in (
        (registry, "names", lambda: ["attentive-counter", "other"]), (registry, "left_out", dict),
        (registry, "version_of", lambda name: "2.1.0.post20260102" if name == "attentive" else None),
        (registry, "remedy", lambda adapter: f"pip install {adapter.distribution}"),
        (adapters, "about", lambda name: about if name == "attentive-counter" else absent),
        (adapters, "claimed", lambda *_: ATTENTIVE),
    ):  # fmt: skip
        monkeypatch.setattr(room, name, answer)
    yield "$ flopledger counters\n" + printed(counters.counters)
    yield "$ flopledger conventions attentive-counter\n" + printed(conventions.conventions, ["attentive-counter"])
    later = Convention(
        ATTENTIVE.counter, (*ATTENTIVE.rules, rule("pool", "inputs", "a sum", "attentive/counter.py:31"))
    )
    monkeypatch.setattr(adapters, "claimed", lambda _, version: ATTENTIVE if version == "1.0" else later)
    both = ["attentive-counter==1.0", "attentive-counter==2.0"]
    yield f"$ flopledger conventions {' '.join(both)}\n" + printed(conventions.conventions, both)
    monkeypatch.setattr("flopledger.reports.history.history", lambda *_, **__: small_history())
    yield "$ flopledger releases thop\n" + printed(releases.releases, "thop", **HOW)
    findings = [
        Finding(probe="conv2d", site="", ops=["conv"], holds=True, formulas=["macs"], claimed=864, reported=864),
        Finding(probe="attention", site="inner.attention", ops=["attention"], holds=False, formulas=["macs"],
                claimed=1_204_224, reported=602_112, reads=["1/2·macs", "6·queries + 3·scores"]),
    ]  # fmt: skip
    probed = Probed(counter="attentive-counter", version="2.1.0", findings=findings,
                    silent={"lstm": "RuntimeError: no number for a recurrent layer (attentive/counter.py:7)"},
                    idle=[ATTENTIVE.rules[1]])  # fmt: skip
    monkeypatch.setattr("flopledger.reports.probing.probed", lambda *_, **__: probed)
    yield "$ flopledger check attentive-counter\n" + printed(check.check, "attentive-counter", **HOW)
    monkeypatch.setattr("flopledger.reports.table.table", lambda *_, **__: Tabulated(_many()))
    yield "$ flopledger table …\n" + printed(table.table, list(MODELS), **HOW)
    Path("run.json").write_bytes(encode(golden_run("llama")))
    yield "$ flopledger render run.json\n" + printed(render.render, Path("run.json"), out=Path("out"))


def _many() -> Table:
    runs = [golden_run(model) for model in MODELS]
    return Table(
        flopledger="0.1.0",
        counters=[tally.name for tally in runs[0].tallies],
        asked=True,
        rows=[
            Row(name=run.model.spec, model=run.model.spec, mode="eval",
                ledger=Head(macs=run.ledger.totals["macs"], params=run.model.params, inputs=run.model.inputs,
                            device="meta"),
                cells=[Cell(counter=t.name, version=t.version, unit=t.unit, status=t.status, reason=t.reason,
                            total=t.total, params=t.params, places=t.verified.sites,
                            seen=coverage(t, run.rows).total if t.total else None) for t in run.tallies])
            for run in runs
        ],
    )  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("model", [*MODELS, OTHERS])
def test_what_the_commands_print_is_as_it_was(says: Callable[[str, int], str], model: str, width: int) -> None:
    """Whoever changes a sentence or a column sees all that it does; and that nothing else has changed."""
    kept, now = FOLDER / f"{model.replace(' ', '_')}-{width}.txt", says(model, width)
    if os.environ.get("FLOPLEDGER_GOLDEN") == "write":
        kept.write_text(now)
    assert kept.read_text() == now, "if this is meant: FLOPLEDGER_GOLDEN=write python -m pytest tests/test_golden.py"


@pytest.mark.parametrize("model", [*MODELS, OTHERS])
def test_no_word_is_broken_and_no_number_cropped(says: Callable[[str, int], str], model: str) -> None:
    """Half a number is another number. Every word is one of those that are printed where there is room for all."""
    whole = set(re.split(r"[\s─]+", says(model, UNBOUND)))
    for width in WIDTHS:
        text = (FOLDER / f"{model.replace(' ', '_')}-{width}.txt").read_text()
        said = re.sub(r"\(left out at a width .*?\)\n\n", "", text, flags=re.DOTALL)
        words = {word for word in re.split(r"[\s─]+", said) if word.removesuffix(":") not in whole}
        assert set() == words - whole
        laid_out = re.sub(r"^\{\n.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)  # less what is to be copied
        for line in laid_out.splitlines():
            assert len(line) <= width or len(line.split()) == 1, line
        for number in re.findall(r"(?<![\w.])\d[\d,]*,\d+", laid_out):
            assert re.fullmatch(r"\d{1,3}(,\d{3})*", number), number


@pytest.mark.parametrize("command", ["", *(each.callback.__name__ for each in app.registered_commands)])
def test_help_is_whole_at_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of commands is the first page of the manual, and its sentences ended in the middle."""
    monkeypatch.setenv("COLUMNS", "80")
    said = printed(app, [*([command] if command else []), "--help"], standalone_mode=False, prog_name="flopledger")
    assert max(map(len, said.splitlines())) <= 80
    assert command or not re.search(r"\w\.\.\.", said)


# --- read back


class Read(NamedTuple):
    """A table as it is printed: its headings, and its rows as cells, each as the line where it begins."""

    heads: list[str]
    rows: list[list[str]]

    def column(self, i: int) -> list[int | None]:
        """The amounts in a column; None where there is none."""
        return [amount(row[i]) for row in self.rows]


def amount(cell: str) -> int | None:
    found = re.fullmatch(r"(?:≠ |at least )?([+−]?)(\d{1,3}(?:,\d{3})*)", cell.strip())
    return int(found[1].replace("−", "-") + found[2].replace(",", "")) if found else None


def tables(text: str) -> list[Read]:
    """Every table in a text, by the dashes that stand under the headings."""
    lines, found = text.splitlines(), []
    for i, line in enumerate(lines):
        if not re.fullmatch(r"─+(  ─+)*", line):
            continue
        spans = [match.span() for match in re.finditer("─+", line)]

        def cells(line: str, spans: list[tuple[int, int]] = spans) -> list[str]:
            return [line[start : end if at < len(spans) - 1 else None] for at, (start, end) in enumerate(spans)]

        top = i
        while top and lines[top - 1] and not lines[top - 1].startswith("$"):
            top -= 1
        heads = [" ".join(part.strip() for part in parts if part.strip()) for parts in
                 zip(*(cells(lines[at]) for at in range(top, i)), strict=True)]  # fmt: skip
        rows = []
        for row in lines[i + 1 :]:
            if not row or row.startswith("(left out at"):
                break
            rows.append(cells(row))
        found.append(Read(heads, rows))
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("model", MODELS)
def test_the_tables_add_up_as_they_are_printed(model: str, width: int) -> None:
    """A golden text that is written anew with a wrong sum must not pass, and nobody reads it to the last digit."""
    run, summed = golden_run(model), 0
    for name, text in re.findall(r"^\$ flopledger (\w+)[^\n]*\n(.*?)(?=^\$|\Z)", (
        FOLDER / f"{model}-{width}.txt").read_text(), re.MULTILINE | re.DOTALL):  # fmt: skip
        for read in tables(text):
            if read.rows[-1][0].strip() == "sum":
                for i, head in enumerate(read.heads[1:], 1):
                    *parts, whole = read.column(i)
                    if whole is not None:
                        assert whole == sum(part or 0 for part in parts), (name, head)
                        summed += 1
            elif read.heads[0] == "module":
                summed += _adds_up(read, run)
    assert summed > 12


def _adds_up(tree: Read, run: Run) -> int:
    """Whether each module is the sum of those that are one step further in, and the root that of the run."""
    steps = [(len(row[0]) - len(row[0].lstrip())) // 2 for row in tree.rows]
    amounts = {head: tree.column(i) for i, head in enumerate(tree.heads) if head not in ("class", "output", "share")}
    checked = 0
    for head, found in list(amounts.items())[1:]:
        if head == "inside":
            continue
        name = head.rpartition(" (")[0]
        total = {"parameters": run.model.params, "MACs": run.ledger.totals["macs"]}.get(head)
        assert found[0] == (run.tally(name).total if total is None else total)
        for i, step in enumerate(steps):
            end = next((j for j in range(i + 1, len(steps)) if steps[j] <= step), len(steps))
            inside = [found[j] for j in range(i + 1, end) if steps[j] == step + 1]
            if inside:
                assert found[i] == sum(value or 0 for value in inside), (head, tree.rows[i][0])
                checked += 1
    return checked


# --- the tree for programs and to paste


@pytest.mark.parametrize("model", MODELS)
def test_layers_as_json_add_up_at_every_level(says: Callable[[str, int], str], model: str) -> None:
    """A program gets the same tree: whole numbers, each counter's own, and no column of words."""
    says(model, 80)
    found = json.loads(printed(layers.layers, depth=2, form=Format.json, **HOW).partition("\n[exit")[0])
    run, rows = golden_run(model), found["rows"]
    names = [tally.name for tally in run.counted()]
    assert names == [counter["counter"] for counter in found["counters"]]
    assert ["crashing"] == list(found["without_number"])
    assert {"params": run.model.params, "macs": run.ledger.totals["macs"]} == {
        k: rows[0][k] for k in ("params", "macs")
    }
    assert {tally.name: tally.total for tally in run.counted()} == rows[0]["counts"]
    for i, row in enumerate(rows):
        end = next((j for j in range(i + 1, len(rows)) if rows[j]["depth"] <= row["depth"]), len(rows))
        inside = [each for each in rows[i + 1 : end] if each["depth"] == row["depth"] + 1]
        if inside:
            for amount in ("params", "macs"):
                assert row[amount] == sum(each[amount] for each in inside)
            assert row["counts"] == {name: sum(each["counts"][name] for each in inside) for name in names}
        assert (row["counts"]["torch_flop_counter"] != 2 * row["macs"]) == ("torch_flop_counter" in row["differ"])
        assert row["inside"] == 0 or 2 == row["depth"]


def test_layers_to_paste_name_modules_by_their_path(says: Callable[[str, int], str]) -> None:
    """In a Markdown table nothing stands further in, so a bare `0` would be any of many."""
    says("llama", 80)
    pasted = printed(layers.layers, depth=3, form=Format.markdown, **HOW)
    row = next(line for line in pasted.splitlines() if line.startswith(r"| model.layers.0 "))
    assert ["model.layers.0", "LlamaDecoderLayer", "12", "1×128×256", "692,736"] == row.strip("| ").split(" | ")[:5]


def test_an_unpriced_operation_makes_at_least_of_all_that_holds_it() -> None:
    """The sum of what is known is not the sum."""
    run = small_run()
    said = shown(tree_words.blocks(run, None), 200)
    assert re.search(r"^small .* at least 884,736 ", said, re.MULTILINE)
    assert re.search(r"^  kernel .* at least 0 ", said, re.MULTILINE)
    assert "UNPRICED: mylib.op" in said
