"""The words of ours that a page explains where they stand, as `docs/words.md` has them."""

from __future__ import annotations

import re

WORDS = {
    "site": "A site is the qualified name of the module in which an operation runs, as named_modules() gives it.",
    "MAC": "A MAC is one multiply and the add that accumulates it. One MAC is two FLOPs.",
    "FLOP": "A FLOP is one floating-point operation. One MAC is two FLOPs.",
    "ledger": "The ledger is the reference: every operation of one run, traced without asking any counter.",
    "convention": "A convention is what a counter charges: which calls, by which formula, because of which line of "
    "whose source.",
    "formula": "A formula is a sum of products of quantities, such as 4·outputs, evaluated for every call.",
    "residual": "The residual is the part of a difference that no formula explains. It is printed always.",
    "coverage": "Coverage is the share of the ledger's MACs that a counter saw.",
    "unpriced": "An unpriced call may hold arithmetic and has no formula: what it takes is unknown, which is not zero.",
}
_WORD = re.compile(rf"(?<!\S)({'|'.join(WORDS)})s?(?!\S)")


def split(text: str) -> tuple[str, str, str, str]:
    """The text before the first of these words, the word as it stands, which it is, and the rest."""
    found = _WORD.search(text)
    if not found:
        return text, "", "", ""
    return text[: found.start()], found[0], found[1], text[found.end() :]
