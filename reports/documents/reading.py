"""Reading the JSON documents that this program writes, whatever has become of them since.

Each has a `digest` of everything else in it. It is a seal against accidents and stray edits, not against somebody who
makes another one: so whatever can be added up again is added up again, besides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from flopledger.counters.tally import LARGEST

T = TypeVar("T")
FORMAT: Literal[3] = 3
LONGEST = 1 << 28  # bytes

# One printable word: releases, and versions of packages, also of those that know nothing of PEP 440.
Version = Annotated[str, msgspec.Meta(pattern=r"^[\w.+!-]{1,100}(?![\s\S])")]
Moment = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?(?![\s\S])")]


RETIRED = {"snapshot": "it is the snapshot of one model, written by an older flopledger; `flopledger snapshot` takes "
                       "a baseline of many"}  # fmt: skip


class RunError(ValueError):
    """A document that cannot be read; the message is one line. `line` is where, if that can be told."""

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message)
        self.line = line


def content(path: Path) -> bytes:
    """What a file holds; of a device that never ends, no more than a document may be. Raises RunError and OSError."""
    with path.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise RunError(f"it is longer than {LONGEST >> 20} MB, which no document is")
    return data


def encode(found: Any) -> bytes:
    """A document as indented UTF-8 JSON, keys in the order of the types, and its digest."""
    plain = msgspec.to_builtins(found)
    return msgspec.json.format(msgspec.json.encode({**plain, "digest": digest(plain)}), indent=1) + b"\n"


def digest(plain: Any) -> str:
    """The SHA-256 of a document without its digest: as JSON without blanks, keys in order of the alphabet.

    So blanks, the ends of lines and the order of keys are nobody's business.
    """
    return hashlib.sha256(_canonical(plain)).hexdigest()


def _canonical(found: Any) -> bytes:
    return msgspec.json.encode(found, order="sorted")


def parse(data: bytes, known: Mapping[str, tuple[type[Any], Callable[[Any], Any]]]) -> Any:
    """The document of one of the `known` kinds, each with what adds it up; what has no kind is a run.

    Raises:
        RunError: cut off, not JSON, another format or kind, of another shape, changed, or it does not add up.
    """
    kind, head = opened(data, known)
    return unsealed(head, *known[kind], f"a {kind} document of format {FORMAT}")


def opened(data: bytes, known: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """The kind of a document, which is a `known` one, and the document as plain JSON.

    Raises:
        RunError: cut off, not JSON, or another format or kind.
    """
    kinds = " or ".join(known)
    head = _decoded(data)
    if not isinstance(head, dict) or "format" not in head:
        raise RunError(f'it is JSON but not a {kinds} document (no "format")')
    line = line_of(data, "format")
    if type(head["format"]) is int and 0 < head["format"] < FORMAT:
        raise RunError(
            f"it has format {head['format']}, written by an older flopledger, and this one reads format {FORMAT}; "
            "count again", line,
        )  # fmt: skip
    if head["format"] != FORMAT or isinstance(head["format"], bool):
        later = " of a later flopledger" if type(head["format"]) is int and head["format"] > FORMAT else ""
        raise RunError(
            f"it has format {_short(repr(head['format']))}{later}; this flopledger reads format {FORMAT}", line
        )
    kind = head.get("kind", "run")
    if isinstance(kind, str) and kind in RETIRED:
        raise RunError(RETIRED[kind], line_of(data, "kind"))
    if not isinstance(kind, str) or kind not in known:
        raise RunError(f"it is a document of kind {_short(repr(kind))}; this needs a {kinds} document")
    return kind, head


def unsealed(head: dict[str, Any], shape: type[T], check: Callable[[T], Any], what: str) -> T:
    """Plain JSON with its digest as what it is, added up again.

    Raises:
        RunError: it is of another shape, does not add up, or its digest does not fit.
    """
    head = dict(head)
    if "digest" not in head:
        raise RunError(f"it has format {FORMAT} but no digest: written by an older flopledger; count again")
    seal = head.pop("digest")
    try:
        found = msgspec.convert(head, shape)
    except msgspec.ValidationError as error:
        raise RunError(f"it is not {what} ({_short(str(error))})") from None
    if _canonical(found) != _canonical(head):
        raise RunError(f"it has other fields than {what}")
    check(found)
    if seal != digest(head):
        raise RunError("it was changed since it was written (its digest does not fit); count again")
    return found


def line_of(data: bytes, key: str, nth: int = 0, value: bytes = b"") -> int | None:
    """The line of a key, and what its value begins with, in a document as it is written here; None where it is not."""
    name = re.escape(msgspec.json.encode(key)) + rb": " + re.escape(value)
    found = sorted(re.finditer(rb"^( *)" + name, data, re.MULTILINE), key=lambda each: len(each[1]))
    return data.count(b"\n", 0, found[nth].start()) + 1 if len(found) > nth else None


def _decoded(data: bytes) -> Any:
    """Any JSON with numbers that can be amounts, and nested no deeper than Python can follow."""
    try:
        found = msgspec.json.decode(data)
        where = _beyond(found)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        at = re.search(r"\(byte (\d+)\)", str(error))
        line = data.count(b"\n", 0, int(at[1]) if at else len(data.rstrip())) + 1
        raise RunError(f"it is not whole JSON ({_short(str(error))})", line) from None
    if where is not None:
        raise RunError(f"it has a number beyond 2**62, which is no amount ({_short('.'.join(where))})")
    return found


def check_numbers(found: Any) -> None:
    """Raise RunError where a document to be written has a number that `parse` would not read."""
    where = _beyond(msgspec.to_builtins(found))
    if where is not None:
        raise RunError(f"a number beyond 2**62 is no amount ({_short('.'.join(where))})")


def _beyond(found: Any) -> list[str] | None:
    """Where there is a number that is too large."""
    if isinstance(found, dict):
        inside = list(found.items())
    elif isinstance(found, (list, tuple)):
        inside = list(enumerate(found))
    else:
        return [] if isinstance(found, (int, float)) and abs(found) > LARGEST else None
    for key, value in inside:
        where = _beyond(value)
        if where is not None:
            return [str(key), *where]
    return None


def _short(text: str) -> str:
    """What somebody else's text says, on one line that can be read."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return line if len(line) <= 300 else f"{line[:300]}…"


def check_moment(text: str, what: str) -> None:
    """Raise RunError where what looks like a date is none."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise RunError(f"{what} is no date: {_short(text)}") from None


def check_unlike(names: list[str], what: str) -> None:
    """Raise RunError where a name comes twice."""
    if len(names) != len(set(names)):
        raise RunError(f"it has two {what} of one name")


def quoted(name: str) -> str:
    """A name for a message: on one line, and no longer than that."""
    return _short(re.sub(r"\s", " ", name)) or "(no name)"
