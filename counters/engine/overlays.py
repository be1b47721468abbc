"""Published releases as overlays: installed once beside the user's environment, never into it."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import os
import re
import reprlib
import shutil
import stat
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import platformdirs
from filelock import FileLock
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from flopledger.counters.engine.installer import INSTALL_TIMEOUT, OverlayError, Unreachable, install

__all__ = ["INSTALL_TIMEOUT", "OverlayError", "Unreachable", "cache", "came_from", "is_ready", "overlay", "put_first",
           "read_file", "sound", "split", "where", "write_file"]  # fmt: skip
STAGING = ".installing-"
_MOST_READ = 1 << 28  # bytes of a file in the cache
_LONGEST = 100  # characters of a version; the longest published one of a counter has 24


def split(name: str) -> tuple[str, str | None]:
    """`thop==0.1.1` in two; the release is None where none is named.

    Raises:
        OverlayError: what follows `==` is no version, or nothing is before it.
    """
    counter, equals, release = name.partition("==")
    if not equals:
        return name, None
    counter, release = counter.strip(), release.strip()
    if not counter:
        raise OverlayError(f"no counter is named before == in {reprlib.repr(name)}; write COUNTER==1.2.3")
    if len(release) <= _LONGEST and release.isascii():  # packaging raises something else for too many digits
        with contextlib.suppress(InvalidVersion):
            return counter, str(Version(release))
    raise OverlayError(f"{reprlib.repr(release)} in {reprlib.repr(name)} is not a version; write COUNTER==1.2.3")


def cache() -> Path:
    """Where overlays are kept; the environment variable FLOPLEDGER_CACHE overrides the usual place."""
    place = Path(os.environ.get("FLOPLEDGER_CACHE") or platformdirs.user_cache_dir("flopledger"))
    with contextlib.suppress(RuntimeError):  # ~ of somebody who is not known here is a folder of that name
        place = place.expanduser()
    return place.absolute()


def read_file(place: Path) -> bytes:
    """The content of a file in the cache; a FIFO or a device in its place is not waited for. Raises OSError."""
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_READ:
            raise OSError(f"{place} is no file of ours")
        return file.read()


def write_file(place: Path, content: bytes) -> None:
    """Put a file into the cache, whole or not at all.

    Raises:
        OverlayError: the disk does not take it.
    """
    part = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=".", dir=place.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(part).replace(place)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        raise Unreachable(f"cannot write to {place.parent}: {error.strerror or error}") from None


def where(distribution: str, release: str) -> Path:
    """The folder of an overlay, installed or not; whatever the names are, it is right in the folder of overlays."""
    name = re.sub(r"[^\w.+!-]", "_", f"{distribution}-{release}", flags=re.ASCII)
    return cache() / "overlays" / name[:200]


def is_ready(distribution: str, release: str) -> bool:
    """Whether a release is installed already, and sound."""
    return sound(where(distribution, release), distribution, release)


def overlay(distribution: str, release: str) -> Path:
    """The folder that holds this release, whole and alone; installed if it is not there, or not sound.

    The installer works in a folder of its own, which is renamed into place when it is whole: an install that
    is killed half-way is never found, and of two at once the first wins.

    Raises:
        Unreachable: it could not be installed this time (no such release, no network, a full disk).
        OverlayError: it cannot be installed by this Python, or has no overlays.
    """
    _check(distribution, release)
    place = where(distribution, release)
    _forget_bytecode(place)
    if sound(place, distribution, release):
        return place
    damaged = os.path.lexists(place)
    try:
        _install(distribution, release, place)
    except OverlayError as error:
        raise type(error)(f"its overlay {place} is damaged, and {error}" if damaged else str(error)) from None
    return place


def _check(distribution: str, release: str) -> None:
    """Raises OverlayError for what cannot be the name of a release of a package."""
    if distribution in ("", "torch"):
        raise OverlayError(f"{distribution or 'this counter'} has no overlays: it is not a package beside torch")
    try:
        canonicalize_name(distribution, validate=True)
        split(f"{distribution}=={release}")
    except (InvalidName, OverlayError):
        name = reprlib.repr(f"{distribution}=={release}")
        raise OverlayError(f"{name} names no release of a package; write NAME==1.2.3") from None


def _install(distribution: str, release: str, place: Path) -> None:
    requirement = f"{distribution}=={release}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _clear_away(place.parent)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=place.parent))
    except OSError as error:
        raise Unreachable(f"cannot write to {place.parent}: {error.strerror or error}") from None
    try:
        install(requirement, staging)
        _forget_bytecode(staging)
        if not sound(staging, distribution, release):
            raise Unreachable(f"what was installed for {requirement} is not that release with the files of its RECORD")
        _put(staging, place, distribution, release)
    except OSError as error:
        raise Unreachable(f"cannot install {requirement}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put(staging: Path, place: Path, distribution: str, release: str) -> None:
    """Rename a new overlay into its place; one that is damaged makes room first.

    Two processes may find the same overlay damaged: without a lock the later would take away what the earlier has
    put there, and is importing from.
    """
    aside = Path(tempfile.mkdtemp(prefix=STAGING, dir=place.parent))
    try:
        with FileLock(place.parent / ".lock", timeout=60):
            if sound(place, distribution, release):  # another process was first
                return
            if os.path.lexists(place):
                place.rename(aside / "damaged")
            staging.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _clear_away(folder: Path) -> None:
    """Remove what installs that were killed have left behind."""
    for left in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * INSTALL_TIMEOUT:
                shutil.rmtree(left, ignore_errors=True)


def _forget_bytecode(place: Path) -> None:
    """Python runs a `.pyc` in place of its source if only the source's size and time are as it says."""
    for folder in [*place.rglob("__pycache__")]:
        shutil.rmtree(folder, ignore_errors=True)


