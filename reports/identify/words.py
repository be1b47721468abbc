"""What identifying a number found, in words: sentences, tables, and plain data for programs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from flopledger.reference_model.ledger import MODES
from flopledger.reports.identify.candidates import Candidate, ranked, unit_of
from flopledger.reports.identify.forms import BY_NAME
from flopledger.reports.identify.gaps import Near
from flopledger.reports.identify.releases import Span, joined
from flopledger.reports.identify.search import Identified
from flopledger.reports.identify.weighing import Share, Weighed
from flopledger.reports.pages.blocks import Block, Column, Point, Table
from flopledger.reports.pages.numbers import amount, few, listed, number, plural, signed, units, visible
from flopledger.reports.pages.vocabulary import op_word

SHOWN = 12  # rows of a table, unless all are asked for
_FACTORS = {Fraction(2): "doubled, as FLOPs", Fraction(1, 2): "halved, as MACs",
            Fraction(3): "times three, as a training step"}  # fmt: skip


def who(candidate: Candidate) -> str:
    """`thop 0.0.5.post2206102148 to 0.1.1.post2209072238 (5 releases)`, or what a form counts in short."""
    if candidate.total is None:
        return form(candidate)
    name = visible(candidate.total.counter)
    return f"{name} {listed([span(each) for each in joined(candidate.total.spans)])}".strip()


def span(found: Span) -> str:
    """Releases in words."""
    first, last = visible(found.first), visible(found.last)
    if found.count is not None:
        return first if found.count == 1 else f"{first} to {last} ({plural(found.count, 'release')})"
    if not first:
        return f"before {last}" if last else ""
    return f"{first} to before {last}" if last else f"{first} and later"


def form(candidate: Candidate) -> str:
    """A form of the ledger: `convolutions and linear layers with biases, no attention products`."""
    assert candidate.form is not None
    on = [BY_NAME[name] for name in candidate.form.switches]
    out = {each.name for each in on if each.leaves_out}
    left = [said for kind, said in _KINDS.items() if kind in candidate.kinds and f"no {kind}" not in out]
    gone = [
        f"{each.said} ({visible(candidate.head)})" if each.name == "no head" else each.said
        for each in on
        if each.leaves_out
    ]
    beside = [each.said for each in on if not each.leaves_out]
    each_mac = "MACs" if candidate.form.unit == "MAC" else "two FLOPs per MAC"
    with_ = f" with {listed(beside)}" if beside else ""
    return f"{each_mac} of {listed(left) or 'nothing'}{with_}" + (f", no {listed(gone, 'and no')}" if gone else "")


_KINDS = {"conv": "convolutions", "linear": "linear layers", "products": "attention products",
          "recurrent": "recurrent layers"}  # fmt: skip


def unit(candidate: Candidate) -> str:
    """What the number is in."""
    if candidate.form is not None:
        return candidate.form.unit
    assert candidate.total is not None
    return unit_of(candidate.total.unit, candidate.factor) or candidate.total.unit


def assumptions(candidate: Candidate) -> list[str]:
    """What has to be so beside what was asked, in words; empty where nothing has."""
    said = [visible(text) for text in candidate.departure.said]
    if candidate.total and not candidate.total.current:
        said.append("a release that is not the installed one")
    if candidate.factor != 1:
        said.append(_FACTORS[candidate.factor])
    if candidate.reading.thousand == 1024:
        said.append("a thousand is 1024")
    if candidate.reading.cut:
        said.append("its digits were cut off, not rounded")
    return said


def evidence(candidate: Candidate) -> str:
    """Whether a library has printed it here, or only its rules say so."""
    if candidate.measured is None:
        return "by formula" if candidate.total else "the ledger's own"
    if candidate.measured * candidate.factor == candidate.value:
        return "measured"
    return f"by formula; {visible(candidate.measured_version or '')} printed {number(candidate.measured)}"


def sentence(candidate: Candidate) -> str:
    """In words: who counts what, for which model and input, and the exact number."""
    subject = f"{visible(candidate.model)} at {listed([visible(text) for text in candidate.inputs])}"
    if candidate.mode != "eval":
        subject += f", {MODES[candidate.mode]}"
    said = assumptions(candidate)
    given = f" ({'; '.join(said)})" if said else ""
    exact = f"{number(candidate.value)} {units(unit(candidate))}"
    if candidate.form is not None:
        return f"{form(candidate)}, for {subject}{given}: {exact}."
    return f"{who(candidate)}, for {subject}{given}: {exact}, which is {charged(candidate.parts, candidate.factor)}."


def charged(shares: Sequence[Share], factor: Fraction) -> str:
    """The sum that a counter's number is: each kind of operation, its formula, its amount."""
    said = [f"{number(share.amount)} for {op_word(share.op)} ({visible(share.formula)})" for share in shares]
    times = "" if factor == 1 else f"{factor} times "
    return f"{times}{few(said, 6)}" if said else "nothing"


def asked(found: Identified) -> str:
    """The model and input that were asked about, and its plain numbers."""
    at = f"{visible(found.asked.model)} at {listed([visible(text) for text in found.asked.inputs])}"
    least = "at least " if found.asked.unpriced else ""
    return f"{visible(found.printed.text)} for {at}, which has {least}{number(found.asked.macs)} MACs"


_LOOKED_AT = (
    "Other inputs and variants were looked at only where the MACs, or a total near them, could come to it; "
    "--all looks wherever any total could."
)


