"""From a printed number and a model to what printed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
from msgspec.structs import replace

from flopledger.counters.engine import kept, overlays, plan
from flopledger.counters.engine.job import TIMEOUT
from flopledger.reference_model.subject import ON_REAL, Spec
from flopledger.reports.identify.candidates import Candidate, Departure, candidates, ranked
from flopledger.reports.identify.departures import Subject, departures, distance, other_inputs, plausible, variants
from flopledger.reports.identify.gaps import Near, nearest
from flopledger.reports.identify.number import Printed
from flopledger.reports.identify.releases import Epoch, epochs
from flopledger.reports.identify.tallies import measured
from flopledger.reports.identify.weighing import Weighed, weighed

_ON_META = "on the meta device"  # of a refusal that real tensors might not give
NEAREST = 6  # variants at other inputs that are looked at
MEASURED = 12  # candidates for which a tally is looked for: those that are shown


class Identified(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, and everything that prints the number, in order of what it assumes.

    `looked_at` says which other inputs, modes and variants were looked at, `skipped` which assume more than what was
    found. `near` is for a number that nothing prints.
    """

    printed: Printed
    asked: Weighed
    found: list[Candidate]
    near: list[Near]
    looked_at: list[str]
    skipped: list[str] = []


class _Kept(msgspec.Struct, omit_defaults=True):
    """What a subject weighs, or why it has no ledger."""

    weighed: Weighed | None = None
    refused: str = ""


class Scales:
    """Weighs subjects, and keeps what they weigh: only what is not kept is traced."""

    def __init__(
        self,
        timeout: float = TIMEOUT,
        workers: int | None = None,
        keep: bool = True,
        on_done: Callable[[str], None] = lambda name: None,
    ):
        self.timeout, self.workers, self.keep, self.on_done = timeout, workers, keep, on_done
        self.refusals: dict[Spec, str] = {}  # why a subject has no ledger

    @cached_property
    def _epochs(self) -> list[Epoch]:
        return epochs()

    @cached_property
    def _more(self) -> list[object]:
        """What a weight depends on beside the code of counters: how it is weighed, and the lists of releases."""
        ours = [kept.stamps(Path(__file__).with_name(name)) for name in ("weighing.py", "releases.py")]
        return [ours, sorted(_times(overlays.cache() / "index"))]

    def weigh(self, specs: Iterable[Spec], real: bool = True) -> dict[Spec, Weighed]:
        """What these weigh; one that cannot be built, or rejects its inputs, is not among them.

        Nor, unless `real`, is one that cannot be had on the meta device.
        """
        found: dict[Spec, Weighed] = {}
        open_: list[Spec] = []
        for spec in dict.fromkeys(specs):
            before = self._before(spec) or (None if real else self._before(spec, _ON_META))
            if before is None:
                open_.append(spec)
            elif before.weighed is not None:
                found[spec] = before.weighed
            else:
                self.refusals[spec] = before.refused
        if open_:
            plan.warm(open_)  # it has torch to import; meanwhile the conventions are read
            self._epochs  # noqa: B018
        coming = plan.answers(open_, [], real=real, timeout=self.timeout, workers=self.workers, keep=self.keep)
        for answered in coming:
            self.on_done(answered.spec.model)
            spec, ledger = answered.spec, answered.answer.ledger
            if ledger is not None:
                found[spec] = weighed(ledger, self._epochs)
                note = _Kept(weighed=found[spec])
            else:
                note = _Kept(refused=_why(answered))
                self.refusals[spec] = note.refused
            key = kept.note_key(spec, *self._more, *([_ON_META] if ledger is None and not real else []))
            if key and not answered.answer.passing:
                kept.keep_note("@weighed", key, msgspec.json.encode(note))
        return found

    def _before(self, spec: Spec, *how: str) -> _Kept | None:
        """What is kept of a subject."""
        key = kept.note_key(spec, *self._more, *how)
        data = kept.note("@weighed", key) if key and self.keep else None
        return msgspec.json.decode(data, type=_Kept) if data else None

    def asked(self, spec: Spec) -> Weighed:
        """What this weighs. Raises plan.Rejected where it cannot be had."""
        found = self.weigh([spec])
        if spec not in found:
            raise plan.Rejected(self.refusals[spec])
        return found[spec]


def _why(answered: plan.Answered) -> str:
    what = "" if answered.answer.status == "rejected" else f"model {answered.spec.model!r} could not be traced: "
    return f"{what}{answered.answer.reason}"


