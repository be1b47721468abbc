"""Fourier transforms. Their operations are `fft_flops`, not MACs: no kernel does the n² of the definition."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import Priced, aten


def fft_flops(shape: Sequence[int], dims: Sequence[int], halves: bool = False) -> int:
    """5·n·⌈log₂ n⌉ for each transform of n complex numbers, half of it (rounded down) for real ones.

    A transform along several dimensions is one along each. 5·n·log₂ n is what the radix-2 algorithm of Cooley and Tukey
    (1965) does: n/2·log₂ n butterflies, each a complex product (6) and two complex additions (4); it is the count by
    which FFTs are compared (M. Frigo and S. G. Johnson, The Design and Implementation of FFTW3, 2005, and benchFFT).
    log₂ is rounded up, so that the count is a whole number for every length.
    """
    flops = 5 * prod(shape) * sum((shape[dim] - 1).bit_length() for dim in dims)
    return flops // 2 if halves else flops


@aten("_fft_c2c", "prims.fft_c2c")
def complex_to_complex(input: Tensor, dim: Sequence[int], *_: Any, out: Tensor, **__: Any) -> Priced:
    """Complex numbers along `dim`, forward or back."""
    flops = fft_flops(input.shape, dim)
    return "fft", {"fft_flops": flops, "inputs": input.numel(), "outputs": out.numel()}


@aten("_fft_r2c", "prims.fft_r2c")
def real_to_complex(input: Tensor, dim: Sequence[int], *_: Any, out: Tensor, **__: Any) -> Priced:
    """Real numbers along `dim`, of which one half of the answer is the mirror of the other."""
    flops = fft_flops(input.shape, dim, halves=True)
    return "fft", {"fft_flops": flops, "inputs": input.numel(), "outputs": out.numel()}


@aten("_fft_c2r", "prims.fft_c2r")
def complex_to_real(input: Tensor, dim: Sequence[int], *_: Any, out: Tensor, **__: Any) -> Priced:
    """The way back: as many operations, by the real numbers that come out."""
    flops = fft_flops(out.shape, dim, halves=True)
    return "fft", {"fft_flops": flops, "inputs": input.numel(), "outputs": out.numel()}
