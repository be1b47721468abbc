"""Histories: every published release in order of upload, a reason for each step, and nothing lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from browsing import logs, wait
from records import installed, seal

from flopledger.counters.engine import kept as results
from flopledger.counters.engine import overlays as releases
from flopledger.counters.engine import supervisor
from flopledger.counters.engine.package_index import Listing, Release
from flopledger.reports.documents.history import History, check
from flopledger.reports.documents.reading import RunError
from flopledger.reports.history import chosen, history
from flopledger.reports.pages import files, html
from flopledger.reports.pages.files import history_files, read, rendered
from flopledger.reports.pages.history_words import blocks, headline, reasons, verdict
from flopledger.reports.pages.terminal import shown
from flopledger.reports.verdict import wrong

MINI = "miniatures:Published"
SMALL = ["1x3x32x32"]
# version, upload, what one output costs, parameters, and what runs before it counts
PUBLISHED = (
    ("0.9", "2019-01-01T00:00:00", None, ""),  # an egg
    ("1.0", "2020-01-01T00:00:00", 1, ""),
    ("1.10", "2020-03-01T00:00:00", 1, ""),
    ("1.9", "2020-02-01T00:00:00", 1, "raise AttributeError('broken since birth')"),  # uploaded before 1.10
    ("2.0", "2021-06-01T00:00:00", 2, ""),
    ("1.0.1", "2021-07-01T00:00:00", 1, ""),  # a fix for the old line, uploaded later
)


def publish(cache: Path, asked: datetime | None = None) -> None:
    """Fill a cache with what installing and asking the index would have left there."""
    found = []
    for version, uploaded, each, before in PUBLISHED:
        obstacle = None if each else "published as an egg only, which pip does not install"
        found.append(Release(version=version, uploaded=uploaded, obstacle=obstacle))
        if each:
            overlay(cache, version, each, before)
    when = (asked or datetime.now(UTC)).isoformat(timespec="seconds")
    listing = Listing(distribution="mini", asked=when, releases=sorted(found, key=lambda r: r.uploaded))
    (cache / "index").mkdir(parents=True)
    (cache / "index" / "mini.json").write_bytes(msgspec.json.encode(listing))


def overlay(cache: Path, version: str, each: int, before: str) -> None:
    module = f"PER_OUTPUT, PARAMS = {each}, 7\n\n\ndef before_counting():\n    {before or 'pass'}\n"
    installed(cache / "overlays" / f"mini-{version}", "mini", version, {"mini.py": module})


def change(module: Path, before: str, after: str) -> None:
    """Another release than was published, not a damaged one."""
    module.write_text(module.read_text().replace(before, after))
    seal(module.parent)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and no index within reach."""
    place = tmp_path / "cache"
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(place))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    publish(place)
    return place


def test_the_history_is_in_order_of_upload_and_every_step_has_its_reason(cache: Path) -> None:
    """A table of numbers without the reasons is what already existed."""
    found = history(MINI, "mobilenet_v2", SMALL)
    assert ["0.9", "1.0", "1.9", "1.10", "2.0", "1.0.1"] == [row.release for row in found.rows]
    assert ["unavailable", "counted", "failed", "counted", "counted", "counted"] == [row.status for row in found.rows]
    assert "egg" in str(found.rows[0].reason)
    assert "AttributeError: broken since birth (mini.py:5)" == found.rows[2].reason
    one = found.rows[1].total
    assert one
    assert [one, one, 2 * one, one] == [row.total for row in found.counted]
    assert [None, 0, one, -one] == [row.moved for row in found.counted]
    assert [("1.10", "2.0"), ("2.0", "1.0.1")] == [(c.before, c.after) for c in found.changes]
    up = found.changes[0].reconciliation
    assert (one, 0) == (up.difference, up.residual)
    assert {("conv", "outputs", "2·outputs"), ("linear", "outputs", "2·outputs")} == {
        (line.op, line.right_formula, line.left_formula) for line in up.lines
    }
    assert all(row.sites == row.agree for row in found.counted)
    assert not wrong(found)
    said = shown(blocks(found))
    assert "two per output since 2.0" in said
    assert "Every step is explained" in said


