"""A statement in words: paragraphs to sign, the table of its conventions, and its JSON, as blocks of a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from flopledger.reports import dimensions
from flopledger.reports.pages.blocks import Block, Code, Column, Loud, Paragraph, Table
from flopledger.reports.pages.numbers import few, listed, number, percent, plural, visible
from flopledger.reports.pages.vocabulary import PASSES, op_word
from flopledger.reports.statement import Crossed, Group, Statement, as_json

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def page(found: Statement, code: bool = True) -> list[Block]:
    """The paragraphs, the conventions behind the range, and, with `code`, the statement as JSON."""
    both = {_threshold(crossed) for crossed in found.thresholds if crossed.side == "both"}
    said = [Paragraph([Loud(text)]) if text in both else text for text in paragraphs(found)]
    return [*said, conventions(found), *([Code(as_json(found), "json")] if code else [])]


def paragraphs(found: Statement) -> list[str]:
    """What is stated, in the order in which a reader asks: how much, of what, for how long, how sure."""
    said = [how_much(found), what_is_in_it(found), how_long(found), how_sure(found), *map(_threshold, found.thresholds)]
    return [paragraph for paragraph in said if paragraph]


def how_much(found: Statement) -> str:
    """One pass: the number, the input, the method and who else says so."""
    passes = PASSES.get(found.mode, found.mode)  # type: ignore[call-overload]
    least = "at least " if found.unpriced else ""
    same = [each.name for each in found.conventions[1:] if each.flop == found.flop and each.in_range]
    agree = f" {listed([visible(name) for name in same])} {_says(same)} exactly this number." if same else ""
    where = "" if found.device == "meta" else " It was run on real tensors, and may differ for other data."
    version = f" with torch {visible(found.torch)}" if found.torch else ""
    return (
        f"{visible(found.model)}, with {number(found.parameters)} parameters, takes {least}{power(found.flop)} FLOP "
        f"({number(found.flop)}) for {passes} on an input of {_inputs(found)}: {number(found.macs)} "
        f"multiply-accumulate operations, each counted as two FLOP. The number was counted and not estimated: "
        f"{visible(found.tool)}{version} traced every operation of one pass and added up the multiply-accumulates of "
        f"each, by its own shapes.{agree}{where}"
    )


def _says(names: Sequence[str]) -> str:
    return "reports" if len(names) == 1 else "report"


def _inputs(found: Statement) -> str:
    shapes = listed([re.sub(r"(?<=\d)x(?=\d)", "×", visible(text)) for text in found.inputs]) or "nothing"
    tokens, samples = dimensions.tokens(found.inputs), dimensions.samples(found.inputs)
    if tokens:
        return f"{shapes} ({plural(tokens, 'token')})"
    return f"{shapes} ({plural(samples, 'sample')})" if samples else shapes


def what_is_in_it(found: Statement) -> str:
    """What the number includes and what it leaves out, each with its size where it has one."""
    shares = [f"{op_word(group.op)} ({percent(Fraction(group.macs, found.macs))})" for group in found.included]
    said = [f"Included are the products of {few(shares)}." if shares else "It has no products to count."]
    if found.left_out:
        said.append(f"Left out are {few([_left_out(group) for group in found.left_out])}, none of which multiplies "
                    "matrices.")  # fmt: skip
    if found.bias_adds:
        said.append(f"So are the {plural(found.bias_adds, 'addition')} of biases.")
    if found.unpriced:
        names = few([f"{visible(name)} ({plural(calls, 'call')})" for name, calls in found.unpriced.items()])
        said.append(f"What {names} {'takes' if len(found.unpriced) == 1 else 'take'} is not known, so the number is a "
                    "lower bound.")  # fmt: skip
    if found.masked_macs:
        where = found.masked_where.replace(" of the", " of its") or " of it"
        said.append(f"Attention is counted in full: {_both(2 * found.masked_macs)}{where} are behind a mask, as in the "
                    "upper half of causal attention, and a kernel that knows of the mask need not "
                    "compute them.")  # fmt: skip
    if found.recomputed_macs:
        said.append(f"Recomputation is left out: {_both(2 * found.recomputed_macs)} are computed a second time in the "
                    "backward.")  # fmt: skip
    elif found.mode == "step":
        said.append("Nothing was recomputed in the backward that was traced; where activations are, that comes on top.")
    if found.mode == "step":
        said.append("The optimizer's update of the weights, and communication, are no part of a traced step.")
    return " ".join(said)


def _both(flop: int) -> str:
    return f"{power(flop)} FLOP ({number(flop)})"


def _left_out(group: Group) -> str:
    if group.op == "embedding":
        return f"look-ups of embeddings ({plural(group.elements, 'element')})"
    return f"{op_word(group.op)} ({plural(group.elements, 'element')})"


def how_long(found: Statement) -> str:
    """The training: how many steps that is, and what they take."""
    training = found.training
    if training is None or found.passes is None or found.total is None:
        return ""
    passes = Fraction(found.passes)
    epochs = f" in each of {plural(training.epochs, 'epoch')}" if training.epochs != 1 else ""
    if training.steps is not None:
        how = f"The training had {plural(training.steps, 'step')} of this size"
    else:
        what, many = ("token", training.tokens) if training.tokens is not None else ("sample", training.samples)
        whole = number(int(passes)) if passes.denominator == 1 else f"{float(passes):,.2f}"
        each = dimensions.tokens(found.inputs) if what == "token" else dimensions.samples(found.inputs)
        seen = f"{plural(many or 0, what)}{epochs}, {plural(each or 0, what)} in each step"
        how = f"The training saw {seen}: {whole} steps"
    exactly = "" if (2 * found.macs * passes).denominator == 1 else ", to the nearest whole one"
    least = "at least " if found.unpriced else ""
    return (
        f"{how}, so it took {least}{power(int(found.total))} FLOP ({number(int(found.total))}{exactly}), forward and "
        "backward. It is the number of these steps alone: other runs, evaluation, and the making of data are to be "
        "added by whoever knows of them."
    )


def how_sure(found: Statement) -> str:
    """The range over the named conventions, and which are not in it."""
    ranged = [each for each in found.conventions if each.in_range]
    out = [each for each in found.conventions if not each.in_range]
    low, high = (next(each.name for each in ranged if each.flop == flop) for flop in (found.low, found.high))
    if found.low == found.high:
        said = (
            "No other convention here sets a bound." if len(ranged) == 1 else "All conventions below give this number."
        )
    else:
        what = "the training" if found.total is not None else "one pass"
        ends = (found.total_low, found.total_high) if found.total is not None else (str(found.low), str(found.high))
        said = (
            f"How much of the work counts is a convention. By the {len(ranged)} conventions named below {what} takes "
            f"from {power(int(ends[0] or 0))} FLOP ({visible(low)}) to "
            f"{power(int(ends[1] or 0))} FLOP ({visible(high)})."
        )
    if out:
        sets, it = ("sets", "it") if len(out) == 1 else ("set", "them")
        said += f" {few([visible(each.name) for each in out])} {sets} no bound, for the reason beside {it}."
    return said


def _threshold(crossed: Crossed) -> str:
    sides = {
        "above": "By each of these conventions that is more than",
        "below": "By each of these conventions that is not more than",
        "unknown": "As the number is a lower bound, it is not known whether that is more than",
        "both": "THE CONVENTIONS DO NOT AGREE whether that is more than",
    }
    return f"{sides[crossed.side]} {power(int(crossed.flop))} FLOP, {crossed.what} ({crossed.source})."


def conventions(found: Statement) -> Table:
    """Each convention with its formula, its number for one pass, that of the training, and where it is from."""
    totals = found.total is not None
    columns = [Column("convention"), Column("formula"), Column("FLOP of one pass", True)]
    columns += [Column("FLOP of the training", True)] if totals else []
    columns += [Column("source"), Column("remark")]
    rows = [
        [visible(each.name), visible(each.formula), number(each.flop),
         *([number(int(each.total or 0))] if totals else []), visible(each.source), visible(each.note)]
        for each in found.conventions
    ]  # fmt: skip
    return Table(columns, rows)


def power(n: int) -> str:
    """Four digits and a power of ten: `1.234·10²³`; below a million the number itself."""
    if abs(n) < 10**6:
        return number(n)
    exponent = len(str(abs(n))) - 1
    scaled = round(Fraction(n, 10**exponent), 3)
    if abs(scaled) >= 10:
        exponent, scaled = exponent + 1, scaled / 10
    return f"{float(scaled):.3f}·10{str(exponent).translate(_RAISED)}".replace("-", "−")
