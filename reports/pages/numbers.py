"""Text and numbers as they are shown: one printable line, thousands separators, prefixes, lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction

from flopledger.reference_model.display import visible as visible

BRIEF = 300  # characters of somebody else's text: an error, a note
SAFE_INTEGER = 2**53 - 1  # of JavaScript
LISTED = 10  # sites, modules or pairs that a sentence names before it says "and n more"


def brief(text: str) -> str:
    """`visible`, the beginning of what is long: the whole is in the document, and shown with FLOPLEDGER_TRACEBACK=1."""
    shown = visible(text)
    if len(shown) <= BRIEF or os.environ.get("FLOPLEDGER_TRACEBACK"):
        return shown
    start = shown[:BRIEF].rpartition(" ")[0] or shown[:BRIEF]
    return f"{start} … ({number(len(shown) - len(start))} characters more, in the JSON)"


def number(n: int) -> str:
    """With thousands separators and a true minus: `1,034,246,688`."""
    return f"{n:,}".replace("-", "−")


def integer(n: int) -> int | str:
    """A number that crosses into JavaScript: text, which becomes BigInt there, where a float would round it."""
    return n if abs(n) <= SAFE_INTEGER else str(n)


def signed(n: int) -> str:
    """As `number`, with a plus where it is positive."""
    return f"+{number(n)}" if n > 0 else number(n)


def exactly(n: Fraction) -> str:
    """As `number`, for what may be half of an odd number: `1,034.5`."""
    return number(n.numerator) if n.denominator == 1 else f"{number(int(n))}.{str(float(abs(n % 1)))[2:]}"


def giga(n: int | Fraction) -> str:
    """Four or so digits and a prefix: `1.034 G`, `23.033 M`; the number itself below a thousand."""
    sizes: tuple[tuple[int, str], ...] = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
    for size, prefix in sizes:
        if n >= size or n <= -size:
            return f"{float(n / size):.3f} {prefix}".replace("-", "−")
    return exactly(Fraction(n))


def percent(share: Fraction | None) -> str:
    """A share to a tenth of a percent, cut off: 100 % is all of it. A dash where there is nothing to share."""
    if share is None:
        return "–"
    tenths = int(share * 1000)
    return f"{tenths // 10}.{tenths % 10} %" if tenths % 10 else f"{tenths // 10} %"


def part(n: int, of: int) -> str:
    """The size of one number beside another: `40.1 %`, `less than 0.1 %`; all of it where there is nothing else."""
    share = Fraction(abs(n), of) if of else Fraction(1)
    return "less than 0.1 %" if 0 < share < Fraction(1, 1000) else percent(share)


def amount(n: int | Fraction, unit: str) -> str:
    """`giga` with its unit: `1.034 GMACs`, `12 MACs`."""
    short = giga(n)
    return f"{short}{'' if short[-1:].isalpha() else ' '}{units(unit)}"


def units(unit: str) -> str:
    """The plural: MAC → MACs."""
    return visible(unit) if unit.endswith("s") else f"{visible(unit)}s"


def plural(n: int, noun: str) -> str:
    """`1 site`, `52 sites`."""
    return f"{number(n)} {noun}" if n == 1 else f"{number(n)} {noun}s"


def listed(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def few(items: Sequence[str], most: int = LISTED) -> str:
    """As `listed`, of many the first and how many more."""
    more = [f"{number(len(items) - most)} more"] if len(items) > most else []
    return listed([*items[:most], *more])
