"""A report is written whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flopledger.reports.documents.writing import check_file, check_writable, write_file, write_whole

COMMAND = str(Path(sys.executable).with_name("flopledger"))

FILES = {"report.md": b"new page", "report.html": b"<p>new", "run.json": b"{}"}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, folders as None."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"(folder)" for p in folder.rglob("*")}


def test_writes_every_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    """Staging files beside the pages would be the first thing a user asks about."""
    folder = tmp_path / "a" / "b"
    assert [folder / name for name in FILES] == write_whole(folder, FILES)
    assert contents(folder) == FILES


def test_replaces_old_files_and_keeps_strangers(tmp_path: Path) -> None:
    """A second report goes over the first; other people's files in the folder are not ours to touch."""
    (tmp_path / "report.md").write_bytes(b"old")
    (tmp_path / "thesis.tex").write_bytes(b"years of work")
    write_whole(tmp_path, FILES)
    assert contents(tmp_path) == {**FILES, "thesis.tex": b"years of work"}


@pytest.mark.parametrize("blocked", list(FILES))
def test_a_folder_in_the_way_of_one_file_leaves_all_files_as_they_were(tmp_path: Path, blocked: str) -> None:
    """A page of the new run beside run.json of the old one would be a lie."""
    for name in FILES:
        if name == blocked:
            (tmp_path / name).mkdir()
            (tmp_path / name / "keep").write_bytes(b"1")
        else:
            (tmp_path / name).write_bytes(b"old")
    before = contents(tmp_path)
    with pytest.raises(OSError):
        write_whole(tmp_path, FILES)
    assert before == contents(tmp_path)


@pytest.mark.parametrize("failing", list(FILES))
def test_a_disk_that_fills_up_leaves_all_files_as_they_were(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likeliest failure of all happens in the middle of a write, whichever file it hits."""
    for name in FILES:
        (tmp_path / name).write_bytes(b"old")
    before, real = contents(tmp_path), Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == failing:
            real(self, data[:2])
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path, FILES)
    assert before == contents(tmp_path)


def test_a_rename_that_fails_leaves_all_files_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step is several renames: when a later one fails, the earlier ones must not stand alone."""
    for name in FILES:
        (tmp_path / name).write_bytes(b"old")
    before, real = contents(tmp_path), Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "run.json" and self.read_bytes() == FILES["run.json"]:
            raise PermissionError(1, "Operation not permitted")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(OSError):
        write_whole(tmp_path, FILES)
    assert before == contents(tmp_path)


def test_a_file_in_the_way_of_the_folder_is_an_oserror(tmp_path: Path) -> None:
    """The command turns OSError into one line; anything else would be a traceback."""
    (tmp_path / "out").write_bytes(b"a file")
    for act in (lambda p: write_whole(p, FILES), check_writable):
        with pytest.raises(OSError):
            act(tmp_path / "out")
        with pytest.raises(OSError):
            act(tmp_path / "out" / "below")
    assert (tmp_path / "out").read_bytes() == b"a file"


@pytest.mark.parametrize("path", ["here", "new", "new/two/three"])
def test_check_writable_leaves_no_trace(tmp_path: Path, path: str) -> None:
    """It is asked before the counting, which may still fail: no empty folders may be left behind."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_bytes(b"1")
    before = contents(tmp_path)
    check_writable(tmp_path / path)
    assert before == contents(tmp_path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot write to")
def test_check_writable_refuses_what_nobody_can_write() -> None:
    """The tests may run as root, for whom permissions say nothing; /proc refuses root too."""
    with pytest.raises(OSError):
        check_writable(Path("/proc"))
    with pytest.raises(OSError):
        check_writable(Path("/proc/flopledger/out"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_check_writable_refuses_a_read_only_folder(tmp_path: Path) -> None:
    """Minutes of counting must not end in a permission error that was visible at the start."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            check_writable(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# --- what is no plain file


def test_a_file_keeps_its_mode_and_a_new_one_obeys_the_umask(tmp_path: Path) -> None:
    """Somebody made a report private; counting again is no reason to show it to everybody."""
    (tmp_path / "run.json").write_bytes(b"old")
    (tmp_path / "run.json").chmod(0o600)
    before = os.umask(0o027)
    try:
        write_whole(tmp_path, FILES)
    finally:
        os.umask(before)
    assert [0o640, 0o640, 0o600] == [(tmp_path / name).stat().st_mode & 0o777 for name in FILES]


@pytest.mark.parametrize("there", [True, False], ids=["its target", "a target that is not there yet"])
def test_a_symbolic_link_is_followed(tmp_path: Path, there: bool) -> None:
    """A page that is linked from a web server's folder must stay linked."""
    away = tmp_path / "away"
    away.mkdir()
    if there:
        (away / "page").write_bytes(b"old")
    (tmp_path / "report.md").symlink_to(away / "page")
    write_whole(tmp_path, FILES)
    assert (tmp_path / "report.md").is_symlink()
    assert FILES["report.md"] == (away / "page").read_bytes()
    assert ["page"] == [path.name for path in away.iterdir()]
    write_file(tmp_path / "report.md", b"newer")
    assert b"newer" == (away / "page").read_bytes()


def test_a_link_in_a_circle_is_an_oserror(tmp_path: Path) -> None:
    """It has no target that could be made."""
    (tmp_path / "report.md").symlink_to(tmp_path / "report.md")
    with pytest.raises(OSError, match="link to itself"):
        write_whole(tmp_path, FILES)
    assert ["report.md"] == [path.name for path in tmp_path.iterdir()]


def test_another_name_of_a_file_keeps_what_it_had(tmp_path: Path) -> None:
    """A hard link is how backups keep yesterday's file; it is not to be written into."""
    (tmp_path / "run.json").write_bytes(b"old")
    (tmp_path / "yesterday").hardlink_to(tmp_path / "run.json")
    write_whole(tmp_path, FILES)
    assert (b"old", FILES["run.json"]) == ((tmp_path / "yesterday").read_bytes(), (tmp_path / "run.json").read_bytes())


def test_a_pipe_or_a_socket_among_the_pages_is_refused(tmp_path: Path) -> None:
    """A page that replaces somebody's socket breaks his server, and one that waits for a reader waits for ever."""
    os.mkfifo(tmp_path / "report.html")
    with pytest.raises(OSError, match="a device, a pipe or a socket"):
        write_whole(tmp_path, FILES)
    assert (tmp_path / "report.html").is_fifo()
    (tmp_path / "report.html").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "run.json"))
        with pytest.raises(OSError, match="a device, a pipe or a socket"):
            write_whole(tmp_path, FILES)
        with pytest.raises(OSError):
            write_file(tmp_path / "run.json", b"{}")
    assert ["run.json"] == [path.name for path in tmp_path.iterdir()]


