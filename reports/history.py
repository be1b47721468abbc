"""Every published release of one counter on one model: what each said, and why the number moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from packaging.version import InvalidVersion, Version

from flopledger.counters import registry
from flopledger.counters.engine import adapters
from flopledger.counters.engine.job import TIMEOUT
from flopledger.counters.engine.overlays import OverlayError
from flopledger.counters.engine.package_index import Listing, Release, published
from flopledger.counters.engine.plan import count_all
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger, calls_without_formula
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import Aligned, align
from flopledger.reports.documents.history import KIND, Change, History, Row
from flopledger.reports.documents.reading import FORMAT, check_numbers
from flopledger.reports.documents.run import Model, environment
from flopledger.reports.reconcile import reconcile


def history(
    counter: str,
    model: str = "mobilenet_v2",
    inputs: list[str] | None = None,
    *,
    since: str | None = None,
    last: int | None = None,
    ask: bool = False,
    timeout: float = TIMEOUT,
    jobs: int | None = None,
    keep: bool = True,
    on_start: Callable[[int], None] = lambda releases: None,
    on_running: Callable[[str], None] = lambda name: None,
    on_done: Callable[[str], None] = lambda name: None,
    on_trouble: Callable[[str], None] = lambda reason: None,
) -> History:
    """Run the published releases of `counter` on a model, in order of upload.

    Args:
        counter: a name as `flopledger counters` lists them.
        since: a date (2021, 2021-10 or 2021-10-06) or a release to begin with.
        last: only so many of the newest.
        ask: ask the package index now, however fresh the list that is kept.
        keep: false counts again, whatever is kept.
        on_start: called with the number of releases before the first of them runs.
        on_running: called with a name when it begins to run.
        on_done: called with a name when it is through, cached or counted.
        on_trouble: called with one line where the index or the disk is in the way.

    Raises:
        ValueError: an unknown counter, model or `since`, or a package index that cannot be asked.
    """
    spec = Spec.parse(model, inputs)
    adapter = adapters.about(counter)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    listing = published(adapter.distribution, ask=ask)
    releases = chosen(listing, since, last)

    def complain(trouble: str) -> None:
        on_trouble(f"{trouble}; going by the list of {listing.asked[:10]} and what is installed")

    @cache
    def may_install() -> bool:
        """Ask the index before pip is sent there: where it is out of reach, one line says so, not each install."""
        if listing.trouble or listing.asked >= started:  # it was asked just now
            return not listing.trouble
        try:
            trouble = published(adapter.distribution, ask=True).trouble
        except OverlayError as error:
            trouble = str(error)
        if trouble:
            complain(trouble)
        return not trouble

    if listing.trouble:
        complain(listing.trouble)
    names = {release.version: f"{counter}=={release.version}" for release in releases if not release.obstacle}
    on_start(len(names))
    ledger, tallies = count_all(
        list(names.values()),
        spec,
        timeout=timeout,
        workers=jobs,
        keep=keep,
        may_install=may_install,
        on_running=on_running,
        on_done=on_done,
        on_trouble=on_trouble,
    )
    found = dict(zip(names, tallies, strict=True))
    return told(counter, spec, listing, [(release, found.get(release.version)) for release in releases], ledger)


def chosen(listing: Listing, since: str | None, last: int | None) -> list[Release]:
    """The releases from `since` on, or the `last` ones. Raises ValueError where `since` is neither date nor release."""
    found = listing.releases
    if since is not None:
        start = next((i for i, release in enumerate(found) if _is_version(since, release.version)), None)
        if start is None:
            if not _is_date(since):
                raise ValueError(f"{since!r} is neither a date like 2021-10 nor a release of {listing.distribution}")
            start = next((i for i, release in enumerate(found) if release.uploaded >= since), len(found))
        found = found[start:]
    return found[-last:] if last else found


def _is_version(text: str, version: str) -> bool:
    try:
        return Version(text) == Version(version)
    except InvalidVersion:
        return False


def _is_date(text: str) -> bool:
    for form in ("%Y", "%Y-%m", "%Y-%m-%d"):
        try:
            datetime.strptime(text, form)
            return True
        except ValueError:
            continue
    return False


def told(
    counter: str, spec: Spec, listing: Listing, found: Sequence[tuple[Release, Tally | None]], ledger: Ledger
) -> History:
    """The history that these tallies tell. Releases without one say why they could not run."""
    adapter = adapters.about(counter)
    rows: list[Row] = []
    changes: list[Change] = []
    previous: tuple[str, Aligned] | None = None
    for release, tally in found:
        about: dict[str, Any] = {"release": release.version, "uploaded": release.uploaded, "yanked": release.yanked}
        if tally is None or tally.total is None:
            status = tally.status if tally else "unavailable"
            rows.append(Row(**about, status=status, reason=tally.reason if tally else release.obstacle))
            continue
        side = align(tally, adapters.claimed(tally.counter, tally.version, ledger), ledger)
        row = Row(
            **about,
            status=tally.status,
            total=tally.total,
            params=tally.params,
            sites=side.sites,
            agree=side.agree,
            shims=tally.shims,
            warnings=side.warnings,
        )
        if previous:
            step = reconcile(side, previous[1], ledger.rows())
            row = msgspec.structs.replace(row, moved=step.difference)
            if step.difference or step.residual or any(line.difference for line in step.lines):
                step = msgspec.structs.replace(step, lines=[x for x in step.lines if x.left or x.right or x.failing])
                about_step = {"before": previous[0], "after": release.version, "uploaded": release.uploaded}
                changes.append(Change(**about_step, reconciliation=step))
        rows.append(row)
        previous = release.version, side
    found_out = History(
        format=FORMAT,
        kind=KIND,
        flopledger=registry.version_of("flopledger") or "unknown",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=environment(),
        model=Model(
            spec=spec.model, inputs=ledger.inputs, params=ledger.params, device=ledger.device, mode=ledger.mode
        ),
        counter=counter,
        distribution=adapter.distribution,
        unit=adapter.unit,
        listed=listing.asked,
        ledger=ledger.totals(),
        unpriced=calls_without_formula(ledger.unpriced()),
        rows=rows,
        changes=changes,
    )
    check_numbers(found_out)
    return found_out
