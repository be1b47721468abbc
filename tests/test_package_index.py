"""Which releases there are: the index's answer, and what becomes of it when there is none."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopledger.counters.engine import installer, package_index
from flopledger.counters.engine.installer import OverlayError, Unreachable
from flopledger.counters.engine.package_index import published, read


def test_the_index_answer_is_read_by_file_and_time() -> None:
    """Names with dashes in their version, eggs, yanked files and several files of one release."""

    def file(name: str, when: str, yanked: object = False) -> dict[str, object]:
        return {"filename": name, "upload-time": f"{when}T00:00:00.5Z", "yanked": yanked}

    found = package_index.read("thop", {"files": [
        file("thop-0.0.22-py3.6.egg", "2018-11-18"),
        file("thop-0.0.1-py3.6.egg", "2018-11-17"),
        file("thop-0.0.22-py3-none-any.whl", "2019-06-24"),
        file("thop-0.0.22-1906241147.tar.gz", "2019-06-25"),
        file("thop-0.0.22.post1906241147-py3-none-any.whl", "2019-06-26"),
        file("thop-0.1-py3-none-any.whl", "2017-01-01", "wrong number"),
        file("thop-latest.tar.gz", "2017-01-01"),
        file("other-1.0.tar.gz", "2017-01-01"),
    ]})  # fmt: skip
    assert ["0.1", "0.0.1", "0.0.22", "0.0.22.post1906241147"] == [r.version for r in found.releases]
    assert ["2017-01-01", "2018-11-17", "2019-06-24", "2019-06-25"] == [r.uploaded[:10] for r in found.releases]
    assert ["wrong number", None, None, None] == [r.yanked for r in found.releases]
    assert [False, True, False, False] == [bool(r.obstacle) for r in found.releases]


@pytest.mark.parametrize("answer", [{}, [], {"files": [{"filename": "mini-1.0.tar.gz"}]}, {"files": None}])
def test_an_index_that_answers_nonsense_is_one_line(answer: object) -> None:
    """A captive portal answers everything."""
    with pytest.raises(OverlayError, match="makes no sense"):
        package_index.read("mini", answer)


class Index(BaseHTTPRequestHandler):
    """A package index with one project, another that answers in HTML, and no third."""

    def do_GET(self) -> None:
        files = [{"filename": "mini-1.0.tar.gz", "upload-time": "2020-01-02T03:04:05.6Z", "yanked": False}]
        kind = "application/vnd.pypi.simple.v1+json" if self.path == "/simple/mini/" else "text/html"
        self.send_response(404 if self.path == "/simple/none/" else 200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(json.dumps({"files": files}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    with HTTPServer(("127.0.0.1", 0), Index) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_index_that_pip_uses_is_asked_and_its_answer_kept(index: HTTPServer) -> None:
    """A mirror inside a company is the only index that some machines reach."""
    found = package_index.published("Mini")
    assert [("1.0", "2020-01-02T03:04:05")] == [(r.version, r.uploaded) for r in found.releases]
    index.shutdown()
    index.server_close()
    assert found == package_index.published("Mini")
    assert "Connection refused" in str(package_index.published("Mini", ask=True).trouble)


@pytest.mark.parametrize(("name", "said"), [("none", "there is no such project"), ("html", "does not answer in JSON")])
def test_an_index_without_an_answer_is_one_line(name: str, said: str, index: HTTPServer) -> None:
    """A typing error and an old mirror are told apart."""
    with pytest.raises(OverlayError, match=said):
        package_index.published(name)


# --- an answer is somebody else's


def answer(**more: object) -> dict[str, object]:
    return {"files": [{"filename": "mini-1.0.tar.gz", "upload-time": "2020-01-02T03:04:05Z", **more}]}


@pytest.mark.parametrize(
    "bad",
    [
        answer(filename=1),
        answer(yanked=["why"]),
        *(answer(**{"upload-time": when}) for when in (
            "\x1b[2J", "**bold**", "2020", "2020-13-01T00:00:00Z", "yesterday", 1577934245, None,
            "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
        )),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_as_the_standard_has_it_is_refused(bad: object) -> None:
    """What is no date would be printed, or be a cell of a page; the line quotes nothing of it."""
    with pytest.raises(Unreachable, match=r"the package index's answer for mini makes no sense \([^\x1b*]*\)$"):
        read("mini", bad)


@pytest.mark.alone
@pytest.mark.parametrize(
    "filename",
    [
        "mini-" + "9" * 4000 + ".tar.gz",
        "mini-1." + "0" * 10_000_000 + ".tar.gz",
        *("mono-2.0.tar.gz", "mono-2.0-py3-none-any.whl", "../mini-2.0.tar.gz", "mini-1.0.exe"),
        *("mini-\ud8001.0.zip", "mini-1\x1b[2J.tar.gz", "", "-", "mini-"),
    ],
    ids=lambda name: ascii(name[:30]),
)
def test_a_file_that_is_none_of_the_distribution_is_left_out(filename: str) -> None:
    """Python refuses numbers of 4,300 digits and more, and no file system takes such a name."""
    start = time.monotonic()
    assert [] == read("mini", answer(filename=filename)).releases
    assert time.monotonic() - start < 1


def test_releases_that_are_equal_are_one() -> None:
    """1.0 and 1.0.0 are the same release to pip; two rows of one number would be a step that never was."""
    files = [*answer()["files"], *answer(filename="mini-1.0.0.tar.gz")["files"]]  # type: ignore[misc]
    assert ["1.0"] == [release.version for release in read("mini", {"files": files}).releases]


def test_a_reason_for_yanking_is_plain_text() -> None:
    """It is the uploader's own, of any length; terminals obey escapes and JSON has no lone surrogates."""
    (release,) = read("mini", answer(yanked="bad\x1b[2J\n\ud800" + "x" * 10_000)).releases
    assert str(release.yanked).startswith("bad [2J  xxx")
    assert len(str(release.yanked)) <= 500


