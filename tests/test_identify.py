"""Which convention printed a number: reading it, what prints it, in what order, and what is said where nothing does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from flopledger.counters import registry
from flopledger.counters.convention import charged
from flopledger.counters.engine import adapters, kept
from flopledger.counters.engine.job import Answer
from flopledger.counters.tally import Count, Part
from flopledger.reference_model.running import trace
from flopledger.reference_model.subject import Spec, split
from flopledger.reports.command.main import app
from flopledger.reports.identify import departures, search, words
from flopledger.reports.identify.candidates import Departure
from flopledger.reports.identify.forms import SWITCHES, Form
from flopledger.reports.identify.number import NumberError, parse
from flopledger.reports.identify.published import Claim, collected, explain, together, torchvisions
from flopledger.reports.identify.releases import Epoch, Span, epochs, joined
from flopledger.reports.identify.same import same
from flopledger.reports.identify.search import Identified, Scales, identify
from flopledger.reports.identify.tallies import measured
from flopledger.reports.identify.weighing import Total, Weighed, weighed
from flopledger.reports.pages.markdown import escape


@pytest.mark.parametrize(
    ("text", "low", "high", "unit"),
    [
        ("4.36G", 4_355_000_000, 4_365_000_000, None),
        ("8.7 GFLOPs", 8_650_000_000, 8_750_000_000, "FLOP"),
        ("314M", 313_500_000, 314_500_000, None),
        ("1,034,246,688", 1_034_246_688, 1_034_246_688, None),
        ("1 034 246 688", 1_034_246_688, 1_034_246_688, None),
        ("0.39B", 385_000_000, 395_000_000, None),
        ("0.32 GMac", 315_000_000, 325_000_000, "MAC"),
        ("4.1 × 10⁹ FLOPS", 4_050_000_000, 4_150_000_000, "FLOP"),
        ("600 MAdds", 600, 600, "MAC"),
        ("600 MMAdds", 599_500_000, 600_500_000, "MAC"),
        ("4Gi", Fraction(7, 2) * 2**30, Fraction(9, 2) * 2**30, None),
    ],
)
def test_a_number_is_the_values_that_print_so(text: str, low: Fraction, high: Fraction, unit: str | None) -> None:
    """A wrong interval would find what did not print the number, or miss what did."""
    printed = parse(text)
    assert (printed.readings[0].low, printed.readings[0].high, printed.unit) == (low, high, unit)


def test_digits_may_be_cut_off_and_thousands_1024() -> None:
    """Both are habits of libraries; they are read as costlier ones, after rounding and 1000."""
    rounded, cut, binary = parse("1.080G").readings
    assert not rounded.holds(1_080_512_576)
    assert cut.cut and cut.holds(1_080_512_576)
    assert not cut.holds(1_081_000_000)
    assert binary.thousand == 1024 and binary.holds(Fraction(1080, 1000) * 2**30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abc", "is no number"),
        ("", "is no number"),
        ("nan", "is no number"),
        ("-4G", "is no number"),
        ("4.1.2", "is no number"),
        ("0", "is not above 0"),
        ("4.1 4.2", "more than one number"),
        ("4.1G/8.2G", "more than one number"),
        ("4,36G", "if 4,36 is 4.36"),
        ("4.1 GB", "is a size in bytes"),
        ("4.1 MiB", "is a size in bytes"),
        ("4.1 GFLOPS/s", "is a rate"),
        ("312 TFLOPps", "is a rate"),
        ("25.6M params", "none of operations"),
    ],
)
def test_bad_numbers_are_one_clear_line(text: str, said: str) -> None:
    """Whoever types one is told what is wrong with it and what would be right."""
    with pytest.raises(NumberError) as caught:
        parse(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


class Here(Scales):
    """Traces in this process, and only these; any other subject is one that cannot be built."""

    def __init__(self, *known: Spec):
        super().__init__()
        self.known = {spec: _weighed(spec) for spec in known}

    def weigh(self, specs: Iterable[Spec], real: bool = True) -> dict[Spec, Weighed]:
        return {spec: self.known[spec] for spec in specs if spec in self.known}


EPOCHS: list[Epoch] = []


def _weighed(spec: Spec) -> Weighed:
    EPOCHS[:] = EPOCHS or epochs()
    return weighed(trace(*spec.build("meta"), name=spec.model, mode=spec.mode), EPOCHS)


@pytest.fixture(scope="module")
def here() -> Here:
    return Here(Spec.parse("mobilenet_v2"), Spec.parse("mobilenet_v2?pooling=mean"))


def _asked(number: str, here: Here) -> Identified:
    return identify(parse(number), Spec.parse("mobilenet_v2"), here)


class Tracing(Here):
    """Traces whatever is asked for, and remembers what was."""

    def weigh(self, specs: Iterable[Spec], real: bool = True) -> dict[Spec, Weighed]:
        wanted = [*specs]
        self.known.update({spec: _weighed(spec) for spec in wanted if spec not in self.known})
        return super().weigh(wanted, real)


def test_a_variant_at_another_input_is_found_among_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six widths at ten inputs are sixty networks, which nobody waits for: what comes nearest is known beforehand."""
    monkeypatch.setattr(departures, "WIDTHS", (0.25, 0.5, 1.4))
    monkeypatch.setattr(departures, "SIDES", (224, 288, 320, 512))
    monkeypatch.setattr(search, "NEAREST", 2)
    half = Spec.parse("mobilenet_v2?width_mult=0.5", ["1x3x320x320"])
    here = Tracing(half)
    found = identify(parse(f"{here.known[half].macs / 1e6:.1f}M"), Spec.parse("mobilenet_v2"), here)
    best = next(each for each in found.found if each.form)
    assert (best.model, best.inputs, best.departure.said) == (
        half.model, ["1x3x320x320"], ("0.5 times as wide", "at 320×320"),
    )  # fmt: skip
    both = [spec for spec in here.known if "width" in spec.model and spec.inputs != ("1x3x416x416",)]
    assert len(both) <= search.NEAREST and half in both


