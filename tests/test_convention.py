"""Formulas, conditions, and the rules that carry them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import calls, charge

from flopledger.counters import condition, registry
from flopledger.counters.condition import (
    Condition,
    any_of,
    as_aten,
    at_root,
    both,
    by_way_of,
    called_as,
    class_named,
    has,
    in_leaf,
    in_modules,
    in_own_class,
    lacks,
    like,
    negated,
)
from flopledger.counters.condition import (
    given as given_as,
)
from flopledger.counters.convention import Convention, Rule, rule
from flopledger.counters.formula import OWN, Case, Formula, Monomial, meaning, quantity
from flopledger.counters.libraries.thop import rules as _thop  # noqa: F401  (channel_macs is its own)
from flopledger.reference_model.ledger import CIRCUMSTANCES, MEANING, OPS, Call, Entry, Ledger, name_quantity

NAMES = sorted(MEANING)
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
monomials = st.builds(
    Monomial, st.fractions().filter(bool), names, st.lists(st.sampled_from(NAMES), max_size=2).map(tuple)
)
formulas = st.builds(
    Formula, st.lists(monomials, max_size=4, unique_by=lambda term: (term.over, term.under)).map(tuple)
)
quantities = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 10**12), min_size=len(NAMES))


def case(values: dict[str, int] | None = None, times: int = 1, last: bool = True, **options: Any) -> Case:
    entry = entry_of(Call(quantities=values or {}, times=times, facts=options.pop("facts", {})), **options)
    ledger = Ledger(model="", inputs=["7x3"], params=0, entries=[entry], input_shapes=[[7, 3]])
    return Case(ledger, entry, entry.calls[0], last)


def entry_of(*made: Call, op: str = "conv", module: str = "Conv2d", **options: Any) -> Entry:
    return Entry(**{"site": "a.b", "op": op, "aten": "aten.x", "calls": list(made), "module": module, **options})


@given(formulas)
def test_parse_reads_what_str_writes(formula: Formula) -> None:
    """Conventions travel as text in documents and drift reports; nothing may be lost on the way."""
    assert formula == Formula.parse(str(formula))


@given(formulas, formulas, quantities)
def test_a_formula_is_the_sum_of_its_terms(f: Formula, g: Formula, q: dict[str, int]) -> None:
    """Joining two texts with a plus joins their values."""
    joined = Formula.parse(" + ".join(str(x) for x in (f, g) if x.terms).replace("+ -", "- ") or "0")
    assert joined.of(case(q)) == f.of(case(q)) + g.of(case(q))


@given(monomials, quantities)
def test_a_monomial_is_a_product(term: Monomial, q: dict[str, int]) -> None:
    """The value against the shortest possible statement of it."""
    expected = term.coefficient
    for name in term.over:
        expected *= q[name]
    for name in term.under:
        expected /= q[name]
    assert expected == Formula((term,)).of(case(q))


@given(formulas, quantities, st.integers(1, 9))
def test_calls_that_are_alike_cost_as_often_as_they_were_made(f: Formula, q: dict[str, int], times: int) -> None:
    """One row of the ledger stands for all of them; only the last may differ."""
    assert times * f.of(case(q)) == f.over_calls(case(q, times))
    last = Formula.parse("last·macs + outputs")
    assert q["macs"] + times * q["outputs"] == last.over_calls(case(q, times))
    assert times * q["outputs"] == last.over_calls(case(q, times, last=False))


def test_of_is_exact() -> None:
    """Floats would lose the last digits of a large model; thirds would lose them at once."""
    assert Fraction(10**30 + 1, 3) == Formula.parse("1/3·macs").of(case({"macs": 10**30 + 1}))
    assert Formula.parse("macs").of(case()) == 0
    assert Fraction(5, 7) == Formula.parse("macs / batch").of(case({"macs": 5}))
    with pytest.raises(ZeroDivisionError):
        Formula.parse("macs / rows").of(case({"macs": 5}))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (" macs ", "macs"),
        ("2*outputs+biases", "2·outputs + biases"),
        ("2 outputs − 1/2·rows", "2·outputs - 1/2·rows"),
        ("-inputs", "-inputs"),
        ("macs + 2·macs", "3·macs"),
        ("macs - macs", "0"),
        ("macs·2", "2·macs"),
        ("macs/2", "1/2·macs"),
        ("macs * inputs / batch", "macs·inputs / batch"),
        ("macs / batch / rows", "macs / batch / rows"),
        ("weights·positions·samples", "weights·positions·samples"),
    ],
)
def test_parse_reads_what_people_write(text: str, same: str) -> None:
    """Adapters are written by hand: a star, a blank or a real minus sign is all the same."""
    assert Formula.parse(same) == Formula.parse(text)
    assert same == str(Formula.parse(text))


@pytest.mark.parametrize(
    "text",
    ["", " ", "1", "2", "+", "macs +", "macs macs", "2·", "·macs", "macs + 1", "2.5·macs", "Macs",
     "2**macs", "--macs", "macs; rm", "macs\x00", "1/0·macs", "0 + macs +", "macs /", "/ macs", "macs // 2"],
)  # fmt: skip
def test_parse_refuses_what_is_no_formula(text: str) -> None:
    """A mistyped rule must fail where it is written, not charge something else."""
    with pytest.raises(ValueError):
        Formula.parse(text)


@pytest.mark.parametrize(
    ("ops", "formula", "words"),
    [
        ("bacth_norm conv", "2·weights", "no op 'bacth_norm'; did you mean batch_norm"),
        ("batch_norm conv", "2·wieghts", "no quantity 'wieghts'; did you mean weights"),
        ("linear", "macs / bacth", "no quantity 'bacth'; did you mean batch"),
        ("linear", "qqqq", "no quantity 'qqqq'"),
    ],
)
def test_a_misspelt_rule_is_an_error_with_the_nearest_name(ops: str, formula: str, words: str) -> None:
    """It was accepted once, and charged 0."""
    with pytest.raises(ValueError, match=words):
        rule(ops, formula, "", "")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: in_modules("Conv2"), "no class 'Conv2'; did you mean Conv2d"),
        (lambda: like("Liner"), "no class 'Liner'; did you mean Linear"),
        (lambda: has("bias_add"), "no quantity 'bias_add'; did you mean bias_adds"),
        (lambda: lacks("wights"), "no quantity 'wights'; did you mean weights"),
        (lambda: condition.Phase("foward"), "no phase 'foward'; did you mean forward"),
        (lambda: called_as("F.linear"), "named from torch on"),
    ],
)
def test_a_misspelt_condition_is_an_error_with_the_nearest_name(make: Any, words: str) -> None:
    """So is what it speaks of: a class that does not exist would match nothing, in silence."""
    with pytest.raises(ValueError, match=words):
        make()


def test_a_misspelt_import_of_a_condition_is_an_error_with_the_nearest_name() -> None:
    """An adapter's author sees it at import."""
    code = "from flopledger.counters.condition import in_moduls"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "there is no condition 'in_moduls'; did you mean in_modules?" in done.stderr


