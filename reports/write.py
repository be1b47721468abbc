"""Files written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_whole(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write `files` (name → content) into `folder`, making it if need be.

    Everything is first written beside its place; only when all of it is on disk is each file
    renamed into place. An error before that leaves the folder as it was.

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
        for name in files:
            (staging / name).replace(folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [folder / name for name in files]


def check_writable(folder: Path) -> None:
    """Raise OSError now, rather than after the counting, if `write_whole` could not write here."""
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(prefix=".flopledger-", dir=folder):
        pass
    if not existed:
        folder.rmdir()
