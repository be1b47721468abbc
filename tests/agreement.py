"""What the tests of published releases share: run them, and ask whether their conventions hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from flopledger.counters import registry
from flopledger.counters.engine.plan import count_all
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import align


def counted(names: Sequence[str], model: str, *shapes: str) -> tuple[Ledger, dict[str, Tally]]:
    """The ledger and the tally of each COUNTER==RELEASE; skips where one cannot be had here."""
    ledger, tallies = count_all(names, Spec.parse(model, list(shapes)))
    for tally in tallies:
        if tally.status == "unavailable":
            pytest.skip(f"{tally.name}: {tally.reason}")
    return ledger, {tally.name: tally for tally in tallies}


def disagreeing(ledger: Ledger, tallies: Mapping[str, Tally]) -> list[str]:
    """The tallies whose convention does not give what was reported at every site, and where."""
    found = []
    for tally in tallies.values():
        side = align(tally, registry.get(tally.counter).convention(tally.version), ledger)
        if tally.status != "counted" or side.sites != side.agree or side.failures:
            found.append(f"{tally.name}: {tally.reason or side.failures}")
    return found
