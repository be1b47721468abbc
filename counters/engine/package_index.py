"""Which releases a distribution has, and when each was uploaded, as the package index says."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urljoin

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from flopledger.counters.engine import installer
from flopledger.counters.engine.installer import OverlayError, Unreachable
from flopledger.counters.engine.overlays import cache, read_file, write_file

SILENCE = 20.0  # seconds without a byte
WHOLE = 30.0  # seconds for all of an answer, its redirects and the looking up of names
MOST = 1 << 26  # bytes of an answer; the longest on PyPI has some ten million
REDIRECTS = 10
FRESH = timedelta(hours=1)  # for so long an answer is not asked for again
_JSON = "application/vnd.pypi.simple.v1+json"
_LONGEST_NAME = 255  # characters of a file's name; no file system takes more
_LONGEST_REASON = 500


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


class _File(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    filename: str
    upload_time: datetime
    yanked: bool | str | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is of use in an index's answer (PEP 691, PEP 700)."""

    files: list[_File]


def published(distribution: str, *, ask: bool = False) -> Listing:
    """The releases of a distribution, oldest upload first.

    The index is asked at most once an hour, unless `ask`; where it cannot be reached, the list that
    was kept the last time has to do.

    Raises:
        OverlayError: the index cannot be reached and no list is kept, or it has no such project.
    """
    if distribution in ("", "torch"):
        raise OverlayError(f"{distribution or 'this counter'} has no overlays: it is not a package beside torch")
    kept = listed(distribution)
    if kept and not ask and datetime.now(UTC) - datetime.fromisoformat(kept.asked) < FRESH:
        return kept
    try:
        found = read(distribution, _asked(distribution))
    except OverlayError as error:
        if kept is None:
            raise
        return msgspec.structs.replace(kept, trouble=str(error))
    with contextlib.suppress(OverlayError):  # then it is asked again the next time
        write_file(_place(distribution), msgspec.json.format(msgspec.json.encode(found), indent=1))
    return found


def listed(distribution: str) -> Listing | None:
    """The list that was kept the last time the index was asked, however old; None where none is. Asks nobody."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        return _believed(distribution, msgspec.json.decode(read_file(_place(distribution)), type=Listing))
    return None


def _place(distribution: str) -> Path:
    return cache() / "index" / f"{canonicalize_name(distribution)}.json"


def _believed(distribution: str, kept: Listing) -> Listing | None:
    """A list from the cache, None where it is not as `read` would have made it: anybody may have edited the file."""
    asked = datetime.fromisoformat(kept.asked)
    right = (
        kept.distribution == distribution
        and kept.trouble is None
        and (asked.isoformat(timespec="seconds"), asked <= datetime.now(UTC)) == (kept.asked, True)
        and kept.releases == _ordered(kept.releases)
        and len(kept.releases) == len({Version(release.version) for release in kept.releases})
    )
    return kept if right and all(map(_is_right, kept.releases)) else None


def _is_right(release: Release) -> bool:
    texts = [text for text in (release.yanked, release.obstacle) if text is not None]
    return (
        release.version == str(Version(release.version))
        and release.uploaded == _moment(datetime.fromisoformat(release.uploaded))
        and texts == [_plain(text) for text in texts]
    )


# --- the question


def _asked(distribution: str) -> _Answer:
    """The index's answer. Raises OverlayError, one line."""
    try:
        options = installer.settings()
        if options.get("no-index", "false").lower() not in ("false", "no", "off", "0", "n", "f"):
            raise Unreachable("pip is set up to use none (no-index)")
        url, credentials = installer.parted(installer.index(options))
        return _decoded(_in_time(f"{url}/{canonicalize_name(distribution)}/", credentials, options))
    except Unreachable as error:
        raise Unreachable(f"cannot ask the package index for the releases of {distribution}: {error}") from None


def _in_time(url: str, credentials: tuple[str, str] | None, options: dict[str, str]) -> bytes:
    """The body of the answer, whatever the index does. Raises Unreachable.

    No library has a limit for headers that come byte by byte, nor for the looking up of a name, so it is asked in a
    thread that is left behind where it takes too long.
    """
    answers: SimpleQueue[bytes | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_fetched(url, credentials, options))
        except Exception as error:  # what a strange answer makes the libraries raise has no list
            answers.put(error)

    threading.Thread(target=ask, name="package index", daemon=True).start()
    try:
        answer = answers.get(timeout=WHOLE)
    except Empty:
        answer = Unreachable(f"it gave no whole answer within {WHOLE:g} s")
    if isinstance(answer, Exception):
        raise Unreachable(_reason(answer))
    return answer


def _fetched(url: str, credentials: tuple[str, str] | None, options: dict[str, str]) -> bytes:
    """The body of the answer. Redirects are followed here: a library would read the body of each, however long."""
    import requests

    end = time.monotonic() + WHOLE
    with requests.Session() as session:
        _set_up(session, options)
        for _ in range(REDIRECTS + 1):
            asked = session.get(url, auth=credentials, stream=True, allow_redirects=False, timeout=SILENCE)
            with asked as response:
                target = session.get_redirect_target(response)
                if target is None:
                    return _body(response, end)
            target = urljoin(url, target)
            if session.should_strip_auth(url, target):
                credentials = None
            url = target
    raise Unreachable(f"it redirects more than {REDIRECTS} times")


