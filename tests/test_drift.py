"""Baselines: what has moved, what is only newer, and what cannot be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from documents import baseline
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_run import sample_run
from test_history import publish

from flopledger.counters.engine.package_index import Listing, Release, newest
from flopledger.reports.documents.baseline import Pinned, Snapshot, decode, snapshot
from flopledger.reports.documents.reading import RunError, encode
from flopledger.reports.documents.run import ConventionLine
from flopledger.reports.drift import drift, moved
from flopledger.reports.moves import Row
from flopledger.reports.pages.drift_words import blocks
from flopledger.reports.pages.terminal import shown

COMMAND = str(Path(sys.executable).with_name("flopledger"))
BASE = snapshot(sample_run())
OPS = ["conv", "linear", "batch_norm", "rounding"]


def with_tally(index: int, **changes: object) -> Snapshot:
    """The baseline with one tally changed."""
    tallies = [replace(tally, **changes) if i == index else tally for i, tally in enumerate(BASE.tallies)]  # type: ignore[arg-type]
    return replace(BASE, tallies=tallies)


COUNTED = next(i for i, tally in enumerate(BASE.tallies) if tally.status == "counted")
TALLY = BASE.tallies[COUNTED]


def row(after: Snapshot, before: Snapshot = BASE) -> Row:
    return drift(before, after).rows[COUNTED]


def dearer(tally: Pinned = TALLY, by: int = 5) -> dict[str, object]:
    """The same tally with its first line `by` larger, by another formula."""
    first, *rest = tally.lines
    line = replace(first, count=first.count + by, formula="3·macs", because="it charges more")
    return {"lines": [line, *rest], "total": (tally.total or 0) + by, "version": "99"}


def test_nothing_moves_against_itself() -> None:
    """A guard that cries wolf is switched off."""
    found = drift(BASE, BASE)
    assert {"same"} == {row.mark for row in found.rows}
    assert not found.drifted
    assert "Nothing has drifted." in shown(blocks(found))


def test_a_new_release_with_the_same_numbers_is_no_drift() -> None:
    """Updating a library must be a quiet affair when it changes nothing."""
    found = drift(BASE, with_tally(COUNTED, version="99"))
    assert "new release, same numbers" == found.rows[COUNTED].mark
    assert not found.drifted


def test_what_moved_is_said_by_operation_and_formula() -> None:
    """Two numbers are a question; the lines are the answer."""
    found = row(with_tally(COUNTED, **dearer()))
    assert ("moved", 5, 0) == (found.mark, found.difference, found.residual)
    (line,) = found.lines
    assert (TALLY.lines[0].op, "3·macs", 5) == (line.op, line.after_formula, line.difference)
    said = shown(blocks(drift(BASE, with_tally(COUNTED, **dearer()))))
    assert "now: it charges more" in said
    assert "Something has drifted." in said


def test_amounts_that_cancel_are_still_drift() -> None:
    """The same total by other rules is another number."""
    assert len(TALLY.lines) > 1
    a, b, *rest = TALLY.lines
    lines = [replace(a, count=a.count + 5), replace(b, count=b.count - 5), *rest]
    found = row(with_tally(COUNTED, lines=lines))
    assert ("moved", 0, 0) == (found.mark, found.difference, found.residual)
    assert 2 == len(found.lines)


def test_what_no_formula_explains_is_in_the_residual() -> None:
    """A release that does something new must not be explained away."""
    found = row(with_tally(COUNTED, total=(TALLY.total or 0) + 9, unexplained=TALLY.unexplained + 9))
    assert ("moved", 9, 9, []) == (found.mark, found.difference, found.residual, found.lines)


def test_failing_and_counting_are_marks_of_their_own() -> None:
    """asv has them: a benchmark that stopped working is not a change of 100 %."""
    gone: dict[str, object] = {
        "status": "failed", "total": None, "reason": "KeyError", "lines": [], "unexplained": 0,
    }  # fmt: skip
    failing = with_tally(COUNTED, **gone)
    assert ("newly failing", "KeyError") == (row(failing).mark, row(failing).reason)
    assert "newly counting" == row(BASE, failing).mark
    assert "same" == row(failing, failing).mark
    assert drift(BASE, failing).drifted
    assert drift(failing, BASE).drifted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"source": "a"}, {"source": "b", "work": "b", "ledger": {"macs": 1}}),
        ({}, {"model": replace(BASE.model, inputs=["1x3x1x1"])}),
    ],
    ids=["our own ledger changed", "another input"],
)
def test_what_we_changed_ourselves_is_not_blamed_on_a_library(
    before: dict[str, object], after: dict[str, object]
) -> None:
    """Apples and pears: the number moved, but it was not the counter."""
    found = row(replace(with_tally(COUNTED, **dearer()), **after), replace(BASE, **before))
    assert "not comparable" == found.mark


def test_another_input_is_never_the_same() -> None:
    """torchsummaryX ignores the batch: its total is the same for one image and for four, and still not comparable."""
    other = replace(BASE, model=replace(BASE.model, inputs=["4x3x416x416"]))
    assert {"not comparable"} == {row.mark for row in drift(BASE, other).rows}


def test_a_changed_adapter_is_not_comparable_only_if_the_number_moved() -> None:
    """A comment in our own file is no reason to take every baseline again."""
    old, new = with_tally(COUNTED, adapter="old"), with_tally(COUNTED, adapter="new")
    assert "same" == row(new, old).mark
    assert "not comparable" == row(with_tally(COUNTED, adapter="new", **dearer()), old).mark


def test_a_model_that_changed_is_said_in_a_note() -> None:
    """In a test suite the usual reason for a new number is the author's own change."""
    found = drift(BASE, replace(BASE, work="b", ledger={**BASE.ledger, "macs": 1}))
    assert any("the model itself does other work" in note and "1 now" in note for note in found.notes)


