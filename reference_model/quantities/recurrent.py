"""Recurrent layers and cells, from their flat weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import (
    FUNCTIONS,
    Priced,
    Pricer,
    Quantities,
    aten,
    elements,
)


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
        return "recurrent", _recurrent(gates, input, [w_ih, w_hh, *biases], bool(biases), out)

    return priced


for _name, _gates in {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}.items():
    FUNCTIONS[f"torch.{_name}"] = _flat_recurrent(_gates)
    FUNCTIONS[f"torch.{_name}_cell"] = _cell(_gates)


@aten("_cudnn_rnn", "miopen_rnn")
def fused_layers(input: Tensor, weight: Sequence[Tensor], *args: Any, out: Any, **_: Any) -> Priced:
    """All layers in one kernel of a GPU, from their flat weights; `mode` is 0 relu, 1 tanh, 2 LSTM, 3 GRU."""
    mode = next(each for each in args[1:] if type(each) is int)  # the first that is no stride
    gates = {0: 1, 1: 1, 2: 4, 3: 3}[mode]
    return "recurrent", _recurrent(gates, input, weight, any(each.dim() == 1 for each in weight), out)


@aten("_lstm_mps")
def fused_lstm(input: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, *_: Any, out: Any) -> Priced:
    """All layers of an LSTM in one kernel of Apple's."""
    return "recurrent", _recurrent(4, input, params, has_biases, out)


@aten("mkldnn_rnn_layer")
def one_layer(
    input: Tensor,
    weight0: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    weight3: Tensor,
    hx_: Tensor,
    cx_: Tensor,
    reverse: bool,
    batch_sizes: Sequence[int],
    mode: int,
    hidden_size: int,
    num_layers: int,
    has_biases: bool,
    *_: Any,
    out: Any,
) -> Priced:
    """One layer in one direction by oneDNN, from its two matrices and two biases."""
    weights = [weight0, weight1, weight2, weight3]
    return "recurrent", _recurrent({0: 1, 1: 1, 2: 4, 3: 3}[mode], input, weights, has_biases, out)
