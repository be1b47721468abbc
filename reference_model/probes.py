"""Tiny models, each made to ask one question of a counter: what does it charge for this?

A probe is a function of no arguments that makes a module; `PROBES` has the shapes that go in. Dimensions are
chosen so that no two quantities coincide unless they must: a counter that multiplies by the wrong one shows it.
The functions import torch when they are called, so the table can be read without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Makes = Callable[[], Any]
PROBES: dict[str, tuple[str, ...]] = {}  # function name → shapes of the inputs


def probe(*shapes: str) -> Callable[[Makes], Makes]:
    """Register a probe with the shapes that go in, as on the command line."""

    def register(make: Makes) -> Makes:
        PROBES[make.__name__] = shapes
        return make

    return register


def spec(name: str) -> str:
    """The probe as a model is named everywhere."""
    return f"{__name__}:{name}"


def _layer(name: str, shape: str, kind: str, *args: Any, **options: Any) -> None:
    """A probe that is one layer of torch.nn, in a model of its own, so that no counter takes it for a root."""

    def make() -> Any:
        from torch import nn

        return nn.Sequential(getattr(nn, kind)(*args, **options))

    make.__name__ = name
    globals()[name] = probe(shape)(make)


def _call(name: str, function: str, *shapes: str) -> None:
    """A probe that calls one function: a dotted name of torch's, applied to the inputs."""

    def make() -> Any:
        from operator import attrgetter

        import torch
        from torch import nn

        def run(*inputs: torch.Tensor) -> Any:
            return attrgetter(function)(torch)(*inputs)  # looked up now: a counter may have put its own in place

        class One(nn.Module):
            def forward(self, input: torch.Tensor) -> Any:
                return run(input)

        class Two(nn.Module):
            def forward(self, input: torch.Tensor, other: torch.Tensor) -> Any:
                return run(input, other)

        class Three(nn.Module):
            def forward(self, input: torch.Tensor, other: torch.Tensor, third: torch.Tensor) -> Any:
                return run(input, other, third)

        return (One, Two, Three)[len(shapes) - 1]()  # some counters take inputs by their names only

    make.__name__ = name
    globals()[name] = probe(*shapes)(make)


for _d, _sides in ((1, "23"), (2, "11x13"), (3, "7x8x9")):
    _shape = f"2x6x{_sides}"
    _layer(f"conv{_d}d", _shape, f"Conv{_d}d", 6, 10, 3, bias=False)
    _layer(f"conv{_d}d_bias", _shape, f"Conv{_d}d", 6, 10, 3)
    _layer(f"conv{_d}d_groups", _shape, f"Conv{_d}d", 6, 10, 3, stride=2, padding=1, groups=2)
    _layer(f"conv_transpose{_d}d", _shape, f"ConvTranspose{_d}d", 6, 10, 3, stride=2, bias=False)
    _layer(f"conv_transpose{_d}d_bias", _shape, f"ConvTranspose{_d}d", 6, 10, 3, stride=2, groups=2)
    _layer(f"batch_norm{_d}d", _shape, f"BatchNorm{_d}d", 6)
    _layer(f"batch_norm{_d}d_plain", _shape, f"BatchNorm{_d}d", 6, affine=False)
    _layer(f"instance_norm{_d}d", _shape, f"InstanceNorm{_d}d", 6, affine=True)
    _layer(f"max_pool{_d}d", _shape, f"MaxPool{_d}d", 3, 2)
    _layer(f"avg_pool{_d}d", _shape, f"AvgPool{_d}d", 3, 2, 1)
    _layer(f"adaptive_avg_pool{_d}d", _shape, f"AdaptiveAvgPool{_d}d", 3)
    _layer(f"adaptive_max_pool{_d}d", _shape, f"AdaptiveMaxPool{_d}d", 3)
_layer("conv2d_depthwise", "2x6x11x13", "Conv2d", 6, 6, 3, groups=6, bias=False)
_layer("conv2d_rectangular", "2x6x11x13", "Conv2d", 6, 10, (3, 2), dilation=(2, 1))
_layer("conv2d_same", "2x6x11x13", "Conv2d", 6, 10, 3, padding="same")
_layer("linear", "3x7", "Linear", 7, 5, bias=False)
_layer("linear_bias", "3x7", "Linear", 7, 5)
_layer("linear_sequence", "3x4x7", "Linear", 7, 5)
_layer("layer_norm", "3x4x7", "LayerNorm", 7)
_layer("layer_norm_plain", "3x4x7", "LayerNorm", 7, elementwise_affine=False)
_layer("group_norm", "2x6x11x13", "GroupNorm", 3, 6)
_layer("rms_norm", "3x4x7", "RMSNorm", 7)
_layer("local_response_norm", "2x6x11x13", "LocalResponseNorm", 2)
for _kind in ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh",
              "Hardswish", "Hardsigmoid", "Softplus"):  # fmt: skip
    _layer(_kind.lower(), "2x6x11x13", _kind)
