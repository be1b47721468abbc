"""What moved in a project, as a page: what one wants at the top of a pull request first, and the next step last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flopledger.reports.causes import Cause
from flopledger.reports.moves import FINE, Change, Moves, Row
from flopledger.reports.pages.blocks import Block, Code, Column, Fold, Heading, Link, Loud, Paragraph, Point, Table
from flopledger.reports.pages.budget_words import excess, sentence
from flopledger.reports.pages.drift_words import counters, described
from flopledger.reports.pages.drift_words import lines as lines_of
from flopledger.reports.pages.explained import address
from flopledger.reports.pages.findings import (
    CAUSES,
    charged,
    explained,
    of_itself,
    of_row,
    over,
    rules,
    versions,
    who,
    without,
)
from flopledger.reports.pages.numbers import brief, few, listed, number, plural, signed, units, visible
from flopledger.reports.pages.vocabulary import operation
from flopledger.reports.pages.words import without_formula

OPEN = 8  # rows of a table that is not folded
FEW = 3  # models or counters that a sentence names
UNLIKE = {"newly failing": "no number now", "newly counting": "a number now", "new": "new", "gone": "gone",
          "not comparable": "not comparable"}  # fmt: skip
SHORT: dict[Cause, str] = {"model": "the model", "input": "its input", "release": "its release", "torch": "torch",
                           "ours": "our rules", "several": "several"}  # fmt: skip


class Section(NamedTuple):
    """A part of the page, and what it is of."""

    name: str
    blocks: list[Block]


def blocks(found: Moves) -> list[Block]:
    """The whole page."""
    return [block for section in sections(found) for block in section.blocks]


def sections(found: Moves) -> list[Section]:
    """The page in parts, in the order in which they matter; the last one is the next step, if there is any to take."""
    said = [Section("what moved", [opening(found)])]
    for i, change in enumerate(rules(found)):
        head: list[Block] = [] if i else [Heading("Rules that moved")]
        said.append(Section(f"{operation(change)} of {visible(change.counter)}", [*head, *_rule(change)]))
    if found.broken:
        broken = [Point(f"{sentence(each)}{_at(found, each.line)}") for each in found.broken]
        said.append(Section("budgets", [Heading("Budgets that are broken"), *broken]))
    said += [Section(name, part) for name, part in (("new, gone or without a number", _unlike(found)),
             ("numbers that moved", _moved(found)), *_details(found), ("notes", _notes(found))) if part]  # fmt: skip
    return [*said, Section("the next step", _next(found))]


def opening(found: Moves) -> Paragraph:
    """What changed and who caused it, and what is broken; or that nothing has drifted. Only what is amiss is loud."""
    moved = [*_by_rules(found), *_by_models(found), *_uncompared(found)]
    amiss = [Loud(text) for part in (_alone, _missing, _broken) for text in part(found)]
    new = _listed("New", found.new) + _listed("Gone", found.gone)
    taken = _listed(f"Accepted into {visible(found.baseline)}", found.accepted)
    said: list[str | Loud] = [*taken, *moved, *amiss, *new]
    if said:
        return Paragraph(said)
    if not found.drifts:
        return Paragraph([Loud("NOTHING TO COMPARE: there is no model both then and now.")])
    asked = {row.counter for drift in found.drifts.values() for row in drift.rows}
    return Paragraph([f"Nothing has drifted: {plural(len(found.drifts), 'model')}, "
                      f"{plural(len(asked), 'counter')}, the numbers of {visible(found.baseline)}."])  # fmt: skip


def _by_rules(found: Moves) -> Iterator[str]:
    """`thop 0.0.5 → 0.1.1 charges batch norm differently: −5 MACs in 3 models (a, b and c).`"""
    together: dict[tuple[str, Cause, str | None, str | None], list[Change]] = {}
    for change in rules(found):
        key = (change.counter, change.cause, change.before_version, change.after_version)
        together.setdefault(key, []).append(change)
    for i, changes in enumerate(together.values()):
        if i == FEW and len(together) > FEW + 1:
            others = [visible(counter) for counter, *_ in list(together)[FEW:]]
            yield f"So do {plural(len(others), 'counter')} more, each by rules of its own: {few(others)}."
            return
        yield _by_one(changes)


def _by_one(changes: list[Change]) -> str:
    first = changes[0]
    models = list(dict.fromkeys(model for change in changes for model in change.models))
    names = f" ({_names(models)})" if len(models) > 1 else ""
    ops = few(list(dict.fromkeys(map(operation, changes))), FEW)
    subject = who(first) if first.cause == "release" else visible(first.counter)
    by = "" if first.cause == "release" else f", by {CAUSES[first.cause]}"
    sums = f"{signed(sum(change.difference for change in changes))} {units(first.unit)}"
    return f"{subject} charges {ops} differently{by}: {sums} {over(dict.fromkeys(models))}{names}."


def _by_models(found: Moves) -> Iterator[str]:
    changed = [model for model, drift in found.drifts.items() if of_itself(drift)]
    if len(changed) == 1:
        drift = found.drifts[changed[0]]
        why = next((f" ({visible(note.partition(': ')[2])})" for note in drift.notes if "other work" in note), "")
        moved = plural(len(of_itself(drift)), "number")
        yield f"{visible(changed[0])} itself does other work than in the baseline{why}, which moves {moved}."
    elif changed:
        yield f"{plural(len(changed), 'model')} do other work than in the baseline themselves: {_names(changed)}."


def _alone(found: Moves) -> Iterator[str]:
    """Numbers that moved neither for one rule nor with their model."""
    odd = [one.title for model, row in _rows(found)
           if row.mark == "moved" and not explained(found, model, row) and (one := of_row(model, row))]  # fmt: skip
    if odd:
        yield f"{few(odd, FEW)}."


def _uncompared(found: Moves) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for model, row in _rows(found):
        if row.mark == "not comparable":
            reasons.setdefault(row.reason or "", []).append(f"{visible(row.counter)} of {visible(model)}")
    for reason, names in list(reasons.items())[:FEW]:
        why = f": {brief(reason)}" if reason else ""
        yield f"{few(names, FEW)} cannot be compared with the baseline{why}."


def _missing(found: Moves) -> Iterator[str]:
    gone = [f"{visible(row.counter)} of {visible(model)}{f' ({brief(row.reason)})' if row.reason else ''}"
            for model, row in _rows(found) if row.mark in ("newly failing", "gone")]  # fmt: skip
    if gone:
        yield f"NO NUMBER where there was one: {few(gone, FEW)}."
    if found.failed:
        yield f"NO NUMBER: {few([f'{visible(name)} ({brief(why)})' for name, why in found.failed.items()], FEW)}."
    if nothing := [model for model, drift in found.drifts.items() if without(drift)]:
        yield f"NOTHING TO COMPARE for {_names(nothing)}: no counter has a number both then and now."
    for model, drift in found.drifts.items():
        if drift.newly_unpriced:
            yield f"UNPRICED in {visible(model)}: {without_formula(drift.newly_unpriced)}, and was not in the baseline."
    counting = [f"{visible(row.counter)} of {visible(model)}" for model, row in _rows(found)
                if row.mark in ("newly counting", "new")]  # fmt: skip
    if counting:
        yield f"A number where there was none: {few(counting, FEW)}."


def _broken(found: Moves) -> Iterator[str]:
    over = [excess(each) for each in found.broken]
    if over:
        yield f"{plural(len(over), 'budget')} {'is' if len(over) == 1 else 'are'} broken: {few(over, FEW)}."


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what}: {_names(names)}."] if names else []


def _names(names: Iterable[str]) -> str:
    return few([visible(name) for name in names], FEW)


def _rows(found: Moves) -> Iterator[tuple[str, Row]]:
    return ((model, row) for model, drift in found.drifts.items() for row in drift.rows)


def _rule(change: Change) -> Iterator[Block]:
    """A rule that moved, with its sources and what it makes of each model."""
    yield Heading(f"{who(change)}: {operation(change)}", 3)
    sides = (
        ("Then", change.before_version, change.before_formula, change.before_because, change.before_source),
        ("Now", change.after_version, change.after_formula, change.after_because, change.after_source),
    )
    for when, version, formula, because, source in sides:
        why = f" — {visible(because)}" if because else ""
        text = f"{when}: {charged(formula)}{why}{f' ({visible(source)})' if source else ''}"
        at = address(change.counter, version, source.partition("; ")[0]) if source else ""
        yield Link(text, at) if at else Point(text)
    heaviest = sorted(change.models.items(), key=lambda item: -abs(item[1].difference))
    rows = [
        [visible(model), number(each.before), number(each.after), signed(each.difference)] for model, each in heaviest
    ]
    before, after = (sum(getattr(each, side) for each in change.models.values()) for side in ("before", "after"))
    if len(rows) > 1:
        rows.append(["sum", number(before), number(after), signed(change.difference)])
    of = units(change.unit)
    columns = [Column("model"), Column(f"{of} then", True), Column(f"{of} now", True), Column("change", True)]
    kinds = ["on"] * len(heaviest) + ["sum"] * (len(rows) - len(heaviest))
    table = Table(columns, rows, kinds)  # type: ignore[arg-type]
    yield table if len(rows) <= OPEN else _folded(f"{len(heaviest)} models, {signed(change.difference)} {of}", table)


def _folded(summary: str, *inner: Block) -> Fold:
    return Fold(summary, list(inner))


def _unlike(found: Moves) -> list[Block]:
    """A row for each model and counter that is on one side only or cannot be compared."""
    rows = [[visible(model), visible(row.counter), UNLIKE[row.mark], brief(row.reason or "")]
            for model, row in _rows(found) if row.mark in UNLIKE]  # fmt: skip
    rows += [[visible(model), "", "new model", "it is not in the baseline"] for model in found.new]
    rows += [[visible(model), "", "gone", "it is no model of the project any more"] for model in found.gone]
    rows += [[visible(model), "", "no number", brief(reason)] for model, reason in found.failed.items()]
    if not rows:
        return []
    table = Table([Column("model"), Column("counter"), Column("what"), Column("why")], rows)
    shown = table if len(rows) <= OPEN else _folded(f"{len(rows)} of them", table)
    return [Heading("New, gone, or without a number"), shown]


def _moved(found: Moves) -> list[Block]:
    """A row for each number that moved; of one model alone, for each counter."""
    if len(found.drifts) == 1:
        (drift,) = found.drifts.values()
        left = [f"{visible(row.counter)} {signed(row.residual)}" for row in drift.rows if row.residual]
        residual = f"Of what moved, no formula explains (the residual): {listed(left) or '0'}."
        moved = any(row.mark == "moved" for row in drift.rows)
        return [Heading("Counters"), described(drift), counters(drift), *([residual] if moved else [])]
    every = [(model, row) for model, row in _rows(found) if row.mark == "moved"]
    if not every:
        return []
    rows = [[visible(model), visible(row.counter), number(row.before or 0), number(row.after or 0),
             signed(row.difference or 0), signed(row.residual), SHORT[row.cause] if row.cause else ""]
            for model, row in every]  # fmt: skip
    amounts = [Column(name, True) for name in ("then", "now", "change", "residual")]
    table = Table([Column("model"), Column("counter"), *amounts, Column("cause", spare=1)], rows)
    same = sum(row.mark in FINE and row.after is not None for _, row in _rows(found))
    others = f"; {number(same)} other{'' if same == 1 else 's'} did not" if same else ""
    said = f"{plural(len(rows), 'number')} moved{others}"
    return [Heading("Numbers that moved"), *([f"{said}.", table] if len(rows) <= OPEN else [_folded(said, table)])]


def _detailed(found: Moves) -> dict[str, list[Row]]:
    """The numbers of each model that moved with it, for several causes, or for none that is known."""
    every = {
        model: [row for row in drift.rows if row.mark == "moved" and (row.lines or row.residual)
                and (row in of_itself(drift) or not explained(found, model, row))]
        for model, drift in found.drifts.items()
    }  # fmt: skip
    return {model: rows for model, rows in every.items() if rows}


def _details(found: Moves) -> Iterator[tuple[str, list[Block]]]:
    """The operations that moved those numbers."""
    for model, rows in _detailed(found).items():
        inner: list[Block] = [Point(visible(note)) for note in found.drifts[model].notes]
        for row in rows:
            parts = [f"{CAUSES[cause]} {signed(n)}" for cause, n in row.parts.items()] if len(row.parts) > 1 else []
            by = f", by {listed(parts)}" if parts else ""
            inner += [f"{visible(row.counter)}: {signed(row.difference or 0)}{by}", *lines_of(row)]
        yield visible(model), [_folded(f"{visible(model)}: what moved, by operation", *inner)]


def _notes(found: Moves) -> list[Block]:
    """What is no drift and worth knowing: new releases, rules of ours that are only worded anew."""
    new = {f"{visible(row.counter)} {versions(row.before_version, row.after_version)}"
           for _, row in _rows(found) if row.mark == "new release, same numbers"}  # fmt: skip
    worded = [
        f"{visible(change.counter)}, {operation(change)}" for change in found.changes if change not in rules(found)
    ]
    said: list[Block] = [Point(visible(note)) for note in found.notes]
    shared: dict[str, list[str]] = {}
    told = _detailed(found)
    for model in (model for model in found.drifts if model not in told):
        for note in found.drifts[model].notes:
            shared.setdefault(note, []).append(model)
    said += [Point(f"{visible(note)} ({over(dict.fromkeys(models))})") for note, models in shared.items()]
    if new:
        said.append(Point(f"New releases with the same numbers: {few(sorted(new))}"))
    if worded:
        said.append(Point(f"Rules of ours that are worded anew and charge the same: {few(worded)}"))
    unpriced = {model: drift for model, drift in found.drifts.items() if drift.unpriced and not drift.newly_unpriced}
    said += [Point(f"UNPRICED in {visible(model)}, then too: {without_formula(drift.unpriced)}")
             for model, drift in unpriced.items()]  # fmt: skip
    return [Heading("Notes"), *said] if said else []


def _next(found: Moves) -> list[Block]:
    """What to do now: where a budget stands, and the command that takes what moved as it is."""
    said: list[Block] = []
    if found.broken:
        places = list(
            dict.fromkeys(f"{visible(found.project or '')}:{each.line}" for each in found.broken if each.line)
        )
        where = f": {few(places, FEW)}" if places and found.project else ""
        said.append(f"A budget is no part of the baseline; it is kept, or changed where it stands{where}.")
    if found.next_step:
        said += ["If what moved is meant, this takes it as the baseline:", Code(visible(found.next_step), "sh")]
    return said


def _at(found: Moves, line: int) -> str:
    return f" ({visible(found.project)}:{line})" if found.project and line else ""
