"""Convolutions by whatever kernel: one pass over the weights for each output (transposed: for each input)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import (
    COMPLEX,
    Priced,
    arranged,
    aten,
    parameters_of,
    real_macs,
)

Sizes = Sequence[int] | int


@aten("convolution", "_convolution", "convolution_overrideable")
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    transposed: bool = False,
    output_padding: Sizes = 0,
    groups: int = 1,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Convolution of N×Cin×… with Cout×Cin/groups×kernel (transposed: Cin×Cout/groups×kernel).

    Every output position (transposed: every input position) costs one pass over the weights; the
    groups are already in the weight's shape. Padding is counted as if it were data, as everyone does;
    `border_macs` are those of `macs` that meet it (transposed: whose product is cut off).
    """
    spatial = weight.dim() - 2
    batch = prod(x.shape[: x.dim() - spatial - 1])
    sizes, positions = x.shape[x.dim() - spatial :], out.shape[out.dim() - spatial :]
    walked, met = (sizes, positions) if transposed else (positions, sizes)
    macs = batch * weight.numel() * prod(walked)
    taps, steps, pads, spread = (
        weight.shape[2:],
        _each(stride, spatial),
        _each(padding, spatial),
        _each(dilation, spatial),
    )
    on_data = prod(map(on_data_in, met, walked, taps, steps, pads, spread))
    quantities = {
        "macs": real_macs(macs, x, weight),
        "border_macs": real_macs(macs - batch * prod(weight.shape[:2]) * on_data, x, weight),
        "macs_at_output": real_macs(batch * weight.numel() * prod(positions), x, weight),
        "positions": prod(positions),
        "inputs": x.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, weight, bias),
    }
    return ("conv_transpose" if transposed else "conv"), quantities


def _each(size: Sizes, dims: int) -> list[int]:
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes * dims if len(sizes) == 1 else sizes


@cache
def on_data_in(size: int, steps: int, taps: int, stride: int, padding: int, dilation: int) -> int:
    """How many taps in one dimension are at 0 … size − 1: tap k of step i is at i·stride − padding + k·dilation."""
    found = 0
    for tap in range(taps):
        first = tap * dilation - padding
        found += max(0, min(steps - 1, (size - 1 - first) // stride) - max(0, -(first // stride)) + 1)
    return found


for _order, _names in {
    "x weight padding stride dilation groups": "cudnn_convolution",
    "x weight bias padding stride dilation groups": "mkldnn_convolution miopen_convolution _mps_convolution "
    "miopen_depthwise_convolution mkldnn._convolution_pointwise",
    "other x weight bias padding stride dilation groups": "mkldnn._convolution_pointwise_",
    "x weight bias stride padding dilation groups": "cudnn_convolution_relu miopen_convolution_relu",
    "x weight z alpha bias stride padding dilation groups": "cudnn_convolution_add_relu miopen_convolution_add_relu",
    "x weight kernel_size bias stride padding dilation": "_slow_conv2d_forward slow_conv3d_forward slow_conv_dilated2d "
    "slow_conv_dilated3d _conv_depthwise2d conv_depthwise3d",
    "x weight bias padding stride": "_nnpack_spatial_convolution",
    "x x_scale x_zero_point weight w_scale w_zero_point bias stride padding dilation groups": "onednn.qconv_pointwise "
    "onednn.qconv1d_pointwise onednn.qconv2d_pointwise onednn.qconv3d_pointwise",
}.items():
    aten(*_names.split())(arranged(convolution, _order))
for _order, _names in {
    "x weight padding output_padding stride dilation groups": "cudnn_convolution_transpose _mps_convolution_transpose",
    "x weight bias padding output_padding stride dilation groups": "miopen_convolution_transpose "
    "mkldnn._convolution_transpose_pointwise",
    "x weight kernel_size bias stride padding output_padding dilation": "slow_conv_transpose2d slow_conv_transpose3d",
}.items():
    aten(*_names.split())(arranged(convolution, _order, transposed=True))


def _complex(transposed: bool) -> Any:
    def priced(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        *rest: Any,
        out: Tensor,
        **options: Any,
    ) -> Priced:
        """Complex numbers: torch runs three real convolutions and some sums for the four that it is by definition."""
        names = ("output_padding", "groups", "dilation") if transposed else ("dilation", "groups")
        given = {**dict(zip(names, rest, strict=False)), **options}
        if isinstance(padding, str):  # "same" puts the smaller half in front, "valid" nothing
            spread = _each(given.get("dilation", 1), weight.dim() - 2)
            same = [each * (taps - 1) // 2 for each, taps in zip(spread, weight.shape[2:], strict=True)]
            padding = same if padding == "same" else 0
        return convolution(input, weight, bias, stride, padding, transposed=transposed, out=out, **given)

    return priced


for _dims in (1, 2, 3):
    COMPLEX[f"torch.nn.functional.conv{_dims}d"] = COMPLEX[f"torch.conv{_dims}d"] = _complex(False)
    COMPLEX[f"torch.nn.functional.conv_transpose{_dims}d"] = COMPLEX[f"torch.conv_transpose{_dims}d"] = _complex(True)
COMPLEX["torch._convolution_mode"] = _complex(False)


@aten("conv_tbc")
def time_first(x: Tensor, weight: Tensor, bias: Tensor, pad: int = 0, *, out: Tensor) -> Priced:
    """1-d convolution of T×N×Cin with kernel×Cin×Cout: kernel·Cin MACs per output of T'×N×Cout."""
    taps, pairs = weight.shape[0], x.shape[1] * prod(weight.shape[1:])
    return "conv", {
        "macs": out.shape[0] * taps * pairs,
        "border_macs": (out.shape[0] * taps - on_data_in(x.shape[0], out.shape[0], taps, 1, pad, 1)) * pairs,
        "positions": out.shape[0],
        "inputs": x.numel(),
        "outputs": out.numel(),
        "bias_adds": out.numel(),
        **parameters_of(out, weight, bias),
    }


@aten("torchvision.deform_conv2d")
def deformable(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *_: Any, out: Tensor
) -> Priced:
    """Deformable convolution: its taps are somewhere else for each output, but as many: Cin/groups·kernel MACs each.

    Each tap is a bilinear sample between four neighbours, which is of elements, as in grid sampling.
    """
    return "conv", {
        "macs": out.numel() * prod(weight.shape[1:]),
        "positions": prod(out.shape[2:]),
        "inputs": input.numel(),
        "outputs": out.numel(),
        "bias_adds": out.numel(),
        **parameters_of(out, weight, bias),
    }
