"""Files written whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_whole(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write `files` (name → content) into `folder`, making it if need be.

    Everything is first written beside its place; only when all of it is on disk is each file
    renamed into place. An error before or during that leaves the folder as it was.

    Raises:
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".flopledger-", dir=folder))
    try:
        for name, content in files.items():
            (staging / name).write_bytes(content)
            if (folder / name).is_dir():
                raise IsADirectoryError(f"{folder / name} is a folder")
        _swap_in(list(files), staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [folder / name for name in files]


def _swap_in(names: list[str], staging: Path, folder: Path) -> None:
    """Rename each file into place, and undo all of it if one of them cannot be."""
    done: list[str] = []
    try:
        for name in names:
            done.append(name)
            if (folder / name).exists():
                (folder / name).rename(staging / f"old-{name}")
            (staging / name).replace(folder / name)
    except OSError:
        for name in done:
            old = staging / f"old-{name}"
            if old.exists():
                old.replace(folder / name)
            elif not (staging / name).exists():  # it was new, and had been put into place
                (folder / name).unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Raise OSError now, rather than after the counting, if `write_whole` could not write here."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(prefix=".flopledger-", dir=folder):
            pass
    finally:
        for path in made:
            path.rmdir()
