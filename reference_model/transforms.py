"""Calls that are written for one sample and run for many: torch.vmap, nested tensors, classes of tensors of one's own.

A torch function sees the shapes that the model's code sees. Under `vmap` those are of one sample, a nested tensor has
none at all, and a subclass of Tensor may do something else instead. What runs is in each case known to torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from math import prod
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map_only

_functorch = torch._C._functorch
_PLAIN = (Tensor, nn.Parameter, nn.Buffer) if hasattr(nn, "Buffer") else (Tensor, nn.Parameter)

# Quantities that are of one sample, whatever the batch; all others grow with it.
OF_ONE_SAMPLE = frozenset(["positions"])
OF_ARGUMENTS = {"weights": "weight", "biases": "bias", "inputs": ""}  # those that are as often there as one tensor is


def tensors(*values: Any) -> Iterator[Tensor]:
    """Every tensor in a nest of tuples, lists and dicts."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tensors(*value)
        elif isinstance(value, dict):
            yield from tensors(*value.values())


def levels(*values: Any) -> dict[int, int]:
    """The `vmap`s that run over any tensor in `values`: the level of each and its batch size."""
    found: dict[int, int] = {}
    if not active():
        return found
    for tensor in tensors(*values):
        while _functorch.is_functorch_wrapped_tensor(tensor):
            inner = _functorch.get_unwrapped(tensor)
            if _functorch.is_batchedtensor(tensor):
                found[_functorch.maybe_get_level(tensor)] = inner.shape[_functorch.maybe_get_bdim(tensor)]
            tensor = inner
    return found


def batched(quantities: dict[str, int], times: dict[int, int], named: dict[str, Any], first: Any) -> dict[str, int]:
    """Quantities of one sample for all of a `vmap`; a weight, a bias and an input only where it is one for each sample.

    `named` are the call's arguments by name, `first` is its first tensor.
    """
    of = {name: first if not argument else named.get(argument) for name, argument in OF_ARGUMENTS.items()}
    whole = prod(times.values())
    factors = {name: prod(levels(tensor).values()) for name, tensor in of.items() if isinstance(tensor, Tensor)}
    factors |= dict.fromkeys(OF_ONE_SAMPLE, 1)
    return {name: value * factors.get(name, whole) for name, value in quantities.items()}


def active() -> bool:
    """Whether a transform of torch.func is running."""
    return _functorch.maybe_current_level() is not None


def in_forward_mode() -> bool:
    """Whether torch computes directional derivatives beside each operation: `func.jvp`, `func.linearize`, duals."""
    if forward_ad._current_level >= 0:
        return True
    if not active():
        return False
    return any(each.key() == _functorch.TransformType.Jvp for each in _functorch.get_interpreter_stack() or ())


@cache
def computes_itself(kind: type) -> bool:
    """Whether a class of tensors answers torch functions in its own way."""
    own = getattr(getattr(kind, "__torch_function__", None), "__func__", None)
    return own is not None and own is not Tensor.__torch_function__.__func__  # type: ignore[attr-defined]


@cache
def _wraps(kind: type) -> bool:
    own = getattr(kind, "__torch_dispatch__", None)
    return own is not None and own is not torch._C._disabled_torch_dispatch_impl


def wraps(kind: type) -> bool:
    """Whether a class of tensors answers operators by others, on tensors in it (jagged, distributed, quantised)."""
    return kind not in _PLAIN and _wraps(kind) and not issubclass(kind, FakeTensor)


def nested(*values: Any) -> bool:
    """Whether a tensor in `values` is nested."""
    return any(tensor.is_nested for tensor in tensors(*values))


def whole(*values: Any) -> bool:
    """Whether the arguments of a torch function say all that it will run: shapes of samples and how many there are."""
    found = list(tensors(*values))
    if any(tensor.is_nested for tensor in found):
        try:
            return bool(parts(values))
        except (RuntimeError, NotImplementedError, ValueError):
            return False
    own = (wraps(type(tensor)) or computes_itself(type(tensor)) for tensor in found)
    return not any(own) and not in_forward_mode()


