"""The charts: totals by op, a pair's waterfall, a history's steps, as data, as Vega-Lite specifications and as SVG.

The HTML page draws the bars itself from the same data, so that they fit any width; the SVG files lie beside the
Markdown. Counts become floats here and nowhere else.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from fractions import Fraction
from typing import Any, NamedTuple

from flopledger.reference_model.ledger import calls_without_formula
from flopledger.reports.documents.history import History
from flopledger.reports.documents.run import Run
from flopledger.reports.pages.analysis import macs
from flopledger.reports.pages.numbers import amount, giga, number, plural, signed, units, visible
from flopledger.reports.pages.vocabulary import op_word, operation
from flopledger.reports.pages.words import at_least
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
LETTER = 7  # pixels that a letter of a label may take
NAME = 38  # letters of a bar's name on one line
ELSEWHERE = "not split by operation"
OTHERS = "other operations"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Piece(NamedTuple):
    """What one op takes of a bar, in MACs where the unit is known."""

    op: str
    amount: Fraction
    colour: str


class Bar(NamedTuple):
    """One total: the ledger's or a counter's, split by op."""

    name: str
    label: str
    total: Fraction
    pieces: list[Piece]


def base(description: str, labels: list[str], width: int = 760, background: str | None = "white") -> Spec:
    """What all charts share; there is room for the longest of `labels` right of the drawing."""
    edge = 12 if background else 2
    room = LETTER * max(map(len, labels), default=0) + 8
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "background": background,
        "padding": {"left": edge, "top": edge, "bottom": edge, "right": edge + room},
        "width": width,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": {
            "font": FONT,
            "view": {"stroke": None},
            "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "domain": False,
                     "ticks": False, "labelPadding": 8, "gridColor": "#8884", "labelColor": "#222",
                     "titleColor": "#555"},
            "legend": {"labelFontSize": 12, "title": None, "orient": "bottom", "symbolType": "square",
                       "columns": 4, "columnPadding": 24, "labelColor": "#222", "labelLimit": 260},
        },
    }  # fmt: skip


def totals_bars(run: Run) -> list[Bar]:
    """The ledger and each counter that counted, in MACs, split by op: the largest ops in colours of their own."""
    amounts = _amounts(run)
    largest: dict[str, Fraction] = {}
    for *_, split in amounts:
        for op, count in split.items():
            largest[op] = max(count, largest.get(op, Fraction(0)))
    ops = sorted(largest, key=lambda op: (-largest[op], op))
    shown = [op for op in ops if op != ELSEWHERE][: len(PALETTE)]
    colours = dict(zip(shown, PALETTE, strict=False))
    bars = []
    for name, label, total, split in amounts:
        merged: dict[str, Fraction] = {}
        for op in (*shown, *(op for op in split if op not in shown)):
            key = op if op in shown or op == ELSEWHERE else OTHERS
            merged[key] = merged.get(key, Fraction(0)) + split.get(op, 0)
        pieces = [Piece(op, count, colours.get(op, REST)) for op, count in merged.items() if count]
        bars.append(Bar(name, label, total, pieces))
    return bars


def legend(bars: list[Bar]) -> dict[str, str]:
    """Op → colour, what has no colour of its own last."""
    found = {piece.op: piece.colour for bar in bars for piece in bar.pieces}
    return dict(sorted(found.items(), key=lambda item: [*PALETTE, REST].index(item[1])))


def totals_title(run: Run) -> str:
    """What the axis of the totals counts, and that the bars do not hold everything where they may not."""
    names = len(calls_without_formula(run.ledger.unpriced))
    return "MACs, where one MAC is two FLOPs" + (
        f" (at least: {plural(names, 'operation')} without a formula)" if names else ""
    )


def totals_spec(run: Run) -> Spec:
    """One bar for the ledger and one per counter that counted, split by op."""
    bars = totals_bars(run)
    rows = [
        {"order": i, "op": piece.op, "count": float(piece.amount), "rank": rank}
        for i, bar in enumerate(bars)
        for rank, piece in enumerate(bar.pieces)
    ]
    labels = [{"order": i, "total": float(bar.total), "label": bar.label} for i, bar in enumerate(bars)]
    colours = legend(bars)
    y, height = _bands([bar.name for bar in bars])
    x: Spec = {
        "type": "quantitative",
        "title": totals_title(run),
        "scale": {"domain": [0, max(float(bar.total) for bar in bars) or 1.0], "nice": False},
        "axis": {"format": "~s", "tickCount": {"expr": "ceil(width / 110)"}},
    }
    return {
        **base("What each counter reports, split by operation.", [bar.label for bar in bars]),
        "height": height,
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "bar", "height": {"band": 0.66}},
                "encoding": {
                    "y": y,
                    "x": {"field": "count", "stack": "zero", **x},
                    "color": {"field": "op", "type": "nominal", "sort": [*colours],
                              "scale": {"domain": [*colours], "range": [*colours.values()]}},
                    "order": {"field": "rank", "type": "quantitative"},
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


def _bands(names: list[str]) -> tuple[Spec, int]:
    """The axis of a bar for each name, two of which may be alike, and its height; long names take several lines."""
    wrapped = [textwrap.wrap(name, NAME) or [""] for name in names]
    words = json.dumps(wrapped, ensure_ascii=True)
    y: Spec = {"field": "order", "type": "ordinal", "title": None,
               "axis": {"grid": False, "labelExpr": f"{words}[datum.value]", "labelLimit": 0,
                        "minExtent": LETTER * max(len(line) for lines in wrapped for line in lines) + 8}}  # fmt: skip
    return y, len(names) * max(BAR, 15 * max(map(len, wrapped), default=1) + 6)


def _amounts(run: Run) -> list[tuple[str, str, Fraction, dict[str, Fraction]]]:
    """The ledger and each counter: name, total in words, total in MACs, and op in words → count in MACs."""
    mine: Counter[str] = Counter()
    for entry in run.ledger.entries:
        mine[op_word(entry.op)] += entry["macs"]
    found = [("the ledger", at_least(run, amount(macs(run), "MAC")), *_in_macs(macs(run), mine, "MAC"))]
    for tally in run.counted():
        split: Counter[str] = Counter()
        for part in tally.parts:
            split[op_word(part.op) if part.op is not None else ELSEWHERE] += part.count
        total = tally.total or 0
        found.append((visible(tally.name), amount(total, tally.unit), *_in_macs(total, split, tally.unit)))
    return found


def _in_macs(total: int, split: dict[str, int], unit: str) -> tuple[Fraction, dict[str, Fraction]]:
    scale = 2 if unit == "FLOP" else 1
    return Fraction(total, scale), {op: Fraction(count, scale) for op, count in split.items()}


def waterfall_steps(reconciliation: Reconciliation) -> list[dict[str, Any]]:
    """From the right total to the left one: a step for each line, as the table has it, and the residual.

    Beyond `STEPS` lines the smallest are one step. The difference is left minus right, so what only the left one
    charges for goes up.
    """
    lines = sorted((x for x in reconciliation.lines if x.difference), key=lambda x: -abs(x.difference))
    few = lines if len(lines) <= STEPS else lines[: STEPS - 1]
    steps = [(_label(line, lines), line.difference, "more" if line.difference > 0 else "less") for line in few]
    if len(few) < len(lines):
        tail = sum(line.difference for line in lines[len(few) :])
        steps.append((f"{len(lines) - len(few)} smaller lines", tail, "more" if tail > 0 else "less"))
    if reconciliation.residual:
        steps.append(("RESIDUAL (unexplained)", reconciliation.residual, "residual"))
    return [{"label": label, "amount": change, "text": signed(change), "kind": kind} for label, change, kind in steps]


def _label(line: Line, lines: list[Line]) -> str:
    if sum(operation(other) == operation(line) for other in lines) == 1:
        return operation(line)
    return f"{operation(line)} ({visible(line.left_formula)} → {visible(line.right_formula)})"


def waterfall_rows(reconciliation: Reconciliation, right_total: int) -> list[dict[str, Any]]:
    """The waterfall's bars: where each starts and ends, in operations and (`left`, `width`) in percent of the axis."""
    at = right_total
    rows = [_total(visible(reconciliation.right), at)]
    for step in waterfall_steps(reconciliation):
        before, at = at, at + int(step["amount"])
        rows.append({**step, "start": float(before), "end": float(at), "amount": float(step["amount"]),
                     "after": number(at)})  # fmt: skip
    rows.append(_total(visible(reconciliation.left), at))
    low = min(min(row["start"], row["end"]) for row in rows)
    high = max(max(row["start"], row["end"]) for row in rows)
    margin = (high - low) or abs(high) or 1.0
    floor = 0.0 if margin > 0.3 * high or low <= margin else low - margin * 0.25
    span = (high - floor) or 1.0
    for i, row in enumerate(rows):
        start = floor if row["kind"] == "total" else row["start"]
        row |= {"order": i, "start": start, "edge": max(start, row["end"]), "top": high, "floor": floor,
                "left": round(100 * (min(start, row["end"]) - floor) / span, 3),
                "width": round(100 * abs(row["end"] - start) / span, 3)}  # fmt: skip
    return rows


