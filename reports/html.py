"""The HTML page: one file that needs no network, its data in JSON, its scripts allowed by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reference_model.ledger import meaning
from reports import charts, history_words, words
from reports.history import History
from reports.layers import layers
from reports.reconcile import Reconciliation
from reports.run import Run, TallyRecord

TEMPLATES = Path(__file__).parent / "templates"
SAFE_INTEGER = 2**53 - 1  # larger ones cross into JavaScript as text and become BigInt there


def render(run: Run) -> str:
    """The whole page. It depends on the run alone, so the same run gives the same bytes."""
    pair = words.most_different(run)
    data = {
        "pairs": _pairs(run),
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
            _asset("base.js") + "\n" + _asset("page.js"),
        ],
        run=run,
        words=words,
        pair=pair,
        totals_svg=Markup(charts.to_svg(charts.totals_spec(run, background=None))) if run.counted() else "",
        waterfall_svg=Markup(_waterfall_svg(run, pair)) if pair else "",
        matrix=words.matrix(run),
        papers=_papers(run),
        layer_count=len(layers(run)),
        meaning=meaning,
    )


def history(found: History) -> str:
    """The page of a history, from the same parts."""
    return page(
        "history.html.j2",
        data={"history": charts.history_spec(found, "container", None) if found.counted else None},
        scripts=[charts.bundle() if found.counted else "", _asset("base.js") + "\n" + _asset("history.js")],
        found=found,
        words=words,
        told=history_words,
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


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        visible=words.visible, number=words.number, signed=words.signed, giga=words.giga, place=words.place,
        op=words.op_word, units=words.units,
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


def _ordered(run: Run) -> list[Reconciliation]:
    names = [tally.name for tally in run.counted()]
    known = {frozenset((r.left, r.right)) for r in run.reconciliations}
    return [run.between(a, b) for a in names for b in names if a != b and frozenset((a, b)) in known]


def _pairs(run: Run) -> dict[str, dict[str, Any]]:
    """What the page shows for each ordered pair, keyed by the positions of the two counters."""
    position = {tally.name: i for i, tally in enumerate(run.counted())}
    module = _environment().get_template("pair.html.j2").module
    found = {}
    for r in _ordered(run):
        rows = charts.waterfall_rows(r, run.tally(r.left).total or 0)
        found[f"{position[r.left]} {position[r.right]}"] = {
            "lines": str(module.lines(r, run, words)),  # type: ignore[attr-defined]
            "reasons": str(module.reasons(r, run, words)),  # type: ignore[attr-defined]
            "rows": rows,
            "title": charts.waterfall_title(rows),
        }
    return found


def _totals(run: Run) -> charts.Spec | None:
    return charts.totals_spec(run, "container", None) if run.counted() else None


def _waterfall(run: Run, pair: Reconciliation | None) -> charts.Spec | None:
    """The chart that the script fills with the rows of whichever pair is chosen."""
    return charts.waterfall_spec(pair, run.tally(pair.left).total or 0, "container", None) if pair else None


def _waterfall_svg(run: Run, pair: Reconciliation) -> str:
    return charts.to_svg(charts.waterfall_spec(pair, run.tally(pair.left).total or 0, background=None))


def _integer(n: int) -> int | str:
    return n if abs(n) <= SAFE_INTEGER else str(n)


def _layers(run: Run) -> dict[str, Any]:
    return {
        "counters": [words.visible(tally.name) for tally in run.counted()],
        "rows": [
            {
                "site": words.place(layer.site),
                "op": words.op_word(layer.op) if layer.op is not None else "(whole module)",
                "module": words.visible(layer.module.rpartition(".")[2]),
                "macs": _integer(layer.macs),
                "outputs": _integer(layer.outputs),
                **{f"c{i}": _integer(count) for i, count in enumerate(layer.counts)},
            }
            for layer in layers(run)
        ],
    }


def _papers(run: Run) -> list[dict[str, str]]:
    """The choices of the paper section: the ledger's own number first, then every counter's."""
    choices: list[tuple[str, TallyRecord | None]] = [("the ledger: MACs only", None)] if words.macs(run) else []
    choices += [(words.visible(tally.name), tally) for tally in run.counted()]
    return [
        {"name": name, "sentence": words.paper_sentence(run, tally), "latex": words.paper_latex(run, tally)}
        for name, tally in choices
    ]
