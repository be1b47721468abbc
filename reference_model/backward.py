"""The backward pass of a step: from which outputs it starts, and to which operation of the forward its own belong.

torch numbers the nodes of its graph as a forward makes them, and says during a backward which node runs. So what
was numbered while an operation of the forward ran is what that operation costs in the backward.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import update_wrapper, wraps
from typing import Any, Generic, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils import checkpoint

_running = False


@dataclasses.dataclass(eq=False)
class Origin:
    """One operation of the forward: where it ran, its kind, the torch functions through which it was called.

    `macs` says whether it has any. `whole` is the price of its backward where that has one as a whole, which is
    `written` once, by `name` where that is not the function's.
    """

    site: str
    op: str
    apis: tuple[str, ...]
    macs: bool = False
    whole: tuple[str, dict[str, int], dict[str, Any]] | None = None
    written: bool = False
    name: str = ""


class Priced(torch.autograd.Function):
    """A node of the graph between an operation's output and its inputs, whose backward has a price as a whole."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, *(torch.empty_like(tensor) for tensor in ctx.saved_tensors)


T = TypeVar("T")


class Graph(Generic[T]):
    """Where autograd nodes come from, by the numbers of the nodes. Numbers are one thread's."""

    def __init__(self, nowhere: T) -> None:
        self.starts: list[int] = []
        self.origins: list[T] = []
        self.next = _number()
        self.last = nowhere

    def grew(self, origin: T) -> None:
        """Nodes that were made since the last time belong to `origin`."""
        self.last = origin
        now = _number()
        if now > self.next:
            self.starts.append(self.next)
            self.origins.append(origin)
            self.next = now

    def running(self) -> T:
        """The origin of the node that runs; of the one before it, where a node is nobody's."""
        node = torch._C._current_autograd_node()
        number = self.next if node is None else node._sequence_nr()
        at = bisect_right(self.starts, number) - 1
        if number < self.next and at >= 0:  # those that gather the gradient of a leaf are numbered beyond all others
            self.last = self.origins[at]
        return self.last


def _number() -> int:
    """What the next node of this thread will be numbered."""
    return int(torch._C._autograd._get_sequence_nr())


def in_backward() -> bool:
    """Whether a node of the graph runs, in the backward of a step: a forward may have one of its own."""
    return _running and torch._C._current_autograd_node() is not None


def run_backward(output: Any) -> bool:
    """The backward of a step: of the loss that a model returns, or else of the sum of what it returns.

    A loss is `output.loss` or `output["loss"]`. Otherwise every tensor of floating-point (or complex) numbers in
    `output` that needs a gradient is given one of ones, which is what the gradient of their sum is. The sum itself is
    not the model's, and does not run. False where nothing needs a gradient.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    global _running
    found = [leaf for leaf in leaves(loss if isinstance(loss, Tensor) else output) if leaf.requires_grad]
    gradients = [torch.ones_like(leaf) for leaf in found]
    _running = True
    try:
        if found:
            torch.autograd.backward(found, gradients)
    finally:
        _running = False
    return bool(found)


class Step:
    """A model's `forward` with its backward; an object, so that a copied model has its own."""

    def __init__(self, forward: Callable[..., Any]):
        self.genuine = forward
        update_wrapper(self, forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.genuine(*args, **kwargs)
        run_backward(output)
        return output


def leaves(value: Any) -> list[Tensor]:
    """The tensors in a nest of tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, (tuple, list)) else []


@contextmanager
def watching_checkpoints(again: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Wrap by `again` each function that a checkpoint (torch.utils.checkpoint) runs a second time in the backward.

    `again` is called where the checkpoint is, in the forward. A checkpoint is a torch.autograd.Function, or (not
    reentrant) a frame with a function to run when a saved tensor is asked for.
    """
    frame, function = checkpoint._CheckpointFrame, checkpoint.CheckpointFunction
    made: Callable[..., None] = frame.__init__
    forward: Callable[..., Any] = function.forward

    @wraps(made)
    def init(self: Any, recompute_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        made(self, again(recompute_fn), *args, **kwargs)

    @wraps(forward)
    def kept(ctx: Any, run_function: Callable[..., Any], *args: Any) -> Any:
        out = forward(ctx, run_function, *args)
        ctx.run_function = again(run_function)
        return out

    with patch.object(frame, "__init__", init), patch.object(function, "forward", staticmethod(kept)):
        yield
