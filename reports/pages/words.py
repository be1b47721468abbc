"""The prose that the terminal, the Markdown and the HTML share: pure functions of a run document.

Every name that comes from a model, a library or a file passes through `visible`, so a sentence is
always one line of printable text. Escaping for Markdown, HTML or LaTeX is the renderer's part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

from flopledger.reference_model.ledger import Entry, Mode, Unpriced
from flopledger.reference_model.subject import IN_EVAL, NOT_GIVEN
from flopledger.reports import verdict
from flopledger.reports.align import Failure, failed
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.run import ConventionLine, Run, TallyRecord, calls_without_formula
from flopledger.reports.drift import Moved
from flopledger.reports.reconcile import UNIT, Line, Reconciliation, Residue, elements, keys

NOT_AN_OPERATION = frozenset({"view", "fill"})  # they move or make elements; no counter could charge for them
PAIRS = 45  # pairs that a page lists one by one
LISTED = 10  # sites, modules or pairs that a sentence names before it says "and n more"

OP_WORDS = {
    "activation": "activation",
    "add": "residual or element-wise add",
    "attention": "attention",
    "batch_norm": "batch norm",
    "bilinear": "bilinear layer",
    "conv": "convolution",
    "conv_transpose": "transposed convolution",
    "div": "element-wise division",
    "dropout": "dropout",
    "elementwise": "other element-wise operation",
    "embedding": "embedding",
    "fft": "Fourier transform",
    "fill": "fill",
    "grid_sample": "grid sampling",
    "group_norm": "group norm",
    "instance_norm": "instance norm",
    "layer_norm": "layer norm",
    "linalg": "linear algebra",
    "linear": "linear layer",
    "loss": "loss",
    "matmul": "matrix product",
    "move": "copy or gather",
    "mul": "element-wise multiplication",
    "pool": "pooling",
    "recurrent": "recurrent layer",
    "reduction": "reduction",
    "rms_norm": "RMS norm",
    "rounding": "rounding in float32",
    "softmax": "softmax",
    "sort": "sorting or search",
    "sub": "element-wise subtraction",
    "unattributed": "not attributed to a site",
    "unpriced": "unpriced operation",
    "unit": UNIT,
    "upsample": "upsampling",
    "view": "view",
}


# Letters and marks by their category, so `isprintable`, of which nothing is seen.
_UNSEEN = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")


def visible(text: str) -> str:
    """The text on one line: what cannot be printed or seen is written as an escape (`\\n`). Twice is as once."""
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    seen = (c.isprintable() and not _UNSEEN.match(c) for c in text)
    return "".join(c if shown else c.encode("unicode_escape").decode() for c, shown in zip(text, seen, strict=True))


def number(n: int) -> str:
    """With thousands separators and a true minus: `1,034,246,688`."""
    return f"{n:,}".replace("-", "−")


def signed(n: int) -> str:
    """As `number`, with a plus where it is positive."""
    return f"+{number(n)}" if n > 0 else number(n)


def giga(n: int) -> str:
    """Four or so digits and a prefix: `1.034 G`, `23.033 M`; the number itself below a thousand."""
    for size, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3f} {prefix}".replace("-", "−")
    return number(n)


def percent(share: Fraction | None) -> str:
    """A share to a tenth of a percent, cut off: 100 % is all of it. A dash where there is nothing to share."""
    if share is None:
        return "–"
    tenths = int(share * 1000)
    return f"{tenths // 10}.{tenths % 10} %" if tenths % 10 else f"{tenths // 10} %"


def amount(n: int, unit: str) -> str:
    """`giga` with its unit: `1.034 GMACs`, `12 MACs`."""
    short = giga(n)
    return f"{short}{'' if short[-1:].isalpha() else ' '}{units(unit)}"


def op_word(op: str) -> str:
    """The name of an op for people; an op without one keeps its own, underscores as blanks."""
    return OP_WORDS.get(op) or visible(op).replace("_", " ").strip() or "(unnamed)"


def operation(line: Line | ConventionLine | Moved) -> str:
    """The op of a line, with the phase where it is not the forward."""
    return op_word(line.op) + (" (backward)" if line.phase == "backward" else "")


def place(site: str) -> str:
    """A site's name, `(root)` for the model itself."""
    return visible(site) or "(root)"


