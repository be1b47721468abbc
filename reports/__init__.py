"""Why they differ: reconciliations, the run document, and what a person reads."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.budget import assert_macs
    from reports.report import Report, compare

__all__ = ["Report", "assert_macs", "compare"]


def __getattr__(name: str) -> Any:
    # Lazy: `import reports.cli` must not pay for what `--help` does not need.
    if name in __all__:
        return getattr(import_module("reports.budget" if name == "assert_macs" else "reports.report"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
