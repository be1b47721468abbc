"""pip and uv: what they are set up to use, why they fail, and which failure may be gone tomorrow."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from records import installed, seal

from flopledger.counters.engine import installer
from flopledger.counters.engine.installer import OverlayError, Unreachable, install
from flopledger.counters.engine.overlays import sound

BACKEND = "[build-system]\nrequires = []\nbuild-backend = 'mine'\nbackend-path = ['.']\n"
HOOKS = (
    "def build_wheel(*args, **named):\n    {0}\n\n\ndef prepare_metadata_for_build_wheel(*args, **named):\n    {0}\n"
)


def sdist(folder: Path, name: str, body: str, about: str = BACKEND) -> None:
    """A release whose build backend, its own, does this; no other package is needed to run it."""
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": about,
        "mine.py": HOOKS.format(body),
    }
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}-1.0/{path}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


def wheel(folder: Path, name: str, requires: str = ">=3") -> Path:
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "x = 1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    tree = installed(folder / "tree", name, "1.0", files)
    with (tree / about / "METADATA").open("a") as file:
        file.write(f"Requires-Python: {requires}\n")
    seal(tree)
    place = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for path in tree.rglob("*"):
            archive.write(path, path.relative_to(tree))
    shutil.rmtree(tree)
    return place


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes releases from, and nothing else: no index, no files of the machine's."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


def failure(tmp_path: Path, name: str = "mini") -> OverlayError:
    with pytest.raises(OverlayError) as error:
        install(f"{name}==1.0", tmp_path / "there")
    assert str(error.value).isprintable()
    assert str(error.value).startswith(f"cannot install {name}==1.0: ")
    return error.value


@pytest.mark.parametrize(
    ("body", "definite", "said"),
    [
        ("{}['x']", True, "KeyError: 'x'"),
        ("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')", False, "Connection refused"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", False, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_only_a_release_that_is_wrong_itself_is_wrong_for_ever(
    body: str, definite: bool, said: str, links: Path, tmp_path: Path
) -> None:
    """What is kept is not tried again; memory, disk, network and the moment must not brand a release."""
    sdist(links, "mini", body)
    error = failure(tmp_path)
    assert said in str(error)
    assert definite is (type(error) is OverlayError), error


def test_what_it_takes_to_build_may_be_there_tomorrow(links: Path, tmp_path: Path) -> None:
    """A build's own dependencies come from the index, too."""
    sdist(links, "mini", "{}['x']", BACKEND.replace("[]", "['not-there-at-all']"))
    error = failure(tmp_path)
    assert isinstance(error, Unreachable)
    assert "what it takes to build it cannot be installed" in str(error)


def test_a_release_for_another_python_is_none_for_this_one(links: Path, tmp_path: Path) -> None:
    """Requires-Python does not change, and a result holds for one Python."""
    wheel(links, "mini", ">=99")
    error = failure(tmp_path)
    assert type(error) is OverlayError
    assert "requires a different Python" in str(error) or ">=99" in str(error)


def test_what_is_not_published_may_be_tomorrow(links: Path, tmp_path: Path) -> None:
    """A mirror is an hour behind."""
    assert isinstance(failure(tmp_path), Unreachable)


BUILD = (
    "  error: subprocess-exited-with-error\n\n  × {} did not run successfully.\n  │ exit code: {}\n  ╰─> []\n      {}\n"
)


