"""The history document: every release of one counter on one model, and the reconciliation of each step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from flopledger.counters.tally import ROUNDING, Aside, Natural, Status, believed
from flopledger.reference_model.display import Displayed, Grid
from flopledger.reports.align import where
from flopledger.reports.documents.reading import Moment, RunError, Version, check_moment, check_unlike, quoted
from flopledger.reports.documents.run import Environment, Model, check_model, check_status, check_unpriced
from flopledger.reports.reconcile import Line, Reconciliation, Residue

KIND: Literal["history"] = "history"
Uploaded = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?![\s\S])")]  # in UTC


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One release. `moved` is how far its total is from that of the release counted before it."""

    release: Version
    uploaded: Uploaded
    status: Status
    total: Natural | None = None
    params: Natural | None = None
    moved: int | None = None
    sites: Natural = 0
    agree: Natural = 0
    reason: str | None = None
    yanked: str | None = None
    shims: list[str] = []
    warnings: list[str] = []


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A step: `reconciliation.left` is the later release, so its difference is what the step added."""

    before: Version
    after: Version
    uploaded: Uploaded
    reconciliation: Reconciliation


class History(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """All that the pages of a history show; `render` reads it again. `ledger` has the totals of every quantity.

    `unpriced` has the operations without a formula, and how often each was called: no total needs to hold those.
    """

    format: Literal[3]
    kind: Literal["history"]
    flopledger: Version
    created: Moment
    environment: Environment
    model: Model
    counter: str
    distribution: str
    unit: str
    listed: Moment
    ledger: dict[str, Natural]
    unpriced: dict[str, Natural]
    rows: list[Row]
    changes: list[Change]

    @property
    def counted(self) -> list[Row]:
        return [row for row in self.rows if row.status == "counted"]

    def _line(self) -> str:
        return (
            f"{self.counter} on {self.model.spec}: {len(self.counted):,} of {len(self.rows):,} releases count, "
            f"the number moved {len(self.changes):,} time{'s' * (len(self.changes) != 1)}"
        )

    def _grids(self) -> Iterator[Grid]:
        rows = [(row.release, row.uploaded[:10], row.total, row.moved or None,
                 row.reason or ("" if row.total is not None else row.status)) for row in self.rows]  # fmt: skip
        yield Grid(("release", "uploaded", f"{self.unit}s", "step", "remark"), rows)


def check(found: History) -> History:
    """Add everything up again.

    Raises:
        RunError: what does not hold.
    """
    check_moment(found.created, "when it was made")
    check_moment(found.listed, "when the releases were listed")
    check_model(found.model)
    check_unpriced(found.unpriced, found.ledger)
    check_unlike([row.release for row in found.rows], "releases")
    if [row.uploaded for row in found.rows] != sorted(row.uploaded for row in found.rows):
        raise RunError("its releases are not in order of upload")
    at: int | None = None
    for row in found.rows:
        _check_row(row, at)
        at = at if row.total is None else row.total
    _check_changes(found)
    return found


def _check_row(row: Row, before: int | None) -> None:
    """One release; `before` is the total of the one counted before it."""
    check_moment(row.uploaded, f"the upload of {row.release}")
    check_status(row.release, row.status, row.total)
    if row.total is None and (row.moved, row.params, row.sites, row.agree) != (None, None, 0, 0):
        raise RunError(f"{row.release} did not count and has numbers")
    if row.total is not None and row.moved != (None if before is None else row.total - before):
        raise RunError(f"the total of {row.release} and its step do not fit")
    if row.agree > row.sites:
        raise RunError(f"{row.release} agrees at {row.agree} of {row.sites} sites")


def _check_changes(found: History) -> None:
    """One for each step that moved, in order, between one counted release and the next."""
    counted = found.counted
    steps = {(a.release, b.release): (a, b) for a, b in pairwise(counted)}
    named = [(change.before, change.after) for change in found.changes]
    if named != [step for step in steps if step in set(named)]:
        raise RunError("its changes are not between one counted release and the next, each once and in their order")
    if missing := next((b.release for step, (a, b) in steps.items() if b.moved and step not in named), None):
        raise RunError(f"the step to {missing} moved the total and has no change")
    for change in found.changes:
        before, after = steps[change.before, change.after]
        r = change.reconciliation
        if (r.left, r.right) != (f"{found.counter}=={change.after}", f"{found.counter}=={change.before}"):
            raise RunError(f"the change to {change.after} is between {quoted(r.left)} and {quoted(r.right)}")
        if change.uploaded != after.uploaded:
            raise RunError(f"the change to {change.after} has another date than the release")
        _check_sums(r, after, before, found.ledger.get("calls", 0))


def _check_sums(r: Reconciliation, after: Row, before: Row, calls: int) -> None:
    """Add up the lines of a step."""
    assert after.total is not None and before.total is not None
    step = f"the step to {after.release}"
    if any(residue.counter not in (r.left, r.right) for residue in r.residue):
        raise RunError(f"something is left over in {step} of a counter that is not part of it")
    if r.difference != after.total - before.total:
        raise RunError(f"the difference of {step} is not that of the totals")
    if sum(line.difference for line in r.lines) + r.residual != r.difference:
        raise RunError(f"the lines of {step} do not add up")
    if r.unexplained(r.left) - r.unexplained(r.right) != r.residual:
        raise RunError(f"what is left over of {step} does not add up")
    check_unlike([str((x.counter, x.site, x.op, x.level)) for x in r.residue], "residues")
    if any(residue.reported - residue.claimed != residue.unexplained for residue in r.residue):
        raise RunError(f"what is left over of {step} is not what was reported and not claimed")
    check_unlike([str((line.phase, line.op, line.left_formula, line.right_formula)) for line in r.lines], "lines")
    for line in r.lines:
        _check_line(line, step)
    for name, row, side in ((r.left, after, [line.left for line in r.lines]),
                            (r.right, before, [line.right for line in r.lines])):  # fmt: skip
        _check_side(row, sum(side), [residue for residue in r.residue if residue.counter == name], step)
        asides = [Aside(x.op, amount, "") for x, amount in zip(r.lines, side, strict=True) if _of_no_site(x)]
        if not believed([aside for aside in asides if aside.amount], row.total or 0, calls):
            raise RunError(f"{step} has more in a total of no operation than can be rounding, or one for each call")


def _check_line(line: Line, step: str) -> None:
    if line.left - line.right != line.difference:
        raise RunError(f"a line of {step} does not add up")
    if line.verified_sites + len(line.failing) != line.sites or len(set(line.failing)) != len(line.failing):
        raise RunError(f"a line of {step} is verified at {line.verified_sites} of {line.sites} sites, and fails at "
                       f"{len(line.failing)}")  # fmt: skip
    if (line.left_formula == "0" and line.left) or (line.right_formula == "0" and line.right):
        raise RunError(f"a line of {step} charges something by a formula of 0")


def _of_no_site(line: Line) -> bool:
    return line.op == ROUNDING or not line.sites


def _check_side(row: Row, charged: int, residues: list[Residue], step: str) -> None:
    """One of the two releases: its total is made of what was charged and what is left over, where it fails."""
    if row.total != charged + sum(residue.unexplained for residue in residues):
        raise RunError(f"the lines of {step} do not sum to the total of {row.release}")
    if row.sites - row.agree != len({where(x.level, x.site, x.op) for x in residues}):
        raise RunError(f"{row.release} agrees at {row.agree} of {row.sites} sites, which is not what {step} says")