def test_two_releases_of_one_counter_match_by_counter() -> None:
    """`thop==A` in one file and `thop==B` in the other are the question itself."""
    a, b = (replace(BASE, tallies=[replace(TALLY, release=release)]) for release in ("1", "2"))
    assert [("same", TALLY.counter)] == [(row.mark, row.counter) for row in drift(a, b).rows]
    two = replace(BASE, tallies=[replace(TALLY, release="3"), replace(TALLY, release="4")])
    assert ["gone", "new", "new"] == [row.mark for row in drift(a, two).rows]


LINES = st.lists(
    st.builds(
        ConventionLine,
        op=st.sampled_from(OPS),
        formula=st.sampled_from(["macs", "2·outputs", "0"]),
        because=st.sampled_from(["", "x", "y"]),
        source=st.just(""),
        when=st.sampled_from(["", "in Conv2d"]),
        count=st.integers(-(10**15), 10**15),
    ),
    max_size=6,
)


@given(LINES, LINES, st.integers(-99, 99), st.integers(-99, 99))
def test_lines_and_residual_always_add_up(
    old: list[ConventionLine], new: list[ConventionLine], old_rest: int, new_rest: int
) -> None:
    """Whatever the two sides charged, nothing is lost between them."""

    def pinned(lines: list[ConventionLine], rest: int) -> Snapshot:
        total = sum(line.count for line in lines) + rest
        return replace(BASE, tallies=[replace(TALLY, lines=lines, unexplained=rest, total=total)])

    (found,) = drift(pinned(old, old_rest), pinned(new, new_rest)).rows
    assert found.difference == sum(line.difference for line in found.lines) + found.residual
    assert all(line.after - line.before == line.difference != 0 for line in moved(old, new))


def test_a_snapshot_is_read_as_it_was_written() -> None:
    """It lies in somebody's repository for years."""
    assert {"net": BASE} == decode(baseline(BASE)).models
    assert {"mobilenet_v2": BASE} == decode(encode(sample_run())).models


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"format": 3}', b'{"format": 1, "kind": "history"}', b'{"format": 1, "kind": []}',
     baseline(with_tally(COUNTED, total=3)), baseline(replace(BASE, tallies=[TALLY, TALLY])), baseline(BASE)[:99]],
)  # fmt: skip
def test_what_is_no_baseline_is_refused(data: bytes) -> None:
    """A file that was cut off or edited must not pass for a baseline."""
    with pytest.raises(RunError):
        decode(data)


def test_it_is_small_enough_to_check_in() -> None:
    """A run document of seven counters is half a megabyte; nobody reviews that."""
    assert len(baseline(BASE)) < len(encode(sample_run())) / 5


LISTING = Listing(
    distribution="mini",
    asked="2026-01-01T00:00:00+00:00",
    releases=[
        Release(version="0.31", uploaded="2019"),
        Release(version="0.4", uploaded="2020"),
        Release(version="9", uploaded="2021", yanked="wrong"),
        Release(version="1.0rc1", uploaded="2022"),
    ],
)


@pytest.mark.parametrize(
    ("version", "newer"), [("0.31", "0.4"), ("0.4", None), ("1.0rc1", None), ("0.30", "0.4"), (None, None)]
)
def test_newer_means_uploaded_later(version: str | None, newer: str | None) -> None:
    """thop's 0.0.4 is newer than its 0.0.31; a yanked release and a candidate are nobody's update."""
    found = newest(LISTING, version)
    assert newer == (found.version if found else None)


# --- the commands


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_bytes(baseline(BASE))
    after.write_bytes(baseline(with_tally(COUNTED, **dearer())))
    return before, after


