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
