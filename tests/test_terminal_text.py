"""What leaves for a terminal: no text of others makes it do anything, and streams that take no more."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from documents import baseline
from msgspec.structs import replace
from sample_run import CONVENTIONS, everywhere, sample_run, small_history, small_run

from flopledger.counters import registry
from flopledger.counters.engine import adapters
from flopledger.counters.engine.job import LEDGER
from flopledger.reports.command import check as check_command
from flopledger.reports.command import count as count_command
from flopledger.reports.command import explain as explain_command
from flopledger.reports.command import ledger as ledger_command
from flopledger.reports.command import report as report_command
from flopledger.reports.command import snapshot as snapshot_command
from flopledger.reports.command.conventions import conventions
from flopledger.reports.command.counters import counters
from flopledger.reports.command.drift import drift as drift_command
from flopledger.reports.command.options import Advance, complete_counters, fail, note, progress, wrote
from flopledger.reports.command.releases import releases
from flopledger.reports.compare import Report
from flopledger.reports.documents.baseline import snapshot
from flopledger.reports.documents.reading import encode
from flopledger.reports.drift import drift
from flopledger.reports.pages import drift_words, history_words
from flopledger.reports.pages.blocks import Column, Point, Table
from flopledger.reports.pages.numbers import brief
from flopledger.reports.pages.terminal import Format, show, show_json, shown, width
from flopledger.reports.probing import Finding, Probed

COMMAND = Path(sys.executable).with_name("flopledger")
OBEYED = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;title\x07",
    "link": "\x1b]8;;http://a.example\x1b\\",
    "clear": "\x1bc",
    "C1 sequence": "\x9b31m",
    "C1 string": "\x90x\x9c",
    "return": "\r",
    "backspace": "\x08\x08",
    "other controls": "\x00\x0b\x0c\x0e\x85",
    "delete": "\x7f",
    "override": "\u202e\u202d",
    "isolate": "\u2066\u2067\u2069",
    "mark": "\u200e\u200f\u061c",
    "zero width": "\u200b\u200c\u200d\u2060\ufeff\xad",
    "unseen letters": "\u3164\u115f\u1160\uffa0\u034f\u17b4\u180b\ufe00\U000e0100",
    "tags": "\U000e0041\U000e007f",
    "separators": "\u2028\u2029",
    "half a pair": "\ud800",
    "no character": "\ufffe",
}
EVERY = "".join(OBEYED.values())
UNSEEN = re.compile("[\u3164\u115f\u1160\uffa0\u034f\u17b4\u180b\ufe00\U000e0100]")
FORMS = [Format.table, Format.markdown]
AGAIN: dict[str, Any] = {"timeout": 1.0, "jobs": 1, "no_cache": False, "quiet": False}


def inert(printed: str) -> bool:
    """Whether a terminal only shows it."""
    return all(line.isprintable() for line in printed.split("\n")) and not UNSEEN.search(printed)


def marked(printed: str) -> bool:
    """Whether it is inert, and shows that something stood there."""
    return inert(printed) and "\\x1b[31m" in re.sub(r"\s|\\(?=[\[\\])", "", printed)


@pytest.mark.parametrize("text", OBEYED.values(), ids=OBEYED)
@pytest.mark.parametrize("form", FORMS)
def test_no_block_makes_a_terminal_do_anything(text: str, form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    """Names come from models, plug-ins and documents of others; a paragraph, point, head or cell only shows them."""
    blocks = [f"a{text}b", Point(f"a{text}b"), Table([Column(f"a{text}b"), Column("", True)], [[f"a{text}b", "1"]])]
    for block in blocks:
        show([block], form)
        assert inert(printed := capsys.readouterr().out) and "\\" in printed
    assert inert(shown(blocks))


@pytest.mark.parametrize("text", OBEYED.values(), ids=OBEYED)
def test_no_remark_makes_a_terminal_do_anything(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors quote what they were about: a file's name, an exception's text, a name in a document."""
    note(f"a{text}b")
    wrote([Path(f"a{text.replace(chr(0), '')}b")])
    with pytest.raises(typer.Exit):
        fail(f"a{text}b")
    printed = capsys.readouterr()
    assert inert(printed.out) and inert(printed.err) and 2 == len(printed.err.splitlines())


