"""The Markdown page, GitHub-flavoured; its charts are the SVG files that lie beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from flopledger.reference_model.ledger import meaning_of
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages import analysis, numbers, pair_words, paper, vocabulary, words
from flopledger.reports.pages.blocks import Table
from flopledger.reports.pages.layers import Layer, layers
from flopledger.reports.pages.lines import of_pair
from flopledger.reports.pages.numbers import number, signed
from flopledger.reports.pages.vocabulary import op_word, place
from flopledger.reports.reconcile import Reconciliation
from flopledger.reports.verdict import wrong

PAIR = ["pair", "difference", "by the formulas", "unexplained of the first", "of the second", "residual"]
ROWS = 500  # layers that the page lists; `run.json` and the HTML have them all

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "$": "&#36;", "@": "&#64;"}
_MARKS = re.compile(r"[\\*\[\]~]|(?<![^\W_])_|_(?![^\W_])")
# What makes a line a heading, a list or a rule, and what ends a heading: a backslash stands behind it.
_STARTS = re.compile(r"^(?==|[+-](?!\d))|^\d{1,9}(?=[.)](?:\s|$))|(?<!\S)(?=#)")
# What code-hosting pages look for when Markdown is through and an escaped sign is the sign again: addresses of pages
# and of people, mentions, numbers of issues, names of pictures. Only code they leave as it is.
_LOOKED_FOR = re.compile(r"://|www\.|@\w|\w@|[#!]\d|GH-\d|:(?!\d{1,2}:)[\w+-]+:", re.IGNORECASE)


def escape(raw: str) -> str:
    """One line of plain text: nothing in it is Markdown, HTML, a link or the end of a table cell."""
    pieces = re.split(r"([\s|`]+)", numbers.visible(raw).strip())
    return _STARTS.sub(r"\g<0>\\", "".join(map(_word, pieces)))


def _word(plain: str) -> str:
    if _LOOKED_FOR.search(plain):
        return f"`{plain}`"
    return "".join(_ENTITIES.get(c, c) for c in _MARKS.sub(r"\\\g<0>", plain))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0, after: int = 0) -> str:
    """A table with `numbers` right-aligned columns before its last `after`. Cells are escaped already."""
    rule = ["---"] * (len(head) - numbers - after) + ["---:"] * numbers + ["---"] * after
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def drawn(found: Table) -> str:
    """A table of lines; what no formula explains, and the sum, in bold."""
    rule = ["---:" if column.numeric else "---" for column in found.columns]
    rows = [
        [f"**{escape(cell)}**" if cell and kind in ("residual", "sum") else escape(cell) for cell in row]
        for row, kind in zip(found.rows, found.kinds, strict=True)
    ]
    heads = [escape(column.heading) for column in found.columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows)) + "\n"


def fenced(raw: str, language: str = "latex") -> str:
    """A code block that its content cannot close."""
    longest = max((len(run) for run in re.findall("`+", raw)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{raw}\n{fence}\n"


def render(run: Run) -> str:
    """The whole page. It depends on the run alone, so the same run gives the same bytes."""
    pair = analysis.most_different(run)
    blocks = [
        _opening(run),
        _totals(run),
        _measure(run),
        _difference(run, pair),
        _left(run),
        _paper(run),
        _layers(run),
        "## What each counter charges, and why\n",
        *[_convention(run, tally) for tally in run.tallies],
        _ledger(run),
    ]
    return "\n".join(blocks)


def _opening(run: Run) -> str:
    alarm = f"**{escape(words.anything_left(run))}** " if wrong(run) else ""
    chosen = words.by_default(run)
    return (
        f"# {escape(run.model.spec)}: what each FLOP counter says, and why\n\n"
        f"{alarm}{escape(words.headline(run))} "
        f"The ledger holds {words.macs_said(run)} and {number(run.model.params)} parameters."
        f"{chosen and f' {escape(chosen)}'}\n"
    )


def _totals(run: Run) -> str:
    rows = []
    for tally in run.tallies:
        if tally.status == "counted":
            total, unit = number(tally.total or 0), escape(tally.unit)
            seen, agree = words.seen(run, tally), words.agreement(tally)
        else:
            unit = f"{tally.status}: {escape(tally.reason or 'no reason given')}"
            total, seen, agree = "–", "–", "–"
        rows.append([escape(tally.name), escape(tally.version or "–"), unit, total, seen, agree])
    chart = "\n![Totals by counter, split by operation](totals.svg)\n" if run.counted() else ""
    head = ["counter", "version", "unit", "total", "MACs seen", "sites that agree"]
    return f"## What does each counter say?\n\n{table(head, rows, 3)}{chart}"


def _measure(run: Run) -> str:
    counted = run.counted()
    said = f"## Do they measure the same thing?\n\n{escape(words.same_measure(run))}\n"
    if not counted:
        return said
    rows = [
        [
            escape(op_word(op)),
            *("<br>".join(escape(formula) for formula in formulas) for formulas in row.values()),
        ]
        for op, row in analysis.matrix(run).items()
    ]
    return said + "\n" + table(["operation", *(f"{escape(t.name)} ({escape(t.unit)})" for t in counted)], rows)


def _difference(run: Run, pair: Reconciliation | None) -> str:
    title = "## Which lines make up the difference?\n\n"
    if pair is None:
        return f"{title}There are no two counted totals, so there is no difference to explain.\n"
    because = "\n".join(f"- {escape(sentence)}" for sentence in pair_words.sentences(pair))
    return (
        f"{title}The two most different: {escape(pair_words.difference(pair))}\n\n{drawn(of_pair(pair))}\n"
        f"![From the first total to the second](waterfall.svg)\n\n{because}\n\n"
        f"{escape(pair_words.neither(pair, run))}\n\n**{escape(pair_words.leftover(pair, run))}**\n"
    )


def _left(run: Run) -> str:
    rows = [
        [
            f"{escape(pair.left)} − {escape(pair.right)}",
            *map(signed, (pair.difference, pair.explained, *pair.off)),
            signed(pair.residual),
        ]
        for pair in analysis.listed_pairs(run)
    ]
    every = f"\n{words.which_pairs(run)}.\n" if analysis.pairs(run) else ""
    every += f"\n{table(PAIR, rows, 5)}" if rows else ""
    return f"## Is anything left over?\n\n**{escape(words.anything_left(run))}**\n{every}"


def _paper(run: Run) -> str:
    choices: list[tuple[str, TallyRecord | None]] = [("the ledger", None)] if analysis.macs(run) else []
    choices += [(tally.name, tally) for tally in run.counted()]
    blocks = [
        f"**{escape(name)}.** {escape(paper.paper_sentence(run, tally))}\n\n" + fenced(paper.paper_latex(run, tally))
        for name, tally in choices
    ]
    advice = paper.recommended(run) or "The ledger has no multiply-accumulates; say which counter you used."
    columns = f"Columns of the LaTeX rows: {escape(paper.LATEX_COLUMNS)}.\n"
    return "\n".join([f"## Which number goes in a paper?\n\n{escape(advice)}\n", *blocks, columns])


def _layers(run: Run) -> str:
    counted = run.counted()
    every = layers(run)
    shown = every
    said = ""
    if len(every) > ROWS:
        heaviest = sorted(range(len(every)), key=lambda i: (-_size(every[i]), i))[:ROWS]
        shown = [every[i] for i in sorted(heaviest)]
        said = f"The {number(ROWS)} largest of {number(len(every))} rows; `run.json` and the HTML have all.\n\n"
    head = ["site", "operation", "MACs", *(escape(tally.name) for tally in counted)]
    body = table(head, [_layer(layer) for layer in shown], 1 + len(counted))
    summary = f"<details><summary>{numbers.plural(len(every), 'row')}, one per operation and site</summary>"
    return f"## Layer by layer\n\n{summary}\n\n{said}{body}\n</details>\n"


def _size(layer: Layer) -> float:
    """What decides whether a row is shown: one of unknown size always is."""
    return float("inf") if layer.macs is None else max([layer.macs, *layer.counts])


def _layer(layer: Layer) -> list[str]:
    op = escape(op_word(layer.op)) if layer.op is not None else "(whole module)"
    known = layer.macs is not None
    counts = [number(count) if known or count else "–" for count in layer.counts]
    return [escape(place(layer.site)), op, "unknown" if layer.macs is None else number(layer.macs), *counts]


def _convention(run: Run, tally: TallyRecord) -> str:
    blocks = [f"### {escape(tally.name)}\n"]
    if tally.reason:
        blocks.append(f"{tally.status}: {escape(tally.reason)}\n")
    if tally.status == "counted":
        rows = [
            [
                escape(vocabulary.operation(line)) + (f" ({escape(line.when)})" if line.when else ""),
                escape(analysis.charge(line)[0]),
                escape(line.because),
                escape(line.source),
                number(line.sites),
                analysis.charge(line)[1],
            ]
            for line in run.convention(tally)
        ]
        blocks.append(table(["operation", "formula", "because", "source", "sites", "count"], rows, 2))
    for f in tally.failures:
        says = f"it reports {number(f.reported)}, they give {number(f.claimed)}{escape(pair_words.known(f))}"
        blocks.append(f"- Its formulas fail at {escape(vocabulary.whereabouts(f))}: {says}.\n")
    if tally.uncounted:
        names = ", ".join(f"{escape(name)} ({number(calls)})" for name, calls in tally.uncounted.items())
        blocks.append(f"Says that it left out: {names}.\n")
    blocks += [f"- Warning: {escape(warning)}\n" for warning in tally.warnings]
    blocks += [f"- Shim it needed to run: {escape(shim)}\n" for shim in tally.shims]
    return "\n".join(blocks)


def _ledger(run: Run) -> str:
    notes = "".join(f"- {escape(note)}\n" for note in run.ledger.notes)
    notes += "".join(f"- {escape(said)}\n" for said in [words.unpriced(run), *words.beside(run)] if said)
    rows = [
        [escape(name), meaning_of(name), words.at_least(run, number(total)) if name == "macs" else number(total)]
        for name, total in run.ledger.totals.items()
    ]
    made = run.environment
    environment = (
        f"flopledger {escape(run.flopledger)}, {escape(run.created)}, Python {escape(made.python)}, "
        f"torch {escape(made.torch or 'none')}, {escape(made.platform)}."
    )
    traced = (
        f"Every operation of {vocabulary.PASSES[run.model.mode]}, traced on the {escape(run.model.device)} device, "
        "without asking any counter.\n"
    )
    return f"## The ledger\n\n{traced}{notes}\n{table(['quantity', 'meaning', 'total'], rows, 1)}\n{environment}\n"
