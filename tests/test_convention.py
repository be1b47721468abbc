"""Formulas and the rules that carry them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopledger.counters.convention import Convention, Formula, Rule, both, called_as, has, in_modules, lacks, rule
from flopledger.reference_model.ledger import Entry

names = st.from_regex(r"[a-z_][a-z_0-9]{0,11}", fullmatch=True)
coefficients = st.fractions().filter(bool)
formulas = st.builds(Formula, st.dictionaries(names, coefficients, max_size=5))
quantities = st.dictionaries(names, st.integers(0, 10**15), max_size=8)


def entry(op: str = "conv", module: str = "Conv2d", api: str = "", **values: int) -> Entry:
    return Entry(site="a.b", op=op, aten="aten.x", quantities=values, module=module, api=api)


@given(formulas)
def test_parse_reads_what_str_writes(formula: Formula) -> None:
    """Conventions travel as text in run documents and drift reports; nothing may be lost on the way."""
    assert formula == Formula.parse(str(formula))


@given(formulas, quantities, quantities)
def test_of_is_linear_in_quantities(formula: Formula, a: dict[str, int], b: dict[str, int]) -> None:
    """Lines add up over sites only because charging two entries at once is charging each."""
    both_of_them = {name: a.get(name, 0) + b.get(name, 0) for name in a.keys() | b.keys()}
    assert formula.of(both_of_them) == formula.of(a) + formula.of(b)


@given(formulas, formulas, quantities)
def test_of_is_linear_in_terms(f: Formula, g: Formula, q: dict[str, int]) -> None:
    """A formula is a sum of terms: joining two texts with a plus joins their values."""
    joined = Formula.parse(" + ".join(str(x) for x in (f, g) if str(x) != "0").replace("+ -", "- ") or "0")
    assert joined.of(q) == f.of(q) + g.of(q)


def test_of_is_exact() -> None:
    """Floats would lose the last digits of a large model; thirds would lose them at once."""
    assert Fraction(10**30 + 1, 3) == Formula.parse("1/3·macs").of({"macs": 10**30 + 1})
    assert Formula.parse("macs").of({}) == 0


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("0", {}),
        (" macs ", {"macs": 1}),
        ("2·outputs + biases", {"outputs": 2, "biases": 1}),
        ("2*outputs+biases", {"outputs": 2, "biases": 1}),
        ("2 outputs − 1/2·rows", {"outputs": 2, "rows": Fraction(-1, 2)}),
        ("-inputs", {"inputs": -1}),
        ("macs + 2·macs", {"macs": 3}),
        ("macs - macs", {}),
    ],
)
def test_parse_reads_what_people_write(text: str, terms: dict[str, int]) -> None:
    """Adapters are written by hand: a star, a blank or a real minus sign is all the same."""
    assert Formula(terms) == Formula.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "1", "2", "+", "macs +", "macs macs", "2·", "·macs", "macs + 1", "2.5·macs", "Macs", "macs·2",
     "macs * inputs", "2**macs", "macs/2", "--macs", "macs; rm", "macs\x00", "1/0·macs", "0 + macs +"],
)  # fmt: skip
def test_parse_refuses_what_is_no_formula(text: str) -> None:
    """A mistyped rule must fail where it is written, not charge something else."""
    with pytest.raises(ValueError):
        Formula.parse(text)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({}, "0"),
        ({"macs": 1}, "macs"),
        ({"macs": -1}, "-macs"),
        ({"outputs": 2, "biases": 1}, "2·outputs + biases"),
        ({"outputs": -2, "rows": Fraction(-1, 2)}, "-2·outputs - 1/2·rows"),
    ],
)
def test_str_reads_as_the_design_page_says(terms: dict[str, int], text: str) -> None:
    """The text is what a reader of the report sees."""
    assert text == str(Formula({name: Fraction(value) for name, value in terms.items()}))


def test_first_matching_rule_wins() -> None:
    """Adapters write the narrow rule first and the catch-all last; the order must decide."""
    convention = Convention(
        "mini",
        (
            rule("conv", "3·macs", "first", "a:1", has("bias_adds")),
            rule("conv linear", "macs", "second", "a:2"),
            rule("*", "outputs", "last", "a:3"),
            rule("conv", "7·macs", "never", "a:4"),
        ),
    )
    assert convention.rule_for(entry(macs=5, bias_adds=1)).because == "first"
    assert Fraction(15) == convention.charge(entry(macs=5, bias_adds=1))
    assert Fraction(5) == convention.charge(entry(macs=5, outputs=2))
    assert Fraction(5) == convention.charge(entry("linear", macs=5, outputs=2))
    assert Fraction(2) == convention.charge(entry("pool", macs=5, outputs=2))


@given(st.lists(st.tuples(st.sampled_from(["conv", "add", "*"]), st.integers(1, 9)), max_size=6))
def test_rule_for_agrees_with_a_plain_search(rows: list[tuple[str, int]]) -> None:
    """The choice of a rule is checked against the shortest possible statement of it."""
    rules = tuple(rule(op, f"{n}·macs", "", "") for op, n in rows)
    expected = next((n for op, n in rows if op in ("conv", "*")), 0)
    assert Fraction(expected) == Convention("mini", rules).charge(entry(macs=1))


def test_an_entry_that_no_rule_speaks_of_is_charged_nothing_and_says_so() -> None:
    """Silence of a convention must be readable in the report as silence."""
    found = Convention("mini", (rule("conv", "macs", "", ""),)).rule_for(entry("pool", outputs=3))
    assert str(found.formula) == "0"
    assert "no rule" in found.because


@pytest.mark.parametrize(
    ("condition", "yes", "no", "words"),
    [
        (in_modules("Conv2d", "Conv1d"), entry(module="Conv2d"), entry(module="my.Conv2d"), "in Conv2d, Conv1d"),
        (called_as("torch.nn.functional.relu"), entry(api="torch.nn.functional.relu"), entry(api="torch.relu"),
         "called as nn.functional.relu"),
        (has("bias_adds"), entry(bias_adds=1), entry(bias_adds=0), "with bias adds"),
        (lacks("bias_adds"), entry(), entry(bias_adds=2), "without bias adds"),
        (both(in_modules("Conv2d"), has("macs")), entry(macs=1), entry(), "in Conv2d with macs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_conditions_select_and_say_what_they_select(condition, yes, no, words) -> None:  # type: ignore[no-untyped-def]
    """A condition decides the number and is printed as its reason; both must be right."""
    narrowed = Rule((), Formula.parse("macs"), "", "", condition)
    assert narrowed.speaks_of(yes)
    assert not narrowed.speaks_of(no)
    assert words == narrowed.condition
