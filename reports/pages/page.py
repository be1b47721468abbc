"""The page of a run as blocks, made once for every renderer: one function for each section."""

from __future__ import annotations

from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages import coverage_words, pair_words, paper, tables, words
from flopledger.reports.pages.analysis import macs, most_different
from flopledger.reports.pages.analysis import pairs as every_pair
from flopledger.reports.pages.blocks import (
    Block,
    Chart,
    Code,
    Fold,
    Heading,
    Live,
    Loud,
    Note,
    Paragraph,
    Point,
)
from flopledger.reports.pages.layers import layers
from flopledger.reports.pages.lines import of_pair
from flopledger.reports.pages.numbers import brief, number, plural, visible
from flopledger.reports.pages.vocabulary import PASSES, whereabouts
from flopledger.reports.verdict import wrong

SITE = "A site is a module's place in the model; formulas are compared with what was reported at each."
HOLD = (
    "Where formulas hold, they give what the counter reported: they say what it charges, not that this is right. "
    "MACs seen are the share of the ledger's that it charged for."
)
NOTHING = "There are no two counted totals, so there is no difference to explain."


def of_run(run: Run) -> list[Block]:
    """Everything that there is to say of a run. It depends on the run alone."""
    return [
        Heading(f"{visible(run.model.spec)}: what each FLOP counter says, and why", 1),
        opening(run),
        *says(run),
        *measure(run),
        *difference(run),
        *left_over(run),
        *for_a_paper(run),
        *by_layer(run),
        *conventions(run),
        *ledger(run),
    ]


def opening(run: Run) -> Paragraph:
    """The first paragraph: what is wrong, the totals, the unit, the ledger, who saw how much of it."""
    left = words.left(run)
    said: list[str | Loud] = list(left) if wrong(run) else []
    said += [words.headline(run), words.unit(run)]
    said.append(f"The ledger holds {words.macs_said(run)} and {number(run.model.params)} parameters.")
    said += coverage_words.first(run)
    if not wrong(run):
        said += left if run.counted() else []
    said.append(words.by_default(run))
    return Paragraph([each for each in said if each])


def says(run: Run) -> list[Block]:
    """The totals, beside the ledger."""
    found: list[Block] = [Heading("What does each counter say?", 2, "say"), tables.totals(run), Note(HOLD)]
    found += [
        Point(f"{visible(tally.name)}, {tally.status}: {brief(tally.reason or 'no reason given')}")
        for tally in run.tallies
        if tally.status != "counted"
    ]
    found += [
        Point(f"{visible(tally.name)} misses {coverage_words.missing(run, tally)}.")
        for tally in run.counted()
        if coverage_words.missing(run, tally)
    ]
    if run.counted():
        found.append(Chart("totals", "Totals by counter, split by operation"))
    return found


def measure(run: Run) -> list[Block]:
    """Whether they charge for the same things."""
    said: list[Block] = [Heading("Do they measure the same thing?", 2, "same"), words.same_measure(run)]
    return [*said, tables.formulas(run)] if run.counted() else said


def difference(run: Run) -> list[Block]:
    """The most different pair, line by line."""
    title, pair = Heading("Which lines make up the difference?", 2, "lines"), most_different(run)
    if pair is None:
        return [title, NOTHING]
    said: list[Block] = [
        f"The two most different, in MACs: {pair_words.difference(pair)}",
        of_pair(pair),
        Note(SITE),
        Chart("waterfall", "From the first total to the second"),
        *map(Point, pair_words.sentences(pair)),
        pair_words.neither(pair, run),
        pair_words.leftover(pair, run),
    ]
    return [title, Live("pair", said)]


def left_over(run: Run) -> list[Block]:
    """What no formula explains, pair by pair."""
    found: list[Block] = [Heading("Is anything left over?", 2, "left"), Paragraph(words.left(run))]
    if every_pair(run):
        table = tables.pairs(run)
        found += [f"{words.which_pairs(run)}.", *([table] if table.rows else [])]
    return found


def for_a_paper(run: Run) -> list[Block]:
    """A sentence and a LaTeX row for every number."""
    choices: list[tuple[str, TallyRecord | None]] = [("the ledger", None)] if macs(run) else []
    choices += [(visible(tally.name), tally) for tally in run.counted()]
    copied: list[Block] = []
    for name, tally in choices:
        copied += [Heading(name, 3), paper.paper_sentence(run, tally), Code(paper.paper_latex(run, tally), "latex")]
    return [
        Heading("Which number goes in a paper?", 2, "paper"),
        paper.recommended(run) or "The ledger has no multiply-accumulates; say which counter you used.",
        Live("papers", copied),
        Note(f"Columns of the LaTeX rows: {paper.LATEX_COLUMNS}."),
    ]


def by_layer(run: Run) -> list[Block]:
    """Every operation at every site."""
    every, table = len(layers(run)), tables.by_layer(run)
    inner: list[Block] = [table]
    if every > len(table.rows):
        inner = [
            f"The {number(len(table.rows))} largest of {number(every)} rows; run.json and the HTML have all.",
            table,
        ]
    summary = f"{plural(every, 'row')}, one per operation and site"
    return [Heading("Layer by layer", 2, "layers"), Live("layers", [Fold(summary, inner)])]


def conventions(run: Run) -> list[Block]:
    """What each counter charges, why, and the line of its source that says so."""
    found: list[Block] = [Heading("What each counter charges, and why", 2, "conventions")]
    for tally in run.tallies:
        found += [Heading(visible(tally.name), 3), *_convention(run, tally)]
    return found


def _convention(run: Run, tally: TallyRecord) -> list[Block]:
    found: list[Block] = [f"{tally.status}: {brief(tally.reason)}"] if tally.reason else []
    if tally.status == "counted":
        found += [f"Its formulas hold at {words.agreement(tally)}.", tables.convention(run, tally)]
    for f in tally.failures:
        says = f"it reports {number(f.reported)}, they give {number(f.claimed)}{pair_words.known(f)}"
        found.append(Point(f"Its formulas fail at {whereabouts(f)}: {says}."))
    if tally.uncounted:
        names = ", ".join(f"{visible(name)} ({number(calls)})" for name, calls in tally.uncounted.items())
        found.append(f"Says that it left out: {names}.")
    if tally.params is not None:
        found.append(f"{plural(tally.params, 'parameter')} by its own count.")
    found += [Point(f"Warning: {visible(warning)}") for warning in tally.warnings]
    found += [Point(f"Shim it needed to run: {visible(shim)}") for shim in tally.shims]
    return found


def ledger(run: Run) -> list[Block]:
    """The reference itself: what it holds, and how it was made."""
    made = run.environment
    found: list[Block] = [
        Heading("The ledger", 2, "ledger"),
        f"Every operation of {PASSES[run.model.mode]}, traced on the {visible(run.model.device)} device, "
        "without asking any counter.",
        *(Point(brief(note)) for note in run.ledger.notes),
    ]
    if run.ledger.unpriced:
        found.append(Paragraph([Loud(words.unpriced(run))]))
    found += [*map(Point, words.beside(run)), tables.quantities(run)]
    found.append(
        Note(f"flopledger {visible(run.flopledger)}, {visible(run.created)}, Python {visible(made.python)}, "
             f"torch {visible(made.torch or 'none')}, {visible(made.platform)}.")
    )  # fmt: skip
    return found