def units(unit: str) -> str:
    """The plural: MAC → MACs."""
    return visible(unit) if unit.endswith("s") else f"{visible(unit)}s"


def plural(n: int, noun: str) -> str:
    """`1 site`, `52 sites`."""
    return f"{number(n)} {noun}" if n == 1 else f"{number(n)} {noun}s"


def listed(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def shapes(run: Run) -> str:
    """The inputs: `1×3×416×416`."""
    return listed([re.sub(r"(?<=\d)x(?=\d)", "×", visible(shape)) for shape in run.model.inputs]) or "no inputs"


def batch(run: Run) -> int | None:
    """The first dimension of the first input; None where it has none."""
    first = re.match(r"(?:[A-Za-z_]\w*=)?(\d+)(?![\d.])", run.model.inputs[0]) if run.model.inputs else None
    return int(first[1]) if first else None


PASSES: dict[Mode, str] = {
    "eval": "one forward pass",
    "train": "one forward pass in train mode",
    "step": "one training step, forward and backward",
}


def at(run: Run) -> str:
    """What was counted: `resnet50 at 1×3×224×224`, and how it was run where that is not a forward in eval mode."""
    how = "" if run.model.mode == "eval" else f" ({PASSES[run.model.mode]})"
    return f"{visible(run.model.spec)} at {shapes(run)}{how}"


def by_default(run: Run) -> str:
    """What was chosen for want of a word about it: inputs, and that a model in train mode was counted in eval mode."""
    notes = [visible(note) for note in run.ledger.notes if note.startswith((NOT_GIVEN, IN_EVAL))]
    return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes)


def macs(run: Run) -> int:
    """The ledger's multiply-accumulates: all of them only where nothing is unpriced."""
    return run.ledger.totals.get("macs", 0)


def at_least(run: Run, text: str) -> str:
    """A number of the ledger's MACs, as what it is: `at least` where something is unpriced."""
    return f"at least {text}" if run.ledger.unpriced else text


def macs_said(run: Run) -> str:
    """The ledger's MACs: `1,024 MACs`, `at least 1,024 MACs`."""
    if run.ledger.unpriced and not macs(run):
        return "an unknown number of MACs, at least 0"
    return at_least(run, f"{number(macs(run))} MACs")


def few(items: Sequence[str], most: int = LISTED) -> str:
    """As `listed`, of many the first and how many more."""
    more = [f"{number(len(items) - most)} more"] if len(items) > most else []
    return listed([*items[:most], *more])


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


def blind(run: Run, tally: TallyRecord) -> bool:
    """Whether a counter charged and reported nothing for what is unpriced."""
    wrong = failed(tally.failures, [entry for entry, _ in run.rows])
    return not any(
        entry.op == "unpriced" and (amount or i in wrong)
        for i, ((entry, _), (_, amount)) in enumerate(zip(run.rows, tally.rows, strict=True))
    )


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


class Pair(NamedTuple):
    """Two counters, and how far apart they are, without the lines that say why.

    `off` is what no formula explains of each of the two totals; the residual is what that comes to.
    """

    left: str
    right: str
    difference: int
    off: tuple[int, int]

    @property
    def residual(self) -> int:
        return self.off[0] - self.off[1]

    @property
    def explained(self) -> int:
        """What the formulas make of the difference."""
        return self.difference - self.residual


def pairs(run: Run) -> list[Pair]:
    """Every pair of counters that counted."""
    return [
        Pair(a.name, b.name, (a.total or 0) - (b.total or 0), (a.unexplained, b.unexplained))
        for a, b in combinations(run.counted(), 2)
    ]


def listed_pairs(run: Run) -> list[Pair]:
    """The pairs to list: all of a few; of many those that have a residual, the largest first, and not all of them."""
    every = pairs(run)
    if len(every) <= PAIRS:
        return every
    return sorted((pair for pair in every if pair.residual), key=lambda pair: -abs(pair.residual))[:PAIRS]


