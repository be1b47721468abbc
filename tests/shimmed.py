"""Counters with one of their shims applied beforehand, named `shimmed:COUNTER__NUMBER` (dashes as underscores)."""

from __future__ import annotations

from typing import Any

from flopledger.counters import registry


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    counter, _, number = name.partition("__")
    adapter = registry.get(counter.replace("_", "-"))
    shim = adapter.shims[int(number)]

    def count(self, model, inputs):
        shim.apply()
        shim.apply()  # a shim may be asked for twice
        return type(adapter).count(self, model, inputs)

    return type(name, (type(adapter),), {"count": count})
