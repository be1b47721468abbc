"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

_PART = ".flopledger-part-"  # where files lie until they are whole
_LEFT_OVER = 3600.0  # seconds after which a folder of parts is nobody's: its process was killed
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def write_whole(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write `files` (name → content) into `folder`, making it if need be.

    Everything is first written beside its place; only when all of it is on disk is each file renamed into
    place. An error before or during that leaves the disk as it was, and so does a signal other than SIGKILL:
    one that comes meanwhile has its effect afterwards. (In another thread than the main one it
    can only be held off for that thread.) Of two processes one comes after the other.

    A file keeps its mode. A symbolic link is followed, and its target replaced; of a file with several names (hard
    links) this name is replaced and the others keep what they had. A device, pipe or socket is refused.

    Raises:
        OSError: the folder cannot be made or written.
    """
    return _write(folder, lambda: files)


def write_made(path: Path, content: Callable[[], bytes]) -> None:
    """Write one file whole; its content is made while no other process writes there, so it may be what was there.

    Raises:
        OSError: as `write_whole`, and whatever making it raises.
    """
    place = Path(os.path.realpath(path))
    _write(place.parent, lambda: {place.name: content()})


def _write(folder: Path, made: Callable[[], Mapping[str, bytes]]) -> list[Path]:
    real = Path(os.path.realpath(folder))
    with _made(real), _alone(real), _held_off():
        files = made()
        places = [_place(real / name) for name in files]
        parents = {real, *(place.parent for place in places)}
        _clear_up(parents)
        with contextlib.ExitStack() as parts:
            staging = {parent: parts.enter_context(_staging(parent)) for parent in parents}
            pairs = [(staging[place.parent] / name, place) for name, place in zip(files, places, strict=True)]
            for (part, place), content in zip(pairs, files.values(), strict=True):
                part.write_bytes(content)
                if place.exists():
                    part.chmod(stat.S_IMODE(place.stat().st_mode))
            _swap_in(pairs)
    return [folder / name for name in files]


def write_file(path: Path, content: bytes) -> None:
    """Write one file, as `write_whole` does; a device or a pipe (`/dev/stdout`) is written through instead.

    Raises:
        OSError: it cannot be made or written.
    """
    if not through(path):
        place = Path(os.path.realpath(path))
        write_whole(place.parent, {place.name: content})
        return
    there = _open_here(path)
    if there is None:
        path.write_bytes(content)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(os.dup(there), "wb") as file:
        file.write(content)


def through(path: Path) -> bool:
    """Whether a path is no file to be replaced: a device, a pipe, or what this process prints to."""
    return path.exists() and (not (path.is_file() or path.is_dir()) or _open_here(path) is not None)


def _open_here(path: Path) -> int | None:
    """1 or 2 where that is what this process has open there; `> out.json` makes /dev/stdout a file."""
    about = path.stat()
    return next((fd for fd in (1, 2) if _opened(fd) is not None and os.path.samestat(about, os.fstat(fd))), None)


def _opened(fd: int) -> os.stat_result | None:
    try:
        return os.fstat(fd)
    except OSError:
        return None


def _place(path: Path) -> Path:
    """Where a file really goes: a symbolic link's target. Raises OSError where it cannot be replaced."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, f"{path} is a symbolic link to itself")
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder")
    if place.exists() and not place.is_file():
        raise OSError(errno.EINVAL, f"{path} is a device, a pipe or a socket, not a file")
    return place


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, which is taken away again where it was made for nothing."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        _take_away(made)
        raise


def _take_away(made: list[Path]) -> None:
    for path in made:
        with contextlib.suppress(OSError):  # it was not made, or somebody else uses it already
            path.rmdir()


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=_PART, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_up(folders: set[Path]) -> None:
    """Remove what processes left that were killed while they wrote."""
    for folder in folders:
        for left in folder.glob(f"{_PART}*"):
            with contextlib.suppress(OSError):
                if left.is_dir() and not left.is_symlink() and time.time() - left.stat().st_mtime > _LEFT_OVER:
                    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; where a file system knows no locks, there is none."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _held_off() -> Iterator[None]:
    """Signals that would end the process come afterwards.

    A mask is one thread's, and a library may have threads of its own (that which draws the charts has): so the main
    thread, which alone can, sets handlers that take note.
    """
    if threading.current_thread() is not threading.main_thread():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _ENDING}
    ours = [number for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)]
    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, handlers[number])
        for one in came:
            signal.raise_signal(one)


def _swap_in(pairs: list[tuple[Path, Path]]) -> None:
    """Rename each part into its place, and undo all of it if one of them cannot be."""
    undo: list[Callable[[], object]] = []
    try:
        for part, place in pairs:
            old = part.with_name(f"old-{part.name}")
            if place.exists():
                _keep(place, old)
                undo.append(partial(old.replace, place))
            else:
                undo.append(partial(place.unlink, missing_ok=True))
            part.replace(place)
    except OSError:
        for step in reversed(undo):
            step()
        raise


def _keep(place: Path, old: Path) -> None:
    """The old file by a second name, so that its place is never empty."""
    try:
        old.hardlink_to(place)
    except OSError:  # a file system without hard links
        shutil.copy2(place, old)


def check_writable(folder: Path) -> None:
    """Raise OSError now, rather than after the counting, if `write_whole` could not write here."""
    folder = Path(os.path.realpath(folder))
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=_PART, dir=folder):
            pass
    finally:
        _take_away(made)


def check_file(path: Path) -> None:
    """The same for `write_file`."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file, like baseline.json")
    if not through(path):
        check_writable(_place(path).parent)