def _set_up(session: Any, options: dict[str, str]) -> None:
    """Trust whom pip trusts, and go its way; environment and .netrc are heeded by the library."""
    from requests.adapters import HTTPAdapter

    class System(HTTPAdapter):
        """With the certificates of the system beside those of certifi, as a company's own are there."""

        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, ssl_context=ssl.create_default_context(), **named)

        def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
            return super().proxy_manager_for(*arguments, ssl_context=ssl.create_default_context(), **named)

    session.mount("https://", System())
    # br and zstd have no limit to what a small answer unpacks to.
    session.headers.update({"Accept": _JSON, "Accept-Encoding": "gzip", "User-Agent": "flopledger"})
    session.verify = options.get("cert", True)
    session.cert = options.get("client-cert")
    if "proxy" in options:
        session.proxies = dict.fromkeys(("http", "https"), options["proxy"])


def _body(response: Any, end: float) -> bytes:
    if response.status_code != 200:
        raise Unreachable(_STATUS.get(response.status_code, f"HTTP status {response.status_code}"))
    if not response.headers.get("Content-Type", "").startswith(_JSON):
        raise Unreachable("it does not answer in JSON (PEP 691), which has the upload times")
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", "gzip"):
        raise Unreachable("its answer is packed by other means than gzip")
    body = bytearray()
    for part in response.iter_content(1 << 16):
        body += part
        if len(body) > MOST:
            raise Unreachable(f"its answer is longer than {MOST >> 20} MB")
        if time.monotonic() > end:
            raise Unreachable(f"it gave no whole answer within {WHOLE:g} s")
    return bytes(body)


_STATUS = {
    401: "HTTP status 401: it wants other credentials; https://USER:PASSWORD@HOST in pip's index-url, or .netrc",
    404: "there is no such project",
}


def _reason(error: Exception) -> str:
    """What was wrong at the bottom of it, without a word of the address."""
    import requests

    if isinstance(error, Unreachable):
        return str(error)
    if isinstance(error, requests.exceptions.Timeout):
        return f"it said nothing for {SILENCE:g} s"
    root: BaseException = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({root.verify_message})"
    if isinstance(root, OSError) and root.strerror:
        return str(root.strerror)
    if type(error) is OSError:  # the library's own, about a file of certificates that is not there
        return str(error)
    if isinstance(error, (requests.RequestException, OSError)):
        return f"it breaks off, or does not speak HTTP ({type(root).__name__})"
    return f"its answer makes no sense ({type(root).__name__})"


def _decoded(body: bytes) -> _Answer:
    """Nothing is made of what is of no use: 60 MB of brackets would be gigabytes of lists. Raises Unreachable."""
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreachable(f"its answer makes no sense ({_fault(error)})") from None


def _fault(error: Exception) -> str:
    """A decoder's words name types and places, never what is there; those about text may quote it."""
    return str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__


# --- the answer


def read(distribution: str, answer: Any) -> Listing:
    """The releases in an index's answer; a release is as old as the first of its files that pip installs.

    Raises:
        OverlayError: the answer has another shape.
    """
    found: dict[Version, list[_File]] = {}
    try:
        for file in msgspec.convert(answer, _Answer).files:
            version = _version(distribution, file.filename)
            if version:
                found.setdefault(version, []).append(file)  # 1.0 and 1.0.0 are one, named as it first was
        releases = [_release(version, files) for version, files in found.items()]
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise Unreachable(f"the package index's answer for {distribution} makes no sense ({_fault(error)})") from None
    asked = datetime.now(UTC).isoformat(timespec="seconds")
    return Listing(distribution=distribution, asked=asked, releases=_ordered(releases))


def _release(version: Version, files: list[_File]) -> Release:
    first = min(files, key=lambda file: (not _installs(file.filename), _moment(file.upload_time)))
    yanked = next((file.yanked for file in files if file.yanked), None)
    obstacle = "published as an egg only, which pip does not install"
    return Release(
        version=str(version),
        uploaded=_moment(first.upload_time),
        yanked=None if yanked is None else _plain(str(yanked)),
        obstacle=None if _installs(first.filename) else obstacle,
    )


def _ordered(releases: list[Release]) -> list[Release]:
    return sorted(releases, key=lambda release: (release.uploaded, Version(release.version)))


def _moment(when: datetime) -> str:
    """In UTC, as PEP 700 has it. Raises OverflowError next to the years 1 and 9999."""
    return (when.astimezone(UTC) if when.tzinfo else when).replace(tzinfo=None).isoformat(timespec="seconds")


def _plain(text: str) -> str:
    """A line of somebody else's, without what moves a terminal's cursor or cannot be written."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST_REASON])


def _installs(filename: str) -> bool:
    return filename.endswith((".whl", ".tar.gz", ".zip", ".tar.bz2"))


def _version(distribution: str, filename: str) -> Version | None:
    """The version in a file's name, None where there is none of PEP 440."""
    if len(filename) > _LONGEST_NAME or not filename.isascii():
        return None
    try:
        if filename.endswith(".whl"):
            wheel, version, _, _ = parse_wheel_filename(filename)
            return version if wheel == canonicalize_name(distribution) else None
        # The name's own length is known, so a dash in the version (thop-0.0.22-1906241147.tar.gz) does no harm.
        stem = re.sub(r"\.tar\.\w+$|\.zip$|-py[\d.]+(-\w+)*\.egg$", "", filename)
        name, rest = stem[: len(distribution)], stem[len(distribution) :]
        same = canonicalize_name(name) == canonicalize_name(distribution)
        return Version(rest[1:]) if same and rest[:1] == "-" else None
    except (InvalidVersion, InvalidWheelFilename):
        return None


def newest(listing: Listing, version: str | None) -> Release | None:
    """The newest release to install, if it was uploaded after `version`; None where that is the newest."""
    fit = [r for r in listing.releases if not (r.yanked or r.obstacle or Version(r.version).is_prerelease)]
    if not fit or version is None or fit[-1].version == version:
        return None
    known = [release.version for release in listing.releases]
    if version in known and known.index(version) > known.index(fit[-1].version):
        return None
    return fit[-1]
