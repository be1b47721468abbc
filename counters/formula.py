"""What an operation is charged: a sum of products of quantities, `4·outputs + macs / batch`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

import msgspec

from flopledger.reference_model.ledger import CIRCUMSTANCES, MEANING, Call, Entry, Ledger, Module, meaning_of
from flopledger.reference_model.names import nearest

_TOKEN = re.compile(r"\s*(\d+|[a-z_][a-z_0-9]*|[-+·*/])", re.IGNORECASE)


class Case(NamedTuple):
    """One call, where it happens, and the run it belongs to: what a quantity or a condition may look at.

    `first` is the row of its site that what is charged for the module, rather than for a call, goes with.
    """

    ledger: Ledger
    entry: Entry
    call: Call
    last: bool = True
    first: bool = True

    @property
    def module(self) -> Module:
        """The module at the site, as hooks see it; one of which nothing is known where it never ran."""
        return self.ledger.modules.get(self.entry.site) or Module(kind=self.entry.module)


Quantity = Callable[[Case], int | Fraction]
OWN: dict[str, Quantity] = {}  # quantities that the files of counters brought with them
_ELSEWHERE: dict[str, str] = {}  # those of them that are computed in another process, and what they are


def quantity(function: Quantity) -> Quantity:
    """Register a quantity that only one library could think of, by the function's name.

    It gets a `Case` and returns an integer (or a Fraction); its docstring says what it is.

    Raises:
        ValueError: the name is taken.
    """
    name = function.__name__
    before = None if name in _ELSEWHERE else OWN.get(name)
    if name in MEANING or name in CIRCUMSTANCES or (before and before.__code__.co_code != function.__code__.co_code):
        raise ValueError(f"there is a quantity {name!r} already: {meaning(name)}")
    OWN[name] = function
    _ELSEWHERE.pop(name, None)
    return function


def known_elsewhere(meanings: Mapping[str, str]) -> None:
    """Name quantities of a counter that runs in another process: they can be spoken of here, and not computed."""

    def elsewhere(case: Case) -> int:
        raise LookupError("this quantity is computed where its counter runs")

    for name, said in meanings.items():
        if name not in OWN:
            OWN[name], _ELSEWHERE[name] = elsewhere, said


def meaning(name: str) -> str:
    """What a quantity is, "" where nobody says."""
    own = _ELSEWHERE.get(name) or (OWN[name].__doc__ if name in OWN else "") or ""
    return meaning_of(name) or own.strip().partition("\n")[0].rstrip(".")


def known(names: Iterable[str]) -> None:
    """Check that these are quantities.

    Raises:
        ValueError: one is not; the message has the nearest name.
    """
    for name in names:
        if name not in MEANING and name not in CIRCUMSTANCES and name not in OWN:
            raise ValueError(f"no quantity {name!r}{nearest(name, [*MEANING, *CIRCUMSTANCES, *OWN])}")


def value(name: str, case: Case) -> int | Fraction:
    """One quantity of one call."""
    found = case.call.quantities.get(name)
    if found is not None:
        return found
    if name in OWN:
        return OWN[name](case)
    about: dict[str, Callable[[], int]] = {
        "calls": lambda: 1,
        "last": lambda: int(case.last),
        "batch": lambda: case.ledger.batch,
        "own_params": lambda: case.entry.params,
        "paths": lambda: case.module.paths,
        "shared": lambda: int(case.module.paths > 1),
    }
    return about[name]() if name in about else 0


class Monomial(msgspec.Struct, frozen=True):
    """`coefficient · Π over / Π under`, each a list of quantities."""

    coefficient: Fraction
    over: tuple[str, ...]
    under: tuple[str, ...] = ()

    def of(self, case: Case) -> Fraction:
        amount = self.coefficient
        for name in self.over:
            amount *= value(name, case)
        for name in self.under:
            amount /= value(name, case)
        return amount

    def __str__(self) -> str:
        size = abs(self.coefficient)
        return "·".join([*([] if size == 1 and self.over else [str(size)]), *self.over]) + "".join(
            f" / {name}" for name in self.under
        )


class Formula(msgspec.Struct, frozen=True):
    """A sum of monomials with rational coefficients. No terms: a charge of 0."""

    terms: tuple[Monomial, ...] = ()

    @classmethod
    @functools.cache  # the same few hundred texts, in hundreds of releases
    def parse(cls, text: str) -> Formula:
        """Read what `str()` writes, and check its names.

        Raises:
            ValueError: not a sum of products, or a name that is no quantity. A constant other than 0 is no
                formula: a convention charges for something.
        """
        plain = text.strip().replace("−", "-")
        if plain == "0":
            return cls()
        tokens, at = [], 0
        while at < len(plain):
            match = _TOKEN.match(plain, at)
            if not match:
                raise ValueError(f"not a formula: {text!r}")
            tokens.append(match[1])
            at = match.end()
        terms: dict[tuple[tuple[str, ...], tuple[str, ...]], Fraction] = {}
        while tokens:
            negative = False
            if tokens[0] in "+-":
                negative = tokens.pop(0) == "-"
            elif terms:
                raise ValueError(f"not a formula: {text!r}")
            term = _term(tokens, text)
            key = (term.over, term.under)
            terms[key] = terms.get(key, Fraction(0)) + (-term.coefficient if negative else term.coefficient)
        if not terms:
            raise ValueError(f"not a formula: {text!r}")
        known(name for over, under in terms for name in (*over, *under))
        return cls(tuple(Monomial(c, over, under) for (over, under), c in terms.items() if c))

    def __str__(self) -> str:
        text = "".join(f" {'-' if term.coefficient < 0 else '+'} {term}" for term in self.terms)
        return (text[3:] if text.startswith(" + ") else text.replace(" - ", "-", 1)) or "0"

    @property
    def names(self) -> set[str]:
        """The quantities in it."""
        return {name for term in self.terms for name in (*term.over, *term.under)}

    def of(self, case: Case) -> Fraction:
        """Its value for one call; a quantity that the call lacks is 0.

        Raises:
            ZeroDivisionError: it divides by one that is 0.
        """
        return sum((term.of(case) for term in self.terms), Fraction(0))

    def over_calls(self, case: Case) -> Fraction:
        """Its value over all the times that this very call was made; the last one may differ (`last`)."""
        once = self.of(case)
        if case.call.times == 1:
            return once
        if "last" not in self.names or not case.last:
            return case.call.times * once
        return once + (case.call.times - 1) * self.of(case._replace(last=False))


def _term(tokens: list[str], text: str) -> Monomial:
    """One product at the head of `tokens`, which it takes from there."""
    over: list[str] = []
    under: list[str] = []
    coefficient, divide = Fraction(1), False
    while True:
        if not tokens or tokens[0] in "+-·*/":
            raise ValueError(f"not a formula: {text!r}")
        factor = tokens.pop(0)
        if factor.isdigit():
            if divide and not int(factor):
                raise ValueError(f"not a formula: {text!r}")
            coefficient = coefficient / int(factor) if divide else coefficient * int(factor)
        else:
            (under if divide else over).append(factor)
        if not tokens or tokens[0] in "+-":
            break
        if tokens[0] in "·*/":
            divide = tokens.pop(0) == "/"
        elif not factor.isdigit() or tokens[0].isdigit():  # `2 outputs` is `2·outputs`, `a b` is nothing
            raise ValueError(f"not a formula: {text!r}")
        else:
            divide = False
    if not over and not under:
        raise ValueError(f"not a formula: {text!r}")
    return Monomial(coefficient, tuple(over), tuple(under))
