"""One reconciliation as blocks: what `explain` prints, and what is complete enough to be pasted in an issue."""

from __future__ import annotations

from urllib.parse import quote

from packaging.version import Version

from flopledger.counters import registry
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages import coverage_words, pair_words, words
from flopledger.reports.pages.analysis import contributing
from flopledger.reports.pages.blocks import Block, Code, Column, Heading, Link, Loud, Paragraph, Point, Table
from flopledger.reports.pages.lines import of_pair
from flopledger.reports.pages.numbers import number, signed, visible
from flopledger.reports.pages.script import NoScript, alone
from flopledger.reports.pages.vocabulary import operation
from flopledger.reports.reconcile import Reconciliation


def blocks(run: Run, found: Reconciliation, whole: bool = True) -> list[Block]:
    """Why two counters differ; `whole` adds what somebody needs who has neither this model nor flopledger."""
    sides = run.tally(found.left), run.tally(found.right)
    said: list[Block] = [
        f"{words.at(run)}, {number(run.model.params)} parameters",
        _totals(run, found),
        of_pair(found),
        *map(Point, pair_words.sentences(found)),
        pair_words.neither(found, run),
        pair_words.leftover(found, run),
    ]
    if run.ledger.unpriced:
        said.append(Paragraph([Loud(words.unpriced(run))]))
    if not whole:
        return said
    said += _sources(found, sides)
    said += [text for tally in sides if (text := _changed(tally))]
    title = Heading("The difference with the two libraries alone", 3)
    try:
        code = Code(alone(run, *sides), "python")
    except NoScript as error:
        return [*said, title, f"There is no script: {visible(str(error))}."]
    prints = " and ".join(f"{number(tally.total or 0)} for {visible(tally.name)}" for tally in sides)
    return [*said, title, code, f"It prints {prints}."]


def _totals(run: Run, found: Reconciliation) -> Table:
    columns = [Column("counter"), Column("version"), Column("total", True), Column("unit"), Column("MACs seen", True)]
    rows = [
        [visible(t.name), visible(t.version or ""), number(t.total or 0), visible(t.unit), coverage_words.seen(run, t)]
        for t in (run.tally(found.left), run.tally(found.right))
    ]
    return Table(columns, [*rows, ["difference", "", signed(found.difference), "", ""]])


def _sources(found: Reconciliation, sides: tuple[TallyRecord, TallyRecord]) -> list[Block]:
    """The lines of source that say so, with their addresses where a project has a tag for its version."""
    told: dict[Link | Point, None] = {}
    for line in contributing(found):
        for tally, sources in zip(sides, (line.left_source, line.right_source), strict=True):
            for source in filter(None, sources.split("; ")):
                text = f"{operation(line)}, {visible(tally.name)}: {visible(source)}"
                at = address(tally.counter, tally.version, source)
                told[Link(text, at) if at else Point(text)] = None
    return [Heading("Where their sources say so", 3), *told] if told else []


def address(counter: str, version: str | None, source: str) -> str:
    """Of `path:line symbol`, at the tag of the version; "" where that is not known."""
    if counter not in registry.TABLE or not version:
        return ""
    base = str(getattr(registry.get(counter), "repository", ""))
    path, _, line = source.partition(" ")[0].rpartition(":")
    if not base or not path or not line.isdecimal():
        return ""
    return f"{base.format(version=quote(version.partition('+')[0]))}{quote(path)}#L{line}"


def _changed(tally: TallyRecord) -> str:
    """With which release a counter last changed what it charges, as far as its file here keeps that."""
    if tally.counter not in registry.TABLE or tally.release or not tally.version:
        return ""
    steps = registry.changes(tally.counter)
    if not steps or Version(steps[-1]) > Version(tally.version):
        return ""
    return f"{visible(tally.name)} last changed what it charges with its release {visible(steps[-1])}."
