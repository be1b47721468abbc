"""Many models, many counters, one table: what it says, in every format, and how it comes by it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from sample_run import HOSTILE
from test_cli import COMMAND, WITHOUT_TORCH

from flopledger.counters.engine import supervisor
from flopledger.counters.engine.job import LEDGER, Answer, Job
from flopledger.reference_model import zoo
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import ON_REAL
from flopledger.reports import dimensions
from flopledger.reports.command.main import app
from flopledger.reports.coverage import Seen
from flopledger.reports.dimensions import Sweep, resized
from flopledger.reports.documents.table import Cell, Head, Row, Table
from flopledger.reports.pages import table_files, table_page
from flopledger.reports.pages.blocks import Note
from flopledger.reports.pages.blocks import Table as Grid
from flopledger.reports.scale import Unit, shown
from flopledger.reports.subjects import listed, subjects
from flopledger.reports.table import Tabulated, table

CLIP = ("input_ids=2x77:int64[0:99]", "pixel_values=2x3x224x224", "attention_mask=2x77:int64=1")
TEXT = ("input_ids=2x128:int64[0:99]", "attention_mask=2x128:bool=1", "labels=2x64:int64")
DETECTOR = ("[3x600x800, 3x300x400]",)


def cell(counter: str, unit: str = "MAC", **more: Any) -> Cell:
    return Cell(counter=counter, version="1.0", unit=unit, **{"status": "counted", **more})


def head(macs: int = 3_000_000_000, inputs: tuple[str, ...] = ("1x3x8x10",), **more: Any) -> Head:
    return Head(macs=macs, params=1_000_000, inputs=list(inputs), device="meta", **more)


SEEN = Seen(3_000_000_000, 3_000_000_000)
ROWS = [
    Row(name="whole", model="a:whole", mode="eval", ledger=head(),
        cells=[cell("one", total=3_000_000_001, seen=SEEN), cell("two", "FLOP", total=6_000_000_001, seen=SEEN)]),
    Row(name="partly", model="a:partly", mode="eval", ledger=head(unpriced={"lib.op": 2}),
        cells=[cell("one", total=2_000_000_000, seen=Seen(2_000_000_000, 3_000_000_000, 500_000_000, True), failing=2,
                    places=9, unexplained=-5),
               cell("two", "FLOP", status="timeout", reason="gave no answer within 3 s")]),
    Row(name="broken", model="a:broken", mode="eval", ledger=None, cells=[], reason="it rejects 1x3x8x10"),
]  # fmt: skip
TABLE = Table(flopledger="0.1.0", counters=["one", "two"], asked=False, rows=ROWS)


# --- what a table says ------------------------------------------------------------------------------


def test_every_cell_is_a_number_or_says_why_it_is_none() -> None:
    """A reader takes a number as it stands; what must not be taken so has a mark and a sentence."""
    grid, notes = table_page.drawn(TABLE)
    assert ["model", "parameters", "ledger (MAC)", "one (MAC)", "two (FLOP)"] == [c.heading for c in grid.columns]
    assert [
        ["whole", "1,000,000", "3,000,000,000", "3,000,000,001", "6,000,000,001"],
        ["partly", "1,000,000", "at least 3,000,000,000¹", "2,000,000,000 (66.6 % or more)²", "–³"],
        ["broken", "–", "–⁴", "–", "–"],
    ] == [list(row) for row in grid.rows]
    assert notes[0].startswith("¹ partly: lib.op (2 calls) may hold arithmetic and has no formula")
    assert notes[1:] == [
        "² one, partly: its stated formulas do not give what it reported at 2 of 9 places, −5 in all",
        "³ two is timeout: gave no answer within 3 s",
        "⁴ broken: it rejects 1x3x8x10",
    ]


def test_what_was_traced_on_real_tensors_is_marked() -> None:
    """Another image has other detections, and another number."""
    note = f"{ON_REAL}: on the meta device the model says 'no'"
    grid, notes = table_page.drawn(replace(TABLE, rows=[replace(ROWS[0], ledger=head(notes=["a note", note]))]))
    assert "3,000,000,000¹" == grid.rows[0][2]
    assert [f"¹ whole: {note}, so other data may give another number"] == notes


@pytest.mark.parametrize(("changed", "wrong"), [
    ({"rows": ROWS[:1]}, False),
    ({"rows": [ROWS[0], ROWS[2]]}, True),
    ({"rows": [replace(ROWS[0], ledger=head(unpriced={"lib.op": 1}))]}, True),
    ({"rows": [replace(ROWS[0], cells=[cell("one", total=1, failing=1, places=2), ROWS[0].cells[1]])]}, True),
    ({"rows": [replace(ROWS[0], cells=[ROWS[0].cells[0], ROWS[1].cells[1]])]}, False),
    ({"rows": [replace(ROWS[0], cells=[ROWS[0].cells[0], ROWS[1].cells[1]])], "asked": True}, True),
    ({"rows": [replace(ROWS[0], cells=[ROWS[1].cells[1]])]}, True),
    ({"rows": ROWS[:1], "per": "token"}, True),
    ({"rows": ROWS[:1], "per": "pixel"}, False),
])  # fmt: skip
def test_what_makes_a_table_wrong(changed: dict[str, Any], wrong: bool) -> None:
    """The exit status says it: no ledger, no formula, failing rules, no number where one was asked for."""
    assert wrong == replace(TABLE, **changed).wrong


def test_units_are_exact_until_they_are_shown() -> None:
    """An odd number of FLOPs is half a MAC more; it is neither dropped nor rounded into another total."""
    odd = Unit.parse("MAC").of(6_000_000_001, "FLOP")
    assert Fraction(6_000_000_001, 2) == odd
    grid, _ = table_page.drawn(replace(TABLE, rows=ROWS[:1], unit="MAC"))
    assert ["3,000,000,000", "3,000,000,001", "3,000,000,000"] == list(grid.rows[0])[2:]
    record = replace(TABLE, rows=ROWS[:1], unit="MAC").records()[0]
    assert 3_000_000_000.5 == record["two"]
    grid, _ = table_page.drawn(replace(TABLE, rows=ROWS[:1], unit="GFLOP", per="pixel"))
    assert ["0.075", "0.075", "0.075"] == [text.rstrip("0") for text in list(grid.rows[0])[2:]]
    assert Unit.parse("MAC").of(5, "byte") is None


@pytest.mark.parametrize(("value", "text"), [
    (Fraction(4_089_184_256, 10**9), "4.089"), (Fraction(1, 3), "0.3333"), (Fraction(12_345_678, 10), "1,234,568"),
    (Fraction(99_996, 10**4), "10.00"), (Fraction(-5, 2), "−2.500"), (Fraction(0), "0"),
    (Fraction(1, 10**6), "0.000001000"),
])  # fmt: skip
def test_a_rounded_number_has_four_digits_and_no_exponent(value: Fraction, text: str) -> None:
    """What a table of a paper has; 9.9996 is 10.00 and not 9.999."""
    assert text == shown(value, exact=False)


@pytest.mark.parametrize(("text", "unit"), [
    ("GMAC", "GMAC"), ("gmacs", None), ("TFLOPs", "TFLOP"), ("K MACs", "kMAC"), ("mac", "MAC"), ("GHz", None),
    ("", None),
])  # fmt: skip
def test_units_are_read_as_people_write_them(text: str, unit: str | None) -> None:
    """`m` and `g` are other prefixes than `M` and `G`, so they are refused and not guessed at."""
    if unit is None:
        with pytest.raises(ValueError, match="there is MAC and FLOP"):
            Unit.parse(text)
    else:
        assert unit == str(Unit.parse(text))


# --- formats ------------------------------------------------------------------------------------------


def hostile() -> Table:
    """Names and reasons that try to break out of a table."""
    rows = [replace(row, name=name, reason=name) for name in HOSTILE for row in (ROWS[1], ROWS[2])]
    return replace(TABLE, rows=rows, counters=["one", "two"])


def test_csv_can_be_read_again() -> None:
    """Whoever opens it has the exact numbers, one line per model, and no formula that a spreadsheet would run."""
    rows = list(csv.DictReader(io.StringIO(table_page.to_csv(TABLE))))
    assert ["3000000001", "2000000000", ""] == [row["one"] for row in rows]
    assert ["3000000000", "", ""] == [row["macs"] for row in rows]
    assert "3000000000" == rows[1]["macs at least"]
    assert "timeout: gave no answer within 3 s" == rows[1]["two status"]
    assert len(hostile().rows) == len(list(csv.reader(io.StringIO(table_page.to_csv(hostile()))))) - 1
    odd = replace(TABLE, rows=[replace(ROWS[0], name="=1+1")])
    assert "'=1+1" == next(csv.DictReader(io.StringIO(table_page.to_csv(odd))))["name"]


def test_latex_has_as_many_cells_as_columns() -> None:
    """A row too many or a sign too many and the paper does not compile."""
    lines = table_files.to_latex(hostile()).splitlines()
    columns = re.match(r"\\begin\{tabular\}\{(\w+)\}", lines[1])
    assert columns and "\\toprule" == lines[2] and "\\bottomrule" in lines
    body = [line for line in lines if line.endswith(r" \\")]
    assert len(hostile().rows) + 1 == len(body)
    for line in body:
        assert len(columns[1]) == len(re.findall(r"(?<!\\)&", line)) + 1
    assert not re.search(r"(?<!\\)[%#_]", "\n".join(lines[1:]))
    assert r"\textsuperscript{1}" in table_files.to_latex(TABLE)


def test_pages_hold_what_names_want_to_break_out_of() -> None:
    """A model is named by a file of somebody's."""
    page = table_files.to_html(hostile())
    assert "<script" not in page and "<img" not in page
    text = table_files.to_markdown(hostile())
    body = [line for line in text.splitlines() if line.startswith("|")]
    assert len(hostile().rows) + 2 == len(body)
    assert {5} == {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in body}


