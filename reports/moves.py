"""What has moved since a baseline: the types of `flopledger.reports.drift`, which finds it, and of every format.

`Drift` is of one model, `Moves` of all: what `flopledger drift` prints. A rule of a counter that moved is one `Change`
there, however many models it touches.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Literal

import msgspec

from flopledger.reference_model.display import Displayed, Grid
from flopledger.reference_model.ledger import Mode, Phase
from flopledger.reports.causes import Cause

Mark = Literal[
    "same", "new release, same numbers", "moved", "newly failing", "newly counting", "not comparable", "new", "gone"
]  # fmt: skip
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


class RuleMoved(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a counter in the place of another, and what each charges for the calls of which it speaks."""

    cause: Cause
    phase: Phase
    op: str
    before_formula: str
    after_formula: str
    before_because: str
    after_because: str
    before_source: str
    after_source: str
    before: int
    after: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One counter. `difference == sum(line.difference) + residual` where both counted.

    `parts` say how much of the lines is whose, where that is known; `cause` is the one there is, or "several". `rules`
    are the counter's that moved.
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
    rules: list[RuleMoved] = []


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
    the budget cannot be promised all the same: for `unpriced`, which have no formula, by how often they are called.
    `heaviest` are site, op and MACs. `line` is the configuration's.
    """

    model: str
    what: str
    limit: int
    value: int
    at_least: bool = False
    unpriced: dict[str, int] = {}
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
    counted and why. `project` and `baseline` are files, `other` what is compared with instead of what is here now,
    `lines` where the project's file has each model, `budgets` what limits it has. `accepted` are those whose entries
    were written just now.
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
    budgets: dict[str, list[str]] = {}
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
