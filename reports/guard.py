"""A project's models counted, and held against its baseline and its budgets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from flopledger.counters import registry
from flopledger.counters.engine import adapters, plan, sources
from flopledger.counters.engine.plan import Asked
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger, calls_without_formula
from flopledger.reference_model.subject import Spec
from flopledger.reports import align, coverage
from flopledger.reports.briefs import Reading, gathered
from flopledger.reports.budget import broken, limits, measured
from flopledger.reports.causes import Middle, middle
from flopledger.reports.compare import with_convention
from flopledger.reports.documents import baseline as documents
from flopledger.reports.documents.baseline import Pinned, Snapshot, is_test, modules, pinned, work
from flopledger.reports.documents.reading import check_numbers
from flopledger.reports.documents.run import (
    Model,
    environment,
    record,
)
from flopledger.reports.drift import changes, drift
from flopledger.reports.moves import Measured, Moves
from flopledger.reports.project import Budget, Guarded


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A model to be counted, and by whom."""

    name: str
    spec: Spec
    counters: list[str]
    budget: Budget | None = None
    line: int = 0


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """What the counters and the ledger say of a model today."""

    snapshot: Snapshot
    measured: Measured


def wanted(models: Iterable[Guarded], counters: Sequence[str]) -> list[Wanted]:
    """The models of a project, each for the same counters."""
    return [
        Wanted(name=each.name, spec=each.spec, counters=list(counters), budget=each.budget, line=each.line)
        for each in models
    ]


def again(entries: Mapping[str, Snapshot]) -> list[Wanted]:
    """The models of a baseline as it names them.

    Raises:
        ValueError: one that cannot be counted again, as a live model's.
    """
    every = []
    for name, entry in entries.items():
        spec = Spec.parse(entry.model.spec, entry.model.inputs, entry.model.mode)
        every.append(Wanted(name=name, spec=spec, counters=[tally.name for tally in entry.tallies]))
    return every


class _Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry of a baseline says of a ledger."""

    model: Model
    totals: dict[str, int]
    unpriced: dict[str, int]
    source: str
    work: str
    modules: str
    measured: Measured


def _weighed(spec: Spec, ledger: Ledger) -> _Weighed:
    return _Weighed(
        model=Model(
            spec=spec.model, inputs=ledger.inputs, params=ledger.params, device=ledger.device, mode=ledger.mode
        ),
        totals=ledger.totals(),
        unpriced=calls_without_formula(ledger.unpriced()),
        source=sources.reference(),
        work=work(ledger.entries),
        modules=modules(ledger.members),
        measured=measured(ledger.params, ledger.entries, ledger.members),
    )  # fmt: skip


def _pinned(tally: Tally, ledger: Ledger) -> Pinned:
    found = record(*with_convention(tally, ledger), ledger, adapters.about(tally.counter).code)
    return pinned(found, ledger.rows())


_READING = Reading(
    name="baseline",
    head=_Weighed,
    cell=Pinned,
    of_ledger=_weighed,
    of_tally=_pinned,
    files=[
        Path(str(file))
        for file in (
            *(each.__file__ for each in (align, coverage, documents)),
            *(each.__code__.co_filename for each in (record, measured)),
            __file__,
        )
    ],
)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A model with what there is to say of it now, or with the `reason` why it cannot be counted."""

    wanted: Wanted
    now: Now | None = None
    reason: str = ""


def counted(every: Sequence[Wanted], **options: Any) -> Iterator[Counted]:
    """Each model once; those of which nothing changed come from what is kept, without torch or a ledger.

    `options` are those of `flopledger.reports.briefs.gathered`.

    Raises:
        ValueError: a counter that is none.
    """
    where, created = environment(), datetime.now(UTC).isoformat(timespec="seconds")
    release = registry.version_of("flopledger") or "unknown"
    groups: dict[tuple[str, ...], list[Wanted]] = {}
    for each in every:
        groups.setdefault(tuple(each.counters), []).append(each)
    for names, group in groups.items():
        asked = [Asked.parse(name) for name in names]
        for found in gathered([each.spec for each in group], asked, _READING, **options):
            for each in group:
                if each.spec == found.spec:
                    about = {"flopledger": release, "created": created, "environment": where}
                    now = None if found.head is None else _now(found.head, found.cells, **about)
                    yield Counted(wanted=each, now=now, reason=found.reason)


def _now(head: _Weighed, cells: Sequence[Pinned], **about: Any) -> Now:
    found = Snapshot(
        model=head.model,
        ledger=head.totals,
        unpriced=head.unpriced,
        source=head.source,
        work=head.work,
        modules=head.modules,
        tallies=sorted(cells, key=lambda tally: tally.name),
        **about,
    )
    check_numbers(found)
    return Now(snapshot=found, measured=head.measured)


def moves(before: Mapping[str, Snapshot], done: Sequence[Counted], **about: Any) -> Moves:
    """What has moved since a baseline, model by model, and which budgets are broken. `about` are fields of `Moves`.

    Where a release has moved a number, the ledger is asked what of that is the model's.
    """
    after = {each.wanted.name: each.now for each in done if each.now}
    failed = {each.wanted.name: each.reason for each in done if each.now is None}
    specs = {each.wanted.name: each.wanted.spec for each in done}
    drifts = {
        name: drift(old, after[name].snapshot, _middles(specs[name])) for name, old in before.items() if name in after
    }
    return Moves(
        drifts=drifts,
        new=sorted(name for name in after if name not in before),
        gone=sorted(name for name in before if name not in after and name not in failed and not is_test(name)),
        failed=failed,
        changes=changes(drifts),
        broken=[
            one
            for each in done
            if each.now and each.wanted.budget
            for one in broken(each.wanted.name, each.wanted.budget, each.now.measured)
        ],
        lines={each.wanted.name: each.wanted.line for each in done if each.wanted.line},
        budgets={each.wanted.name: limits(each.wanted.budget) for each in done if each.wanted.budget},
        **about,
    )


def _middles(spec: Spec) -> Callable[[Pinned, Pinned], Middle | None]:
    """What lies between two releases on a model's ledger, which is read when it is needed first."""

    @functools.cache
    def ledger() -> Ledger | None:
        return next((found.ledger for found in plan.count_each([], [spec])), None)

    def between(old: Pinned, new: Pinned) -> Middle | None:
        found = ledger()
        return middle(old, new, found) if found else None

    return between


def compared(before: Mapping[str, Snapshot], after: Mapping[str, Snapshot], **about: Any) -> Moves:
    """What has moved between two files. A run document is of one model, by its spec, and is held against just that."""
    alone = len(before) == len(after) == 1
    pairs = dict(zip(before, after, strict=True)) if alone else {name: name for name in before if name in after}
    drifts = {name: drift(before[name], after[other]) for name, other in pairs.items()}
    return Moves(
        drifts=drifts,
        new=[name for name in after if name not in pairs.values()],
        gone=[name for name in before if name not in pairs],
        changes=changes(drifts),
        **about,
    )


def worth_writing(old: Snapshot | None, new: Snapshot) -> bool:
    """Whether an entry says anything else than when and where it was made."""
    if old is None:
        return True
    where = msgspec.structs.replace(old.environment, torch=new.environment.torch) == old.environment
    alike = msgspec.structs.replace(new, flopledger=old.flopledger, created=old.created, environment=old.environment)
    return not where or alike != old


def without_number(found: Snapshot) -> bool:
    """Whether no counter has one: such an entry would guard nothing."""
    return all(tally.total is None for tally in found.tallies)
