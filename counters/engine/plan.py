"""One plan of jobs: subjects times counters, what is kept of earlier ones, and answers as they come.

The jobs themselves run in `flopledger.counters.engine.supervisor`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
from packaging.version import Version

from flopledger.counters import registry
from flopledger.counters.engine import kept as results
from flopledger.counters.engine import overlays
from flopledger.counters.engine.adapters import About, about, overwritten
from flopledger.counters.engine.job import LEDGER, TIMEOUT, Answer, Job, Live
from flopledger.counters.tally import Tally
from flopledger.reference_model import subject
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import Spec

_MANY = 4  # models; for fewer, what some counters import is sooner imported by each of them, side by side
_LATE = ("torch.utils.flop_counter", "distutils.version")  # of what they lean on, what takes long to import


class Rejected(ValueError):
    """The model cannot be built, rejects its inputs or fails: one line of what is wrong, and at most two of where."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A counter as it is asked for: by its name, perhaps with a release, which is spelt as the index spells it."""

    counter: str
    release: str | None
    adapter: About

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter

    @classmethod
    def parse(cls, name: str) -> Asked:
        """Raises UnknownCounter, and OverlayError where what follows `==` is no version."""
        counter, release = overlays.split(name)
        return cls(counter=counter, release=release, adapter=about(counter))

    @property
    def runs(self) -> bool:
        """Whether there is something to run here: an installed counter, or a release of one."""
        return not self.adapter.trouble and bool(self.release or registry.is_here(self.adapter))


