"""One model through many FLOP counters, and every difference between their totals explained exactly.

The public names; each is imported when it is first used, so that `import flopledger` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flopledger.counters.tally import Tally
    from flopledger.reference_model.ledger import Ledger
    from flopledger.reference_model.mobilenet_v2 import MobileNetV2
    from flopledger.reference_model.quantities.registry import price
    from flopledger.reference_model.running import trace
    from flopledger.reports.budget import assert_macs
    from flopledger.reports.compare import Report, compare
    from flopledger.reports.reconcile import Reconciliation
    from flopledger.reports.table import table

_HOME = {
    "Ledger": "reference_model.ledger",
    "MobileNetV2": "reference_model.mobilenet_v2",
    "Reconciliation": "reports.reconcile",
    "Report": "reports.compare",
    "Tally": "counters.tally",
    "assert_macs": "reports.budget",
    "compare": "reports.compare",
    "price": "reference_model.quantities.registry",
    "table": "reports.table",
    "trace": "reference_model.running",
}
__all__ = [
    "Ledger", "MobileNetV2", "Reconciliation", "Report", "Tally", "assert_macs", "compare", "price", "table",
    "trace",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