def waterfall_title(rows: list[dict[str, Any]]) -> str:
    """The title of the waterfall's axis, which says so where it does not start at zero."""
    return "operations" + (" (the axis does not start at zero)" if rows[0]["floor"] else "")


def _total(name: str, total: int) -> dict[str, Any]:
    return {"label": name, "amount": float(total), "text": number(total), "kind": "total",
            "start": float(total), "end": float(total), "after": number(total)}  # fmt: skip


def waterfall_spec(reconciliation: Reconciliation, right_total: int) -> Spec:
    """How the right total becomes the left one, line by line; the residual is a bar of its own."""
    rows = waterfall_rows(reconciliation, right_total)
    y, height = _bands([row["label"] for row in rows])
    start = rows[0]["floor"]
    x: Spec = {
        "type": "quantitative",
        "title": waterfall_title(rows),
        "scale": {"domain": [start, rows[0]["top"]], "zero": False, "nice": False},
        "axis": {"format": "~s", "tickCount": {"expr": "ceil(width / 110)"}},
    }
    kinds, colours = ["total", "less", "more", "residual"], [TOTAL, DOWN, UP, LEFT_OVER]
    colour = {"field": "kind", "type": "nominal", "legend": None, "scale": {"domain": kinds, "range": colours}}
    return {
        **base("The lines that lead from one total to the other.", [row["text"] for row in rows]),
        "height": height,
        "data": {"name": "steps", "values": rows},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.62}, "strokeWidth": 1},
                "encoding": {"y": y, "x": {"field": "start", **x}, "x2": {"field": "end"}, "color": colour,
                             "stroke": colour},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 7, "fontSize": 12, "color": "#222"},
                "encoding": {"y": y, "x": {"field": "edge", **x},
                             "text": {"field": "text", "type": "nominal"}},
            },
        ],
    }  # fmt: skip


def history_spec(found: History, width: int = 760, background: str | None = "white") -> Spec:
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
    title = f"What each release of {visible(found.counter)} reports, in order of upload."
    nominal = [{"field": f, "type": "nominal"} for f in ("release", "day")]
    return {
        **base(title, labels, width, background),
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
