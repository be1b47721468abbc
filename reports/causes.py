"""Who moved a number: the model, what goes into it, the counter's release, torch, or flopledger itself.

Between a baseline and today lies a point at which only the release is still the old one: what today's statement of the
old release's rules charges on today's ledger. From the baseline to that point it is the model, its input, torch or
flopledger; from there to today it is the release. Both parts are integers, and add up to the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec

from flopledger.counters.convention import Rule
from flopledger.counters.engine import adapters
from flopledger.counters.registry import UnknownCounter
from flopledger.reference_model.ledger import Ledger, Phase
from flopledger.reports.documents.baseline import Pinned, Snapshot
from flopledger.reports.documents.run import ConventionLine

Cause = Literal["model", "input", "release", "torch", "ours", "several"]
Op = tuple[Phase, str]
Restated = tuple[list[ConventionLine], list[ConventionLine]]


class Step(NamedTuple):
    """One rule in the place of another for calls of one op: what each charges for them."""

    phase: Phase
    op: str
    before: ConventionLine
    after: ConventionLine


class Middle(NamedTuple):
    """What the old release's rules charge on today's ledger, and rule by rule what today's charge instead."""

    lines: list[ConventionLine]
    steps: list[Step]


def middle(old: Pinned, new: Pinned, ledger: Ledger) -> Middle | None:
    """The point between two releases of a counter; None where the newer one's rules do not give today's amounts."""
    device = adapters.about(new.counter).device
    ledger = msgspec.structs.replace(ledger, device=device)
    try:
        sides = [adapters.claimed(new.counter, v, ledger).charges(ledger) for v in (old.version, new.version)]
    except UnknownCounter:
        return None
    pairs: dict[tuple[Phase, str, Rule, Rule], list[int]] = {}
    known: dict[tuple[int, int], tuple[Rule, Rule]] = {}
    for (entry, _), (then, before), (now, after) in zip(ledger.rows(), *sides, strict=True):
        if before is None or after is None or before.denominator != 1 or after.denominator != 1:
            return None
        rules = known.setdefault((id(then), id(now)), (then, now))
        sums = pairs.setdefault((entry.phase, entry.op, *rules), [0, 0])
        sums[0] += int(before)
        sums[1] += int(after)
    steps = [
        Step(phase, op, _line(phase, op, then, before), _line(phase, op, now, after))
        for (phase, op, then, now), (before, after) in pairs.items()
        if op != "view" or before or after
    ]
    if amounts(step.after for step in steps) != amounts(line for line in new.lines if line.sites):
        return None
    return Middle([step.before for step in steps], [step for step in steps if _rule(step.before) != _rule(step.after)])


def _line(phase: Phase, op: str, rule: Rule, count: int) -> ConventionLine:
    return ConventionLine(op=op, formula=str(rule.formula), because=rule.because, source=rule.source,
                          when=rule.condition, count=count, sites=1, phase=phase)  # fmt: skip


def _rule(line: ConventionLine) -> tuple[str, str, str]:
    return line.formula, line.because, line.when


def amounts(lines: Iterable[ConventionLine]) -> dict[Op, int]:
    """What lines charge by phase and op, where that is not 0."""
    sums: dict[Op, int] = {}
    for line in lines:
        sums[line.phase, line.op] = sums.get((line.phase, line.op), 0) + line.count
    return {op: amount for op, amount in sums.items() if amount}


def restated(before: Iterable[ConventionLine], after: Iterable[ConventionLine]) -> dict[Op, Restated]:
    """By phase and op the rules of one side that the other does not have, as far as they charge anything."""
    sides = [list(before), list(after)]
    rules = [{(line.phase, line.op, *_rule(line)) for line in side if line.count} for side in sides]
    found: dict[Op, Restated] = {}
    for at, side in enumerate(sides):
        for line in side:
            if line.count and line.sites and (line.phase, line.op, *_rule(line)) not in rules[1 - at]:
                found.setdefault((line.phase, line.op), ([], []))[at].append(line)
    return found


def around(before: Snapshot, after: Snapshot) -> Cause | None:
    """What moved of all that is no counter's: the model's work and what it comes from. None where its work is the same.

    The modules of a model say whether it is another one, whatever flopledger or torch make of its operations.
    """
    if before.model.spec != after.model.spec:
        return "model"
    if (before.model.inputs, before.model.mode) != (after.model.inputs, after.model.mode):
        return "input" if before.model.params == after.model.params else "several"
    if before.work == after.work:
        return None
    others: list[Cause] = []
    if before.source != after.source:
        others.append("ours")
    if before.environment.torch != after.environment.torch:
        others.append("torch")
    if before.modules != after.modules:
        return "several" if others else "model"
    return others[0] if len(others) == 1 else "several" if others else "model"


def of_a_number(old: Pinned, new: Pinned, before: Snapshot, after: Snapshot) -> Cause:
    """Who moved a number on a model whose work is the same, apart from the release's rules."""
    if old.adapter and new.adapter and old.adapter != new.adapter:
        return "ours"
    if old.version != new.version:
        return of_release(new)
    if restated(old.lines, new.lines):
        return "ours"
    if before.environment.torch != after.environment.torch:
        return "torch"
    return "release"  # other files under the same version: an editable install, or one from a branch


def of_release(tally: Pinned) -> Cause:
    """What a release of a counter is to be called: torch's own counter comes with torch."""
    return "torch" if tally.distribution == "torch" else "release"


def together(causes: Iterable[Cause]) -> Cause | None:
    """One cause, "several", or None for none."""
    found = dict.fromkeys(causes)
    return next(iter(found)) if len(found) == 1 else "several" if found else None
