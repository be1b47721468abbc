"""The files of a report, made from the run document alone: the same run gives the same bytes."""

from __future__ import annotations

from flopledger.reports.documents.history import History
from flopledger.reports.documents.history import check as check_history
from flopledger.reports.documents.reading import encode, parse
from flopledger.reports.documents.run import Run
from flopledger.reports.documents.run import check as check_run
from flopledger.reports.pages import analysis, charts, history_words, html, markdown, page, words
from flopledger.reports.pages.blocks import Note


def pages(run: Run) -> dict[str, str]:
    """File name → text: `report.md` with its two charts, and `report.html`, which needs no other file.

    A chart that has nothing to show (no counted total, no pair) is left out.
    """
    files = {"report.md": text(run), "report.html": html.render(run)}
    if run.counted():
        files["totals.svg"] = charts.to_svg(charts.totals_spec(run))
    pair = analysis.most_different(run)
    if pair:
        files["waterfall.svg"] = charts.to_svg(charts.waterfall_spec(pair, run.tally(pair.right).total or 0))
    return files


def history_pages(found: History) -> dict[str, str]:
    """The same for a history: `releases-COUNTER.md` with its chart, and `releases-COUNTER.html`."""
    name = history_words.file_stem(found)
    files = {f"{name}.md": text(found), f"{name}.html": html.history(found)}
    if found.counted:
        files[f"{name}.svg"] = charts.to_svg(charts.history_spec(found))
    return files


def text(found: Run | History) -> str:
    """The page as Markdown."""
    if isinstance(found, History):
        return f"{markdown.render([*history_words.blocks(found), Note(history_words.made(found))])}\n"
    return f"{markdown.render(page.of_run(found))}\n"


def read(document: bytes) -> Run | History:
    """A run or a history document.

    Raises:
        RunError: it cannot be read, was changed, or does not add up.
    """
    found: Run | History = parse(document, {"run": (Run, check_run), "history": (History, check_history)})
    return found


def rendered(found: Run | History) -> dict[str, bytes]:
    """The pages of a document, and itself."""
    return history_files(found) if isinstance(found, History) else run_files(found)


def verdict(found: Run | History) -> str:
    """Whether anything is wrong with it, in words."""
    return history_words.verdict(found) if isinstance(found, History) else words.anything_left(found)


def run_files(run: Run) -> dict[str, bytes]:
    """The pages of a run and `run.json`."""
    return {**_encoded(pages(run)), "run.json": encode(run)}


def history_files(found: History) -> dict[str, bytes]:
    """The pages of a history and its JSON."""
    return {**_encoded(history_pages(found)), f"{history_words.file_stem(found)}.json": encode(found)}


def _encoded(texts: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in texts.items()}
