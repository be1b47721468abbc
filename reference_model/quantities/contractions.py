"""Convolutions, linear layers, products and attention: what multiplies and accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import (
    Priced,
    aten,
    function,
    parameters_of,
)


@aten("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "miopen_convolution")
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *_: Any,
    out: Tensor,
) -> Priced:
    """Convolution of N×Cin×… with Cout×Cin/groups×kernel (transposed: Cin×Cout/groups×kernel).

    Every output position (transposed: every input position) costs one pass over the weights; the
    groups are already in the weight's shape. Padding is counted as if it were data, as everyone does.
    """
    spatial = weight.dim() - 2
    batch = prod(x.shape[: x.dim() - spatial - 1])
    positions = prod(out.shape[out.dim() - spatial :])
    at_input = weight.numel() * prod(x.shape[x.dim() - spatial :])
    quantities = {
        "macs": batch * (at_input if transposed else weight.numel() * positions),
        "macs_at_output": batch * weight.numel() * positions,
        "positions": positions,
        "inputs": x.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, weight, bias),
    }
    return ("conv_transpose" if transposed else "conv"), quantities


@function("torch.nn.functional.linear")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Priced:
    """`x·Wᵀ + b`, x of shape …×in, W of out×in: one MAC per output and input feature."""
    return "linear", {
        "macs": input.numel() * (weight.shape[0] if weight.dim() > 1 else 1),
        "inputs": input.numel(),
        "outputs": out.numel(),
        "rows": input.numel() // max(1, input.shape[-1]),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, weight, bias),
    }


@function("torch.nn.functional.bilinear")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Priced:
    """`x₁ᵀ·W·x₂ + b`, W of out×in1×in2: in1·in2 MACs for `W·x₂` and in1 for `x₁·(…)`, per output."""
    per_output = weight.shape[1] * weight.shape[2] + weight.shape[1]
    return "bilinear", {
        "macs": out.numel() * per_output,
        "inputs": input1.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, weight, bias),
    }


@function("torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__")
def matmul(input: Tensor, other: Tensor, *, out: Tensor) -> Priced:
    """Batched product …×m×k by …×k×n: k MACs per output, broadcast dimensions included."""
    return "matmul", {
        "macs": out.numel() * input.shape[-1],
        "inputs": input.numel(),
        "outputs": out.numel(),
    }


@function("torch.Tensor.__rmatmul__")
def reflected_matmul(other: Tensor, input: Tensor, *, out: Tensor) -> Priced:
    """`other.__rmatmul__(input)` is `input @ other`."""
    return matmul(input, other, out=out)


@aten("mm", "bmm", "dot", "vdot", "mv")
def product(a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """…×m×k by …×k×n: k MACs per output."""
    return "matmul", {"macs": out.numel() * a.shape[-1], "inputs": a.numel(), "outputs": out.numel()}


@aten("addmm", "baddbmm", "addmv", "addbmm")
def added_product(bias: Tensor, a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """`bias + a·b`: the product's MACs, and one addition per output (`addbmm` also sums over its batch)."""
    columns = b.shape[-1] if b.dim() > 1 else 1
    return "matmul", {
        "macs": a.numel() * columns,
        "inputs": a.numel(),
        "outputs": out.numel(),
        "bias_adds": out.numel(),
        "biases": bias.numel(),
    }


@function("torch.nn.functional.scaled_dot_product_attention")
def attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """softmax(q·kᵀ)·v with q …×h×L×E, k …×h×S×E, v …×h×S×V: L·S·(E+V) MACs a head, mask or not.

    Key and value heads that are shared between queries (GQA) are counted once per query head.
    """
    scores = prod(query.shape[:-1]) * key.shape[-2]
    return "attention", {
        "macs": scores * (query.shape[-1] + value.shape[-1]),
        "scores": scores,
        "queries": prod(query.shape[:-1]),
        "inputs": query.numel(),
        "outputs": out.numel(),
    }


@aten(
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
def fused_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """The same, reached from inside another function."""
    return attention(query, key, value, out=out[0])
