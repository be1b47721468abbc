"""The prose of a history, for the terminal, the Markdown and the HTML."""

from __future__ import annotations

import re

from flopledger.reports import verdict as verdicts
from flopledger.reports.documents.history import Change, History, Row
from flopledger.reports.pages import analysis, numbers, pair_words, vocabulary, words
from flopledger.reports.pages.blocks import Block, Chart, Column, Heading, Loud, Paragraph, Point, Table
from flopledger.reports.pages.lines import of_step
from flopledger.reports.pages.numbers import brief, number, plural, signed, visible
from flopledger.reports.pages.vocabulary import op_word
from flopledger.reports.reconcile import Line


def blocks(found: History) -> list[Block]:
    """The whole history: the releases, and why the number moved."""
    releases = Table(
        [Column("release"), Column("uploaded"), Column("total", True), Column("step", True), Column("params", True, 1),
         Column("formulas hold at", True, 2), Column("remarks")],
        [
            [visible(row.release), visible(row.uploaded[:10]), "" if row.total is None else number(row.total),
             signed(row.moved) if row.moved else "", "" if row.params is None else number(row.params),
             f"{row.agree} of {row.sites}" if row.sites else "",
             "; ".join([*([] if row.total is not None else [row.status]), *remarks(row)])]
            for row in found.rows
        ],
    )  # fmt: skip
    said: list[Block] = [
        Heading(f"{visible(found.counter)}: what every release says of {visible(found.model.spec)}", 1),
        headline(found),
        Paragraph([Loud(verdict(found)) if verdicts.wrong(found) else verdict(found)]),
        *([Chart(file_stem(found), "Total by release")] if found.counted else []),
        releases,
    ]
    if found.changes:
        said.append(Heading("Where the number moved, and why"))
    for change in found.changes:
        said += [Heading(title(change), 3), of_step(change.reconciliation), *map(Point, reasons(change))]
    return said


def headline(found: History) -> str:
    """How many releases, how many of them count, and how often the number moved."""
    how = "" if found.model.mode == "eval" else f" ({vocabulary.PASSES[found.model.mode]})"
    counted, where = found.counted, f"{visible(found.model.spec)} at {shapes(found)}{how}"
    text = f"{visible(found.counter)}: {len(counted)} of {plural(len(found.rows), 'release')} count {where}"
    if not counted:
        return f"{text}."
    totals = [row.total or 0 for row in counted]
    steps = sum(1 for row in counted if row.moved)
    if not steps:
        return f"{text}, and all of them say {number(totals[0])} {numbers.units(found.unit)}."
    often = "once" if steps == 1 else f"{steps} times"
    return (
        f"{text}. The number moved {often}, between {number(min(totals))} and {number(max(totals))}; "
        f"today it is {number(totals[-1])} {numbers.units(found.unit)}."
    )


def verdict(found: History) -> str:
    """Whether every step is explained, in words."""
    if found.unpriced:
        them = "it" if len(found.unpriced) == 1 else "them"
        said = f"UNPRICED: {words.without_formula(found.unpriced)}; every total here may be too small by {them}."
        return f"{said} {_of_the_steps(found)}"
    return _of_the_steps(found)


def _of_the_steps(found: History) -> str:
    wrong, left = verdicts.failing_releases(found), verdicts.unexplained(found)
    if not found.counted:
        return "NO NUMBER: no release counts this." if found.rows else "NO NUMBER: there is no such release."
    if not wrong and not left:
        return _explained(found.counted)
    said = [f"{visible(c.before)} → {visible(c.after)} {signed(c.reconciliation.residual)}" for c in left]
    text = f"NOT EVERYTHING IS EXPLAINED: residuals at {numbers.listed(said)}. " if said else "The residuals are 0. "
    if wrong:
        names = [f"{visible(row.release)} ({row.sites - row.agree} of {row.sites})" for row in wrong[: numbers.LISTED]]
        more = [f"{len(wrong) - numbers.LISTED} more"] if len(wrong) > numbers.LISTED else []
        text += f"Formulas fail at sites of {numbers.listed(names + more)}."
    return text.strip()


def _explained(counted: list[Row]) -> str:
    """What holds where nothing is wrong: less where there is no step, or no site to check."""
    checked = sum(row.sites for row in counted)
    if not checked:
        return "Nothing was checked: this model has no operation."
    agree = f"agree with what it reported at all of its sites ({number(checked)} checked)."
    if len(counted) == 1:
        return f"One release counts this, so there is no step to explain; its formulas {agree}"
    return f"Every step is explained: residual 0, and each release's formulas {agree}"


def shapes(found: History) -> str:
    """`1×3×416×416`."""
    return ", ".join(visible(text.replace("x", "×")) for text in found.model.inputs) or "no inputs"


def remarks(row: Row) -> list[str]:
    """What there is to say of one release, besides its numbers."""
    said = [brief(row.reason)] if row.reason else []
    if row.yanked:
        said.append(f"yanked: {visible(row.yanked)}")
    if row.sites != row.agree:
        said.append(f"its formulas fail at {plural(row.sites - row.agree, 'site')}")
    return [*said, *map(visible, row.warnings)]


def title(change: Change) -> str:
    """From which release to which, when, and by how much."""
    r = change.reconciliation
    return (
        f"{visible(change.before)} → {visible(change.after)} ({visible(change.uploaded[:10])}): {signed(r.difference)}"
    )


def reasons(change: Change) -> list[str]:
    """One sentence for each rule that changed: the old formula and the new one, with their reasons and sources."""
    lines = analysis.contributing(change.reconciliation)
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        rules = (line.phase, line.op, line.right_because, line.right_source, line.left_because, line.left_source)
        groups.setdefault(rules, []).append(line)
    said = [_sum(lines)] if len(lines) > len(groups) else []
    said += [_reason(mine) for mine in groups.values()]
    if not lines:
        said.append("no operation is charged differently")
    if change.reconciliation.residual:
        said.append(pair_words.leftover(change.reconciliation))
    return said


def _sum(lines: list[Line]) -> str:
    """Where an operation has several lines: what they come to."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.op] = sums.get(line.op, 0) + line.difference
    return "in all: " + ", ".join(f"{op_word(op)} {signed(amount)}" for op, amount in sums.items())


def _reason(lines: list[Line]) -> str:
    first, sites = lines[0], sum(line.sites for line in lines)
    where = f" at {plural(sites, 'site')}" if sites else ""
    before, after = (list(dict.fromkeys(formulas)) for formulas in (
        (line.right_formula for line in lines), (line.left_formula for line in lines)))  # fmt: skip
    return (
        f"{vocabulary.operation(first)}{where}, {signed(sum(line.difference for line in lines))}: "
        f"{_rule(before, first.right_because, first.right_source)} before, "
        f"{_rule(after, first.left_because, first.left_source)} after"
    )


def _rule(formulas: list[str], because: str, source: str) -> str:
    """A formula with its reason and the line of the library that says so; of many, how many."""
    formula = visible(formulas[0]) if len(formulas) == 1 else f"{len(formulas)} formulas"
    why = "; ".join(visible(text).rstrip(".") for text in (because, source) if text)
    return f"{formula} ({why})" if why else formula


def made(found: History) -> str:
    """Where and when this was counted."""
    environment = found.environment
    return (
        f"flopledger {found.flopledger}, {found.created}, Python {environment.python}, "
        f"torch {environment.torch or 'none'}, {environment.platform}; releases as listed on {found.listed[:10]}."
    )


def file_stem(found: History) -> str:
    """The name of a history's files, without its ending."""
    return "releases-" + re.sub(r"[^\w.-]", "_", found.counter)