def test_json_has_the_exact_numbers_and_what_is_shown() -> None:
    """Who asks for `macs` where something is unpriced must not be given a number."""
    plain = json.loads(table_files.to_json(replace(TABLE, unit="GMAC")))
    assert 6_000_000_001 == plain["rows"][0]["cells"][1]["total"]
    assert 3.0000000005 == plain["rows"][0]["shown"]["two"]
    assert None is plain["rows"][1]["shown"]["macs"]
    assert 3 == plain["rows"][1]["shown"]["macs at least"]


def test_a_frame_keeps_whole_numbers_whole() -> None:
    """A total beyond 2**53 would lose its last digits as a float."""
    large = replace(ROWS[0], cells=[cell("one", total=2**60 + 1), ROWS[0].cells[1]])
    frame = Tabulated(replace(TABLE, rows=[large, *ROWS[1:]])).frame()
    assert 2**60 + 1 == frame.loc["whole", "one"]
    assert [1.0, 2 / 3] == [1.0, frame.loc["partly", "one seen"]]
    assert frame.loc["broken", ["one", "two", "macs"]].isna().all()


def test_a_notebook_shows_the_table_and_its_notes() -> None:
    """Whoever ends a cell with it wants to see numbers, and what is wrong with them; in a prompt one line."""
    found = Tabulated(TABLE)
    assert "<Tabulated 2 of 3 rows have a ledger; 2 counters>" == repr(found)
    page = found._repr_html_()
    assert "3,000,000,001" in page and "at least 3,000,000,000¹" in page and "it rejects 1x3x8x10" in page
    assert "<script" not in Tabulated(hostile())._repr_html_()


