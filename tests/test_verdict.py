"""One definition of "something is wrong", and how much of a model a counter saw."""

from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from documents import a_history
from msgspec.structs import replace
from sample_run import sample_run

from flopledger.counters.tally import Part
from flopledger.reports.compare import compare
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.baseline import snapshot
from flopledger.reports.documents.reading import encode
from flopledger.reports.documents.run import Run, decode
from flopledger.reports.drift import drift
from flopledger.reports.pages import history_words, words
from flopledger.reports.pages.blocks import Loud
from flopledger.reports.pages.drift_words import blocks
from flopledger.reports.pages.files import pages
from flopledger.reports.pages.terminal import shown
from flopledger.reports.verdict import wrong

LEFT_OVER = Part("features.0.0", None, 77)
COMMAND = Path(sys.executable).with_name("flopledger")
RUNS = {
    "all explained": (sample_run(), False),
    "a residual": (sample_run(extra={"thop": (LEFT_OVER,)}), True),
    "a large residual": (sample_run(extra={"thop": (Part("features.0.0", None, 77_000_000),)}), True),
    "errors that cancel": (sample_run(extra={"thop": (LEFT_OVER,), "torchsummaryX": (LEFT_OVER,)}), True),
    "one counter whose formulas fail": (sample_run(counters=1, extra={"thop": (LEFT_OVER,)}), True),
    "no number, not asked for": (sample_run(counters=1), False),
    "no number where one was asked for": (replace(sample_run(), asked=["thop", "fvcore"]), True),
    "numbers of all that were asked for": (replace(sample_run(), asked=["thop", "torchinfo"]), False),
    "no number at all": (sample_run(counters=0), True),
    "no counter at hand": (replace(sample_run(counters=0), tallies=[]), True),
    "no counter asked, by intent": (replace(sample_run(counters=0), tallies=[], asked=[]), False),
}


@pytest.mark.parametrize("name", RUNS)
def test_status_and_pages_say_the_same(name: str, tmp_path: Path) -> None:
    """A CI job looks at the status, a reader at the first paragraph; they must not disagree."""
    run, bad = RUNS[name]
    assert bad == wrong(run)
    document = tmp_path / "run.json"
    document.write_bytes(encode(run))
    done = subprocess.run([COMMAND, "render", document, "-o", tmp_path], capture_output=True, text=True)
    assert int(bad) == done.returncode, done.stderr
    said = words.anything_left(run)
    first = words.left(run)[0]
    markup = first_paragraph(run, "html")
    assert bad == (said in done.stderr)
    assert [bad] * 2 == [first_paragraph(run, "md").startswith(said), re.sub("<[^>]*>", "", markup).startswith(said)]
    assert isinstance(first, Loud) == ('class="alarm"' in markup)


def first_paragraph(run: Run, kind: str) -> str:
    page = pages(run)[f"report.{kind}"]
    if kind == "html":
        return page.split('<p class="lead">', 1)[1].split("</p>", 1)[0]
    return page.split("\n\n")[1].replace("\\", "").replace("**", "")


def test_what_was_wrong_and_still_is_has_not_drifted() -> None:
    """A baseline guards against change; whoever accepted a residual knows of it."""
    bad, good = (snapshot(RUNS[name][0]) for name in ("a residual", "all explained"))
    assert not wrong(drift(bad, bad))
    assert wrong(drift(good, bad))


def test_a_counter_that_calls_a_million_rounding_does_not_agree() -> None:
    """An aside was whatever a counter said it is, and its formulas agreed at every site with a million gone."""
    run = compare("mobilenet_v2?width_mult=0.1", "1x3x32x32", counters=["miniatures:CallsItRounding"]).run
    (tally,) = run.tallies
    assert (1_000_000, []) == (tally.unexplained, tally.asides)
    assert tally.verified.agree < tally.verified.sites
    assert "+1,000,000 of its total is rounding" in tally.warnings[0]
    assert wrong(run)
    assert "(+1,000,000, 95.8 % of its total; it says: " in words.anything_left(decode(encode(run)))


def test_a_drift_with_nothing_to_compare_is_wrong() -> None:
    """A guard that has no number to guard must not say that all is well, for years."""
    for run in (sample_run(counters=0), RUNS["no counter at hand"][0]):
        found = drift(snapshot(run), snapshot(run))
        assert wrong(found)
        assert not found.drifted
        said = shown(blocks(found))
        assert "NOTHING TO COMPARE: no counter has a number both then and now." in said
        assert "Nothing has drifted" not in said
    both = drift(snapshot(sample_run()), snapshot(sample_run()))
    assert not wrong(both)
    assert "no number, then and now" in shown(blocks(both))  # fvcore and ptflops


def test_a_history_says_how_little_it_checked() -> None:
    """`Every step is explained (0 checked)` is true of nothing at all, and sounds like success."""
    found = replace(a_history(), unpriced={})
    none = replace(found, changes=[], rows=[row for row in found.rows if row.total is None])
    one = replace(found, changes=[], rows=found.rows[:2])
    unchecked = replace(one, rows=[replace(row, sites=0, agree=0) for row in one.rows])
    said = [history_words.verdict(each) for each in (none, replace(none, rows=[]), one, unchecked)]
    assert [True, True, False, False] == [wrong(each) for each in (none, replace(none, rows=[]), one, unchecked)]
    assert [
        "NO NUMBER: no release counts this.",
        "NO NUMBER: there is no such release.",
        "One release counts this, so there is no step to explain; its formulas agree with what it reported at all of "
        "its sites (4 checked).",
        "Nothing was checked: this model has no operation.",
    ] == said


def test_coverage_is_what_was_charged_for_where_the_formulas_hold() -> None:
    """A total that leaves half of the model out is no small number; it is half a number."""
    run = sample_run()
    assert {Fraction(1)} == {coverage(tally, run.rows).total.share for tally in run.counted()}
    odd = sample_run(extra={"thop": (LEFT_OVER,)})
    seen = coverage(odd.tally("thop"), odd.rows)
    first = next(call.quantities["macs"] for entry, call in odd.rows if entry.site == "features.0.0")
    assert seen.total.of - first == seen.total.macs
    assert Fraction(1) == seen.ops["linear"].share
    blind = replace(run.tally("torchsummaryX"), rows=[(claim, 0) for claim, _ in run.tally("torchsummaryX").rows])
    assert 0 == coverage(blind, run.rows).total.share
    assert coverage(replace(blind, rows=[]), []).total.share is None
