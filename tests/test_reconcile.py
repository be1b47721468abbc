"""Whatever counters and conventions say, the difference is accounted for to the last operation."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_run import calls

import flopledger.reports.documents.run
from flopledger.counters.condition import has
from flopledger.counters.convention import Convention, Deviation, Rule, rule
from flopledger.counters.formula import Formula, Monomial, quantity
from flopledger.counters.tally import ADDITIONS, Aside, Part, Tally, lost
from flopledger.reference_model.ledger import Call, Entry, Ledger
from flopledger.reports.align import Aligned, Failure, align
from flopledger.reports.documents.reading import RunError, digest, encode
from flopledger.reports.documents.run import Environment, Run, assemble, check, decode, schema
from flopledger.reports.reconcile import reconcile


@quantity
def beyond_150(case: Any) -> int:
    """MACs beyond 150."""
    return max(0, case.call.quantities.get("macs", 0) - 150)


OPS = ["conv", "linear", "batch_norm", "pool", "add", "view"]
SITES = ["", "a", "a.0", "b|c", "<b>"]
QUANTITIES = ["macs", "outputs", "weights"]


# --- ledgers, conventions and tallies, true and false -------------------------------------------

entries = st.builds(
    lambda site, op, api, calls: Entry(site=site, op=op, aten=f"aten.{op}", api=api, calls=calls),
    st.sampled_from(SITES),
    st.sampled_from(OPS),
    st.sampled_from(["", "torch.f"]),
    st.lists(
        st.builds(
            lambda amounts, times: Call(quantities=amounts, times=times),
            st.dictionaries(st.sampled_from(QUANTITIES), st.integers(1, 10**7), max_size=3),
            st.integers(1, 3),
        ),
        min_size=1,
        max_size=3,
    ),
)
ledgers = st.builds(
    lambda found: Ledger(model="mini", inputs=["1x3"], params=7, entries=found),
    st.lists(entries, max_size=10, unique_by=lambda e: (e.site, e.op, e.api)),
)


def conventions(coefficients: st.SearchStrategy[Any]) -> st.SearchStrategy[Convention]:
    formulas = st.builds(
        lambda terms: Formula(tuple(Monomial(Fraction(value), names) for names, value in terms.items() if value)),
        st.dictionaries(
            st.sampled_from([*((name,) for name in QUANTITIES), ("last", "macs"), ("outputs", "weights")]),
            coefficients,
            max_size=2,
        ),
    )
    rules = st.builds(
        Rule,
        st.lists(st.sampled_from(OPS), max_size=2, unique=True).map(tuple),
        formulas,
        st.sampled_from(["because", "for a reason"]),
        st.just("lib.py:1"),
        st.sampled_from([None, has("outputs")]),
    )
    return st.lists(rules, max_size=4).map(lambda found: Convention("mini", tuple(found)))


whole = conventions(st.integers(0, 5))
# A claim may be nonsense: halves that give no integer, or negative amounts.
wild = conventions(st.one_of(st.integers(-3, 5), st.fractions(-2, 5, max_denominator=7)))


def tally(name: str, parts: list[Part], **options: Any) -> Tally:
    asides = sum(aside.amount for aside in options.get("asides", []))
    return Tally(
        counter=name,
        distribution=name,
        version="1",
        unit=options.pop("unit", "MAC"),
        status="counted",
        total=sum(part.count for part in parts) + asides,
        params=7,
        parts=parts,
        **options,
    )


@st.composite
def honest(draw: st.DrawFn, name: str, ledger: Ledger, convention: Convention) -> Tally:
    """Reports just what the convention says; by op or by module, in one piece or two, in any order."""
    parts: list[Part] = []
    by_op = {site: draw(st.booleans()) for site in SITES}
    how = draw(st.sampled_from(["site", "operation", "op", "total"]))
    for (entry, _), (_, amount) in zip(ledger.rows(), convention.charges(ledger), strict=True):
        assert amount is not None
        assert amount.denominator == 1
        first = draw(st.integers(0, int(amount)))
        op = entry.op if by_op[entry.site] or how in ("operation", "op") else None
        parts += [Part(entry.site, op, first), Part(entry.site, op, int(amount) - first)]
    counted, calls = sum(part.count for part in parts), sum(entry["calls"] for entry in ledger)
    most = min(9, counted * ADDITIONS * calls >> 24)
    lost = st.integers(-most, most)
    asides = draw(st.lists(st.builds(Aside, st.just("rounding"), lost, st.just("lost")), max_size=1))
    unit = draw(st.sampled_from(["MAC", "FLOP"]))
    return tally(name, draw(st.permutations(parts)), unit=unit, granularity=how, asides=asides)


liars = st.lists(
    st.builds(
        Part,
        st.sampled_from([*SITES, "nowhere", "a.0.1"]),
        st.sampled_from([None, "unattributed", "mystery", *OPS]),
        st.integers(0, 10**13),
    ),
    max_size=8,
)


@st.composite
def anyone(draw: st.DrawFn, name: str, ledger: Ledger) -> tuple[Tally, Convention]:
    """An honest counter, a liar, or an honest one that adds something here and there."""
    if draw(st.booleans()):
        return tally(name, draw(liars)), draw(wild)
    convention = draw(whole)
    true = draw(honest(name, ledger, convention))
    return tally(
        name, [*true.parts, *draw(liars)], unit=true.unit, granularity=true.granularity, asides=true.asides
    ), convention


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Ledger, tuple[Tally, Convention], tuple[Tally, Convention]]:
    ledger = draw(ledgers)
    return ledger, draw(anyone("left", ledger)), draw(anyone("right", ledger))


def assembled(ledger: Ledger, *tallies: tuple[Tally, Convention]) -> Run:
    return assemble(
        flopledger="0",
        created="2026-01-02T03:04:05+00:00",
        environment=Environment(python="3", torch=None, platform="p"),
        spec="mini",
        ledger=ledger,
        tallies=list(tallies),
    )


# --- the arithmetic -----------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(pairs())
def test_lines_and_residual_make_up_the_difference(case: Any) -> None:
    """The promise of the whole project, for counters of every kind."""
    ledger, (left, left_says), (right, right_says) = case
    sides = align(left, left_says, ledger), align(right, right_says, ledger)
    found = reconcile(*sides, ledger.rows())
    assert left.total - right.total == found.difference
    assert found.difference == sum(line.difference for line in found.lines) + found.residual
    assert all(line.difference == line.left - line.right for line in found.lines)
    assert all(0 <= line.verified_sites <= line.sites for line in found.lines)
    assert all(line.verified_sites == line.sites - len(line.failing) for line in found.lines)
    keys = [(line.op, line.left_formula, line.right_formula) for line in found.lines]
    assert len(keys) == len(set(keys))
    assert {e.op for e in ledger if e.op != "view"} <= {line.op for line in found.lines}
    assert (left.unit != right.unit) >= any(line.op == "unit" for line in found.lines)
    unexplained = {side: sum(r.unexplained for r in found.residue if r.counter == side) for side in ("left", "right")}
    assert found.residual == unexplained["left"] - unexplained["right"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_true_conventions_leave_nothing_over(data: st.DataObject) -> None:
    """Residual zero must be what truth looks like, however the counter cuts its parts."""
    ledger = data.draw(ledgers)
    claims = data.draw(whole), data.draw(whole)
    left, right = (data.draw(honest(n, ledger, c)) for n, c in zip(("left", "right"), claims, strict=True))
    sides = align(left, claims[0], ledger), align(right, claims[1], ledger)
    found = reconcile(*sides, ledger.rows())
    assert sides[0].failures + sides[1].failures == []
    assert found.residual == 0
    assert found.residue == []
    assert all(line.verified_sites == line.sites for line in found.lines)
    assert [side.sites for side in sides] == [side.agree for side in sides]
    assert left.total == sum(line.left for line in found.lines)


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_align_keeps_every_operation_that_was_reported(case: Any) -> None:
    """The run document's parts are the aligned ones; they must sum to the total, site by site."""
    ledger, (left, convention), _ = case
    side = align(left, convention, ledger)
    asides = sum(aside.amount for aside in left.asides)
    assert left.total == sum(part.count for part in side.parts) + asides
    unexplained = sum(failure.unexplained for failure in side.failures)
    assert left.total == sum(amount for _, amount in side.rows) + unexplained + asides
    if left.granularity in ("site", "operation"):
        assert _by_site(left.parts) == _by_site(side.parts)
    assert 0 <= side.agree <= side.sites
    assert (side.agree == side.sites) == (not side.failures)
    assert side == align(replace(left, parts=left.parts[::-1]), convention, ledger)


