"""One ledger under every convention, and what it is made of: all that identifying a number takes from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from flopledger.counters.convention import Rule, charged
from flopledger.counters.engine import adapters
from flopledger.counters.registry import UnknownCounter, version_of
from flopledger.reference_model.ledger import Call, Entry, Ledger, Mode, calls_without_formula
from flopledger.reports.identify.releases import Epoch, Span, others

Rows = Sequence[tuple[Entry, Call]]
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
ELEMENTWISE = ("add", "sub", "mul", "div", "elementwise")
PRODUCTS = ("matmul", "attention")  # of two activations: no weights are in them


class Share(msgspec.Struct, frozen=True):
    """What one kind of operation is charged by one formula."""

    op: str
    formula: str
    amount: int


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What releases of one counter make of a ledger, in the counter's own unit, and of what it is the sum."""

    counter: str
    unit: str
    device: str
    spans: list[Span]
    version: str | None
    current: bool
    value: int
    shares: list[Share]


class Layer(msgspec.Struct, frozen=True):
    """A module and all that is in it: its name and its MACs."""

    site: str
    macs: int


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """A subject, what every convention makes of it, and the parts that may be added or left out.

    `parts` are amounts by name (see `part`). `fixed` are the MACs that no input's size changes, `squared` those that
    grow with its square. `layers` are the modules next to the root, and those in them; `head` is the last linear layer.
    """

    model: str
    inputs: list[str]
    mode: Mode
    params: int
    notes: list[str]
    unpriced: dict[str, int]
    totals: list[Total]
    parts: dict[str, int]
    fixed: int
    squared: int
    layers: list[Layer]
    head: Layer | None

    @property
    def macs(self) -> int:
        return self.parts.get("macs", 0)

    def part(self, name: str) -> int:
        return self.parts.get(name, 0)


def weighed(ledger: Ledger, epochs: Sequence[Epoch]) -> Weighed:
    """A ledger under each of these conventions, and under those of other packages' counters as they are today."""
    macs = [
        (entry, call, call.times * call.quantities.get("macs", 0))
        for entry, call in ledger.rows()
        if call.quantities.get("macs")
    ]
    last = next(
        (entry for entry in reversed(ledger.entries) if entry.op == "linear" and entry.phase == "forward"), None
    )
    return Weighed(
        model=ledger.model,
        inputs=ledger.inputs,
        mode=ledger.mode,
        params=ledger.params,
        notes=ledger.notes,
        unpriced=calls_without_formula(ledger.unpriced()),
        totals=_totals(ledger, epochs),
        parts=_parts(ledger),
        fixed=sum(n for entry, call, n in macs if _is_fixed(ledger, entry, call)),
        squared=sum(n for entry, _, n in macs if entry.op in PRODUCTS),
        layers=_layers(macs),
        head=Layer(last.site, last["macs"]) if last else None,
    )


def _totals(ledger: Ledger, epochs: Sequence[Epoch]) -> list[Total]:
    rows = ledger.rows()
    found: dict[tuple[str, int], Total] = {}
    texts: dict[int, str] = {}  # a rule speaks of hundreds of rows, in dozens of releases
    able = [epoch for epoch in epochs if ledger.mode in epoch.modes]
    for device in dict.fromkeys(epoch.adapter.device for epoch in able):
        where = ledger.device if ledger.device == "cpu" else device
        mine = [epoch for epoch in able if epoch.adapter.device == device]
        there = msgspec.structs.replace(ledger, device=where)
        for epoch, charges in zip(mine, charged([epoch.convention for epoch in mine], there), strict=True):
            total = _total(epoch, where, rows, charges, texts)
            if total is None:
                continue
            key = total.counter, total.value
            if before := found.get(key):
                spans = [*before.spans, *total.spans]
                found[key] = msgspec.structs.replace(total, spans=spans, current=before.current or total.current)
            else:
                found[key] = total
    return [*found.values(), *_of_others(ledger, rows)]


def _total(
    epoch: Epoch, device: str, rows: Rows, charges: Sequence[tuple[Rule, Fraction | None]], texts: dict[int, str]
) -> Total | None:
    """None where a charge has no value, or is no whole number: the releases would print something else."""
    shares = _shares(rows, charges, texts)
    if shares is None:
        return None
    return Total(
        counter=epoch.counter, unit=epoch.adapter.unit, device=device, spans=[epoch.span], version=epoch.version,
        current=epoch.current, value=sum(share.amount for share in shares), shares=shares,
    )  # fmt: skip