def distinct(names: Iterable[str]) -> list[str]:
    """The names as they are filed, each counter and release once: two spellings of a version are one release.

    Raises:
        OverlayError: what follows `==` is no version.
    """
    found: dict[tuple[str, Version | None], str] = {}
    for counter, release in map(overlays.split, names):
        key = counter, Version(release) if release else None
        found.setdefault(key, f"{counter}=={release}" if release else counter)
    return list(found.values())


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter (or the ledger, by the name `LEDGER`) says of one subject, and on which device."""

    spec: Spec
    name: str
    answer: Answer
    device: str = ""


def count_all(
    names: Sequence[str],
    spec: Spec,
    *,
    live: Live | None = None,
    timeout: float = TIMEOUT,
    workers: int | None = None,
    keep: bool = True,
    may_install: Callable[[], bool] = lambda: True,
    on_running: Callable[[str], None] = lambda name: None,
    on_done: Callable[[str], None] = lambda name: None,
    on_trouble: Callable[[str], None] = lambda reason: None,
) -> tuple[Ledger, list[Tally]]:
    """The ledger and one tally per counter in `names`, side by side on the cores there are.

    A counter that cannot be had becomes a tally that says why, and changes nobody else's.
    `COUNTER==RELEASE` runs that release, from an overlay that is installed once, if `may_install`, which
    is asked when there is one to install. An answer is kept as soon as it is there, and not asked for again,
    unless `keep` is false: then everything is counted again, and takes the place of what was kept.

    Raises:
        UnknownCounter: a name that is no counter's.
        OverlayError: what follows `==` is no version.
        Rejected: the model cannot be built or rejects its inputs.
    """
    counters = [Asked.parse(name) for name in names]
    found: dict[str, Answered] = {}
    with closing(answers(
        [spec], counters, live=live, timeout=timeout, workers=workers,
        keep=keep, may_install=may_install, on_trouble=on_trouble, on_running=lambda spec, name: on_running(name),
    )) as coming:  # fmt: skip
        for done in coming:
            if done.name == LEDGER and done.answer.ledger is None:
                what = "" if done.answer.status == "rejected" else f"model {spec.model!r} could not be traced: "
                raise Rejected(f"{what}{done.answer.reason}")
            found[done.name] = done
            on_done(done.name)
    ledger = found[LEDGER].answer.ledger
    assert ledger is not None
    return ledger, [tally(asked, found.get(asked.name)) for asked in counters]


class Counted(NamedTuple):
    """All answers about one subject. One that cannot be traced has no ledger, and so no tallies; `reason` says why."""

    spec: Spec
    ledger: Ledger | None
    tallies: list[Tally]
    reason: str = ""


def count_each(
    counters: Sequence[Asked],
    subjects: Sequence[Spec],
    *,
    timeout: float = TIMEOUT,
    workers: int | None = None,
    keep: bool = True,
    may_install: Callable[[], bool] = lambda: True,
    on_running: Callable[[Spec, str], None] = lambda spec, name: None,
    on_done: Callable[[Spec, str], None] = lambda spec, name: None,
    on_trouble: Callable[[str], None] = lambda reason: None,
) -> Iterator[Counted]:
    """Many subjects through the same counters, in one plan: each when all of its answers are there.

    `on_running` and `on_done` are called with a subject and the name of who begins with it, or is through; the rest
    is as in `count_all`.
    """
    found: dict[Spec, dict[str, Answered]] = {}
    expected = {LEDGER, *(asked.name for asked in counters if asked.runs)}
    coming = answers(
        subjects, counters, timeout=timeout, workers=workers, keep=keep, may_install=may_install,
        on_running=on_running, on_trouble=on_trouble,
    )  # fmt: skip
    with closing(coming):
        for done in coming:
            on_done(done.spec, done.name)
            mine = found.setdefault(done.spec, {})
            mine[done.name] = done
            if done.name == LEDGER and done.answer.ledger is None:
                del found[done.spec]
                yield Counted(
                    done.spec, None, [], "; ".join((done.answer.reason or "it could not be traced").split("\n"))
                )
            elif mine.keys() >= expected:
                del found[done.spec]  # ledgers are large, and subjects many
                tallies = [tally(asked, mine.get(asked.name)) for asked in counters]
                yield Counted(done.spec, mine[LEDGER].answer.ledger, tallies)


def answers(
    subjects: Sequence[Spec],
    counters: Sequence[Asked],
    *,
    live: Live | None = None,
    real: bool = True,
    timeout: float = TIMEOUT,
    workers: int | None = None,
    keep: bool = True,
    may_install: Callable[[], bool] = lambda: True,
    on_trouble: Callable[[str], None] = lambda reason: None,
    on_running: Callable[[Spec, str], None] = lambda spec, name: None,
) -> Generator[Answered, None, None]:
    """What the ledger and each counter say of each subject, as it comes; `count_all` says more of the rest.

    A counter that is not installed has no answer. Of a subject that has no ledger, that is the last one. `real` is
    whether a model that fails on the meta device is run on real tensors for its ledger.
    """
    here = {asked.name: asked for asked in counters if asked.runs}
    if not live and (not keep or results.unseen([LEDGER, *here])):
        warm(subjects, counters=bool(here))
    # The slow ones first, the ledger before all: it says whether there is anything to count.
    ordered = sorted(here.values(), key=lambda asked: bool(asked.adapter.device == "meta"))
    queue: deque[Job] = deque()
    waiting: dict[Spec, list[Job]] = {}  # releases, which are not installed for a model that is none
    keys: dict[tuple[Spec, str], str] = {}
    clashes = {name: None if asked.release else overwritten(asked.adapter) for name, asked in here.items()}
    keys_of = results.Keys()
    troubles: set[str] = set()

    def kept(spec: Spec, name: str, key: str | None) -> Answered | None:
        if key is not None:
            keys[spec, name] = key
        found = results.find(name, key) if keep and key is not None else None
        return Answered(spec=spec, name=name, answer=found.answer, device=found.device) if found else None

    for spec in subjects:
        ledger = kept(spec, LEDGER, None if live else keys_of.ledger(spec))
        if ledger:
            yield ledger
        else:
            queue.append(Job(counter=LEDGER, spec=spec, real=real))
        for asked in ordered:
            key = None if live else keys_of.count(asked.adapter, asked.release, spec)
            if found := kept(spec, asked.name, key):
                yield found
                continue
            if clash := clashes[asked.name]:
                yield Answered(spec=spec, name=asked.name, answer=Answer(status="unsupported", reason=clash))
                continue
            job = Job(counter=asked.counter, spec=spec, device=asked.adapter.device, release=asked.release,
                      distribution=asked.adapter.distribution)  # fmt: skip
            if asked.release and not ledger:
                waiting.setdefault(spec, []).append(job)
            elif refused := _refused(job, asked, may_install):
                yield refused
            else:
                queue.append(job)

    def told(job: Job) -> None:
        on_running(job.spec, job.name)

    if not queue:  # and nothing of what runs jobs is imported where everything is kept
        return
    from flopledger.counters.engine import supervisor

    hopeless: set[Spec] = set()
    for job, answer in supervisor.run(queue, live=live, timeout=timeout, workers=workers, on_running=told):
        if job.spec in hopeless:
            continue
        name = LEDGER if job.counter == LEDGER else job.name
        if name != LEDGER and job.device == "meta" and answer.status == "failed":
            # Some models cannot run without data; the counter gets a second chance on real tensors.
            queue.appendleft(msgspec.structs.replace(job, device="cpu"))
            continue
        key = keys.get((job.spec, name))
        if key is not None and not answer.passing and (name != LEDGER or answer.ledger):
            trouble = results.file(name, key, job.device, answer)
            if trouble and trouble not in troubles:
                troubles.add(trouble)
                on_trouble(trouble)
        yield Answered(spec=job.spec, name=name, answer=answer, device=job.device)
        if name == LEDGER and answer.ledger is None:
            hopeless.add(job.spec)
            left = [other for other in queue if other.spec != job.spec]
            queue.clear()
            queue.extend(left)
        elif name == LEDGER:
            for release in waiting.pop(job.spec, []):
                if refused := _refused(release, here[release.name], may_install):
                    yield refused
                else:
                    queue.append(release)


def warm(subjects: Iterable[Spec], counters: bool = False) -> None:
    """Have what forks jobs on these subjects begin with what it takes: torch, and the packages that models come from.

    Torch's meta kernels, too, unless nothing will run there. For many models `counters` import what they lean on only
    once. Of packages nothing where a model is somebody's own.
    """
    models = {spec.model for spec in subjects}
    try:
        own = not all(map(subject.is_ours, models))
    except SpecError:  # a file that is gone: its job says so
        own = True
    sources = sorted({subject.split(model)[0] for model in models} - {""}) if not own else []
    from flopledger.counters.engine import supervisor

    leaned_on = (*results.LEANED_ON, *_LATE) if sources and counters and len(models) >= _MANY else ()
    on_meta = own or counters or not all(map(subject.needs_values, models))
    supervisor.warm([*sources, *leaned_on], on_meta)


def _refused(job: Job, asked: Asked, may_install: Callable[[], bool]) -> Answered | None:
    """The answer of a release that would have to be installed, where that may not be."""
    if not job.release or overlays.is_ready(job.distribution, job.release) or may_install():
        return None
    reason = "not installed here yet, and the package index cannot be reached"
    return Answered(spec=job.spec, name=asked.name, answer=Answer(status="unavailable", reason=reason))


def tally(asked: Asked, answered: Answered | None = None) -> Tally:
    """What a counter said; without an answer, why it has none."""
    adapter = asked.adapter
    common: dict[str, Any] = {
        "counter": asked.counter,
        "release": asked.release,
        "distribution": adapter.distribution,
        "unit": adapter.unit,
    }
    if adapter.trouble:
        return Tally(**common, version=None, status="failed", reason=adapter.trouble)
    if answered is None:
        return Tally(
            **common,
            version=None,
            status="unavailable",
            reason=f"{adapter.distribution} is not installed; {registry.remedy(adapter)}",
        )
    answer = answered.answer
    version = answer.version or asked.release or registry.version_of(adapter.distribution)
    common |= {"version": version, "device": answered.device or None, "seconds": answer.seconds}
    if answer.count is None:
        status: Any = "failed" if answer.status in ("rejected", "counted") else answer.status  # no count, no number
        return Tally(**common, status=status, reason=answer.reason)
    # A count's fields are the tally's own, whichever these are.
    return Tally(**common, status="counted", **msgspec.structs.asdict(answer.count))
