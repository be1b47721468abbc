"""The charts as Vega-Lite specifications, and their SVG: totals by op, a pair's waterfall, a history's steps.

The same specification makes the file beside the Markdown and the interactive chart in the HTML. Counts
become floats here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from functools import cache
from importlib.metadata import version
from typing import Any

from flopledger.counters.engine import overlays as releases
from flopledger.reports.documents.history import History
from flopledger.reports.documents.run import Run, calls_without_formula
from flopledger.reports.documents.writing import write_whole
from flopledger.reports.pages.numbers import amount, giga, number, plural, signed, units, visible
from flopledger.reports.pages.vocabulary import op_word, operation
from flopledger.reports.reconcile import Line, Reconciliation

Spec = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PALETTE = (
    "#4c78b8",
    "#e0913a",
    "#3d9b8f",
    "#c9577a",
    "#8a6fc0",
    "#8f9a3c",
    "#b0705a",
)  # legible on white and black
REST = "#8b929c"
UP, DOWN, TOTAL, LEFT_OVER = "#3d9b8f", "#d06a4e", "#6b7686", "#d11f3a"
STEPS = 12  # lines that a waterfall shows one by one
BAR = 30  # pixels from one bar to the next
LABEL_ROOM = 92  # pixels right of the longest bar, for its label
ELSEWHERE = "not split by operation"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BUNDLES = {
    "1.7.0": "92d4a4f00b4aa942512304efb42b0ec17d93486a2a5a999b70a8d532c2f7b964",
    "1.8.0": "b11ae2116b4e9d1f5b2737febbc1ba91ea8ba36c110f5d14cefabaf401effa4d",
    "1.9.0": "3425bd951a44d478d0505c6b5d1e8d57656b6e9a4da7bfe88a718ce61d76e572",
    "1.9.0.post1": "3425bd951a44d478d0505c6b5d1e8d57656b6e9a4da7bfe88a718ce61d76e572",
}  # release of vl-convert-python → SHA-256 of its `javascript_bundle()`


def base(description: str, width: int | str, background: str | None) -> Spec:
    """What all charts have in common."""
    edge = 12 if background else 2
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "background": background,
        "padding": {"left": edge, "top": edge, "bottom": edge, "right": edge + LABEL_ROOM},
        "width": width,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": {
            "font": FONT,
            "view": {"stroke": None},
            "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "domain": False,
                     "ticks": False, "labelPadding": 8, "gridColor": "#8884", "labelColor": "#222",
                     "titleColor": "#555", "labelLimit": 240},
            "legend": {"labelFontSize": 12, "title": None, "orient": "bottom", "symbolType": "square",
                       "columns": 4, "labelColor": "#222", "labelLimit": 260},
        },
    }  # fmt: skip


def totals_spec(run: Run, width: int | str = 760, background: str | None = "white") -> Spec:
    """One bar per counter that counted, split by op."""
    amounts = _amounts(run)
    ops = sorted({op for split in amounts.values() for op in split}, key=lambda op: _rank(op, amounts))
    shown = [op for op in ops if op != ELSEWHERE][: len(PALETTE)]
    rest = "other operations"
    rows, labels = [], []
    for tally in run.counted():
        name, split, total = visible(tally.name), amounts[tally.name], tally.total or 0
        merged: dict[str, int] = {}
        for op, count in split.items():
            key = op if op in shown or op == ELSEWHERE else rest
            merged[key] = merged.get(key, 0) + count
        for op, count in merged.items():
            rank = shown.index(op) if op in shown else len(shown)
            rows.append({"counter": name, "op": op, "count": float(count), "rank": rank, "exact": number(count)})
        labels.append({"counter": name, "total": float(total), "label": amount(total, tally.unit)})
    domain = [*shown, *(extra for extra in (rest, ELSEWHERE) if any(row["op"] == extra for row in rows))]
    colours = [*PALETTE[: len(shown)], *[REST] * (len(domain) - len(shown))]
    y: Spec = {
        "field": "counter",
        "type": "nominal",
        "title": None,
        "sort": [row["counter"] for row in labels],
    }
    top = float(max((tally.total or 0 for tally in run.counted()), default=0)) or 1.0
    x: Spec = {
        "type": "quantitative",
        "title": f"operations, in each counter's own unit{_without(run)}",
        "scale": {"domain": [0, top], "nice": False},
        "axis": {"format": "~s", "tickCount": {"expr": "ceil(width / 110)"}},
    }
    return {
        **base("What each counter reports, split by operation.", width, background),
        "height": BAR * len(labels),
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "bar", "height": {"band": 0.66}},
                "encoding": {
                    "y": y,
                    "x": {"field": "count", "stack": "zero", **x},
                    "color": {"field": "op", "type": "nominal", "sort": domain,
                              "scale": {"domain": domain, "range": colours}},
                    "order": {"field": "rank", "type": "quantitative"},
                    "tooltip": [{"field": f, "type": "nominal"} for f in ("counter", "op", "exact")],
                },
            },
            {
                "data": {"values": labels},
                "mark": {"type": "text", "align": "left", "dx": 7, "fontSize": 12, "color": "#222"},
                "encoding": {"y": y, "x": {"field": "total", **x},
                             "text": {"field": "label", "type": "nominal"}},
            },
        ],
    }  # fmt: skip


def _without(run: Run) -> str:
    """That the bars do not hold everything, where they may not."""
    names = len(calls_without_formula(run.ledger.unpriced))
    return f" (at least: {plural(names, 'operation')} without a formula)" if names else ""


def _amounts(run: Run) -> dict[str, dict[str, int]]:
    """Counter → op in words → count."""
    found: dict[str, dict[str, int]] = {}
    for tally in run.counted():
        split = found.setdefault(tally.name, {})
        for part in tally.parts:
            op = op_word(part.op) if part.op is not None else ELSEWHERE
            split[op] = split.get(op, 0) + part.count
    return found


def _rank(op: str, amounts: dict[str, dict[str, int]]) -> tuple[int, str]:
    return -max(split.get(op, 0) for split in amounts.values()), op


def waterfall_steps(reconciliation: Reconciliation) -> list[dict[str, Any]]:
    """From the left total to the right one: a total, a step for each line, the residual, a total.

    Beyond `STEPS` lines the smallest are one step. Steps lead from left to right, so a line's
    difference (left minus right) goes down.
    """
    lines = sorted((x for x in reconciliation.lines if x.difference), key=lambda x: -abs(x.difference))
    few = lines if len(lines) <= STEPS else lines[: STEPS - 1]
    steps = [(_label(line, lines), -line.difference, "more" if line.difference < 0 else "less") for line in few]
    if len(few) < len(lines):
        tail = -sum(line.difference for line in lines[len(few) :])
        steps.append((f"{len(lines) - len(few)} smaller lines", tail, "more" if tail > 0 else "less"))
    if reconciliation.residual:
        steps.append(("RESIDUAL (unexplained)", -reconciliation.residual, "residual"))
    return [{"label": label, "amount": change, "text": signed(change), "kind": kind} for label, change, kind in steps]


def _label(line: Line, lines: list[Line]) -> str:
    if sum(operation(other) == operation(line) for other in lines) == 1:
        return operation(line)
    return f"{operation(line)} ({visible(line.left_formula)} → {visible(line.right_formula)})"


def waterfall_rows(reconciliation: Reconciliation, left_total: int) -> list[dict[str, Any]]:
    """The waterfall's bars, each with where it starts and ends."""
    at = left_total
    rows = [_total(visible(reconciliation.left), at)]
    for step in waterfall_steps(reconciliation):
        rows.append({**step, "start": float(at), "end": float(at + step["amount"]), "amount": float(step["amount"])})
        at += step["amount"]
    rows.append(_total(visible(reconciliation.right), at))
    low = min(min(row["start"], row["end"]) for row in rows)
    high = max(max(row["start"], row["end"]) for row in rows)
    margin = (high - low) or abs(high) or 1.0
    floor = 0.0 if margin > 0.3 * high or low <= margin else low - margin * 0.25
    for i, row in enumerate(rows):
        row["order"] = i
        row["start"] = floor if row["kind"] == "total" else row["start"]
        row["edge"] = max(row["start"], row["end"])
        row["top"] = high
        row["floor"] = floor
    return rows


