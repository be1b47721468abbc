"""What else may have been counted than what was asked about: other inputs, a training step, a variant of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from math import prod
from typing import Any, NamedTuple

from msgspec.structs import replace

from flopledger.reference_model import notation, subject, zoo
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import Spec
from flopledger.reports.identify import candidates as costs
from flopledger.reports.identify.candidates import Departure
from flopledger.reports.identify.number import Printed
from flopledger.reports.identify.weighing import Weighed

SIDES = (224, 256, 288, 320, 384, 416, 512, 640)
LENGTHS = (128, 256, 512, 1024, 2048, 4096)
WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.3, 1.4)  # the multipliers of the MobileNet papers
MARGIN = Fraction(5, 4)  # how far a size's MACs may be from what the pixels say: rounding of sides, border effects
SENSIBLE = 4  # how many times as much or as little as the MACs a total may be that is taken for one of the network
_AUXILIARY = ("fcn_", "deeplabv3_")  # torchvision's models with a second head that a forward in eval mode runs too
_REPARAMETERISED = ("repvgg", "mobileone", "fastvit", "repvit", "repghostnet", "mobileclip")


class Subject(NamedTuple):
    """What else may have been counted, how it departs from what was asked, and how its MACs grow at least and most."""

    spec: Spec
    why: Departure
    grows: tuple[Fraction, Fraction]


class Variant(NamedTuple):
    """One form that a model's constructor knows: an argument, its value, what it is without one, and what that means.

    `grows` is between what factors the MACs then lie.
    """

    argument: str
    value: Any
    default: Any
    said: str
    grows: tuple[float, float]


def departures(spec: Spec, given: Weighed) -> list[Subject]:
    """Every one of them from what was asked, cheapest first; each departs in one thing."""
    asked = replace(spec, inputs=tuple(given.inputs))
    own = _own_input(asked) if spec.inputs is not None else ()
    found = [*variants(asked), *own, *other_inputs(asked, given), *_steps(asked, given)]
    return [each for at, each in enumerate(found) if each.spec not in (asked, *(other.spec for other in found[:at]))]


def variants(spec: Spec) -> Iterator[Subject]:
    """Other forms of the model that its own registry knows."""
    source, name, options = subject.split(spec.model)
    for variant in _known_variants(source, name):
        if options.get(variant.argument, variant.default) == variant.value:
            continue
        query = "&".join(f"{key}={value}" for key, value in {**options, variant.argument: variant.value}.items())
        model = f"{spec.model.partition('?')[0]}?{query}"
        low, high = (Fraction(end).limit_denominator(1000) for end in variant.grows)
        yield Subject(replace(spec, model=model), Departure((variant.said,), costs.VARIANT), (low, high))


def _known_variants(source: str, name: str) -> Iterator[Variant]:
    if source == "":
        said = "the pooling is a function (x.mean), not a module, so hooks on modules do not see it"
        yield Variant("pooling", "mean", "module", said, (0.9, 1))
        yield Variant("pooling", "module", "module", "the pooling is a module, which hooks see", (1, 1.1))
    if source == "torchvision" and name.startswith(_AUXILIARY):
        said = "with the auxiliary head, which only training needs; a forward in eval mode runs it all the same"
        yield Variant("aux_loss", True, False, said, (1, 1.5))
    if source == "timm" and name.startswith(_REPARAMETERISED):
        yield Variant("deployed", True, False, "re-parameterised, as it is deployed", (0.2, 1))
    if source == "timm":
        yield Variant("num_classes", 0, None, "without its head", (0.4, 1))
    if name.startswith("mobilenet_v") and source in ("", "torchvision"):
        for width in WIDTHS:
            ends = sorted((0.9 * width**2, 1.2 * width))
            yield Variant("width_mult", width, 1.0, f"{width} times as wide", (ends[0], ends[1]))


def _own_input(spec: Spec) -> Iterator[Subject]:
    source, _, _ = subject.split(spec.model)
    if source in zoo.ZOOS:
        own, said = replace(spec, inputs=None), "at the input of its own metadata"
    elif not source:
        own, said = Spec.parse(spec.model, mode=spec.mode), "at the usual input here"
    else:
        return
    yield Subject(own, Departure((said,), costs.ITS_OWN_INPUT), (Fraction(1, 20), Fraction(20)))


def other_inputs(spec: Spec, given: Weighed) -> Iterator[Subject]:
    """The usual sizes of images, lengths of texts, and batches."""
    rewritten = [(_at_side(spec, side), f"at {side}×{side}", costs.OTHER_INPUT) for side in SIDES]
    rewritten += [(_at_length(spec, length), f"at a length of {length}", costs.OTHER_INPUT) for length in LENGTHS]
    rewritten += [(_at_batch(spec, batch), f"at batch {batch}", costs.OTHER_BATCH) for batch in (1, 2)]
    for texts, said, cost in rewritten:
        if texts is not None:
            other = replace(spec, inputs=texts)
            yield Subject(other, Departure((said,), cost), _grown(given, other))


def _steps(spec: Spec, given: Weighed) -> Iterator[Subject]:
    """A step is three forwards or fewer; to torch's counter more, which takes convolutions in groups for dense ones."""
    most = 4 + 50 * Fraction(given.part("grouped"), given.macs or 1)
    if spec.mode == "step":
        grows = 1 / most, Fraction(1)
        yield Subject(replace(spec, mode="eval"), Departure(("a forward only",), costs.OTHER_MODE), grows)
    else:
        said = "a training step: forward and backward"
        grows = Fraction(3, 2), most
        yield Subject(replace(spec, mode="step"), Departure((said,), costs.OTHER_MODE), grows)