def which_pairs(run: Run) -> str:
    """What `listed_pairs` lists, of how many."""
    every, shown = pairs(run), listed_pairs(run)
    if len(shown) == len(every):
        return "The one pair" if len(every) == 1 else f"All {number(len(every))} pairs"
    wrong = sum(1 for pair in every if pair.residual)
    largest = f", the {number(len(shown))} largest listed" if len(shown) < wrong else ""
    return f"{number(wrong)} of {number(len(every))} pairs with a residual{largest}"


def most_different(run: Run) -> Reconciliation | None:
    """The pair whose totals are furthest apart; the first of them in a tie."""
    pair = max(pairs(run), key=lambda pair: abs(pair.difference), default=None)
    return run.between(pair.left, pair.right) if pair else None


def headline(run: Run) -> str:
    """What the run found, in a sentence or two."""
    counted = run.counted()
    model = at(run)
    if not counted:
        return f"No counter has a number for {model}."
    totals = sorted({tally.total or 0 for tally in counted})
    aside = left_out(run, counted, "in none of them" if len(counted) > 1 else "not in it")
    aside = f"; {aside}." if aside else "."
    if len(counted) == 1:
        return f"One counter, {visible(counted[0].name)}, reports {giga(totals[0])} for {model}{aside}"
    if len(totals) == 1 and run.ledger.unpriced and not totals[0]:
        return f"{len(counted)} counters charge nothing for {model}{aside}"
    if len(totals) == 1:
        return f"{len(counted)} counters agree on {number(totals[0])} for {model}{aside}"
    return (
        f"{len(counted)} counters report {len(totals)} different totals for {model}, "
        f"from {giga(totals[0])} to {giga(totals[-1])}{aside}"
    )


def anything_left(run: Run) -> str:
    """Whether anything is wrong with the run (see `verdict`): a residual, failing formulas, no number. Loud if so."""
    every = pairs(run)
    residuals = [pair for pair in every if pair.residual]
    odd, missing = verdict.failing(run), verdict.without_number(run)
    said = [unpriced(run)] if run.ledger.unpriced else []
    if residuals:
        worst = max(residuals, key=lambda pair: abs(pair.residual))
        said.append(
            f"NOT EVERYTHING IS EXPLAINED: {plural(len(residuals), 'pair')} of {len(every)} "
            f"{'leave' if len(residuals) > 1 else 'leaves'} a residual, the largest {signed(worst.residual)} "
            f"between {visible(worst.left)} and {visible(worst.right)}"
            + (", whose totals are equal and should not be, by their formulas." if not worst.difference else ".")
        )
    if odd:
        who = [
            f"{visible(tally.name)} at {_disagreement(tally)} ({signed(tally.unexplained)}{_known(tally)})"
            for tally in odd
        ]
        said.append(f"The stated formulas fail for {listed(who)}.")
    if missing:
        said.append(f"NO NUMBER from {listed([visible(tally.name) for tally in missing])}, which was asked for.")
    if verdict.nobody(run):
        said.append("NO NUMBER: no counter is at hand.")
    explained = (
        f"the formulas explain every difference, residual 0 in "
        f"{'the one pair' if len(every) == 1 else f'all {number(len(every))} pairs'}, "
        "and every convention agrees at every site."
    )
    if run.ledger.unpriced and len(said) == 1 and every:
        return f"{said[0]} Of what the counters do count {explained}"
    if said:
        return " ".join(said)
    if not every:
        return "There are no two counted totals, so there is no difference to explain."
    return f"Nothing is left over: {explained}"


NOUNS = {"op": "operation", "total": "total"}  # what is compared, if it is no site


def _disagreement(tally: TallyRecord) -> str:
    """`2 of 151 sites`: where the formulas fail."""
    wrong = number(tally.verified.sites - tally.verified.agree)
    return f"{wrong} of {plural(tally.verified.sites, NOUNS.get(tally.granularity, 'site'))}"


def _known(tally: TallyRecord) -> str:
    """Why the formulas fail, where that is known of all the places."""
    reasons = list(dict.fromkeys(visible(failure.known) for failure in tally.failures))
    return f"; known: {'; '.join(reasons)}" if reasons and all(reasons) and len(reasons) <= 2 else ""


