"""Conventions that nobody named: MACs of a ledger, with parts added or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations

import msgspec

from flopledger.reports.identify.weighing import Weighed

MOST = 3  # switches that a form may have on: of more, any number can be made


class Switch(msgspec.Struct, frozen=True):
    """One way to depart from plain MACs: `amount` of a subject, in MACs where `contraction`, else in operations.

    Switches of one `group` exclude each other. `said` is how a sentence names it, after "without" where it leaves
    something out, else after "with".
    """

    name: str
    group: str
    said: str
    amount: Callable[[Weighed], int]
    cost: int = 2
    contraction: bool = False

    @property
    def leaves_out(self) -> bool:
        return self.contraction and self.name != "embedding"


def _part(name: str, times: int = 1) -> Callable[[Weighed], int]:
    return lambda weighed: times * weighed.part(name)


def _less(name: str) -> Callable[[Weighed], int]:
    return lambda weighed: -weighed.part(name)


SWITCHES = (
    Switch("no products", "products", "attention products", _less("macs of products"), 1, True),
    Switch("no linear", "linear", "linear layers", _less("macs of linear"), 2, True),
    Switch("no conv", "linear", "convolutions", _less("macs of conv"), 3, True),
    Switch("no head", "linear", "last layer", lambda weighed: -weighed.head.macs if weighed.head else 0,
           2, True),
    Switch("embedding", "embedding", "the largest embedding as a product with one-hot vectors", _part("embedding"), 2,
           True),
    Switch("biases", "biases", "biases", _part("biases"), 1),
    *(Switch(f"norms {each}", "norms", f"{'one operation' if each == 1 else f'{each} operations'} per element of norms",
             _part("norm outputs", each)) for each in (1, 2, 4, 5)),
    Switch("norm weights", "norms", "the weights of norms", _part("norm weights")),
    Switch("norm parameters", "norms", "the weights and biases of norms",
           lambda weighed: weighed.part("norm weights") + weighed.part("norm biases")),
    Switch("activations", "activations", "activations", _part("activation")),
    Switch("pool inputs", "pools", "every input of pools", _part("pool inputs")),
    Switch("pool outputs", "pools", "every output of pools", _part("pool outputs")),
    Switch("pools", "pools", "every input and output of pools",
           lambda weighed: weighed.part("pool inputs") + weighed.part("pool outputs")),
    Switch("elementwise", "elementwise", "element-wise operations", _part("elementwise"), 3),
    Switch("softmax", "softmax", "one operation per element of softmax", _part("softmax"), 3),
    Switch("softmax 5", "softmax", "five operations per element of softmax", _part("softmax", 5), 3),
    Switch("upsampling", "upsampling", "one operation per output of upsampling", _part("upsample"), 3),
)  # fmt: skip
BY_NAME = {switch.name: switch for switch in SWITCHES}


class Form(msgspec.Struct, frozen=True):
    """MACs, at one or two each (`unit` "MAC" or "FLOP"), with these switches on."""

    unit: str
    switches: tuple[str, ...] = ()

    def of(self, weighed: Weighed) -> int:
        """What it makes of a subject."""
        each = 2 if self.unit == "FLOP" else 1
        return each * weighed.macs + sum(_added(BY_NAME[name], weighed, each) for name in self.switches)


def _added(switch: Switch, weighed: Weighed, each: int) -> int:
    """What a switch adds, MACs as `each` operations."""
    return (each if switch.contraction else 1) * switch.amount(weighed)


@cache
def _sets() -> list[tuple[str, ...]]:
    """The names of every set of up to `MOST` switches that do not exclude each other, few before many."""
    return [
        tuple(switch.name for switch in chosen)
        for size in range(MOST + 1)
        for chosen in combinations(SWITCHES, size)
        if len({switch.group for switch in chosen}) == size
    ]


def forms(weighed: Weighed) -> Iterator[tuple[Form, int]]:
    """Every form that differs for this subject, and its number: a switch of an amount of 0 is none."""
    for unit, each in (("MAC", 1), ("FLOP", 2)):
        added = {switch.name: amount for switch in SWITCHES if (amount := _added(switch, weighed, each))}
        for names in _sets():
            if added.keys() >= set(names) and (value := each * weighed.macs + sum(map(added.__getitem__, names))) > 0:
                yield Form(unit, names), value
