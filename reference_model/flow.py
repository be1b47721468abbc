"""What follows from what: which operations reach the model's output, and which tensors depend on trainable ones.

A counter that traces by jit drops what no output depends on, and torch takes other kernels where nothing needs a
gradient. Tensors are followed by their storage: a view, a detached one and what is written in place are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor
from torch._ops import OpOverload

from flopledger.reference_model.ledger import Call
from flopledger.reference_model.outside import storage
from flopledger.reference_model.transforms import tensors

# Kernels that write running statistics, in train mode, without a word in their schema.
_STATISTICS = {torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default}
# Kinds of operations of which it is worth to know whether they are for nothing; others seldom have a charge.
FOLLOWED = frozenset(
    "conv conv_transpose linear matmul bilinear attention recurrent batch_norm layer_norm group_norm instance_norm "
    "rms_norm pool upsample grid_sample fft linalg".split()
)


class Flow:
    """A graph of the operations of one forward, in the order in which they ran."""

    def __init__(self, trainable: Iterable[Tensor]) -> None:
        self.made: dict[int, int] = {}  # storage → the operation that wrote to it last
        self.parents: list[tuple[int, ...]] = []
        self.roots: list[int] = []  # those that write to what the model holds
        self.needing = {storage(tensor) for tensor in trainable}

    def ran(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """One more operation."""
        given = {place for tensor in tensors(args, kwargs) if (place := storage(tensor)) is not None}
        node = len(self.parents)
        self.parents.append(tuple({self.made[place] for place in given if place in self.made}))
        written = {place for tensor in tensors(out) if (place := storage(tensor)) is not None} - given
        if not isinstance(func, OpOverload) or func._schema.is_mutable:
            if not given <= self.made.keys():
                self.roots.append(node)
            written |= given
        elif func in _STATISTICS and args[3] is not None and args[5]:
            self.roots.append(node)
        needs = not self.needing.isdisjoint(given)
        for place in written:
            self.made[place] = node
            (self.needing.add if needs else self.needing.discard)(place)

    def needs(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on one that is trained."""
        return storage(tensor) in self.needing

    def reaching(self, output: list[Tensor]) -> set[int] | None:
        """The operations that these tensors depend on; None where some of them cannot be followed."""
        places = [storage(tensor) for tensor in output]
        if None in places or not places:
            return None
        found: set[int] = set()
        waiting = [*self.roots, *(self.made[place] for place in places if place in self.made)]
        while waiting:
            if (node := waiting.pop()) not in found:
                found.add(node)
                waiting += self.parents[node]
        return found


Spans = dict[Any, dict[bytes, list[tuple[int, int]]]]  # row → call → the operations in it, each time


def parted(calls: dict[bytes, Call], spans: dict[bytes, list[tuple[int, int]]], live: set[int] | None) -> list[Call]:
    """The calls of a row, with those that no output depends on apart: they have the fact `unused`."""
    found = []
    for key, call in calls.items():
        ran = spans.get(key, [])
        unused = 0
        if live is not None and len(ran) == call.times:  # those of a branch that was not taken are none of the model's
            unused = sum(start < end and live.isdisjoint(range(start, end)) for start, end in ran)
        if unused < call.times:
            found.append(replace(call, times=call.times - unused) if unused else call)
        if unused:
            found.append(replace(call, times=unused, facts={**call.facts, "unused": True}))
    return found
