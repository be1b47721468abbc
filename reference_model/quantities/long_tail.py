"""Softmax, PReLU, look-ups, and kinds of operation by name, where elements in and out say it all."""

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


@aten("embedding", "_embedding_bag", "_embedding_bag_forward_only")
def embedding(weight: Tensor, indices: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """A look-up: rows of the table copied out, no arithmetic."""
    return "embedding", {"inputs": indices.numel(), "outputs": elements(out), **parameters_of(out, weight, None)}


@function("torch.nn.functional.embedding_bag")
def embedding_bag(input: Tensor, weight: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """The same in bags; what a kernel puts out beside it is the device's."""
    return "embedding", {"inputs": input.numel(), "outputs": out.numel(), **parameters_of(out, weight, None)}


@function("torch.nn.functional.one_hot")
def one_hot(input: Tensor, num_classes: int = -1, *, out: Tensor) -> Priced:
    """A one for each index, among zeros; how torch does it is the device's."""
    return "move", {"inputs": input.numel(), "outputs": out.numel()}


@function("torch.Tensor.__setitem__")
def written(self: Tensor, key: Any, value: Any, *, out: Any) -> Priced:
    """`x[key] = value`: the elements of what is written, before it is broadcast; how torch does it is the device's."""
    size = value.numel() if isinstance(value, Tensor) else 1
    return "move", {"inputs": size, "outputs": size}


ACTIVATIONS = frozenset(
    (
        "relu hardtanh leaky_relu elu selu celu gelu silu mish sigmoid tanh hardswish hardsigmoid softplus glu "
        "log_sigmoid log_sigmoid_forward threshold hardshrink softshrink _prelu_kernel relu6 rrelu_with_noise"
    ).split()
)
MOVES = frozenset(
    (
        "cat stack clone copy contiguous _to_copy index select_scatter slice_scatter index_select gather scatter "
        "constant_pad_nd roll flip repeat tile repeat_interleave pad reflection_pad1d reflection_pad2d "
        "replication_pad2d replication_pad1d reflection_pad3d replication_pad3d pixel_shuffle pixel_unshuffle "
        "channel_shuffle native_channel_shuffle unfold im2col col2im index_put masked_fill masked_select where tril "
        "triu lift_fresh_copy resize set_ _reshape_copy block_diag meshgrid new_tensor"
    ).split()
)
FILLS = frozenset(
    (
        "empty empty_strided empty_like zeros zeros_like ones ones_like full full_like fill zero arange linspace eye "
        "scalar_tensor new_empty new_zeros new_ones new_full new_empty_strided rand randn rand_like randn_like "
        "randint bernoulli normal uniform lift lift_fresh _efficientzerotensor"
    ).split()
)
VIEWS = frozenset(["_unsafe_view", "_reshape_alias", "view", "detach", "alias", "unsafe_split", "unsafe_chunk"])


def classify(name: str, view: bool, pointwise: bool, reduction: bool) -> str:
    """The kind of an ATen op without a formula, from its name and torch's own tags."""
    name = name.removeprefix("aten.")
    plain = name.removesuffix("_") if not name.startswith("_") else name
    if view or plain in VIEWS:
        return "view"
    if plain in ACTIVATIONS:
        return "activation"
    if plain in {"add", "mul", "sub", "div"}:
        return plain
    if plain == "rsub":
        return "sub"
    if plain.startswith(("upsample_", "_upsample_")):
        return "upsample"
    if plain.startswith("grid_sampler"):
        return "grid_sample"
    if plain in MOVES:
        return "move"
    if plain in FILLS:
        return "fill"
    if plain in {"dropout", "native_dropout"}:
        return "dropout"
    if reduction or plain in {"mean", "sum", "amax", "amin", "prod", "var", "var_mean", "std", "cumsum", "norm",
                              "linalg_vector_norm", "logsumexp", "any", "all", "max", "min", "argmax"}:  # fmt: skip
        return "reduction"
    return "elementwise" if pointwise else "unpriced"
