"""Numbers quoted in Markdown between marks: `<!-- flopledger: resnet50 macs -->4.089 G<!-- -->`.

A mark names a model of the baseline, then a quantity of its ledger (`macs`, `flops`, `params`, …) or a counter, and
where it is not the unit of that, `MACs` or `FLOPs`. The number after it is right if the baseline's, rounded to the
digits that are written, prints so. Marks in code are text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

import msgspec

from flopledger.reference_model.names import nearest
from flopledger.reports.documents.baseline import Pinned, Snapshot
from flopledger.reports.identify import number
from flopledger.reports.marks import line_of, live
from flopledger.reports.pages.numbers import exactly, giga, visible

LONGEST = 200  # characters between two marks
EXAMPLE = "<!-- flopledger: resnet50 macs -->4.089 G<!-- -->"
_OPEN = re.compile(r"<!--\s*flopledger(?![\w-])(?P<asks>(?:(?!-->|<!--).)*)-->", re.IGNORECASE | re.DOTALL)
_COMMENT, _CLOSE = re.compile(r"<!--"), re.compile(r"<!--\s*-->")
_PARAGRAPH = re.compile(r"\n[ \t>]*\n")
_MARKUP = r"(?:[\s*_`]|</?\w[^<>]*>)*"  # what may stand around a number
_AROUND = re.compile(
    rf"(?P<before>{_MARKUP})(?P<least>(?:at\s+least|≥|&ge;|&gt;=|>=|>)\s*)?(?P<number>.*?){_MARKUP}", re.DOTALL
)
_UNITS = {"mac": "MAC", "macs": "MAC", "flop": "FLOP", "flops": "FLOP"}
_PARAMS = ("params", "parameters")


class MarkError(ValueError):
    """A mark that asks for nothing that there is; the message is one line."""


class Finding(msgspec.Struct, frozen=True):
    """Something wrong at a place of the text: a number, which `fix` is to replace, or (`bad`) a mark."""

    line: int
    message: str
    bad: bool = False
    start: int = 0
    end: int = 0
    fix: str | None = None


class Asked(NamedTuple):
    """What a mark asks for: a number of operations (`unit`) or of something else, of which there may be more."""

    name: str
    what: str
    value: Fraction
    unit: str | None
    least: bool

    def __str__(self) -> str:
        return f"{visible(self.name)} {visible(self.what)} is {'at least ' if self.least else ''}{exactly(self.value)}"


class Checked(msgspec.Struct, frozen=True):
    """A text's quotes: how many there are, and what is wrong with them."""

    quotes: int
    findings: list[Finding]

    @property
    def status(self) -> int:
        """0 where all is right, 1 where a number is wrong, 2 where a mark is."""
        return 2 if any(each.bad for each in self.findings) else int(bool(self.findings))


def check(text: str, models: Mapping[str, Snapshot], configured: Collection[str] = ()) -> Checked:
    """Compare each quote in a Markdown text with the models' numbers; `configured` are names that may have none yet."""
    marks = live(text, _OPEN)
    findings = (_finding(text, mark, models, configured) for mark in marks)
    return Checked(len(marks), [found for found in findings if found])


def fixed(text: str, findings: Iterable[Finding]) -> str:
    """The text with what is wrong replaced, as far as it is known by what."""
    for found in sorted(findings, key=lambda each: -each.start):
        if found.fix is not None:
            text = text[: found.start] + found.fix + text[found.end :]
    return text


def _finding(
    text: str, mark: re.Match[str], models: Mapping[str, Snapshot], configured: Collection[str]
) -> Finding | None:
    """What is wrong with one quote."""
    line = line_of(text, mark.start())
    after = _COMMENT.search(text, mark.end())
    close = after and _CLOSE.match(text, after.start())
    if not close or close.start() - mark.end() > LONGEST or _PARAGRAPH.search(text, mark.end(), close.start()):
        return Finding(line, f"the mark {_short(mark[0])} has no end; write {EXAMPLE}", bad=True)
    quoted = text[mark.end() : close.start()]
    try:
        asked = _asked(mark["asks"], models, configured)
        message, fix = _compared(quoted, asked)
    except (MarkError, number.NumberError) as error:
        return Finding(line, str(error), bad=True)
    return Finding(line, message, start=mark.end(), end=close.start(), fix=fix) if message else None


