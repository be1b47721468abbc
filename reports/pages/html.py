"""The HTML page: one file that needs no network, its data in JSON, its scripts allowed by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from markupsafe import Markup

from flopledger.reference_model.ledger import meaning_of
from flopledger.reports.documents.history import History
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages import (
    analysis,
    charts,
    history_words,
    lines,
    numbers,
    pair_words,
    paper,
    tables,
    vocabulary,
    words,
)
from flopledger.reports.pages.blocks import Loud
from flopledger.reports.pages.layers import layers
from flopledger.reports.pages.page import opening, says
from flopledger.reports.pages.pair_data import integer, pair_data
from flopledger.reports.reconcile import Reconciliation
from flopledger.reports.verdict import wrong

TEMPLATES = Path(__file__).parent / "templates"
# What a template may say, under one name.
WORDS = SimpleNamespace(**{name: said for module in (numbers, vocabulary, analysis, pair_words, paper, words)
                           for name, said in vars(module).items() if not name.startswith("_")})  # fmt: skip


def render(run: Run) -> str:
    """The whole page. It depends on the run alone, so the same run gives the same bytes."""
    pair = analysis.most_different(run)
    data = {
        "pairs": pair_data(run) if pair else None,
        "totals": _totals(run),
        "waterfall": _waterfall(run, pair),
        "layers": _layers(run),
    }
    return page(
        "report.html.j2",
        data=data,
        style=_asset("vendor/tabulator_simple.min.css"),
        scripts=[
            charts.bundle() if run.counted() else "",
            _asset("vendor/tabulator.min.js"),
            _asset("base.js") + "\n" + _asset("pair.js") + "\n" + _asset("page.js"),
        ],
        run=run,
        words=WORDS,
        pair=pair,
        alarm=any(isinstance(said, Loud) for said in words.left(run)),
        table=lines.of_pair(pair) if pair else None,
        opening=opening(run),
        says=says(run),
        pairs=tables.pairs(run),
        totals_svg=Markup(charts.to_svg(charts.totals_spec(run, background=None))) if run.counted() else "",
        waterfall_svg=Markup(_waterfall_svg(run, pair)) if pair else "",
        matrix=analysis.matrix(run),
        papers=_papers(run),
        layer_count=len(layers(run)),
        meaning=meaning_of,
    )


def history(found: History) -> str:
    """The page of a history, from the same parts."""
    return page(
        "history.html.j2",
        data={"history": charts.history_spec(found, "container", None) if found.counted else None},
        scripts=[charts.bundle() if found.counted else "", _asset("base.js") + "\n" + _asset("history.js")],
        found=found,
        words=WORDS,
        told=history_words,
        steps=[lines.of_step(change.reconciliation) for change in found.changes],
        alarm=wrong(found),
        svg=Markup(charts.to_svg(charts.history_spec(found, background=None))) if found.counted else "",
    )


def page(template: str, *, data: Any, scripts: list[str], style: str = "", **context: Any) -> str:
    """One file with its data and scripts inside; nothing is fetched, and only these scripts run."""
    closed = [f"(function(){{\n{script}\n}}).call(window);" for script in scripts if script]
    return (
        _environment()
        .get_template(template)
        .render(
            policy=_policy(closed),
            style=Markup(style + _asset("page.css")),
            scripts=[Markup(script) for script in closed],
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


def _kind(block: Any) -> str:
    return type(block).__name__


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
    environment.filters.update(
        visible=numbers.visible, number=numbers.number, signed=numbers.signed, giga=numbers.giga,
        place=vocabulary.place, op=vocabulary.op_word, units=numbers.units, kind=_kind,
    )  # fmt: skip
    return environment


@cache
def _asset(name: str) -> str:
    lines = (TEMPLATES / name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if "sourceMappingURL=" not in line[:40])


def _policy(scripts: list[str]) -> str:
    """Nothing is fetched, and only these scripts run: injected markup could do neither."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _totals(run: Run) -> charts.Spec | None:
    return charts.totals_spec(run, "container", None) if run.counted() else None


def _waterfall(run: Run, pair: Reconciliation | None) -> charts.Spec | None:
    """The chart that the script fills with the rows of whichever pair is chosen."""
    return charts.waterfall_spec(pair, run.tally(pair.left).total or 0, "container", None) if pair else None


def _waterfall_svg(run: Run, pair: Reconciliation) -> str:
    return charts.to_svg(charts.waterfall_spec(pair, run.tally(pair.left).total or 0, background=None))


def _layers(run: Run) -> dict[str, Any]:
    return {
        "counters": [numbers.visible(tally.name) for tally in run.counted()],
        "rows": [
            {
                "site": vocabulary.place(layer.site),
                "op": vocabulary.op_word(layer.op) if layer.op is not None else "(whole module)",
                "module": numbers.visible(layer.module.rpartition(".")[2]),
                "macs": None if layer.macs is None else integer(layer.macs),
                "outputs": integer(layer.outputs),
                **{
                    f"c{i}": integer(count) if count or layer.macs is not None else None
                    for i, count in enumerate(layer.counts)
                },
            }
            for layer in layers(run)
        ],
    }


def _papers(run: Run) -> list[dict[str, str]]:
    """The choices of the paper section: the ledger's own number first, then every counter's."""
    choices: list[tuple[str, TallyRecord | None]] = [("the ledger: MACs only", None)] if analysis.macs(run) else []
    choices += [(numbers.visible(tally.name), tally) for tally in run.counted()]
    return [
        {"name": name, "sentence": paper.paper_sentence(run, tally), "latex": paper.paper_latex(run, tally)}
        for name, tally in choices
    ]
