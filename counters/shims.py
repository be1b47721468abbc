"""The smallest help that lets an old release run on today's Python and libraries, each by name.

A shim gives back a name that Python or a library has moved or dropped. It must not be able to change
a count; tests/test_shims.py applies every one of them where the release runs without it and compares.
"""

from __future__ import annotations

import collections
import collections.abc
import importlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Shim(NamedTuple):
    """`name` is what the tally says; `needed` knows the error it mends; `apply` may run twice."""

    name: str
    needed: Callable[[Exception], bool]
    apply: Callable[[], None]


def helped(
    call: Callable[[], T], shims: Sequence[Shim], retry: Callable[[], None] = lambda: None
) -> tuple[T, list[str]]:
    """What `call` returns with as few of `shims` as it takes, and the names of those.

    `retry` clears up what a failed call has left.

    Raises:
        Exception: what the call raised, where no shim is for that.
    """
    used: list[str] = []
    while True:
        try:
            return call(), used
        except Exception as error:
            fitting = next((s for s in shims if s.name not in used and s.needed(error)), None)
            if fitting is None:
                raise
            retry()
            fitting.apply()
            used.append(fitting.name)


def imported(package: str, shims: Sequence[Shim]) -> list[str]:
    """Import `package` with as few of `shims` as it takes, and return the names of those."""
    _, used = helped(lambda: importlib.import_module(package), shims, retry=lambda: forget(package))
    return used


def forget(package: str) -> None:
    """Drop what a failed import left half-loaded."""
    top = package.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        del sys.modules[name]


class _Empty(types.ModuleType):
    """A module in which every name is there and none is of use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def empty_module(name: str, why: str) -> Shim:
    """A stand-in for a module that a release imports and does not need to count."""

    def needed(error: Exception) -> bool:
        return isinstance(error, ModuleNotFoundError) and error.name == name

    def apply() -> None:
        sys.modules.setdefault(name, _Empty(name))

    return Shim(f"{name} is an empty module: {why}", needed, apply)


def _restore_iterable() -> None:
    if not hasattr(collections, "Iterable"):
        collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]


ITERABLE = Shim(
    "collections.Iterable is collections.abc.Iterable, as before Python 3.10",
    lambda error: "'Iterable'" in str(error),
    _restore_iterable,
)