def agreement(tally: TallyRecord) -> str:
    """`151 of 151`: at how many sites the formulas agree; with the noun where it is something else than sites."""
    said = f"{number(tally.verified.agree)} of {number(tally.verified.sites)}"
    noun = NOUNS.get(tally.granularity, "")
    return f"{said} {noun}{'s' if tally.verified.sites != 1 else ''}" if noun else said


def seen(run: Run, tally: TallyRecord) -> str:
    """The share of the ledger's MACs that a counter saw: `100 %`, `100 % of at least 1.024 k`."""
    found = coverage(tally, run.rows).total
    if not found.at_least:
        return percent(found.share)
    return f"{percent(found.share)} of at least {giga(found.of)}" if found.of else "unknown"


def whereabouts(found: Residue | Failure) -> str:
    """Where formulas fail: a site, perhaps one op of it; an op over the whole model; the total."""
    if found.level == "total":
        return "the total" if found.op is None else op_word(found.op)
    if found.level == "op":
        return f"{op_word(found.op or '')} over the whole model"
    return f"{place(found.site)}{f' ({op_word(found.op)})' if found.op else ''}"


def leftover(reconciliation: Reconciliation, run: Run | None = None) -> str:
    """What the lines leave over: nothing, or how much, from which counter, at which sites.

    Of a `run` it says also that what is unpriced is in neither total.
    """
    sides = [run.tally(name) for name in (reconciliation.left, reconciliation.right)] if run else []
    aside = left_out(run, sides, "in neither total") if run else ""
    sites = sum(line.sites for line in reconciliation.lines)
    verified = sum(line.verified_sites for line in reconciliation.lines)
    checked = f"{number(verified)} of {number(sites)} sites verified, operation by operation{aside and f'; {aside}'}"
    if not reconciliation.residual and not reconciliation.residue and verified == sites:
        return f"Nothing is left over: residual 0, {checked}."
    where = "; ".join(_residues(reconciliation.residue)) or "at sites that the document does not name"
    if reconciliation.residual:
        explained = signed(reconciliation.difference - reconciliation.residual)
        return (
            f"LEFT OVER: residual {signed(reconciliation.residual)}, which no formula explains: the totals differ by "
            f"{signed(reconciliation.difference)}, by their formulas it would be {explained}. {where}. {checked}."
        )
    return f"The residual is 0, but formulas fail and their errors cancel: {where}. {checked}."


def _residues(residues: Iterable[Residue]) -> list[str]:
    by_counter: dict[str, list[Residue]] = {}
    for residue in residues:
        by_counter.setdefault(residue.counter, []).append(residue)
    texts = []
    for counter, mine in by_counter.items():
        named = [
            f"{whereabouts(r)} reports {number(r.reported)} where its formulas give {number(r.claimed)}{known(r)}"
            for r in mine[:LISTED]
        ]
        more = [f"{number(len(mine) - LISTED)} more"] if len(mine) > LISTED else []
        total = sum(r.unexplained for r in mine)
        texts.append(
            f"{visible(counter)} is off by {signed(total)} at {plural(len({whereabouts(r) for r in mine}), 'place')}: "
            f"{', '.join(named + more)}"
        )
    return texts


def known(found: Residue | Failure) -> str:
    """Why formulas fail at a place, where that is known: ` (known: it throws dice)`."""
    return f" (known: {visible(found.known)})" if found.known else ""


def contributing(reconciliation: Reconciliation) -> list[Line]:
    """The lines that make up the difference, largest first."""
    lines = [line for line in reconciliation.lines if line.difference]
    return sorted(lines, key=lambda line: -abs(line.difference))


def uncharged(reconciliation: Reconciliation) -> dict[str, list[Line]]:
    """Op → its lines on which both counters charge 0, most elements first.

    A formula over something that is not there, such as the weights of a ReLU, is a charge of 0 too.
    """
    found: dict[str, list[Line]] = {}
    for line in reconciliation.lines:
        if not (line.left or line.right or line.failing or line.op in NOT_AN_OPERATION):
            found.setdefault(line.op, []).append(line)
    return dict(sorted(found.items(), key=lambda item: -sum(line.elements for line in item[1])))


def equal(reconciliation: Reconciliation) -> list[Line]:
    """The lines on which both counters charge the same amount, and those of 0 that fail somewhere."""
    return [line for line in reconciliation.lines if not line.difference and (line.left or line.failing)]