def test_times_are_in_utc_whatever_the_index_says_them_in() -> None:
    """Releases are ordered by the text of their time."""
    for when in ("2020-01-02T05:04:05.25+02:00", "2020-01-02T03:04:05Z", "2020-01-02T03:04:05"):
        (release,) = read("mini", answer(**{"upload-time": when})).releases
        assert "2020-01-02T03:04:05" == release.uploaded


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FILE = st.fixed_dictionaries(
    {},
    optional={
        "filename": st.from_regex(r"(mini|mono)?-?[0-9.a-z!+-]*(\.tar\.gz|\.whl|\.egg|\.zip|-py3-none-any\.whl)?")
        | JSON,
        "upload-time": st.datetimes().map(datetime.isoformat) | JSON,
        "yanked": st.booleans() | st.text() | JSON,
    },
)


@given(JSON | st.fixed_dictionaries({"files": st.lists(FILE | JSON, max_size=4) | JSON}))
def test_no_answer_makes_reading_raise_another_error(value: object) -> None:
    """An index may say anything; what is made of it can always be kept, and is believed again."""
    try:
        found = read("mini", value)
    except OverlayError as error:
        assert "\n" not in str(error)
    else:
        assert found == package_index._believed("mini", found)


# --- the list that is kept


@pytest.fixture
def quick(index: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask pip for the index takes half a second, each time."""
    monkeypatch.setattr(installer, "settings", lambda: {"index-url": f"http://127.0.0.1:{index.server_port}/simple"})


def kept_file(cache: Path, **changes: object) -> Path:
    place = cache / "index" / "mini.json"
    published("mini")
    kept = json.loads(place.read_text())
    release = {key: value for key, value in changes.items() if key in ("version", "uploaded", "yanked", "obstacle")}
    kept["releases"][0] |= release
    kept |= {key: value for key, value in changes.items() if key not in release}
    place.write_text(json.dumps(kept))
    return place


TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    "change",
    [{"distribution": "other"}, {"asked": TOMORROW}, {"asked": "soon"}, {"asked": "2020-01-01"}, {"trouble": "none"},
     {"version": "one"}, {"version": "1" * 5000}, {"version": "v1.0"}, {"uploaded": "2020"}, {"uploaded": "\x1b[2J"},
     {"uploaded": "2020-01-02|03:04:05"}, {"uploaded": "2020-01-02T03:04:05Z"}, {"yanked": "\x1b[2J"},
     {"obstacle": "\n"}, {"releases": 5}, {"releases": "[" * 100_000}],
    ids=lambda change: str(change).replace(TOMORROW, "tomorrow")[:60],
)  # fmt: skip
def test_a_kept_list_that_was_changed_is_asked_for_anew(change: dict[str, object], quick: None, tmp_path: Path) -> None:
    """Anybody may edit a file in a cache; what is in it ends on pages and in the arguments of pip."""
    place = kept_file(tmp_path / "cache", **change)
    assert [("1.0", "2020-01-02T03:04:05")] == [(r.version, r.uploaded) for r in published("mini").releases]
    assert "mini" == json.loads(place.read_text())["distribution"]


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b"NaN"])
def test_a_kept_list_that_is_none_is_asked_for_anew(text: bytes, quick: None, tmp_path: Path) -> None:
    """A disk that lost power leaves all kinds of files."""
    kept_file(tmp_path / "cache").write_bytes(text)
    assert 1 == len(published("mini").releases)


# --- an index that does not behave


MOVED = b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: "
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.pypi.simple.v1+json\r\n"
GOOD = json.dumps(answer()).encode()


def drip(send: Callable[[bytes], object], text: bytes) -> None:
    for letter in text:
        send(bytes([letter]))
        time.sleep(0.1)


Wire = Callable[[Callable[[bytes], object]], object]
MISBEHAVIOUR: dict[str, tuple[Wire, str]] = {
    "no HTTP": (lambda send: send(b"banana\r\n\r\n"), "does not speak HTTP"),
    "a bad status": (lambda send: send(b"HTTP/1.1 banana\r\n\r\n"), "does not speak HTTP"),
    "nothing": (lambda send: None, "breaks off"),
    "an endless header": (lambda send: send(HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n"), "does not speak HTTP"),
    "half an answer": (lambda send: send(HEAD + b"Content-Length: 1000\r\n\r\n{"), "breaks off"),
    "half a chunk": (lambda send: send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{"), "breaks off"),
    "a chunk of no length": (lambda send: send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{"), "breaks off"),
    "deep JSON": (lambda send: send(HEAD + b"\r\n" + b"[" * 100_000), "makes no sense"),
    "deep files": (lambda send: send(HEAD + b'\r\n{"x": ' + b"[" * 100_000), "makes no sense"),
    "no JSON": (lambda send: send(HEAD + b"\r\n<html>"), "makes no sense"),
    "NaN": (lambda send: send(HEAD + b'\r\n{"files": NaN}'), "makes no sense"),
    "no UTF-8": (lambda send: send(HEAD + b'\r\n{"files": [{"filename": "\xff"}]}'), "makes no sense"),
    "a long number": (lambda send: send(HEAD + b'\r\n{"files": ' + b"9" * 5000 + b"}"), "makes no sense"),
    "bad gzip": (lambda send: send(HEAD + b"Content-Encoding: gzip\r\n\r\nbanana"), "makes no sense|breaks off"),
    "a gzip bomb": (
        lambda send: send(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(2 << 20))), "longer"),
    "other packing": (lambda send: send(HEAD + b"Content-Encoding: br\r\n\r\nx"), "other means than gzip"),
    "two packings": (lambda send: send(HEAD + b"Content-Encoding: gzip, gzip\r\n\r\nx"), "other means than gzip"),
    "a long answer": (lambda send: [send(x) for x in (HEAD, b"\r\n", b" " * (2 << 20))], "longer than 1 MB"),
    "a circle": (lambda send: send(MOVED + b"/\r\nContent-Length: 0\r\n\r\n"), "redirects more"),
    "a long redirect": (
        lambda send: send(MOVED + b"/\r\n\r\n" + b" " * 100_000), "redirects more"),
    "to a file": (lambda send: send(MOVED + b"file:///etc/passwd\r\n\r\n"), "breaks off"),
    "to nowhere": (lambda send: send(MOVED + b"http://[\r\n\r\n"), "makes no sense|breaks off"),
    "to no text": (lambda send: send(MOVED + b"http://\xff\x00/\r\n\r\n"), "sense|breaks off"),
    "forbidden": (lambda send: send(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "HTTP status 403"),
    "broken": (lambda send: send(b"HTTP/1.1 503 Oops\x1b[2J\r\n\r\n"), "HTTP status 503"),
    "a slow header": (lambda send: drip(send, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100), "no whole answer"),
    "a slow body": (lambda send: (send(HEAD + b"\r\n"), drip(send, GOOD)), "no whole answer"),
    "many continues": (lambda send: drip(send, b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "no whole answer"),
}  # fmt: skip


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Wire], None]]:
    """A server that says what it is told to, byte for byte."""
    says: list[Wire] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            with contextlib.suppress(OSError):  # it is not listened to any longer
                says[0](self.request.sendall)

    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(installer, "settings", lambda: {"index-url": address})
    monkeypatch.setattr(package_index, "WHOLE", 8.0)
    monkeypatch.setattr(package_index, "MOST", 1 << 20)
    with Threads(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/simple"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield says.append
        server.shutdown()


@pytest.mark.parametrize(("wire", "said"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_an_index_that_misbehaves_is_one_line_in_time(
    wire: Wire, said: str, misbehaving: Callable[[Wire], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captive portals, broken mirrors, and a byte a second for ever: no traceback, no wait and no gigabytes."""
    if "whole answer" in said:
        monkeypatch.setattr(package_index, "WHOLE", 0.8)
    misbehaving(wire)
    start = time.monotonic()
    with pytest.raises(Unreachable, match=said) as error:
        published("mini")
    assert time.monotonic() - start < 6
    assert str(error.value).isprintable()
    assert str(error.value).startswith("cannot ask the package index for the releases of mini: ")


def test_an_index_that_is_silent_is_told_apart(
    misbehaving: Callable[[Wire], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that swallows packets is no broken server."""
    monkeypatch.setattr(package_index, "SILENCE", 0.2)
    misbehaving(lambda send: time.sleep(1))
    with pytest.raises(Unreachable, match=r"it said nothing for 0\.2 s"):
        published("mini")


@pytest.mark.parametrize("packed", [False, True])
def test_an_index_that_behaves_is_read(packed: bool, misbehaving: Callable[[Wire], None]) -> None:
    """The tests above would pass, too, if nothing could be asked."""
    more = b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(GOOD) if packed else b"\r\n" + GOOD
    misbehaving(lambda send: send(HEAD + more))
    assert 1 == len(published("mini").releases)


# --- the address, and the password in it


PASSWORD = "p@ss wörd:%/x"
QUOTED = "p%40ss%20w%C3%B6rd%3A%25%2Fx"


class Private(Index):
    """An index that wants a user and a password, redirects `away`, and notes who came with what."""

    came: list[tuple[int, str | None]]  # port, Authorization
    other = 0

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.came.append((self.server.server_address[1], given))  # type: ignore[index]
        if self.path == "/simple/away/":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.other}/simple/mini/")
            self.end_headers()
        elif self.path == "/simple/near/":
            self.send_response(302)
            self.send_header("Location", "../mini/")
            self.end_headers()
        elif given != "Basic " + base64.b64encode(f"me@work:{PASSWORD}".encode()).decode():
            self.send_response(401)
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setattr(Private, "came", [], raising=False)
    with HTTPServer(("127.0.0.1", 0), Private) as server, HTTPServer(("127.0.0.1", 0), Private) as other:
        monkeypatch.setattr(Private, "other", other.server_port)
        for each in (server, other):
            threading.Thread(target=each.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()
        other.shutdown()


def everything(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", address)


def in_file(section: str) -> Callable[[Path, pytest.MonkeyPatch, str], None]:
    def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        other = "install" if section == "global" else "global"
        about = f"[{section}]\nindex-url = {address}\n"
        about += f"[{other}]\nindex-url = http://127.0.0.1:9/simple\n" if section == "install" else ""
        (tmp_path / "pip.conf").write_text(about)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    return write


@pytest.mark.parametrize("setting", [in_environment, in_file("global"), in_file("install")])
def test_credentials_in_the_address_are_used(
    setting: Callable[[Path, pytest.MonkeyPatch, str], None],
    private: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The index of a company is often set up so, in pip's files or the environment, and works with pip."""
    setting(tmp_path, monkeypatch, f"http://me%40work:{QUOTED}@127.0.0.1:{private}/simple")
    assert 1 == len(published("mini").releases)
    assert not {PASSWORD, QUOTED, "me%40work", "me@work"} & {
        *filter(everything(tmp_path / "cache").__contains__, [PASSWORD, QUOTED, "me%40work", "me@work"])
    }


def test_netrc_is_used(private: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where pip looks, too, when the address has no credentials."""
    (tmp_path / "netrc").write_text('machine 127.0.0.1 login me@work password "simple"\n')
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{private}/simple")
    with pytest.raises(OverlayError, match="401"):
        published("mini")
    assert [(private, "Basic " + base64.b64encode(b"me@work:simple").decode())] == Private.came


def test_a_redirect_elsewhere_does_not_carry_them(private: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may answer once would have the password; on the same host they are still needed."""
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me%40work:{QUOTED}@127.0.0.1:{private}/simple")
    with pytest.raises(OverlayError, match="401"):
        published("away")
    assert [private, Private.other] == [port for port, _ in Private.came]
    assert [True, False] == [given is not None for _, given in Private.came]
    Private.came.clear()
    assert 0 == len(published("near").releases)  # those of another name
    assert [True, True] == [given is not None for _, given in Private.came]


@pytest.mark.parametrize(
    "address",
    [
        "http://me:s3cr3tword@127.0.0.1:9/simple",
        "http://s3cr3tword@127.0.0.1:9/simple",
        "http://me:s3cr3tword@127.0.0.1:{port}/simple",
        "https://me:s3cr3tword@127.0.0.1:{port}/simple",
        "http://me:s3cr3tword@127.0.0.1:port/simple",
        "http://me:s3cr3tword@127.0.0.1:99999/simple",
        "http://me:s3cr3tword@/simple",
        "http://me:s3cr3tword@[::1/simple",
        "http://me:s3cr3tword@[fe80::1%25nope]:9/simple",
        "http://me:s3cr3tword@ho st/simple",
        "http://me:s3cr3tword@ho\x1bst/simple",
        "http://me:x/s3cr3tword@host.invalid/simple",
        "http://me:s3cr3tword@\u2100.invalid/simple",
        "ftp://me:s3cr3tword@127.0.0.1/simple",
        "me:s3cr3tword@127.0.0.1/simple",
        "file:///srv/simple",
        "/srv/simple",
    ],
)
def test_a_password_is_never_said(address: str, private: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line on a terminal ends in a ticket; an address that is none is no excuse."""
    monkeypatch.setattr(package_index, "WHOLE", 5.0)
    address = address.format(port=private) if "{port}" in address else address
    monkeypatch.setattr(installer, "settings", lambda: {"index-url": address})
    with pytest.raises(Unreachable) as error:
        published("mini")
    assert "s3cr3tword" not in f"{error.value!r}{error.getrepr(style='native')}"
    assert str(error.value).isprintable()
    assert "s3cr3tword" not in everything(tmp_path)


def test_a_configuration_that_pip_cannot_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask PyPI instead would be to take a company's package from strangers."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text("[global\nindex-url = http://me:s3cr3tword@host/simple\n")
    with pytest.raises(Unreachable, match="pip's configuration cannot be read") as error:
        published("mini")
    assert "s3cr3tword" not in str(error.value)
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\n")
    with pytest.raises(Unreachable, match="no-index"):
        published("mini")
