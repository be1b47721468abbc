"""Units, and what a total is divided by: exact as fractions, rounded only where a number is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Literal

import msgspec

from flopledger.reference_model.names import nearest
from flopledger.reports import dimensions

PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
DIGITS = 4  # significant ones of a number that is not shown in full
_UNIT = re.compile(r"([kKMGTPE]?)(mac|flop)s?", re.IGNORECASE)

Base = Literal["MAC", "FLOP"]


class Unit(msgspec.Struct, frozen=True):
    """MAC or FLOP, times a power of a thousand."""

    base: Base
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Unit:
        """Read `MAC`, `GMACs`, `TFLOP`. Raises ValueError."""
        found = _UNIT.fullmatch(text.replace(" ", ""))
        prefix = found[1].replace("K", "k") if found else ""
        if found is None or prefix not in PREFIXES:
            raise ValueError(
                f"no unit {text!r}{nearest(text, [f'{p}{b}' for p in PREFIXES for b in ('MAC', 'FLOP')])}; there is "
                "MAC and FLOP, with a prefix k, M, G, T, P or E, like GMAC"
            )
        return cls("MAC" if found[2].upper() == "MAC" else "FLOP", prefix)

    def __str__(self) -> str:
        return f"{self.prefix}{self.base}"

    def of(self, total: int, unit: str) -> Fraction | None:
        """A total in its counter's own unit, in this one: one MAC is two FLOPs. None for a unit that is neither."""
        if unit not in ("MAC", "FLOP"):
            return None
        both = {"MAC": 2, "FLOP": 1}
        return Fraction(total * both[unit], both[self.base] * PREFIXES[self.prefix])


class Per(msgspec.Struct, frozen=True):
    """What totals are divided by: its name, what that is of a model's inputs, and in words."""

    name: str
    meaning: str
    missing: str
    of: Callable[[Sequence[str], int], int | None]


PER = {
    each.name: each
    for each in (
        Per("sample", "by the batch: the first axis of the first input, or how many images are in its list",
            "its inputs have no axis of samples", lambda inputs, params: dimensions.samples(inputs)),
        Per("token", "by the tokens: batch × length of the first input of token numbers (whole numbers, two axes)",
            "it takes no tokens (whole numbers, batch × length)", lambda inputs, params: dimensions.tokens(inputs)),
        Per("pixel", "by the pixels of the input: batch × height × width (× frames) of the first image",
            "it takes no image", lambda inputs, params: dimensions.pixels(inputs)),
        Per("parameter", "by the model's parameters, each once", "it has no parameters",
            lambda inputs, params: params),
    )
}  # fmt: skip


def divisor(name: str) -> Per:
    """What `--per NAME` means. Raises ValueError."""
    if name not in PER:
        raise ValueError(f"nothing is given per {name!r}{nearest(name, PER)}; there is {', '.join(PER)}")
    return PER[name]


def plain(value: Fraction) -> int | float:
    """As machines take it: whole, or the nearest float."""
    return value.numerator if value.denominator == 1 else value.numerator / value.denominator


def shown(value: Fraction, exact: bool) -> str:
    """A number for people: in full if it is whole and `exact`, else with `DIGITS` significant digits or no fraction."""
    if exact and value.denominator == 1:
        return f"{value.numerator:,}".replace("-", "−")
    if not value:
        return "0"
    digits = max(DIGITS, len(str(abs(value.numerator // value.denominator))))  # none before the point is lost
    rounding = Context(prec=digits, rounding=ROUND_HALF_EVEN)
    rounded = rounding.divide(Decimal(value.numerator), Decimal(value.denominator))
    places = max(0, DIGITS - 1 - rounded.adjusted())
    return f"{rounded:,.{places}f}".replace("-", "−")
