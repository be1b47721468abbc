"""Answers that are kept: what a published release says of a model does not change by itself.

An answer is filed under everything that determines it: the counter and its release, the model and
its inputs (by the ledger of their forward pass), Python, torch and the libraries that counting leans
on, and the source of our own adapter. A change in any of these finds nothing, so it is a fresh run.
What a failure depends on is not known, so it is kept for just this set of installed packages.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from counters.registry import version_of
from counters.releases import OverlayError, cache, write_file
from reference_model import spec as specs
from reference_model.ledger import Ledger
from reference_model.spec import Spec

T = TypeVar("T")
LEANED_ON = ("torch", "torchvision", "numpy", "pandas")


def load(name: str, key: str, kind: type[T]) -> T | None:
    """What was kept under this key, None where there is nothing or nothing whole."""
    try:
        return msgspec.json.decode(_place(name, key).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def keep(name: str, key: str, value: Any) -> str | None:
    """File a value; where the disk does not take it, say so in one line and go on."""
    try:
        write_file(_place(name, key), msgspec.json.encode(value))
    except OverlayError as error:
        return f"results are not kept: {error}"
    return None


def _place(name: str, key: str) -> Path:
    plain = re.sub(r"[^\w.=:-]", "_", name)  # an adapter may be named by its path
    return cache() / "results" / f"{plain}-{key}.json"


def count_key(counter: str, release: str, adapter: Any, ledger: Ledger, spec: Spec) -> str:
    """What a count of one published release depends on."""
    return _digest([counter, release, source(type(adapter).__module__), ledger_digest(ledger), _model(spec), _here()])


def failure_key(key: str) -> str:
    """The same for a failure: it may be for want of any package."""
    return _digest([key, _installed()])


def ledger_key(spec: Spec) -> str | None:
    """What the ledger of a spec depends on; None for a model whose code may be anywhere."""
    where, _, _ = specs.split(spec.model)
    if where not in ("", "torchvision"):
        return None
    return _digest([spec, reference(), _here()])


def ledger_digest(ledger: Ledger) -> str:
    """A ledger by its content."""
    return _digest([ledger.entries, ledger.params, ledger.inputs, ledger.device])


@lru_cache(maxsize=1)
def reference() -> str:
    """The source of the room that makes ledgers."""
    files = sorted(Path(specs.__file__).parent.glob("*.py"))
    return _digest([[file.name, file.read_text(encoding="utf-8")] for file in files])


@lru_cache
def source(module: str) -> str:
    """The source of an adapter, with what it imports from this package."""
    texts: dict[str, str] = {}
    open_ = [module]
    while open_:
        name = open_.pop()
        found = importlib.util.find_spec(name)
        if name in texts or found is None or not found.origin or not Path(found.origin).is_file():
            continue
        texts[name] = Path(found.origin).read_text(encoding="utf-8")
        open_ += re.findall(r"^\s*(?:from|import) (counters\.\w+)", texts[name], re.MULTILINE)
    return _digest(sorted(texts.items()))


def _model(spec: Spec) -> list[Any]:
    where, _, _ = specs.split(spec.model)
    content = hashlib.sha256(Path(where).read_bytes()).hexdigest() if where.endswith(".py") else ""
    return [spec, content]


@lru_cache(maxsize=1)
def _here() -> list[Any]:
    return [platform.python_version(), platform.machine(), [version_of(name) for name in LEANED_ON]]


@lru_cache(maxsize=1)
def _installed() -> list[str]:
    return sorted({f"{d.name} {d.version}" for d in metadata.distributions()})


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:20]
