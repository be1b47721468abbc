"""The prose that the terminal, the Markdown and the HTML share: pure functions of a run document.

Every name that comes from a model, a library or a file passes through `visible`, so a sentence is
always one line of printable text. Escaping for Markdown, HTML or LaTeX is the renderer's part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from flopledger.reference_model.ledger import Unpriced, calls_without_formula
from flopledger.reference_model.subject import IN_EVAL, NOT_GIVEN
from flopledger.reports import verdict
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages.analysis import Pair, blind, differs, in_macs, listed_pairs, macs, matrix, pairs
from flopledger.reports.pages.blocks import Loud, Paragraph
from flopledger.reports.pages.numbers import (
    amount,
    brief,
    exactly,
    few,
    listed,
    number,
    part,
    plural,
    signed,
    units,
    visible,
)
from flopledger.reports.pages.vocabulary import NOUNS, PASSES, op_word, place
from flopledger.reports.reconcile import UNIT


def shapes(run: Run) -> str:
    """The inputs: `1×3×416×416`."""
    return listed([re.sub(r"(?<=\d)x(?=\d)", "×", visible(shape)) for shape in run.model.inputs]) or "no inputs"


def at(run: Run) -> str:
    """What was counted: `resnet50 at 1×3×224×224`, and how it was run where that is not a forward in eval mode."""
    how = "" if run.model.mode == "eval" else f" ({PASSES[run.model.mode]})"
    return f"{visible(run.model.spec)} at {shapes(run)}{how}"


def by_default(run: Run) -> str:
    """What was chosen for want of a word about it: inputs, and that a model in train mode was counted in eval mode."""
    notes = [visible(note) for note in run.ledger.notes if note.startswith((NOT_GIVEN, IN_EVAL))]
    return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes)


def at_least(run: Run, text: str) -> str:
    """A number of the ledger's MACs, as what it is: `at least` where something is unpriced."""
    return f"at least {text}" if run.ledger.unpriced else text


def macs_said(run: Run) -> str:
    """The ledger's MACs: `1,024 MACs`, `at least 1,024 MACs`."""
    if run.ledger.unpriced and not macs(run):
        return "an unknown number of MACs, at least 0"
    return at_least(run, f"{number(macs(run))} MACs")


def unpriced_names(run: Run) -> str:
    """The operations without a formula: `mylib.op and mylib.other`."""
    return few([visible(name) for name in calls_without_formula(run.ledger.unpriced)])


def without_formula(calls: Mapping[str, int]) -> str:
    """`mylib.op (2 calls) may hold arithmetic and has no formula`."""
    said = few([f"{visible(name)} ({plural(n, 'call')})" for name, n in calls.items()])
    return f"{said} may hold arithmetic and {'has' if len(calls) == 1 else 'have'} no formula"


def unpriced(run: Run) -> str:
    """Which operations have no formula, where, how large, and what that makes of every number; "" if there is none."""
    by_name: dict[str, list[Unpriced]] = {}
    for found in run.ledger.unpriced:
        by_name.setdefault(found.name, []).append(found)
    if not by_name:
        return ""
    said = few([f"{visible(name)} ({_calls(found)})" for name, found in by_name.items()])
    has, them = ("has", "it") if len(by_name) == 1 else ("have", "them")
    return (
        f"UNPRICED: {said} may hold arithmetic and {has} no formula. So the ledger has {macs_said(run)}, "
        f"and a counter's total may be too small by {them}, too."
    )


def _calls(found: Sequence[Unpriced]) -> str:
    """`3 calls at a, b and c, 2×8 → 2×16`."""
    where = few(list(dict.fromkeys(place(one.site) for one in found)), 3)
    sizes = list(dict.fromkeys(f"{_sizes(one.inputs)} → {_sizes(one.output)}" for one in found if one.output))
    size = f", {listed([*sizes[:2], *([f'{len(sizes) - 2} other sizes'] if sizes[2:] else [])])}" if sizes else ""
    return f"{plural(sum(one.calls for one in found), 'call')} at {where}{size}"


def _sizes(shapes: Sequence[Sequence[int]]) -> str:
    few_of_them = ["×".join(map(str, shape)) or "scalar" for shape in shapes[:4]]
    return ", ".join(few_of_them + ["…"] * (len(shapes) > 4)) or "nothing"


