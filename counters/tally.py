"""What one counter reported for one model, and the ways of having no number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from flopledger.reference_model.display import Displayed, Grid, by_size

Status = Literal["counted", "unavailable", "unsupported", "failed", "timeout"]
Granularity = Literal["operation", "site", "op", "total"]

LARGEST = 2**62  # the largest number that a count or a document may have: beyond it is an error, not an amount
Natural = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]

ROUNDING = "rounding"  # the name of the aside that a sum in float32 leaves
ADDITIONS = 2  # float32 additions for each call: into its module's amount, and with that into the total


class Part(msgspec.Struct, frozen=True):
    """`count` operations at `site`; `op` is None where the counter speaks of a module."""

    site: str
    op: str | None
    count: int


class Aside(msgspec.Struct, frozen=True):
    """An amount in a total that belongs to no call, which may be negative: its name, and its reason in a sentence.

    No formula checks it, so it is believed only as far as it can be checked otherwise (`believed`): `rounding` by
    what a sum in float32 can lose, and whatever else (a product of two sizes, say) up to one operation for each call
    that the model makes. What is more ends as `unattributed`, in the residual.
    """

    name: str
    amount: int
    because: str


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter hands back: plain numbers, nothing of the library's.

    `total` is what the library itself reported; parts and asides must sum to it. `granularity` is how
    finely the parts speak: by `operation` (site and op), by `site` (where a part may still name an op), by `op`
    over the whole model, or only in `total`. `uncounted` names what the library says it left out (name → calls).
    """

    total: int
    parts: list[Part]
    granularity: Granularity = "site"
    asides: list[Aside] = []
    params: int | None = None
    uncounted: dict[str, int] = {}
    shims: list[str] = []
    warnings: list[str] = []


class Tally(Displayed, msgspec.Struct, frozen=True, kw_only=True):
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
    granularity: Granularity = "site"
    asides: list[Aside] = []
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

    def _line(self) -> str:
        return told(self.name, self.version, self.total, self.unit, self.status, self.reason)

    def _grids(self) -> Iterator[Grid]:
        if self.parts:
            rows: list[tuple[str, str, int]] = [
                (part.site or "(root)", part.op or "", part.count) for part in self.parts
            ]
            rows += [(aside.name, aside.because, aside.amount) for aside in self.asides]
            yield Grid(("site", "op", self.unit), by_size(rows), [("sum", "", self.total)])


def told(name: str, version: str | None, total: int | None, unit: str, status: str, reason: str | None) -> str:
    """What a counter said, in one line."""
    said = f"{total:,} {unit}s" if total is not None else f"{status}: {reason or 'no reason given'}"
    return f"{name}{f' {version}' if version else ''}: {said}"


class Unsupported(Exception):
    """Raised by an adapter whose library says that it cannot count this model."""


def exact(value: Any, what: str = "count") -> int:
    """A library's number as the integer it stands for.

    Raises:
        ValueError: NaN, infinite, negative, beyond 2**62, or not a whole number. Nothing is rounded.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} is not a number of operations: {value!r}") from None
    if number != value:
        raise ValueError(f"{what} is not a whole number: {value!r}")
    if number < 0:
        raise ValueError(f"{what} is negative: {value!r}")
    if number > LARGEST:
        raise ValueError(f"{what} is beyond 2**62, which is no number of operations")
    return number


def lost(total: int, counted: int, additions: int) -> tuple[list[Part], list[Aside]]:
    """What lies between a library's total and what it added up: an unattributed part or an aside, if anything.

    A sum of float32 numbers is off by at most half a unit in the last of 24 bits per addition (N. Higham,
    Accuracy and Stability of Numerical Algorithms, section 4.2). Within that it is `rounding`, beyond it is
    `unattributed`.
    """
    if total == counted:
        return [], []
    if _within(total - counted, total, additions):
        because = f"its total is a sum in float32, which keeps 24 bits; exactly it is {counted:,}"
        return [], [Aside(ROUNDING, total - counted, because)]
    return [Part("", "unattributed", total - counted)], []


def _within(amount: int, total: int, additions: int) -> bool:
    return abs(amount) * 2**24 <= additions * max(total, total - amount)


def believed(asides: Sequence[Aside], total: int, calls: int) -> bool:
    """Whether asides can be what they say: rounding in a float32 sum over `calls`, others no more than one for each."""
    rounded = sum(abs(aside.amount) for aside in asides if aside.name == ROUNDING)
    others = sum(abs(aside.amount) for aside in asides if aside.name != ROUNDING)
    return _within(-rounded, total, ADDITIONS * calls) and others <= calls


def checked(count: Count) -> Count:
    """The same count, if its parts add up.

    Raises:
        ValueError: a number that is negative or beyond 2**62, or parts and asides that do not sum to the total.
    """
    exact(count.total, "total")
    if count.params is not None:
        exact(count.params, "parameters")
    for name, calls in count.uncounted.items():
        exact(calls, f"calls of {name}")
    for aside in count.asides:
        exact(abs(aside.amount), aside.name)
    for part in count.parts:
        # What a library adds up twice, or drops, may be less than nothing.
        size = abs(part.count) if part.op == "unattributed" else part.count
        exact(size, f"count at {part.site or '(root)'}")
    summed = sum(part.count for part in count.parts) + sum(aside.amount for aside in count.asides)
    if summed != count.total:
        raise ValueError(f"parts sum to {summed:,}, total is {count.total:,}")
    return count