def test_a_file_is_written_by_its_ending(tmp_path: Path) -> None:
    """One table, many places where it goes."""
    found = Tabulated(TABLE)
    for ending in (".csv", ".json", ".md", ".html", ".tex"):
        found.save(tmp_path / f"t{ending}")
        assert (tmp_path / f"t{ending}").read_text() == found.text(ending)
    for ending, why in ((".xls", "no table is written as"), (".svg", "chart of a sweep only")):
        with pytest.raises(ValueError, match=why):
            found.save(tmp_path / f"t{ending}")


def test_the_chart_of_a_sweep_has_every_number() -> None:
    """One model: a line for the ledger and each counter; several: the ledger of each."""
    swept = [replace(ROWS[0], dimension="resolution", size=size, axes="height and width of 0") for size in (8, 16)]
    one = replace(TABLE, rows=swept)
    assert {"the ledger's MACs", "one", "two"} == {row["series"] for row in _values(one)}
    two = replace(TABLE, rows=[*swept, *(replace(row, name="other") for row in swept)])
    assert {"whole", "other"} == {row["series"] for row in _values(two)}
    assert "<svg" in table_files.to_svg(one)
    assert "resolution: height and width of 0." in table_page.legend(one)


def _values(found: Table) -> list[dict[str, Any]]:
    from flopledger.reports.pages import sweep_chart

    return list(sweep_chart.spec(found)["data"]["values"])


