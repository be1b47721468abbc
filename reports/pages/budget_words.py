"""A broken budget, in a sentence."""

from __future__ import annotations

from flopledger.reports.moves import Broken
from flopledger.reports.pages.numbers import listed, number, part, visible
from flopledger.reports.pages.vocabulary import op_word, place
from flopledger.reports.pages.words import without_formula


def sentence(found: Broken) -> str:
    """By how much, and what takes most; or that it cannot be told, and why.

    `resnet50: layer4 takes 811,663,360 MACs, 11,663,360 over its budget of 800,000,000 (1.4 %); most of them:
    layer4.0.conv2 (convolution) 115,605,504, …`
    """
    has = f"{_subject(found)} {_amount(found)}"
    least = "at least " if found.at_least else ""
    its = "the" if found.what in ("macs", "params") else "its"
    over = found.value - found.limit
    if over <= 0:
        return (f"{has}, and whether that is within {its} budget of {number(found.limit)} cannot be told. "
                f"UNPRICED: {without_formula(found.unpriced)}.")  # fmt: skip
    share = f" ({part(over, found.limit)})" if found.limit else ""
    said = f"{has}, {least}{number(over)} over {its} budget of {number(found.limit)}{share}"
    most = listed([_place(*each) for each in found.heaviest])
    return f"{said}; most of them: {most}" if most else said


def excess(found: Broken) -> str:
    """In a few words: `layer4 of resnet50 by 11,663,360 MACs (1.4 %)`."""
    of = (
        visible(found.model)
        if " " not in found.what
        else f"{limited(found.what).removeprefix('MACs of ')} of {visible(found.model)}"
    )
    over = found.value - found.limit
    if over <= 0:
        return f"{of}, which cannot be told"
    least = "at least " if found.at_least else ""
    unit = "parameters" if found.what == "params" else "MACs"
    return f"{of} by {least}{number(over)} {unit}{f' ({part(over, found.limit)})' if found.limit else ''}"


def limited(what: str) -> str:
    """What a budget is of: `MACs`, `parameters`, `MACs of convolution`, `MACs of layer4`."""
    kind, _, name = what.partition(" ")
    of = {"op": f" of {op_word(name)}", "site": f" of {place(name)}"}.get(kind, "")
    return "parameters" if kind == "params" else f"MACs{of}"


def _subject(found: Broken) -> str:
    kind, _, name = found.what.partition(" ")
    of = {"op": f": {op_word(name)}", "site": f": {place(name)}"}.get(kind, "")
    return f"{visible(found.model)}{of}"


def _amount(found: Broken) -> str:
    if found.what == "params":
        return f"has {number(found.value)} parameters"
    if found.at_least and not found.value:
        return "takes an unknown number of MACs, at least 0"
    return f"takes {'at least ' if found.at_least else ''}{number(found.value)} MACs"


def _place(site: str, op: str, amount: int) -> str:
    return f"{place(site)} ({op_word(op)}) {number(amount)}"
