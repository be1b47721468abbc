"""The documentation's site: built from the pages and the commands, whole, and without anybody else's help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main
import yaml
from browsing import logs, wait
from filelock import FileLock

from flopledger.reports.command.main import app

TOP = Path(__file__).parent.parent


def sphinx(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """The step of `.ci/run`."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", out.with_suffix(".trees"), source, out]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site, once for all processes of `pytest -n`."""
    shared = Path(os.environ["FLOPLEDGER_TEST_LOCKS"])
    with FileLock(shared / "site.lock"):
        if not (shared / "site").exists():
            done = sphinx(TOP / "docs", shared / "new")
            assert 0 == done.returncode, done.stderr
            (shared / "new").rename(shared / "site")
    return shared / "site"


class Page(HTMLParser):
    """What a page leads to, what it asks for, its anchors, its words."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.asks: list[str] = []
        self.anchors: set[str] = set()
        self.words: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if "href" in given:
            (self.asks if "link" == tag else self.links).append(given["href"])
        if "src" in given:
            self.asks.append(given["src"])

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    """Sphinx checks what it makes links of; this reads what came out, images and styles too."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert {"index", "commands", "security", "changelog", *(path.stem for path in TOP.glob("docs/*.md"))} <= {
        path.stem for path in pages
    }
    followed = 0
    for path, page in pages.items():
        for link in page.links + page.asks:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                assert link in page.links, f"{path.name} asks another host for {link}"
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            assert target.exists(), f"{path.name}: {link}"
            assert not to.fragment or target not in pages or unquote(to.fragment) in pages[target].anchors, link
            followed += 1
    assert followed > 500


def bare(text: str) -> str:
    """Without what Markdown may take away: spaces, and the marks of code."""
    return "".join(text.split()).replace("`", "")


def test_the_reference_says_all_that_the_commands_say(site: Path) -> None:
    """Markdown eats a star, a bracket or a doubled dash without a word; what nobody describes is not found."""
    shown = bare("".join(Page(site / "commands.html").words))
    group = typer.main.get_group(app)
    context = typer.Context(group, info_name="flopledger")
    assert len(group.commands) > 10
    for name, command in group.commands.items():
        options = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
        assert len(options) > 1
        for said in (f"flopledger {name}", command.help or "", *(text for record in options for text in record)):
            assert bare(said) in shown, (name, said)


def test_a_broken_link_or_anchor_fails_the_build(tmp_path: Path) -> None:
    """A site that is built with dead links is found out by its readers."""
    pages = tmp_path / "pages"
    pages.mkdir()
    shutil.copy(TOP / "docs" / "conf.py", pages)
    (pages / "index.md").write_text("# One\n\n[a](gone.md) [b](#nowhere) [c](#two)\n\n## Two\n")
    done = sphinx(pages, tmp_path / "out")
    assert 1 == done.returncode
    assert re.search(r"index\.md:3: WARNING: .*gone\.md", done.stderr), done.stderr
    assert re.search(r"index\.md:3: WARNING: .*nowhere", done.stderr)
    assert "two" not in done.stderr


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_site_asks_no_other_host_and_fits_a_telephone(address: str, browser: Any) -> None:
    """Fonts and scripts from elsewhere tell elsewhere who reads what; and whoever reads may hold it in one hand."""
    logs(browser)
    try:
        for width in (1300, 400):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            for page in ("index.html", "commands.html", "published.html", "search.html?q=residual"):
                browser.get(f"{address}/{page}")
                fits = "return document.documentElement.scrollWidth <= window.innerWidth"
                assert browser.execute_script(fits), (page, width)
        wait(browser, "return 0 < document.querySelectorAll('#search-results li a').length")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    errors, asked = logs(browser)
    assert not [error for error in errors if "/favicon.ico" not in error]  # that, a browser asks for of itself
    asked = [url for url in asked if not url.startswith("chrome://")]  # its own first page
    assert len(asked) > 20
    assert all(url.startswith(f"{address}/") for url in asked), asked


def test_the_citation_is_of_this_version_and_valid() -> None:
    """GitHub shows it, and Zenodo reads it, only as long as it is valid."""
    cited = yaml.safe_load((TOP / "CITATION.cff").read_text())
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert project["version"] == cited["version"]
    assert (project["name"], project["license"], project["description"]) == tuple(
        cited[key] for key in ("title", "license", "abstract")
    )
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format", TOP / "CITATION.cff"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout
