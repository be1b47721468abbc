"""MobileNetV2, the network that every counter is asked about.

Sandler, Howard, Zhu, Zhmoginov, Chen: "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018, arXiv:1801.04381. Parameter names and shapes are those of
torchvision's `mobilenet_v2`, so its weights load here.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

# Table 2 of the paper: expansion t, output channels c, repeats n, stride s of the first.
PAPER_SETTING: tuple[tuple[int, int, int, int], ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
POOLINGS = ("module", "mean")


def make_divisible(value: float, divisor: int) -> int:
    """Round `value` to a multiple of `divisor`, never below 90 % of `value` (the authors' rule).

    Source: tensorflow/models, research/slim/nets/mobilenet/mobilenet.py.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class ConvBNReLU(nn.Sequential):
    """Convolution, batch norm, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; add the input where stride and width allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand_ratio: int):
        super().__init__()
        hidden = round(inputs * expand_ratio)
        self.use_res_connect = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(ConvBNReLU(inputs, hidden, kernel=1))
        layers += [
            ConvBNReLU(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.use_res_connect else out


class MobileNetV2(nn.Module):
    """MobileNetV2.

    Args:
        num_classes: size of the classifier's output, at least 1.
        width_mult: multiplies the channels of every layer, above 0.
        inverted_residual_setting: rows `(t, c, n, s)` in place of the paper's Table 2.
        round_nearest: channels become a multiple of this, at least 1.
        dropout: probability before the classifier, 0 ≤ p < 1.
        pooling: `"module"` pools with `nn.AdaptiveAvgPool2d(1)`, `"mean"` with `x.mean([2, 3])`.
            The output is the same; a counter that hooks modules sees only the first.

    Shapes: input N×3×H×W, output N×num_classes.

    Raises:
        ValueError: an argument is out of its range; the message names it and says what would do.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        dropout: float = 0.2,
        pooling: str = "module",
    ):
        super().__init__()
        _require_integer("num_classes", num_classes)
        _require_integer("round_nearest", round_nearest)
        if not isinstance(width_mult, Real) or not 0 < width_mult < float("inf"):
            raise ValueError(f"width_mult must be a number above 0, not {width_mult!r}")
        if not isinstance(dropout, Real) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(map(repr, POOLINGS))}, not {pooling!r}")
        setting = _checked_setting(inverted_residual_setting)

        channels = make_divisible(32 * width_mult, round_nearest)
        last = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [ConvBNReLU(3, channels, stride=2)]
        for t, c, n, s in setting:
            outputs = make_divisible(c * width_mult, round_nearest)
            for i in range(n):
                features.append(InvertedResidual(channels, outputs, s if i == 0 else 1, t))
                channels = outputs
        features.append(ConvBNReLU(channels, last, kernel=1))
        self.features: nn.Module = nn.Sequential(*features)
        # Built only when used: an unused module would still show up in a counter's table.
        self.avgpool: nn.Module | None = nn.AdaptiveAvgPool2d(1) if pooling == "module" else None
        self.classifier: nn.Module = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.mean([2, 3]) if self.avgpool is None else torch.flatten(self.avgpool(x), 1)
        out: Tensor = self.classifier(x)
        return out


def _require_integer(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")


def _checked_setting(setting: Sequence[Sequence[int]] | None) -> Sequence[Sequence[int]]:
    if setting is None:
        return PAPER_SETTING
    if isinstance(setting, str) or not isinstance(setting, Sequence):
        raise ValueError(f"inverted_residual_setting must be a list of rows (t, c, n, s), not {setting!r}")
    if not setting:
        raise ValueError("inverted_residual_setting must have at least one row (t, c, n, s)")
    for i, row in enumerate(setting):
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 4:
            raise ValueError(f"inverted_residual_setting[{i}] must be four integers (t, c, n, s), not {row!r}")
        for letter, value in zip("tcns", row, strict=True):
            _require_integer(f"inverted_residual_setting[{i}], {letter},", value)
    return setting


def mobilenet_v2(**options: Any) -> MobileNetV2:
    """`MobileNetV2(**options)`, under the name that specs and torchvision use."""
    return MobileNetV2(**options)
