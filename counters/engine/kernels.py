"""Torch's meta kernels: loaded before jobs are forked, so that not each of them does it again; and some that are quick.

On the meta device torch computes a normalisation by a dozen elementwise operations in Python, and each of these in
some two hundred lines, which is most of what a forward takes there. All that comes of it is a shape or three.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Normalised = tuple["Tensor", "Tensor", "Tensor"]
_Quick = Callable[[Sequence[Any]], "Tensor | Normalised | None"]
_Kernel = Callable[..., Any]


@cache
def load() -> None:
    """Make torch import what it needs for a normalisation on the meta device.

    Its Python decompositions and sympy with them are some four hundred modules, 0.4 s; torch._dynamo is a second more,
    if that is not postponed.
    """
    import torch

    with warnings.catch_warnings(), torch.device("meta"), torch.no_grad():
        warnings.simplefilter("ignore")
        x = torch.zeros(1, 2, 4, 4)
        x = torch.nn.functional.conv2d(x, torch.zeros(2, 2, 1, 1))
        x = torch.nn.functional.batch_norm(x, torch.zeros(2), torch.zeros(2))
        torch.nn.functional.linear(x, torch.zeros(4, 4), torch.zeros(4))


# What torch computes in Python on meta, by way of broadcasting and promoting types, to give back what went in.
_ELEMENTWISE = (
    "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "pow.Tensor_Scalar", "neg", "sqrt", "rsqrt", "exp",
    "relu", "gelu", "hardtanh", "hardswish", "hardsigmoid", "tanh", "clamp", "clamp_min", "clamp_max",
)  # fmt: skip


@cache
def quicken() -> Any:
    """Have norms, linear layers and much that is elementwise take next to no time on meta, in this process.

    For arguments that are unusual in any way torch's own kernels answer as before. To be called where nobody reads
    stderr, as torch says there that one of its kernels is stood in for.
    """
    import torch

    library = torch.library.Library("aten", "IMPL", "Meta")  # what it registers goes with it, so it is kept
    slow: dict[str, _Quick] = {
        "native_batch_norm": batch_norm,
        "_native_batch_norm_legit": batch_norm,
        "_native_batch_norm_legit_no_training": lambda given: batch_norm([*given[:5], False]),
        "native_layer_norm": layer_norm,
        "addmm": addmm,
        "roll": roll,
        **dict.fromkeys(_ELEMENTWISE, elementwise),
        "hardtanh_": in_place,
    }
    for name, quick in slow.items():
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet, None), overload or "default", None)
        genuine = getattr(operator, "py_kernels", {}).get(torch._C.DispatchKey.Meta)
        if genuine is not None:  # another torch may have none in Python
            library.impl(name, _either(quick, genuine))
    return library


def _either(quick: _Quick, genuine: _Kernel) -> _Kernel:
    def kernel(*given: Any, **named: Any) -> Any:
        found = None if named else quick(given)
        return genuine(*given, **named) if found is None else found

    return kernel


def elementwise(given: Sequence[Any]) -> Tensor | None:
    """What comes of numbers that lie in the same place of tensors: one like the largest of them.

    The others are like it, or lie row by row as it does and are broadcast. None where that is not so.
    """
    from torch import Tensor, empty_like

    tensors = [each for each in given if isinstance(each, Tensor)]
    options = [each for each in given if not isinstance(each, Tensor)]
    wide = [each for each in tensors if each.dim()]
    if not wide or any(each.dtype.is_complex for each in tensors) or not _usual(*wide):
        return None
    if any(type(each) not in (int, float, type(None)) for each in options) or (options and set(options) == {None}):
        return None
    whole = max(wide, key=lambda each: (each.dim(), each.numel()))
    if all(each.shape == whole.shape and each.stride() == whole.stride() for each in wide):
        if 1 in whole.shape:  # where a stride means nothing, and torch may have another
            return _like(whole)
        like = empty_like(whole)
        return like if like.stride() == whole.stride() else None
    for each in wide:
        pairs = zip(reversed(each.shape), reversed(whole.shape), strict=False)
        if _by_rows(each) is None or any(size not in (1, most) for size, most in pairs):
            return None
    return _by_rows(whole)


def in_place(given: Sequence[Any]) -> Tensor | None:
    """The first of these, where `elementwise` would give one like it."""
    first: Tensor = given[0]
    return None if elementwise(given) is None else first


def addmm(given: Sequence[Any]) -> Tensor | None:
    """What `aten::addmm` gives for a bias: a matrix row by row. None for anything else."""
    import torch

    bias, a, b = given
    if not (bias.dim() == 1 and a.dim() == b.dim() == 2 and _usual(bias, a, b)):
        return None
    if a.shape[1] != b.shape[0] or bias.shape[0] != b.shape[1]:
        return None
    return torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device="meta")


def roll(given: Sequence[Any]) -> Tensor | None:
    """What `aten::roll` gives along named dimensions of a tensor that lies row by row."""
    x, shifts, *dims = given
    if len(dims) != 1 or not 0 < len(shifts) == len(dims[0]) or not _usual(x):
        return None
    if not all(type(each) is int for each in (*shifts, *dims[0])) or not all(-x.dim() <= d < x.dim() for d in dims[0]):
        return None
    return _by_rows(x)


def batch_norm(given: Sequence[Any]) -> Normalised | None:
    """What `aten::native_batch_norm` gives: the output, like the input, and the mean and 1/std of each channel.

    None where it is training, or unusual.
    """
    x, weight, bias, mean, var, training, *_ = given
    params = [each for each in (weight, bias) if each is not None]
    if training or mean is None or var is None or not _usual(x, *params, mean, var) or x.dim() < 2:
        return None
    if any(each.shape != x.shape[1:2] for each in (*params, mean, var)) or (like := _like(x)) is None:
        return None
    return like, _computed(x, x.shape[1:2]), _computed(x, x.shape[1:2])


def layer_norm(given: Sequence[Any]) -> Normalised | None:
    """What `aten::native_layer_norm` gives: the output, and the mean and 1/std over the last dimensions, kept as ones.

    None where it is unusual.
    """
    import torch

    x, shape, weight, bias, *_ = given
    params = [each for each in (weight, bias) if each is not None]
    if not _usual(x, *params) or not 0 < len(shape) <= x.dim():
        return None
    kept = x.dim() - len(shape)
    if any(each != x.shape[kept:] for each in (tuple(shape), *(each.shape for each in params))):
        return None
    if x.is_contiguous() and _by_rows(x) is None:  # a size of 1 with a stride of its own, which torch leaves as it is
        return None
    out = torch.empty(x.shape, dtype=x.dtype, device="meta")
    left = [*x.shape[:kept], *[1] * len(shape)]
    return out, _computed(x, left), _computed(x, left)


def _usual(*tensors: Tensor) -> bool:
    """Whether these are plain tensors on meta, not empty, of one dtype that nets have, with numbers for sizes."""
    import torch

    plain = (torch.Tensor, torch.nn.Parameter)
    dtypes = {each.dtype for each in tensors}
    return (
        dtypes < {torch.float64, torch.float32, torch.float16, torch.bfloat16}
        and len(dtypes) == 1
        and all(type(each) in plain and each.is_meta for each in tensors)
        and all(type(size) is int and size for each in tensors for size in each.shape)
    )


def _like(x: Tensor) -> Tensor | None:
    """A tensor like this, if that is laid out row by row, or with its channels last."""
    import torch

    if (like := _by_rows(x)) is not None or x.dim() != 4:
        return like
    like = torch.empty(x.shape, dtype=x.dtype, device="meta", memory_format=torch.channels_last)
    return like if like.stride() == x.stride() else None


def _by_rows(x: Tensor) -> Tensor | None:
    """A tensor like this, if that is laid out row by row."""
    import torch

    like = torch.empty(x.shape, dtype=x.dtype, device="meta")
    return like if like.stride() == x.stride() else None


def _computed(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of the dtype in which torch computes for x."""
    import torch

    half = x.dtype in (torch.float16, torch.bfloat16)
    return torch.empty(shape, dtype=torch.float32 if half else x.dtype, device="meta")
