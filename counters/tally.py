"""What one counter reported for one model, and the ways of having no number."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["counted", "unavailable", "unsupported", "failed", "timeout"]


class Part(msgspec.Struct, frozen=True):
    """`count` operations at `site`; `op` is None where the counter speaks of a module."""

    site: str
    op: str | None
    count: int


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter hands back: plain numbers, nothing of the library's.

    `total` is what the library itself reported; parts must sum to it. `uncounted` names what
    the library says it left out (name → calls).
    """

    total: int
    parts: list[Part]
    params: int | None = None
    uncounted: dict[str, int] = {}
    shims: list[str] = []
    warnings: list[str] = []


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """One counter, at one version, on one model: a number and its parts, or the reason for none."""

    counter: str
    distribution: str
    version: str | None
    unit: str
    status: Status
    release: str | None = None
    total: int | None = None
    params: int | None = None
    parts: list[Part] = []
    uncounted: dict[str, int] = {}
    shims: list[str] = []
    warnings: list[str] = []
    device: str | None = None
    seconds: float | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """`counter`, or `counter==release` where a release was asked for."""
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Unsupported(Exception):
    """Raised by an adapter whose library says that it cannot count this model."""


def exact(value: Any, what: str = "count") -> int:
    """A library's number as the integer it stands for.

    Raises:
        ValueError: NaN, infinite, negative, or not a whole number. Nothing is rounded.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} is not a number of operations: {value!r}") from None
    if number != value:
        raise ValueError(f"{what} is not a whole number: {value!r}")
    if number < 0:
        raise ValueError(f"{what} is negative: {value!r}")
    return number


def lost(total: int, counted: int, additions: int) -> list[Part]:
    """What lies between a library's total and what it added up, as a part of its own; none where nothing does.

    A sum of float32 numbers is off by at most half a unit in the last of 24 bits per addition (N. Higham,
    Accuracy and Stability of Numerical Algorithms, section 4.2). Within that it is `rounding`, beyond it is
    `unattributed`.
    """
    if total == counted:
        return []
    within = abs(total - counted) * 2**24 <= additions * max(total, counted)
    return [Part("", "rounding" if within else "unattributed", total - counted)]


def checked(count: Count) -> Count:
    """The same count, if its parts add up.

    Raises:
        ValueError: a negative part or total, or parts that do not sum to the total.
    """
    exact(count.total, "total")
    for part in count.parts:
        # A library that adds up in float32 can lose some.
        size = abs(part.count) if part.op in ("unattributed", "rounding") else part.count
        exact(size, f"count at {part.site or '(root)'}")
    summed = sum(part.count for part in count.parts)
    if summed != count.total:
        raise ValueError(f"parts sum to {summed:,}, total is {count.total:,}")
    return count