def _times(folder: Path) -> list[tuple[str, int]]:
    try:
        return [(path.name, path.stat().st_mtime_ns) for path in folder.iterdir()]
    except OSError:
        return []


def identify(printed: Printed, spec: Spec, scales: Scales, every: bool = False) -> Identified:
    """Everything that prints a number for a model: as it was asked, and with one departure from that.

    A departure that costs more than what was found without one is looked at if `every` one is asked for. Only where
    nothing fits, a variant of the model at another input is looked at, too.

    Raises:
        plan.Rejected: the model cannot be built, or rejects its inputs.
    """
    given = scales.asked(spec)
    found = candidates(printed, given, Departure())
    everything = departures(spec, given)
    most = 0 if _settled(printed, found) else min((each.cost for each in found if not each.reading.cut), default=None)
    others = [other for other in everything if every or most is None or other.why.cost < most]
    found += among(printed, given, others, scales, every)
    if all(each.reading.cut for each in found):
        found += _twice(printed, given, replace(spec, inputs=tuple(given.inputs)), scales, every)
    order = ranked(_once(found))
    order[:MEASURED] = measured(order[:MEASURED], spec)
    return Identified(
        printed=printed,
        asked=given,
        found=order,
        near=[] if order else nearest(printed, given),
        looked_at=[text for other in others for text in other.why.said],
        skipped=[text for other in everything if other not in others for text in other.why.said],
    )


def _settled(printed: Printed, found: list[Candidate]) -> bool:
    """Whether a counter, or plain MACs, give every digit of what was asked: nothing else will by chance."""
    return printed.exact and any(each.total or (each.form and not each.form.switches) for each in found)


def _twice(printed: Printed, given: Weighed, spec: Spec, scales: Scales, every: bool) -> list[Candidate]:
    """The candidates of variants of the model at other inputs: of those that come nearest, or of `every` one.

    They are many. How near one comes is known well when the variant was weighed at the input that was asked about.
    """
    worth = [
        variant
        for variant in variants(spec)
        if any(plausible(printed, given, both, every) for both, _ in _both(variant, given))
    ]
    weights = scales.weigh((variant.spec for variant in worth), real=_is_real(given))
    near = [
        (distance(printed, weights[variant.spec], other), both)
        for variant in worth
        if variant.spec in weights
        for both, other in _both(variant, weights[variant.spec])
        if plausible(printed, weights[variant.spec], other, every)
    ]
    near.sort(key=lambda each: each[0])
    return _of(printed, given, [both for _, both in near[: None if every else NEAREST]], scales)


def _both(variant: Subject, weighed: Weighed) -> Iterator[tuple[Subject, Subject]]:
    """A variant at each other input, with what it grows by from the asked one; and from what was weighed."""
    (low, high) = variant.grows
    for other in other_inputs(variant.spec, weighed):
        why = Departure((*variant.why.said, *other.why.said), variant.why.cost + other.why.cost)
        least, most = other.grows
        yield Subject(other.spec, why, (low * least, high * most)), other


def among(
    printed: Printed, given: Weighed, subjects: Iterable[Subject], scales: Scales, every: bool = False
) -> list[Candidate]:
    """The candidates of those that may print it; `every` is as in `plausible`."""
    return _of(printed, given, [other for other in subjects if plausible(printed, given, other, every)], scales)


def _of(printed: Printed, given: Weighed, subjects: Sequence[Subject], scales: Scales) -> list[Candidate]:
    """The candidates of these, by the likeliest reading of the number's digits: one assumption is enough."""
    printed = replace(printed, readings=printed.readings[:1])
    weights = scales.weigh((other.spec for other in subjects), real=_is_real(given))
    return [
        each
        for other in subjects
        if other.spec in weights
        for each in candidates(printed, weights[other.spec], other.why)
    ]


def _is_real(given: Weighed) -> bool:
    """Whether others may be run on real tensors, too.

    What ran on the meta device and does not at another size rejects that: real tensors would say the same, slowly.
    """
    return any(ON_REAL in note for note in given.notes)


def _once(found: list[Candidate]) -> list[Candidate]:
    """A counter's number once, with the fewest assumptions: where what was asked prints it, nothing else need."""
    best: dict[object, Candidate] = {}
    for each in found:
        key = each.total.counter if each.total else each.form, each.factor, each.value
        if key not in best or each.cost < best[key].cost:
            best[key] = each
    return list(best.values())
