"""A baseline, and what has moved since: per model one row per counter, with the lines that moved it and their cause."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

import msgspec

from flopledger.reference_model.ledger import MODES, Phase
from flopledger.reports.causes import Cause, Middle, Op, amounts, around, of_a_number, of_release, restated, together
from flopledger.reports.documents.baseline import Pinned, Snapshot
from flopledger.reports.documents.run import ConventionLine
from flopledger.reports.moves import Amounts, Change, Drift, Moved, Row, RuleMoved

Middles = Callable[[Pinned, Pinned], Middle | None]


def drift(before: Snapshot, after: Snapshot, middle: Middles = lambda old, new: None) -> Drift:
    """What has moved from one to the other, counter by counter, and who moved it.

    `middle` says of two releases of a counter what lies between them on today's ledger (`flopledger.reports.causes`);
    where it cannot, a number that the model and a release have moved is not split.
    """
    moved_model = around(before, after)
    rows = []
    for old, new in _matched(before.tallies, after.tallies):
        row = _row(old, new)
        if old is not None and new is not None and row.difference is not None:
            row = _attributed(row, old, new, before, after, moved_model, middle)
        elif old is not None and new is not None and row.mark in ("newly failing", "newly counting"):
            row = msgspec.structs.replace(row, cause=_of_a_failure(old, new, moved_model))
        rows.append(_comparable(row, old, new, before, after, moved_model))
    return Drift(model=after.model.spec, inputs=after.model.inputs, mode=after.model.mode, rows=rows,
                 notes=_notes(before, after, moved_model), unpriced=after.unpriced,
                 unpriced_before=before.unpriced)  # fmt: skip


def _notes(before: Snapshot, after: Snapshot, moved_model: Cause | None) -> list[str]:
    notes = []
    if _what(before) != _what(after):
        notes.append(f"the baseline is of {_what(before)}, this is {_what(after)}")
    elif moved_model in ("ours", "several") and before.source != after.source:
        notes.append("flopledger's own ledger of this model has changed since the baseline was taken")
    elif moved_model:
        work = _quantities(before, after) or "its calls are others, and their sums the same"
        notes.append(f"the model itself does other work than in the baseline: {work}")
    if before.environment.torch != after.environment.torch:
        notes.append(f"torch {before.environment.torch} then, {after.environment.torch} now")
    return notes


def _comparable(
    row: Row, old: Pinned | None, new: Pinned | None, before: Snapshot, after: Snapshot, moved_model: Cause | None
) -> Row:
    """The same row, or one that says why its two numbers are not to be compared."""
    if _what(before) != _what(after):
        return _not_comparable(row, "another model or input", moved_model)
    if row.mark == "moved" and moved_model in ("ours", "several") and before.source != after.source:
        return _not_comparable(row, "our own ledger changed; take the baseline again", moved_model)
    if row.mark == "moved" and old and new and old.adapter and new.adapter and old.adapter != new.adapter:
        return _not_comparable(row, "our own adapter changed too; take the baseline again", "ours")
    return row


def _attributed(
    row: Row, old: Pinned, new: Pinned, before: Snapshot, after: Snapshot, moved_model: Cause | None, middle: Middles
) -> Row:
    """The row with what each cause has moved, and the rules that moved."""
    released = old.version != new.version
    whole = moved_model or of_a_number(old, new, before, after)  # of all that cannot be split
    if moved_model and released:
        whole = "several"
    between = middle(old, new) if released and row.mark == "moved" else None
    first, third = amounts(old.lines), amounts(new.lines)
    second = {op: n for op, n in amounts(between.lines).items() if n} if between else {}
    sited = {(line.phase, line.op) for line in [*old.lines, *new.lines] if line.sites}
    found: list[Moved] = []
    for line in moved(old.lines, new.lines, also=second):
        op = line.phase, line.op
        if between and op in sited:
            halfway = second.get(op, 0)
            parts = [(moved_model or "ours", halfway - first.get(op, 0)), (of_release(new), third.get(op, 0) - halfway)]
        else:
            parts = [(whole, line.difference)]
        told = {cause: amount for cause, amount in parts if amount}
        if told:
            found.append(msgspec.structs.replace(line, cause=together(told), parts=told))
    sums: dict[Cause, int] = {}
    for line in found:
        for cause, amount in line.parts.items():
            sums[cause] = sums.get(cause, 0) + amount
    causes = [*sums, *([whole] if row.residual or (row.mark == "moved" and not sums) else [])]
    return msgspec.structs.replace(
        row, lines=found, parts=sums, cause=together(causes), rules=_rules(old, new, between, moved_model, whole)
    )


def _of_a_failure(old: Pinned, new: Pinned, moved_model: Cause | None) -> Cause | None:
    """Why a counter has a number on one side only, as far as anything has changed: it may also be the machine."""
    others: list[Cause] = [moved_model] if moved_model else []
    if old.version != new.version and old.version and new.version:
        others.append(of_release(new))
    if old.adapter != new.adapter:
        others.append("ours")
    return together(others)


def _rules(
    old: Pinned, new: Pinned, between: Middle | None, moved_model: Cause | None, whole: Cause
) -> list[RuleMoved]:
    """The rules that moved: a release's; and where the model did not move, ours, also if they charge the same."""
    found = [_rule_moved(of_release(new), *step) for step in between.steps] if between else []
    if moved_model is None:
        cause = "ours" if between else whole
        texts = restated(old.lines, between.lines if between else new.lines)
        found += [
            _rule_moved(cause, phase, op, _as_one(op, then), _as_one(op, now))
            for (phase, op), (then, now) in texts.items()
        ]
    return [rule for rule in found if rule.before != rule.after or rule.cause == "ours"]


