"""Badges: what they say and when they say that it is sure, as data, as a picture and in a browser."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sample_run import (
    CONVENTIONS,
    HOSTILE,
    assembled,
    hostile_run,
    mobilenet_entries,
    sample_run,
    small_run,
    step_run,
    tally_of,
)
from typer.testing import CliRunner

from flopledger.counters.convention import rule
from flopledger.counters.tally import Part
from flopledger.reference_model.ledger import Ledger
from flopledger.reports.command.main import app
from flopledger.reports.documents.baseline import Baseline, encode, snapshot
from flopledger.reports.pages.badge import _three, badge, endpoint, svg, verified

NET = snapshot(sample_run())


def test_a_badge_says_how_much_by_which_convention_and_whether_it_is_sure() -> None:
    """A number without its convention is why this project exists."""
    assert ("FLOPs", "2.07 G · 2·MAC · verified") == badge("net", NET)[:2]
    assert ("MACs", "1.03 G · verified") == badge("net", NET, "MAC")[:2]
    assert ("net", "2.07 GFLOPs · 2·MAC · verified") == badge("net", NET, label="net")[:2]
    assert ("net", "1.03 GMACs · verified") == badge("net", NET, "MAC", "net")[:2]
    title = badge("net", NET).title
    assert title.startswith("net: 2,068,459,264 FLOPs (2 per MAC) at 1x3x416x416; verified with thop, torch_flop_c")


def test_only_counters_that_agree_everywhere_make_it_sure() -> None:
    """`verified` must be impossible to have by accident."""
    assert verified(NET)
    assert not verified(snapshot(sample_run(counters=0)))
    assert "2.07 G · 2·MAC" == badge("net", snapshot(sample_run(counters=0))).message
    odd = snapshot(sample_run(extra={"thop": (Part("pool", None, 1),)}))
    assert "2.07 G · 2·MAC" == badge("net", odd).message
    assert "not verified: formulas fail for thop" in badge("net", odd).title
    cancel = (Part("features.0.0", None, 1), Part("features.0.1", None, -1))
    assert not verified(snapshot(sample_run(extra={"thop": cancel})))


def test_a_counter_that_saw_too_little_makes_nothing_sure() -> None:
    """Formulas that hold because they charge nothing say nothing about the number."""
    ledger = Ledger(model="net", inputs=["1x3x64x64"], params=1, entries=mobilenet_entries(64))
    whole, other = CONVENTIONS[0], rule("conv", "macs", "", "")
    narrow = replace(whole, rules=(other, *whole.rules[1:]))
    seen = [snapshot(assembled(ledger, [(tally_of(each, ledger), each)])) for each in (whole, narrow)]
    assert [True, False] == [verified(each) for each in seen]
    assert "not verified: no counter saw more than 95 % of the MACs" in badge("net", seen[1]).title


def test_at_least_is_said_and_cut_off() -> None:
    """At least 1.77 M of 1,769,472 would be more than is known."""
    part = snapshot(small_run())
    assert "at least 1.76 M · 2·MAC" == badge("part", part).message
    assert "not known what mylib.op takes (1 call)" in badge("part", part).title
    assert "at least 12.9 M · 2·MAC · step" == badge("step", snapshot(step_run())).message


@pytest.mark.parametrize(
    ("n", "rounded", "cut"),
    [(0, "0 ", "0 "), (999, "999 ", "999 "), (9_994, "9.99 k", "9.99 k"), (9_995, "10.0 k", "9.99 k"),
     (999_499, "999 k", "999 k"), (999_500, "1.00 M", "999 k"), (8_178_368_512, "8.18 G", "8.17 G"),
     (4 * 10**15, "4,000 T", "4,000 T")],
)  # fmt: skip
def test_three_digits(n: int, rounded: str, cut: str) -> None:
    """The ends of a prefix are where rounding goes wrong."""
    assert (rounded, cut) == (_three(n, cut=False), _three(n, cut=True))


def test_the_endpoint_is_what_shields_reads() -> None:
    """https://shields.io/badges/endpoint-badge: these fields, the version a number, the message not empty."""
    found = json.loads(endpoint(badge("net", NET)))
    assert {"schemaVersion": 1, "label": "FLOPs", "message": "2.07 G · 2·MAC · verified"}.items() <= found.items()
    assert {"schemaVersion", "label", "message", "color"} == set(found)
    assert found["color"].startswith("#")


@pytest.mark.parametrize("name", [*HOSTILE, "".join(HOSTILE), "\ud800 \ufffe", "残差网络"])
def test_hostile_names_stay_text(name: str) -> None:
    """A badge is shown on pages of others, from a name that anyone may choose."""
    picture = svg(badge(name, snapshot(hostile_run()), label=name))
    root = ET.fromstring(picture)
    kinds = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert {"svg", "title", "clipPath", "rect", "g", "text"} == kinds
    assert not any("on" == key[:2] for each in root.iter() for key in each.attrib)


def test_a_browser_draws_it_as_wide_as_it_was_measured(browser: Any, tmp_path: Path) -> None:
    """A text that is squeezed or runs out of its box is what measuring is for."""
    labels = ["FLOPs", "a longer label, with (signs) & numbers 0123", "MACs"]
    pictures = [svg(badge("net", NET, label=label)) for label in labels]
    page = tmp_path / "badges.html"
    page.write_text(f"<meta charset=utf-8>{''.join(f'<p>{each}</p>' for each in pictures)}")
    browser.get(page.as_uri())
    texts = browser.execute_script(
        "return [...document.querySelectorAll('text')].map(t => { const wide = t.getAttribute('textLength');"
        "t.removeAttribute('textLength'); return [+wide, t.getComputedTextLength()] })"
    )
    assert 2 * len(labels) == len(texts)
    for wide, natural in texts:
        assert abs(wide - natural) < 0.12 * natural, texts
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => s.querySelector('title').textContent)"
    )
    assert all("verified with thop" in title for title in boxes)


def test_the_command_writes_a_badge_of_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No counting for what the baseline has; names that are no file's names, and tests' entries, do no harm."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.flopledger]\n")
    done = CliRunner().invoke(app, ["badge"])
    assert 2 == done.exit_code and "flopledger.json has no model yet: flopledger snapshot writes it" in done.output
    models = {"net": NET, "../up/a b": NET, "tests/test_x.py::test_y": NET}
    (tmp_path / "flopledger.json").write_bytes(encode(Baseline(models=models)))
    done = CliRunner().invoke(app, ["badge", "--unit", "macs"])
    assert 0 == done.exit_code, done.output
    names = sorted(path.name for path in (tmp_path / "badges").iterdir())
    assert 4 == len(names) and {"net.json", "net.svg"} < set(names)
    assert not (tmp_path.parent / "up").exists()
    assert "1.03 G · verified" in (tmp_path / "badges" / "net.svg").read_text()
