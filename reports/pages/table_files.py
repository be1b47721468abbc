"""A table in every format, by the name of its file."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from markupsafe import Markup

from flopledger.reports.documents.table import Table
from flopledger.reports.pages import charts, html, latex, markdown, sweep_chart
from flopledger.reports.pages.numbers import few, plural, visible
from flopledger.reports.pages.table_page import drawn, legend, page, to_csv


def to_json(found: Table) -> str:
    """Everything that is known of it, and its numbers as they are shown."""
    plain = msgspec.to_builtins(found)
    for row, shown in zip(plain["rows"], found.records(), strict=True):
        row["shown"] = {name: shown[name] for name in ("macs", "macs at least", *found.counters)}
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def to_markdown(found: Table) -> str:
    """A table as GitHub draws it, and what is to be said of its numbers."""
    return f"{markdown.render(page(found))}\n"


def to_latex(found: Table) -> str:
    """A table for a paper, with booktabs' rules; what it needs stands in its first line."""
    return f"% needs \\usepackage{{booktabs}}\n{latex.render(page(found))}\n"


def to_html(found: Table) -> str:
    """A page of its own, which fetches nothing and runs no script."""
    grid, notes = drawn(found)
    return html.page(
        "table.html.j2",
        data=None,
        script="",
        found=found,
        title=title(found),
        grid=grid,
        said=[str(block) for block in legend(found)],
        notes=notes,
        svg=Markup(charts.to_svg(sweep_chart.spec(found, background=None))) if found.swept else "",
        caption=sweep_chart.title(found) if found.swept else "",
    )


def title(found: Table) -> str:
    """`resnet50 and vgg19 through 7 counters`."""
    models = list(dict.fromkeys(visible(row.name) for row in found.rows))
    return f"{few(models, 3)} through {plural(len(found.counters), 'counter')}"


def to_svg(found: Table) -> str:
    """The chart of a sweep. Raises ValueError where nothing was swept."""
    if not found.swept:
        raise ValueError("there is a chart of a sweep only; name one, like --sweep 160,192,224")
    return charts.to_svg(sweep_chart.spec(found))


WRITERS: dict[str, Callable[[Table], str]] = {
    ".csv": to_csv, ".json": to_json, ".md": to_markdown, ".html": to_html, ".tex": to_latex, ".svg": to_svg,
}  # fmt: skip