def left_out(run: Run, of: Sequence[TallyRecord], whole: str) -> str:
    """That what is unpriced is in none of these totals, as far as that can be said; `whole` says it of them."""
    if not run.ledger.unpriced or not of:
        return ""
    has, verb = ("has", "is") if len(calls_without_formula(run.ledger.unpriced)) == 1 else ("have", "are")
    seeing = [visible(tally.name) for tally in of if not blind(run, tally)]
    if not seeing:
        return f"{unpriced_names(run)}, which {has} no formula, {verb} {whole}"
    return f"what {listed(seeing)} charged for {unpriced_names(run)} is not known"


# What is no MAC, or none that has to be computed, and is worth saying wherever there is any of it.
BESIDE = {
    "fft_flops": "{} FLOPs of Fourier transforms, by n·log n, are not among the MACs",
    "linalg_flops": "{} FLOPs of linear algebra, by the rule of each decomposition, are not among the MACs",
    "masked_macs": "{} of the MACs are behind a mask, where a kernel that knows of it need not compute",
    "border_macs": "{} of the MACs are of taps on padding",
    "recomputed_macs": "{} MACs are done again in the backward, and are not among the MACs",
}


def beside(run: Run) -> list[str]:
    """A sentence for each quantity beside the MACs of which there is any."""
    totals = run.ledger.totals
    return [f"{text.format(number(totals[name]))}." for name, text in BESIDE.items() if totals.get(name)]


def which_pairs(run: Run) -> str:
    """What `listed_pairs` lists, of how many."""
    every, shown = pairs(run), listed_pairs(run)
    if len(shown) == len(every):
        return "The one pair" if len(every) == 1 else f"All {number(len(every))} pairs"
    wrong = sum(1 for pair in every if pair.residual)
    largest = f", the {number(len(shown))} largest listed" if len(shown) < wrong else ""
    return f"{number(wrong)} of {number(len(every))} pairs with a residual{largest}"


def headline(run: Run) -> str:
    """What the run found, in a sentence: totals are compared in MACs, and `unit` says who speaks otherwise."""
    counted = run.counted()
    model = at(run)
    if not counted:
        return f"No counter has a number for {model}."
    totals = sorted({in_macs(tally) for tally in counted})
    aside = left_out(run, counted, "in none of them" if len(counted) > 1 else "not in it")
    aside = f"; {aside}." if aside else "."
    if len(counted) == 1:
        said = amount(counted[0].total or 0, counted[0].unit)
        return f"One counter, {visible(counted[0].name)}, reports {said} for {model}{aside}"
    if len(totals) == 1 and run.ledger.unpriced and not totals[0]:
        return f"{len(counted)} counters charge nothing for {model}{aside}"
    if len(totals) == 1:
        return f"{len(counted)} counters agree on {exactly(totals[0])} MACs for {model}{aside}"
    return (
        f"{len(counted)} counters report {len(totals)} different totals for {model}, "
        f"from {amount(totals[0], 'MAC')} to {amount(totals[-1], 'MAC')}{aside}"
    )


def unit(run: Run) -> str:
    """Who does not speak in MACs; "" if all do."""
    by_unit: dict[str, list[str]] = {}
    for tally in run.counted():
        if tally.unit != "MAC":
            by_unit.setdefault(units(tally.unit), []).append(visible(tally.name))
    if not by_unit or len(run.counted()) < 2:
        return ""
    says = listed([f"{few(names)} {'say' if len(names) > 1 else 'says'} {said}" for said, names in by_unit.items()])
    return f"Unit: {says}; {UNIT}{', so half of that is compared' if 'FLOPs' in by_unit else ''}."


def anything_left(run: Run) -> str:
    """Whether anything is wrong with the run (see `verdict`): a residual, failing formulas, no number."""
    return Paragraph(left(run)).text


def left(run: Run) -> list[str | Loud]:
    """The same as sentences: what nobody may overlook is loud, which a residual of less than 1 % of a total is not."""
    every = pairs(run)
    missing = verdict.without_number(run)
    said: list[str | Loud] = [Loud(unpriced(run))] if run.ledger.unpriced else []
    said += _residuals(run, every)
    if missing:
        said.append(Loud(f"NO NUMBER from {listed([visible(tally.name) for tally in missing])}, which was asked for."))
    if verdict.nobody(run):
        said.append(Loud("NO NUMBER: no counter is at hand."))
    explained = (
        f"the formulas explain every difference, residual 0 in "
        f"{'the one pair' if len(every) == 1 else f'all {number(len(every))} pairs'}, "
        "and each counter's formulas hold at every place where they were checked."
    )
    if run.ledger.unpriced and len(said) == 1 and every:
        return [*said, f"Of what the counters do count {explained}"]
    if said:
        return said
    if not every:
        return ["There are no two counted totals, so there is no difference to explain."]
    return [f"Nothing is left over: {explained}"]


