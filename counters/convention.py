"""What a counter claims: for each kind of operation a formula, with the reason and its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import msgspec
from packaging.version import Version

from flopledger.counters.condition import AllOf, Condition, given
from flopledger.counters.formula import Case, Formula
from flopledger.reference_model.ledger import OPS, Call, Ledger
from flopledger.reference_model.names import nearest


class Rule(msgspec.Struct, frozen=True):
    """One line of a convention.

    `ops` are the kinds it speaks of (empty: all). `when` narrows it further to certain calls.
    `because` is the reason in a sentence and `source` the line of the library that says so,
    `path:line symbol`.
    """

    ops: tuple[str, ...]
    formula: Formula
    because: str
    source: str
    when: Condition | None = None

    def speaks_of(self, case: Case) -> bool:
        return (not self.ops or case.entry.op in self.ops) and (self.when is None or self.when.holds(case))

    @property
    def condition(self) -> str:
        """When it applies, in words; "" where it always does."""
        return "" if self.when is None else str(self.when)


def rule(ops: str, formula: str, because: str, source: str, when: Condition | None = None) -> Rule:
    """A rule from plain text: `ops` is a list separated by blanks, `"*"` is every op.

    Raises:
        ValueError: an op or a quantity that there is not, with the nearest that there is.
    """
    names = () if ops == "*" else tuple(ops.split())
    for name in names:
        if name not in OPS:
            raise ValueError(f"no op {name!r}{nearest(name, OPS)}")
    return Rule(names, Formula.parse(formula), because, source, when)


def times(factor: str, each: Rule, when: Condition, because: str, where: str = "") -> Rule:
    """A rule that charges `factor` times as much `when` this holds, too: only the terms that divide by `where`, if any.

    Raises:
        ValueError: `factor` is no formula.
    """
    by = Formula.parse(factor).terms[0].over
    terms = tuple(
        msgspec.structs.replace(term, over=(*by, *term.over)) if not where or where in term.under else term
        for term in each.formula.terms
    )
    both = when if each.when is None else AllOf((when, each.when))
    return msgspec.structs.replace(each, formula=Formula(terms), because=each.because + because, when=both)


_MULTIPLIED = {"conv", "conv_transpose", "linear", "matmul"}  # what torch does with complex numbers


def of_complex(rules: Sequence[Rule], convolutions: Fraction = Fraction(1, 4)) -> tuple[Rule, ...]:
    """The rules of a counter that takes a product of complex numbers for one, before each the one for such calls.

    The ledger's `macs` are of real numbers, four for each. To a counter that sees torch take a convolution apart into
    three real ones, `convolutions` are three quarters.
    """
    found: list[Rule] = []
    for each in rules:
        for ops in ({"conv", "conv_transpose"}, {"linear", "matmul"}):
            spoken = tuple(sorted(ops & (set(each.ops) or _MULTIPLIED)))
            if spoken and each.formula.names & {"macs", "macs_at_output"}:
                share = convolutions if "conv" in ops else Fraction(1, 4)
                terms = tuple(
                    msgspec.structs.replace(term, coefficient=term.coefficient * share)
                    if {"macs", "macs_at_output"} & set(term.over)
                    else term
                    for term in each.formula.terms
                )
                when = given("complex", True) if each.when is None else AllOf((each.when, given("complex", True)))
                because = f"{each.because}; complex numbers are taken for real ones"
                found.append(Rule(spoken, Formula(terms), because, each.source, when))
        found.append(each)
    return tuple(found)


UNKNOWN = Rule((), Formula(), "no rule of this convention speaks of it", "")


_NO_VALUE = (ArithmeticError, LookupError, TypeError, ValueError)  # what a quantity of a counter's own file may raise


class Deviation(msgspec.Struct, frozen=True):
    """Where a library is known not to do what its rules say: at random, or by an accident that no rule can state.

    It excuses nothing, and the residual stays; it says why it is there. `when` are the calls at whose places it
    happens; at places that the ledger does not know, None. `because` is the reason in a sentence and `source`
    where the library shows it, `path:line symbol`.
    """

    when: Condition | None
    because: str
    source: str


class Convention(msgspec.Struct, frozen=True):
    """The rules of one counter, first match wins. A call that no rule speaks of is charged 0.

    `deviations` are those of this version.
    """

    counter: str
    rules: tuple[Rule, ...]
    deviations: tuple[Deviation, ...] = ()

    def rule_for(self, case: Case) -> Rule:
        return next((rule for rule in self.rules if rule.speaks_of(case)), UNKNOWN)

    def known(self, cases: Sequence[Case]) -> str:
        """Why the rules are known to fail at a place with these calls, or at one without any; "" where they are not."""
        for each in self.deviations:
            if any(map(each.when.holds, cases)) if each.when is not None else not cases:
                return each.because
        return ""

    def cases(self, ledger: Ledger) -> list[Case]:
        """Every call of a ledger, as the rules look at it; one for each of `ledger.rows()`."""
        rows = ledger.rows()
        first: dict[str, Call] = {}
        for views in (False, True):  # where a site has nothing but views, one of those
            for entry, call in rows:
                if entry.phase == "forward" and (views or entry.op not in ("view", "move", "fill")):
                    first.setdefault(entry.site, call)
        return [
            Case(ledger, entry, call, call is entry.calls[-1], call is first.get(entry.site)) for entry, call in rows
        ]

    def charges(self, ledger: Ledger) -> list[tuple[Rule, Fraction | None]]:
        """For each of `ledger.rows()` the rule that speaks of it and what that charges, all its times together.

        None where that has no value: it divides by 0, or a quantity of the counter's own file fails.
        """
        return charged([self], ledger)[0]


def charged(conventions: Sequence[Convention], ledger: Ledger) -> list[list[tuple[Rule, Fraction | None]]]:
    """`Convention.charges` of each. Releases of one counter share most rules, and what they share is asked once."""
    cases = conventions[0].cases(ledger) if conventions else []
    places: dict[str, list[int]] = {}
    for at, case in enumerate(cases):
        places.setdefault(case.entry.op, []).append(at)
    asked = _Asked(cases)
    found: list[list[tuple[Rule, Fraction | None]]] = []
    for convention in conventions:
        mine: list[tuple[Rule, Fraction | None]] = [(UNKNOWN, Fraction(0))] * len(cases)
        for op, rows in places.items():
            rules = [rule for rule in convention.rules if not rule.ops or op in rule.ops]
            for at, (which, amount) in zip(rows, asked.of(op, rows, rules), strict=True):
                mine[at] = UNKNOWN if which is None else rules[which], amount
        found.append(mine)
    return found


class _Asked:
    """What conditions and formulas say of the calls of one ledger: each is asked once about a call."""

    def __init__(self, cases: Sequence[Case]):
        self._cases = cases
        self._same: dict[Any, int] = {}  # equal ones have one number; comparing numbers is what takes no time
        self._rules: dict[tuple[Any, ...], list[tuple[int | None, Fraction | None]]] = {}
        self._holds: dict[tuple[int, int], bool | None] = {}
        self._amounts: dict[tuple[int, int], Fraction | None] = {}

    def of(self, op: str, rows: Sequence[int], rules: Sequence[Rule]) -> list[tuple[int | None, Fraction | None]]:
        """For each of these calls, which of the rules speaks of it (None: none, or one fails), and what it charges."""
        numbers = [(self._number(rule.when), self._number(rule.formula)) for rule in rules]
        key = op, *numbers
        if key not in self._rules:
            self._rules[key] = [self._first(at, numbers, rules) for at in rows]
        return self._rules[key]

    def _number(self, part: Condition | Formula | None) -> int:
        return self._same.setdefault(part, len(self._same))

    def _first(
        self, at: int, numbers: Sequence[tuple[int, int]], rules: Sequence[Rule]
    ) -> tuple[int | None, Fraction | None]:
        for which, ((when, formula), rule) in enumerate(zip(numbers, rules, strict=True)):
            if rule.when is not None:
                if (when, at) not in self._holds:
                    self._holds[when, at] = self._held(rule.when, at)
                fits = self._holds[when, at]
                if fits is None:
                    return None, None
                if not fits:
                    continue
            if (formula, at) not in self._amounts:
                self._amounts[formula, at] = self._amount(rule.formula, at)
            return which, self._amounts[formula, at]
        return None, Fraction(0)

    def _held(self, when: Condition, at: int) -> bool | None:
        """Whether a condition holds of a call; None where that has no answer."""
        try:
            return when.holds(self._cases[at])
        except _NO_VALUE:
            return None

    def _amount(self, formula: Formula, at: int) -> Fraction | None:
        """What a formula charges for a call; None where it has no value."""
        try:
            return formula.over_calls(self._cases[at])
        except _NO_VALUE:
            return None


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
