"""Published releases as overlays: installed once beside the user's environment, never into it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs
from packaging.version import InvalidVersion, Version

INSTALL_TIMEOUT = 300.0


class OverlayError(ValueError):
    """A release that cannot be had; the message is one line."""


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


def overlay(distribution: str, release: str) -> Path:
    """The folder that holds this release alone, installed by pip if it is not there yet.

    pip works in a folder of its own, which is renamed into place when it is whole: an install that
    is killed half-way is never found, and of two at once the first wins.

    Raises:
        OverlayError: pip could not install it (no such release, no network, a full disk).
    """
    if distribution in ("", "torch"):
        raise OverlayError(f"{distribution or 'this counter'} has no overlays: it is not a package beside torch")
    place = cache() / "overlays" / f"{distribution}-{release}"
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".installing-", dir=place.parent))
    except OSError as error:
        raise OverlayError(f"cannot write to {place.parent}: {error.strerror or error}") from None
    try:
        _install(f"{distribution}=={release}", staging)
        try:
            staging.rename(place)
        except OSError:
            if not place.is_dir():  # else another process was first, with the same files
                raise
    except OSError as error:
        raise OverlayError(f"cannot install {distribution}=={release}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return place


def _install(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
               "--no-deps", "--no-compile", "--target", str(folder), requirement]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise OverlayError(f"pip did not install {requirement} within {INSTALL_TIMEOUT:g} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = re.sub(r"\s*\(from versions: [^)]*\)", "", said[0].removeprefix("ERROR: ")) if said else "pip failed"
        raise OverlayError(f"cannot install {requirement}: {reason}")


def put_first(folder: str) -> None:
    """Make this process import what is in the overlay, and nothing that was imported of it before."""
    names = {path.stem for path in Path(folder).iterdir() if path.suffix in ("", ".py")}
    for name in [n for n in sys.modules if n.partition(".")[0] in names]:
        del sys.modules[name]
    sys.path.insert(0, folder)


def came_from(folder: str) -> bool:
    """Whether any imported module's file is in the overlay."""
    return any(str(getattr(module, "__file__", None) or "").startswith(folder) for module in [*sys.modules.values()])
