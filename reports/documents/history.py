"""The history document: every release of one counter on one model, and the reconciliation of each step."""

from __future__ import annotations

from typing import Literal

import msgspec

from flopledger.counters.tally import Status
from flopledger.reports.documents.reading import RunError
from flopledger.reports.documents.run import Environment, Model
from flopledger.reports.reconcile import Reconciliation

KIND: Literal["history"] = "history"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One release. `moved` is how far its total is from that of the release counted before it."""

    release: str
    uploaded: str
    status: Status
    total: int | None = None
    params: int | None = None
    moved: int | None = None
    sites: int = 0
    agree: int = 0
    reason: str | None = None
    yanked: str | None = None
    shims: list[str] = []
    warnings: list[str] = []


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A step: `reconciliation.left` is the later release, so its difference is what the step added."""

    before: str
    after: str
    uploaded: str
    reconciliation: Reconciliation


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All that the pages of a history show; `render` reads it again."""

    format: Literal[2]
    kind: Literal["history"]
    flopledger: str
    created: str
    environment: Environment
    model: Model
    counter: str
    distribution: str
    unit: str
    listed: str
    rows: list[Row]
    changes: list[Change]

    @property
    def counted(self) -> list[Row]:
        return [row for row in self.rows if row.status == "counted"]


def check(found: History) -> History:
    """Add everything up again.

    Raises:
        RunError: a sum that does not hold.
    """
    totals = {row.release: row.total for row in found.counted if row.total is not None}
    at: int | None = None
    for row in found.counted:
        if row.total is None or row.moved != (None if at is None else row.total - at):
            raise RunError(f"the total of {row.release} and its step do not fit")
        at = row.total
    for change in found.changes:
        check_sums(change.reconciliation, totals.get(change.after, 0) - totals.get(change.before, 0))
    return found


def check_sums(r: Reconciliation, difference: int) -> None:
    """Add up the lines of a reconciliation of totals that are `difference` apart. Raises RunError."""
    if difference != r.difference:
        raise RunError(f"the difference of {r.left} and {r.right} is not that of their totals")
    if sum(line.difference for line in r.lines) + r.residual != r.difference:
        raise RunError(f"the lines of {r.left} and {r.right} do not add up")
    if any(line.left - line.right != line.difference for line in r.lines):
        raise RunError(f"a line of {r.left} and {r.right} does not add up")
    if r.unexplained(r.left) - r.unexplained(r.right) != r.residual:
        raise RunError(f"what is left over of {r.left} and {r.right} does not add up")