def test_what_is_finished_is_not_counted_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call must be immediate: no process is started for it."""
    first = history(MINI, "mobilenet_v2", SMALL)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a job was started")

    monkeypatch.setattr(supervisor, "_started", never)
    second = history(MINI, "mobilenet_v2", SMALL)
    assert first.rows == second.rows
    assert first.changes == second.changes
    with pytest.raises(AssertionError, match="a job was started"):
        history(MINI, "mobilenet_v2", ["1x3x33x33"])


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("flopledger")), "releases", MINI, "-i", SMALL[0], *arguments]


def finished(cache: Path) -> set[str]:
    return {path.name.partition("==")[2].rpartition("-")[0] for path in (cache / "results").glob(f"{MINI}==*")}


def test_a_killed_command_loses_nothing_and_goes_on(cache: Path) -> None:
    """Fifty releases take minutes; a laptop that is closed must not cost them again."""
    slow = cache / "overlays" / "mini-1.0.1" / "mini.py"
    change(slow, "pass", "import time; time.sleep(60)")
    process = subprocess.Popen(command("-j", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and finished(cache) < {"1.0", "1.9", "1.10", "2.0"}:
        time.sleep(0.1)
    assert {"1.0", "1.9", "1.10", "2.0"} == finished(cache)
    process.send_signal(signal.SIGKILL)
    process.wait()
    change(slow, "time.sleep(60)", "pass")
    kept = {path.name: path.stat().st_mtime_ns for path in (cache / "results").iterdir()}
    done = subprocess.run([*command(), "--format", "json"], capture_output=True, text=True, check=True)
    assert 4 == sum(row["status"] == "counted" for row in json.loads(done.stdout)["rows"])
    assert {"1.0", "1.9", "1.10", "2.0", "1.0.1"} == finished(cache)
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in (cache / "results").iterdir()}.items()


def test_an_interrupted_command_says_that_it_goes_on(cache: Path) -> None:
    """Ctrl-C after minutes of work must not look like a loss."""
    for path in (cache / "overlays").glob("*/mini.py"):
        change(path, "pass", "import time; time.sleep(60)")
    process = subprocess.Popen(command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (130, 1) == (process.returncode, len(said.splitlines())), said
    assert "goes on" in said


def test_two_at_once_do_not_disturb_each_other(cache: Path) -> None:
    """Two terminals, one cache."""
    found: list[History] = []
    threads = [threading.Thread(target=lambda: found.append(history(MINI, "mobilenet_v2", SMALL))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0].rows == found[1].rows
    assert 4 == len(found[0].counted)


def test_without_a_network_what_is_there_still_shows(cache: Path) -> None:
    """On a train everything that was counted, or installed, is as good as ever."""
    whole = history(MINI, "mobilenet_v2", SMALL)
    index = cache / "index" / "mini.json"
    index.write_bytes(index.read_bytes().replace(b'"asked":"20', b'"asked":"19'))  # long ago: it is asked again
    releases.shutil.rmtree(cache / "overlays" / "mini-2.0")
    said: list[str] = []
    later = history(MINI, "mobilenet_v2", SMALL, on_trouble=said.append)
    assert whole.rows == later.rows
    assert 1 == len(said)
    assert "cannot ask the package index" in said[0]
    other = history(MINI, "mobilenet_v2", ["1x3x64x64"], on_trouble=said.append)
    (row,) = [row for row in other.rows if row.release == "2.0"]
    assert ("unavailable", "not installed here yet, and the package index cannot be reached") == (
        row.status, row.reason)  # fmt: skip
    assert 3 == len(other.counted)


def test_without_a_network_and_without_a_list_it_is_one_line(cache: Path) -> None:
    """There is nothing to show then, and no traceback either."""
    (cache / "index" / "mini.json").unlink()
    done = subprocess.run(command(), capture_output=True, text=True)
    assert (2, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert "flopledger: cannot ask the package index for the releases of mini: Connection refused" == line


def test_a_full_disk_is_one_line_and_the_numbers_still_come(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that cannot be kept is still a result."""

    def full(*_: object) -> None:
        raise releases.Unreachable("cannot write to /cache: No space left on device")

    monkeypatch.setattr(results, "write_file", full)
    said: list[str] = []
    found = history(MINI, "mobilenet_v2", SMALL, on_trouble=said.append)
    assert 4 == len(found.counted)
    assert ["results are not kept: cannot write to /cache: No space left on device"] == said


