"""What libraries have really printed: tallies that are kept of earlier counts, laid beside what the rules say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec.structs import replace

from flopledger.counters import registry
from flopledger.counters.engine import adapters, kept, package_index
from flopledger.reference_model.subject import Spec
from flopledger.reports.identify.candidates import Candidate

LOOKED_UP = 20  # releases of a row; one that is kept is enough


def measured(found: Sequence[Candidate], asked: Spec) -> list[Candidate]:
    """The same with the totals that their counters had, where one of the releases was counted on the subject.

    `asked` is what was asked about: without a departure, a count may be filed under its inputs or under none given.
    """
    releases = {at: list(islice(_releases(each), LOOKED_UP)) for at, each in enumerate(found) if each.total}
    seen = kept.seen({_name(found[at], release) for at, mine in releases.items() for release in mine})
    keys = kept.Keys()
    return [
        _measured(each, [release for release in releases.get(at, []) if _name(each, release) in seen], asked, keys)
        for at, each in enumerate(found)
    ]


def _name(candidate: Candidate, release: str | None) -> str:
    assert candidate.total is not None
    return f"{candidate.total.counter}=={release}" if release else candidate.total.counter


def _measured(candidate: Candidate, releases: Sequence[str | None], asked: Spec, keys: kept.Keys) -> Candidate:
    named = Spec(candidate.model, tuple(candidate.inputs), candidate.mode)
    specs = [named] if candidate.departure.said else [*{named, asked}]
    for release in releases:
        assert candidate.total is not None
        adapter = adapters.about(candidate.total.counter)
        if not release and not registry.is_here(adapter):
            continue
        for spec in specs:
            key = keys.count(adapter, release, spec)
            answer = kept.find(_name(candidate, release), key) if key else None
            if answer and answer.answer.count:
                return replace(
                    candidate,
                    measured=answer.answer.count.total,
                    measured_version=release or candidate.total.version,
                )
    return candidate


def _releases(candidate: Candidate) -> Iterator[str | None]:
    """Its releases, the newest first; None is the installed one."""
    total = candidate.total
    assert total is not None
    if total.current:
        yield None
    ours = total.counter in registry.TABLE  # of which nothing need be read, as where nothing was counted
    distribution = (registry.get if ours else adapters.about)(total.counter).distribution
    listing = package_index.listed(distribution) if distribution != "torch" else None
    order = [release.version for release in listing.releases] if listing else []
    for span in reversed(total.spans):
        if span.count is not None and span.first in order and span.last in order:
            yield from reversed(order[order.index(span.first) : order.index(span.last) + 1])