def _by_site(parts: list[Part]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for part in parts:
        sums[part.site] += part.count
    return {site: count for site, count in sums.items() if count}


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_a_pair_the_other_way_round_is_the_same_facts(case: Any) -> None:
    """The reader may pick a pair in either order."""
    ledger, (left, left_says), (right, right_says) = case
    sides = align(left, left_says, ledger), align(right, right_says, ledger)
    found = reconcile(*sides, ledger.rows())
    back = reconcile(*sides[::-1], ledger.rows())
    assert (back.left, back.right, back.difference, back.residual) == (
        found.right, found.left, -found.difference, -found.residual
    )  # fmt: skip
    ways = [(x.op, x.left_formula, x.right_formula, x.left, x.right, x.sites, x.verified_sites) for x in found.lines]
    turned = [(x.op, x.right_formula, x.left_formula, x.right, x.left, x.sites, x.verified_sites) for x in back.lines]
    assert sorted(ways) == sorted(turned)


# --- a lie is found and named -------------------------------------------------------------------

LEDGER = Ledger(
    model="mini",
    inputs=["1x3"],
    params=7,
    entries=[
        Entry(site="a", op="conv", aten="aten.convolution", calls=calls(macs=100, outputs=10)),
        Entry(site="b", op="conv", aten="aten.convolution", calls=calls(macs=200, outputs=20)),
        Entry(site="b", op="add", aten="aten.add", calls=calls(outputs=20)),
        Entry(site="c", op="add", aten="aten.add", calls=calls(2, outputs=15)),
    ],
)
MACS = Convention("m", (rule("conv", "macs", "one each", "lib.py:1"),))
BOTH = Convention("b", (rule("conv", "2·macs", "two each", "lib.py:2"), rule("add", "outputs", "one", "lib.py:3")))
TRUE = [Part("a", None, 100), Part("b", None, 200)]


def told(parts: list[Part], convention: Convention = MACS) -> Aligned:
    return align(tally("mini", parts), convention, LEDGER)


def test_a_lie_at_one_site_is_named_with_its_size() -> None:
    """`verified 1 of 2 sites` is useless without the name of the other."""
    side = told([TRUE[0], Part("b", None, 207)])
    assert [Failure(site="b", op=None, reported=207, claimed=200)] == side.failures
    assert side.failures[0].unexplained == 7
    other = align(tally("other", TRUE), MACS, LEDGER)
    found = reconcile(side, other, LEDGER.rows())
    assert (found.difference, found.residual) == (7, 7)
    assert [(r.counter, r.site, r.unexplained) for r in found.residue] == [("mini", "b", 7)]
    conv = next(line for line in found.lines if line.op == "conv")
    assert (conv.failing, conv.verified_sites, conv.sites) == (["b"], 1, 2)
    assert (conv.left, conv.right, conv.difference) == (300, 300, 0)


def test_a_known_deviation_says_why_and_excuses_nothing() -> None:
    """The reader sees that it is known; the sum must not."""
    known = (Deviation(has("macs"), "it throws dice", "lib.py:9"), Deviation(None, "it dreams", "lib.py:8"))
    side = told([TRUE[0], Part("b", None, 207), Part("nowhere", None, 1)], replace(MACS, deviations=known))
    assert [("b", "it throws dice", 7), ("nowhere", "it dreams", 1)] == [
        (f.site, f.known, f.unexplained) for f in side.failures
    ]
    assert [""] == [f.known for f in told([*TRUE, Part("c", None, 1)], replace(MACS, deviations=known)).failures]


def test_two_lies_that_cancel_are_both_named() -> None:
    """A residual of zero by accident must not hide that a convention fails at two sites."""
    side = told([Part("a", None, 105), Part("b", None, 195)])
    assert [(f.site, f.unexplained) for f in side.failures] == [("a", 5), ("b", -5)]
    assert (side.sites, side.agree) == (3, 1)


def test_a_silent_site_is_a_failure() -> None:
    """A counter that forgets a convolution lies as much as one that invents operations."""
    side = told([Part("a", None, 100)])
    assert [Failure(site="b", op=None, reported=0, claimed=200)] == side.failures


def test_a_site_that_the_ledger_does_not_know_is_named() -> None:
    """Operations from nowhere must show with the name the counter gave them."""
    side = told([*TRUE, Part("nowhere", None, 9)])
    assert [Failure(site="nowhere", op=None, reported=9, claimed=0)] == side.failures
    assert Part("nowhere", None, 9) in side.parts


def test_what_a_library_did_not_place_is_a_failure_of_its_own() -> None:
    """`unattributed` may not be swallowed by the root's own operations."""
    side = told([*TRUE, Part("", "unattributed", 4)])
    assert [Failure(site="", op="unattributed", reported=4, claimed=0, level="operation")] == side.failures
    assert Part("", "unattributed", 4) in side.parts


def test_a_counter_that_names_ops_is_checked_op_by_op() -> None:
    """Sums by site would hide operations that are charged to the wrong op."""
    swapped = [Part("a", "conv", 200), Part("b", "conv", 20), Part("b", "add", 400), Part("c", "add", 30)]
    side = told(swapped, BOTH)
    assert {"operation"} == {f.level for f in side.failures}
    assert [(f.site, f.op, f.reported, f.claimed) for f in side.failures] == [
        ("b", "add", 400, 20),
        ("b", "conv", 20, 400),
    ]


def test_a_counter_that_names_modules_is_split_by_formula() -> None:
    """thop speaks of modules; a chart by op needs the explained amounts split."""
    side = told([Part("a", None, 200), Part("b", None, 420), Part("c", None, 30)], BOTH)
    assert side.failures == []
    assert [Part("a", "conv", 200), Part("b", "add", 20), Part("b", "conv", 400), Part("c", "add", 30)] == side.parts


def test_a_formula_that_gives_no_integer_fails_there() -> None:
    """Half an operation cannot have been reported: such a claim is false even if the sums were near."""
    third = Convention("t", (rule("conv", "1/3·macs", "a third", "lib.py:1"),))
    side = told([Part("a", None, 33), Part("b", None, 66)], third)
    assert {"a", "b"} == {f.site for f in side.failures}
    assert sum(part.count for part in side.parts) == 99


def test_lines_split_where_formulas_differ_within_an_op() -> None:
    """One op under two formulas is two lines, or the formula printed would be false for some sites."""
    split = Convention("s", (rule("conv", "2·macs", "big", "l:1", has("beyond_150")), MACS.rules[0]))
    mine = tally("mini", [Part("a", None, 100), Part("b", None, 400)])
    found = reconcile(align(mine, split, LEDGER), align(tally("other", TRUE), MACS, LEDGER), LEDGER.rows())
    assert [(x.left_formula, x.right_formula, x.difference, x.sites) for x in found.lines if x.op == "conv"] == [
        ("2·macs", "macs", 200, 1),
        ("macs", "macs", 0, 1),
    ]
    assert found.residual == 0


def test_a_tally_that_speaks_of_ops_only_is_checked_there() -> None:
    """A tool that prints a sum per kind of operation can be held to no more, and to no less."""
    fine = tally("mini", [Part("", "conv", 600), Part("", "add", 50)], granularity="op")
    side = align(fine, BOTH, LEDGER)
    assert ([], 2, 2) == (side.failures, side.sites, side.agree)
    assert [Part("a", "conv", 200), Part("b", "add", 20), Part("b", "conv", 400), Part("c", "add", 30)] == side.parts
    off = align(tally("mini", [Part("", "conv", 601), Part("", "add", 50)], granularity="op"), BOTH, LEDGER)
    assert [Failure(site="", op="conv", reported=601, claimed=600, level="op")] == off.failures
    found = reconcile(off, align(tally("other", TRUE), MACS, LEDGER), LEDGER.rows())
    assert {"conv": 0, "add": 2} == {x.op: x.verified_sites for x in found.lines}


def test_a_tally_that_is_only_a_total_is_checked_as_a_whole() -> None:
    """A closed-form formula, or a tool that prints one number: its lines still split by what it states."""
    side = align(tally("mini", [Part("", None, 650)], granularity="total"), BOTH, LEDGER)
    assert ([], 1, 1) == (side.failures, side.sites, side.agree)
    off = align(tally("mini", [Part("", None, 649)], granularity="total"), BOTH, LEDGER)
    assert [-1] == [failure.unexplained for failure in off.failures]
    found = reconcile(off, align(tally("other", TRUE), MACS, LEDGER), LEDGER.rows())
    assert (found.difference, found.residual) == (349, -1)


def test_flops_against_macs_is_a_line_of_its_own() -> None:
    """Raw, the largest line of every pair with torch would be that a FLOP is half a MAC, once for each operation."""
    flops = tally("flops", [Part("a", None, 200), Part("b", None, 400)], unit="FLOP")
    doubled = Convention("f", (rule("conv", "2·macs", "two each", "lib.py:2"),))
    found = reconcile(align(flops, doubled, LEDGER), align(tally("macs", TRUE), MACS, LEDGER), LEDGER.rows())
    lines = {line.op: (line.left_formula, line.left, line.difference) for line in found.lines}
    assert {"unit": ("unit", 300, 300), "conv": ("macs", 300, 0), "add": ("0", 0, 0)} == lines
    same = reconcile(align(flops, doubled, LEDGER), align(flops, doubled, LEDGER), LEDGER.rows())
    assert "unit" not in {line.op for line in same.lines}


# --- the document -------------------------------------------------------------------------------

DOCUMENT = encode(
    assembled(
        LEDGER,
        (tally("mini", TRUE), MACS),
        (tally("other", [Part("a", None, 200), Part("b", None, 421), Part("c", None, 30)]), BOTH),
        (
            Tally(counter="gone", distribution="gone", version=None, unit="MAC", status="unavailable",
                  release="1.2", reason="not installed"),
            MACS,
        ),
    )
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_a_document_reads_back_as_written(case: Any) -> None:
    """Every page is rendered from the document, so it must hold all there was; and it fits its schema."""
    ledger, left, right = case
    run = assembled(ledger, left, right)
    data = encode(run)
    assert run == decode(data)
    assert data == encode(decode(data))
    assert data.endswith(b"\n")


@settings(max_examples=25, deadline=None)
@given(pairs())
def test_documents_fit_the_schema(case: Any) -> None:
    """Other people's programs will read run.json by its schema."""
    ledger, left, right = case
    jsonschema.validate(json.loads(encode(assembled(ledger, left, right))), schema())


def test_the_schema_refuses_what_is_no_document() -> None:
    """A schema that accepts anything would make the test above empty."""
    validator = jsonschema.validators.validator_for(schema())
    validator.check_schema(schema())
    document = json.loads(DOCUMENT)
    assert validator(schema()).is_valid(document)
    for change in (
        lambda d: d.pop("tallies"),
        lambda d: d.update(format=1),
        lambda d: d["tallies"][0].update(total="300"),
        lambda d: d["tallies"][0].update(status="fine"),
        lambda d: d["ledger"]["entries"][0].pop("site"),
    ):
        bad = copy.deepcopy(document)
        change(bad)
        assert not validator(schema()).is_valid(bad)


def test_what_a_float32_sum_lost_is_a_line_of_its_own() -> None:
    """Old thop prints 1,127,856,896 for 1,127,856,920: known to the last digit, so no residual, and not a site's."""
    site = Entry(site="a", op="conv", aten="aten.convolution", calls=calls(macs=2**25))
    ledger, parts, exact = replace(LEDGER, entries=[site]), [Part("a", None, 2**25)], 2**25
    _, asides = lost(exact - 1, exact, 2)
    side = align(tally("mini", parts, asides=asides), MACS, ledger)
    assert (side.sites, side.failures) == (side.agree, [])
    found = reconcile(side, align(tally("other", parts), MACS, ledger), ledger.rows())
    (line,) = [line for line in found.lines if line.op == "rounding"]
    assert (-1, -1, 0) == (line.difference, found.difference, found.residual)
    assert f"exactly it is {exact:,}" in line.left_because


@given(st.integers(1, 2**40), st.integers(1, 99), st.integers(-(2**20), 2**20))
def test_rounding_is_what_a_float32_sum_can_lose_and_no_more(total: int, additions: int, off: int) -> None:
    """Whatever is beyond the bound stays in the residual: rounding must not become a place to hide."""
    parts, asides = lost(total, total + off, additions)
    assert sum(part.count for part in parts) + sum(aside.amount for aside in asides) == -off
    if off:
        within = abs(off) * 2**24 <= additions * max(total, total + off)
        named = [*(part.op for part in parts), *(aside.name for aside in asides)]
        assert ["rounding" if within else "unattributed"] == named


def test_the_schema_file_is_the_schema() -> None:
    """The file in the package is what people will find; it must not go stale."""
    path = Path(flopledger.reports.documents.run.__file__).with_name("run.schema.json")
    if not path.exists():
        pytest.skip("no run.schema.json in the package yet")
    assert json.loads(path.read_text()) == schema()


def test_the_document_has_the_keys_of_the_design_page() -> None:
    """Names in run.json are a promise: additions are welcome, renames are not."""
    d = json.loads(DOCUMENT)
    for found, keys in (
        (d, "format flopledger created environment model ledger tallies asked"),
        (d["environment"], "python torch platform"),
        (d["model"], "spec inputs params device"),
        (d["ledger"], "totals entries"),
        (d["ledger"]["entries"][0], "site op aten phase calls"),
        (d["ledger"]["entries"][0]["calls"][0], "quantities times"),
        (d["tallies"][0], "counter distribution version release status unit total params parts claims rows verified "
                          "granularity asides shims uncounted warnings seconds reason"),
        (d["tallies"][0]["parts"][0], "site op count"),
        (d["tallies"][0]["claims"][0], "formula because source when"),
        (d["tallies"][0]["verified"], "sites agree"),
    ):  # fmt: skip
        assert set(keys.split()) <= found.keys()
    assert d["format"] == 3


def test_a_counter_without_a_number_is_in_the_document_but_in_no_pair() -> None:
    """`unavailable` is an answer; it must be kept, and nothing subtracted from it."""
    run = decode(DOCUMENT)
    assert [t.name for t in run.tallies] == ["mini", "other", "gone==1.2"]
    assert [t.name for t in run.counted()] == ["mini", "other"]
    assert [(r.left, r.right) for r in run.pairs()] == [("mini", "other")]
    assert run.between("mini", "other").difference == -run.between("other", "mini").difference
    with pytest.raises(KeyError, match="not both counted"):
        run.between("mini", "gone==1.2")


def refused(data: bytes) -> str:
    with pytest.raises(RunError) as caught:
        decode(data)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


@given(st.integers(0, len(DOCUMENT.rstrip()) - 1))
def test_a_document_cut_off_anywhere_is_refused(length: int) -> None:
    """A copy that broke off must be recognised wherever it broke."""
    assert "not whole JSON" in refused(DOCUMENT[:length])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xfe", b"not json", b"[1, 2", b"{", b'{"format": 3'])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    """The wrong file was named; the reader must learn that it is not JSON at all."""
    assert "not whole JSON" in refused(data)


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"format":' * 200_000], ids=["lists", "objects"])
def test_json_that_is_nested_without_end_is_refused(data: bytes) -> None:
    """A hostile file may not end in a RecursionError."""
    refused(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b"{}", b'{"formt": 1}', b'"run"'])
def test_json_that_is_no_document_is_refused(data: bytes) -> None:
    """A package.json is JSON as well."""
    assert "not a run document" in refused(data)


@pytest.mark.parametrize("other", [0, 1, 2, 4, "3", None, [1], {"a": "b\nc"}, -1])
def test_another_format_is_refused_with_both_numbers(other: Any) -> None:
    """A newer file needs a newer flopledger: the line says which format there is and which is read."""
    text = refused(json.dumps({**json.loads(DOCUMENT), "format": other}).encode())
    assert "format 3" in text
    if isinstance(other, int):
        assert f"format {other}" in text


def tampered(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The document with a change, and a digest that fits it: the sums have to find it."""
    document = json.loads(DOCUMENT)
    change(document)
    del document["digest"]
    return json.dumps({**document, "digest": digest(document)}).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("ledger"),
        lambda d: d["tallies"][0].pop("unit"),
        lambda d: d["tallies"][0].update(total=1.5),
        lambda d: d["tallies"][0].update(status="great"),
        lambda d: d["tallies"].append(None),
        lambda d: d["ledger"]["entries"][0]["calls"][0]["quantities"].update(macs="many"),
        lambda d: d["tallies"][0].update(rows={}),
        lambda d: d.update(format=True),
    ],
)
def test_another_shape_is_refused_with_its_place(change: Callable[[dict[str, Any]], Any]) -> None:
    """A document edited by hand is refused with the place that is wrong."""
    assert "format" in refused(tampered(change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d["tallies"][0].update(total=301), id="total"),
        pytest.param(lambda d: d["tallies"][0].update(total=None), id="no total"),
        pytest.param(lambda d: d["tallies"][0]["parts"][0].update(count=99), id="part"),
        pytest.param(lambda d: d["tallies"][0]["parts"].pop(), id="part gone"),
        pytest.param(lambda d: d["tallies"][0]["rows"].pop(), id="row gone"),
        pytest.param(lambda d: d["tallies"][0]["rows"][0].__setitem__(1, 99), id="row's amount"),
        pytest.param(lambda d: d["tallies"][0]["rows"][0].__setitem__(0, 9), id="row's rule"),
        pytest.param(lambda d: d["tallies"][0]["rows"][0].__setitem__(0, -1), id="row's rule from behind"),
        pytest.param(lambda d: d["tallies"][1]["failures"].pop(), id="failure gone"),
        pytest.param(lambda d: d["tallies"][1]["failures"][0].update(reported=420), id="failure's amount"),
        pytest.param(
            lambda d: (d["tallies"][0]["rows"][0].__setitem__(1, 99), d["tallies"][0]["rows"][1].__setitem__(1, 201)),
            id="two rows that cancel",
        ),
        pytest.param(lambda d: d["ledger"]["totals"].update(macs=1), id="ledger total"),
        pytest.param(
            lambda d: (d["tallies"][0].update(total=400), d["tallies"][0]["parts"][0].update(count=200)),
            id="total and part alike",
        ),
        pytest.param(lambda d: d["tallies"].append(d["tallies"][0]), id="tally twice"),
    ],
)
def test_sums_that_do_not_hold_are_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    """A number changed by hand or by a bug must not become a page that claims to add up."""
    refused(tampered(change))


def test_exact_beyond_floats() -> None:
    """Counts above 2⁵³ must come back to the digit; what is above 2⁶² is a fault of somebody's, and not written."""

    def run(macs: int) -> Run:
        site = Entry(site="a", op="conv", aten="aten.c", calls=calls(macs=macs))
        ledger = Ledger(model="m", inputs=["1"], params=1, entries=[site])
        return assembled(ledger, (tally("l", [Part("a", None, macs)]), MACS), (tally("r", [Part("a", None, 1)]), MACS))

    assert 2**61 + 1 == decode(encode(run(2**61 + 1))).tallies[0].total
    with pytest.raises(RunError, match=r"beyond 2\*\*62 is no amount \(ledger"):
        run(2**62 + 1)


def test_a_convention_that_charges_more_than_a_document_holds_claims_nothing() -> None:
    """A product too many in a rule must not take the other counters' numbers away."""
    wild = Convention("w", (rule("conv", "macs·macs·macs·macs·macs·macs·macs·macs·macs·macs", "a slip", "lib.py:1"),))
    run = decode(encode(assembled(LEDGER, (tally("mini", TRUE), wild), (tally("other", TRUE), MACS))))
    assert [1, 0] == [len(tally.failures) // 2 for tally in run.tallies]
    assert 300 == run.between("mini", "other").residual


def test_an_aside_that_nothing_bears_out_is_in_the_residual() -> None:
    """A counter that loses a million, and calls it rounding, does not agree; nor one with a name of its own for it.

    Of what is no rounding one for each call is believed: the model of this ledger makes five.
    """
    small = align(tally("mini", TRUE, asides=[Aside("sizes", 5, "products of sizes")]), MACS, LEDGER)
    assert ([], small.sites) == (small.failures, small.agree)
    other = align(tally("other", TRUE), MACS, LEDGER)
    for name, amount in (("rounding", 1_000_000), ("rounding", -1), ("sizes", 6)):
        aside = Aside(name, amount, "it says so")
        side = align(tally("mini", TRUE, asides=[aside]), MACS, LEDGER)
        assert ([], [amount]) == (side.asides, [failure.unexplained for failure in side.failures])
        assert side.agree < side.sites
        assert amount == reconcile(side, other, LEDGER.rows()).residual
        assert [
            f"{amount:+,} of its total is {name} (it says so), it says, and nothing bears that out"
        ] == side.warnings
        with pytest.raises(RunError, match=r"can be no rounding|parts of mini do not sum"):
            run = assembled(LEDGER, (tally("mini", TRUE), MACS))
            claimed = replace(run.tallies[0], asides=[aside], total=300 + amount)
            check(replace(run, tallies=[claimed]))
