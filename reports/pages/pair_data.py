"""What the page's script needs to explain any pair of counters: per tally, which rule and what amount at each call.

`templates/pair.js` reconciles from this as `flopledger.reports.reconcile` does, and says it in the words of
`flopledger.reports.pages.words`; a test holds the two together. Texts are indices into one list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flopledger.reference_model.ledger import calls_without_formula
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages import analysis, numbers, pair_words, vocabulary, words
from flopledger.reports.pages.numbers import integer
from flopledger.reports.reconcile import elements


class _Texts:
    """Every text once, as it is shown."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.index.setdefault(numbers.visible(text), len(self.index))


def pair_data(run: Run) -> dict[str, Any]:
    """The ledger's calls and every tally that counted. Ops and sites are in order of their names."""
    text = _Texts()
    counted = run.counted()
    sites = {name: i for i, name in enumerate(sorted(_sites(run)))}
    ops = {name: i for i, name in enumerate(sorted(_ops(run)))}
    return {
        "ops": [
            [text(vocabulary.op_word(op)), text(op), int(op in vocabulary.NOT_AN_OPERATION), int(op == "view")]
            for op in ops
        ],
        "sites": [text(vocabulary.place(site)) for site in sites],
        "unit": ops["unit"],
        "unpriced": _unpriced(run, text),
        "rows": {
            "op": [ops[entry.op] for entry, _ in run.rows],
            "phase": [int(entry.phase == "backward") for entry, _ in run.rows],
            "site": [sites[entry.site] for entry, _ in run.rows],
            "kind": [text(vocabulary.kind(entry)) for entry, _ in run.rows],
            "elements": [integer(elements(call)) for _, call in run.rows],
        },
        "sides": [_side(tally, ops, sites, text, analysis.blind(run, tally)) for tally in counted],
        "texts": list(text.index),
    }


def _unpriced(run: Run, text: _Texts) -> dict[str, int] | None:
    """What is unpriced, and the verb that goes with it."""
    names = calls_without_formula(run.ledger.unpriced)
    return {"names": text(words.unpriced_names(run)), "many": int(len(names) > 1)} if names else None


def _ops(run: Run) -> Iterable[str]:
    found = {"unit"} | {entry.op for entry, _ in run.rows}
    for tally in run.counted():
        found |= {aside.name for aside in tally.asides} | {f.op for f in tally.failures if f.op is not None}
    return found


def _sites(run: Run) -> Iterable[str]:
    return {entry.site for entry, _ in run.rows} | {f.site for tally in run.counted() for f in tally.failures}


def _side(tally: TallyRecord, ops: dict[str, int], sites: dict[str, int], text: _Texts, blind: bool) -> dict[str, Any]:
    return {
        "name": text(tally.name),
        "blind": int(blind),
        "off": text(pair_words.off(tally.name, tally.failures, tally)) if tally.failures else None,
        "unit": text(tally.unit),
        "total": integer(tally.total or 0),
        "claims": [[text(claim.formula), text(claim.in_macs), text(claim.because)] for claim in tally.claims],
        "rules": [claim for claim, _ in tally.rows],
        "amounts": [integer(amount) for _, amount in tally.rows],
        "failures": [
            {
                "site": None if f.level in ("op", "total") else sites[f.site],
                "op": None if f.op is None else ops[f.op],
                "nowhere": int(f.op == "unattributed" and not f.claimed),
                "reported": integer(f.reported),
                "claimed": integer(f.claimed),
            }
            for f in tally.failures
        ],
        "asides": [[ops[aside.name], integer(aside.amount), text(aside.because)] for aside in tally.asides],
    }
