"""Comments in Markdown that mean something to us, told from those in code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token


def live(text: str, mark: re.Pattern[str]) -> list[re.Match[str]]:
    """Where a Markdown text has these comments as comments: what stands in code, or is escaped, is text.

    The pattern is of whole comments, and its group `asks` begins inside of one. A parser is asked, that sees each
    comment with its number in it: it knows of fences, lists, quotes and tables, and not where in the text it is.
    """
    found = list(mark.finditer(text))
    if not found:
        return []
    sign = next(c for c in map(chr, range(0xE000, 0xF900)) if c not in text)
    numbered, done = "", 0
    for i, match in enumerate(found):
        numbered += f"{text[done : match.start('asks')]}{sign}{i}{sign}"
        done = match.start("asks")
    tokens = MarkdownIt("commonmark").enable("table").parse(numbered + text[done:])
    seen = {int(i) for content in _comments(tokens) for i in re.findall(f"{sign}(\\d+){sign}", content)}
    return [match for i, match in enumerate(found) if i in seen]


def _comments(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("html_block", "html_inline"):
            yield token.content
        yield from _comments(token.children or ())


def line_of(text: str, at: int) -> int:
    """The number of the line, from 1."""
    return text.count("\n", 0, at) + 1