def _shares(rows: Rows, charges: Sequence[tuple[Rule, Fraction | None]], texts: dict[int, str]) -> list[Share] | None:
    """What each op is charged by each formula; None where that has no value, or is no whole number."""
    sums: dict[tuple[str, str], int | Fraction] = {}
    for (entry, _), (rule, amount) in zip(rows, charges, strict=True):
        if amount is None:
            return None
        if amount:
            formula = texts.get(id(rule)) or texts.setdefault(id(rule), str(rule.formula))
            whole = amount.numerator if amount.denominator == 1 else amount  # many times as fast to add
            sums[entry.op, formula] = sums.get((entry.op, formula), 0) + whole
    if any(amount.denominator != 1 for amount in sums.values()):
        return None
    found = [Share(op, formula, int(amount)) for (op, formula), amount in sums.items()]
    return sorted(found, key=lambda share: -share.amount)


def _of_others(ledger: Ledger, rows: Rows) -> list[Total]:
    """The counters of other packages: their code runs apart, once for this ledger."""
    found = []
    for name, adapter in others():
        where = ledger.device if ledger.device == "cpu" else adapter.device
        version = version_of(adapter.distribution)
        try:
            there = msgspec.structs.replace(ledger, device=where)
            shares = _shares(rows, adapters.claimed(name, version, there).charges(there), {})
        except UnknownCounter:
            continue
        if shares:
            found.append(Total(
                counter=name, unit=adapter.unit, device=where, spans=[Span(version or "", version or "", 1)],
                version=version, current=True, value=sum(share.amount for share in shares), shares=shares,
            ))  # fmt: skip
    return found


def _parts(ledger: Ledger) -> dict[str, int]:
    """The amounts that a convention may add or leave out, by name."""
    found: Counter[str] = Counter()
    for entry in ledger.entries:
        every = entry.quantities
        macs = every.get("macs", 0)
        kind = "products" if entry.op in PRODUCTS else entry.op if entry.op in ("linear", "recurrent") else "conv"
        found["grouped"] += sum(_grouped(call) for call in entry.calls)
        if macs:
            found["macs"] += macs
            found[f"macs of {kind}"] += macs
        found["biases"] += every.get("bias_adds", 0)
        outputs = every.get("outputs", 0)
        if entry.op in NORMS:
            found["norm outputs"] += outputs
            found["norm weights"] += every.get("weights", 0)
            found["norm biases"] += every.get("biases", 0)
        elif entry.op == "embedding" and entry.phase == "forward":
            found["embedding"] = max(found["embedding"], sum(map(_looked_up, entry.calls)))  # of the largest table
        elif entry.op == "pool":
            found["pool inputs"] += every.get("inputs", 0)
            found["pool outputs"] += outputs
        elif entry.op in ELEMENTWISE:
            found["elementwise"] += outputs
        elif entry.op in ("activation", "softmax", "upsample"):
            found[entry.op] += outputs
    return {name: amount for name, amount in found.items() if amount}


def _looked_up(call: Call) -> int:
    """MACs of a look-up, were it a product with a one-hot vector for each index."""
    return call.times * call.quantities.get("inputs", 0) * call.quantities.get("weights", 0)


def _grouped(call: Call) -> int:
    """MACs of a convolution in groups."""
    return call.times * call.quantities.get("macs", 0) if call.facts.get("groups", 1) != 1 else 0


def _is_fixed(ledger: Ledger, entry: Entry, call: Call) -> bool:
    """Whether a linear layer works on one vector for each sample, whatever the size of what came in."""
    return entry.op == "linear" and call.quantities.get("rows") == ledger.batch


def _layers(macs: Sequence[tuple[Entry, Call, int]]) -> list[Layer]:
    """MACs of the modules that are one or two names below the root."""
    found: Counter[str] = Counter()
    for entry, _, amount in macs:
        names = entry.site.split(".")
        for depth in {1, min(2, len(names))}:
            if entry.site:
                found[".".join(names[:depth])] += amount
    return [Layer(site, amount) for site, amount in found.items()]