# --- whether it is what it should be


def sound(place: Path, distribution: str, release: str) -> bool:
    """Whether a folder holds just this release: every file of its RECORD as it was, and nothing beside them.

    A RECORD that somebody has rewritten together with the files is believed: this finds damage, not malice.
    """
    try:
        (about,) = place.glob("*.dist-info")
        found = metadata.Distribution.at(about)
        right = canonicalize_name(found.metadata["Name"]) == canonicalize_name(distribution)
        right = right and Version(found.version) == Version(release)
        return right and _holds(place, _record(place))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return False


def _record(place: Path) -> dict[str, str]:
    """The files that RECORD lists, with their hashes; "" for RECORD itself. Bytecode is not counted among them.

    With `--target`, pip moves what belongs beside the library (bin, share), and leaves `../../` before its name.
    """
    (about,) = place.glob("*.dist-info")
    rows = csv.reader((about / "RECORD").read_text(encoding="utf-8").splitlines())
    listed = {row[0].removeprefix("../../"): row[1] for row in rows if row and "__pycache__" not in row[0].split("/")}
    if not all(digest or name == f"{about.name}/RECORD" for name, digest in listed.items()):
        raise ValueError("a file without a hash")
    return listed


def _holds(place: Path, record: dict[str, str]) -> bool:
    there = {path.relative_to(place).as_posix(): path for path in place.rglob("*")}
    # An empty folder is a package to Python, too.
    folders = {parent.as_posix() for name in record for parent in Path(name).parents}
    if not record.keys() <= there.keys() <= record.keys() | folders:
        return False
    files = [(there[name], digest) for name, digest in record.items()]
    return all(
        path.is_file() and not path.is_symlink() and (not digest or _hash(path, digest.partition("=")[0]) == digest)
        for path, digest in files
    )


def _hash(path: Path, algorithm: str) -> str:
    """The hash of a file, as a RECORD writes it."""
    digest = hashlib.new(algorithm, path.read_bytes()).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


# --- importing from it


def put_first(folder: str) -> None:
    """Make this process import what is in the overlay, and nothing that was imported of it before."""
    names = _packages(folder)
    for name in [n for n in sys.modules if n.partition(".")[0] in names]:
        del sys.modules[name]
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # it would be no file of the release


def came_from(folder: str) -> bool:
    """Whether something of the overlay was imported, and all of that from files that its RECORD lists."""
    names = _packages(folder)
    listed = {str(Path(folder, name)) for name in _record(Path(folder))}
    files = [
        str(module.__file__)  # a namespace package has none
        for name, module in [*sys.modules.items()]
        if name.partition(".")[0] in names and getattr(module, "__file__", None)
    ]
    return bool(files) and all(file in listed for file in files)


def _packages(folder: str) -> set[str]:
    """The names that Python may import from an overlay."""
    return {name.partition("/")[0].partition(".")[0] for name in _record(Path(folder))} - {"bin", "share"}
