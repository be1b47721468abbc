"""A number as papers print it, and the values that are printed so: `4.36G`, `8.7 GFLOPs`, `1,034,246,688`, `0.39B`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import ceil, floor
from typing import Literal

import msgspec

from flopledger.reference_model.display import visible

Unit = Literal["MAC", "FLOP"]
EXAMPLES = "4.36G, '8.7 GFLOPs', 314M, 1,034,246,688 or 0.39B"
_LONGEST = 100
_GROUPED = r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:[_'\u2019\u00a0\u2009\u202f]\d{3})+|\d{1,3}(?: \d{3}){2,}|\d+"
_NUMBER = re.compile(rf"(?P<whole>{_GROUPED})(?:\.(?P<part>\d+))?")
_POWER = re.compile(r"(?:e\+?(\d{1,2})|\s*[x×·*]\s*10(?:\^|\*\*)?([\d⁰¹²³⁴-⁹]{1,3}))(?!\w)", re.IGNORECASE)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_PREFIXES = {"": 0, "k": 1, "thousand": 1, "m": 2, "mn": 2, "million": 2, "g": 3, "b": 3, "bn": 3, "billion": 3,
             "t": 4, "trillion": 4, "p": 5, "quadrillion": 5, "e": 6, "z": 7, "y": 8}  # fmt: skip
_UNITS: dict[str, Unit] = {
    **dict.fromkeys(("macs", "mac", "madds", "madd", "mult-adds", "mult-add", "multadds", "multi-adds", "multiply-adds",
                     "multiply-add", "multiply-accumulates", "fmas", "fma"), "MAC"),
    **dict.fromkeys(("flops", "flop", "fp-ops", "floating-point operations"), "FLOP"),
}  # fmt: skip
_BARE = ("ops", "op", "operations")  # a word that says neither
_RATE = re.compile(r"(/|\bper\b|⁻¹)|(?<=flop)ps$|(?<=flops)ps$", re.IGNORECASE)


class NumberError(ValueError):
    """What was given is no number of operations; the message is one line that says what would be."""


class Reading(msgspec.Struct, frozen=True, dict=True):
    """One way to read the digits: values from `low` to `high` print so, both ends included.

    `thousand` is what a prefix stands for, 1000 or 1024; `cut` that digits were cut off and not rounded, which leaves
    out `high`.
    """

    low: Fraction
    high: Fraction
    thousand: int = 1000
    cut: bool = False

    @cached_property
    def _whole(self) -> tuple[int, int]:
        """The first and the last whole number that prints so."""
        return ceil(self.low), ceil(self.high) - 1 if self.cut else floor(self.high)

    def holds(self, value: Fraction | int) -> bool:
        if isinstance(value, int):  # nearly all are, and whole numbers compare many times as fast
            first, last = self._whole
            return first <= value <= last
        return self.low <= value < self.high if self.cut else self.low <= value <= self.high


class Printed(msgspec.Struct, frozen=True):
    """A number as it was printed: its text, its unit where it names one, and the ways to read it, likeliest first."""

    text: str
    unit: Unit | None
    readings: tuple[Reading, ...]

    @property
    def value(self) -> Fraction:
        """What it says, taken by the letter."""
        return (self.readings[0].low + self.readings[0].high) / 2

    def prints(self, value: Fraction | int, *, cut: bool = False) -> bool:
        """Whether a value, rounded or with `cut` cut off, is this text, its prefix taken as what stands there."""
        first = self.readings[0]
        if not cut or first.low == first.high:
            return first.holds(value)
        return self.value <= value < self.value + first.high - first.low

    @property
    def exact(self) -> bool:
        """Whether it gives every digit."""
        return self.readings[0].high - self.readings[0].low <= 1


def parse(text: str) -> Printed:
    """Read a printed number.

    Raises:
        NumberError: it is no number, two of them, not above 0, or its unit is none of operations.
    """
    plain = " ".join(text.replace("−", "-").split())
    shown = repr(plain if len(plain) <= _LONGEST else f"{plain[:40]}…")
    found = _NUMBER.match(plain.lstrip("~≈ "))
    if len(plain) > _LONGEST or not found or (re.match(r"[-\d.,]*$", plain) and _odd(plain)):
        raise NumberError(f"{shown} is no number of operations; write one like {EXAMPLES}{_hint(plain)}")
    rest = plain.lstrip("~≈ ")[found.end() :]
    exponent = None
    if power := _POWER.match(rest):
        exponent = int((power[1] or power[2]).translate(_SUPERSCRIPTS))
        rest = rest[power.end() :]
    rest = rest.strip()
    if re.search(r"\d", rest):
        raise NumberError(f"{shown} names more than one number; give one, like {EXAMPLES}{_hint(plain)}")
    prefix, binary, unit = _unit(rest, shown)
    part = found["part"] or ""
    digits = Decimal(re.sub(r"\D", "", found["whole"]) + (f".{part}" if part else ""))
    if not digits:
        raise NumberError(f"{shown} is not above 0, so no count is")
    whole = not (part or prefix or exponent is not None)
    return Printed(plain, unit, tuple(_readings(Fraction(digits), len(part), exponent or 0, prefix, binary, whole)))


def _readings(
    value: Fraction, decimals: int, exponent: int, prefix: int, binary: bool, whole: bool
) -> Iterator[Reading]:
    step = Fraction(1, 10**decimals)
    for thousand in (1024,) if binary else (1000, 1024) if prefix else (1000,):
        scale = Fraction(thousand) ** prefix * 10**exponent
        at, ulp = value * scale, step * scale
        if whole:
            yield Reading(at, at)
            continue
        yield Reading(at - ulp / 2, at + ulp / 2, thousand)
        if ulp > 1 and thousand == 1000:
            yield Reading(at, at + ulp, thousand, cut=True)


def _unit(rest: str, shown: str) -> tuple[int, bool, Unit | None]:
    """The prefix's power of a thousand, whether it is of 1024 (Gi), and the unit."""
    if _RATE.search(rest):
        raise NumberError(f"{shown} is a rate, operations per second; identify takes how many operations one pass has")
    plain = rest.lower().rstrip(".").strip()
    name = next((unit for unit in sorted(_UNITS, key=len, reverse=True) if plain.endswith(unit)), None)
    unit = _UNITS[name] if name else None
    bare = next((word for word in _BARE if plain.endswith(word)), None) if name is None else None
    prefix = plain.removesuffix(name or bare or "").strip(" -")
    binary = len(prefix) == 2 and prefix[1] == "i"
    prefix = prefix[0] if binary else prefix
    if prefix in _PREFIXES:
        return _PREFIXES[prefix], binary, unit
    size = re.fullmatch(r"[kmgtp]?i?b(its?|ytes?)?|[kmgtp]?i?bytes?|[kmgtp]?bits?", plain)
    what = "is a size in bytes" if size else "has a unit that is none of operations"
    raise NumberError(f"{shown} {what}; write FLOPs or MACs, with k, M, G, B, T or P before it, like {EXAMPLES}")


