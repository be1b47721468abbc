"""Which releases there are: the index's answer, and what becomes of it when there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flopledger.counters.engine import overlays, package_index
from flopledger.counters.engine.overlays import OverlayError


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
        threading.Thread(target=server.serve_forever, daemon=True).start()
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


def test_pip_is_not_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m pip` runs a `pip.py` that lies where the command is run."""
    (tmp_path / "pip.py").write_text("from pathlib import Path\nPath('taken').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert package_index._index().startswith("http")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(OverlayError):
        overlays._install("mini==1.0", tmp_path / "overlay")
    assert not (tmp_path / "taken").exists()
