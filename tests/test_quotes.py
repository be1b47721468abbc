"""Numbers quoted between marks: which are right, what is said of those that are wrong, and what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_run import HOSTILE, sample_run, small_run
from typer.testing import CliRunner

from flopledger.reports.command.main import app
from flopledger.reports.documents.baseline import Baseline, encode, snapshot
from flopledger.reports.identify import number
from flopledger.reports.quotes import check, fixed

TOP = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).with_name("flopledger"))
NET = snapshot(sample_run())  # 1,034,229,632 MACs, 3,504,872 parameters; thop 1,126,577,920; torch 2,068,459,264 FLOPs
PART = snapshot(small_run())  # at least 884,736 MACs: a kernel has no formula
MODELS = {"net": NET, "a net?x=1": NET, "part": PART, "tests/test_x.py::test_y[a b]": NET}


def quote(asks: str, says: str) -> str:
    return f"It takes <!-- flopledger: {asks} -->{says}<!-- --> in all."


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        ("net macs", "1.034 G"),
        ("net macs", "1.03 GMACs"),
        ("net macs", "1,034,229,632"),
        ("net macs", "1034229632 multiply-adds"),
        ("net macs", "~1.0 × 10^9"),
        ("net macs", "**1.034&nbsp;G**"),
        ("net macs", "`1.034 G`"),
        ("net macs", '<b class="x">1.034 G</b><br/>'),
        ("net MACs", "1034.2 M"),
        ("net macs flops", "2.068 GFLOPs"),
        ("net flops", "2.07 G"),
        ("net params", "3.5 M"),
        ("net params", "3.5M parameters"),
        ("net parameters", "3,504,872 params"),
        ("net thop", "1.127 G"),
        ("net thop FLOPs", "2.253 GFLOPs"),
        ("net torch_flop_counter", "2.068 GFLOPs"),
        ("net torch_flop_counter MACs", "1.034 GMACs"),
        ("net outputs", "67.9 M outputs"),
        ("a net?x=1 macs", "1.034 G"),
        ("tests/test_x.py::test_y[a b] params", "3.5 M"),
        ("part macs", "at least 884.7 k"),
        ("part flops", "≥ 1.76 M"),
        ("part params", "7"),
    ],
)
def test_a_number_is_right_to_its_digits(asks: str, says: str) -> None:
    """People round as they like; the digits they write are the claim."""
    assert (1, []) == ((checked := check(quote(asks, says), MODELS)).quotes, checked.findings)


@pytest.mark.parametrize(
    ("asks", "says", "right"),
    [
        ("net macs", "1.035 G", "1.034 G"),
        ("net macs", "1.04&nbsp;G", "1.03&nbsp;G"),
        ("net macs", "1,034,229,633", "1,034,229,632"),
        ("net macs", "1034 229 633", None),
        ("net macs", "_9 GMACs_ ", "_1 GMACs_ "),
        ("part macs", "<i>9 M</i>", "<i>at least 0.8 M</i>"),
        ("net macs", "", "1.034 G"),
        ("net flops", "1.03 GFLOPs", "2.07 GFLOPs"),
        ("net params", "4.5 M params", "3.5 M params"),
        ("net params", "0.1 G", "0.004 G"),
        ("net thop", "980 M", "1,127 M"),
        ("part macs", "884.7 k", "at least 884.7 k"),
        ("part macs", "≥ 900 k", "≥ 884 k"),
        ("net macs", "at least 1.034 G", "1.034 G"),
    ],
)
def test_a_wrong_number_is_named_and_mended_in_its_own_format(asks: str, says: str, right: str | None) -> None:
    """A bot that rewrites 4.1 G as 4089184256 is switched off."""
    text = f"# Title\r\n\r\n{quote(asks, says)}\r\n"
    checked = check(text, MODELS)
    (found,) = checked.findings
    assert 3 == found.line
    if right is None:
        assert (True, 2) == (found.bad, checked.status)
        return
    assert (1, False) == (checked.status, found.bad)
    assert f"{asks.rpartition(' ')[0]} {asks.rpartition(' ')[2]} is " in found.message
    mended = fixed(text, checked.findings)
    assert text.replace(f"-->{says}<!--", f"-->{right}<!--") == mended
    assert 0 == check(mended, MODELS).status


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (quote("nte macs", "1 G"), "no model 'nte' in the baseline; did you mean net?"),
        (quote("net thpo", "1 G"), "net has no 'thpo' in the baseline; did you mean thop?"),
        (quote("net thop GB", "1 G"), "no unit 'GB'"),
        (quote("net params flops", "1 G"), "params is no number of operations, so it has no unit FLOPs"),
        (quote("net macs", "2.07 GFLOPs"), "2.07 GFLOPs is in FLOPs, and macs is in MACs"),
        (quote("net params", "3.5 MFLOPs"), "3.5 MFLOPs is in FLOPs, and params is no number of operations"),
        (quote("net fvcore", "1 G"), "fvcore has no number for net"),
        (quote("net macs", "a lot"), "'a lot' is no number of operations"),
        (quote("net", "1 G"), "a mark names a model and what is quoted of it, like <!-- flopledger:"),
        ("x <!-- flopledger net macs -->1 G<!-- -->", "a mark names a model and what is quoted of it"),
        ("x <!-- flopledger: net macs -->1.034 G", "the mark <!-- flopledger: net macs --> has no end"),
        ("x <!-- flopledger: net macs -->1.034 G\n\n<!-- -->", "has no end"),
        (f"x <!-- flopledger: net macs -->{'1 ' * 999}<!-- -->", "has no end"),
        ("<!-- flopledger: net macs -->1 <!-- flopledger: net macs -->1.0 G<!-- -->", "has no end"),
    ],
)
def test_a_bad_mark_is_said_and_nothing_is_mended(text: str, said: str) -> None:
    """What a mark asks for must be there; a typo that passes guards nothing."""
    checked = check(text, MODELS)
    (found,) = [each for each in checked.findings if each.bad]
    assert said in found.message and 2 == checked.status
    assert text == fixed(text, [found])


CODE = (
    "```\n{}\n```",
    "> ~~~md\n> {}\n> ~~~",
    "- item\n\n      {}",
    "    {}",
    "a `{}` b",
    "a ``x ` {}`` b",
    "| a |\n|---|\n| `{}` |",
    "\\{}",
    "- ```\n  {}\n  ```",
)


@pytest.mark.parametrize("code", CODE)
def test_marks_in_code_are_text(code: str) -> None:
    """A page that explains the marks quotes them; so does this project's."""
    wrong = "<!-- flopledger: net macs -->9 G<!-- -->"
    assert 0 == check(code.format(wrong), MODELS).quotes
    beside = f"{code.format(wrong)}\n\n{wrong}\n"
    checked = check(beside, MODELS)
    assert 1 == checked.quotes
    assert f"{code.format(wrong)}\n\n{wrong.replace('9 G', '1 G')}\n" == fixed(beside, checked.findings)


