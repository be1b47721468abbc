"""What each operation offers to be charged for: small pure functions of shapes.

A function is registered under the ATen op (or the torch function, for operations that ATen
splits up) that it is for. It takes that op's own arguments and its output and returns the kind of
operation and its quantities. One can review a formula here without knowing the tracer.

The quantities, all integers, are defined in `reference_model.ledger.MEANING`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from torch import Tensor

Quantities = dict[str, int]
Priced = tuple[str, Quantities]
Pricer = Callable[..., Priced]

ATEN: dict[str, Pricer] = {}  # "aten.convolution" → pricer(*args, out=…, **kwargs)
FUNCTIONS: dict[str, Pricer] = {}  # "torch.nn.functional.linear" → the same


def aten(*names: str) -> Callable[[Pricer], Pricer]:
    """Register a pricer for ATen ops, by packet name without `aten.`."""

    def register(pricer: Pricer) -> Pricer:
        ATEN.update({f"aten.{name}": pricer for name in names})
        return pricer

    return register


def function(*names: str) -> Callable[[Pricer], Pricer]:
    """Register a pricer for torch functions that ATen would show in pieces."""

    def register(pricer: Pricer) -> Pricer:
        FUNCTIONS.update(dict.fromkeys(names, pricer))
        return pricer

    return register


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a nest of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return next((t for t in map(first_tensor, value) if t is not None), None)
    if isinstance(value, dict):
        return first_tensor(list(value.values()))
    return None


def elements(value: Any) -> int:
    """Elements of the first tensor in `value`, 0 where there is none."""
    tensor = first_tensor(value)
    return 0 if tensor is None else tensor.numel()


def _weights(out: Any, weight: Tensor | None, bias: Tensor | None) -> Quantities:
    tensor = first_tensor(out)
    batch = tensor.shape[0] if tensor is not None and tensor.dim() else 1
    weights, biases = elements(weight), elements(bias)
    return {
        "weights": weights,
        "biases": biases,
        "sample_weights": batch * weights,
        "sample_biases": batch * biases,
    }


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
    at_output = weight.numel() * prod(out.shape[out.dim() - spatial :])
    at_input = weight.numel() * prod(x.shape[x.dim() - spatial :])
    quantities = {
        "macs": batch * (at_input if transposed else at_output),
        "macs_per_sample": at_output,
        "macs_at_output": batch * at_output,
        "channel_macs": out.numel() * (weight.shape[0] // groups if transposed else weight.shape[1]),
        "taps_at_output": out.numel() * prod(weight.shape[1:]),
        "inputs": x.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
        **_weights(out, weight, bias),
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
        **_weights(out, weight, bias),
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
        **_weights(out, weight, bias),
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


def _norm(op: str, x: Tensor, out: Any, weight: Tensor | None, bias: Tensor | None) -> Priced:
    return op, {"inputs": x.numel(), "outputs": elements(out), **_weights(out, weight, bias)}


@function("torch.nn.functional.batch_norm", "torch.batch_norm")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Batch norm of N×C×…; weights and biases are C each, or 0 without affine."""
    return _norm("batch_norm", input, out, weight, bias)


@aten(
    "native_batch_norm",
    "cudnn_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update",
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


@function("torch.nn.functional.local_response_norm")
def local_response_norm(input: Tensor, size: int, *_: Any, out: Tensor, **__: Any) -> Priced:
    """Local response norm over `size` neighbouring channels."""
    return _norm("local_response_norm", input, out, None, None)


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
    return "activation", {"inputs": input.numel(), "outputs": out.numel(), **_weights(out, weight, None)}


@aten("embedding", "_embedding_bag", "_embedding_bag_forward_only")
def embedding(weight: Tensor, indices: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """A look-up: rows of the table copied out, no arithmetic."""
    return "embedding", {"inputs": indices.numel(), "outputs": elements(out), **_weights(out, weight, None)}


def _recurrent(gates: int, x: Tensor, params: Sequence[Tensor], has_biases: bool, out: Any) -> Quantities:
    """Quantities of a recurrent layer from its flat weights, layer by layer and direction by direction.

    Each weight matrix (input-hidden, hidden-hidden, projection) is one pass per step and sample.
    """
    matrices = [p for p in params if p.dim() == 2]
    vectors = [p for p in params if p.dim() == 1] if has_biases else []
    steps = x.numel() // max(1, x.shape[-1])
    # All but the projections have one row per gate and hidden element.
    hidden = sum(p.shape[0] // gates for p in matrices if p.shape[0] == matrices[0].shape[0])
    per_matrix = 2  # one input-hidden and one hidden-hidden matrix for each layer and direction
    weights, biases = sum(p.numel() for p in matrices), sum(p.numel() for p in vectors)
    return {
        "macs": steps * weights,
        "inputs": x.numel(),
        "outputs": elements(out),
        "bias_adds": steps * biases,
        "steps": steps,
        "states": steps * hidden // per_matrix,
        "weights": weights,
        "biases": biases,
    }


def _flat_recurrent(gates: int) -> Pricer:
    def priced(input: Tensor, second: Any, third: Any, *rest: Any, out: Any, **_: Any) -> Priced:
        """torch.lstm(input, hx, params, has_biases, …); the packed form has batch_sizes second."""
        packed = isinstance(second, Tensor) and isinstance(rest[0], (tuple, list))
        params, has_biases = (rest[0], rest[1]) if packed else (third, rest[0])
        return "recurrent", _recurrent(gates, input, params, has_biases, out)

    return priced


def _cell(gates: int) -> Pricer:
    def priced(
        input: Tensor,
        hx: Any,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None = None,
        b_hh: Tensor | None = None,
        *,
        out: Any,
    ) -> Priced:
        """One step of a recurrent cell: torch.lstm_cell(input, hx, w_ih, w_hh, b_ih, b_hh)."""
        biases = [b for b in (b_ih, b_hh) if b is not None]
        quantities = _recurrent(gates, input, [w_ih, w_hh, *biases], bool(biases), out)
        quantities["output_weights"] = quantities["outputs"] * quantities["weights"]
        quantities["output_biases"] = quantities["outputs"] * quantities["biases"]
        return "recurrent", quantities

    return priced


for _name, _gates in {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}.items():
    FUNCTIONS[f"torch.{_name}"] = _flat_recurrent(_gates)
    FUNCTIONS[f"torch.{_name}_cell"] = _cell(_gates)

# --- the long tail: kinds of operation by name, where elements in and out say it all ---------------

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
    return "elementwise" if pointwise else "unclassified"
