"""What a model takes, in sentences that one would sign: for an appendix, a checklist, or a report of training compute.

Pure functions of a run document, and of how long was trained. Every number is exact; a text says where it is rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec

from flopledger.reference_model.ledger import calls_without_formula
from flopledger.reports import dimensions
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.run import Run, TallyRecord

GUIDELINES = (
    "the Commission's guidelines on the scope of the obligations for providers of general-purpose AI models, "
    "C(2025) 5045, annex A.2.2"
)
KAPLAN = "Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1"
# FLOP of training from which a rule begins to speak of a model: the number, what it is, where it is written.
THRESHOLDS = (
    (10**23, "the indicative criterion for a general-purpose AI model", "Commission guidelines C(2025) 5045, point 17"),
    (10**25, "the presumption of high-impact capabilities", "Regulation (EU) 2024/1689, Article 51(2)"),
)


class Training(msgspec.Struct, frozen=True):
    """How long was trained: optimizer steps as large as the one that was counted, or tokens or samples per epoch."""

    steps: int | None = None
    tokens: int | None = None
    samples: int | None = None
    epochs: int = 1

    def told(self) -> None:
        """Raise ValueError unless exactly one of steps, tokens and samples is given, and all of it is at least 1."""
        if sum(each is not None for each in (self.steps, self.tokens, self.samples)) != 1:
            raise ValueError("say how long was trained by one of steps, tokens and samples")
        if any(each is not None and each < 1 for each in (self.steps, self.tokens, self.samples, self.epochs)):
            raise ValueError("steps, tokens, samples and epochs are at least 1")
        if self.steps is not None and self.epochs != 1:
            raise ValueError("steps are those of the whole training; epochs go with tokens or samples")

    def passes(self, inputs: Sequence[str]) -> Fraction:
        """How many of the counted steps that is; of a last step that is not full, its share.

        Raises:
            ValueError: not one of steps, tokens and samples is given, or the inputs do not tell how many are in a step.
        """
        self.told()
        if self.steps is not None:
            return Fraction(self.steps)
        what, many, each = ("tokens", self.tokens, dimensions.tokens(inputs))
        if self.tokens is None:
            what, many, each = ("samples", self.samples, dimensions.samples(inputs))
        if not each:
            raise ValueError(f"its inputs ({', '.join(inputs)}) do not tell how many {what} are in a step")
        return Fraction((many or 0) * self.epochs, each)


class Convention(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes by one way of counting, in FLOP: for one pass, and for all of a training.

    `formula` is over the ledger's quantities, or a closed form; `in_range` is false where it does not count all of the
    products, or more than there are, for the reason that `note` gives.
    """

    name: str
    formula: str
    source: str
    flop: int
    total: str | None = None
    in_range: bool = True
    note: str = ""


class Group(msgspec.Struct, frozen=True):
    """Operations of one kind: their MACs, and how many elements they put out."""

    op: str
    macs: int
    elements: int


class Crossed(msgspec.Struct, frozen=True):
    """A threshold, and where the conventions are: `above`, `below`, `both`; `unknown` if a lower bound is below it."""

    flop: str
    what: str
    source: str
    side: str


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """All that is stated, as data. Totals of a training are texts, as JSON's readers lose digits beyond 2**53.

    `flop` is 2·macs of the ledger for one pass; where `unpriced` names something, it is "at least". `masked_where` is
    the one phase in which the ledger knows what is masked, "" where it knows of all.
    """

    model: str
    inputs: list[str]
    mode: str
    parameters: int
    method: str
    tool: str
    torch: str | None
    device: str
    unit: str
    macs: int
    flop: int
    unpriced: dict[str, int]
    included: list[Group]
    left_out: list[Group]
    bias_adds: int
    recomputed_macs: int
    masked_macs: int
    masked_where: str
    conventions: list[Convention]
    low: int
    high: int
    training: Training | None = None
    passes: str | None = None
    total: str | None = None
    total_low: str | None = None
    total_high: str | None = None
    thresholds: list[Crossed] = []
    notes: list[str] = []


def statement(run: Run, training: Training | None = None) -> Statement:
    """What is to be stated of a run, and of a training that consists of such steps.

    Raises:
        ValueError: a training of what is no step, or one whose length cannot be told in steps.
    """
    if training is not None and run.model.mode != "step":
        raise ValueError("a training consists of steps; count one with --mode step")
    passes = training.passes(run.model.inputs) if training else None
    totals = run.ledger.totals
    macs = totals.get("macs", 0)
    found = [
        msgspec.structs.replace(one, total=_whole(one.flop, passes)) for one in [*_of_ledger(run), *_closed(run),
        *(_of_counter(run, tally) for tally in run.counted())]
    ]  # fmt: skip
    ranged = [one.flop for one in found if one.in_range]
    included, left_out = _groups(run)
    return Statement(
        model=run.model.spec,
        inputs=run.model.inputs,
        mode=run.model.mode,
        parameters=run.model.params,
        method="every operation of one pass, traced, and the multiply-accumulates of each by its own shapes",
        tool=f"flopledger {run.flopledger}",
        torch=run.environment.torch,
        device=run.model.device,
        unit="FLOP; one multiply-accumulate is two",
        macs=macs,
        flop=2 * macs,
        unpriced=calls_without_formula(run.ledger.unpriced),
        included=included,
        left_out=left_out,
        bias_adds=totals.get("bias_adds", 0),
        recomputed_macs=totals.get("recomputed_macs", 0),
        masked_macs=totals.get("masked_macs", 0),
        masked_where=masked_where(run),
        conventions=found,
        low=min(ranged),
        high=max(ranged),
        training=training,
        passes=None if passes is None else str(passes),
        total=_whole(2 * macs, passes),
        total_low=_whole(min(ranged), passes),
        total_high=_whole(max(ranged), passes),
        thresholds=_crossed(run, ranged, passes),
        notes=run.ledger.notes,
    )