def neither(reconciliation: Reconciliation, run: Run) -> str:
    """Which operations contribute nothing because neither counter charges for them."""
    named = [_uncharged(op, lines, reconciliation, run) for op, lines in uncharged(reconciliation).items()]
    if not named:
        return "There is no operation that both counters leave out."
    contribute, them = ("It contributes", "it") if len(named) == 1 else ("They contribute", "them")
    return (
        f"Neither counts: {listed(named)}. {contribute} nothing to the difference, "
        f"because neither counter charges for {them}."
    )


def _uncharged(op: str, lines: list[Line], reconciliation: Reconciliation, run: Run) -> str:
    size = f"{plural(sum(line.elements for line in lines), 'element')} at {_sites(lines)}"
    kinds = _modules(op, reconciliation, run)
    if len(kinds) == 1:
        name = next(iter(kinds))
        return f"{op_word(op)} ({'' if name == visible(op) else f'{name}; '}{size})"
    names = [f"{name} {number(count)}" for name, count in kinds.most_common(LISTED)]
    more = [f"{len(kinds) - LISTED} more kinds"] if len(kinds) > LISTED else []
    return f"{op_word(op)} ({size}{': ' if names else ''}{', '.join(names + more)})"


def _sites(lines: list[Line]) -> str:
    return plural(sum(line.sites for line in lines), "site")


def _modules(op: str, reconciliation: Reconciliation, run: Run) -> Counter[str]:
    """The elements of an op for which neither charges, by module class."""
    lines = {
        (line.phase, line.op, line.left_formula, line.right_formula) for line in uncharged(reconciliation).get(op, [])
    }
    sides = run.tally(reconciliation.left), run.tally(reconciliation.right)
    found: Counter[str] = Counter()
    for key, (entry, call) in zip(keys(*sides, run.rows), run.rows, strict=True):
        if key in lines:
            found[kind(entry)] += elements(call)
    return found


def kind(entry: Entry) -> str:
    """What runs there: the class of a leaf module, else the function that was called."""
    if entry.op == "unpriced":  # its name is all that is known of it
        return visible(entry.aten)
    shown = entry.module if entry.leaf else (entry.api or entry.aten).rpartition(".")[2].strip("_")
    return visible(shown or entry.aten)


def sentences(reconciliation: Reconciliation) -> list[str]:
    """One sentence per line that contributes: signed amount, both formulas, both reasons."""
    left, right = visible(reconciliation.left), visible(reconciliation.right)
    texts = []
    for line in contributing(reconciliation):
        says: Callable[[str, int, str], str]
        if line.sites:
            checked = "verified at each" if line.verified_sites == line.sites else _failing(line)
            head, says = f" from {operation(line)} at {plural(line.sites, 'site')} ({checked})", _charges
        else:
            head, says = f", {op_word(line.op)}", _has
        texts.append(
            f"{signed(line.difference)}{head}: "
            f"{left} {says(line.left_formula, line.left, line.left_because)}; "
            f"{right} {says(line.right_formula, line.right, line.right_because)}."
        )
    return texts


def verified(line: Line) -> str:
    """At how many sites both formulas were checked: `52 of 52`; a dash for what is no site's."""
    return f"{number(line.verified_sites)} of {number(line.sites)}" if line.sites else "–"


def difference(reconciliation: Reconciliation) -> str:
    """The difference and the ops that make it up, in one line."""
    left, right = visible(reconciliation.left), visible(reconciliation.right)
    head = f"{left} − {right} = {signed(reconciliation.difference)}"
    by_op: dict[str, int] = {}
    for line in contributing(reconciliation):
        by_op[operation(line)] = by_op.get(operation(line), 0) + line.difference
    terms = [f"{op} {signed(amount)}" for op, amount in by_op.items() if amount]
    if len(terms) > LISTED:
        terms = [*terms[:LISTED], f"{len(terms) - LISTED} more operations"]
    if reconciliation.residual:
        terms.append(f"and {signed(reconciliation.residual)} that no formula explains")
    return f"{head}: {', '.join(terms)}." if terms else f"{head}."