def _asked(text: str, models: Mapping[str, Snapshot], configured: Collection[str]) -> Asked:
    """What a mark asks for. Raises MarkError."""
    words = text.lstrip().removeprefix(":").split()
    if not text.lstrip().startswith(":") or len(words) < 2:
        raise MarkError(f"a mark names a model and what is quoted of it, like {EXAMPLE}")
    if (name := " ".join(words[:-1])) in models:
        return _amount(name, models[name], words[-1], None)
    if (name := " ".join(words[:-2])) in models:
        unit = _UNITS.get(words[-1].lower())
        if unit is None:
            raise MarkError(f"no unit {visible(words[-1])!r}{nearest(words[-1], _UNITS)}; there is MACs and FLOPs")
        return _amount(name, models[name], words[-2], unit)
    known = {*_UNITS, *_PARAMS, *(each.name for model in models.values() for each in model.tallies)}
    name = " ".join(words[: -2 if words[-1].lower() in _UNITS and words[-2] in known else -1])
    if name in configured:
        raise MarkError(f"{visible(name)} is not in the baseline yet: flopledger snapshot writes it")
    raise MarkError(f"no model {visible(name)!r} in the baseline{nearest(name, [*models, *configured])}")


def _amount(name: str, model: Snapshot, what: str, unit: str | None) -> Asked:
    """One number of a model, in `unit` or in its own."""
    tallies = {tally.name: tally for tally in model.tallies}
    word = what.lower()
    if what in tallies:
        return _reported(name, tallies[what], unit)
    if word in _UNITS:
        macs, own = Fraction(model.ledger.get("macs", 0)), _UNITS[word]
        return Asked(name, what, _in(macs, "MAC", unit or own), unit or own, bool(model.unpriced))
    if word in _PARAMS or word in model.ledger:
        if unit is not None:
            raise MarkError(f"{visible(what)} is no number of operations, so it has no unit {unit}s")
        value = model.model.params if word in _PARAMS else model.ledger[word]
        return Asked(name, what, Fraction(value), None, bool(model.unpriced) and word not in _PARAMS)
    known = ["macs", "flops", "params", *tallies, *model.ledger]
    raise MarkError(f"{visible(name)} has no {visible(what)!r} in the baseline{nearest(what, known)}")


def _reported(name: str, tally: Pinned, unit: str | None) -> Asked:
    if tally.total is None:
        raise MarkError(f"{visible(tally.name)} has no number for {visible(name)}")
    own = unit or tally.unit
    return Asked(name, tally.name, _in(Fraction(tally.total), tally.unit, own), own, False)


def _in(value: Fraction, own: str, unit: str) -> Fraction:
    """One MAC is two FLOPs."""
    return value if own == unit else value * 2 if own == "MAC" else value / 2


def _compared(quoted: str, asked: Asked) -> tuple[str, str]:
    """What is wrong with a quote, "" if nothing is, and what would be right. Raises NumberError and MarkError."""
    around = _AROUND.fullmatch(quoted)
    assert around is not None
    plain, least = around["number"], around["least"] or ""
    right = giga(asked.value)
    if asked.value:  # of none there are no two ways to say it
        right = _checked(plain or right, asked)
    if right == plain and bool(least) == asked.least:
        return "", quoted
    right = f"{(least or 'at least ') if asked.least else ''}{right}"
    message = f"{asked}, and this says {_short(quoted) or 'nothing'}; write {_short(right)}"
    return message, f"{around['before']}{right}{quoted[around.end('number') :]}"


def _checked(plain: str, asked: Asked) -> str:
    """A quote's number as it should be: itself, if the value prints so. Raises NumberError and MarkError."""
    bare = _bare(plain, asked)
    printed = number.parse(bare)
    if printed.unit and printed.unit != asked.unit:
        own = f"in {asked.unit}s" if asked.unit else "no number of operations"
        raise MarkError(f"{_short(plain)} is in {printed.unit}s, and {visible(asked.what)} is {own}")
    if printed.prints(asked.value, cut=asked.least):
        return plain
    before, after = number.digits(bare, asked.value, cut=asked.least)
    return (plain if before in plain else html.unescape(plain)).replace(before, after, 1)


def _bare(plain: str, asked: Asked) -> str:
    """The number without the word for what is counted, where that is no unit of operations: `25.6 M params`."""
    text = html.unescape(plain)
    if asked.unit is not None:
        return text
    words = {*_PARAMS, "param", "parameter", asked.what.lower()}
    last = re.search(r"\s*([^\W\d]+)\.?$", text)
    return text[: last.start()] if last and last[1].lower() in words else text


def _short(text: str) -> str:
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
