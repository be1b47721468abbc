"""What libraries have really printed: tallies that are kept of earlier counts, laid beside what the rules say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from msgspec.structs import replace

from flopledger.counters import registry
from flopledger.counters.engine import adapters, kept, package_index
from flopledger.reference_model.subject import Spec
from flopledger.reports.identify.candidates import Candidate

LOOKED_UP = 20  # releases of a row; one that is kept is enough


def measured(candidate: Candidate, asked: Spec, keys: kept.Keys) -> Candidate:
    """The same with the total that its counter had, where one of its releases was counted on this subject.

    `asked` is what was asked about: without a departure, a count may be filed under its inputs or under none given.
    """
    if candidate.total is None:
        return candidate
    named = Spec(candidate.model, tuple(candidate.inputs), candidate.mode)
    specs = [named] if candidate.departure.said else [*{named, asked}]
    for release in islice(_releases(candidate), LOOKED_UP):
        for spec in specs:
            total = _kept(candidate.total.counter, release, spec, keys)
            if total is not None:
                return replace(candidate, measured=total, measured_version=release or candidate.total.version)
    return candidate


def _releases(candidate: Candidate) -> Iterator[str | None]:
    """Its releases, the newest first; None is the installed one."""
    total = candidate.total
    assert total is not None
    if total.current:
        yield None
    distribution = adapters.about(total.counter).distribution
    listing = package_index.listed(distribution) if distribution != "torch" else None
    order = [release.version for release in listing.releases] if listing else []
    for span in reversed(total.spans):
        if span.count is not None and span.first in order and span.last in order:
            yield from reversed(order[order.index(span.first) : order.index(span.last) + 1])


def _kept(counter: str, release: str | None, spec: Spec, keys: kept.Keys) -> int | None:
    name = f"{counter}=={release}" if release else counter
    if kept.unseen([name]):
        return None
    adapter = adapters.about(counter)
    if not release and not registry.is_here(adapter):
        return None
    key = keys.count(adapter, release, spec)
    found = kept.find(name, key) if key else None
    return found.answer.count.total if found and found.answer.count else None
