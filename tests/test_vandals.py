"""What a counter does to its process, its files or its numbers stays its own, and nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from vandals import MARK

from flopledger.counters.engine.plan import Rejected, count_all
from flopledger.counters.tally import Tally
from flopledger.reference_model.subject import Spec

pytestmark = pytest.mark.alone  # its jobs have short time limits
SPEC = Spec.parse("mobilenet_v2", ["1x3x32x32"])
HONEST = "miniatures:Honest"
HARMLESS = [
    "LeavesAChildInASessionOfItsOwn", "PutsFifosWhereFilesWere", "TakesItsFolderAway", "CountsInNumpy",
    "CountsInTensors", "HasALoneSurrogateInAWarning",
]  # fmt: skip
FAILING = {
    "LeavesAnOrphanAndDies": ("failed", "SIGKILL"),
    "KillsItsParent": ("failed", "SIGKILL"),
    "KillsItsGroup": ("failed", "SIGKILL"),
    "ClosesEveryFile": ("failed", "status 1"),
    "RaisesWhatCannotSayItself": ("failed", "Mute: (its own message raised an error)"),
    "ReturnsNothing": ("failed", "its `count` gave a NoneType, not a Count"),
    "CountsMoreThanThereIs": ("failed", "beyond 2**62"),
    "CountsATensorOfMany": ("failed", "is not a number of operations"),
    "LeavesAnOrphanAndHangs": ("timeout", "no answer within"),
    "StopsItsParent": ("timeout", "no answer within"),
}
# By default these end no process; Python ignores the last two.
IGNORED = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE, signal.SIGXFSZ}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
SIGNALS = sorted(signal.valid_signals() - STOPPING)


def named(tallies: list[Tally]) -> dict[str, Tally]:
    return {tally.counter.partition(":")[2]: tally for tally in tallies}


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    """One run of all of them, with a real counter and an honest one among them."""
    names = [f"vandals:{name}" for name in [*HARMLESS, *FAILING]]
    _, found = count_all([*names[:4], HONEST, *names[4:], "thop"], SPEC, timeout=6, keep=False)
    return named([*found[:-1]]) | {"thop": found[-1]}


@pytest.fixture(scope="module")
def alone() -> dict[str, int | None]:
    _, found = count_all([HONEST, "thop"], SPEC, keep=False)
    return {"Honest": found[0].total, "thop": found[1].total}


@pytest.mark.parametrize("name", FAILING)
def test_a_fault_is_reported_as_what_it_is(name: str, tallies: dict[str, Tally]) -> None:
    """A reader must learn why a counter has no number, in one line."""
    status, words = FAILING[name]
    assert status == tallies[name].status
    assert words in str(tallies[name].reason)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_no_harm_keeps_its_number(name: str, tallies: dict[str, Tally]) -> None:
    """NumPy's integers are integers, and a daemon is no reason to throw a count away."""
    assert tallies["Honest"].total == tallies[name].total


@pytest.mark.parametrize("name", ["Honest", "thop"])
def test_nobody_elses_number_changes(name: str, tallies: dict[str, Tally], alone: dict[str, int]) -> None:
    """Whatever one of them does to its parent, its group or its folder."""
    assert alone[name] == tallies[name].total


def test_no_process_survives(tallies: dict[str, Tally]) -> None:
    """Sessions of their own, orphans of orphans: a CI machine fills up with them, and a pipe never ends."""
    deadline = time.monotonic() + 5
    while orphans() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [] == orphans()


def orphans() -> list[str]:
    mark = f"{MARK} {os.environ['FLOPLEDGER_TEST_RUN']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "cmdline").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_every_signal_ends_at_most_one_counter() -> None:
    """A counter killed by a signal without a name ended the command, and everybody's numbers were lost."""
    names = [f"vandals:GetsSignal{int(number)}" for number in SIGNALS]
    _, tallies = count_all([*names, HONEST], SPEC, timeout=60, keep=False)
    honest = tallies[-1].total
    assert honest
    assert int(signal.SIGRTMAX) == SIGNALS[-1]
    for number, tally in zip(SIGNALS, tallies, strict=False):
        if number in IGNORED:
            assert honest == tally.total, number
        elif number == signal.SIGINT:
            assert ("failed", "KeyboardInterrupt") == (tally.status, tally.reason)
        else:
            name = number.name if isinstance(number, signal.Signals) else f"signal {number}"
            assert tally.status == "failed", number
            assert f"killed by {name}" in str(tally.reason)


