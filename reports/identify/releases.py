"""Every release of every counter, those that charge alike together; from kept lists, without asking the index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from flopledger.counters import registry
from flopledger.counters.convention import Convention
from flopledger.counters.engine import adapters, package_index
from flopledger.counters.engine.adapters import About
from flopledger.counters.registry import UnknownCounter
from flopledger.reference_model.ledger import Mode

BEFORE_ALL = "0"  # a version before the first with which a counter's rules changed


class Span(msgspec.Struct, frozen=True):
    """Releases one after the other, by upload, that charge alike.

    `count` is how many there are, None where no list of releases is kept here: then `first` is the release with which
    it began ("" for the very first) and `last` that before which it ended ("" where it goes on). `at` is its place
    among the spans of its counter.
    """

    first: str
    last: str
    count: int | None = None
    at: int = 0


def joined(spans: Sequence[Span]) -> list[Span]:
    """The same, those that follow one another as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.at):
        if found and found[-1].at == span.at - 1:
            before = found.pop()
            count = None if span.count is None or before.count is None else before.count + span.count
            span = Span(before.first, span.last, count, span.at)
        found.append(span)
    return found


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """One convention of a counter, and the releases that had it. `current` is that of the installed release.

    `version` is a release of them to ask for, None for a counter of no distribution.
    """

    counter: str
    adapter: About
    modes: tuple[Mode, ...]
    span: Span
    version: str | None
    current: bool
    convention: Convention


def epochs(names: Sequence[str] | None = None) -> list[Epoch]:
    """The conventions that the counters' releases have had, oldest first; of the others', that of today.

    Raises:
        UnknownCounter: one of `names` is no counter.
    """
    found: list[Epoch] = []
    for name in names if names is not None else registry.names():
        adapter = adapters.about(name)
        if name in registry.TABLE:
            found += _of_ours(name, adapter)
    return found


def _of_ours(name: str, adapter: About) -> Iterator[Epoch]:
    installed = registry.version_of(adapter.distribution)
    listing = package_index.listed(adapter.distribution) if adapter.distribution != "torch" else None
    known = [release.version for release in listing.releases] if listing else [BEFORE_ALL, *registry.changes(name)]
    if adapter.distribution == "torch" or not (listing or registry.changes(name)):
        known = []
    if installed and installed not in known and (listing or not known):
        known.append(installed)
    modes = registry.modes(registry.get(name))
    spans: list[tuple[list[str], Convention]] = []
    for version in known or (None,):
        convention = adapters.claimed(name, version)
        if spans and convention == spans[-1][1]:
            spans[-1][0].append(str(version))
        else:
            spans.append(([str(version)], convention))
    now = adapters.claimed(name, installed)
    for at, (versions, convention) in enumerate(spans):
        last = at == len(spans) - 1
        if listing or known in ([], [installed]):
            span = Span(versions[0], versions[-1], len(versions), at)
        else:
            begin = "" if versions[0] == BEFORE_ALL else versions[0]
            span = Span(begin, "" if last else spans[at + 1][0][0], None, at)
        yield Epoch(
            counter=name, adapter=adapter, modes=modes, span=span, version=versions[-1],
            current=last if installed is None else convention == now, convention=convention,
        )  # fmt: skip


def others() -> list[tuple[str, About]]:
    """The counters of other packages that can be asked."""
    found = [(name, adapters.about(name)) for name in registry.names() if name not in registry.TABLE]
    return [(name, adapter) for name, adapter in found if not adapter.trouble]


__all__ = ["Epoch", "Span", "UnknownCounter", "epochs", "others"]