def test_a_quantity_of_ones_own_is_used_like_any_other() -> None:
    """A library that divides by the groups needs no change of ours."""

    @quantity
    def of_this_test(case: Case) -> int:
        """Groups of a convolution, for this test."""
        return int(case.call.facts["groups"])

    found = rule("conv", "macs / of_this_test", "", "", has("of_this_test"))
    mine = case({"macs": 12}, facts={"groups": 3})
    assert found.speaks_of(mine)
    assert Fraction(4) == found.formula.of(mine)
    assert "Groups of a convolution, for this test" == meaning("of_this_test")

    def macs(case: Case) -> int:
        return 1

    with pytest.raises(ValueError, match="already"):
        quantity(macs)
    del OWN["of_this_test"]


def test_a_quantity_that_fails_is_no_crash_of_everybody() -> None:
    """Other people's functions run where the report is made; such a charge is no number, and a failure there."""
    broken = Convention("mini", (rule("conv", "macs / rows", "", ""), rule("*", "channel_macs", "", "")))
    ledger = Ledger(
        model="", inputs=[], params=0,
        entries=[entry_of(*calls(macs=3)), entry_of(*calls(outputs=2), op="add")],
    )  # fmt: skip
    assert [None, None] == [amount for _, amount in broken.charges(ledger)]


def test_names_of_the_vocabulary_are_defined_once() -> None:
    """A quantity with two meanings would make two formulas look alike."""
    with pytest.raises(ValueError, match="something else already"):
        name_quantity("macs", "something else")
    assert not MEANING.keys() & CIRCUMSTANCES.keys()
    assert all(meaning(name) for name in [*MEANING, *CIRCUMSTANCES, *OWN])


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
    assert convention.rule_for(case({"macs": 5, "bias_adds": 1})).because == "first"
    for op, values, expected in (
        ("conv", {"macs": 5, "bias_adds": 1}, 15),
        ("conv", {"macs": 5, "outputs": 2}, 5),
        ("linear", {"macs": 5, "outputs": 2}, 5),
        ("pool", {"macs": 5, "outputs": 2}, 2),
    ):
        made = case(values, op=op)
        assert Fraction(expected) == charge(convention, made.ledger, made.entry)


def test_a_rule_speaks_of_calls_not_of_entries() -> None:
    """Two calls at one site may fall under two rules: a bias here and none there."""
    convention = Convention("mini", (rule("conv", "3·macs", "", "", has("bias_adds")), rule("conv", "macs", "", "")))
    entry = entry_of(Call(quantities={"macs": 5, "bias_adds": 1}), Call(quantities={"macs": 7}, times=2))
    ledger = Ledger(model="", inputs=[], params=0, entries=[entry])
    assert [Fraction(15), Fraction(14)] == [amount for _, amount in convention.charges(ledger)]