def test_drift_exits_1_and_prints_the_lines(files: tuple[Path, Path]) -> None:
    """The exit status is what a CI job looks at."""
    before, after = files
    same, other = run("drift", before, before), run("drift", before, after)
    assert (0, 1) == (same.returncode, other.returncode), same.stderr + other.stderr
    assert "3·macs" in other.stdout
    assert "residual" in other.stdout
    found = json.loads(run("drift", before, after, "--format", "json").stdout)
    assert ["moved"] == [row["mark"] for row in found["drifts"]["net"]["rows"] if row["mark"] != "same"]
    assert "\n- Now: 3·macs" in run("drift", before, after, "--format", "markdown").stdout


def test_a_baseline_is_taken_and_compared_with_today(tmp_path: Path) -> None:
    """The two commands as a user runs them, on miniatures."""
    done = run(
        "snapshot", "-i", "1x3x32x32", "-c", "miniatures:Honest", "-c", "torch", "-o", "base/line.json", cwd=tmp_path
    )
    assert 0 == done.returncode, done.stderr
    assert "wrote base/line.json" in done.stdout
    again = run("drift", "base/line.json", "--trust", cwd=tmp_path)
    assert 0 == again.returncode, again.stdout + again.stderr
    path = tmp_path / "base" / "line.json"
    (honest,) = decode(path.read_bytes()).models.values()
    liar = [replace(tally, counter=tally.counter.replace("Honest", "LiesAtOneSite")) for tally in honest.tallies]
    path.write_bytes(baseline(replace(honest, tallies=liar)))
    lied = run("drift", "base/line.json", "--trust", cwd=tmp_path)
    assert 1 == lied.returncode
    assert "+5" in lied.stdout


def test_a_baseline_without_a_number_is_not_written(tmp_path: Path) -> None:
    """It would take the place of one that guards something; and whoever has one is told that it guards nothing."""
    path = tmp_path / "base.json"
    asked = ("-i", "1x3x32x32", "-c", "miniatures:SaysItCannot", "-o", path)
    for before in (None, baseline(BASE)):
        if before:
            path.write_bytes(before)
        done = run("snapshot", *asked)
        assert (1, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr
        assert f"No number from miniatures:SaysItCannot. Nothing is written to {path}." in done.stderr
        assert before == (path.read_bytes() if path.exists() else None)
    assert "nothing is written" in " ".join(run("snapshot", "--help").stdout.split())
    path.write_bytes(baseline(replace(BASE, tallies=[])))
    done = run("drift", path, path)
    assert (1, "") == (done.returncode, done.stderr)
    assert "NOTHING TO COMPARE" in done.stdout
    done = run("releases", "--new", "--baseline", path)
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert "no counter has a number in" in done.stderr


def test_a_live_models_snapshot_cannot_be_counted_again(tmp_path: Path) -> None:
    """The plugin's files are of models that only the test can make."""
    (tmp_path / "net.json").write_bytes(baseline(replace(BASE, model=replace(BASE.model, spec="Net"))))
    done = run("drift", "net.json", cwd=tmp_path)
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert "net.json cannot be counted again" in done.stderr


@pytest.mark.parametrize("arguments", [("drift",), ("drift", "no.json"), ("drift", "."), ("snapshot", "-o", ".")])
def test_bad_files_are_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Never a traceback."""
    done = run(*arguments, cwd=tmp_path)
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr


def test_a_newer_release_is_found_run_and_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduled job: what would an update change?"""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    publish(tmp_path / "cache")
    mini = ("-c", "miniatures:Published==1.10", "-i", "1x3x32x32")
    assert 0 == run("snapshot", *mini, cwd=tmp_path).returncode
    # A budget that is broken is no release's doing.
    (tmp_path / "flopledger.toml").write_text(
        'counters = ["miniatures:Published==1.10"]\n[[models]]\nmodel = "mobilenet_v2"\ninputs = "1x3x32x32"\n'
        "budget = { macs = 1 }\n"
    )
    # Uploaded last is 1.0.1, which counts as 1.10 did.
    same = run("releases", "--new", "--trust", cwd=tmp_path)
    assert 0 == same.returncode, same.stderr
    assert "new release, same numbers" in same.stdout
    assert 1 == len(same.stderr.splitlines())  # the index cannot be reached: the list that is kept has to do
    listing = tmp_path / "cache" / "index" / "mini.json"
    listing.write_text(listing.read_text().replace('"1.0.1"', '"1.0.1.dev0"'))
    moved = run("releases", "--new", "--trust", cwd=tmp_path)
    assert 1 == moved.returncode
    assert "2·outputs" in moved.stdout
    assert "no newer" not in moved.stdout
    listing.write_text(listing.read_text().replace('"2.0"', '"2.0.dev0"'))
    none = run("releases", "--new", "--trust", "--format", "json", cwd=tmp_path)
    assert (0, ["no newer release than the baseline's"]) == (none.returncode, json.loads(none.stdout)["notes"])
