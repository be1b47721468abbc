"""pip, or uv where there is no pip: what it is set up to use, and how it installs one release into a folder."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

INSTALL_TIMEOUT = 300.0
PYPI = "https://pypi.org/simple"
_LONGEST = 500  # characters of a reason; what a setup.py raises may be a whole page


class OverlayError(ValueError):
    """A release that cannot be had; the message is one line."""


class Unreachable(OverlayError):
    """What may be otherwise tomorrow: no network, a full disk, a release that is not published yet."""


# --- what it is set up to use


def settings() -> dict[str, str]:
    """The options that `pip install` takes from its files and the environment; uv's index where there is no pip.

    Raises:
        Unreachable: pip's own configuration cannot be read.
    """
    done = _run(_pip("config", "list"), 60.0)
    if _no_pip(done):
        names = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
        return {"index-url": next(filter(None, map(os.environ.get, names)), PYPI)}
    if done.returncode:
        raise Unreachable(f"pip's configuration cannot be read: {masked(_reason(done.stderr))}")
    lines = re.findall(r"^(global|install|:env:)\.([\w-]+)=(['\"].*)$", done.stdout, re.MULTILINE)
    found = {(section, option): str(ast.literal_eval(value)).strip() for section, option, value in lines}
    ordered = sorted(found.items(), key=lambda item: ("global", "install", ":env:").index(item[0][0]))
    return {option: value for (_, option), value in ordered if value}


def index(options: dict[str, str]) -> str:
    """The address of the index, with the credentials that may be in it."""
    return options.get("index-url", PYPI).rstrip("/")


def parted(address: str) -> tuple[str, tuple[str, str] | None]:
    """An index's address without its credentials, and these, a letter for each byte, as requests writes them.

    Raises:
        Unreachable: it is no address that can be listed.
    """
    try:
        parts = urlsplit(address)
        fault = _fault(address, parts.scheme, parts.hostname, parts.port)
    except ValueError:
        fault = "it has no valid host and port"
    if fault:
        raise Unreachable(f"the index's address {_shown(address)!r} is not one: {fault}; write https://HOST/simple")
    credentials, at, host = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    plain = urlunsplit(parts._replace(netloc=host))
    secret = (unquote_to_bytes(user).decode("latin1"), unquote_to_bytes(password).decode("latin1"))
    return plain, secret if at else None


def _fault(address: str, scheme: str, host: str | None, port: int | None) -> str:
    if not address.isprintable() or " " in address:
        return "it has a blank or a control character in it"
    if scheme not in ("https", "http"):
        return "only an index at https:// or http:// says when a release was uploaded"
    return "it has no valid host and port" if not host or port == 0 else ""


def _shown(address: str) -> str:
    """An address that may be none: whatever is before its last @ may be a password."""
    return re.sub(r"^(\w+://)?.*@", r"\1****@", address, flags=re.DOTALL)[:100]


def masked(text: str) -> str:
    """A text of pip's, or of a release's, without passwords: as pip masks them, and wherever else one that we know is.

    pip masks what it prints itself. The setup.py that it runs sees the environment, and may print anything.
    """
    for known in sorted(_passwords(), key=len, reverse=True):
        text = text.replace(known, "****")
    return _CREDENTIALS.sub(lambda found: f"://{found[1] + ':' if found[2] else ''}****@", text)


_CREDENTIALS = re.compile(r"://([^/\s:@]*)(:[^/\s]*)?@")


def _passwords() -> set[str]:
    """Those in addresses of the environment, and of pip's files where they can be read."""
    said = "\n".join(value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")))
    with contextlib.suppress(Unreachable):
        said += "\n" + _run(_pip("config", "list"), 60.0).stdout
    plain = {unquote(found[2][1:] if found[2] else found[1]) for found in _CREDENTIALS.finditer(said)}
    raw = {found[2][1:] for found in _CREDENTIALS.finditer(said) if found[2]}
    # One of three letters would be masked in the middle of words, and says no more where its address is not.
    return {word for word in plain | raw | {quote(word, safe="") for word in plain} if len(word) > 3}


# --- how it installs


def install(requirement: str, folder: Path) -> None:
    """Install one release, without what it depends on, into an empty folder.

    Raises:
        Unreachable: it may be possible tomorrow, or where something else is set up.
        OverlayError: the release itself cannot be installed by this Python: its own setup.py raises, or it excludes it.
    """
    # Only a wheel has a RECORD, and a pip before 23.1 that does not find `wheel` makes none of a setup.py.
    always = [] if importlib.util.find_spec("wheel") else ["--use-pep517"]
    command = _pip("install", "--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2",
                   "--no-deps", "--no-compile", *always, "--target", str(folder), requirement)  # fmt: skip
    try:
        done = _run(command, INSTALL_TIMEOUT)
        if _no_pip(done):
            done = _with_uv(requirement, folder)
    except Unreachable as error:
        raise Unreachable(f"cannot install {requirement}: {error}") from None
    if done.returncode:
        kind = OverlayError if _certain(requirement, done) else Unreachable
        raise kind(f"cannot install {requirement}: {masked(why(done))}")


def _pip(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "pip", *arguments]


def _no_pip(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 1 and done.stderr.rstrip().endswith("No module named pip")


def _with_uv(requirement: str, folder: Path) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    program = shutil.which("uv", path=places)
    if not program or not Path(program).is_absolute():  # one in the working directory is anybody's
        raise Unreachable("pip is not in this environment, and there is no uv; python -m ensurepip")
    address = index(settings())
    # A link would let what happens to an overlay happen to uv's own cache.
    command = [program, "pip", "install", "--quiet", "--no-deps", "--no-compile-bytecode", "--link-mode", "copy",
               "--python", sys.executable, "--target", str(folder), requirement]  # fmt: skip
    # In the folder, as uv reads a uv.toml of the working directory; by environment, as `ps` shows arguments.
    done = _run(command, INSTALL_TIMEOUT, cwd=folder, UV_DEFAULT_INDEX=address, UV_INDEX_URL=address, NO_COLOR="1")
    (folder / ".lock").unlink(missing_ok=True)
    return done


def _run(command: list[str], seconds: float, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run pip or uv to its end. Raises Unreachable where it has none, or does not begin."""
    environment = {**_clean(), **more}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        reason = f"it did not end within {seconds:g} s"
    except OSError as error:
        reason = f"{command[0]}: {error.strerror or error}"
    raise Unreachable(reason)


# Where this Python finds packages: pip itself may be among them.
_PLACES = ("PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONPLATLIBDIR")
# Options that would have pip install something else, elsewhere, not at all or without a word about it.
_ELSEWHERE = ("DRY_RUN", "EDITABLE", "LOG", "PREFIX", "PYTHON", "QUIET", "REQUIREMENT", "ROOT", "TARGET",
              "VERBOSE")  # fmt: skip
# `user = true` in pip's files contradicts a folder, and makes `pip config list` one of the user's file alone.
_OURS = {"PYTHONIOENCODING": "utf-8", "PIP_USER": "0"}


def _clean() -> dict[str, str]:
    """The environment for pip, and for the setup.py that it runs: PYTHONWARNINGS=error ends either.

    Not -I or -E: pip's children would have the variables all the same, and a pip in the user's site would be lost.
    """
    dropped = {f"PIP_{name}" for name in _ELSEWHERE} | {"UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if (name in _PLACES or not name.startswith("PYTHON")) and name not in dropped
    }
    # An empty entry, as in PYTHONPATH=:/there, is the working directory.
    places = [place for place in kept.pop("PYTHONPATH", "").split(os.pathsep) if Path(place).is_absolute()]
    return kept | ({"PYTHONPATH": os.pathsep.join(places)} if places else {}) | _OURS


# --- why it did not


_SIGNS = {
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the package index is not trusted",
    "invalid peer certificate": "the certificate of the package index is not trusted",
    "No space left": "no space left on the disk",
    "Disk quota": "the disk quota is used up",
    "MemoryError": "not enough memory",
    "Cannot allocate memory": "not enough memory",
    "DO NOT MATCH THE HASHES": "a file has another hash than the package index says",
    "Hash mismatch": "a file has another hash than the package index says",
    "Retrying (": "the package index cannot be reached",
    "error sending request": "the package index cannot be reached",
    "install build dependencies": "what it takes to build it cannot be installed",  # pip 23 to 25
    "installing build dependencies": "what it takes to build it cannot be installed",  # pip 26
    "Failed to resolve requirements from": "what it takes to build it cannot be installed",
    "Failed to install requirements from": "what it takes to build it cannot be installed",
}


def why(done: subprocess.CompletedProcess[str]) -> str:
    """The line of pip's output that tells the reason."""
    for sign, meaning in _SIGNS.items():
        if sign in done.stderr:
            return meaning
    return f"it was ended by signal {-done.returncode}" if done.returncode < 0 else _reason(done.stderr)


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines()]
    # What the release's own setup.py raised tells more than pip's word for it.
    errors = [found[1] for line in lines if (found := re.match(r"(?:ERROR: |cause: |[├╰]─▶ )(.*)", line))]
    reason = next(iter([*reversed(_raised(said)), *errors, *reversed([line for line in lines if line])]), "no reason")
    reason = re.sub(r"\S*/pip-\w+-\w+/[^/\s]+/", "", reason)  # a folder of pip's own, which is gone by now
    reason = re.sub(r"\s*\(from versions: [^)]*\)", "", reason)
    return "".join(letter if letter.isprintable() else " " for letter in reason)[:_LONGEST]


def _raised(said: str) -> list[str]:
    """The exceptions in what a setup.py printed."""
    return re.findall(r"^\s*((?:\w+\.)*\w*(?:Error|Exception|InvalidVersion|InvalidRequirement)\b: .*)$", said, re.M)


# What only code raises that is wrong, or wrong for this Python: not the disk, the network, the memory or the moment.
_OF_CODE = ("SyntaxError", "IndentationError", "TabError", "NameError", "AttributeError", "TypeError", "KeyError",
            "IndexError", "AssertionError", "ModuleNotFoundError", "InvalidVersion", "InvalidRequirement")  # fmt: skip
_BUILDING = re.compile(
    r"(Getting requirements to build|Preparing metadata|Building wheel|setup\.py)[^\n]*did not run successfully\.?"
    r"\s*\W*\s*exit code: 1\b"  # pip
    r"|The build backend returned an error\s*[^\n]*failed \(exit status: 1\)"  # uv
)
_BUILDS_WITH = re.compile(r"'(setuptools|wheel|pip|distutils)\b")


def _certain(requirement: str, done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the release itself is the reason, today and tomorrow; what is not known for certain may be otherwise."""
    said = done.stderr
    if done.returncode < 0 or any(sign in said for sign in _SIGNS):
        return False
    if _excludes(requirement.partition("==")[2], said):
        return True
    last = next(reversed(_raised(said)), "")
    kind = last.partition(":")[0].rpartition(".")[2]
    return bool(_BUILDING.search(said)) and kind in _OF_CODE and not _BUILDS_WITH.search(last)


def _excludes(release: str, said: str) -> bool:
    """Whether Requires-Python is the reason, in the words of pip or of uv."""
    words = " ".join(said.split())
    ignored = re.search(r"versions that require a different python version: (.*?)(?: ERROR:|$)", words)
    return (
        (ignored is not None and release in re.findall(r"(\S+) Requires-Python", ignored[1]))
        or "requires a different Python: " in words
        or "does not satisfy Python" in words
    )