def _as_one(op: str, lines: list[ConventionLine]) -> ConventionLine:
    return ConventionLine(
        op=op, formula=_formulas(lines), because=_joined(line.because for line in lines),
        source=_joined(line.source for line in lines), count=sum(line.count for line in lines),
    )  # fmt: skip


def _rule_moved(cause: Cause, phase: Phase, op: str, then: ConventionLine, now: ConventionLine) -> RuleMoved:
    return RuleMoved(
        cause=cause, phase=phase, op=op, before_formula=then.formula, after_formula=now.formula,
        before_because=then.because, after_because=now.because, before_source=then.source, after_source=now.source,
        before=then.count, after=now.count,
    )  # fmt: skip


def _what(found: Snapshot) -> str:
    mode = "" if found.model.mode == "eval" else f", {MODES[found.model.mode]}"
    return f"{found.model.spec} at {', '.join(found.model.inputs)}{mode}"


def _quantities(before: Snapshot, after: Snapshot) -> str:
    moved = [
        f"{name} {before.ledger.get(name, 0):,} then, {after.ledger.get(name, 0):,} now"
        for name in sorted({*before.ledger, *after.ledger}, key=lambda name: (name != "macs", name))
        if before.ledger.get(name, 0) != after.ledger.get(name, 0)
    ]
    return "; ".join(moved[:3])


def _not_comparable(row: Row, reason: str, cause: Cause | None) -> Row:
    return msgspec.structs.replace(row, mark="not comparable", reason=reason, cause=cause)


def _matched(before: list[Pinned], after: list[Pinned]) -> list[tuple[Pinned | None, Pinned | None]]:
    """Pairs of one name; what is left over, of one counter, where either side has just one of it."""
    pairs: list[tuple[Pinned | None, Pinned | None]] = []
    rest = {tally.name: tally for tally in after}
    unmatched: list[Pinned] = []
    for old in before:
        if old.name in rest:
            pairs.append((old, rest.pop(old.name)))
        else:
            unmatched.append(old)
    for old in unmatched:
        alone = sum(other.counter == old.counter for other in unmatched) == 1
        same = [new for new in rest.values() if new.counter == old.counter]
        pairs.append((old, rest.pop(same[0].name) if alone and len(same) == 1 else None))
    return [*pairs, *((None, new) for new in rest.values() if new.total is not None)]


