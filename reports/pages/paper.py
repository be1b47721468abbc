"""What goes into a paper: a sentence and a LaTeX row for each number, and which of them to take."""

from __future__ import annotations

import re
from collections import Counter

from flopledger.reference_model.ledger import calls_without_formula
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages.analysis import batch, macs
from flopledger.reports.pages.latex import escape
from flopledger.reports.pages.numbers import amount, giga, listed, number, signed, visible
from flopledger.reports.pages.vocabulary import PASSES, op_word
from flopledger.reports.pages.words import at_least, macs_said, shapes, unpriced_names


def includes(run: Run, tally: TallyRecord) -> list[str]:
    """What a total is made of: each op that was charged for, with its formulas, largest first."""
    counts: Counter[str] = Counter()
    formulas: dict[str, list[str]] = {}
    for line in run.convention(tally):
        if line.count:
            counts[line.op] += line.count
            formulas.setdefault(line.op, []).append(visible(line.formula))
    return [f"{op_word(op)} ({listed(list(dict.fromkeys(formulas[op])), 'or')})" for op, _ in counts.most_common()]


def _per_pass(run: Run) -> str:
    size = batch(run)
    return f"{PASSES[run.model.mode]} on an input of {shapes(run)}" + (
        f" (batch size {size})" if size is not None else ""
    )


def paper_sentence(run: Run, tally: TallyRecord | None) -> str:
    """A sentence to copy into a paper; None for the ledger's own number, multiply-accumulates only."""
    model = visible(run.model.spec)
    if tally is None or tally.total is None:
        less = f"; nor is {unpriced_names(run)}, whose cost is unknown" if run.ledger.unpriced else ""
        return (
            f"{model} needs {at_least(run, amount(macs(run), 'MAC'))} ({number(macs(run))} multiply-accumulate "
            f"operations, each worth two FLOPs) for {_per_pass(run)}, "
            f"traced with flopledger {visible(run.flopledger)}; "
            f"biases, normalization, activations, pooling and element-wise operations are not included{less}."
        )
    rest = tally.unexplained
    caveat = f" and {signed(rest)} that these formulas do not explain" if rest else ""
    made = listed(includes(run, tally)) or "no operation that has a formula"
    less = f", not {unpriced_names(run)}, whose cost is unknown" if run.ledger.unpriced else ""
    return (
        f"{model} needs {at_least(run, amount(tally.total, tally.unit))} ({number(tally.total)}) for {_per_pass(run)}, "
        f"as counted by {_version(tally)}, which includes {made}{caveat}, and nothing else{less}."
    )


def _version(tally: TallyRecord) -> str:
    return f"{visible(tally.counter)} {visible(tally.version or tally.release or '(version unknown)')}"


LATEX_COLUMNS = "model & input & batch & counter & unit & count & includes"


def paper_latex(run: Run, tally: TallyRecord | None) -> str:
    """A table row in the order of `LATEX_COLUMNS`; None for the ledger's own number."""
    if tally is None or tally.total is None:
        cells = [f"flopledger {run.flopledger}", "MAC", number(macs(run)), "multiply-accumulates only"]
    else:
        cells = [_version(tally), tally.unit, number(tally.total), ", ".join(includes(run, tally))]
    if run.ledger.unpriced:
        cells[2:] = [f"at least {cells[2]}", f"{cells[3]}, without {unpriced_names(run)} (cost unknown)".lstrip(", ")]
    size = batch(run)
    cells = [run.model.spec, shapes(run), "--" if size is None else str(size), *cells]
    row = " & ".join(escape(cell) for cell in cells) + r" \\"
    product = r"\d+(?:\$\\times\$\d+)+"  # 1×3: one formula, not a formula per sign
    return re.sub(product, lambda match: f"${match[0].replace('$', '')}$", row)


def recommended(run: Run) -> str | None:
    """Which number to put in a paper, and which counter reports it as it stands. None without a ledger.

    Where something is unpriced it is none of them.
    """
    if run.ledger.unpriced:
        names = list(calls_without_formula(run.ledger.unpriced))
        return (
            f"None of these as it stands: what {unpriced_names(run)} {'takes' if len(names) == 1 else 'take'} is "
            f"unknown, so the ledger has {macs_said(run)}. Give {'it' if len(names) == 1 else 'them'} a price "
            '(flopledger.price) and count again, or say "at least" and what is left out.'
        )
    if not macs(run):
        return None
    exact = [visible(tally.name) for tally in run.counted() if tally.total == macs(run)]
    double = [visible(tally.name) for tally in run.counted() if tally.total == 2 * macs(run)]
    text = (
        f"Use the ledger's {number(macs(run))} MACs ({giga(macs(run))}): pure multiply-accumulates, "
        "the one quantity that every counter can be checked against."
    )
    if exact:
        text += f" {listed(exact)} {'reports' if len(exact) == 1 else 'report'} exactly this number."
    if double:
        text += (
            f" {listed(double)} {'reports' if len(double) == 1 else 'report'} exactly twice it, "
            f"{number(2 * macs(run))}: the same count in FLOPs."
        )
    if not exact and not double:
        text += " No counter here reports exactly this number; each adds operations of its own."
    return text
