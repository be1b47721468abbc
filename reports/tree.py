"""The tree of modules: what each takes with all that is inside it, and what each counter reports there.

At every module and for every amount

    whole == own + sum(child.whole)

where `own` is of the calls that the module makes itself, outside of its children. So the root's whole is the ledger's
total; of a counter it is the counter's total less what belongs to no call (`Tree.asides`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import msgspec

from flopledger.reference_model.ledger import Member
from flopledger.reports.documents.run import Run


class Amounts(msgspec.Struct, kw_only=True):
    """Elements of parameters, MACs, elements out, calls without a formula, and each counter's charge in its own unit.

    Where there are calls without a formula (`unpriced`), the MACs are "at least".
    """

    counts: list[int]
    params: int = 0
    macs: int = 0
    outputs: int = 0
    unpriced: int = 0

    def __bool__(self) -> bool:
        """Whether anybody charges for anything here, or parameters are held, or what it takes is unknown."""
        return any((self.params, self.macs, self.unpriced, *self.counts))

    def add(self, other: Amounts) -> None:
        """Take another one in."""
        self.params += other.params
        self.macs += other.macs
        self.outputs += other.outputs
        self.unpriced += other.unpriced
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]


class Node(msgspec.Struct, kw_only=True):
    """A module. `member` is None for a place that a counter named and the model does not have.

    `name` is what its site adds to its parent's, `parent` the parent's place in `Tree.nodes`, None for the root.
    """

    site: str
    name: str
    member: Member | None
    own: Amounts
    whole: Amounts
    parent: int | None = None
    depth: int = 0
    children: list[int] = []


class Row(NamedTuple):
    """What a table of the tree shows in one row: a module, or (`own`) the calls that it makes outside of its children.

    `depth` is how far to indent it; `folded` are the modules inside it that are not shown.
    """

    node: Node
    amounts: Amounts
    depth: int
    own: bool = False
    folded: int = 0


class Tree(msgspec.Struct, kw_only=True):
    """All modules, each before its children; `counters` and their `units` name the columns of `Amounts.counts`.

    `asides` is what each counter's total has that belongs to no call, such as rounding.
    """

    nodes: list[Node]
    counters: list[str]
    units: list[str]
    asides: list[int]

    @property
    def root(self) -> Node:
        return self.nodes[0]

    def share(self, amounts: Amounts) -> Fraction | None:
        """Of the ledger's MACs, None where it has none."""
        return Fraction(amounts.macs, self.root.whole.macs) if self.root.whole.macs else None

    def in_macs(self, amounts: Amounts, column: int) -> Fraction:
        """A counter's charge; one MAC is two FLOPs."""
        return Fraction(amounts.counts[column], 2 if self.units[column] == "FLOP" else 1)

    def differs(self, amounts: Amounts, column: int) -> bool:
        """Whether a counter's charge, in MACs, is another than the ledger's."""
        return self.in_macs(amounts, column) != amounts.macs

    def rows(self, depth: int | None = None) -> Iterator[Row]:
        """The modules down to `depth` (the root's is 0), and what each of them does beside those that are shown.

        Every module's amounts are the sum of the rows one step further in, where there are any.
        """
        inside = [0] * len(self.nodes)
        for i in range(len(self.nodes) - 1, 0, -1):
            parent = self.nodes[i].parent
            assert parent is not None
            inside[parent] += 1 + inside[i]
        for i, node in enumerate(self.nodes):
            if depth is not None and node.depth > depth:
                continue
            last = depth is not None and node.depth == depth
            yield Row(node, node.whole, node.depth, folded=inside[i] if last else 0)
            if node.children and not last and node.own:
                yield Row(node, node.own, node.depth + 1, own=True)


def tree(run: Run) -> Tree:
    """The modules of a run with their amounts, in the order in which the model has them.

    Places that only counters know come last. A training step's forward and backward are together.
    """
    counted = run.counted()
    own: dict[str, Amounts] = {}

    def at(site: str) -> Amounts:
        return own.setdefault(site, Amounts(counts=[0] * len(counted)))

    at("")
    for site, member in run.ledger.members.items():
        at(site).params = member.params
    for entry in run.ledger.entries:
        here = at(entry.site)
        here.macs += entry["macs"]
        here.outputs += entry["outputs"] if entry.op != "view" else 0
        here.unpriced += entry["calls"] if entry.op == "unpriced" else 0
    for column, tally in enumerate(counted):
        for part in tally.parts:
            at(part.site).counts[column] += part.count
    return Tree(
        nodes=_nodes(own, run.ledger.members),
        counters=[tally.name for tally in counted],
        units=[tally.unit for tally in counted],
        asides=[sum(aside.amount for aside in tally.asides) for tally in counted],
    )


def _nodes(own: dict[str, Amounts], members: dict[str, Member]) -> list[Node]:
    """Each module before its children, and what is in each summed up."""
    below: dict[str, list[str]] = {}
    for site in own:
        if site:
            below.setdefault(_parent(site, own), []).append(site)
    nodes: list[Node] = []
    waiting: list[tuple[str, int | None]] = [("", None)]
    while waiting:
        site, parent = waiting.pop()
        above = nodes[parent] if parent is not None else None
        here = len(nodes)
        nodes.append(
            Node(
                site=site,
                name=site[len(above.site) :].removeprefix(".") if above and above.site else site,
                member=members.get(site),
                own=own[site],
                whole=msgspec.structs.replace(own[site]),
                parent=parent,
                depth=above.depth + 1 if above else 0,
            )
        )
        if above:
            above.children.append(here)
        waiting += [(child, here) for child in reversed(below.get(site, ()))]
    for node in reversed(nodes):
        if node.parent is not None:
            nodes[node.parent].whole.add(node.whole)
    return nodes


def _parent(site: str, known: dict[str, Amounts]) -> str:
    """The nearest module that is known and holds it."""
    while site:
        site = site.rpartition(".")[0]
        if site in known:
            return site
    return ""