# --- dimensions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "samples", "tokens", "pixels"), [
    (("4x3x224x192",), 4, None, 4 * 224 * 192),
    (("2x3x16x112x112",), 2, None, 2 * 16 * 112 * 112),
    (DETECTOR, 2, None, 600 * 800 + 300 * 400),
    (TEXT, 2, 256, None),
    (CLIP, 2, 154, 2 * 224 * 224),
    (("8x100:float32",), 8, None, None),
    (("scalar:float32",), None, None, None),
    (("{image: 5x3x8x8, scale: 0.5}",), 5, None, 320),
])  # fmt: skip
def test_what_numbers_are_divided_by(
    inputs: tuple[str, ...], samples: int | None, tokens: int | None, pixels: int | None
) -> None:
    """Per token and per pixel are of the input as it is, with its batch."""
    found = dimensions.samples(inputs), dimensions.tokens(inputs), dimensions.pixels(inputs)
    assert (samples, tokens, pixels) == found


@pytest.mark.parametrize(("text", "dimension", "values"), [
    ("160,192,224", "", (160, 192, 224)), ("length=128..2048*2", "length", (128, 256, 512, 1024, 2048)),
    ("64..200+64", "", (64, 128, 192)), ("x.3=8", "x.3", (8,)), ("32,64..128+32,64", "", (32, 64, 96, 128)),
    ("batch = 1".replace(" ", ""), "batch", (1,)),
])  # fmt: skip
def test_sweeps_are_read(text: str, dimension: str, values: tuple[int, ...]) -> None:
    """Lists and ranges, of a dimension that is named or not."""
    assert Sweep(dimension, values) == Sweep.parse(text)


@pytest.mark.parametrize("text", ["", "a", "1..2", "0,1", "1..9*1", "9..1+1", "1..9+0", "depth=3", "=3", "x.y=3",
                                  "1..9999+1", "-1"])  # fmt: skip
def test_no_sweep(text: str) -> None:
    """One line that says what would be right."""
    with pytest.raises(ValueError, match=r"like|there is|names no dimension|more than|leaves nothing"):
        Sweep.parse(text)


@pytest.mark.parametrize(("inputs", "dimension", "size", "after"), [
    (("1x3x224x224",), "resolution", 160, ("1x3x160x160",)),
    (("1x3x600x800",), "resolution", 300, ("1x3x300x400",)),
    (("1x3x520x520", "1x3x520x520"), "resolution", 128, ("1x3x128x128", "1x3x128x128")),
    (("[3x800x800]",), "resolution", 320, ("[3x320x320]",)),
    (TEXT, "length", 32, ("input_ids=2x32:int64[0:99]", "attention_mask=2x32:bool=1", "labels=2x64:int64")),
    (CLIP, "batch", 1, ("input_ids=1x77:int64[0:99]", "pixel_values=1x3x224x224", "attention_mask=1x77:int64=1")),
    (CLIP, "pixel_values.3", 7, (CLIP[0], "pixel_values=2x3x224x7", CLIP[2])),
    (("x={a: 1x3x8x8, b: 4:int64}",), "x.a.3", 16, ("x={a: 1x3x8x16, b: 4:int64}",)),
])  # fmt: skip
def test_inputs_of_another_size(inputs: tuple[str, ...], dimension: str, size: int, after: tuple[str, ...]) -> None:
    """All inputs that have the dimension change, and no other."""
    assert after == resized(inputs, dimension, size)[0]


