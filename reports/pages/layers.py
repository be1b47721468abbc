"""The modules and their operations as a tree and as a list of (site, op), with what each counter reports there."""

from __future__ import annotations

from typing import Any

import msgspec

from flopledger.reports.documents.run import Run
from flopledger.reports.pages.numbers import integer, visible
from flopledger.reports.pages.vocabulary import NOT_AN_OPERATION, op_word, place
from flopledger.reports.tree import Row, tree


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


def layer_data(run: Run) -> dict[str, Any]:
    """Both for the page's script, column by column; texts are indices into one list, None is what nobody knows."""
    texts: dict[str, int] = {}

    def text(said: str) -> int:
        return texts.setdefault(said, len(texts))

    found, listed = tree(run), layers(run)
    rows = list(found.rows())
    return {
        "counters": [[visible(tally.name), int(tally.unit == "FLOP")] for tally in run.counted()],
        "tree": {
            "depth": [row.depth for row in rows],
            "name": [text(label(row, run)) for row in rows],
            "site": [text(place(row.node.site)) for row in rows],
            "kind": [text(kind(row, run)) for row in rows],
            "output": [text("" if row.own else output(row)) for row in rows],
            "params": [integer(row.amounts.params) for row in rows],
            "macs": [integer(row.amounts.macs) for row in rows],
            "least": [int(row.amounts.unpriced > 0) for row in rows],
            "counts": [[integer(row.amounts.counts[i]) for row in rows] for i in range(len(found.counters))],
        },
        "list": {
            "site": [text(place(layer.site)) for layer in listed],
            "op": [text(op_word(layer.op) if layer.op is not None else "(whole module)") for layer in listed],
            "kind": [text(visible(layer.module.rpartition(".")[2])) for layer in listed],
            "macs": [None if layer.macs is None else integer(layer.macs) for layer in listed],
            "outputs": [integer(layer.outputs) for layer in listed],
            "counts": [
                [integer(layer.counts[i]) if layer.counts[i] or layer.macs is not None else None for layer in listed]
                for i in range(len(found.counters))
            ],
        },
        "texts": list(texts),
    }


def label(row: Row, run: Run) -> str:
    """What a row is called: as its parent calls the module, the root as the model; or the calls of its own."""
    if row.own:
        return "(its own calls)"
    return visible(row.node.name) or visible(run.model.spec)


def kind(row: Row, run: Run) -> str:
    """The class of its module, without the path."""
    if row.own:
        return ""
    if row.node.member:
        return visible(row.node.member.kind.rpartition(".")[2])
    return "(no module of the model)" if run.ledger.members else ""


def output(row: Row) -> str:
    """The shape that a module's first call gave, and how many others there were: `1×32×208×208 +2`."""
    member = row.node.member
    if member is None:
        return ""
    if not member.calls:
        return "" if row.node.children else "not called"
    shape = "–" if member.output is None else "×".join(map(str, member.output)) or "scalar"
    return f"{shape} +{member.shapes - 1}" if member.shapes > 1 else shape
