"""The one store of results: an answer is filed under what determines it, and found without importing torch.

What determines it: the model and its inputs; the counter's release, or the files of its installed distribution;
Python, torch and the libraries that counting leans on; and the digest of the code that counts. A change in any of
these finds nothing, so it is counted again. A model of somebody's own also depends on the files it was made from:
which they are is known when it has been made, so they are filed with the answer, and looked at when it is found.
What a failure depends on is not known, so it holds for just this set of installed packages, these limits on
resources and this environment; what passes (no memory, no network, a full disk, a time-out) is not filed at all.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import platform
import re
import resource
import stat
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from flopledger import counters, reference_model
from flopledger.counters.engine.adapters import About
from flopledger.counters.engine.job import LEDGER, Answer
from flopledger.counters.engine.overlays import OverlayError, cache, read_file, write_file
from flopledger.counters.engine.sources import reference, source
from flopledger.counters.registry import is_editable, version_of
from flopledger.counters.tally import checked, exact
from flopledger.reference_model import inputs, subject, zoo
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.subject import Spec

__all__ = ["Kept", "Keys", "brief", "file", "find", "keep_brief", "keep_note", "note", "note_key", "reference",
           "seen", "source", "stamps", "unseen"]  # fmt: skip
T = TypeVar("T")
LEANED_ON = ("torch", "torchvision", "numpy", "pandas", "timm")
_HUGE = ("torch", "torchvision")  # thousands of files: their list, which has the digest of each, has to do
_QUANTITIES = "flopledger.quantities"  # the entry points of `flopledger.reference_model.quantities`
_READ_WHOLE = 1 << 24  # bytes; of a larger file that a model was made from, size and time have to do


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer depends on beside its key."""

    name: str
    sources: dict[str, str] = {}
    circumstances: str = ""


class Kept(Basis, frozen=True, kw_only=True):
    """An answer as it is filed, with the device it came from."""

    device: str
    answer: Answer


class Brief(Basis, frozen=True, kw_only=True):
    """What somebody made of an answer, as it is filed beside it."""

    failed: bool
    value: msgspec.Raw


class Keys:
    """What answers are filed under. What is installed is looked at once for all the subjects of a plan."""

    def __init__(self) -> None:
        self._files = functools.cache(_files_of)
        self._source = functools.cache(lambda module: _looked_up(["source", module], lambda: source(module), *_ROOMS))
        self._subject = functools.cache(lambda spec: _subject(spec, self._source))
        self._ledgers = functools.cache(self._of_ledgers)
        self._codes: dict[str, str] = {}

    def count(self, adapter: About, release: str | None, spec: Spec) -> str | None:
        """What a count depends on; None where it cannot be told, as for an editable install."""
        library = f"=={release}" if release else self._files(adapter.distribution)
        if library is None or not adapter.files:
            return None
        if adapter.name not in self._codes:
            files = map(Path, adapter.files)
            self._codes[adapter.name] = _looked_up(["code", adapter.files], lambda: adapter.code, *files)
        return _digest([adapter.identity, library, self._codes[adapter.name], self._subject(spec), _here()])

    def ledger(self, spec: Spec) -> str | None:
        """What the ledger of a model depends on; None where packages price operators and cannot be told apart."""
        others = self._ledgers()
        return None if others is None else _digest([LEDGER, *others, self._subject(spec), _here()])

    def _of_ledgers(self) -> list[Any] | None:
        points = metadata.entry_points(group=_QUANTITIES)
        others = [[point.value, self._files(point.dist.name) if point.dist else None] for point in points]
        return (
            None
            if any(files is None for _, files in others)
            else [_looked_up(["reference"], reference, *_ROOMS), others]
        )


_ROOMS = [Path(str(package.__file__)).parent for package in (reference_model, counters)]


def _looked_up(what: list[Any], make: Callable[[], str], *places: Path) -> str:
    """A digest of code, made anew only where one of these files has another time or size: parsing them takes long."""
    key = _digest([what, stamps(*places), platform.python_version()])
    found = note("@code", key)
    if found is None:
        found = make().encode()
        keep_note("@code", key, found)
    return found.decode()