@pytest.mark.parametrize(
    ("said", "definite", "reason"),
    [
        (BUILD.format("python setup.py egg_info", 1, "AttributeError: module x has no y"), True, "module x has no y"),
        (BUILD.format("Getting requirements to build wheel", 1, "KeyError: 'x'"), True, "KeyError: 'x'"),
        (BUILD.format("Building wheel for x (pyproject.toml)", 1, "a.b.InvalidVersion: 'x'"), True, "InvalidVersion"),
        (BUILD.format("python setup.py egg_info", 1, "No module named 'setuptools'"), False, ""),
        (BUILD.format("python setup.py egg_info", 1, "ModuleNotFoundError: No module named 'wheel'"), False, "'wheel'"),
        (BUILD.format("python setup.py egg_info", 1, "MemoryError"), False, "not enough memory"),
        (BUILD.format("python setup.py egg_info", 1, "OSError: [Errno 28] No space left on device"), False, "no space"),
        (BUILD.format("python setup.py egg_info", 1, "OSError: what else\nKeyError: 'x'\nOSError: it"), False, "it"),
        (BUILD.format("python setup.py egg_info", 1, "[Errno 28] No space left\nKeyError: 'x'"), False, "no space"),
        (BUILD.format("python setup.py egg_info", 1, "RuntimeError: \x1b[2J the moon"), False, "Error:  [2J the moon"),
        (BUILD.format("python setup.py egg_info", 3, "KeyError: 'x'"), False, ""),
        (BUILD.format("python setup.py egg_info", -9, "KeyError: 'x'"), False, ""),
        (BUILD.format("pip subprocess to install build dependencies", 1, "KeyError: 'x'"), False, "what it takes"),
        (BUILD.format("installing build dependencies for mini", 1, "KeyError: 'x'"), False, "what it takes"),
        ("ERROR: Exception:\nTraceback (most recent call last):\nKeyError: 'x'\n", False, "KeyError"),
        ("WARNING: Retrying (Retry()) SSLError(CERTIFICATE_VERIFY_FAILED\nERROR: No match", False, "certificate"),
        ("ERROR: HTTP error 403 while getting https://me:pw@h/mini", False, "403 while getting https://me:****@h/mini"),
        ("ERROR: No matching distribution found for mini==1.0", False, "No matching"),
        ("ERROR: Could not find an activated virtualenv (required).", False, "virtualenv"),
        ("ERROR: Ignored the following versions that require a different python version: 0.9 Requires-Python >=9; "
         "1.0 Requires-Python >=9\nERROR: No matching distribution found", True, ">=9"),
        ("ERROR: Ignored the following versions that require a different python version: 11.0 Requires-Python >=9; "
         "1.0.1 Requires-Python >=9\nERROR: No matching distribution found for mini==1.0", False, ">=9"),
        ("", False, "no reason"),
    ],
)  # fmt: skip
def test_pip_is_understood(
    said: str, definite: bool, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are the words of pip 23 and of pip 26; what is not known for certain is of the moment."""
    (tmp_path / "said").write_text(said)
    monkeypatch.setattr(installer, "_pip", lambda *_: ["/bin/sh", "-c", f"cat {tmp_path / 'said'} >&2; exit 1"])
    error = failure(tmp_path)
    assert reason in str(error)
    assert definite is (type(error) is OverlayError)


class Broken(SimpleHTTPRequestHandler):
    """An index with one wheel, that gives it in part, gives another, or refuses."""

    content = b""

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        if self.path.endswith(".whl") and name.isdigit():
            self.send_error(int(name))
        elif self.path.endswith(".whl"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content[:100] if name == "cut" else self.content)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            fragment = f"#sha256={'0' * 64}" if name == "hash" else ""
            self.wfile.write(f'<a href="/{name}/mini-1.0-py3-none-any.whl{fragment}">mini-1.0</a>'.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def broken(links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setattr(Broken, "content", wheel(tmp_path, "mini").read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("how", ["cut", "hash"])
def test_an_index_that_fails_may_not_fail_tomorrow(
    how: str, broken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that was cut off was once kept as a release that nobody can install."""
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:s3cr3tword@127.0.0.1:{broken}/{how}")
    error = failure(tmp_path)
    assert isinstance(error, Unreachable)
    assert "s3cr3tword" not in str(error)


def test_an_installer_that_is_killed_is_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory to spare kills pip."""
    monkeypatch.setattr(installer, "_pip", lambda *arguments: ["/bin/sh", "-c", "kill -9 $$"])
    error = failure(tmp_path)
    assert isinstance(error, Unreachable)
    assert "signal 9" in str(error)


def test_an_installer_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build may hang."""
    monkeypatch.setattr(installer, "_pip", lambda *arguments: ["/bin/sleep", "60"])
    monkeypatch.setattr(installer, "INSTALL_TIMEOUT", 0.2)
    with pytest.raises(Unreachable, match=r"did not end within 0\.2 s"):
        install("mini==1.0", tmp_path)


def test_what_a_release_prints_is_without_passwords(
    links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its setup.py has the environment, and may raise with any word of it; pip masks only its own."""
    for name in ("PIP_EXTRA_INDEX_URL", "UV_INDEX_URL"):
        monkeypatch.setenv(name, f"https://me:s3cr3t%40{name[:2]}@host.invalid/simple")
    sdist(links, "mini", "import os; raise KeyError(os.environ['PIP_EXTRA_INDEX_URL'] + ' s3cr3t@PI s3cr3t%40UV')")
    error = failure(tmp_path)
    assert "https://me:****@host.invalid/simple **** ****" in str(error)
    assert "of http://me:****@h/x and http://****@h, me@h" == installer.masked(
        "of http://me:p@w@h/x and http://t0@h, me@h"
    )


def test_the_users_settings_of_python_and_pip_do_no_harm(
    links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONWARNINGS=error ends pip; `user = true` contradicts a folder; `pip.py` may lie in the working directory."""
    wheel(links, "mini")
    (tmp_path / "pip.py").write_text("raise SystemExit('taken')\n")
    (tmp_path / "uv.toml").write_text("]")
    monkeypatch.chdir(tmp_path)
    settings = {"WARNINGS": "error", "PATH": ":.", "OPTIMIZE": "2"}
    options = {"USER": "1", "DRY_RUN": "1", "TARGET": str(tmp_path / "elsewhere"), "QUIET": "3"}
    for kind, values in (("PYTHON", settings), ("PIP_", options)):
        for name, value in values.items():
            monkeypatch.setenv(kind + name, value)
    (tmp_path / "pip.conf").write_text("[global]\nuser = true\nindex-url = http://127.0.0.1:9/x\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert "http://127.0.0.1:9/x" == installer.index(installer.settings())
    install("mini==1.0", tmp_path / "there")
    assert sound(tmp_path / "there", "mini", "1.0")


# --- no pip


@pytest.fixture
def without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `uv venv` makes; returns a folder that is alone on PATH."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return programs


def test_neither_pip_nor_uv_is_one_line(without_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said "pip failed"; a uv in the working directory is nobody's."""
    monkeypatch.chdir(without_pip)
    monkeypatch.setenv("PATH", "")
    program(without_pip, "exit 0")
    error = failure(tmp_path)
    assert isinstance(error, Unreachable)
    assert str(error).endswith("pip is not in this environment, and there is no uv; python -m ensurepip")


def program(folder: Path, does: str) -> None:
    (folder / "uv").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "uv").chmod(0o755)


def test_uv_installs_where_there_is_no_pip(without_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv's own environments have no pip. The index is ours, and its password is not among the arguments."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:s3cr3tword@host.invalid/simple/")
    note = tmp_path / "note.json"
    program(without_pip, f'exec {sys.executable} {tmp_path / "uv.py"} "$@"')
    (tmp_path / "uv.py").write_text(
        "import json, os, pathlib, sys\n"
        f"pathlib.Path({str(note)!r}).write_text(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))\n"
        "pathlib.Path('.lock').touch()\n"
    )
    there = tmp_path / "there"
    there.mkdir()
    install("mini==1.0", there)
    arguments, environment, working = json.loads(note.read_text())
    assert ["pip", "install"] == arguments[:2]
    assert {"--no-deps", "mini==1.0", str(there), sys.executable} <= {*arguments}
    assert "s3cr3tword" not in " ".join(arguments)
    assert "https://me:s3cr3tword@host.invalid/simple" == environment["UV_DEFAULT_INDEX"]
    assert (str(there), []) == (working, [*there.iterdir()])


@pytest.mark.parametrize(
    ("said", "definite", "reason"),
    [
        ("  cause: Because the current Python version (3.11.7) does not satisfy\nPython>=99 and", True, "Because the"),
        ("  cause: Because there is no version of mini==1.0 and you require", False, "there is no version"),
        ("  cause: error sending request for url (http://me:pw@host/simple/)", False, "index cannot be reached"),
        ("  cause: invalid peer certificate: UnknownIssuer", False, "certificate"),
        ("  cause: Failed to resolve requirements from `build-system.requires`", False, "what it takes to build it"),
        (
            "  cause: The build backend returned an error\n"
            "  cause: Call to `mine.build_wheel` failed (exit status: 1)\n\n"
            "         [stderr]\n         Traceback (most recent call last):\n         KeyError: 'x'\n",
            True,
            "KeyError: 'x'",
        ),
        (
            "  cause: The build backend returned an error\n"
            "  cause: Call to `mine.build_wheel` failed (signal: 9 (SIGKILL))\n         KeyError: 'x'\n",
            False,
            "",
        ),
    ],
)
def test_uv_is_understood(said: str, definite: bool, reason: str, without_pip: Path, tmp_path: Path) -> None:
    """These are uv 0.13's own words."""
    (tmp_path / "said").write_text(f"error: something\n{said}\n")
    program(without_pip, f"/bin/cat {tmp_path / 'said'} >&2; exit 1")
    (tmp_path / "there").mkdir()
    error = failure(tmp_path)
    assert reason in str(error)
    assert definite is (type(error) is OverlayError)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thop==0.1.1.post2209072238", "torchinfo==1.8.0"])
def test_uv_itself_installs_what_is_sound(name: str, without_pip: Path, tmp_path: Path) -> None:
    """The flags are those of a program that changes each week."""
    subprocess.run([sys.executable.replace(str(tmp_path / "venv"), sys.base_prefix), "-m", "pip", "install", "--quiet",
                    "--target", tmp_path / "uv", "uv"], check=True)  # fmt: skip
    (without_pip / "uv").symlink_to(tmp_path / "uv" / "bin" / "uv")
    there = tmp_path / "there"
    there.mkdir()
    install(name, there)
    assert sound(there, *name.split("=="))
