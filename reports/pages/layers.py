"""The per-layer table: one row per (site, op) of the ledger, with what each counter reports there."""

from __future__ import annotations

import msgspec

from flopledger.reports.documents.run import Run
from flopledger.reports.pages.vocabulary import NOT_AN_OPERATION


class Layer(msgspec.Struct, kw_only=True):
    """One row. `op` is None where a counter speaks of a whole module that holds several operations.

    `macs` is None where nobody knows: the operation is unpriced.
    """

    site: str
    op: str | None
    module: str
    macs: int | None
    outputs: int
    counts: list[int]


def layers(run: Run) -> list[Layer]:
    """All rows in the order of the ledger; parts at places it does not know come last.

    Column `i` of `counts` belongs to `run.counted()[i]` and sums to its total.
    """
    counted = run.counted()
    rows: dict[tuple[str, str | None], Layer] = {}

    def row(site: str, op: str | None, module: str = "") -> Layer:
        zeros = [0] * len(counted)
        return rows.setdefault((site, op), Layer(site=site, op=op, module=module, macs=0, outputs=0, counts=zeros))

    for entry in run.ledger.entries:
        if entry.op not in NOT_AN_OPERATION:
            at = row(entry.site, entry.op, entry.module)
            at.macs = None if entry.op == "unpriced" else (at.macs or 0) + entry["macs"]
            at.outputs += entry["outputs"]
    for column, tally in enumerate(counted):
        for part in tally.parts:
            row(part.site, part.op).counts[column] += part.count
    return list(rows.values())
