"""Reading the JSON documents that this program writes, whatever has become of them since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

FORMAT: Literal[2] = 2


class RunError(ValueError):
    """A document that cannot be read; the message is one line."""


def encode(found: Any) -> bytes:
    """A document as indented UTF-8 JSON, keys in the order of the types."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def parse(data: bytes, known: Mapping[str, type[Any]]) -> Any:
    """The document of one of the `known` kinds; what has no kind is a run.

    Raises:
        RunError: cut off, not JSON, another format or kind, or of another shape.
    """
    kinds = " or ".join(known)
    try:
        head = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"it is not whole JSON ({error})") from None
    if not isinstance(head, dict) or "format" not in head:
        raise RunError(f'it is JSON but not a {kinds} document (no "format")')
    if head["format"] == 1:
        raise RunError(
            f"it has format 1, written by an older flopledger, and this one reads format {FORMAT}; count again"
        )
    if head["format"] != FORMAT or isinstance(head["format"], bool):
        raise RunError(f"it has format {head['format']!r}; this flopledger reads format {FORMAT}")
    kind = head.get("kind", "run")
    if not isinstance(kind, str) or kind not in known:
        raise RunError(f"it is a document of kind {kind!r}; this needs a {kinds} document")
    try:
        return msgspec.convert(head, known[kind])
    except msgspec.ValidationError as error:
        raise RunError(f"it is not a {kind} document of format {FORMAT} ({error})") from None
