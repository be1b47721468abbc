"""The probes ask one question each, and an answer that is right by coincidence is none."""

from __future__ import annotations

from itertools import combinations

import pytest

from flopledger.counters import registry
from flopledger.reference_model import probes
from flopledger.reference_model.ledger import OPS
from flopledger.reference_model.running import trace
from flopledger.reference_model.subject import Spec

# Quantities that are equal whatever the dimensions are.
MUST = {
    ("inputs", "outputs"),  # what keeps its shape
    ("biases", "weights"),  # a norm's
    ("bias_adds", "outputs"),
    ("macs", "macs_at_output"),  # a convolution's that is not transposed
    ("rows", "samples"),  # of a matrix
    ("outputs", "states"),  # of one layer
}
CHAINED = {"multihead_attention", "multihead_attention_fused", "called_twice"}  # as wide inside as outside
WHOLE = {"baddbmm"}  # its bias is as large as its product


@pytest.mark.parametrize("name", probes.PROBES)
def test_no_two_quantities_coincide(name: str) -> None:
    """A rule that names the wrong quantity must not give the right number."""
    ledger = trace(*Spec.parse(probes.spec(name), list(probes.PROBES[name])).build("meta"))
    for entry, call in ledger.rows():
        if entry.op in ("view", "fill", "move"):
            continue
        for pair in combinations(sorted(call.quantities), 2):
            if call.quantities[pair[0]] == call.quantities[pair[1]] and pair not in MUST:
                assert (name in CHAINED and pair == ("bias_adds", "inputs")) or (name in WHOLE and "biases" in pair), (
                    pair
                )


def test_the_probes_ask_of_every_kind_of_operation_that_a_rule_speaks_of() -> None:
    """A rule that no probe reaches is never checked."""
    asked = set()
    for name, shapes in probes.PROBES.items():
        asked |= {entry.op for entry in trace(*Spec.parse(probes.spec(name), list(shapes)).build("meta"))}
    claimed = {op for name in registry.names() for rule in registry.get(name).convention(None).rules for op in rule.ops}
    assert not claimed - asked - {"unpriced"}
    assert asked <= OPS