@pytest.mark.parametrize(("inputs", "text", "why"), [
    (CLIP, "8", "say length=… or resolution=…"), (("4x8",), "8", r"name a dimension of its inputs \(0.0, 0.1\)"),
    (("1x3x8x8",), "length=8", "no length"), (TEXT, "resolution=8", "no resolution"),
    (("1x3x600x800",), "resolution=301", "no whole size"), (("1x3x8x8",), "0.4=8", "there is 0.0, 0.1, 0.2, 0.3"),
    (("[3x8x8]",), "batch=2", "no axis of samples"), (("ids=1x2:int64=[5,6]",), "4", "written out"),
])  # fmt: skip
def test_a_dimension_that_inputs_do_not_have(inputs: tuple[str, ...], text: str, why: str) -> None:
    """Counting at another size than was asked for would be worse than saying no."""
    sweep = Sweep.parse(text)
    with pytest.raises(ValueError, match=why):
        resized(inputs, sweep.of(inputs), 301 if "301" in text else 8)


# --- which models -----------------------------------------------------------------------------------------


def test_models_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One spec per line, or TOML where names and inputs differ; patterns in both."""
    monkeypatch.setitem(zoo.ZOOS, "torchvision", Few())
    plain, toml = tmp_path / "models.txt", tmp_path / "models.toml"
    plain.write_text("# mine\nmobilenet_v2  # the reference\n\ntorchvision:res*\n")
    names = [subject.name for subject in subjects(listed(plain), ["1x3x8x8"], "train")]
    assert ["mobilenet_v2", "torchvision:resnet18", "torchvision:resnet50"] == names
    toml.write_text(
        "[[models]]\nname = 'Mine'\nmodel = 'mobilenet_v2'\ninputs = '2x3x8x8'\nmode = 'step'\n"
        "[[models]]\nmodel = 'torchvision:resnet18?num_classes=3'\ninputs = {x = '1x3x9x9'}\n"
        "[[models]]\nmodel = 'torchvision:*18?num_classes=3'\n"
    )
    found = subjects(listed(toml), ["1x3x8x8"], "eval")
    assert [("Mine", ("2x3x8x8",), "step"), ("torchvision:resnet18?num_classes=3", ("x=1x3x9x9",), "eval"),
            ("torchvision:resnet18?num_classes=3", ("1x3x8x8",), "eval")] == [
        (subject.name, subject.spec.inputs, subject.spec.mode) for subject in found
    ]  # fmt: skip


class Few:
    """A zoo of two models."""

    def names(self) -> list[str]:
        return ["resnet18", "resnet50"]


@pytest.mark.parametrize(("content", "why"), [
    ("# nothing\n", "names no model"), ("[[models]]\nmodle = 'a'\n", "no field 'modle'; did you mean mode, model"),
    ("[[models]]\nname = 'a'\n", "a model needs its spec"), ("models = 3\n", "names no model"),
    ("[[model]]\n", r"begins with \[\[models\]\]"), ("[[models", "cannot be read"),
    ("[[models]]\nmodel = 'mobilenet_v2'\nmode = 'fast'\n", "no mode 'fast'"),
    ("[[models]]\nmodel = 'mobilenet_v2'\ninputs = 'big'\n", "is not a shape"),
])  # fmt: skip
def test_a_file_that_names_no_models(content: str, why: str, tmp_path: Path) -> None:
    """One line that says what is wrong with it."""
    path = tmp_path / ("m.txt" if content.startswith("#") else "m.toml")
    path.write_text(content)
    with pytest.raises(ValueError, match=why):
        subjects(listed(path), None, "eval")


@pytest.mark.parametrize(("arguments", "why"), [
    (["torchvision:resnet5"], "torchvision has no model 'resnet5'; did you mean resnet50"),
    (["torchvision:what*"], "no model of torchvision is called 'what*'"), (["x.py:a*"], "no file 'x.py'"),
    (["mobile*"], "names with a star are of"), ([], "no model was named"), (["--from", "/dev/null"], "names no model"),
    (["--from", "/no/such"], "cannot read '/no/such'"), (["mobilenet_v2", "--unit", "GHz"], "no unit 'GHz'"),
    (["mobilenet_v2", "--per", "tokens"], "nothing is given per 'tokens'; did you mean token"),
    (["mobilenet_v2", "--sweep", "length=3"], "mobilenet_v2: it takes no tokens"),
    (["mobilenet_v2", "-c", "thopp"], "no counter 'thopp'; did you mean thop"),
    (["mobilenet_v2", "-o", "a.xls"], "name a file that ends in one of .csv"),
    (["mobilenet_v2", "-o", "a.svg"], "there is a chart of a sweep only"),
    (["mobilenet_v2", "-o", "/proc/nothing/a.csv"], "cannot write to /proc/nothing/a.csv"),
])  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and nothing was counted."""
    assert 2 == app(["table", *arguments], standalone_mode=False)
    said = capsys.readouterr()
    assert ("", 1) == (said.out, len(said.err.splitlines()))
    assert why in said.err


