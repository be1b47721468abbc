"""Softmax, PReLU and look-ups, where elements in and out say it all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import (
    Priced,
    aten,
    elements,
    function,
    parameters_of,
)


@aten("_softmax", "_log_softmax", "_safe_softmax")
def softmax(input: Tensor, dim: int, *_: Any, out: Tensor, **__: Any) -> Priced:
    """Softmax along `dim`: `rows` vectors of outputs/rows elements each."""
    length = input.shape[dim] if input.dim() else 1
    return "softmax", {
        "inputs": input.numel(),
        "outputs": out.numel(),
        "rows": input.numel() // max(1, length),
    }


@function("torch.nn.functional.prelu", "torch.prelu")
def prelu(input: Tensor, weight: Tensor, *, out: Tensor) -> Priced:
    """PReLU, the one activation with weights."""
    return "activation", {"inputs": input.numel(), "outputs": out.numel(), **parameters_of(out, weight, None)}


@aten("embedding")
def embedding(weight: Tensor, indices: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """A look-up: rows of the table copied out, no arithmetic."""
    return "embedding", {"inputs": indices.numel(), "outputs": elements(out), **parameters_of(out, weight, None)}


@function("torch.nn.functional.embedding_bag")
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """The same, added up in bags. With weights of its samples one MAC per element of each row.

    What a kernel puts out beside it is the device's. Rows of `padding_idx` are counted as if they were data.
    """
    return "embedding", {
        "macs": 0 if per_sample_weights is None else input.numel() * weight.shape[-1],
        "inputs": input.numel(),
        "outputs": out.numel(),
        **parameters_of(out, weight, None),
    }


@aten("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag_kernel(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    *_: Any,
    out: Any,
    **__: Any,
) -> Priced:
    """The same, reached from inside another function."""
    return embedding_bag(indices, weight, per_sample_weights=per_sample_weights, out=out[0])


@function("torch.nn.functional.one_hot")
def one_hot(input: Tensor, num_classes: int = -1, *, out: Tensor) -> Priced:
    """A one for each index, among zeros; how torch does it is the device's."""
    return "move", {"inputs": input.numel(), "outputs": out.numel()}


@function("torch.Tensor.__setitem__")
def written(self: Tensor, key: Any, value: Any, *, out: Any) -> Priced:
    """`x[key] = value`: the elements of what is written, before it is broadcast; how torch does it is the device's."""
    size = value.numel() if isinstance(value, Tensor) else 1
    return "move", {"inputs": size, "outputs": size}
