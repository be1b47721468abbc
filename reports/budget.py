"""A budget for a model: how many multiply-accumulates a forward pass may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flopledger.reports.pages.words import number, op_word, place, visible

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
        AssertionError: it takes more; the message names the sites that take most.
        ValueError: a budget that is no whole number, or what `compare` raises.
    """
    from flopledger.reports.compare import compare

    if at_most != int(at_most) or at_most < 0:
        raise ValueError(f"a budget is a whole number of MACs, not {at_most!r}")
    run = compare(model, inputs, counters=[]).run
    macs = run.ledger.totals.get("macs", 0)
    if macs > at_most:
        heaviest = sorted(run.ledger.entries, key=lambda entry: -entry["macs"])[:NAMED]
        named = ", ".join(f"{place(e.site)} ({op_word(e.op)}) {number(e['macs'])}" for e in heaviest if e["macs"])
        raise AssertionError(
            f"{visible(run.model.spec)} takes {number(macs)} MACs, {number(macs - int(at_most))} over the budget of "
            f"{number(int(at_most))}; most of them: {named}"
        )
    return int(macs)