@pytest.mark.parametrize("text", [*OBEYED.values(), "·é–"], ids=[*OBEYED, "ordinary"])
def test_json_has_the_very_text_and_nothing_to_obey(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A program must read what was said, and somebody may look at it in a terminal all the same."""
    show_json({"name": text, text: [Point(text)]})
    printed = capsys.readouterr().out
    assert {"name": text, text: [{"text": text}]} == json.loads(printed)
    assert all(line.isprintable() for line in printed.split("\n"))
    assert text.isprintable() <= (text in printed) or UNSEEN.search(text)


def test_json_of_ordinary_text_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs may compare bytes; nothing but what cannot be printed has another form."""
    found = small_run()
    show_json(found)
    assert msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n" == capsys.readouterr().out


def test_a_log_of_a_workflow_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A line that begins with `::error::` is a command to the runner that keeps the log."""
    for name in ("::error::x", "a ::set-env name=x::y", "##[group]a"):
        show([name, Point(name), Table([Column(name)], [[name]])], Format.table)
    printed = capsys.readouterr().out
    assert "error" in printed and not re.search(r"(?<!\S)::|##\[", printed)
    show(["aten::roll, at::Tensor, # a, ## b"], Format.table)
    assert "aten::roll, at::Tensor, # a, ## b\n" == capsys.readouterr().out


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """rich takes [red] for a colour, and fails at [/red]; :smile: is a face to it."""
    name = "[red]a[/] [/red] :smile: [link=http://a.example]b"
    show([name, Table([Column(name)], [[name]])], Format.table)
    assert 3 == capsys.readouterr().out.count(name)


def test_the_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter's name is in the bar while it runs: neither markup nor an escape sequence of its own."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress(2, quiet=False) as (_, advance):
        advance.running(f"[/red]{EVERY}")
    drawn = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())  # rich's own
    assert "[/red]\\x1b[31m\\x1b]0;title" in drawn and inert(drawn.replace("\r", ""))


def test_progress_says_what_runs_and_no_name_of_ours() -> None:
    """Four seconds of "@ledger done" told nobody what it waited for."""
    said: list[tuple[int, str]] = []
    advance = Advance(lambda done, now: said.append((done, now)))
    advance.running(LEDGER)
    advance.running("thop")
    advance(LEDGER)
    advance.running("fvcore")
    advance("kept before")
    advance("thop")
    assert said == [
        (0, "tracing the model"), (0, "tracing the model; thop running"), (1, "thop running"),
        (1, "thop, fvcore running"), (2, "thop, fvcore running"), (3, "fvcore running"),
    ]  # fmt: skip


def test_what_somebody_else_says_at_length_is_cut_with_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher's error names every backend there is; the whole is in the JSON, and can be asked for."""
    long = "Could not run an operation. " + 100 * "'backend' "
    said = brief(long)
    assert long.startswith(said.partition(" … ")[0]) and said.endswith(" … (731 characters more, in the JSON)")
    assert len(said) < 350 and "short" == brief("short")
    monkeypatch.setenv("FLOPLEDGER_TRACEBACK", "1")
    assert long == brief(long)


# --- the commands


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run in which every string has everything in it, and which every command that counts takes for its own."""
    found = everywhere(small_run(), EVERY.replace("\ud800", ""))
    for command in (count_command, explain_command, ledger_command, report_command, snapshot_command):
        monkeypatch.setattr(command, "compared", lambda *_: Report(found))
    return found


def said(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    return printed.out + printed.err


@pytest.mark.parametrize("form", FORMS)
def test_commands_that_count_say_nothing_to_a_terminal(
    run: Any, form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    """Model, unit, version, reason, site, note: each command has its own places, and none has to remember."""
    left, right, _, broken = (tally.name for tally in run.tallies)
    with pytest.raises(typer.Exit):
        count_command.count(form=form, **AGAIN)
    assert marked(said(capsys))
    for other in (right, broken):
        with pytest.raises(typer.Exit):
            explain_command.explain(left, other, form=form, **AGAIN)
        assert marked(said(capsys))
    with pytest.raises(typer.Exit):
        ledger_command.ledger(form=form, timeout=1.0, no_cache=False, quiet=False)
    assert marked(said(capsys))


def test_commands_that_write_say_nothing_to_a_terminal(
    run: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A folder's name is text, too: the list of what was written shows it."""
    folder = tmp_path / EVERY.replace("\x00", "").replace("\ud800", "")
    with pytest.raises(typer.Exit):
        report_command.report(out=folder, **AGAIN)
    assert marked(said(capsys))
    with pytest.raises(typer.Exit):
        snapshot_command.snapshot(out=folder / "baseline.json", **AGAIN)
    assert marked(said(capsys))


@pytest.mark.parametrize("form", FORMS)
def test_commands_that_compare_releases_say_nothing_to_a_terminal(
    form: Format, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index's dates, names and reasons, and a baseline's, are somebody else's text."""
    text = EVERY.replace("\ud800", "")
    monkeypatch.setattr("flopledger.reports.history.history", lambda *_, **__: everywhere(small_history(), text))
    with pytest.raises(typer.Exit):
        releases("thop", form=form, out=tmp_path, **AGAIN)
    assert marked(said(capsys))
    cheaper = replace(CONVENTIONS[0], rules=CONVENTIONS[0].rules[1:])
    for name, found in (("old", small_run()), ("new", small_run(cheaper))):
        (tmp_path / f"{name}.json").write_bytes(baseline(everywhere(snapshot(found), text, readable=True)))
    with pytest.raises(typer.Exit):
        drift_command([str(tmp_path / "old.json"), str(tmp_path / "new.json")], form=form, **AGAIN)
    assert marked(said(capsys))
    with pytest.raises(typer.Exit):
        releases(EVERY, new=True, baseline=tmp_path / "old.json", form=form, **AGAIN)
    assert marked(said(capsys))


@pytest.mark.parametrize("form", FORMS)
def test_commands_that_list_counters_say_nothing_to_a_terminal(
    form: Format, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in's name, unit, release and sentences are as its author wrote them."""
    rule = replace(CONVENTIONS[0].rules[0], ops=(EVERY,), because=EVERY, source=EVERY)
    troubled = adapters.About(name=EVERY, trouble=EVERY)
    for room, name, answer in (
        (registry, "names", [EVERY]), (registry, "version_of", EVERY), (registry, "left_out", {EVERY: EVERY}),
        (adapters, "about", adapters.About(name=EVERY, distribution=EVERY, unit=EVERY, about=EVERY)),
        (adapters, "claimed", replace(CONVENTIONS[0], rules=(rule,))),
    ):  # fmt: skip
        monkeypatch.setattr(room, name, lambda *_, answer=answer: answer)
    counters(form)
    assert marked(said(capsys))
    conventions(None, form)
    assert marked(said(capsys))
    monkeypatch.setattr(adapters, "about", lambda _: troubled)
    counters(form)
    conventions(None, form)
    assert marked(said(capsys))
    finding = Finding(probe=EVERY, site=EVERY, ops=[EVERY], holds=False, formulas=[EVERY], claimed=1, reported=2)
    probed = Probed(counter=EVERY, version=EVERY, findings=[finding], silent={EVERY: EVERY}, idle=[rule])
    monkeypatch.setattr("flopledger.reports.probing.probed", lambda *_, **__: probed)
    with pytest.raises(typer.Exit):
        check_command.check(EVERY, form=form, **AGAIN)
    assert marked(said(capsys))


def test_the_shell_is_offered_no_name_with_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pressing Tab prints the names of plug-ins without asking anything else of us."""
    monkeypatch.setattr(registry, "names", lambda: ["thop", *(f"t{text}" for text in OBEYED.values())])
    assert ["thop"] == complete_counters("t")


def test_a_document_with_wrong_sums_is_refused_without_a_sequence(tmp_path: Path) -> None:
    """The one line that says what is wrong names the counter as the document does."""
    found = small_run()
    wrong = replace(found, tallies=[replace(found.tallies[0], counter=EVERY.replace("\ud800", ""), total=1)])
    (tmp_path / "run.json").write_bytes(encode(wrong))
    done = called(f"{COMMAND} render run.json", tmp_path)
    assert 2 == done.returncode and 1 == done.stderr.count("\n") and marked(done.stderr)


def test_an_argument_is_quoted_without_a_sequence(tmp_path: Path) -> None:
    """A name that somebody was made to paste, and bytes that are no UTF-8, come back on stderr."""
    for arguments in (
        "$'\\e[31m'",
        "explain $'\\e[31m\\xff' $'\\e[31m\\xff'",
        "render $'\\e[31m\\xff.json'",
        "counters --$'\\e[31m'",
    ):
        done = called(f"{COMMAND} {arguments}", tmp_path)
        assert 2 == done.returncode and 1 == done.stderr.count("\n") and marked(done.stderr), done.stderr


def test_a_report_shows_itself_without_a_sequence() -> None:
    """A notebook or a prompt prints it before anybody has looked at the model's name."""
    assert marked(repr(Report(everywhere(small_run(), EVERY))))
    assert repr(Report(sample_run(64))).startswith("<Report mobilenet_v2 at 1x3x64x64: ")


def test_a_failing_snapshot_says_nothing_to_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest prints the message of a failure as it is."""
    from flopledger.reports.pytest_plugin import FlopSnapshot

    text = EVERY.replace("\ud800", "")
    monkeypatch.setattr("flopledger.reports.compare.compare", lambda *_, **__: Report(everywhere(small_run(), text)))
    bad = everywhere(snapshot(small_run()), text, readable=True)
    for content in (
        None, baseline(**{"test_x.py::x": everywhere(snapshot(small_run(CONVENTIONS[1])), text, readable=True)}),
        baseline(**{"test_x.py::x": replace(bad, tallies=[replace(bad.tallies[0], total=1)])}),
    ):  # fmt: skip
        if content is not None:
            place = tmp_path / "\x1b[31m" / "__flops__" / "test_x.x.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        kept = FlopSnapshot(tmp_path / "\x1b[31m" / "test_x.py", "x", False, {})
        with pytest.raises(pytest.fail.Exception) as failed:
            kept.check("small", counters=["thop"])
        assert marked(str(failed.value))


def test_words_of_ordinary_documents_are_as_they_were() -> None:
    """Mathematics, accents, writing from right to left and faces are ordinary text."""
    blocks = [*history_words.blocks(small_history()), *drift_words.blocks(drift(*[snapshot(small_run())] * 2))]
    assert "\\" not in shown([*blocks, "4·outputs − 1×3, é, 模型, שלום, ไทย, ⚠\ufe0f"])


# --- streams


def called(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash; its status is that of its first command."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail\n{line}"], cwd=folder, env={**os.environ, **environment}, timeout=60,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape",
    )  # fmt: skip


FULL = "flopledger: cannot write to the output: No space left on device\n"


@pytest.mark.parametrize("command", ["counters", "counters --format json", "conventions", "--help", "--version"])
def test_a_full_disk_is_one_line(command: str, tmp_path: Path) -> None:
    """Half a table in a file must not look like success, whatever part of the program wrote it."""
    done = called(f"{COMMAND} {command} >/dev/full", tmp_path)
    assert (2, FULL) == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "command", ["conventions", "conventions --format json", "conventions --format markdown", "--help"]
)
def test_a_reader_who_leaves_ends_the_command_quietly(command: str, tmp_path: Path) -> None:
    """`| head -1` has what it wants; 141 is what every tool says then."""
    done = called(f"{COMMAND} {command} | true", tmp_path)
    assert (141, "") == (done.returncode, done.stderr)


def test_streams_that_are_closed_or_take_nothing_lose_only_what_was_for_them(tmp_path: Path) -> None:
    """Daemons and cron close them: no traceback, and no file opened in their place that output would run into."""
    (tmp_path / "run.json").write_bytes(encode(sample_run(64)))
    assert (0, "", "") == outcome(called(f"{COMMAND} counters >&-", tmp_path))
    assert (0, "", "") == outcome(called(f"{COMMAND} render run.json -o out >&- 2>&- <&-", tmp_path))
    assert 5 == len(list((tmp_path / "out").iterdir()))
    assert (tmp_path / "run.json").read_bytes() == (tmp_path / "out" / "run.json").read_bytes()
    assert (2, "", "") == outcome(called(f"{COMMAND} nonsense 2>&-", tmp_path))
    assert (2, "", "") == outcome(called(f"{COMMAND} nonsense 2>/dev/full", tmp_path))
    assert (2, "", "") == outcome(called(f"{COMMAND} counters >/dev/full 2>/dev/full", tmp_path))
    assert (2, "", "") == outcome(called(f"({COMMAND} nonsense 2>&1 >&3 | true) 3>/dev/null", tmp_path))


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def test_a_terminal_that_cannot_show_a_sign_gets_an_escape(tmp_path: Path) -> None:
    """ASCII is what C locales, cron and old containers have; `·` and half a surrogate pair are in no hurry to fail."""
    done = called(f"{COMMAND} conventions thop", tmp_path, PYTHONIOENCODING="ascii")
    assert (0, "") == (done.returncode, done.stderr) and "4\\xb7outputs" in done.stdout
    done = called(f"{COMMAND} count $'\\xff.py:make' --format json", tmp_path, PYTHONIOENCODING="ascii")
    assert 2 == done.returncode and "'\\udcff.py:make' is not text" in done.stderr


# --- widths


def table_at(width: int, columns: list[Column], *rows: list[str]) -> list[str]:
    return shown([Table(columns, rows)], width).strip("\n").split("\n")


def test_a_table_takes_the_room_there_is() -> None:
    """Words go on the next line; then spare columns go, the most spare ones first, which is said; then rows stack."""
    columns = [Column("what it is"), Column("why", spare=1), Column("code", spare=2), Column("total", True)]
    row = ["a long name of it", "for a reason", "x.py", "1,234,567"]
    assert table_at(60, columns, row, row, row) == [
        "what it is         why           code      total",
        "─────────────────  ────────────  ────  ─────────",
        *["a long name of it  for a reason  x.py  1,234,567"] * 3,
    ]
    assert table_at(44, columns, row, row, row) == [
        "what it is     why           code      total",
        "─────────────  ────────────  ────  ─────────",
        *["a long name    for a reason  x.py  1,234,567", "of it"] * 3,
    ]
    assert table_at(40, columns, row, row, row) == [
        "what it is       why               total",
        "───────────────  ────────────  ─────────",
        *["a long name of   for a reason  1,234,567", "it"] * 3,
        "(left out at a width of 40: code)",
    ]
    assert table_at(20, columns, row) == [
        "a long name of it",
        "    why: for a",
        "      reason",
        "    code: x.py",
        "    total: 1,234,567",
    ]


def test_a_word_wider_than_all_is_whole() -> None:
    """Half of a path or a number is another one; a terminal breaks such a line where one can copy it."""
    assert ["a/very/long/path", "    n:", "      1,234,567"] == table_at(8, [Column("p"), Column("n", True)],
                                                               ["a/very/long/path", "1,234,567"])  # fmt: skip
    assert "a\na/very/long/path\nb" == shown(["a a/very/long/path b"], 8)
    assert "- a point\n  of two" == shown([Point("a point of two")], 9)


def test_wide_characters_take_two_columns() -> None:
    """A table of Chinese names is as straight as any other."""
    assert ["名      n", "────  ───", "模型  100", "m       1"] == table_at(
        20, [Column("名"), Column("n", True)], ["模型", "100"], ["m", "1"]
    )


@pytest.mark.parametrize(("columns", "expected"), [("50", 50), ("0", None), ("wide", None), ("", None)])
def test_the_width_is_what_columns_says(columns: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where output goes to a pipe; without a word about it nothing is wrapped there, for grep's sake."""
    monkeypatch.setenv("COLUMNS", columns)
    assert expected == width()