def test_a_total_that_is_far_from_the_macs_is_worth_no_trace(here: Here) -> None:
    """Old torchinfo makes 47 times the MACs of a network: what it might make at other inputs explains anything."""
    given = here.known[Spec.parse("mobilenet_v2")]
    far = Total(counter="x", unit="MAC", device="cpu", spans=[], version=None, current=False,
                value=50 * given.macs, shares=[])  # fmt: skip
    given = msgspec.structs.replace(given, totals=[far])
    other = departures.Subject(Spec.parse("mobilenet_v2", ["1x3x320x320"]), Departure(), (Fraction(1, 2), Fraction(1)))
    number = parse(f"{35 * given.macs}")
    assert not departures.plausible(number, given, other)
    assert departures.plausible(number, given, other, every=True)
    assert departures.plausible(parse(f"{given.macs * 3 // 4}"), given, other)


@pytest.mark.parametrize("number", ["1.080G", "1080294976"])
def test_the_article_had_another_pooling(here: Here, number: str) -> None:
    """The number this project began with: a release of thop printed it, of a network whose pooling is no module."""
    found = _asked(number, here)
    thop = next(each for each in found.found if each.total and each.total.counter == "thop")
    assert thop.total is not None
    assert (thop.value, thop.model) == (1_080_294_976, "mobilenet_v2?pooling=mean")
    assert "not a module" in words.sentence(thop)
    assert {(share.op, share.amount) for share in thop.parts} >= {("batch_norm", 2 * 23_032_672)}
    four = "0.0.5.post2206102148"  # from which on a norm costs four; without a list, `last` is that before which
    assert not any(four in (span.first, span.last if span.count else "") for span in thop.total.spans)


def test_what_assumes_least_comes_first(here: Here) -> None:
    """An installed counter that gives every digit assumes nothing; a sum that nobody is known to make, something."""
    first, second = _asked("1.034246688G", here).found[:2]
    assert first.total is not None and first.total.counter == "torchsummaryX" and first.cost == 0
    assert second.form == Form("MAC", ("norm weights",)) and second.cost > 0


def test_nothing_prints_it(here: Here) -> None:
    """Then what comes nearest from both sides is said, and which part with a name makes up for the rest."""
    near = _asked("1,060,000,001", here).near
    assert {each.gap > 0 for each in near} == {True, False}
    found = _asked(str(1_126_577_920 + 37_380_096), here)  # today's thop, and the first convolution once more
    made_up = next(each for each in found.near if each.candidate.total and each.candidate.total.counter == "thop")
    assert made_up.part is not None and made_up.part.exactly and made_up.part.amount == 37_380_096
    assert "exactly adding all of features.0, 37,380,096" in words.near(made_up, found)


def test_every_switch_is_an_amount_of_the_ledger(here: Here) -> None:
    """A form adds up its parts and nothing else, in MACs as in FLOPs."""
    mine = here.known[Spec.parse("mobilenet_v2")]
    assert Form("MAC").of(mine) == 1_034_229_632
    assert Form("FLOP", ("biases",)).of(mine) == 2 * 1_034_229_632 + 1_000
    assert Form("MAC", ("no head", "norms 4")).of(mine) == 1_032_949_632 + 4 * 23_032_672
    assert {switch.name for switch in SWITCHES if switch.amount(mine)} >= {"biases", "activations", "pools", "no head"}


def test_conventions_asked_together_charge_as_alone() -> None:
    """Releases share rules, which are asked once about a call: that must not change what one charges."""
    ledger = trace(*Spec.parse("mobilenet_v2?width_mult=0.35", ["2x3x32x32"]).build("meta"))
    several = [
        registry.claimed("thop", version) for version in ("0.0.31.post2005241907", None, "0.0.23.post1907171426")
    ]
    assert charged(several, ledger) == [each.charges(ledger) for each in several]


def test_releases_one_after_the_other_are_one_span() -> None:
    """Three conventions that make the same of a model are one row, with its first and last release."""
    spans = [Span("3", "4", 2, 1), Span("1", "2", 2, 0), Span("9", "9", 1, 5)]
    assert joined(spans) == [Span("1", "4", 4, 1), Span("9", "9", 1, 5)]
    assert [words.span(each) for each in joined(spans)] == ["1 to 4 (4 releases)", "9"]


