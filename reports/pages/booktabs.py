"""Tables and paragraphs for a paper: LaTeX with the rules of booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from flopledger.reports.pages.blocks import Table
from flopledger.reports.pages.latex import escape as latex

NEEDS = "% needs \\usepackage{booktabs}"
_DOWN = {raised: digit for digit, raised in zip("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True)}


def tabular(found: Table) -> list[str]:
    """The lines of a table; numbers to the right."""
    align = "".join("r" if column.numeric else "l" for column in found.columns)
    heads = _row([column.heading for column in found.columns])
    rows = [_row(row) for row in found.rows]
    return [f"\\begin{{tabular}}{{{align}}}", "\\toprule", heads, "\\midrule", *rows, "\\bottomrule", "\\end{tabular}"]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(text, cells)) + r" \\"


def text(plain: str) -> str:
    """Escaped; raised digits, as of a footnote's mark or a power of ten, as LaTeX writes them."""
    pieces: list[str] = []
    raised = ""
    for c in f"{plain}\0":
        if c in _DOWN:
            raised += _DOWN[c]
            continue
        if raised:
            pieces.append(f"\\textsuperscript{{{raised}}}")
            raised = ""
        if c != "\0":
            pieces.append("--" if c == "–" else latex(c))
    return "".join(pieces)
