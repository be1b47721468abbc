"""What a pooling operation offers to be charged for: its inputs, its outputs, and the elements of its windows."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import Priced, Pricer, aten, elements, first_tensor, function


def _sizes(size: Any, dims: int) -> list[int]:
    """One size for each dimension: torch takes one number for all."""
    sizes = list(size) if isinstance(size, (tuple, list)) else [size]
    return sizes * dims if len(sizes) == 1 else sizes


def _pool(input: Tensor, out: Any, windows: int) -> Priced:
    return "pool", {"inputs": input.numel(), "outputs": elements(out), "windows": windows}


def _max_pool(dims: int) -> Pricer:
    def priced(input: Tensor, kernel_size: Any, *_: Any, out: Any, **__: Any) -> Priced:
        """One window of kernel_size for each output element, padding and all."""
        return _pool(input, out, elements(out) * prod(_sizes(kernel_size, dims)))

    return priced


def _avg_pool(dims: int) -> Pricer:
    def priced(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *_: Any,
        out: Tensor,
        **__: Any,
    ) -> Priced:
        """One window of kernel_size for each output element, less what lies beyond the input (and its padding)."""
        kernel, padded = _sizes(kernel_size, dims), _sizes(padding, dims)
        steps = _sizes(stride, dims) if stride else kernel
        windows = prod(out.shape[: out.dim() - dims])
        for size, outputs, k, step, p in zip(
            input.shape[-dims:], out.shape[-dims:], kernel, steps, padded, strict=True
        ):
            low, high = (-p, size + p) if count_include_pad else (0, size)
            starts = [i * step - p for i in range(outputs)]
            windows *= sum(max(min(start + k, high) - max(start, low), 0) for start in starts)
        return _pool(input, out, windows)

    return priced


@function(*(f"torch.nn.functional.adaptive_{kind}_pool{d}d" for kind in ("avg", "max") for d in (1, 2, 3)),
          "torch.adaptive_avg_pool1d")  # fmt: skip
@aten(*(f"{kind}{d}d" for kind in ("_adaptive_avg_pool", "adaptive_avg_pool", "adaptive_max_pool") for d in (1, 2, 3)))
def adaptive_pool(input: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """Output j of O covers the inputs from j·I/O, rounded down, to (j+1)·I/O, rounded up (torch's AdaptivePooling)."""
    tensor = first_tensor(out)
    assert tensor is not None
    sides = list(zip(input.shape, tensor.shape, strict=True))
    windows = prod(o if i == o else sum(-(-(j + 1) * i // o) - j * i // o for j in range(o)) for i, o in sides)
    return _pool(input, out, windows)


@aten(*(f"fractional_max_pool{d}d" for d in (2, 3)))
def other_pool(input: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """Pools whose windows no counter looks at."""
    return "pool", {"inputs": input.numel(), "outputs": elements(out)}


for _dims in (1, 2, 3):
    function(f"torch.nn.functional.avg_pool{_dims}d")(_avg_pool(_dims))
    function(f"torch.nn.functional.max_pool{_dims}d", f"torch.max_pool{_dims}d")(_max_pool(_dims))
    aten(f"avg_pool{_dims}d")(_avg_pool(_dims))
    aten(f"max_pool{_dims}d", f"max_pool{_dims}d_with_indices", f"quantized_max_pool{_dims}d",
         f"mkldnn_max_pool{_dims}d", f"quantized.max_pool{_dims}d")(_max_pool(_dims))  # fmt: skip
