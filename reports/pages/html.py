"""The HTML page: one file that needs no network, its data in JSON, its scripts allowed by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from markupsafe import Markup

from flopledger.reports.documents.history import History
from flopledger.reports.documents.run import Run
from flopledger.reports.pages import (
    analysis,
    charts,
    glossary,
    history_words,
    lines,
    numbers,
    pair_words,
    paper,
    vocabulary,
    words,
)
from flopledger.reports.pages.blocks import Block, Fold, Heading, Link, Live, Loud, Paragraph, Point
from flopledger.reports.pages.layers import layer_data
from flopledger.reports.pages.page import of_run
from flopledger.reports.pages.pair_data import pair_data
from flopledger.reports.verdict import wrong

HISTORY_WIDTHS = {"wide": 860, "slim": 368}  # pixels
Item = tuple[str, Any]  # the kind of a block, and the block as the template takes it
TEMPLATES = Path(__file__).parent / "templates"
# What a template may say, under one name.
WORDS = SimpleNamespace(**{name: said for module in (numbers, vocabulary, analysis, pair_words, paper, words)
                           for name, said in vars(module).items() if not name.startswith("_")})  # fmt: skip


def render(run: Run) -> str:
    """The whole page. It depends on the run alone, so the same run gives the same bytes."""
    pair = analysis.most_different(run)
    steps = charts.waterfall_rows(pair, run.tally(pair.right).total or 0) if pair else []
    title = ""
    if steps:
        first, last = (f"{step['label']}, {step['text']}" for step in (steps[0], steps[-1]))
        title = f"Waterfall from {first}, to {last}. The table that follows has its numbers."
    return page(
        "report.html.j2",
        data={"pairs": pair_data(run) if pair else None, "layers": layer_data(run), "words": glossary.WORDS},
        script="\n".join(map(_asset, ("base.js", "pair.js", "page.js", "layers.js"))),
        run=run,
        sections=_sections(of_run(run)),
        page={
            "pair": pair,
            "table": lines.of_pair(pair) if pair else None,
            "totals": _totals(run),
            "waterfall": [{**row, "pieces": [{**row, "colour": ""}]} for row in steps],
            "waterfall_title": title,
            "paragraph": "verdict",
        },
    )


def _sections(blocks: Sequence[Block]) -> list[tuple[Heading, list[Item]]]:
    """The blocks under each heading of a page and of its sections."""
    found: list[tuple[Heading, list[Block]]] = []
    for block in blocks:
        if isinstance(block, Heading) and block.level < 3:
            found.append((block, []))
        else:
            found[-1][1].append(block)
    return [(heading, _items(inner)) for heading, inner in found]


def _items(blocks: Sequence[Block]) -> list[Item]:
    """Blocks as the template draws them: points are a list, and what stands under a small heading is folded."""
    found: list[Item] = []
    for i, block in enumerate(blocks):
        if isinstance(block, Heading):
            end = next((j for j in range(i + 1, len(blocks)) if isinstance(blocks[j], Heading)), len(blocks))
            inner = {"summary": block.text, "open": False, "inner": _items(blocks[i + 1 : end])}
            return [*found, ("Fold", inner), *_items(blocks[end:])]
        if isinstance(block, Point | Link):
            if not found or found[-1][0] != "points":
                found.append(("points", []))
            found[-1][1].append(block)
        elif isinstance(block, Live):
            folded = [(inner["summary"], inner["inner"]) for kind, inner in _items(block.blocks) if kind == "Fold"]
            found.append((block.name, folded))
        elif isinstance(block, Fold):
            found.append(("Fold", {"summary": block.summary, "open": block.open, "inner": _items(block.blocks)}))
        elif isinstance(block, Paragraph):
            loud = any(isinstance(text, Loud) for text in block.sentences)
            found.append(("Paragraph", {"sentences": block.sentences, "loud": loud}))
        else:
            found.append((type(block).__name__, block))
    return found


def history(found: History) -> str:
    """The page of a history, from the same parts."""
    return page(
        "history.html.j2",
        data={},
        script=_asset("base.js"),
        found=found,
        words=WORDS,
        told=history_words,
        steps=[lines.of_step(change.reconciliation) for change in found.changes],
        alarm=wrong(found),
        pictures=_history_svgs(found),
    )


def page(template: str, *, data: Any, script: str, **context: Any) -> str:
    """One file with its data and script inside; nothing is fetched, and only this script runs."""
    closed = f"(function(){{\n{script}\n}}).call(window);"
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_policy(closed),
            style=Markup(_asset("page.css")),
            script=Markup(closed),
            data=Markup(script_json(data)),
            **context,
        )
    )


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>`, `&` or line separators of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _visible(value: Any) -> Any:
    """Whatever a template shows, whether or not its author thought of it: text is one printable line."""
    return numbers.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.globals.update(split=glossary.split, meanings=glossary.WORDS, words=WORDS, newline=Markup("\n"))
    environment.filters.update(
        visible=numbers.visible, number=numbers.number, signed=numbers.signed, giga=numbers.giga,
        place=vocabulary.place, op=vocabulary.op_word, units=numbers.units,
    )  # fmt: skip
    return environment


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing is fetched, and only this script runs: injected markup could do neither."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _history_svgs(found: History) -> dict[str, Markup]:
    """The chart of a history for a screen and for a phone; the two share no name."""
    if not found.counted:
        return {}
    svgs = {name: charts.to_svg(charts.history_spec(found, width, None)) for name, width in HISTORY_WIDTHS.items()}
    return {name: Markup(re.sub(r'(?<=id=")clip|(?<=url\(#)clip', f"{name}-clip", svg)) for name, svg in svgs.items()}


def _totals(run: Run) -> dict[str, Any]:
    """What the chart of the totals draws, and its numbers."""
    bars = charts.totals_bars(run)
    longest = max((bar.total for bar in bars), default=Fraction(0)) or Fraction(1)
    rows = []
    for bar in bars:
        pieces, at = [], Fraction(0)
        for piece in bar.pieces:
            if piece.amount > 0:
                left, width = (round(float(100 * n / longest), 3) for n in (at, piece.amount))
                pieces.append({"left": left, "width": width, "colour": piece.colour})
                at += piece.amount
        rows.append({"label": bar.name, "text": bar.label, "kind": "", "pieces": pieces})
    return {
        "bars": bars,
        "rows": rows,
        "legend": charts.legend(bars),
        "title": charts.totals_title(run),
        "exact": _exact,
    }


def _exact(bar: charts.Bar, op: str | None) -> str:
    """What an op takes of a bar, or the whole of it where none is named."""
    amount = bar.total if op is None else sum((p.amount for p in bar.pieces if p.op == op), Fraction(0))
    return numbers.number(int(amount)) + (".5" if amount.denominator == 2 else "")
