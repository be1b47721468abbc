"""What moved in a project, in the formats that programs read; and as Markdown, which a comment must hold."""

from __future__ import annotations

from collections.abc import Callable

from flopledger.reports.moves import Moves
from flopledger.reports.pages import junit, markdown, moves_words, sarif
from flopledger.reports.pages.annotations import render as to_annotations
from flopledger.reports.pages.numbers import few
from flopledger.reports.pages.terminal import json_text

LONGEST = 65_000  # characters; GitHub takes 65,536 in a comment, of which some are for whoever posts it


def to_markdown(found: Moves) -> str:
    """The page, with what a comment has no room for left out, part by part, the least important first."""
    first, *middle, last = moves_words.sections(found)
    texts, left_out = [markdown.render(first.blocks)], []
    end = markdown.render(last.blocks)
    room = LONGEST - len(texts[0]) - len(end) - 1000
    for section in middle:
        text = markdown.render(section.blocks)
        if len(text) > room:
            left_out.append(section.name)
            continue
        texts.append(text)
        room -= len(text) + 2
    if left_out:
        said = (
            f"Left out here, as a comment has 65,536 characters: {few(left_out)[:700]}; flopledger drift prints it all."
        )
        texts.append(markdown.escape(said))
    return "\n\n".join(text for text in (*texts, end) if text) + "\n"


WRITERS: dict[str, Callable[[Moves], str]] = {
    "markdown": to_markdown,
    "json": json_text,
    "junit": junit.render,
    "github": to_annotations,
    "sarif": sarif.render,
}
ENDINGS = {".md": "markdown", ".json": "json", ".xml": "junit", ".sarif": "sarif"}
