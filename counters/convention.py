"""What a counter claims: for each kind of operation a formula, with the reason and its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec
from packaging.version import Version

from reference_model.ledger import Entry

_TERM = re.compile(r"([+-]?)\s*(?:(\d+(?:/\d+)?)\s*(?:[·*]\s*)?)?([a-z_][a-z_0-9]*)?\s*")


class Formula(msgspec.Struct, frozen=True):
    """A linear combination of quantities with rational coefficients: `2·outputs + biases`."""

    terms: dict[str, Fraction]

    @classmethod
    def parse(cls, text: str) -> Formula:
        """Read what `str()` writes.

        Raises:
            ValueError: not a sum of terms `coefficient·quantity`. A constant other than 0 is no
                formula: a convention charges for something.
        """
        rest = text.strip().replace("−", "-")
        terms: dict[str, Fraction] = {}
        if rest == "0":
            return cls({})
        while rest:
            match = _TERM.match(rest)
            if not match or not match[0] or match[3] is None or (terms and not match[1]):
                raise ValueError(f"not a formula: {text!r}")
            sign, coefficient, name = match.groups()
            try:
                value = Fraction(coefficient or 1) * (-1 if sign == "-" else 1)
            except ZeroDivisionError:
                raise ValueError(f"not a formula: {text!r}") from None
            terms[name] = terms.get(name, Fraction(0)) + value
            rest = rest[match.end() :]
        if not terms:
            raise ValueError(f"not a formula: {text!r}")
        return cls({name: value for name, value in terms.items() if value})

    def __str__(self) -> str:
        text = ""
        for name, value in self.terms.items():
            sign = " - " if value < 0 else " + "
            size = "" if abs(value) == 1 else f"{abs(value)}·"
            text += f"{sign}{size}{name}"
        return (text[3:] if text.startswith(" + ") else text.replace(" - ", "-", 1)) or "0"

    def of(self, quantities: Mapping[str, int]) -> Fraction:
        """The formula's value; a quantity that is absent is 0."""
        return sum((c * quantities.get(name, 0) for name, c in self.terms.items()), Fraction(0))


class Rule(msgspec.Struct, frozen=True):
    """One line of a convention.

    `ops` are the kinds it speaks of (empty: all). `when` narrows it further to entries of certain
    modules, functions or shapes; its docstring says which, in words. `because` is the reason in a
    sentence and `source` the line of the library that says so, `path:line symbol`.
    """

    ops: tuple[str, ...]
    formula: Formula
    because: str
    source: str
    when: Callable[[Entry], bool] | None = None

    def speaks_of(self, entry: Entry) -> bool:
        return (not self.ops or entry.op in self.ops) and (self.when is None or self.when(entry))

    @property
    def condition(self) -> str:
        return ((self.when.__doc__ or "") if self.when else "").strip()


def rule(
    ops: str,
    formula: str,
    because: str,
    source: str,
    when: Callable[[Entry], bool] | None = None,
) -> Rule:
    """A rule from plain text: `ops` is a list separated by blanks, `"*"` is every op."""
    names = () if ops == "*" else tuple(ops.split())
    return Rule(names, Formula.parse(formula), because, source, when)


UNKNOWN = Rule((), Formula({}), "no rule of this convention speaks of it", "")


class Convention(msgspec.Struct, frozen=True):
    """The rules of one counter, first match wins. An entry that no rule speaks of is charged 0."""

    counter: str
    rules: tuple[Rule, ...]

    def rule_for(self, entry: Entry) -> Rule:
        return next((rule for rule in self.rules if rule.speaks_of(entry)), UNKNOWN)

    def charge(self, entry: Entry) -> Fraction:
        """What this convention says the counter charges for `entry`."""
        return self.rule_for(entry).formula.of(entry.quantities)


class Step(msgspec.Struct, frozen=True):
    """What changed with a release: `rules` are how the releases before `release` charged."""

    release: str
    rules: tuple[Rule, ...]


def in_force(
    version: str | None, steps: Sequence[Step], today: Sequence[Rule], order: Callable[[str], Any] = Version
) -> tuple[Rule, ...]:
    """The rules of `version`: today's, overridden by those of each step that it came before.

    `steps` are in order of time, oldest first, so that what is older overrides. `order` says where a
    version stands in time; it is PEP 440's order unless a library's numbers went another way. None is
    the newest version.
    """
    later = [step for step in steps if version is not None and order(version) < order(step.release)]
    return (*(rule for step in later for rule in step.rules), *today)


def in_modules(*names: str) -> Callable[[Entry], bool]:
    """True for entries at a module whose class is exactly one of `names` (see `Entry.module`)."""
    wanted = frozenset(names)

    def condition(entry: Entry) -> bool:
        return entry.module in wanted

    condition.__doc__ = f"in {', '.join(names)}"
    return condition


def in_leaf(entry: Entry) -> bool:
    """in leaf modules"""
    return entry.leaf


def in_class_named_conv(entry: Entry) -> bool:
    """whose class name has Conv"""
    return "Conv" in entry.module.rpartition(".")[2]


def called_as(*apis: str) -> Callable[[Entry], bool]:
    """True for entries that were called through one of the torch functions `apis`."""
    wanted = frozenset(apis)

    def condition(entry: Entry) -> bool:
        return entry.api in wanted

    condition.__doc__ = f"called as {', '.join(api.rpartition('torch.')[2] for api in apis)}"
    return condition


def has(quantity: str) -> Callable[[Entry], bool]:
    """True for entries with more than 0 of `quantity`."""

    def condition(entry: Entry) -> bool:
        return entry[quantity] > 0

    condition.__doc__ = f"with {quantity.replace('_', ' ')}"
    return condition


def lacks(quantity: str) -> Callable[[Entry], bool]:
    """True for entries with none of `quantity`."""

    def condition(entry: Entry) -> bool:
        return entry[quantity] == 0

    condition.__doc__ = f"without {quantity.replace('_', ' ')}"
    return condition


def both(*conditions: Callable[[Entry], bool]) -> Callable[[Entry], bool]:
    """True where every one of `conditions` is."""

    def condition(entry: Entry) -> bool:
        return all(one(entry) for one in conditions)

    condition.__doc__ = " ".join((one.__doc__ or "") for one in conditions)
    return condition