def test_without_a_list_of_releases_the_rules_say_where_they_changed(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Nobody is asked for a list: an old release is found by the version with which its rules ended."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path))
    found = epochs(["thop", "torch"])
    assert [each.span.first for each in found if each.counter == "thop"][-1] == "0.1.0.post2207010342"
    assert words.span(found[0].span) == f"before {registry.changes('thop')[0]}"
    assert [each.current for each in found if each.counter == "torch"] == [True]


def test_another_model_under_the_same_convention(here: Here) -> None:
    """A row for the same table must be of the same counter, release and input, not of today's."""
    thop = next(each for each in _asked("1080294976", here).found if each.total and each.total.counter == "thop")
    (mine,) = same(thop, "mobilenet_v2", here)
    assert (mine.value, mine.inputs, words.who(mine)) == (1_080_512_576, ["1x3x416x416"], words.who(thop))
    (form,) = same(_asked("1034229632", here).found[0], "mobilenet_v2?pooling=mean", here)
    assert (form.value, form.model) == (1_034_229_632, "mobilenet_v2?pooling=mean")
    table, said = words.side_by_side(thop, [mine])
    assert "1,080,512,576 MACs" in str(said) and len(table.rows) == 2  # type: ignore[union-attr]


def test_a_kept_tally_says_what_was_really_printed(here: Here, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """By formula is a claim; where the library was run on this subject, its own number is shown, also if it differs."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path))
    first = _asked("1.034246688G", here).found[0]
    assert words.evidence(first) == "by formula"
    spec, adapter = Spec.parse("mobilenet_v2"), adapters.about("torchsummaryX")
    for total, said in ((1_034_246_688, "measured"), (5, "by formula; 1.3.0 printed 5")):
        answer = Answer(status="counted", count=Count(total=total, parts=[Part("", "conv", total)]))
        assert kept.file("torchsummaryX", kept.Keys().count(adapter, None, spec) or "", "cpu", answer) is None
        assert words.evidence(measured([first], spec)[0]) == said


def test_every_published_row_can_be_read() -> None:
    """A row whose number is none, whose model is misspelt or whose convention has no such part explains nothing."""
    groups = collected()
    forms = {switch.name for switch in SWITCHES} | set(registry.TABLE)
    assert len(groups) > 40
    for group in groups:
        assert len(group.claims) == 1 or group.why or len({claim.number for claim in group.claims}) > 1
        for claim in group.claims:
            assert parse(claim.number).value > 1e8 and claim.label and re.search("[@#]|paper", claim.source)
            assert set(filter(None, claim.form.split(", "))) <= forms
            assert split(claim.spec)[1] and claim.input


def test_the_page_of_published_numbers_has_every_row() -> None:
    """docs/published.md is what `flopledger published --format markdown` said: a row that came or went is missed."""
    page = (Path(__file__).parent.parent / "docs/published.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and " --- " not in line][1:]
    claims = [claim for group in together([*collected(), *torchvisions()]) for claim in group.claims]
    assert len(rows) == len(claims) > 200
    for row, claim in zip(rows, claims, strict=True):
        assert row.startswith(f"| {escape(claim.spec)} |") and f" {escape(claim.number)} |" in row
        assert "unexplained: |" not in row


def test_a_published_number_is_explained_or_has_a_reason(here: Here) -> None:
    """Few digits fit anything: what assumes much explains every digit or none."""
    common = {"name": "x", "spec": "mobilenet_v2", "input": "1x3x416x416", "label": "", "source": ""}
    best = explain(Claim(**common, number="1.127G"), here).best
    assert best is not None and best.total is not None and best.total.counter == "thop"
    nothing = explain(Claim(**common, number="9.99G", unexplained="the input is missing"), here)
    assert (nothing.best, nothing.reason) == (None, "the input is missing")


def test_bad_input_ends_with_status_2() -> None:
    """A file's model without `-i` and a rate are found before anything is counted."""
    for arguments, said in [
        (["4.1 GFLOP/s"], "is a rate"),
        (["4.1G", "8.2G"], "are two numbers"),
        (["8.7", "GFLOPs"], "write '8.7 GFLOPs' in quotation marks"),
        (["4.1G", "torch.nn:Linear"], "nothing says what goes into"),
        (["4.1G", "resnet5"], "no model"),
    ]:
        result = CliRunner().invoke(app, ["identify", *arguments])
        assert result.exit_code == 2 and said in result.output


def test_a_detector_is_not_tried_at_sizes_that_it_scales_away() -> None:
    """It works on real tensors, for seconds, and torchvision's scale every image to one size: it would be the same."""
    own = Spec("torchvision:maskrcnn_resnet50_fpn", ("[3x800x800]",))
    assert departures._at_side(own, 640) is None
    assert departures._at_side(Spec("nets.py:make", own.inputs), 640) == ("[3x640x640]",)