def test_a_damaged_result_is_counted_again(cache: Path) -> None:
    """A disk that lost power leaves all kinds of files."""
    whole = history(MINI, "mobilenet_v2", SMALL)
    for path in (cache / "results").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert whole.rows == history(MINI, "mobilenet_v2", SMALL).rows


@pytest.mark.alone
def test_a_timeout_is_not_kept(cache: Path) -> None:
    """A machine that was busy for once must not brand a release for ever."""
    slow = cache / "overlays" / "mini-2.0" / "mini.py"
    change(slow, "pass", "import time; time.sleep(60)")
    found = history(MINI, "mobilenet_v2", SMALL, timeout=8)
    assert ["timeout"] == [row.status for row in found.rows if row.release == "2.0"]
    change(slow, "import time; time.sleep(60)", "pass")
    assert 4 == len(history(MINI, "mobilenet_v2", SMALL).counted)


# --- which releases


LISTING = Listing(
    distribution="mini",
    asked="2026-01-01T00:00:00+00:00",
    releases=[Release(version=v, uploaded=f"20{y}-05-06T07:08:09") for v, y in (("2", 19), ("1", 20), ("3", 21))],
)


@pytest.mark.parametrize(
    ("since", "last", "versions"),
    [
        (None, None, ["2", "1", "3"]),
        (None, 2, ["1", "3"]),
        ("1", None, ["1", "3"]),
        ("2020", None, ["1", "3"]),
        ("2020-05-07", None, ["3"]),
        ("2019-05", 1, ["3"]),
        ("2030", None, []),
    ],
)
def test_since_and_last_choose_by_time_of_upload(since: str | None, last: int | None, versions: list[str]) -> None:
    """PEP 440 puts thop's 0.0.4 before 0.0.31, which is older."""
    assert versions == [release.version for release in chosen(LISTING, since, last)]


def test_since_what_is_neither_date_nor_release_is_said() -> None:
    """An empty table would look like a counter without releases."""
    with pytest.raises(ValueError, match="neither a date like 2021-10 nor a release of mini"):
        chosen(LISTING, "yesterday", None)


# --- pages


@pytest.fixture
def found(cache: Path) -> History:
    return history(MINI, "mobilenet_v2", SMALL)


def test_the_pages_are_rendered_again_from_the_document(found: History, tmp_path: Path) -> None:
    """Rendering never counts, and gives the same bytes."""
    files = history_files(found)
    assert {"releases-miniatures_Published." + end for end in ("md", "html", "svg", "json")} == set(files)
    assert files == rendered(read(files["releases-miniatures_Published.json"]))


def test_a_history_that_was_changed_by_hand_is_refused(found: History) -> None:
    """A page must not say what does not add up."""
    change = found.changes[0]
    wrong = msgspec.structs.replace(change.reconciliation, difference=1)
    for bad in (
        msgspec.structs.replace(found, changes=[msgspec.structs.replace(change, reconciliation=wrong)]),
        msgspec.structs.replace(found, rows=[msgspec.structs.replace(r, moved=5) for r in found.rows]),
    ):
        with pytest.raises(RunError):
            check(bad)


def test_the_markdown_has_a_row_for_every_release_and_the_lines_of_every_step(found: History) -> None:
    """What the table says in numbers is what the document holds."""
    page = files.text(found)
    for row in found.rows:
        assert f"| {row.release} | {row.uploaded[:10]} |" in page
    assert 2 == page.count("| outputs | 2·outputs |") == page.count("| 2·outputs | outputs |")


def test_many_lines_of_one_rule_are_one_sentence(found: History) -> None:
    """Old torchinfo charges by a coefficient of each site's own: forty lines, four reasons."""
    change = found.changes[0]
    conv = next(line for line in change.reconciliation.lines if line.op == "conv")
    lines = [msgspec.structs.replace(conv, left_formula=f"{n}·outputs", difference=n, sites=1) for n in (2, 3, 4)]
    many = msgspec.structs.replace(change, reconciliation=msgspec.structs.replace(change.reconciliation, lines=lines))
    total, reason = reasons(many)
    assert "in all: convolution +9" == total
    assert reason.startswith(
        "convolution at 3 sites, +9: outputs (one per output; mini.py:1 PER_OUTPUT) before, 3 formulas"
    )


