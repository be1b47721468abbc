"""The files of a report, made from the run document alone: the same run gives the same bytes."""

from __future__ import annotations

from reports import charts, html, markdown, words
from reports.run import Run


def pages(run: Run) -> dict[str, str]:
    """File name → text: `report.md` with its two charts, and `report.html`, which needs no other file.

    A chart that has nothing to show (no counted total, no pair) is left out.
    """
    files = {"report.md": markdown.render(run), "report.html": html.render(run)}
    if run.counted():
        files["totals.svg"] = charts.to_svg(charts.totals_spec(run))
    pair = words.most_different(run)
    if pair:
        files["waterfall.svg"] = charts.to_svg(charts.waterfall_spec(pair, run.tally(pair.left).total or 0))
    return files