def note_key(spec: Spec, *more: Any) -> str | None:
    """What something worked out from a model's ledger depends on, told by the times of files, which takes no time.

    None for a model of somebody's own, and where files of tensors go in: what those depend on is not known here.
    """
    if not subject.is_ours(spec.model) or inputs.files(spec.inputs or ()):
        return None
    return _digest([spec, stamps(*_ROOMS), _here(), _installed(), *more])


def stamps(*places: Path) -> list[Any]:
    """The size and time of files, and of every Python file in folders."""
    files = [path for place in places for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return [[str(path), _stat(str(path))] for path in files]


def unseen(names: Iterable[str]) -> bool:
    """Whether nothing at all is kept under one of these names, so that something must be counted; cheap to learn."""
    return not {_plain(name) for name in names} <= _names()


def seen(names: Iterable[str]) -> set[str]:
    """Those under which something is kept, of whatever subject; cheap to learn of many at once."""
    known = _names()
    return {name for name in names if _plain(name) in known}


def _names() -> set[str]:
    try:
        with os.scandir(cache() / "results") as entries:  # tens of thousands, of which a Path each takes a second
            return {entry.name.rpartition("-")[0] for entry in entries}
    except OSError:
        return set()


def _plain(name: str) -> str:
    """A name as part of a file's: an adapter may be named by its path."""
    readable = re.sub(r"[^\w.=:-]", "_", name)
    return readable if len(readable) <= 100 else f"{readable[-80:]}-{_digest(name)}"


def find(name: str, key: str) -> Kept | None:
    """What is kept under this key, None where that is nothing, nothing whole, or not so any more.

    A file in a cache is anybody's: it is taken for what was filed only if its digest fits and its sums hold.
    """
    try:
        kept = msgspec.json.decode(note(name, key) or b"", type=Kept)
        if kept.answer.count is not None:
            checked(kept.answer.count)
        if kept.answer.ledger is not None:
            _check_ledger(kept.answer.ledger)
    except (ValueError, RecursionError):
        return None
    return kept if kept.name == name and _holds(kept, kept.answer.status != "counted") else None


def _holds(kept: Basis, failed: bool) -> bool:
    """Whether what it came from is as it was; where it depends on the circumstances, these too."""
    if failed and kept.circumstances != _circumstances():
        return False
    return kept.sources == _contents(kept.sources)


def _check_ledger(ledger: Ledger) -> None:
    """Raises ValueError where a number cannot be one of a ledger."""
    exact(ledger.params)
    for _, call in ledger.rows():
        for value in (call.times - 1, *call.quantities.values()):
            exact(value)
    for value in ledger.totals().values():
        exact(value)


def file(name: str, key: str, device: str, answer: Answer) -> str | None:
    """File an answer; where the disk does not take it, say so in one line and go on."""
    contents = _contents(answer.sources)
    lean = msgspec.structs.replace(answer, sources=[])
    where = _circumstances() if answer.status != "counted" else ""
    kept = Kept(name=name, device=device, answer=lean, sources=contents, circumstances=where)
    return keep_note(name, key, msgspec.json.encode(kept))


def note(name: str, key: str) -> bytes | None:
    """What was kept with `keep_note`, None where that is nothing or nothing whole."""
    try:
        seal, _, content = read_file(_place(name, key)).partition(b"\n")
        return content if seal.decode() == _seal(content) else None
    except (OSError, ValueError):
        return None


def keep_note(name: str, key: str, content: bytes) -> str | None:
    """Keep what was worked out under a name and a key; where the disk does not take it, say so in one line."""
    try:
        write_file(_place(name, key), _seal(content).encode() + b"\n" + content)
    except OverlayError as error:
        return f"results are not kept: {error}"
    return None


def brief(name: str, key: str, code: Any, kind: type[T]) -> T | None:
    """What `keep_brief` has kept; it holds as long as the answer from which it was made."""
    try:
        found = msgspec.json.decode(note(name, _digest([key, code])) or b"", type=Brief)
        return msgspec.json.decode(found.value, type=kind) if _holds(found, found.failed) else None
    except (ValueError, RecursionError):
        return None


def keep_brief(name: str, key: str, code: Any, value: Any, failed: bool = False) -> None:
    """Keep what was made of an answer, for whoever needs no more of it: a ledger takes long to read, and to go through.

    `code` is the digest of what else it was made with. Without the answer, or a disk that takes it, nothing is kept.
    """
    try:
        basis = msgspec.json.decode(note(name, key) or b"", type=Basis)
    except (ValueError, RecursionError):
        return
    brief = Brief(**msgspec.structs.asdict(basis), failed=failed, value=msgspec.Raw(msgspec.json.encode(value)))
    keep_note(name, _digest([key, code]), msgspec.json.encode(brief))


def _seal(content: bytes) -> str:
    """Tells what was written by us, and is whole, from what somebody or something has changed since."""
    return hashlib.sha256(b"flopledger result " + content).hexdigest()


def _place(name: str, key: str) -> Path:
    return cache() / "results" / f"{_plain(name)}-{key}.json"


def _subject(spec: Spec, source: Callable[[str], str]) -> list[Any]:
    """What a spec stands for, as far as that is known before it is built; with the tensors that its inputs name."""
    return [*_model(spec, source), _contents(inputs.files(spec.inputs or ()))]


def _model(spec: Spec, source: Callable[[str], str]) -> list[Any]:
    where, name, _ = subject.split(spec.model)
    made = source(subject.__name__)
    if where == "":
        return [spec, made, source(subject.own(name))]
    if where == "torchvision":
        return [spec, made]
    file = where if where.endswith((".py", *subject.SAVED)) else zoo.file(where, name)
    return [spec, made, str(Path(file).resolve()) if file else "", _installed()]


def _contents(files: Iterable[str]) -> dict[str, str]:
    """What is in these files; "" for one that is not there."""
    return {file: _content(Path(file)) for file in files}


def _content(path: Path) -> str:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return ""
        if about.st_size > _READ_WHOLE:
            return f"{about.st_size} {about.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:20]
    except OSError:
        return ""


def _files_of(distribution: str) -> str | None:
    """The installed files of a distribution by name and content, "" for none; None where they are not to be had.

    Not by their times: a job of CI installs the same files anew, and should find what an earlier one has counted.
    """
    if not distribution:
        return ""
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    record = found.read_text("RECORD")
    if record is None or is_editable(found):
        return None
    names = [row[0] for row in csv.reader(record.splitlines()) if row]
    if distribution in _HUGE:
        names = [name for name in names if name.endswith("/RECORD")]
    files = [name for name in names if not name.endswith(".pyc")]
    return _digest([found.version, [[name, _content(Path(str(found.locate_file(name))))] for name in files]])


def _stat(path: str) -> list[int]:
    try:
        about = Path(path).stat()
    except OSError:
        return []
    return [about.st_size, about.st_mtime_ns]


@lru_cache(maxsize=1)  # torch does not change under a process that lives
def _here() -> list[Any]:
    leaned_on = [[version_of(name), _files_of(name) if name in _HUGE else None] for name in LEANED_ON]
    return [platform.python_version(), sys.flags.optimize, platform.machine(), leaned_on]


_HEEDED = ("PYTHON", "LD_", "TORCH", "PYTORCH", "OMP_", "MKL_", "MALLOC_", "CUDA_")  # how variables begin that matter


def _circumstances() -> str:
    """What a failure may come from beside the counter and the model: packages, limits, and what the environment says.

    What it does come from nobody knows, so it holds for just these.
    """
    limits = [getattr(resource, name) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")]
    said = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_HEEDED))
    return _digest([_installed(), [resource.getrlimit(limit) for limit in limits], _printable(said)])


def _printable(texts: list[str]) -> list[str]:
    return [text.encode("utf-8", "backslashreplace").decode() for text in texts]


def _installed() -> str:
    """The set of installed packages, by the folders of their metadata: their names hold name and version."""
    found: set[str] = set()
    for entry in sys.path:
        try:
            with os.scandir(entry) as places:  # hundreds, of which Paths would take longer than all else here
                names = [place.name for place in places]
        except OSError:
            continue
        found.update(name for name in names if name.endswith((".dist-info", ".egg-info", ".egg-link")))
    return _digest(sorted(found))


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:20]
