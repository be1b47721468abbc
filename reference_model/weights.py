"""Random weights that nothing depends on, made quickly.

Torch draws some two hundred million numbers a second, on one core, and half a billion parameters are drawn twice by
many a constructor. What a model costs does not depend on them where it runs on the meta device, which has no values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from flopledger.reference_model import inputs
from flopledger.reference_model.known import input_on_meta, is_lazy, knowing

_MANY = 1 << 23  # parameters; fewer are drawn sooner than the model is run
_BLOCK = 1 << 14  # numbers that are drawn of a tensor that has more


def are_many(model: nn.Module) -> bool:
    """Whether a model has so many parameters that it takes longer to draw them than to run it on meta."""
    return sum(each.numel() for each in model.parameters() if not is_lazy(each)) > _MANY


def runs_on_meta(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a forward of a model on meta needs no values, but those that are known of integers and constants."""
    args, kwargs = inputs.mapped(input_on_meta, (args, kwargs))
    try:
        with torch.no_grad(), knowing():
            model(*args, **kwargs)
    except Exception:
        return False
    return True


@contextmanager
def repeated() -> Iterator[None]:
    """Whoever fills a large tensor at random meanwhile has the same few thousand numbers in it again and again."""

    def few(fill: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def filled(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if tensor.numel() <= 2 * _BLOCK or not tensor.is_contiguous() or tensor.is_meta:
                return fill(tensor, *args, **kwargs)
            flat = tensor.detach().view(-1)
            fill(flat[:_BLOCK], *args, **kwargs)
            whole = len(flat) // _BLOCK * _BLOCK
            flat[_BLOCK:whole].view(-1, _BLOCK).copy_(flat[:_BLOCK])
            flat[whole:].copy_(flat[: len(flat) - whole])
            return tensor

        return filled

    with (
        mock.patch.object(Tensor, "normal_", few(Tensor.normal_)),
        mock.patch.object(Tensor, "uniform_", few(Tensor.uniform_)),
    ):
        yield