def command(*arguments: str, limits: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    """The command in a shell with limits of its own, on counters that are here."""
    line = f"{limits} exec {sys.executable} -P -m flopledger.reports.command.main {' '.join(arguments)}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("limits", ["ulimit -v 1500000;", "ulimit -t 1;", "ulimit -n 12;", "ulimit -v 3000000;"])
def test_a_fork_server_that_dies_is_no_interruption(limits: str, tmp_path: Path) -> None:
    """ "interrupted" blames the user for what a limit of the machine did."""
    done = command("count", "-c", "thop", "-i", "1x3x32x32", "--no-cache", limits=limits, cwd=tmp_path)
    if done.returncode not in (-signal.SIGXCPU, -signal.SIGKILL):  # the shell's limit met the command itself
        assert done.returncode in (0, 1, 2)
        assert "interrupted" not in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or re.search(
            "limit|memory|map segment|open files|status", done.stdout + done.stderr
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_ends_the_command_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """A job that is cancelled on a cluster or in CI fills the disk with folders, and the machine with processes."""
    arguments = ["count", "-c", "vandals:LeavesAnOrphanAndHangs", "-i", "1x3x32x32", "--no-cache"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "flopledger.reports.command.main", *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not orphans() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert orphans()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert 128 + number == process.returncode
    assert "Traceback" not in said
    deadline = time.monotonic() + 5
    while (orphans() or [*tmp_path.iterdir()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ([], []) == (orphans(), [*tmp_path.iterdir()])


def test_a_pipe_ends_with_the_command() -> None:
    """`flopledger count | cat` waited for a daemon that a counter had left."""
    arguments = "count -c vandals:LeavesAChildInASessionOfItsOwn -i 1x3x32x32 --no-cache | cat"
    line = f"{sys.executable} -P -m flopledger.reports.command.main {arguments}"
    start = time.monotonic()
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert "137,288" in done.stdout
    assert time.monotonic() - start < 60


def test_a_temporary_folder_with_a_long_name_will_do(tmp_path: Path) -> None:
    """The address of a socket has 107 bytes; a runner's TMPDIR easily has more."""
    folder = tmp_path / ("x" * 140)
    folder.mkdir()
    done = command("count", "-c", "thop", "-i", "1x3x32x32", "--no-cache", env={**os.environ, "TMPDIR": str(folder)})
    assert (0, "") == (done.returncode, done.stderr)
    assert [] == [*folder.iterdir()]


@pytest.mark.parametrize("arguments", ["count -c thop", "count -c thop --no-cache", "report", "ledger", "snapshot"])
def test_a_working_directory_that_is_gone_is_one_line(arguments: str, tmp_path: Path) -> None:
    """A build folder is removed under the shell that stands in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    done = command(arguments, "-i", "1x3x32x32", limits=f"cd {gone}; rmdir {gone};")
    said = [line for line in done.stderr.splitlines() if "getcwd" not in line]  # the shell's own
    assert done.returncode == 0 or (2, 1) == (done.returncode, len(said)), done.stderr
    assert done.returncode == 0 or "No such file" in said[0] or "is gone" in said[0]


def test_warnings_as_errors_are_the_callers_affair() -> None:
    """PYTHONWARNINGS=error failed every counter, and was kept."""
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    done = command("count", "-c", "thop", "-c", "fvcore", "-i", "1x3x32x32", "--no-cache", env=env)
    assert (0, "") == (done.returncode, done.stderr)


def test_a_folder_beside_the_model_is_not_the_installed_library(tmp_path: Path) -> None:
    """A modified `thop/` beside the model was counted with, and went by the installed release."""
    (tmp_path / "thop").mkdir()
    (tmp_path / "thop" / "__init__.py").write_text("def profile(*a, **k): return 7.0, 0.0\n")
    (tmp_path / "model.py").write_text("import thop, torch\n\ndef make():\n    return torch.nn.Linear(4, 8)\n")
    spec = Spec.parse(f"{tmp_path}/model.py:make", ["1x4"])
    _, (thop, torch) = count_all(["thop", "torch"], spec, keep=False)
    assert ("failed", None, 64) == (thop.status, thop.total, torch.total)
    assert f"thop is {tmp_path}/thop/__init__.py here, and not that of the installed thop" in str(thop.reason)


def test_a_folder_on_the_search_path_is_not_the_installed_library_either(tmp_path: Path) -> None:
    """PYTHONPATH comes before what is installed; the version would still be that of the latter."""
    (tmp_path / "torchinfo").mkdir()
    (tmp_path / "torchinfo" / "__init__.py").write_text("def summary(*a, **k): raise SystemExit\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"}
    done = command("count", "-c", "torchinfo", "-c", "torch", "-i", "1x3x32x32", "--no-cache", env=env)
    assert 1 == done.returncode
    assert "and not that of the installed torchinfo" in " ".join(done.stdout.split())


def test_no_temporary_folder_is_one_line(tmp_path: Path) -> None:
    """A disk that is full, or a sandbox without /tmp."""
    before = tempfile.tempdir
    tempfile.tempdir = str(tmp_path / "not there")
    try:
        with pytest.raises((OSError, Rejected)):
            count_all(["thop"], SPEC, keep=False)
    finally:
        tempfile.tempdir = before