def _row(old: Pinned | None, new: Pinned | None) -> Row:
    some = new or old
    assert some is not None
    name = some.counter if old and new and old.name != new.name else some.name
    row = Row(
        counter=name,
        mark="same",
        before_version=old.version if old else None,
        after_version=new.version if new else None,
        unit=some.unit,
        before=old.total if old else None,
        after=new.total if new else None,
        reason=new.reason if new else "it was not run",
    )
    replace: Callable[..., Row] = msgspec.structs.replace
    if old is None:
        return replace(row, mark="new", reason="it is not in the baseline")
    if new is None:
        return replace(row, mark="gone")
    if new.total is None or old.total is None:
        if old.total is not None:
            return replace(row, mark="newly failing")
        return replace(row, mark="newly counting" if new.total is not None else "same")
    lines = moved(old.lines, new.lines)
    difference, residual = new.total - old.total, new.unexplained - old.unexplained
    if sum(line.difference for line in lines) + residual != difference:
        raise ArithmeticError(f"{name}: lines and residual {residual} do not sum to {difference}")
    row = replace(row, difference=difference, residual=residual, lines=lines)
    if lines or residual:
        return replace(row, mark="moved")
    if old.verified.sites - old.verified.agree != new.verified.sites - new.verified.agree:
        wrong = [tally.verified.sites - tally.verified.agree for tally in (old, new)]
        reason = f"its formulas fail at {wrong[0]} sites then, at {wrong[1]} now"
        return replace(row, mark="moved", reason=reason)
    if old.params != new.params:
        return replace(row, mark="moved", reason=f"its own count of parameters: {old.params} then, {new.params} now")
    return replace(row, mark="same" if old.version == new.version else "new release, same numbers")


def moved(before: list[ConventionLine], after: list[ConventionLine], also: Container[Op] = ()) -> list[Moved]:
    """The operations whose amounts differ, and these `also`; largest change first."""
    found = []
    for phase, op in dict.fromkeys((line.phase, line.op) for line in [*before, *after]):
        old, new = ([line for line in lines if (line.phase, line.op) == (phase, op)] for lines in (before, after))
        sums = sum(line.count for line in old), sum(line.count for line in new)
        if sums[0] != sums[1] or (phase, op) in also:
            found.append(
                Moved(
                    op=op,
                    phase=phase,
                    before_formula=_formulas(old),
                    after_formula=_formulas(new),
                    before=sums[0],
                    after=sums[1],
                    difference=sums[1] - sums[0],
                    before_because=_joined(line.because for line in old),
                    after_because=_joined(line.because for line in new),
                    before_source=_joined(line.source for line in old),
                    after_source=_joined(line.source for line in new),
                )
            )
    return sorted(found, key=lambda line: (-abs(line.difference), line.op))


def _formulas(lines: list[ConventionLine]) -> str:
    """The formulas of one op; with their conditions where there are several."""
    if len({line.formula for line in lines}) == 1:
        return lines[0].formula
    return _joined(f"{line.formula} {line.when}".strip() for line in lines) or "0"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def changes(found: Mapping[str, Drift]) -> list[Change]:
    """Each rule that moved, once for all the models that it touches: those that move most first."""
    every: dict[tuple[object, ...], dict[str, Amounts]] = {}
    rules: dict[tuple[object, ...], tuple[Row, RuleMoved]] = {}
    for name, one in found.items():
        for row in one.rows:
            for rule in row.rules:
                key = (row.counter, row.before_version, row.after_version, *msgspec.structs.astuple(rule)[:-2])
                rules.setdefault(key, (row, rule))
                before = every.setdefault(key, {}).get(name, Amounts(before=0, after=0))
                every[key][name] = Amounts(before=before.before + rule.before, after=before.after + rule.after)
    told = [_change(row, rule, every[key]) for key, (row, rule) in rules.items()]
    return sorted(told, key=lambda each: (each.counter, -abs(each.difference), each.op))


def _change(row: Row, rule: RuleMoved, models: dict[str, Amounts]) -> Change:
    fields = msgspec.structs.asdict(rule)
    del fields["before"], fields["after"]
    return Change(
        counter=row.counter, before_version=row.before_version, after_version=row.after_version, unit=row.unit,
        models=models, **fields,
    )  # fmt: skip
