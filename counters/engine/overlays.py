"""Published releases as overlays: installed once beside the user's environment, never into it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import platformdirs
from packaging.version import InvalidVersion, Version

INSTALL_TIMEOUT = 300.0
STAGING = ".installing-"


class OverlayError(ValueError):
    """A release that cannot be had; the message is one line."""


class Unreachable(OverlayError):
    """What may be otherwise tomorrow: no network, a full disk, a release that is not published yet."""


def split(name: str) -> tuple[str, str | None]:
    """`thop==0.1.1` in two; the release is None where none is named.

    Raises:
        OverlayError: what follows `==` is no version.
    """
    counter, equals, release = name.partition("==")
    if not equals:
        return name, None
    try:
        return counter, str(Version(release))
    except InvalidVersion:
        raise OverlayError(f"{release!r} in {name!r} is not a version; write {counter}==1.2.3") from None


def cache() -> Path:
    """Where overlays are kept; the environment variable FLOPLEDGER_CACHE overrides the usual place."""
    return Path(os.environ.get("FLOPLEDGER_CACHE") or platformdirs.user_cache_dir("flopledger"))


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
    """The folder of an overlay, installed or not."""
    return cache() / "overlays" / f"{distribution}-{release}"


def overlay(distribution: str, release: str) -> Path:
    """The folder that holds this release alone, installed by pip if it is not there yet.

    pip works in a folder of its own, which is renamed into place when it is whole: an install that
    is killed half-way is never found, and of two at once the first wins.

    Raises:
        OverlayError: pip could not install it (no such release, no network, a full disk).
    """
    if distribution in ("", "torch"):
        raise OverlayError(f"{distribution or 'this counter'} has no overlays: it is not a package beside torch")
    place = where(distribution, release)
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _clear_away(place.parent)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=place.parent))
    except OSError as error:
        raise Unreachable(f"cannot write to {place.parent}: {error.strerror or error}") from None
    try:
        _install(f"{distribution}=={release}", staging)
        try:
            staging.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was first, with the same files
                raise
    except OSError as error:
        raise Unreachable(f"cannot install {distribution}=={release}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return place


def _clear_away(folder: Path) -> None:
    """Remove what installs that were killed have left behind."""
    for left in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * INSTALL_TIMEOUT:
                shutil.rmtree(left, ignore_errors=True)


def _install(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
               "--retries", "2", "--no-deps", "--no-compile", "--target", str(folder), requirement]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"pip did not install {requirement} within {INSTALL_TIMEOUT:g} s") from None
    if done.returncode:
        passing = [*_SIGNS, "No matching distribution"]
        kind = Unreachable if any(sign in done.stderr for sign in passing) else OverlayError
        raise kind(f"cannot install {requirement}: {why(done.stderr)}")


_SIGNS = {
    "Retrying (": "the package index cannot be reached",
    "No space left": "no space left on the disk",
    "Disk quota": "the disk quota is used up",
}


def why(said: str) -> str:
    """The line of pip's output that tells the reason."""
    for sign, meaning in _SIGNS.items():
        if sign in said:
            return meaning
    lines = [line.strip() for line in said.splitlines()]
    # What the release's own setup.py raised tells more than pip's word for it.
    raised = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b: ", line)]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    reason = next(iter([*reversed(raised), *errors]), "pip failed")
    reason = re.sub(r"\S*/pip-\w+-\w+/[^/\s]+/", "", reason)  # a folder of pip's own, which is gone by now
    return re.sub(r"\s*\(from versions: [^)]*\)", "", reason)


def put_first(folder: str) -> None:
    """Make this process import what is in the overlay, and nothing that was imported of it before."""
    names = _packages(folder)
    for name in [n for n in sys.modules if n.partition(".")[0] in names]:
        del sys.modules[name]
    sys.path.insert(0, folder)


def came_from(folder: str) -> bool:
    """Whether something was imported from the overlay, and none of its packages from anywhere else."""
    names = _packages(folder)
    files = [
        str(getattr(module, "__file__", None) or folder)  # a namespace package has no file
        for name, module in [*sys.modules.items()]
        if name.partition(".")[0] in names
    ]
    return bool(files) and all(Path(file).is_relative_to(folder) for file in files)


def _packages(folder: str) -> set[str]:
    return {path.stem for path in Path(folder).iterdir() if path.suffix in ("", ".py")} - {"bin"}
