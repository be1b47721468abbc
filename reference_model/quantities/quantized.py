"""Quantized layers: what the same layer costs in float. Their weights are packed, and asked for their shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flopledger.reference_model.quantities.contractions import linear as plain_linear
from flopledger.reference_model.quantities.convolutions import convolution as plain_convolution
from flopledger.reference_model.quantities.registry import Priced, Quantities, aten, elements


def _unpacked(packed: Any) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a packed layer, unpacked where nobody sees it."""
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        weight, bias = packed.unpack()
    return weight, bias


@aten(*(f"{library}.linear{kind}" for library in ("quantized", "_quantized") for kind in (
    "", "_relu", "_leaky_relu", "_tanh", "_dynamic", "_relu_dynamic", "_dynamic_fp16", "_relu_dynamic_fp16",
    "_with_input_q_dq_qweight_dq_output_fp32", "_with_input_q_dq_qweight_dq_relu_output_fp32")))  # fmt: skip
def linear(input: Tensor, *packed: Any, out: Tensor, **_: Any) -> Priced:
    """A quantized linear layer, dynamic or not, with whatever follows it."""
    weight, bias = _unpacked(next(each for each in packed if hasattr(each, "unpack")))
    return plain_linear(input, weight, bias, out=out)


@aten(*(f"{library}.conv{dims}d{kind}" for library in ("quantized", "_quantized") for dims in (1, 2, 3)
        for kind in ("", "_relu", "_dynamic", "_add", "_add_relu")),
      *(f"{library}.conv_transpose{dims}d{kind}" for library in ("quantized", "_quantized") for dims in (1, 2, 3)
        for kind in ("", "_dynamic")))  # fmt: skip
def convolution(x: Tensor, *packed: Any, out: Tensor, **_: Any) -> Priced:
    """A quantized convolution, with whatever follows it; one of sequences is packed as one of images of height 1."""
    layer = next(each for each in packed if hasattr(each, "unpack"))
    weight, bias = _unpacked(layer)
    dims = x.dim() - 2
    if weight.dim() - 2 > dims:
        weight = weight.squeeze(2)
    sizes = (layer.stride()[-dims:], layer.padding()[-dims:], layer.dilation()[-dims:])
    return plain_convolution(x, weight, bias, *sizes, bool(layer.transpose()), 0, layer.groups(), out=out)


def _recurrent(gates: int, input: Tensor, hidden: int, layers: int, directions: int, biases: bool, out: Any) -> Priced:
    """Each gate's rows for the input and for the state, per layer and direction; deeper layers see all directions."""
    steps = input.numel() // max(1, input.shape[-1])
    widths = [input.shape[-1]] + [hidden * directions] * (layers - 1)
    weights = directions * gates * hidden * sum(width + hidden for width in widths)
    per_step = 2 * directions * layers * gates * hidden * biases
    quantities: Quantities = {
        "macs": steps * weights,
        "inputs": input.numel(),
        "outputs": elements(out),
        "bias_adds": steps * per_step,
        "steps": steps,
        "states": steps * hidden * layers * directions,
        "weights": weights,
        "biases": per_step,
    }
    return "recurrent", quantities


def _layers(gates: int) -> Any:
    def priced(input: Tensor, *args: Any, out: Any, **_: Any) -> Priced:
        """torch.quantized_lstm(input, hx, params, has_biases, layers, …); the packed form has batch_sizes second."""
        at = next(i for i, each in enumerate(args) if isinstance(each, (list, tuple)) and not _are_tensors(each))
        hx, (has_biases, layers) = args[at - 1], args[at + 1 : at + 3]
        state = hx[0] if isinstance(hx, (list, tuple)) else hx
        return _recurrent(gates, input, state.shape[-1], layers, state.shape[0] // layers, has_biases, out)

    return priced


def _are_tensors(values: Any) -> bool:
    return all(isinstance(each, Tensor) for each in values)


def _cell(gates: int) -> Any:
    def priced(input: Tensor, hx: Any, *_: Any, out: Any, **__: Any) -> Priced:
        """One step of one layer; its packed weights hold the biases."""
        state = hx[0] if isinstance(hx, (list, tuple)) else hx
        return _recurrent(gates, input, state.shape[-1], 1, 1, True, out)

    return priced


for _name, _gates in {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}.items():
    aten(f"quantized.quantized_{_name}_cell_dynamic", f"quantized_{_name}_cell")(_cell(_gates))
    if _gates > 1:
        aten(f"quantized_{_name}")(_layers(_gates))


@aten("quantized.embedding_bag_byte", "quantized.embedding_bag_4bit", "quantized.embedding_bag_2bit")
def embedding_bag(
    weight: Any, indices: Tensor, offsets: Tensor | None = None, scale: bool = False, mode: int = 0,
    pruned: bool = False, per_sample_weights: Tensor | None = None, *_: Any, out: Tensor, **__: Any,
) -> Priced:  # fmt: skip
    """Rows of a table in few bits, added up in bags: one MAC per element that has a weight of its sample."""
    weighted = 0 if per_sample_weights is None else indices.numel() * out.shape[-1]
    return "embedding", {"macs": weighted, "inputs": indices.numel(), "outputs": out.numel()}


@aten("quantized.prelu")
def prelu(x: Tensor, weight: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """PReLU, the one activation with weights."""
    return "activation", {"inputs": x.numel(), "outputs": out.numel(), "weights": weight.numel()}
