"""A budget for a model: how many multiply-accumulates a forward pass may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flopledger.reports.pages.numbers import number, visible
from flopledger.reports.pages.vocabulary import op_word, place
from flopledger.reports.pages.words import at_least, macs_said, unpriced

if TYPE_CHECKING:
    from torch import nn

NAMED = 5  # sites that a failure names


def assert_macs(model: nn.Module | str, inputs: Any = None, *, at_most: float) -> int:
    """Check that one forward pass takes at most so many MACs, by the ledger: no counter is asked.

    Args:
        model: a live module, or a spec like `"mobilenet_v2"`.
        inputs: as `compare` takes them.
        at_most: the budget, a whole number of MACs (320e6 is one).

    Returns:
        How many it takes.

    Raises:
        AssertionError: it takes more; the message names the sites that take most. Also where an operation has no
            formula: what that takes is unknown, so no budget can be promised.
        ValueError: a budget that is no whole number, or what `compare` raises.
    """
    __tracebackhide__ = True  # pytest shows the test and the message, not this
    from flopledger.reports.compare import compare

    if at_most != int(at_most) or at_most < 0:
        raise ValueError(f"a budget is a whole number of MACs, not {at_most!r}")
    run = compare(model, inputs, counters=[]).run
    macs = run.ledger.totals.get("macs", 0)
    if macs > at_most:
        heaviest = sorted(run.ledger.entries, key=lambda entry: -entry["macs"])[:NAMED]
        named = ", ".join(f"{place(e.site)} ({op_word(e.op)}) {number(e['macs'])}" for e in heaviest if e["macs"])
        raise AssertionError(
            f"{visible(run.model.spec)} takes {macs_said(run)}, {at_least(run, number(macs - int(at_most)))} over "
            f"the budget of {number(int(at_most))}; most of them: {named}"
        )
    if run.ledger.unpriced:
        raise AssertionError(
            f"{visible(run.model.spec)} takes {macs_said(run)}, and whether that is within the budget of "
            f"{number(int(at_most))} cannot be told. {unpriced(run)}"
        )
    return int(macs)