SMALL = Fraction(1, 100)  # of a counter's total: what no formula explains of it is said, and not cried


def _residuals(run: Run, every: Sequence[Pair]) -> list[str | Loud]:
    """Which pairs leave a residual, and whose formulas fail: where, how much of the total, and why as far as known."""
    residuals, odd = [pair for pair in every if pair.residual], verdict.failing(run)
    small = all(abs(tally.unexplained) < SMALL * (tally.total or 0) for tally in odd)
    kind = str if small else Loud
    said: list[str | Loud] = []
    if residuals:
        worst = max(residuals, key=lambda pair: abs(pair.residual))
        of = max(run.tally(name).total or 0 for name in (worst.left, worst.right))
        said.append(kind(
            f"{'A SMALL RESIDUAL' if small else 'NOT EVERYTHING IS EXPLAINED'}: "
            f"{plural(len(residuals), 'pair')} of {len(every)} {'leave' if len(residuals) > 1 else 'leaves'} a "
            f"residual, "
            f"the largest {signed(worst.residual)} between {visible(worst.left)} and {visible(worst.right)}, "
            f"{part(worst.residual, of)} of the larger total"
            + (", whose totals are equal and should not be, by their formulas." if not worst.difference else ".")
        ))  # fmt: skip
    if odd:
        said.append(kind(f"The stated formulas fail for {listed([_disagreement(tally) for tally in odd])}."))
    return said


def _disagreement(tally: TallyRecord) -> str:
    """`thop at 2 of 151 sites (+4,608, less than 0.1 % of its total; known: it throws dice)`."""
    wrong = tally.verified.sites - tally.verified.agree
    places = f"{number(wrong)} of {plural(tally.verified.sites, NOUNS.get(tally.granularity, 'site'))}"
    reasons = list(dict.fromkeys(visible(failure.known) for failure in tally.failures))
    known = f"; known: {'; '.join(reasons)}" if reasons and all(reasons) and len(reasons) <= 2 else ""
    return (
        f"{visible(tally.name)} at {places} ({signed(tally.unexplained)}, {part(tally.unexplained, tally.total or 0)} "
        f"of its total{known}{warned(tally)})"
    )


def warned(tally: TallyRecord) -> str:
    """What the counter itself said, after what is known: `; it says: its count may be rounded`."""
    said = "; ".join(brief(warning) for warning in tally.warnings[:3])
    return f"; it says: {said}" if said else ""


def agreement(tally: TallyRecord) -> str:
    """At how many places the formulas gave what was reported: `151 of 151 sites`."""
    noun = NOUNS.get(tally.granularity, "site")
    return f"{number(tally.verified.agree)} of {plural(tally.verified.sites, noun)}"


def totals(run: Run) -> str:
    """What each counter says, in one line."""
    said = [f"{visible(tally.name)} {amount(tally.total or 0, tally.unit)}" for tally in run.counted()]
    without = [visible(tally.name) for tally in run.tallies if tally.status != "counted"]
    aside = left_out(run, run.counted(), "in none of them" if len(said) > 1 else "not in it")
    text = f"{', '.join(said)}{aside and f'; {aside}'}." if said else "No counter has a number."
    return text + (f" No number from {listed(without)}." if without else "")


def same_measure(run: Run) -> str:
    """Whether the counters measure the same thing: units, and the ops they charge for differently."""
    counted = run.counted()
    if len(counted) < 2:
        who = f"Only {visible(counted[0].name)} has" if counted else "No counter has"
        return f"{who} a number here, so there is nothing to compare."
    ops = [op for op in matrix(run) if op != "unpriced"]
    apart = [op for op in ops if differs(run, op)]
    same = [op for op in ops if op not in apart]
    text = "No." if apart else "Yes."
    if apart:
        text += f" They charge differently for {listed([op_word(op) for op in apart])}"
        text += f" and alike for {listed([op_word(op) for op in same])}." if same else "."
    text += f" {unit(run)}" if unit(run) else ""
    aside = left_out(run, counted, "in none of them")
    return f"{text.rstrip('.')}; {aside}." if aside else text