def waterfall_title(rows: list[dict[str, Any]]) -> str:
    """The title of the waterfall's axis, which says so where it does not start at zero."""
    return "operations" + (" (the axis does not start at zero)" if rows[0]["floor"] else "")


def _total(name: str, total: int) -> dict[str, Any]:
    return {"label": name, "amount": float(total), "text": number(total), "kind": "total",
            "start": float(total), "end": float(total)}  # fmt: skip


def waterfall_spec(
    reconciliation: Reconciliation, left_total: int, width: int | str = 760, background: str | None = "white"
) -> Spec:
    """How the left total becomes the right one, line by line; the residual is a bar of its own."""
    rows = waterfall_rows(reconciliation, left_total)
    y: Spec = {"field": "label", "type": "nominal", "title": None, "sort": {"field": "order"},
               "axis": {"grid": False}}  # fmt: skip
    start = rows[0]["floor"]
    x: Spec = {
        "type": "quantitative",
        "title": waterfall_title(rows),
        "scale": {"domain": [start, rows[0]["top"]], "zero": False, "nice": False},
        "axis": {"format": "~s", "tickCount": {"expr": "ceil(width / 110)"}},
    }
    kinds, colours = ["total", "less", "more", "residual"], [TOTAL, DOWN, UP, LEFT_OVER]
    return {
        **base("The lines that lead from one total to the other.", width, background),
        "height": BAR * len(rows),
        "data": {"name": "steps", "values": rows},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.62}, "strokeWidth": 1},
                "encoding": {
                    "y": y,
                    "x": {"field": "start", **x},
                    "x2": {"field": "end"},
                    "color": {"field": "kind", "type": "nominal", "legend": None,
                              "scale": {"domain": kinds, "range": colours}},
                    "stroke": {"field": "kind", "type": "nominal", "legend": None,
                               "scale": {"domain": kinds, "range": colours}},
                    "tooltip": [{"field": f, "type": "nominal"} for f in ("label", "text")],
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 7, "fontSize": 12, "color": "#222"},
                "encoding": {"y": y, "x": {"field": "edge", **x},
                             "text": {"field": "text", "type": "nominal"}},
            },
        ],
    }  # fmt: skip