def parts(values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The same call once for each sample of its nested tensors, those as tensors of batch 1.

    Raises:
        RuntimeError: how long the samples are is not known, as on the meta device.
    """
    found = [
        (tensor, [part.unsqueeze(0) for part in tensor.unbind()]) for tensor in tensors(*values) if tensor.is_nested
    ]
    if any(part.dim() != tensor.dim() for tensor, each in found for part in each):
        raise RuntimeError("a nested tensor of another number of dimensions than its samples")
    split = {id(tensor): each for tensor, each in found}
    calls = range(min(map(len, split.values())))
    return [tuple(_part(value, split, i) for value in values) for i in calls]


def _part(value: Any, split: dict[int, list[Tensor]], at: int) -> Any:
    return tree_map_only(Tensor, lambda tensor: split[id(tensor)][at] if id(tensor) in split else tensor, value)


def added(
    calls: list[tuple[str, dict[str, int], dict[str, Any]]], named: dict[str, Any]
) -> tuple[str, dict[str, int], dict[str, Any]]:
    """One call of so many samples: quantities added up, shapes joined along the side in which the samples differ.

    `named` are the whole call's arguments and its output by name.
    """
    (op, *_), quantities = calls[0], dict[str, int]()
    for _, each, _ in calls:
        for name, value in each.items():
            quantities[name] = value if name in ("weights", "biases") else quantities.get(name, 0) + value
    facts = {**calls[0][2], "nested": []}
    for name in [name for name, value in named.items() if name in facts and nested(value)]:
        shapes = [found[name] for *_, found in calls]
        facts[name], facts["nested"] = _joined(shapes), facts["nested"] or shapes
    return op, quantities, facts


def _joined(shapes: list[Any]) -> tuple[int, ...]:
    sides = list(zip(*shapes, strict=True))
    unlike = [at for at, side in enumerate(sides) if len(set(side)) > 1]
    if len(unlike) > 1:
        return (sum(map(prod, shapes)),)
    joined = unlike[0] if unlike else 0
    return tuple(sum(side) if at == joined else side[0] for at, side in enumerate(sides))


def shape(tensor: Tensor) -> Any:
    """A tensor's shape as plain data; of a nested one, what it is in memory."""
    if tensor.is_nested:
        tensor = tensor.values() if tensor.layout == torch.jagged else tensor.contiguous().values()
    return tuple(map(int, tensor.shape))


def sides(tensor: Tensor) -> list[int]:
    """A tensor's shape; of a nested one how many samples it has, and then what it is in memory."""
    return [*([tensor.size(0)] if tensor.is_nested else []), *shape(tensor)]


def size(tensor: Tensor | None) -> int:
    """Elements of a tensor: of all samples under `vmap`, of all that there are in a nested one; 0 of none."""
    if tensor is None:
        return 0
    if tensor.is_nested:
        return prod(shape(tensor))
    return tensor.numel() * prod(levels(tensor).values())


@contextmanager
def plain() -> Iterator[None]:
    """No compiler: what is compiled, or asks for it in a forward, runs as it is written, on any device.

    Nested tensors take the fused path of torch's encoder layers, which have no other one for them, though a mode is on.
    """
    asked = torch.overrides.has_torch_function

    def as_written(model: Any = None, **_: Any) -> Any:
        return (lambda model: model) if model is None else model

    with ExitStack() as stack:
        stack.enter_context(patch.object(torch, "compile", as_written))
        stack.enter_context(patch.object(torch.overrides, "has_torch_function", lambda given: _asks(asked, given)))
        stance = getattr(torch.compiler, "set_stance", None)
        if stance is not None and "torch._dynamo.eval_frame" in sys.modules:  # of torch._dynamo itself, no stand-in
            stack.enter_context(stance("force_eager"))
        yield


FLEX = "torch.nn.attention.flex_attention"


@contextmanager
def flexible() -> Iterator[None]:
    """flex_attention on any device: it has no kernel for meta, and needs none."""
    flex = sys.modules[FLEX]
    with patch.object(flex, "_validate_device", lambda *_: None) if hasattr(flex, "_validate_device") else ExitStack():
        yield


def _asks(asked: Callable[[Any], bool], given: Any) -> bool:
    if not asked(given):
        return False
    with torch._C.DisableTorchFunction():
        return not any(type(t) is Tensor and t.is_nested for t in tensors(given))