def test_a_single_file_may_be_a_pipe_or_a_device(tmp_path: Path) -> None:
    """`-o >(gzip > baseline.json.gz)` and `-o /dev/null` are what people write."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"{}")
    reader.join()
    assert ([b"{}"], True) == (got, pipe.is_fifo())
    write_file(Path("/dev/null"), b"{}")
    assert Path("/dev/null").is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            write_file(Path("/dev/full"), b"{}")


@pytest.mark.parametrize("into", ["pipe", "file"])
def test_a_snapshot_goes_to_standard_output(tmp_path: Path, into: str) -> None:
    """`-o /dev/stdout` prints the document and nothing else, whatever that is connected to."""
    asked = [COMMAND, "snapshot", "torch.nn:Identity", "-i", "2x3", "-c", "torch", "-o", "/dev/stdout"]
    if into == "pipe":
        printed = subprocess.run(asked, cwd=tmp_path, capture_output=True, check=True).stdout
    else:
        with (tmp_path / "out").open("wb") as file:
            file.write(b"  ")
            file.flush()
            subprocess.run(asked, cwd=tmp_path, stdout=file, check=True)
        printed = (tmp_path / "out").read_bytes()
        assert printed.startswith(b"  {")
    assert ["torch.nn:Identity"] == [*json.loads(printed)["models"]]


# --- what is left where it fails


@pytest.mark.parametrize("act", [lambda path: write_whole(path, FILES), check_writable], ids=["writing", "asking"])
def test_folders_that_were_made_for_nothing_are_taken_away(tmp_path: Path, act: Callable[[Path], object]) -> None:
    """A name that is too long is an error of the third folder, when two have been made."""
    with pytest.raises(OSError):
        act(tmp_path / "new1" / "new2" / ("x" * 300))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "report.html").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "here", FILES)
    assert ["here", "report.html"] == sorted(path.name for path in tmp_path.rglob("*"))


def test_what_a_killed_process_left_is_cleared_up(tmp_path: Path) -> None:
    """After SIGKILL nobody can clear up but the next one; what another one is writing just now stays."""
    for name, age in (("old", 2 * 3600), ("young", 60)):
        folder = tmp_path / f".flopledger-part-{name}"
        folder.mkdir()
        (folder / "report.md").write_bytes(b"half")
        os.utime(folder, (time.time() - age,) * 2)
    (tmp_path / ".flopledger-mine").mkdir()
    write_whole(tmp_path, FILES)
    assert {*FILES, ".flopledger-part-young", ".flopledger-mine"} == {path.name for path in tmp_path.iterdir()}


# --- signals, and two at once

WRITER = """
import sys, threading, time
from pathlib import Path
from flopledger.reports.documents import writing

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()  # as the library that draws charts has
real = Path.replace
def slow(self, target):
    found = real(self, target)
    print("renamed", flush=True)
    time.sleep(0.15)
    return found
