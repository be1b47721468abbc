"""The prose of one reconciliation, for the terminal, the Markdown and the HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from flopledger.reports.align import Failure
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages.analysis import contributing, uncharged
from flopledger.reports.pages.numbers import LISTED, listed, number, part, plural, signed, visible
from flopledger.reports.pages.vocabulary import kind, op_word, operation, place, whereabouts
from flopledger.reports.pages.words import left_out, warned
from flopledger.reports.reconcile import UNIT, Line, Reconciliation, Residue, elements, keys


def leftover(reconciliation: Reconciliation, run: Run | None = None) -> str:
    """What the lines leave over: nothing, or how much, from which counter, at which sites.

    Of a `run` it says also that what is unpriced is in neither total.
    """
    sides = [run.tally(name) for name in (reconciliation.left, reconciliation.right)] if run else []
    aside = left_out(run, sides, "in neither total") if run else ""
    sites = sum(line.sites for line in reconciliation.lines)
    verified = sum(line.verified_sites for line in reconciliation.lines)
    checked = f"the formulas hold at {number(verified)} of {plural(sites, 'site')}, operation by operation"
    checked += aside and f"; {aside}"
    if not reconciliation.residual and not reconciliation.residue and verified == sites:
        return f"Nothing is left over: residual 0, {checked}."
    where = "; ".join(_residues(reconciliation, sides)) or "at sites that the document does not name"
    if reconciliation.residual:
        explained = signed(reconciliation.difference - reconciliation.residual)
        return (
            f"LEFT OVER: residual {signed(reconciliation.residual)}, which no formula explains: the totals differ by "
            f"{signed(reconciliation.difference)}, by their formulas it would be {explained}. {where}. "
            f"In all, {checked}."
        )
    return f"The residual is 0, but formulas fail and their errors cancel: {where}. In all, {checked}."


def _residues(reconciliation: Reconciliation, sides: Sequence[TallyRecord]) -> list[str]:
    texts = []
    for name in (reconciliation.left, reconciliation.right):
        mine = [residue for residue in reconciliation.residue if residue.counter == name]
        if mine:
            texts.append(off(name, mine, next((side for side in sides if side.name == name), None)))
    return texts


def off(name: str, failures: Sequence[Residue | Failure], tally: TallyRecord | None = None) -> str:
    """How far a counter's formulas are off, and where; of its `tally` also the share, and what it says itself."""
    named = [
        f"{whereabouts(f)} reports {number(f.reported)} where its formulas give {number(f.claimed)}{known(f)}"
        for f in failures[:LISTED]
    ]
    more = [f"{number(len(failures) - LISTED)} more"] if len(failures) > LISTED else []
    total = sum(f.unexplained for f in failures)
    places = plural(len({whereabouts(f) for f in failures}), "place")
    share = f", {part(total, tally.total or 0)} of its total," if tally else ""
    return (
        f"{visible(name)} is off by {signed(total)}{share} at {places}: "
        f"{', '.join(named + more)}{warned(tally) if tally else ''}"
    )


def known(found: Residue | Failure) -> str:
    """Why formulas fail at a place, where that is known: ` (known: it throws dice)`."""
    return f" (known: {visible(found.known)})" if found.known else ""


def neither(reconciliation: Reconciliation, run: Run) -> str:
    """Which operations contribute nothing because neither counter charges for them."""
    named = [_uncharged(op, lines, reconciliation, run) for op, lines in uncharged(reconciliation).items()]
    if not named:
        held = "Where the formulas hold, there" if reconciliation.residue else "There"
        return f"{held} is no operation that both counters leave out."
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
