"""A history as Markdown; its chart is the SVG that lies beside it."""

from __future__ import annotations

from flopledger.reports.documents.history import Change, History
from flopledger.reports.pages import history_words as told
from flopledger.reports.pages.lines import of_step
from flopledger.reports.pages.markdown import drawn, escape, table
from flopledger.reports.pages.numbers import number, signed
from flopledger.reports.verdict import wrong


def render(found: History) -> str:
    """The whole page; the same history gives the same bytes."""
    chart = f"![Total by release]({told.file_stem(found)}.svg)\n\n" if found.counted else ""
    alarm = f"**{escape(told.verdict(found))}**\n\n" if wrong(found) else f"{escape(told.verdict(found))}\n\n"
    rows = [
        [
            escape(row.release),
            escape(row.uploaded[:10]),
            "–" if row.total is None else number(row.total),
            signed(row.moved) if row.moved else "",
            "–" if row.params is None else number(row.params),
            f"{row.agree} of {row.sites}" if row.sites else row.status,
            "<br>".join(map(escape, told.remarks(row))),
        ]
        for row in found.rows
    ]
    blocks = [
        f"# {escape(found.counter)}: what every release says of {escape(found.model.spec)}\n\n"
        f"{escape(told.headline(found))}\n\n{alarm}{chart}",
        "## Where the number moved, and why\n" if found.changes else "",
        *[_change(change) for change in found.changes],
        "## Every release, in order of upload\n",
        table(["release", "uploaded", "total", "step", "parameters", "sites that agree", "remarks"], rows, 4, 1),
        f"\n{escape(told.made(found))}\n",
    ]
    return "\n".join(block for block in blocks if block)


def _change(change: Change) -> str:
    said = "\n".join(f"- {escape(text)}" for text in told.reasons(change))
    return f"### {escape(told.title(change))}\n\n{drawn(of_step(change.reconciliation))}\n{said}\n"