def history_spec(found: History, width: int | str = 760, background: str | None = "white") -> Spec:
    """The total of every release over the time of its upload, as steps; crosses are releases without one."""
    totals = [row.total or 0 for row in found.counted]
    low, high = float(min(totals)), float(max(totals))
    margin = (high - low) * 0.18 or high * 0.05 or 1.0
    bottom = max(low - margin, 0.0)
    rows, missing, labels = [], [], [""]
    for row in found.rows:
        about = {"release": visible(row.release), "when": f"{visible(row.uploaded)}Z",
                 "day": visible(row.uploaded[:10])}  # fmt: skip
        if row.total is None:
            missing.append({**about, "y": bottom, "why": visible(row.reason or row.status)})
            continue
        moved = row.moved or (row.total if row.moved is None else 0)
        label = giga(row.total) if moved and giga(row.total) != labels[-1] else ""
        if label:
            labels.append(label)
        rows.append({
            **about, "total": float(row.total), "exact": number(row.total), "step": signed(row.moved or 0),
            "label": label, "offset": -10 if len(labels) % 2 == 0 else 16, "kind": "moved" if moved else "same",
        })  # fmt: skip
    x: Spec = {"field": "when", "type": "temporal", "title": "uploaded", "scale": {"type": "utc"},
               "axis": {"tickCount": {"expr": "ceil(width / 110)"}}}  # fmt: skip
    y: Spec = {"type": "quantitative",
               "title": units(found.unit) + (" (the axis does not start at zero)" if bottom else ""),
               "scale": {"domain": [bottom, high + margin], "zero": False, "nice": False},
               "axis": {"format": ".4~s", "tickCount": 6}}  # fmt: skip
    nominal = [{"field": f, "type": "nominal"} for f in ("release", "day")]
    return {
        **base(f"What each release of {visible(found.counter)} reports, in order of upload.", width, background),
        "height": 320,
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "line", "interpolate": "step-after", "color": TOTAL, "strokeWidth": 1.5},
                "encoding": {"x": x, "y": {"field": "total", **y}},
            },
            {
                "data": {"values": rows},
                "mark": {"type": "point", "filled": True, "opacity": 1},
                "encoding": {
                    "x": x,
                    "y": {"field": "total", **y},
                    "color": {"field": "kind", "type": "nominal", "legend": None,
                              "scale": {"domain": ["moved", "same"], "range": [DOWN, TOTAL]}},
                    "size": {"field": "kind", "type": "nominal", "legend": None,
                             "scale": {"domain": ["moved", "same"], "range": [70, 25]}},
                    "tooltip": [*nominal, *({"field": f, "type": "nominal"} for f in ("exact", "step"))],
                },
            },
            {
                "data": {"values": missing},
                "mark": {"type": "point", "shape": "cross", "angle": 45, "color": REST, "size": 40},
                "encoding": {"x": x, "y": {"field": "y", **y},
                             "tooltip": [*nominal, {"field": "why", "type": "nominal"}]},
            },
            {
                "data": {"values": rows},
                "mark": {"type": "text", "align": "left", "dx": 6, "dy": {"expr": "datum.offset"}, "fontSize": 12,
                         "color": "#222"},
                "encoding": {"x": x, "y": {"field": "total", **y}, "text": {"field": "label", "type": "nominal"}},
            },
        ],
    }  # fmt: skip


def to_svg(spec: Spec) -> str:
    """The chart as SVG: the same specification gives the same bytes, in any order and any process."""
    import vl_convert

    svg = NOT_XML.sub("\ufffd", str(vl_convert.vegalite_to_svg(spec)))
    ids: dict[str, str] = {}  # Vega numbers clip paths through the life of a process
    return re.sub(
        r'(?<=id=")clip\d+|(?<=url\(#)clip\d+',
        lambda match: ids.setdefault(match[0], f"clip{len(ids)}"),
        svg,
    )


@cache
def bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script.

    Making it takes more than a second, so it is kept in the cache folder. The page runs it, so the file there is
    believed only by the digest of what this release of vl-convert makes; a release unknown to us makes it each time.
    """
    release = version("vl-convert-python")
    folder, name = releases.cache(), f"vega-{release}.js"
    with contextlib.suppress(OSError):
        if _is_bundle(kept := releases.read_file(folder / name), release):
            return kept.decode()
    import vl_convert

    script = str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub asks for what has a default
    if _is_bundle(made := script.encode(), release):
        with contextlib.suppress(OSError):  # a cache that cannot be written is only slower
            write_whole(folder, {name: made})
    return script


def _is_bundle(script: bytes, release: str) -> bool:
    return hashlib.sha256(script).hexdigest() == BUNDLES.get(release)