def blocks(found: Identified, every: bool = False) -> list[Block]:
    """All that a person reads."""
    said: list[Block] = [asked(found)]
    if found.asked.unpriced:
        said.append(f"UNPRICED: {few([visible(name) for name in found.asked.unpriced])} may hold arithmetic that "
                    "no number here has.")  # fmt: skip
    if not found.found:
        said += ["Nothing that is known here prints it.", *(Point(near(each, found)) for each in found.near)]
        return said if every else [*said, _LOOKED_AT]
    shown = found.found if every else found.found[:SHOWN]
    columns = [Column(""), Column("exactly", True), Column("in"), Column("who counts so"), Column("if"), Column("")]
    rows = [
        [str(at), number(each.value), units(unit(each)), who(each), "; ".join(assumptions(each)), evidence(each)]
        for at, each in enumerate(shown, 1)
    ]
    said.append(Table(columns, rows))
    said += [Point(sentence(each)) for each in shown[:3]]
    if kinds := unrelated(found):
        said.append(kinds)
    if found.skipped:
        said.append(f"Not looked at, as it would assume more: {few(found.skipped, 4)}; --all looks at everything.")
    if len(found.found) > len(shown):
        said.append(
            f"{plural(len(found.found) - len(shown), 'more way')} to print it, which assume more; --all shows them."
        )
    return said


def unrelated(found: Identified) -> str:
    """That conventions which have nothing to do with each other print the same digits; "" where that is not so."""
    plainly = [
        each for each in found.found if not (each.departure.said or each.reading.cut or each.reading.thousand != 1000)
    ]
    kinds = {each.total.counter if each.total else each.form: each for each in reversed(plainly)}
    if len(kinds) < 2 or len({each.value for each in kinds.values()}) < 2:
        return ""
    return (
        f"{plural(len(kinds), 'convention')} that have nothing to do with each other print these digits "
        f"({few([f'{who(each)}: {number(each.value)}' for each in ranked([*kinds.values()])], 4)}): "
        "they alone do not tell which it was."
    )


def side_by_side(theirs: Candidate, mine: Sequence[Candidate]) -> list[Block]:
    """The number that was identified and another model's under the same convention, as rows of one table."""
    columns = [Column("model"), Column("input"), Column(units(unit(theirs)), True), Column("counted as")]
    rows = [
        [visible(each.model), listed([visible(text) for text in each.inputs]), number(each.value), who(each)]
        for each in (theirs, *mine)
    ]
    said: list[Block] = [Table(columns, rows), sentence(mine[0])]
    if len(mine) > 1:
        said.append(
            f"Releases that make the same of {visible(theirs.model)} differ here: "
            f"{listed([f'{number(each.value)} by {who(each)}' for each in mine])}. The newest is the first."
        )
    return said


def near(found: Near, about: Identified) -> str:
    """How far off what comes nearest is, and what would make that up."""
    each = found.candidate
    short = "short" if found.gap > 0 else "over"
    off = abs(found.gap)
    said = f"{who(each)}: {number(each.value)} {units(unit(each))}, {_size(off)} {short}"
    if found.part is None:
        return f"{said}; no one part that has a name makes that up."
    verb = "adding" if found.part.amount > 0 else "leaving out"
    exactly = "exactly" if found.part.exactly else f"nearly (by {signed(round(found.part.off))})"
    return f"{said}: {exactly} {verb} {visible(found.part.said)}, {number(abs(found.part.amount))}."


def _size(off: Fraction) -> str:
    return amount(round(off), "").removesuffix("s")


def plain(found: Identified) -> dict[str, Any]:
    """The same for a program: every candidate, not only those that are shown."""
    return {
        "number": found.printed.text,
        "values": [
            {"low": float(each.low), "high": float(each.high), "thousand": each.thousand, "cut": each.cut}
            for each in found.printed.readings
        ],
        "unit": found.printed.unit,
        "model": found.asked.model,
        "inputs": found.asked.inputs,
        "mode": found.asked.mode,
        "macs_at_least" if found.asked.unpriced else "macs": found.asked.macs,
        "found": [plain_candidate(each) for each in found.found],
        "nearest": [
            {
                **plain_candidate(each.candidate),
                "gap": float(each.gap),
                "part": each.part and {"said": each.part.said, "amount": each.part.amount,
                                       "exactly": each.part.exactly, "off": float(each.part.off)},
                "sentence": near(each, found),
            }
            for each in found.near
        ],
        "looked_at": found.looked_at,
        "skipped": found.skipped,
    }  # fmt: skip


def plain_candidate(each: Candidate) -> dict[str, Any]:
    """One candidate for a program."""
    total = each.total
    return {
        "value": each.value,
        "unit": unit(each),
        "counter": total.counter if total else None,
        "releases": [{"first": span.first, "last": span.last, "count": span.count} for span in joined(total.spans)]
        if total else None,
        "installed": total.current if total else None,
        "form": {"unit": each.form.unit, "switches": list(each.form.switches)} if each.form else None,
        "factor": str(each.factor),
        "model": each.model,
        "inputs": each.inputs,
        "mode": each.mode,
        "assumes": assumptions(each),
        "cost": each.cost,
        "evidence": evidence(each),
        "measured": each.measured,
        "of": [{"op": share.op, "formula": share.formula, "amount": share.amount} for share in each.parts],
        "sentence": sentence(each),
    }  # fmt: skip


def as_weighed(weighed: Weighed) -> str:
    """A subject by name and input."""
    return f"{visible(weighed.model)} at {listed([visible(text) for text in weighed.inputs])}"
