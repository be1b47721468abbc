"""A baseline, and what has moved since: one row per counter, with the lines that moved it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import msgspec
from packaging.version import Version

from flopledger.reference_model.display import Displayed, Grid
from flopledger.reference_model.ledger import MODES, Mode, Phase
from flopledger.reports.documents.run import ConventionLine
from flopledger.reports.documents.snapshot import Pinned, Snapshot

if TYPE_CHECKING:
    from flopledger.counters.engine.package_index import Listing, Release

Mark = Literal[
    "same", "new release, same numbers", "moved", "newly failing", "newly counting", "not comparable"
]  # fmt: skip
FINE: tuple[Mark, ...] = ("same", "new release, same numbers")


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """One operation whose amount changed: the formulas that charged for it, before and after."""

    op: str
    before_formula: str
    after_formula: str
    before: int
    after: int
    difference: int
    before_because: str = ""
    after_because: str = ""
    phase: Phase = "forward"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One counter. `difference == sum(line.difference) + residual` where both counted."""

    counter: str
    mark: Mark
    before_version: str | None = None
    after_version: str | None = None
    before: int | None = None
    after: int | None = None
    difference: int | None = None
    lines: list[Moved] = []
    residual: int = 0
    reason: str | None = None


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
        before=old.total if old else None,
        after=new.total if new else None,
        reason=new.reason if new else "it was not run",
    )
    replace: Callable[..., Row] = msgspec.structs.replace
    if old is None:
        return replace(row, mark="newly counting", reason="it is not in the baseline")
    if new is None or new.total is None or old.total is None:
        if old.total is not None:
            return replace(row, mark="newly failing")
        return replace(row, mark="newly counting" if new and new.total is not None else "same")
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
