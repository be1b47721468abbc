"""The tables of a run, once, as data that every renderer draws; those of lines are in `lines`."""

from __future__ import annotations

from flopledger.reference_model.ledger import meaning_of
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages import vocabulary, words
from flopledger.reports.pages.analysis import charge, differs, in_macs, listed_pairs, macs, matrix
from flopledger.reports.pages.blocks import Column, Kind, Table
from flopledger.reports.pages.coverage_words import seen
from flopledger.reports.pages.layers import Layer, layers
from flopledger.reports.pages.numbers import exactly, number, signed, visible
from flopledger.reports.pages.vocabulary import op_word, place

LAYERS = 500  # layers that a page without a script lists; `run.json` and the HTML have them all


def totals(run: Run) -> Table:
    """The ledger, and what each counter says beside it."""
    rows = [["ledger", visible(run.flopledger), words.at_least(run, number(macs(run))), "MAC",
             "1.000" if macs(run) else "–", "100 %" if macs(run) else "–", number(run.model.params), "–"]]  # fmt: skip
    rows += [_total(run, tally) for tally in run.tallies]
    columns = [Column("counter"), Column("version"), Column("total", True), Column("unit"), Column("÷ ledger", True, 2),
               Column("MACs seen", True), Column("parameters", True, 1),
               Column("formulas hold at", True, 3)]  # fmt: skip
    return Table(columns, rows)


def _total(run: Run, tally: TallyRecord) -> list[str]:
    name, version = visible(tally.name), visible(tally.version or "–")
    if tally.status != "counted":
        return [name, version, tally.status, "", "", "", "", ""]
    share = "–"
    if macs(run):
        share = f"{'≤ ' if run.ledger.unpriced else ''}{float(in_macs(tally) / macs(run)):.3f}"
    params = "–" if tally.params is None else number(tally.params)
    return [name, version, number(tally.total or 0), visible(tally.unit), share, seen(run, tally), params,
            words.agreement(tally)]  # fmt: skip


def formulas(run: Run) -> Table:
    """Op by op, what each counter charges."""
    columns = [Column(f"{visible(tally.name)} ({visible(tally.unit)})") for tally in run.counted()]
    rows = [
        [op_word(op), *("; ".join(map(visible, found)) for found in row.values())] for op, row in matrix(run).items()
    ]
    kinds: list[Kind] = ["on" if differs(run, op) else "same" for op in matrix(run)]
    return Table([Column("operation"), *columns], rows, kinds)


def pairs(run: Run) -> Table:
    """The pairs that `listed_pairs` lists: how far apart, as reported and in MACs, and what no formula explains."""
    amounts = ("difference", "in MACs", "by the formulas", "unexplained of the first", "of the second", "residual")
    columns = [Column("pair"), *(Column(name, True) for name in amounts)]
    rows = [
        [f"{visible(pair.left)} − {visible(pair.right)}", signed(pair.difference),
         f"{'+' if pair.in_macs > 0 else ''}{exactly(pair.in_macs)}", *map(signed, (pair.explained, *pair.off)),
         signed(pair.residual)]
        for pair in listed_pairs(run)
    ]  # fmt: skip
    return Table(columns, rows)


def convention(run: Run, tally: TallyRecord) -> Table:
    """The rules of a counter that were used, and what they charged."""
    columns = [Column("operation"), Column("formula"), Column("because"), Column("source"), Column("sites", True),
               Column("count", True)]  # fmt: skip
    rows = [
        [vocabulary.operation(line) + (f" ({visible(line.when)})" if line.when else ""), visible(charge(line)[0]),
         visible(line.because), visible(line.source), number(line.sites), charge(line)[1]]
        for line in run.convention(tally)
    ]  # fmt: skip
    return Table(columns, rows)


def quantities(run: Run) -> Table:
    """What the ledger holds in all."""
    rows = [
        [visible(name), meaning_of(name), words.at_least(run, number(total)) if name == "macs" else number(total)]
        for name, total in run.ledger.totals.items()
    ]
    return Table([Column("quantity"), Column("meaning"), Column("total", True)], rows)


def by_layer(run: Run) -> Table:
    """One row per operation and site, of many the largest: what it takes, and what each counter reports there."""
    every = layers(run)
    heaviest = sorted(range(len(every)), key=lambda i: (-_size(every[i]), i))[:LAYERS]
    columns = [Column("site"), Column("operation"), Column("MACs", True),
               *(Column(visible(tally.name), True) for tally in run.counted())]  # fmt: skip
    return Table(columns, [_layer(every[i]) for i in sorted(heaviest)])


def _size(layer: Layer) -> float:
    """What decides whether a row is shown: one of unknown size always is."""
    return float("inf") if layer.macs is None else max([layer.macs, *layer.counts])


def _layer(layer: Layer) -> list[str]:
    op = op_word(layer.op) if layer.op is not None else "(whole module)"
    known = layer.macs is not None
    counts = [number(count) if known or count else "–" for count in layer.counts]
    return [place(layer.site), op, "unknown" if layer.macs is None else number(layer.macs), *counts]