Path.replace = slow
names = ["report.md", "report.html", "run.json"]
files = {name: sys.argv[2].encode() for name in (names[::-1] if sys.argv[2] == "two" else names)}
print("begins", flush=True)
while sys.argv[2] in ("one", "two") and not Path(f"{sys.argv[1]}-go").exists():
    time.sleep(0.001)
writing.write_whole(Path(sys.argv[1]), files)
print("written", flush=True)
time.sleep(60 if len(sys.argv) > 3 else 0)
"""


def writer(folder: Path, content: str, *more: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(folder), content, *more]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], ids=lambda s: s.name)
def test_a_signal_between_two_renames_comes_after_the_last(tmp_path: Path, number: signal.Signals) -> None:
    """A page of the new run beside run.json of the old one is what a report must never be; and the signal counts."""
    for name in FILES:
        (tmp_path / name).write_bytes(b"old")
    process = writer(tmp_path, "new", "and then wait")
    assert process.stdout is not None
    assert ["begins\n", "renamed\n"] == [process.stdout.readline() for _ in range(2)]
    process.send_signal(number)
    assert process.wait(timeout=20) in (-number, 1)
    assert dict.fromkeys(FILES, b"new") == contents(tmp_path)


def test_after_sigkill_every_file_is_whole(tmp_path: Path) -> None:
    """Nothing holds off SIGKILL: some files may be new and some old, and none is missing, or half."""
    for name in FILES:
        (tmp_path / name).write_bytes(b"old")
    process = writer(tmp_path, "new")
    assert process.stdout is not None
    assert ["begins\n", "renamed\n"] == [process.stdout.readline() for _ in range(2)]
    process.kill()
    process.wait()
    assert {b"old", b"new"} == {(tmp_path / name).read_bytes() for name in FILES}


def test_of_two_at_once_one_wins(tmp_path: Path) -> None:
    """Two terminals, one folder: the pages are all of the one or all of the other."""
    folder = tmp_path / "out"
    both = [writer(folder, content) for content in ("one", "two")]
    for process in both:
        assert process.stdout is not None
        assert "begins\n" == process.stdout.readline()
    (tmp_path / "out-go").touch()  # the one begins with the page, the other with the document
    assert [0, 0] == [process.wait(timeout=30) for process in both]
    assert 1 == len(set(contents(folder).values()))
    assert set(FILES) == contents(folder).keys()


def test_another_thread_writes_as_well(tmp_path: Path) -> None:
    """Only the main thread may set handlers of signals; a server writes reports in others."""
    failed: list[BaseException] = []

    def write() -> None:
        try:
            write_whole(tmp_path, FILES)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert ([], FILES) == (failed, contents(tmp_path))
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


def test_asking_for_a_file_makes_none(tmp_path: Path) -> None:
    """`snapshot` asks before it counts."""
    check_file(tmp_path / "new" / "base.json")
    check_file(Path("/dev/null"))
    with pytest.raises(IsADirectoryError):
        check_file(tmp_path)
    assert [] == list(tmp_path.iterdir())