@pytest.mark.parametrize(
    "place",
    ["{}", "# A {}", "> {}", "- a\n  - {}", "| a | b |\n|---|---|\n| x | {} |", "<p>{}</p>", "**a {}**", "[a {}](b)",
     "a\n{}\nb", "<td>\n{}\n</td>"],
)  # fmt: skip
def test_marks_are_found_wherever_comments_are(place: str) -> None:
    """Tables are where most numbers of a README are."""
    assert 1 == check(place.format("<!-- flopledger: net macs -->1.034 G<!-- -->"), MODELS).quotes


def test_a_model_that_was_not_counted_yet_is_told_from_a_typo() -> None:
    """The one is written by a snapshot, the other by hand."""
    for asks in ("new net macs", "new net flops macs"):
        (found,) = check(quote(asks, "1 G"), {}, ["new net"]).findings
        assert found.bad and "new net is not in the baseline yet: flopledger snapshot writes it" == found.message
    (found,) = check(quote("new nte macs", "1 G"), MODELS, ["new net"]).findings
    assert "no model 'new nte' in the baseline; did you mean new net, net?" in found.message


def test_a_hostile_text_takes_no_time() -> None:
    """A pull request from anywhere may change a README, and the hook reads it."""
    start = time.process_time()
    for text in (
        "<!-- flopledger " * 20_000,
        "x <!-- flopledger: net macs -->1.034 G<!-- --> | " * 2_000,
        "<!--" * 99_999,
    ):
        assert not check(text, MODELS).findings
    assert time.process_time() - start < 10


def test_hostile_names_are_one_line() -> None:
    """A mark may come from a fork's pull request, and its message goes to a log."""
    for name in HOSTILE:
        for found in check(f"x {quote(name.replace('-->', ''), '1 G')}", MODELS).findings:
            assert found.message.isprintable()