def totals(run: Run) -> str:
    """What each counter says, in one line."""
    said = [f"{visible(tally.name)} {amount(tally.total or 0, tally.unit)}" for tally in run.counted()]
    without = [visible(tally.name) for tally in run.tallies if tally.status != "counted"]
    aside = left_out(run, run.counted(), "in none of them" if len(said) > 1 else "not in it")
    text = f"{', '.join(said)}{aside and f'; {aside}'}." if said else "No counter has a number."
    return text + (f" No number from {listed(without)}." if without else "")


def _failing(line: Line) -> str:
    names = [place(site) for site in line.failing[:LISTED]]
    more = [f"{number(len(line.failing) - LISTED)} more"] if len(line.failing) > LISTED else []
    return f"NOT verified at {listed(names + more) or plural(line.sites - line.verified_sites, 'site')}"


def _charges(formula: str, amount: int, because: str) -> str:
    charge = f"charges {visible(formula)} = {number(amount)}" if formula != "0" else "charges nothing"
    return f"{charge} ({visible(because).rstrip('.')})" if because else charge


def _has(formula: str, amount: int, because: str) -> str:
    """The same for an amount that belongs to no call."""
    had = f"has {signed(amount)}" if formula != "0" else "has nothing"
    return f"{had} ({visible(because).rstrip('.')})" if because and because != UNIT else had


def matrix(run: Run) -> dict[str, dict[str, list[str]]]:
    """Op → counter → its formulas there (more than one where a convention differs within an op)."""
    weight: dict[str, tuple[int, int]] = {}
    for entry in run.ledger.entries:
        before = weight.get(entry.op, (0, 0))
        weight[entry.op] = (before[0] + entry["macs"], before[1] + entry["outputs"])
    rows: dict[str, dict[str, list[str]]] = {}
    for op in sorted(weight, key=lambda op: (-weight[op][0], -weight[op][1], op)):
        if op not in NOT_AN_OPERATION:
            rows[op] = {
                tally.name: list(dict.fromkeys(charge(line)[0] for line in run.convention(tally) if line.op == op))
                or ["0"]
                for tally in run.counted()
            }
    return rows


def charge(line: ConventionLine) -> tuple[str, str]:
    """A formula and what it charged; that it leaves out what is unpriced is no formula of 0."""
    if line.op == "unpriced" and line.formula == "0" and not line.count:
        return "not counted", "–"
    return line.formula, number(line.count)


def differs(formulas: dict[str, list[str]]) -> bool:
    """Whether the counters of one row of the matrix charge by different formulas."""
    return len({tuple(sorted(f)) for f in formulas.values()}) > 1


def same_measure(run: Run) -> str:
    """Whether the counters measure the same thing: units, and the ops they charge for differently."""
    counted = run.counted()
    if len(counted) < 2:
        who = f"Only {visible(counted[0].name)} has" if counted else "No counter has"
        return f"{who} a number here, so there is nothing to compare."
    by_unit: dict[str, list[str]] = {}
    for tally in counted:
        by_unit.setdefault(units(tally.unit), []).append(visible(tally.name))
    rows = matrix(run)
    apart = [op for op, formulas in rows.items() if differs(formulas)]
    same = [op for op, formulas in rows.items() if not differs(formulas) and op != "unpriced"]
    says = [f"{listed(names)} {'say' if len(names) > 1 else 'says'} {unit}" for unit, names in by_unit.items()]
    text = ("No. " if apart or len(by_unit) > 1 else "Yes. ") + "; ".join(says) + "."
    if len(by_unit) > 1:
        text += " One MAC is two FLOPs."
    elif apart:
        text += " They use one unit, but not one set of operations."
    if apart:
        text += f" They charge differently for {listed([op_word(op) for op in apart])}"
        text += f" and alike for {listed([op_word(op) for op in same])}." if same else "."
    aside = left_out(run, counted, "in none of them")
    return f"{text.rstrip('.')}; {aside}." if aside else text


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


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "−": "$-$",
    '"': "''",
    **{character: f"\\{character}" for character in "{}&%$#_"},
}


def latex(text: str) -> str:
    """The text with everything escaped that LaTeX would read as a command."""
    return "".join(_LATEX.get(c, c) for c in visible(text))


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
    row = " & ".join(latex(cell) for cell in cells) + r" \\"
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