def test_what_is_no_spec_is_refused() -> None:
    """A live module without inputs has no number; and no model is no table."""
    with pytest.raises(SpecError, match=r"not of a object; a live module comes with its inputs"):
        table([object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no model was named"):
        table([])
    net = torch.nn.Linear(3, 5)
    with pytest.raises(ValueError, match="a live model needs inputs"):
        table([{"model": net}])
    for odd, why in (({"nam": "x"}, "no field 'nam'"), ({"name": 3}, "the name of a Linear is no text"),
                     ({"mode": "infer"}, "a Linear: no mode 'infer'")):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            table([{"model": net, "inputs": torch.rand(1, 3), **odd}])
    with pytest.raises(ValueError, match="a sweep is of models by name"):
        table([{"model": net, "inputs": torch.rand(1, 3)}], sweep="batch=1,2")


# --- counting --------------------------------------------------------------------------------------------


def test_live_modules_are_rows_among_others() -> None:
    """Who has a module in a notebook wants it beside the models that papers name, and it comes back as it was."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(6, 2))
    x, said = torch.rand(2, 3, 8, 8), list[str]()
    models = [
        {"model": net, "inputs": x, "name": "mine"},
        "mobilenet_v2?width_mult=0.25",
        {"model": net, "inputs": {"input": x[:1]}},
        {"model": net, "inputs": torch.rand(2, 5)},
        {"model": net},
        {"model": net, "inputs": {"input": "2x3x8x8"}},
    ]
    found = table(models, counters=["torch", "thop"], inputs=["1x3x8x8"], jobs=1, on_done=said.append)
    mine, theirs, again, bad, usual, text = found.table.rows
    assert [row.name for row in found.table.rows] == ["mine", models[1], *["Sequential"] * 4]
    assert mine.ledger is not None and again.ledger is not None and theirs.ledger is not None
    macs = 2 * (4 * 27 * 36 + 4 * 6 * 6 * 2)
    assert (mine.ledger.macs, again.ledger.macs) == (macs, macs // 2)
    assert {cell.counter: cell.total for cell in mine.cells} == {"torch": 2 * macs, "thop": macs}
    assert usual.ledger is not None and usual.ledger.inputs == ["1x3x8x8"]
    assert text.ledger is not None and text.ledger.macs == macs
    assert any("train mode" in note for note in mine.ledger.notes) and net.training
    assert bad.ledger is None and "rejects" in bad.reason and "\n" not in bad.reason
    assert "mine: thop" in said and found.frame().loc["mine", "torch"] == 2 * macs


MODELS = '''
"""Three models that are quick to count, and one that is none."""
from torch import nn

def narrow():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

def wide():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))

def broken():
    raise RuntimeError("it wants a GPU")
'''
COUNTERS = ["miniatures:Honest", "torch", "miniatures:LiesAtOneSite"]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """A cache of its own, the models beside it; the jobs that ran since somebody looked."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    jobs: list[tuple[str, str]] = []
    genuine = supervisor.run

    def noted(queue: deque[Job], **options: Any) -> Iterator[tuple[Job, Answer]]:
        for job, answer in genuine(queue, **options):
            jobs.append((job.spec.model.rpartition(":")[2], job.name))
            yield job, answer

    monkeypatch.setattr(supervisor, "run", noted)
    yield jobs


class Killed(BaseException):
    """As SIGTERM ends a command."""


def test_a_table_is_counted_once_and_goes_on_where_it_was(asked: list[tuple[str, str]], tmp_path: Path) -> None:
    """A run that was killed has lost what was not answered yet; one that is made again needs no torch."""
    models = [f"models.py:{name}" for name in ("narrow", "wide", "broken")]
    done: list[str] = []

    def until_the_third(what: str) -> None:
        done.append(what)
        if len(done) == 3:
            raise Killed

    with pytest.raises(Killed):
        table(models, counters=COUNTERS, inputs=["2x3x8x8"], jobs=1, on_done=until_the_third)
    before = {(job.rpartition(":")[2], name) for job, name in asked}
    asked.clear()
    found = table(models, counters=COUNTERS, inputs=["2x3x8x8"]).table
    # Whoever had answered is not asked again; only a model that cannot be built is tried again.
    assert not before & set(asked)
    names = [LEDGER, *COUNTERS]
    assert {(m, n) for m in ("narrow", "wide") for n in names} <= before | set(asked)
    narrow, wide, broken = found.rows
    assert [2 * 4 * 36 * 27, 2 * 8 * 36 * 27] == [row.ledger and row.ledger.macs for row in (narrow, wide)]
    assert [2 * 4 * 36, 4 * 4 * 36 * 27, 2 * 4 * 36 + 5] == [cell.total for cell in narrow.cells]
    assert [0, 0, 1] == [cell.failing for cell in wide.cells]
    assert [Fraction(1, 27), 1] == [cell.seen and cell.seen.share for cell in narrow.cells[:2]]
    assert "it wants a GPU" in broken.reason and not broken.cells
    assert found.wrong
    asked.clear()
    again = table(models[:2], counters=COUNTERS, inputs=["2x3x8x8"])
    assert [] == asked and [narrow, wide] == again.table.rows
    whole = [*models[:2], "-c", "torch", "-i", "2x3x8x8", "--format", "csv"]
    alone = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, "table", *whole], capture_output=True, text=True)
    assert (0, "") == (alone.returncode, alone.stderr)
    assert table(models[:2], counters=["torch"], inputs=["2x3x8x8"]).text(".csv") == alone.stdout
    (tmp_path / "models.py").write_text(MODELS.replace("(3, 4,", "(3, 5,"))
    changed = table(models[:1], counters=COUNTERS, inputs=["2x3x8x8"]).table.rows[0]
    assert changed.ledger and 2 * 5 * 36 * 27 == changed.ledger.macs
    assert {"narrow"} == {model for model, _ in asked}