@given(
    st.integers(1, 10**15),
    st.integers(1, 10**15),
    st.sampled_from(["{:,}", "{}", "{:.3f} G", "{:.1f} MMACs", "{:.2f}e9"]),
)
def test_any_number_can_take_the_place_of_any_other(first: int, second: int, form: str) -> None:
    """What --fix writes must be what it then accepts."""
    scale = {"G": 10**9, "M": 10**6, "9": 10**9}.get(form[-1] if form[-1] in "G9" else form[-4:-3], 1)
    text = form.format(first if scale == 1 else float(Fraction(first, scale)))
    try:
        number.parse(text)
    except number.NumberError:  # it prints as 0
        return
    before, after = number.digits(text, second)
    assert number.parse(text.replace(before, after, 1)).prints(second)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a baseline, and a README that quotes it."""
    (tmp_path / "pyproject.toml").write_text('[tool.flopledger]\nbaseline = "flops.json"\n')
    (tmp_path / "flops.json").write_bytes(encode(Baseline(models={"net": NET})))
    (tmp_path / "README.md").write_text(f"# Net\n\n{quote('net macs', '1.034 G')}\n{quote('net thop', '9.9 G')}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, list[str]]:
    """The exit status, and what is printed."""
    done = CliRunner().invoke(app, ["quotes", *arguments])
    return done.exit_code, done.stdout.splitlines()


def test_the_command_checks_and_mends(folder: Path) -> None:
    """Exit 1 for a number, 2 for a mark; --fix writes the file whole, and then all is right."""
    wrong = "README.md:4: net thop is 1,126,577,920, and this says 9.9 G; write 1.1 G"
    assert (1, [wrong]) == run()
    assert (1, [f"{wrong} (fixed)"]) == run("--fix", "README.md")
    assert quote("net thop", "1.1 G") in (folder / "README.md").read_text()
    assert (0, ["2 numbers are as in flops.json"]) == run()
    (folder / "docs").mkdir()
    (folder / "docs" / "more.md").write_text(quote("nets macs", "1 G"))
    assert (2, ["docs/more.md:1: no model 'nets' in the baseline; did you mean net?"]) == run()


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_hook_runs_in_pre_commit(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever adds the hook has pre-commit read our file of hooks, and run what it says; torch is not needed."""
    pytest.importorskip("pre_commit")
    hooks = tmp_path_factory.mktemp("hooks")
    shutil.copy(TOP / ".pre-commit-hooks.yaml", hooks)
    blocked = tmp_path_factory.mktemp("blocked")
    (blocked / "torch.py").write_text("raise ImportError('not for a hook')\n")
    environment = {
        **os.environ, "PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", "")]),
        "PRE_COMMIT_HOME": str(tmp_path_factory.mktemp("cache")),
        **{f"GIT_{who}_{what}": "t@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip

    def shell(command: str, where: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, shell=True, cwd=where, capture_output=True, text=True, env=environment)

    for place in (hooks, folder):
        assert 0 == shell("git init -q && git add -A && git commit -qm first", place).returncode
    revision = shell("git rev-parse HEAD", hooks).stdout.strip()
    hook = {"id": "flopledger-quotes", "language": "system"}  # else it is installed anew, with all that it needs
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": [hook]}]}
    (folder / ".pre-commit-config.yaml").write_text(json.dumps(config))
    command = f"{sys.executable} -m pre_commit run --all-files"
    shell("git add -A", folder)
    done = shell(command, folder)
    assert 1 == done.returncode
    assert "README.md:4: net thop is 1,126,577,920" in done.stdout
    hook["id"] += "-fix"
    (folder / ".pre-commit-config.yaml").write_text(json.dumps(config))
    assert "files were modified by this hook" in shell(f"git add -A && {command}", folder).stdout
    done = shell(f"git add -A && {command}", folder)
    assert (0, True) == (done.returncode, "Passed" in done.stdout), done.stdout


def test_the_numbers_of_a_model_without_any(folder: Path) -> None:
    """A model of no MACs has one number that can be quoted."""
    none = {"none": replace(NET, ledger={"calls": 1})}
    assert 0 == check(quote("none macs", "0"), none).status
    assert 1 == check(quote("none macs", "3"), none).status
