"""A badge of one model: what shields.io's endpoint reads, and an SVG that needs nobody's server."""

from __future__ import annotations

import unicodedata
from fractions import Fraction
from typing import Literal, NamedTuple
from xml.sax.saxutils import escape

import msgspec

from flopledger.reference_model.ledger import MODES
from flopledger.reports.documents.baseline import Snapshot
from flopledger.reports.pages.numbers import number, percent, plural, visible

Unit = Literal["MAC", "FLOP"]
VERIFIED, PLAIN, AT_LEAST = "#2c7a3f", "#32658f", "#9a5b00"  # white text on each has a contrast above 4.5
LABEL = "#4a4f55"
HEIGHT, SIDE, SIZE = 20, 6, 11  # pixels: of the badge, left and right of a text, of a letter
_FONT = "Verdana, 'DejaVu Sans', Geneva, sans-serif"
# Verdana's own widths, in 2048ths of its size, from the blank to the tilde.
_WIDTHS = [
    *(720, 806, 940, 1676, 1302, 2204, 1488, 550, 930, 930, 1302, 1676, 745, 930, 745, 930),
    *([1302] * 10), *(930, 930, 1676, 1676, 1676, 1117, 2048),
    *(1400, 1404, 1430, 1578, 1295, 1177, 1588, 1539, 862, 931, 1419, 1140, 1726),
    *(1532, 1612, 1235, 1612, 1424, 1400, 1262, 1499, 1400, 2025, 1403, 1260, 1403),
    *(930, 930, 930, 1676, 1302, 1302),
    *(1230, 1276, 1067, 1276, 1220, 720, 1276, 1296, 562, 705, 1212, 562, 1992),
    *(1296, 1243, 1276, 1276, 874, 1067, 807, 1296, 1212, 1676, 1212, 1212, 1076),
    *(1300, 930, 1300, 1676),
]  # fmt: skip
_OTHER, _WIDE, _DOT = 1400, 2048, 745


class Badge(NamedTuple):
    """What a badge says, and in `title` the whole of it."""

    label: str
    message: str
    colour: str
    title: str


def badge(name: str, model: Snapshot, unit: Unit = "FLOP", label: str | None = None) -> Badge:
    """The badge of a model: its ledger's FLOPs, two of each MAC, or its MACs.

    It says `verified` where three things hold: wherever a counter speaks of the ledger's calls, it reported what its
    formulas give of them; one of the counters saw all of the MACs; nothing is unpriced. It says `at least` where
    something is.
    """
    macs, least = model.ledger.get("macs", 0), bool(model.unpriced)
    amount = 2 * macs if unit == "FLOP" else macs
    convention = ["2·MAC"] if unit == "FLOP" else []
    mode = [] if model.model.mode == "eval" else [model.model.mode]
    sure = ["verified"] if verified(model) else []
    shown = f"{'at least ' if least else ''}{_three(amount, cut=least)}{f'{unit}s' if label else ''}".rstrip()
    colour = AT_LEAST if least else VERIFIED if sure else PLAIN
    title = f"{visible(name)}: {_title(model, amount, unit)}"
    return Badge(visible(label or f"{unit}s"), " · ".join([shown, *convention, *mode, *sure]), colour, title)


def verified(model: Snapshot) -> bool:
    """Whether the number is sure: see `badge`."""
    places = sum(tally.verified.sites for tally in model.tallies)
    return bool(places) and not failing(model) and not model.unpriced and seen(model) in (None, 1)


def failing(model: Snapshot) -> list[str]:
    """The counters whose formulas do not give what they reported, somewhere."""
    return [tally.name for tally in model.tallies if tally.verified.agree < tally.verified.sites]


def seen(model: Snapshot) -> Fraction | None:
    """The share of the MACs that one counter saw, of that which saw most; None where there are none to see."""
    macs = model.ledger.get("macs", 0)
    return Fraction(max((tally.seen for tally in model.tallies), default=0), macs) if macs else None


def _title(model: Snapshot, amount: int, unit: Unit) -> str:
    names = [visible(tally.name) for tally in model.tallies if tally.total is not None]
    least = "at least " if model.unpriced else ""
    said = f"{least}{number(amount)} {unit}s{' (2 per MAC)' if unit == 'FLOP' else ''}"
    inputs = ", ".join(map(visible, model.model.inputs))
    of = f" for {MODES[model.model.mode]}" if model.model.mode != "eval" else ""
    if model.unpriced:
        calls = plural(sum(model.unpriced.values()), "call")
        sure = f"not known what {', '.join(map(visible, model.unpriced))} takes ({calls})"
    elif verified(model):
        sure = f"verified with {', '.join(names)}"
    elif odd := failing(model):
        sure = f"not verified: formulas fail for {', '.join(map(visible, odd))}"
    elif names:
        sure = f"not verified: no counter saw more than {percent(seen(model))} of the MACs"
    else:
        sure = "no counter was asked"
    return f"{said}{of} at {inputs}; {sure}"


def _three(n: int, *, cut: bool) -> str:
    """Three digits and a prefix, rounded or cut off: `8.18 G`, `25.6 M`; all of what is below a thousand."""
    if n < 1000:
        return f"{n} "
    spare = 10 ** (len(str(n)) - 3)
    shown = Fraction((n + (0 if cut else spare // 2)) // spare * spare)
    power = min(4, (len(str(int(shown))) - 1) // 3)
    scaled = shown / 1000**power
    decimals = max(0, 3 - len(str(int(scaled))))
    return f"{float(scaled):,.{decimals}f} {'kMGT'[power - 1]}"


def endpoint(found: Badge) -> bytes:
    """The JSON that https://img.shields.io/endpoint?url=… reads (https://shields.io/badges/endpoint-badge)."""
    plain = {"schemaVersion": 1, "label": found.label, "message": found.message, "color": found.colour}
    return msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"


def svg(found: Badge) -> str:
    """The badge drawn: each text is as wide as it was measured, whatever font the reader has."""
    left, right = (width(text) for text in (found.label, found.message))
    middle = left + 2 * SIDE
    whole = middle + right + 2 * SIDE
    title = escape(found.title)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" role="img" '
        f'aria-labelledby="t"><title id="t">{title}</title>',
        f'<clipPath id="r"><rect width="{whole}" height="{HEIGHT}" rx="3"/></clipPath>',
        f'<g clip-path="url(#r)"><rect width="{middle}" height="{HEIGHT}" fill="{LABEL}"/>'
        f'<rect x="{middle}" width="{whole - middle}" height="{HEIGHT}" fill="{found.colour}"/></g>',
        f'<g fill="#fff" font-family="{_FONT}" font-size="{SIZE}" aria-hidden="true">',
        _drawn(found.label, SIDE, left),
        _drawn(found.message, middle + SIDE, right),
        "</g></svg>\n",
    ])  # fmt: skip


def _drawn(text: str, x: int, wide: int) -> str:
    return f'<text x="{x}" y="14" textLength="{wide}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'


def width(text: str) -> int:
    """How many pixels a text takes in Verdana; what is not ASCII is taken to be as wide as a capital, or twice that."""
    return -(-sum(map(_letter, text)) * SIZE // 2048)


def _letter(c: str) -> int:
    if " " <= c <= "~":
        return _WIDTHS[ord(c) - 32]
    if unicodedata.combining(c):
        return 0
    return _DOT if c == "·" else _WIDE if unicodedata.east_asian_width(c) in "WF" else _OTHER