def test_a_residual_is_said_before_anything_else(found: History) -> None:
    """A release whose formulas fail must not hide in a table of two hundred rows."""
    rows = [msgspec.structs.replace(row, agree=row.sites - 1) if row.total else row for row in found.rows]
    bad = msgspec.structs.replace(found, rows=rows)
    assert wrong(bad)
    assert verdict(bad).startswith("The residuals are 0. Formulas fail at sites of 1.0 (1 of")
    assert files.text(bad).index("Formulas fail") < files.text(bad).index("## ")
    assert "alarm" in html.history(bad)


def test_hostile_names_stay_text(found: History) -> None:
    """Reasons come from other people's code, releases from an index."""
    evil = "<script>alert(1)</script>|`\n# x"
    rows = [msgspec.structs.replace(row, reason=evil, release=evil, warnings=[evil]) for row in found.rows]
    bad = msgspec.structs.replace(found, rows=rows, changes=[], model=msgspec.structs.replace(found.model, spec=evil))
    page, text = html.history(bad), files.text(bad)
    assert "<script>alert" not in page
    assert "<script>alert" not in text
    assert "\n# x" not in text
    assert "alert" in headline(bad)


def test_a_history_without_a_number_is_a_page_too(found: History) -> None:
    """Every release may fail on an odd model."""
    rows = [msgspec.structs.replace(row, total=None, status="failed", moved=None) for row in found.rows]
    none = msgspec.structs.replace(found, rows=rows, changes=[])
    assert {"releases-miniatures_Published." + end for end in ("md", "html", "json")} == set(history_files(none))
    assert "0 of 6 releases count" in headline(none)


def test_the_page_draws_itself_offline_and_fits_a_phone(browser: Any, found: History, tmp_path: Path) -> None:
    """The chart is drawn by the page's own scripts, nothing is fetched, and wide tables scroll in their box."""
    evil = "<img src=x onerror='window.broken = 1'>" * 9
    rows = [msgspec.structs.replace(row, warnings=[evil]) for row in found.rows]
    for name, content in history_files(msgspec.structs.replace(found, rows=rows)).items():
        (tmp_path / name).write_bytes(content)
    page = (tmp_path / "releases-miniatures_Published.html").as_uri()
    logs(browser)
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(page)
        wait(browser, "return !document.getElementById('theme').hidden")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
        assert browser.execute_script("return window.broken === undefined")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert ([], [page]) == logs(browser)
    text = browser.find_element("tag name", "body").text
    assert "two per output since 2.0" in text
    assert all(row.release in text for row in found.rows)


# --- the command


def test_the_command_writes_its_pages_and_says_so_on_stderr(cache: Path, tmp_path: Path) -> None:
    """Standard output is for the table, or for a machine."""
    done = subprocess.run([*command("-o", str(tmp_path / "out")), "--format", "json"], capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    assert MINI == json.loads(done.stdout)["counter"]
    assert 4 == done.stderr.count("wrote ")
    table = subprocess.run(command("--last", "2"), capture_output=True, text=True, env={**os.environ, "COLUMNS": "140"})
    assert "2.0" in table.stdout
    assert "1.10" not in table.stdout


def test_quiet_is_quiet_about_the_index_too(cache: Path) -> None:
    """`-q` promises no notes; the rows that are missing still say why."""
    index = cache / "index" / "mini.json"
    index.write_bytes(index.read_bytes().replace(b'"asked":"20', b'"asked":"19'))
    loud, quiet = (subprocess.run(command(*more), capture_output=True, text=True) for more in ([], ["-q"]))
    assert (1, "") == (len(loud.stderr.splitlines()), quiet.stderr)
    assert loud.stdout == quiet.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["releases"], "name a counter"),
        (["releases", "thopp"], "did you mean thop"),
        (["releases", "torch"], "no overlays"),
        (["releases", "thop", "--all", "--last", "3"], "contradict"),
        (["releases", "thop", "--last", "0"], "--last"),
        (["releases", "--new", "--baseline", "no-such.json"], "cannot read no-such.json"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], said: str) -> None:
    """What is wrong, what would be right, never a traceback."""
    program = str(Path(sys.executable).with_name("flopledger"))
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert (2, "", 1) == (done.returncode, done.stdout, len(done.stderr.splitlines())), done.stderr
    assert said in done.stderr