@given(st.lists(st.tuples(st.sampled_from(["conv", "add", "*"]), st.integers(1, 9)), max_size=6))
def test_rule_for_agrees_with_a_plain_search(rows: list[tuple[str, int]]) -> None:
    """The choice of a rule is checked against the shortest possible statement of it."""
    rules = tuple(rule(op, f"{n}·macs", "", "") for op, n in rows)
    expected = next((n for op, n in rows if op in ("conv", "*")), 0)
    made = case({"macs": 1})
    assert Fraction(expected) == charge(Convention("mini", rules), made.ledger, made.entry)


def test_a_call_that_no_rule_speaks_of_is_charged_nothing_and_says_so() -> None:
    """Silence of a convention must be readable in the report as silence."""
    found = Convention("mini", (rule("conv", "macs", "", ""),)).rule_for(case({"outputs": 3}, op="pool"))
    assert str(found.formula) == "0"
    assert "no rule" in found.because


RELU = "torch.nn.functional.relu"


@pytest.mark.parametrize(
    ("condition", "yes", "no", "words"),
    [
        (in_modules("Conv2d", "Conv1d"), case(), case(module="my.Conv2d"), "in Conv2d, Conv1d"),
        (like("Conv2d"), case(module="my.Own", base="Conv2d"), case(module="my.Own"),
         "in Conv2d or a class that derives from it"),
        (called_as(RELU), case(api=RELU), case(api="torch.relu", inside=[RELU]), "called as nn.functional.relu"),
        (by_way_of(RELU), case(api="torch.f", inside=[RELU]), case(api="torch.relu"),
         "called by way of nn.functional.relu"),
        (as_aten("mm", "other.op"), case(aten="aten.mm"), case(aten="aten.bmm"), "as mm, other.op"),
        (has("bias_adds"), case({"bias_adds": 1}), case(), "with bias adds"),
        (lacks("bias_adds"), case(), case({"bias_adds": 2}), "without bias adds"),
        (in_leaf, case(leaf=True), case(), "in leaf modules"),
        (class_named("Conv"), case(module="my.package.OwnConv"), case(module="my.Conv.Linear"),
         "whose class name has Conv"),
        (in_own_class, case(module="my.Net"), case(), "in a class of the model's own"),
        (at_root, case(site=""), case(), "at the root"),
        (given_as("padding", "same"), case(facts={"padding": "same"}), case(facts={"padding": [1]}),
         "with padding same"),
        (condition.Phase("forward"), case(), case(phase="backward"), "in the forward pass"),
        (both(in_modules("Conv2d"), has("macs")), case({"macs": 1}), case(), "in Conv2d with macs"),
        (any_of(in_modules("Linear"), has("macs")), case({"macs": 1}), case(), "in Linear, or with macs"),
        (negated(in_modules("Linear")), case(), case(module="Linear"), "outside Linear"),
        (negated(as_aten("mm")), case(), case(aten="aten.mm"), "not as mm"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_conditions_select_and_say_what_they_select(condition: Condition, yes: Case, no: Case, words: str) -> None:
    """A condition decides the number and is printed as its reason; both must be right, and it is data."""
    narrowed = Rule((), Formula.parse("macs"), "", "", condition)
    assert narrowed.speaks_of(yes)
    assert not narrowed.speaks_of(no)
    assert words == narrowed.condition
    assert condition == msgspec.json.decode(msgspec.json.encode(condition), type=Condition)


@pytest.mark.parametrize("name", registry.names())
def test_our_conventions_name_only_what_torch_has(name: str) -> None:
    """A class, a function or an operation that torch does not have would match nothing, in silence."""
    import torch

    def leaves(found: Any) -> list[Any]:
        inner = getattr(found, "conditions", None) or [c for c in [getattr(found, "condition", None)] if c is not None]
        return [leaf for each in inner for leaf in leaves(each)] if inner else [found]

    from operator import attrgetter

    for each in registry.get(name).convention(None).rules:
        assert set(each.ops) <= OPS
        for leaf in leaves(each.when) if each.when is not None else []:
            for module in getattr(leaf, "names", ()) if isinstance(leaf, condition.Modules) else ():
                assert hasattr(torch.nn, module) or "." in module
            for api in getattr(leaf, "apis", ()):
                if not api.endswith("__") and api != "torch._convolution_mode":  # as a jit trace calls it
                    attrgetter(api.removeprefix("torch."))(torch.ops if api.startswith("aten.") else torch)
            for op in leaf.names if isinstance(leaf, condition.Aten) else ():
                name_in_aten = op.removeprefix("aten.")
                assert hasattr(torch.ops.aten, name_in_aten) or hasattr(torch.Tensor, f"__{name_in_aten}__")  # rmatmul


def test_the_classes_of_torch_nn_are_known() -> None:
    """A new one must not look like a typing error."""
    import torch

    kinds = {name for name, kind in vars(torch.nn).items() if isinstance(kind, type)}
    modules = {name for name in kinds if issubclass(getattr(torch.nn, name), torch.nn.Module)}
    assert modules - {"Module"} <= condition.MODULES | {"Buffer", "Parameter"}