def _odd(plain: str) -> bool:
    """Whether digits, points and commas stand as in no number."""
    return not re.fullmatch(r"(\d{1,3}(,\d{3})+|\d+)(\.\d+)?", plain)


def _hint(plain: str) -> str:
    """How a decimal comma, or points between thousands, would be read."""
    if found := re.match(r"(\d+),(\d{1,2}|\d{4,})(?!\d)", plain):
        return f"; a decimal point, if {found[0]} is {found[1]}.{found[2]}"
    if re.match(r"\d{1,3}(\.\d{3}){2,}", plain):
        return "; commas between thousands, not points"
    return ""


def digits(text: str, value: Fraction | int, *, cut: bool = False) -> tuple[str, str]:
    """The digits of a printed number as they stand in it, and those that another value has in its format.

    As many decimals, the same separators, exponent and prefix; rounded, or with `cut` cut off. Where so few decimals
    would make it 0, it has as many as one digit of it needs.

    Raises:
        NumberError: the text is no number, or the value has no such format.
    """
    printed, found = parse(text), _NUMBER.search(text)
    assert found is not None
    part, between = found["part"] or "", re.sub(r"\d", "", found["whole"])[:1]
    scale = printed.value / Fraction(Decimal(re.sub(r"\D", "", found["whole"]) + (f".{part}" if part else "")))
    decimals, half = len(part), 0 if cut else Fraction(1, 2)
    while value > 0 and int(value / scale * 10**decimals + half) == 0:
        decimals += 1
    shown = str(int(value / scale * 10**decimals + half)).rjust(decimals + 1, "0")
    whole, rest = shown[: len(shown) - decimals], shown[len(shown) - decimals :]
    for mark in (between or ("," if len(found["whole"]) < 4 else ""), ","):
        new = f"{int(whole):,}".replace(",", mark) + (f".{rest}" if rest else "")
        if _reads(f"{text[: found.start()]}{new}{text[found.end() :]}", value, cut):
            return found[0], new
    raise NumberError(f"{visible(text)!r} is no format for {value}")


def _reads(text: str, value: Fraction | int, cut: bool) -> bool:
    """Whether a text is a number that the value prints as."""
    try:
        return parse(text).prints(value, cut=cut)
    except NumberError:
        return False