def test_a_sweep_is_of_the_inputs_that_are_the_models_own(asked: list[tuple[str, str]]) -> None:
    """MACs of a convolution without padding, by its formula, at each size; and a size that the model rejects."""
    found = table(["models.py:narrow"], counters=["torch"], inputs=["1x3x8x8"], sweep="2,4..16*2").table
    assert [2, 4, 8, 16] == [row.size for row in found.rows]
    assert [None, 4 * 27 * 2**2, 4 * 27 * 6**2, 4 * 27 * 14**2] == [
        row.ledger and row.ledger.macs for row in found.rows
    ]
    assert "rejects input 1x3x2x2" in found.rows[0].reason
    assert {"resolution"} == {row.dimension for row in found.rows}
    assert {"height and width of 0"} == {row.axes for row in found.rows}
    blocks = table_page.page(found)
    assert isinstance(blocks[0], Grid) and any(isinstance(block, Note) for block in blocks)


@pytest.mark.slow
@pytest.mark.alone
def test_fifty_models_are_there_in_two_seconds_when_they_were_counted_before(tmp_path: Path) -> None:
    """A table is looked at many times: in a paper's build, in CI."""
    kinds = ("resnet|regnet_[xy]_[1-8]|shuffle|mnas|mobile|dense|efficientnet_b[0-4]|squeeze|convnext_[ts]|swin_[ts]|"
             "vgg11|wide_resnet50|resnext50|alex|goog")  # fmt: skip
    names = [name for name in zoo.names("torchvision") if re.match(kinds, name)]
    listing = tmp_path / "fifty.txt"
    listing.write_text("\n".join(f"torchvision:{name}" for name in names[:50]))
    environment = {**os.environ, "FLOPLEDGER_CACHE": str(tmp_path / "cache")}
    command = [str(COMMAND), "table", "--from", str(listing), "-q", "--format", "csv"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True)
    rows = list(csv.DictReader(io.StringIO(first.stdout)))
    assert len(names[:50]) == len(rows) and all(row["torch"] == str(2 * int(row["macs"])) for row in rows)
    start = time.monotonic()
    second = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert first.stdout == second.stdout
    assert 2 > time.monotonic() - start