for _kind in ("Softmax", "LogSoftmax", "Softmin"):
    _layer(_kind.lower(), "3x4x7", _kind, -1)
_layer("dropout", "2x6x11x13", "Dropout")
_layer("embedding", "3x4:int64", "Embedding", 11, 7)
_layer("embedding_bag", "3x4:int64", "EmbeddingBag", 11, 7)
for _mode in ("nearest", "bilinear", "bicubic"):
    _layer(f"upsample_{_mode}", "2x6x11x13", "Upsample", scale_factor=2, mode=_mode)
_layer("upsample_linear", "2x6x23", "Upsample", scale_factor=2, mode="linear")
_layer("pixel_shuffle", "2x8x5x7", "PixelShuffle", 2)
for _kind in ("RNN", "GRU", "LSTM"):
    _layer(_kind.lower(), "6x4x7", _kind, 7, 5, num_layers=2)
    _layer(f"{_kind.lower()}_plain", "6x4x7", _kind, 7, 5, bias=False)
    _layer(f"{_kind.lower()}_cell", "3x7", f"{_kind}Cell", 7, 5)
_call("function_linear", "nn.functional.linear", "3x4x7", "5x7", "5")
_call("function_conv2d", "nn.functional.conv2d", "2x6x11x13", "10x6x3x3")
_call("function_relu", "nn.functional.relu", "2x6x11x13")
_call("scaled_dot_product_attention", "nn.functional.scaled_dot_product_attention", "2x3x5x8", "2x3x7x8", "2x3x7x6")
_call("matmul", "matmul", "3x4x7", "7x5")
_call("bmm", "bmm", "3x4x7", "3x7x5")
_call("mm", "mm", "4x7", "7x5")
_call("addmm", "addmm", "5", "4x7", "7x5")
_call("baddbmm", "baddbmm", "3x4x5", "3x4x7", "3x7x5")
_call("add", "add", "3x4x7", "3x4x7")
_call("mul", "mul", "3x4x7", "3x4x7")
_call("sub", "sub", "3x4x7", "3x4x7")
_call("div", "div", "3x4x7", "3x4x7")
_call("bilinear", "nn.functional.bilinear", "3x4", "3x7", "5x4x7")
_call("grid_sample", "nn.functional.grid_sample", "2x6x11x13", "2x5x7x2")


@probe("3x4x7")
def mean() -> Any:
    """A mean over the last dimension."""
    from torch import nn

    class Mean(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean(-1)

    return Mean()


@probe("3x4:int64")
def one_hot() -> Any:
    """Indices as ones among zeros."""
    from torch import nn

    class OneHot(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.functional.one_hot(x, 11)

    return OneHot()


@probe("3x4x7", "3x7x5")
def einsum() -> Any:
    """A batched product as an einsum."""
    import torch
    from torch import nn

    class Einsum(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return torch.einsum("bij,bjk->bik", a, b)

    return Einsum()


@probe("3x4x7", "3x7x5")
def matmul_operator() -> Any:
    """A product as an operator, which no patched method sees."""
    from torch import nn

    class Operator(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a @ b

    return Operator()


@probe("3x4x7")
def residual() -> Any:
    """An addition as an operator."""
    from torch import nn

    class Residual(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + x

    return Residual()


def _attention(need_weights: bool) -> Any:
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.attention(x, x, x, need_weights=need_weights)[0]

    return Attention()


@probe("2x5x12")
def multihead_attention() -> Any:
    """nn.MultiheadAttention as it is called by default, its products one by one."""
    return _attention(True)


@probe("2x5x12")
def multihead_attention_fused() -> Any:
    """nn.MultiheadAttention without weights, its products in one function."""
    return _attention(False)


@probe("3x4x7")
def called_twice() -> Any:
    """One layer that runs twice, on inputs that differ."""
    from torch import nn

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(7, 7)

        def forward(self, x: Any) -> Any:
            return self.layer(self.layer(x[:, :3]))

    return Twice()


@probe("3x7")
def own_class() -> Any:
    """A class of the model's own that derives from a layer of torch.nn."""
    from torch import nn

    class Mine(nn.Linear):
        pass

    return nn.Sequential(Mine(7, 5))
