"""The chart of a sweep: what the counters say of one model, or the ledger of several, over a size of their inputs."""

from __future__ import annotations

from flopledger.reports.documents.table import Table
from flopledger.reports.pages import charts
from flopledger.reports.pages.numbers import units, visible
from flopledger.reports.scale import plain, shown

LEDGER = "the ledger's MACs"


def spec(found: Table, width: int = 760, background: str | None = "white") -> charts.Spec:
    """One line per series (see `title`), a point for each size."""
    rows = [
        {"series": series, "size": size, "value": float(value), "exact": exact, "order": at}
        for at, (series, points) in enumerate(_series(found).items())
        for size, value, exact in points
    ]
    names = list(dict.fromkeys(row["series"] for row in rows))
    colours = [charts.TOTAL if name == LEDGER else charts.PALETTE[at % len(charts.PALETTE)]
               for at, name in enumerate(names, start=-1 if LEDGER in names else 0)]  # fmt: skip
    sizes = sorted({row.size for row in found.rows if row.size is not None})
    x: charts.Spec = {"field": "size", "type": "quantitative", "title": _dimension(found),
                      "scale": {"zero": False}, "axis": {"values": sizes, "labelOverlap": True}}  # fmt: skip
    y: charts.Spec = {
        "field": "value",
        "type": "quantitative",
        "title": _unit(found),
        "axis": {"format": "~g" if found.unit else "~s"},
    }
    colour = {"field": "series", "type": "nominal", "sort": names, "scale": {"domain": names, "range": colours}}
    return {
        **charts.base(title(found), [], width, background),
        "height": 320,
        "data": {"values": rows},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": {"x": x, "y": y, "color": colour}},
            {"mark": {"type": "point", "filled": True, "opacity": 1, "size": 36},
             "encoding": {"x": x, "y": y, "color": colour,
                          "tooltip": [{"field": f, "type": "nominal"} for f in ("series", "size", "exact")]}},
        ],
    }  # fmt: skip


def title(found: Table) -> str:
    """What there is to see."""
    models = _models(found)
    if len(models) == 1:
        return f"What each counter says of {models[0]}, by the {_dimension(found)} of its input."
    return f"The ledger's MACs of each model, by the {_dimension(found)} of its input."


def _models(found: Table) -> list[str]:
    return list(dict.fromkeys(visible(row.name) for row in found.rows))


def _dimension(found: Table) -> str:
    named = list(dict.fromkeys(row.dimension for row in found.rows if row.dimension))
    return visible(named[0]) if len(named) == 1 else "size"


def _unit(found: Table) -> str:
    per = f" per {found.per}" if found.per else ""
    if found.unit:
        return f"{units(found.unit)}{per}"
    return f"MACs{per}" if len(_models(found)) > 1 else f"operations, in each counter's own unit{per}"


def _series(found: Table) -> dict[str, list[tuple[int, int | float, str]]]:
    """Series → its sizes, values, and the values in words."""
    one = len(_models(found)) == 1
    series: dict[str, list[tuple[int, int | float, str]]] = {}
    for row in found.rows:
        if row.ledger is None or row.size is None:
            continue
        said: list[tuple[str, int | None, str]] = [(LEDGER if one else visible(row.name), row.ledger.macs, "MAC")]
        said += [(visible(cell.counter), cell.total, cell.unit) for cell in row.cells] if one else []
        for name, total, unit in said:
            value = found.value(row, total, unit)
            if value is not None:
                series.setdefault(name, []).append((row.size, plain(value), shown(value, exact=True)))
    return series
