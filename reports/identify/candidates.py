"""What prints a number: every candidate of a subject, and how much each has to assume."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec

from flopledger.reference_model.ledger import Mode
from flopledger.reports.identify.forms import BY_NAME, Form, forms
from flopledger.reports.identify.number import Printed, Reading
from flopledger.reports.identify.weighing import Share, Total, Weighed

# How much an assumption costs, beside what was asked: a sum of these orders the candidates.
OLDER = 1  # a release that is not the installed one
CONVERTED = 1  # a counter's number in the other unit
MISNAMED = 1  # the label says MACs and they are FLOPs
TRIPLED = 3  # a step taken as three forwards
VARIANT = 2  # another form of the model
ITS_OWN_INPUT = 2  # the input of the model's metadata, where another was given
OTHER_INPUT = 3
OTHER_BATCH = 3
OTHER_MODE = 3
IN_1024 = 3
CUT = 4
SWITCHED = 1  # a form with switches at all, beside their own costs: nobody is known to count so
FACTORS = (Fraction(1), Fraction(2), Fraction(1, 2), Fraction(3))


class Departure(msgspec.Struct, frozen=True):
    """How a subject departs from the one that was asked: in words, and what that costs."""

    said: tuple[str, ...] = ()
    cost: int = 0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to have printed the number.

    `value` is the exact number that was printed so, `factor` what a counter's total was multiplied by to become it,
    and `total` that (None: a `form` of the ledger, which has MACs of these `kinds`). `measured` is the total that the
    counter really had, where a tally is kept.
    """

    cost: int
    value: int
    reading: Reading
    departure: Departure
    model: str
    inputs: list[str]
    mode: Mode
    factor: Fraction = Fraction(1)
    total: Total | None = None
    form: Form | None = None
    head: str = ""
    kinds: tuple[str, ...] = ()
    parts: list[Share] = []
    measured: int | None = None
    measured_version: str | None = None


def candidates(printed: Printed, weighed: Weighed, departure: Departure) -> list[Candidate]:
    """Those of one subject that print the number, in no order."""
    found = [*_named(printed, weighed, departure), *_formed(printed, weighed, departure)]
    return [msgspec.structs.replace(each, cost=each.cost + departure.cost) for each in found]


def _read(printed: Printed, value: Fraction | int) -> tuple[Reading, int] | None:
    """The reading of the digits that a value fits, and its cost; the likeliest first."""
    for reading in printed.readings:
        if reading.holds(value):
            odd = reading.thousand == 1024 and printed.readings[0].thousand != 1024
            return reading, CUT * reading.cut + IN_1024 * odd
    return None


def _named(printed: Printed, weighed: Weighed, departure: Departure) -> Iterator[Candidate]:
    for total in weighed.totals:
        for factor in FACTORS if weighed.mode != "step" else FACTORS[:3]:
            value = total.value * factor
            if not total.value or value.denominator != 1 or not (fits := _read(printed, value)):
                continue
            unit = unit_of(total.unit, factor)
            if unit is None:
                continue
            reading, cost = fits
            cost += OLDER * (not total.current) + CONVERTED * (factor in FACTORS[1:3]) + TRIPLED * (factor == 3)
            cost += MISNAMED * (printed.unit == "MAC" and unit == "FLOP")
            yield Candidate(
                cost=cost, value=int(value), reading=reading, departure=departure, model=weighed.model,
                inputs=weighed.inputs, mode=weighed.mode, factor=factor, total=total, parts=total.shares,
            )  # fmt: skip
            break


def unit_of(unit: str, factor: Fraction) -> str | None:
    """The unit of a counter's number times a factor; None where that is none: halves of MACs, doubled FLOPs."""
    if factor == 2:
        return "FLOP" if unit == "MAC" else None
    if factor == Fraction(1, 2):
        return "MAC" if unit == "FLOP" else None
    return unit


def _formed(printed: Printed, weighed: Weighed, departure: Departure) -> Iterator[Candidate]:
    matched: dict[str, list[frozenset[str]]] = {"MAC": [], "FLOP": []}
    for form, value in forms(weighed):
        tripled = not _read(printed, value)
        if tripled and (form.switches or weighed.mode == "step" or not _read(printed, 3 * value)):
            continue
        factor = 3 if tripled else 1
        fits = _read(printed, factor * value)
        mine = frozenset(form.switches)
        if fits is None or (len(mine) > 1 and any(other < mine for other in matched[form.unit])):
            continue  # what fewer switches print is no reason for more
        if not fits[0].cut:
            matched[form.unit].append(mine)
        cost = fits[1] + (SWITCHED + sum(BY_NAME[name].cost for name in mine) if mine else 0) + TRIPLED * tripled
        cost += MISNAMED * (printed.unit == "MAC" and form.unit == "FLOP")
        yield Candidate(
            cost=cost, value=factor * value, reading=fits[0], departure=departure, model=weighed.model,
            inputs=weighed.inputs, mode=weighed.mode, factor=Fraction(factor), form=form,
            **of_form(weighed),
        )  # fmt: skip


def of_form(weighed: Weighed) -> dict[str, Any]:
    """What the sentence about a form needs: the name of the last layer, and what MACs there are."""
    kinds = tuple(name.removeprefix("macs of ") for name in weighed.parts if name.startswith("macs of "))
    return {"head": weighed.head.site if weighed.head else "", "kinds": kinds}


def ranked(found: list[Candidate]) -> list[Candidate]:
    """In the order of what they assume: named counters before forms of our own, plain MACs before both."""

    def order(each: Candidate) -> tuple[int, int, int, str, int]:
        plain = each.form is not None and not each.form.switches
        kind = 0 if plain else 1 if each.total else 2
        return each.cost, kind, len(each.form.switches) if each.form else 0, each.model, each.value

    return sorted(found, key=order)
