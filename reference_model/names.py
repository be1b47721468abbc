"""What people type that stands for nothing, and the nearest names that would stand for something."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class SpecError(ValueError):
    """A spec or shape that stands for nothing; the message is one line that says what would."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?` with the nearest known names, or "" when nothing is near."""
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.casefold(), each)
    close = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    return f"; did you mean {', '.join(close)}?" if close else ""


def working_directory() -> str:
    """Where this process works."""
    try:
        return str(Path.cwd())
    except OSError:
        return "a folder that is gone"


def said(error: BaseException) -> str:
    """An error in one line, with its type; some cannot even say what they are."""
    try:
        text = [line.strip() for line in str(error).strip().splitlines()]
    except BaseException:
        text = []
    first = " ".join(text[: 2 if text and text[0].endswith(":") else 1])  # what is wrong is in the second then
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
