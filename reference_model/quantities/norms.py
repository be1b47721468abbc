"""Normalisations: elements in and out, and the elements of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import (
    Priced,
    aten,
    elements,
    function,
    parameters_of,
)


def _norm(op: str, x: Tensor, out: Any, weight: Tensor | None, bias: Tensor | None) -> Priced:
    return op, {"inputs": x.numel(), "outputs": elements(out), **parameters_of(out, weight, bias)}


@function("torch.nn.functional.batch_norm")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Batch norm of N×C×…; weights and biases are C each, or 0 without affine.

    Whether it is `training`, with the batch's own mean and variance, is a fact of the call.
    """
    return _norm("batch_norm", input, out, weight, bias)


@function("torch.batch_norm")
def plain_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool = False,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """The same with its arguments in another order: input, weight, bias, running mean and variance."""
    return _norm("batch_norm", input, out, weight, bias)


@aten(
    "native_batch_norm",
    "cudnn_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update",
    "_batch_norm_no_update",
    "miopen_batch_norm",
)
def native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, *_: Any, out: Any, **__: Any
) -> Priced:
    """The same, reached from inside another function."""
    return _norm("batch_norm", input, out, weight, bias)


@function("torch.nn.functional.instance_norm")
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Instance norm of N×C×…; weights and biases are C each, or 0 without affine."""
    return _norm("instance_norm", input, out, weight, bias)


@function("torch.nn.functional.layer_norm", "torch.layer_norm")
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Layer norm over the last dimensions; weights and biases are their product, or 0 without affine."""
    return _norm("layer_norm", input, out, weight, bias)


@aten("native_layer_norm")
def native_layer_norm(
    input: Tensor, shape: Any, weight: Tensor | None, bias: Tensor | None, *_: Any, out: Any
) -> Priced:
    """The same, reached from inside another function."""
    return _norm("layer_norm", input, out, weight, bias)


@function("torch.nn.functional.group_norm", "torch.group_norm")
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Group norm of N×C×…; weights and biases are C each, or 0 without affine."""
    return _norm("group_norm", input, out, weight, bias)


@function("torch.nn.functional.rms_norm", "torch.rms_norm")
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, *_: Any, out: Tensor, **__: Any
) -> Priced:
    """RMS norm over the last dimensions (no bias)."""
    return _norm("rms_norm", input, out, weight, None)


@aten("native_group_norm")
def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, *_: Any, out: Any) -> Priced:
    """Group norm, reached from inside another function."""
    return _norm("group_norm", input, out, weight, bias)


@aten("_fused_rms_norm")
def fused_rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, *_: Any, out: Any) -> Priced:
    """RMS norm, reached from inside another function."""
    return _norm("rms_norm", input, out, weight, None)
