"""A report is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flopledger.reports.documents.writing import check_writable, write_whole

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
