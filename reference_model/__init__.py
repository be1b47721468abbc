"""What is counted: the MobileNetV2 reference, model specs, and the ledger of a forward pass."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Entry": "ledger",
    "Ledger": "ledger",
    "trace": "ledger",
    "MobileNetV2": "mobilenet_v2",
    "Spec": "spec",
    "SpecError": "spec",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    # Lazy, so that rooms which only read ledgers never import torch.
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