# --- inputs, rewritten


def _values(spec: Spec) -> list[tuple[str | None, Any]]:
    try:
        return [
            (name, notation.parse(text, alone=name is None)) for name, text in map(notation.name_of, spec.inputs or ())
        ]
    except SpecError:
        return []


def _texts(values: list[tuple[str | None, Any]]) -> tuple[str, ...]:
    return tuple(
        notation.text_of(value) if name is None else f"{name}={notation.text_of(value)}" for name, value in values
    )


def _is_image(value: Any) -> bool:
    """Whether it is an image, or a batch of images or clips, by its shape."""
    return isinstance(value, notation.Input) and "float" in value.dtype and len(value.shape) >= 3


def _at_side(spec: Spec, side: int) -> tuple[str, ...] | None:
    """Every image as large as that; None where no input is one."""

    def resized(value: Any) -> Any:
        if isinstance(value, list):
            return [resized(each) for each in value]
        if _is_image(value):
            return replace(value, shape=(*value.shape[:-2], side, side))
        return value

    values = _values(spec)
    if spec.model.startswith("torchvision:") and any(isinstance(value, list) for _, value in values):
        return None  # a detector, which scales every image to a size of its own: no other would change its work
    changed = [(name, resized(value)) for name, value in values]
    return _texts(changed) if changed != values else None


def _at_length(spec: Spec, length: int) -> tuple[str, ...] | None:
    """Every sequence of tokens as long as that; None where no input is one, or one has values that are given."""
    values = _values(spec)
    tokens = [value for _, value in values if isinstance(value, notation.Input) and value.dtype == "int64"]
    if not tokens or any(len(value.shape) != 2 or value.shape != tokens[0].shape for value in tokens):
        return None
    old = tokens[0].shape
    changed = [
        (name, replace(value, shape=(old[0], length)) if getattr(value, "shape", None) == old else value)
        for name, value in values
    ]
    return _texts(changed) if changed != values else None


def _at_batch(spec: Spec, batch: int) -> tuple[str, ...] | None:
    """Every tensor with a first dimension of that; None where they differ in it, or it is neither 1 nor 2."""
    values = _values(spec)
    if not values or not all(isinstance(value, notation.Input) and len(value.shape) > 1 for _, value in values):
        return None
    if {value.shape[0] for _, value in values} - {1, 2} or len({value.shape[0] for _, value in values}) > 1:
        return None
    changed = [(name, replace(value, shape=(batch, *value.shape[1:]))) for name, value in values]
    return _texts(changed) if changed != values else None


# --- whether it is worth a trace


def plausible(printed: Printed, given: Weighed, other: Subject, every: bool = False) -> bool:
    """Whether a subject could print the number, going by what the asked one makes and by how much it may grow.

    A total that leaves out most of a network, or makes many times as much of it, tells little of any other input or
    form: such totals have a say only if `every` one shall.
    """
    low, high = other.grows
    reading = printed.readings[0]
    return any(value * low <= reading.high and value * high >= reading.low for value in _amounts(given, other, every))


def distance(printed: Printed, given: Weighed, other: Subject) -> float:
    """How far a subject is expected to be from the number: the natural logarithm of their ratio, without its sign."""
    low, high = other.grows
    aim = math.log(printed.value or 1) - math.log(low * high) / 2
    return min((abs(math.log(value) - aim) for value in _amounts(given, other) if value), default=math.inf)


def _amounts(given: Weighed, other: Subject, every: bool = True) -> Iterator[int]:
    """What the asked one makes, as MACs and as FLOPs: the ledger's MACs; for a subject of the same mode totals, too.

    Of these only those near the MACs, unless `every` one shall count.
    """
    yield from (given.macs, 2 * given.macs)
    if other.spec.mode != given.mode:  # few counters have a number, and those are of MACs
        return
    for total in given.totals:
        # A FLOP of a counter is an operation, of which a MAC has two.
        macs = total.value if total.unit == "MAC" else Fraction(total.value, 2)
        if every or not given.macs or given.macs <= SENSIBLE * macs <= SENSIBLE**2 * given.macs:
            yield from (total.value, 2 * total.value) if total.unit == "MAC" else (total.value,)


def _grown(given: Weighed, spec: Spec) -> tuple[Fraction, Fraction]:
    """By how much MACs grow at least and at most, when other inputs go in."""
    before, after = (_elements(each) for each in (given.inputs, spec.inputs or ()))
    ratio = Fraction(after, before) if before else Fraction(1)
    if not given.macs:
        return min(ratio, Fraction(1)), max(ratio, Fraction(1))
    fixed, squared = Fraction(given.fixed, given.macs), Fraction(given.squared, given.macs)
    rest = 1 - fixed - squared
    ends = [fixed * f + ratio * rest + squared * s for f in (1, ratio) for s in (ratio, ratio**2)]
    return min(ends) / MARGIN, max(ends) * MARGIN


def _elements(texts: Any) -> int:
    def of(value: Any) -> int:
        if isinstance(value, list):
            return sum(map(of, value))
        return prod(value.shape) if isinstance(value, notation.Input) else 0

    return sum(of(notation.parse(text, alone=name is None)) for name, text in map(notation.name_of, texts))
