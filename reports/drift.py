"""A baseline, and what has moved since: per model one row per counter, with the lines that moved it and their cause.

`Drift` is of one model, `Moves` of all: what `flopledger drift` prints, in every format. A rule of a counter that
moved is one `Change` there, however many models it touches.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import msgspec
from packaging.version import Version

from flopledger.reference_model.display import Displayed, Grid
from flopledger.reference_model.ledger import MODES, Mode, Phase
from flopledger.reports.documents.baseline import Pinned, Snapshot
from flopledger.reports.documents.run import ConventionLine

if TYPE_CHECKING:
    from flopledger.counters.engine.package_index import Listing, Release

Mark = Literal[
    "same", "new release, same numbers", "moved", "newly failing", "newly counting", "not comparable", "new", "gone"
]  # fmt: skip
# Who moved a number: the model's own work, what goes into it, the counter's release, torch, flopledger's own code or
# rules; or several of them, which `parts` tell apart where that can be done exactly.
Cause = Literal["model", "input", "release", "torch", "ours", "several"]
NAMED = 5  # models that a next step names
FINE: tuple[Mark, ...] = ("same", "new release, same numbers")


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """One operation whose amount changed: the formulas that charged for it, before and after, and their sources.

    `parts` say how much of the difference is whose, where that is known; they add up to it.
    """

    op: str
    before_formula: str
    after_formula: str
    before: int
    after: int
    difference: int
    before_because: str = ""
    after_because: str = ""
    before_source: str = ""
    after_source: str = ""
    phase: Phase = "forward"
    cause: Cause | None = None
    parts: dict[Cause, int] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One counter. `difference == sum(line.difference) + residual` where both counted.

    `parts` say how much of the lines is whose, where that is known; `cause` is the one there is, or "several".
    """

    counter: str
    mark: Mark
    before_version: str | None = None
    after_version: str | None = None
    unit: str = "FLOP"
    before: int | None = None
    after: int | None = None
    difference: int | None = None
    lines: list[Moved] = []
    residual: int = 0
    reason: str | None = None
    cause: Cause | None = None
    parts: dict[Cause, int] = {}


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule charges for one model, before and after, in the counter's own unit."""

    before: int
    after: int

    @property
    def difference(self) -> int:
        return self.after - self.before


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a counter that moved, and every model that it touches: name → the amounts of just this rule.

    Its cause is "release", "torch" or "ours"; what moved because a model did is in that model's rows only. A rule of
    ours that is worded anew and charges the same is a change, too, and no drift.
    """

    counter: str
    cause: Cause
    before_version: str | None
    after_version: str | None
    unit: str
    phase: Phase
    op: str
    before_formula: str
    after_formula: str
    before_because: str
    after_because: str
    before_source: str
    after_source: str
    models: dict[str, Amounts]

    @property
    def difference(self) -> int:
        """Over all the models."""
        return sum(amounts.difference for amounts in self.models.values())


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget is held against: a model's MACs by site and op, as the ledger has them.

    `unpriced` are operations without a formula: site, name, calls. `modules` are the names of all modules, "" the root.
    """

    params: int
    macs: list[tuple[str, str, int]]
    unpriced: list[tuple[str, str, int]] = []
    modules: list[str] = []


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that is broken: `what` is "macs", "params", "op conv" or "site layer4".

    `value` is over `limit`; it is `at_least` that where something is unpriced, and may then be within the limit and
    the budget cannot be promised all the same. `heaviest` are site, op and MACs. `line` is the configuration's.
    """

    model: str
    what: str
    limit: int
    value: int
    at_least: bool = False
    heaviest: list[tuple[str, str, int]] = []
    line: int = 0


class Drift(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """Two snapshots compared: a row for each counter, and notes on what is not any one counter's.

    `unpriced` has the operations without a formula and how often each is called now, `unpriced_before` then.
    """

    model: str
    inputs: list[str]
    rows: list[Row]
    notes: list[str] = []
    mode: Mode = "eval"
    unpriced: dict[str, int] = {}
    unpriced_before: dict[str, int] = {}

    def _line(self) -> str:
        odd = [row.counter for row in self.rows if row.mark not in FINE]
        who = f" ({', '.join(odd)})" if odd else ""
        return f"{self.model}: {len(odd):,} of {len(self.rows):,} counters drifted{who}"

    def _grids(self) -> Iterator[Grid]:
        rows = [(row.counter, row.mark, row.before, row.after, row.difference, row.reason or "") for row in self.rows]
        yield Grid(("counter", "mark", "then", "now", "difference", "remark"), rows)

    @property
    def drifted(self) -> bool:
        """Whether any row is something else than the same numbers, or something is unpriced that was not."""
        return bool(self.newly_unpriced) or any(row.mark not in FINE for row in self.rows)

    @property
    def newly_unpriced(self) -> dict[str, int]:
        """The operations without a formula that were not there, or not so often."""
        return {name: n for name, n in self.unpriced.items() if n > self.unpriced_before.get(name, 0)}

    @property
    def compared(self) -> bool:
        """Whether any counter has a number on both sides."""
        return any(row.before is not None and row.after is not None for row in self.rows)

    @property
    def cause(self) -> Cause | None:
        """Who moved it: the one cause of all its rows, "several", or None where nothing is known to have moved."""
        causes = {row.cause for row in self.rows if row.mark not in FINE and row.cause}
        return causes.pop() if len(causes) == 1 else "several" if causes else None


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """All models of a baseline, then and now. `drifts` has those of both sides, by name, also where nothing moved.

    `new` are models without an entry in the baseline, `gone` entries without a model, `failed` those that could not be
    counted and why. `project` and `baseline` are files, `other` one that was read instead of counting now, `lines`
    where the project's file has each model. `accepted` are those whose entries were written just now.
    """

    baseline: str
    other: str | None = None
    project: str | None = None
    drifts: dict[str, Drift] = {}
    new: list[str] = []
    gone: list[str] = []
    failed: dict[str, str] = {}
    changes: list[Change] = []
    broken: list[Broken] = []
    notes: list[str] = []
    lines: dict[str, int] = {}
    accepted: list[str] = []

    @property
    def moved(self) -> list[str]:
        """The models that `drift --accept` would write: they drifted, are new or gone, and are not `accepted` yet."""
        drifted = [name for name, found in self.drifts.items() if found.drifted]
        return sorted({*drifted, *self.new, *self.gone} - {*self.accepted})

    @property
    def next_step(self) -> str:
        """The command that takes what moved into the baseline, "" where nothing did or was counted."""
        if not self.moved or self.other:
            return ""
        file = [] if self.project else [self.baseline]
        names = self.moved if len(self.moved) <= NAMED else []
        return " ".join(["flopledger drift", *map(shlex.quote, file), "--accept", *map(shlex.quote, names)])

    @property
    def wrong(self) -> bool:
        """Whether anything moved, is broken, or has no number where there was one."""
        nothing = any(not d.compared for name, d in self.drifts.items() if name not in self.accepted)
        return bool(self.moved or self.failed or self.broken or nothing)


def newest(listing: Listing, version: str | None) -> Release | None:
    """The newest release to install, if it was uploaded after `version`; None where that is the newest."""
    fit = [r for r in listing.releases if not (r.yanked or r.obstacle or Version(r.version).is_prerelease)]
    if not fit or version is None or fit[-1].version == version:
        return None
    known = [release.version for release in listing.releases]
    if version in known and known.index(version) > known.index(fit[-1].version):
        return None
    return fit[-1]


def drift(before: Snapshot, after: Snapshot) -> Drift:
    """What has moved from one to the other, counter by counter."""
    notes = []
    alike = _what(before) == _what(after)
    ours = bool(before.source and after.source and before.source != after.source and before.ledger != after.ledger)
    if not alike:
        notes.append(f"the baseline is of {_what(before)}, this is {_what(after)}")
    elif ours:
        notes.append("flopledger's own ledger of this model has changed since the baseline was taken")
    elif before.ledger != after.ledger:
        notes.append(f"the model itself does other work than in the baseline: {_quantities(before, after)}")
    if before.environment.torch != after.environment.torch:
        notes.append(f"torch {before.environment.torch} then, {after.environment.torch} now")
    rows = []
    for old, new in _matched(before.tallies, after.tallies):
        row = _row(old, new)
        changed = row.mark == "moved"
        if not alike:
            row = _not_comparable(row, "another model or input")
        elif changed and ours:
            row = _not_comparable(row, "our own ledger changed; take the baseline again")
        elif changed and old and new and old.adapter and new.adapter and old.adapter != new.adapter:
            row = _not_comparable(row, "our own adapter changed too; take the baseline again")
        rows.append(row)
    return Drift(model=after.model.spec, inputs=after.model.inputs, mode=after.model.mode, rows=rows, notes=notes,
                 unpriced=after.unpriced, unpriced_before=before.unpriced)  # fmt: skip


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


def _not_comparable(row: Row, reason: str) -> Row:
    return msgspec.structs.replace(row, mark="not comparable", reason=reason)


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


def moved(before: list[ConventionLine], after: list[ConventionLine]) -> list[Moved]:
    """The operations whose amounts differ, largest change first."""
    found = []
    for phase, op in dict.fromkeys((line.phase, line.op) for line in [*before, *after]):
        old, new = ([line for line in lines if (line.phase, line.op) == (phase, op)] for lines in (before, after))
        amounts = sum(line.count for line in old), sum(line.count for line in new)
        if amounts[0] != amounts[1]:
            found.append(
                Moved(
                    op=op,
                    phase=phase,
                    before_formula=_formulas(old),
                    after_formula=_formulas(new),
                    before=amounts[0],
                    after=amounts[1],
                    difference=amounts[1] - amounts[0],
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
