"""A history as Markdown; its chart is the SVG that lies beside it."""

from __future__ import annotations

from reports import history_words as told
from reports import words
from reports.history import Change, History
from reports.markdown import escape, table
from reports.words import number, op_word, signed


def render(found: History) -> str:
    """The whole page; the same history gives the same bytes."""
    chart = f"![Total by release]({told.file_stem(found)}.svg)\n\n" if found.counted else ""
    alarm = f"**{escape(told.verdict(found))}**\n\n" if found.residual else f"{escape(told.verdict(found))}\n\n"
    rows = [
        [
            escape(row.release),
            row.uploaded[:10],
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
    rows = [
        [escape(op_word(x.op)), escape(x.right_formula), escape(x.left_formula), words.verified(x), number(x.right),
         number(x.left), signed(x.difference)]
        for x in words.contributing(change.reconciliation)
    ]  # fmt: skip
    if change.reconciliation.residual:
        residual = f"**{signed(change.reconciliation.residual)}**"
        rows.append(["**residual**", "no formula explains it", "", "", "", "", residual])
    head = ["operation", "charged before", "charges after", "sites verified", "before", "after", "change"]
    said = "\n".join(f"- {escape(text)}" for text in told.reasons(change))
    return f"### {escape(told.title(change))}\n\n{table(head, rows, 3)}\n{said}\n"