def _whole(flop: int, passes: Fraction | None) -> str | None:
    """A total in whole FLOP; half of one is rounded to even."""
    return None if passes is None else str(round(flop * passes))


def _crossed(run: Run, ranged: Sequence[int], passes: Fraction | None) -> list[Crossed]:
    """On which side of each threshold a training is, by each convention; none where there is no training."""
    found = []
    for flop, what, source in THRESHOLDS if passes is not None else ():
        sides = {one * (passes or 0) > flop for one in ranged}
        below = "unknown" if run.ledger.unpriced else "both" if True in sides else "below"
        found.append(Crossed(str(flop), what, source, "above" if sides == {True} else below))
    return found


def _groups(run: Run) -> tuple[list[Group], list[Group]]:
    """What takes MACs, and what takes none, largest first; what only moves elements is left away."""
    macs: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for entry in run.ledger.entries:
        macs[entry.op] += entry["macs"]
        elements[entry.op] += entry["outputs"]
    groups = [Group(op, macs[op], elements[op]) for op in elements if op not in ("view", "fill", "move", "unpriced")]
    with_macs = sorted((each for each in groups if each.macs), key=lambda each: (-each.macs, each.op))
    return with_macs, sorted((each for each in groups if not each.macs), key=lambda each: (-each.elements, each.op))


def _of_ledger(run: Run) -> list[Convention]:
    """The ledger's own products, and the same with what may be counted in or out."""
    totals = run.ledger.totals
    macs, again, masked = (totals.get(name, 0) for name in ("macs", "recomputed_macs", "masked_macs"))
    found = [Convention(name="ledger", formula="2·macs", source="flopledger: every product once", flop=2 * macs)]
    if again:
        found.append(Convention(name="ledger with recomputation", formula="2·(macs + recomputed_macs)",
                                source="flopledger: what the hardware computes", flop=2 * (macs + again)))  # fmt: skip
    if masked:
        found.append(Convention(name=f"ledger without masked products{masked_where(run)}",
                                formula="2·(macs − masked_macs)",
                                source="flopledger: what a kernel that knows of the mask has to compute",
                                flop=2 * (macs - masked)))  # fmt: skip
    return found


def masked_where(run: Run) -> str:
    """Of a step: in which phase the ledger knows which products are masked, where that is not both."""
    phases = {entry.phase for entry in run.ledger.entries if entry["masked_macs"]}
    return f" of the {next(iter(phases))}" if run.model.mode == "step" and len(phases) == 1 else ""


def _closed(run: Run) -> list[Convention]:
    """The closed forms over parameters and tokens; none where no tokens go in."""
    tokens = dimensions.tokens(run.model.inputs)
    if not tokens:
        return []
    factor = 6 if run.model.mode == "step" else 2
    tables = {entry.site: entry.params for entry in run.ledger.entries if entry.op == "embedding"}
    rest = run.model.params - sum(tables.values())
    found = [
        Convention(name=f"{factor}·N·D", formula=f"{factor}·parameters·tokens", source=GUIDELINES,
                   flop=factor * run.model.params * tokens, note="all parameters, no attention products")
    ]  # fmt: skip
    if rest != run.model.params and rest > 0:
        found.append(Convention(name=f"{factor}·N·D without embeddings",
                                formula=f"{factor}·(parameters − embedding tables)·tokens", source=KAPLAN,
                                flop=factor * rest * tokens,
                                note="neither tables of embeddings, nor a head that shares one, nor attention "
                                     "products"))  # fmt: skip
    return found


def _of_counter(run: Run, tally: TallyRecord) -> Convention:
    """What a counter reported, in FLOP. One that does not count all of the products, or more than there are, sets no
    bound."""
    seen = coverage(tally, run.rows).total
    total = tally.total or 0
    doubled = tally.unit == "MAC"
    out = ["it did not see all of the products"] if seen.missed else []
    out += ["it is not known whether it saw all of the products"] if seen.unsure and not seen.missed else []
    out += [] if tally.unit in ("MAC", "FLOP") else [f"{tally.unit} are no FLOP"]
    excess, because = _beyond(run, tally)
    out += [f"it charges {excess:,} FLOP more for products than they take ({because})"] if excess else []
    remarks = [*out, *(["its stated formulas do not give all of it"] if tally.failures else [])]
    return Convention(
        name=tally.name if tally.release else f"{tally.counter} {tally.version or '(version unknown)'}",
        formula="2·its total, which is in MACs" if doubled else f"its total, in {tally.unit}",
        source=f"{tally.distribution} {tally.version or ''}".strip() or tally.counter,
        flop=2 * total if doubled else total,
        in_range=not out,
        note="; ".join(remarks),
    )


def _beyond(run: Run, tally: TallyRecord) -> tuple[int, str]:
    """What a counter charges at products beyond them, in FLOP, and the reason of the rule that does it most.

    Ten FLOP for each element put out and each score are no product: biases, scaling, a softmax.
    """
    found: Counter[str] = Counter()
    for (_, call), (claim, amount) in zip(run.rows, tally.rows, strict=True):
        products = call.times * (call.quantities.get("macs", 0) + call.quantities.get("recomputed_macs", 0))
        elements = call.times * (call.quantities.get("outputs", 0) + call.quantities.get("scores", 0))
        beyond = amount * (2 if tally.unit == "MAC" else 1) - 2 * products - 10 * elements
        if products and beyond > 0:
            found[tally.claims[claim].because] += beyond
    return sum(found.values()), next((because for because, _ in found.most_common(1)), "")


def as_json(found: Statement) -> str:
    """The statement as a block of JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()
