"""What objects show of themselves at a prompt and in a notebook: short, escaped, and with numbers that add up."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from documents import LEDGER, a_history, a_run
from msgspec.structs import replace
from sample_run import CONVENTIONS, HOSTILE, everywhere, hostile_run, sample_run, step_run, tally_of
from test_look import enlarged

from flopledger.reference_model.display import LINE, MOST
from flopledger.reports.compare import Report
from flopledger.reports.documents.baseline import snapshot
from flopledger.reports.drift import drift

SHOWN: dict[str, Callable[[], Any]] = {
    "Report": lambda: Report(sample_run()),
    "Reconciliation": lambda: sample_run().between("thop", "torchsummaryX"),
    "Run": sample_run,
    "TallyRecord": lambda: sample_run().tally("thop"),
    "Ledger": lambda: LEDGER,
    "Tally": lambda: tally_of(CONVENTIONS[0], LEDGER),
    "History": a_history,
    "Snapshot": lambda: snapshot(sample_run()),
    "Drift": lambda: drift(snapshot(sample_run()), snapshot(sample_run(64))),
}


class Cells(HTMLParser):
    """The tags of a piece of HTML, and the rows of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("td", "th") and self.rows:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("name", SHOWN)
def test_everything_that_one_displays_is_short(name: str) -> None:
    """A reconciliation was a wall of text, and two reports made a notebook of 4 MB."""
    found = SHOWN[name]()
    assert type(found).__name__ == name
    line = repr(found)
    assert line.startswith(f"<{name} ") and len(line) < 400 and line.isprintable()
    page = found._repr_html_()
    assert len(page) < 20_000 and page.count("<table") == page.count("</table>") >= 1
    for attribute in ("_repr_markdown_", "_repr_svg_", "_repr_png_"):  # a notebook keeps each of them
        assert not hasattr(found, attribute)


def integer(cell: str) -> int:
    return int(cell.replace(",", "").replace("−", "-"))


def test_a_reconciliation_is_its_table_and_adds_up() -> None:
    """Numbers that one pastes from a notebook have to be right there, too; a residual is among them."""
    for run in (sample_run(), step_run(), a_run()):
        for pair in run.pairs():
            rows = Cells(pair._repr_html_()).rows
            lines, total = rows[1:-1], rows[-1]
            assert "residual" == lines[-1][0] and "sum" == total[0]
            for column in (3, 4, 5):
                assert integer(total[column]) == sum(integer(row[column]) for row in lines)
            assert integer(total[5]) == pair.difference and integer(lines[-1][5]) == pair.residual
            assert [run.tally(pair.left).total, run.tally(pair.right).total] == [integer(n) for n in total[3:5]]
    assert "residual 0" in repr(sample_run().between("thop", "torchsummaryX"))
    assert "= +92,331,232: 2 lines, residual 0>" in repr(sample_run().between("thop", "torchsummaryX"))


def test_the_ledgers_table_adds_up() -> None:
    """And what is unpriced is no zero."""
    rows = Cells(LEDGER._repr_html_()).rows
    for column in (2, 4):
        assert integer(rows[-1][column]) == sum(integer(row[column]) for row in rows[1:-1])
    assert ["–"] == [row[3] for row in rows if row[0] == "unpriced"]
    assert "at least" in repr(LEDGER) and "UNPRICED: mylib.op" in repr(LEDGER)


def test_a_large_report_is_small_in_a_notebook() -> None:
    """Whatever the model and however many counters: less than 300 kB."""
    large = enlarged(sample_run(), 40, [f"counter-{n}" for n in range(90)])
    for run in (large, everywhere(hostile_run(), "x" * 5000)):
        for found in (Report(run), run, run.counted()[0], next(run.pairs()), snapshot(run)):
            assert len(found._repr_html_()) < 300_000 and len(repr(found)) < LINE + 30
    assert f"and {91 - MOST} more" in large._repr_html_()


def test_names_are_text() -> None:
    """A notebook runs what is HTML; whoever opens somebody's model would run it."""
    text = "".join(HOSTILE) + "<b onclick=x>\x1b[31m\u202e\x7f\u200b</p>"
    run = everywhere(sample_run(64), text)
    ledger = replace(
        LEDGER, model=text, inputs=[text], entries=[replace(e, op=text, site=text) for e in LEDGER.entries]
    )
    tally = everywhere(tally_of(CONVENTIONS[0], LEDGER), text)
    old = everywhere(snapshot(sample_run(64)), text)
    for found in (Report(run), run, run.counted()[0], next(run.pairs()), ledger, tally, everywhere(a_history(), text),
                  old, drift(old, old)):  # fmt: skip
        page = found._repr_html_()
        assert set(Cells(page).tags) <= {"p", "strong", "table", "thead", "tbody", "tfoot", "tr", "th", "td"}
        assert page.isprintable() and repr(found).isprintable()
        assert not re.search(r"\son\w+=(?![^<]*>)[^&]*>", page)
