"""One model through many counters: which jobs that takes, what is kept of earlier ones, and a tally for each.

The jobs themselves run in `counters.sandbox`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from counters import registry, releases, results
from counters.sandbox import LEDGER, TIMEOUT, Answer, Job, Live, run
from counters.tally import Tally
from reference_model.ledger import Ledger
from reference_model.spec import Spec


class Rejected(ValueError):
    """The model cannot be built, or rejects its inputs; the message is one line."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it is filed, with the device it came from."""

    name: str
    device: str
    answer: Answer


def count_all(
    names: Sequence[str],
    spec: Spec,
    *,
    live: Live | None = None,
    timeout: float = TIMEOUT,
    workers: int | None = None,
    may_install: Callable[[], bool] = lambda: True,
    on_done: Callable[[str], None] = lambda name: None,
    on_trouble: Callable[[str], None] = lambda reason: None,
) -> tuple[Ledger, list[Tally]]:
    """The ledger and one tally per counter in `names`, side by side on the cores there are.

    A counter that cannot be had becomes a tally that says why, and changes nobody else's.
    `COUNTER==RELEASE` runs that release, from an overlay that is installed once, if `may_install`, which
    is asked when there is one to install. Its answer is kept as soon as it is there, and not asked for again.

    Raises:
        UnknownCounter: a name that is no counter's.
        OverlayError: what follows `==` is no version.
        Rejected: the model cannot be built or rejects its inputs.
    """
    split = {name: releases.split(name) for name in names}
    adapters = {name: registry.get(counter) for name, (counter, _) in split.items()}
    answers: dict[str, Kept] = {}
    keys: dict[str, str] = {}
    ledger_key = None if live else results.ledger_key(spec)
    ledger = results.load("ledger", ledger_key, Ledger) if ledger_key else None
    # The slow ones first, the ledger before all: it says whether there is anything to count.
    slow_first = sorted(names, key=lambda name: adapters[name].device == "meta")
    queue = deque([] if ledger else [Job(counter=LEDGER, spec=spec)])
    queue += [
        Job(counter=split[name][0], spec=spec, device=adapters[name].device)
        for name in slow_first
        if not split[name][1] and registry.is_here(adapters[name])
    ]

    def queue_releases(ledger: Ledger) -> None:
        """The published releases, whose answers are filed by what the ledger holds."""
        for name in slow_first:
            counter, release = split[name]
            if not release:
                continue
            job = Job(counter=counter, spec=spec, device=adapters[name].device, release=release)
            if not live:
                keys[name] = key = results.count_key(counter, release, adapters[name], ledger, spec)
                kept = results.load(name, key, Kept) or results.load(name, results.failure_key(key), Kept)
                if kept and kept.name == name:
                    answers[name] = kept
                    on_done(name)
                    continue
            if not releases.where(adapters[name].distribution, release).is_dir() and not may_install():
                reason = "not installed here yet, and the package index cannot be reached"
                answers[name] = Kept(name=name, device="", answer=Answer(status="unavailable", reason=reason))
                on_done(name)
                continue
            queue.append(job)

    if ledger:
        on_done(LEDGER)
        queue_releases(ledger)
    troubles: set[str] = set()

    def keep(name: str, key: str, value: Any) -> None:
        if (trouble := results.keep(name, key, value)) and trouble not in troubles:
            troubles.add(trouble)
            on_trouble(trouble)

    for job, answer in run(queue, live=live, timeout=timeout, workers=workers):
        if job.counter == LEDGER:
            if answer.ledger is None:
                what = "" if answer.status == "rejected" else f"model {spec.model!r} could not be traced: "
                raise Rejected(f"{what}{answer.reason}")
            ledger = answer.ledger
            if ledger_key:
                keep("ledger", ledger_key, ledger)
            on_done(LEDGER)
            queue_releases(ledger)
            continue
        if job.device == "meta" and answer.status == "failed":
            # Some models cannot run without data; the counter gets a second chance on real tensors.
            queue.appendleft(msgspec.structs.replace(job, device="cpu"))
            continue
        answers[job.name] = kept = Kept(name=job.name, device=job.device, answer=answer)
        if job.name in keys and not answer.passing:
            key = keys[job.name]
            keep(job.name, key if answer.status == "counted" else results.failure_key(key), kept)
        on_done(job.name)
    assert ledger is not None
    return ledger, [_tally(*split[n], adapters[n], answers.get(n)) for n in names]


def _tally(counter: str, release: str | None, adapter: registry.Counter, kept: Kept | None) -> Tally:
    common: dict[str, Any] = {
        "counter": counter,
        "release": release,
        "distribution": adapter.distribution,
        "unit": adapter.unit,
    }
    if kept is None:
        return Tally(
            **common,
            version=None,
            status="unavailable",
            reason=f"{adapter.distribution} is not installed; {registry.remedy(adapter)}",
        )
    answer = kept.answer
    version = answer.version or release or registry.version_of(adapter.distribution)
    common |= {"version": version, "device": kept.device or None, "seconds": answer.seconds}
    if answer.count is None:
        return Tally(**common, status=answer.status, reason=answer.reason)  # type: ignore[arg-type]
    return Tally(
        **common,
        status="counted",
        total=answer.count.total,
        params=answer.count.params,
        parts=answer.count.parts,
        uncounted=answer.count.uncounted,
        shims=answer.count.shims,
        warnings=answer.count.warnings,
    )
