"""On which line of a TOML file each of its values begins; `tomllib`, which alone reads TOML here, does not say.

A statement of TOML (a header, or a key and its value) is a document of its own, and no part of one that goes on over
several lines is. So the file is taken apart into the shortest runs of lines that `tomllib` can read.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]


def lines(text: str) -> dict[Path, int]:
    """The first line, counted from 1, of every table, key and element of a list in a text that is TOML."""
    found: dict[Path, int] = {}
    table: Path = ()
    lengths: dict[Path, int] = {}  # of arrays of tables so far
    for first, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            keys = _keys(content)
            table = ()
            for i, key in enumerate(keys):
                table += (key,)
                if i == len(keys) - 1 and statement.lstrip().startswith("[["):
                    lengths[table] = lengths.get(table, -1) + 1
                if table in lengths:
                    table += (lengths[table],)
                found.setdefault(table, first)
        else:
            _inside(content, table, statement, first, found)
    return found


def line_of(found: dict[Path, int], path: Path) -> int:
    """The line of a value, or of the nearest thing around it; 1 for what is nowhere."""
    while path and path not in found:
        path = path[:-1]
    return found.get(path, 1)


def fault(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """The line of a syntax error, and what is wrong there, in tomllib's words."""
    message, _, where = str(error).partition(" (at ")
    at = re.match(r"line (\d+)", where)
    return int(at[1]) if at else max(1, text.rstrip().count("\n") + 1), message


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement and the line on which it begins."""
    pending, first = "", 1
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if not pending:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            first = number
        pending += line
        try:
            tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        yield first, pending
        pending = ""


def _keys(content: Any) -> list[str]:
    """The names of a header, from what it makes: a table in a table, or in an array."""
    keys = []
    while content:
        if isinstance(content, list):
            content = content[0]
            continue
        (key,) = content
        keys.append(key)
        content = content[key]
    return keys


def _inside(value: Any, path: Path, statement: str, first: int, found: dict[Path, int]) -> None:
    """The places in one statement. An inline table is on one line, so only elements of a list have their own."""
    if path:
        found.setdefault(path, first)
    if isinstance(value, dict):
        for key, inner in value.items():
            _inside(inner, (*path, key), statement, first, found)
    elif isinstance(value, list):
        starts = _elements(statement, len(value), first)
        for i, inner in enumerate(value):
            _inside(inner, (*path, i), "", starts[i], found)


def _elements(statement: str, length: int, first: int) -> list[int]:
    """The line on which each element of the statement's own list ends, which for inline tables is where it begins."""
    starts: list[int] = []
    so_far = ""
    for number, line in enumerate(io.StringIO(statement, newline="\n"), first):
        so_far += line
        try:
            (value,) = tomllib.loads(so_far + "]").values()
        except (tomllib.TOMLDecodeError, ValueError):
            continue
        while isinstance(value, dict):
            value = next(iter(value.values()))
        starts += [number] * (len(value) - len(starts) if isinstance(value, list) else 0)
    last = first + max(0, statement.rstrip().count("\n"))
    return [*starts, *[last if statement else first] * (length - len(starts))][:length]
