"""Which releases a distribution has, and when each was uploaded, as the package index says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from flopledger.counters.engine.overlays import OverlayError, cache, write_file

TIMEOUT = 20.0
FRESH = timedelta(hours=1)  # for so long an answer is not asked for again
_JSON = "application/vnd.pypi.simple.v1+json"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One published version. `obstacle` says why pip could not install any of its files."""

    version: str
    uploaded: str
    yanked: str | None = None
    obstacle: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """All releases in order of upload; `trouble` says why a list kept from `asked` had to do."""

    distribution: str
    asked: str
    releases: list[Release]
    trouble: str | None = None


def published(distribution: str, *, ask: bool = False) -> Listing:
    """The releases of a distribution, oldest upload first.

    The index is asked at most once an hour, unless `ask`; where it cannot be reached, the list that
    was kept the last time has to do.

    Raises:
        OverlayError: the index cannot be reached and no list is kept, or it has no such project.
    """
    if distribution in ("", "torch"):
        raise OverlayError(f"{distribution or 'this counter'} has no overlays: it is not a package beside torch")
    place = cache() / "index" / f"{canonicalize_name(distribution)}.json"
    kept: Listing | None = None
    try:
        kept = msgspec.json.decode(place.read_bytes(), type=Listing)
        if not ask and datetime.now(UTC) - datetime.fromisoformat(kept.asked) < FRESH:
            return kept
    except (OSError, msgspec.MsgspecError, ValueError):
        pass
    try:
        found = read(distribution, _asked(distribution))
    except OverlayError as error:
        if kept is None:
            raise
        return msgspec.structs.replace(kept, trouble=str(error))
    with contextlib.suppress(OverlayError):  # then it is asked again the next time
        write_file(place, msgspec.json.format(msgspec.json.encode(found), indent=1))
    return found


def _asked(distribution: str) -> Any:
    """The index's answer (PEP 691). Raises OverlayError, one line."""
    url = f"{_index()}/{canonicalize_name(distribution)}/"
    try:
        if not url.startswith(("https://", "http://")):
            raise ValueError("only indexes at http(s) addresses can be listed")
        request = urllib.request.Request(url, headers={"Accept": _JSON})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if not response.headers.get("Content-Type", "").startswith(_JSON):
                raise ValueError("it does not answer in JSON (PEP 691), which has the upload times")
            return json.load(response)
    except urllib.error.HTTPError as error:
        reason = "there is no such project" if error.code == 404 else f"HTTP status {error.code}"
    except urllib.error.URLError as error:
        reason = str(getattr(error.reason, "strerror", None) or error.reason)
    except (OSError, ValueError) as error:
        reason = str(error)
    raise OverlayError(f"cannot ask the package index for the releases of {distribution}: {reason}")


def _index() -> str:
    """The index that pip is set up to use."""
    url = os.environ.get("PIP_INDEX_URL")
    if not url:
        command = [sys.executable, "-P", "-m", "pip", "config", "get", "global.index-url"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        url = done.stdout.strip() if done.returncode == 0 else ""
    return (url or "https://pypi.org/simple").rstrip("/")


def read(distribution: str, answer: Any) -> Listing:
    """The releases in an index's answer; a release is as old as the first of its files that pip installs.

    Raises:
        OverlayError: the answer has another shape.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for file in answer["files"]:
            version = _version(distribution, file["filename"])
            if version:
                found.setdefault(version, []).append(file)
        releases = [
            Release(
                version=version,
                uploaded=min((not _installs(f["filename"]), str(f["upload-time"])) for f in files)[1][:19],
                yanked=next((str(f["yanked"]) for f in files if f.get("yanked")), None),
                obstacle=None if any(_installs(f["filename"]) for f in files) else "published as an egg only, "
                "which pip does not install",
            )
            for version, files in found.items()
        ]  # fmt: skip
    except (KeyError, TypeError) as error:
        raise OverlayError(f"the package index's answer for {distribution} makes no sense ({error!r})") from None
    releases.sort(key=lambda release: (release.uploaded, Version(release.version)))
    return Listing(
        distribution=distribution,
        asked=datetime.now(UTC).isoformat(timespec="seconds"),
        releases=releases,
    )


def _installs(filename: str) -> bool:
    return filename.endswith((".whl", ".tar.gz", ".zip", ".tar.bz2"))


def _version(distribution: str, filename: str) -> str | None:
    """The version in a file's name, None where there is none of PEP 440."""
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        # The name's own length is known, so a dash in the version (thop-0.0.22-1906241147.tar.gz) does no harm.
        stem = re.sub(r"\.tar\.\w+$|\.zip$|-py[\d.]+(-\w+)*\.egg$", "", filename)[len(distribution) :]
        return str(Version(stem[1:])) if stem[:1] == "-" else None
    except (InvalidVersion, InvalidWheelFilename):
        return None
