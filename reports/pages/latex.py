"""Blocks as LaTeX, with booktabs tables; charts are left out."""

from __future__ import annotations

from collections.abc import Sequence

from flopledger.reports.pages.blocks import (
    Block,
    Chart,
    Code,
    Fold,
    Heading,
    Link,
    Live,
    Loud,
    Note,
    Paragraph,
    Point,
    Table,
)
from flopledger.reports.pages.numbers import visible

_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≠": r"$\ne$",
    "−": "$-$",
    "–": "--",
    "…": r"\dots{}",
    '"': "''",
    **{raised: f"\\textsuperscript{{{digit}}}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{character: f"\\{character}" for character in "{}&%$#_"},
}
_LEVELS = {1: "section*", 2: "subsection*", 3: "subsubsection*"}


def escape(text: str) -> str:
    """The text with everything escaped that LaTeX would read as a command."""
    return "".join(_SIGNS.get(c, c) for c in visible(text))


def render(blocks: Sequence[Block]) -> str:
    """All of them; it needs `\\usepackage{booktabs}`."""
    return "\n\n".join(filter(None, map(_drawn, blocks)))


def _drawn(block: Block) -> str:
    match block:
        case str():
            return escape(block)
        case Heading(text, level):
            return f"\\{_LEVELS[level]}{{{escape(text)}}}"
        case Paragraph(sentences):
            return " ".join(
                f"\\textbf{{{escape(said.text)}}}" if isinstance(said, Loud) else escape(said) for said in sentences
            )
        case Point(text) | Link(text, _):
            return f"\\noindent\\textbullet\\ {escape(text)}"
        case Note(text):
            return f"{{\\small {escape(text)}}}"
        case Table():
            return table(block)
        case Chart():
            return ""
        case Code(text, _):
            return "\n".join(
                [
                    "\\begin{flushleft}\\ttfamily",
                    *(f"{escape(line)}\\\\" for line in text.split("\n") if line),
                    "\\end{flushleft}",
                ]
            )
        case Fold(summary, inner):
            return render([summary, *inner])
        case Live(_, inner):
            return render(inner)


def table(found: Table) -> str:
    """A tabular; a sum stands under a rule of its own."""
    kinds = found.kinds or ["on"] * len(found.rows)
    lines = [
        f"\\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in found.columns)}}}",
        "\\toprule",
    ]
    lines += [_row([column.heading for column in found.columns]), "\\midrule"]
    for row, kind in zip(found.rows, kinds, strict=True):
        lines += [*(["\\midrule"] if kind == "sum" else []), _row(row)]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(map(escape, cells))} \\\\"
