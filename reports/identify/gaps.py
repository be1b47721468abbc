"""Where nothing prints a number: what comes nearest from both sides, and which part makes up for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import msgspec

from flopledger.reports.identify.candidates import FACTORS, Candidate, Departure, of_form, unit_of
from flopledger.reports.identify.forms import SWITCHES, Form, forms
from flopledger.reports.identify.number import Printed, Reading
from flopledger.reports.identify.weighing import Weighed

NEARLY = Fraction(1, 100)  # a part that is off by no more than this share of the gap nearly makes it up


class Part(msgspec.Struct, frozen=True):
    """Something with a name that may be added or left out, `times` so often; `off` is what is then still missing."""

    said: str
    amount: int
    off: Fraction
    exactly: bool


class Near(msgspec.Struct, frozen=True, eq=False):
    """A candidate that does not print the number, by how much it is off (`gap`), and what would make that up."""

    candidate: Candidate
    gap: Fraction
    part: Part | None


def nearest(printed: Printed, weighed: Weighed) -> list[Near]:
    """The nearest from below and from above; before those, whatever one named part lifts to the number exactly."""
    reading = printed.readings[0]
    near = [_near(candidate, printed, weighed) for candidate in _plain(weighed, reading)]
    made_up = sorted(
        (each for each in near if each.part and each.part.exactly),
        key=lambda each: (each.candidate.cost, abs(each.gap)),
    )
    below = max((each for each in near if each.gap > 0), key=lambda each: -each.gap, default=None)
    above = min((each for each in near if each.gap < 0), key=lambda each: -each.gap, default=None)
    plain = next((each for each in near if each.candidate.form == Form("MAC")), None)
    return [*dict.fromkeys(each for each in (*made_up[:3], below, above, plain) if each is not None)]


def _plain(weighed: Weighed, reading: Reading) -> Iterator[Candidate]:
    """Counters' totals and forms of one switch at most: what comes near with more is chance."""
    about: dict[str, Any] = {
        "departure": Departure(), "model": weighed.model, "inputs": weighed.inputs, "mode": weighed.mode,
        "reading": reading,
    }  # fmt: skip
    for total in weighed.totals:
        for factor in FACTORS[:3]:
            value = total.value * factor
            if total.value and value.denominator == 1 and unit_of(total.unit, factor):
                cost = (not total.current) + (factor != 1)
                about |= {"cost": cost, "value": int(value), "factor": factor}
                yield Candidate(**about, total=total, parts=total.shares)
    for form, made in forms(weighed):
        if len(form.switches) <= 1:
            about |= {"cost": 3 * len(form.switches), "value": made, "factor": Fraction(1)}
            yield Candidate(**about, form=form, **of_form(weighed))


def _near(candidate: Candidate, printed: Printed, weighed: Weighed) -> Near:
    reading = printed.readings[0]
    gap = printed.value - candidate.value
    best: Part | None = None
    for said, amount in _parts(weighed, candidate):
        for signed in (amount, -amount):
            off = gap - signed
            exactly = reading.holds(candidate.value + signed)
            if not exactly and abs(off) > NEARLY * abs(gap):
                continue
            if best is None or (exactly, -abs(off)) > (best.exactly, -abs(best.off)):
                best = Part(said, signed, off, exactly)
    return Near(candidate, gap, best)


def _parts(weighed: Weighed, candidate: Candidate) -> Iterator[tuple[str, int]]:
    """What has a name in a subject, and its amount in the candidate's unit."""
    unit = candidate.form.unit if candidate.form else candidate.total.unit if candidate.total else "MAC"
    if candidate.factor == 2:
        unit = "FLOP"
    each = 2 if unit == "FLOP" else 1
    for switch in SWITCHES:
        amount = abs(switch.amount(weighed)) * (each if switch.contraction else 1)
        if amount and not (candidate.form and switch.name in candidate.form.switches):
            yield switch.said, amount
    for layer in weighed.layers:
        yield f"all of {layer.site}", layer.macs * each
    for share in candidate.parts:
        yield f"what it charges for {share.op} ({share.formula})", int(share.amount * candidate.factor)


__all__ = ["Form", "Near", "Part", "nearest"]
