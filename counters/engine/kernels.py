"""Torch's meta kernels: loaded before jobs are forked, so that not each of them does it again; and two that are quick.

On the meta device torch computes a normalisation by a dozen elementwise operations in Python, which is most of what
a forward of a convolutional network takes there. All that comes of it is three shapes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Normalised = tuple["Tensor", "Tensor", "Tensor"]
_Quick = Callable[[Sequence[Any]], "Normalised | None"]
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


@cache
def quicken() -> Any:
    """Have batch norm in eval mode, and layer norm, take next to no time on the meta device, in this process.

    For arguments that are unusual in any way torch's own kernels answer as before. To be called where nobody reads
    stderr, as torch says there that one of its kernels is stood in for.
    """
    import torch

    library = torch.library.Library("aten", "IMPL", "Meta")  # what it registers goes with it, so it is kept
    try:
        from torch._decomp import decompositions
        from torch._refs import native_layer_norm

        slow: dict[str, tuple[_Quick, _Kernel]] = {
            "native_batch_norm": (batch_norm, decompositions.native_batch_norm),
            "_native_batch_norm_legit": (batch_norm, decompositions._native_batch_norm_legit),
            "_native_batch_norm_legit_no_training": (
                lambda given: batch_norm([*given[:5], False]), decompositions._native_batch_norm_legit_no_training,
            ),
            "native_layer_norm": (layer_norm, native_layer_norm),
        }  # fmt: skip
        for name, (quick, genuine) in slow.items():
            library.impl(name, _either(quick, genuine))
    except (ImportError, AttributeError):  # another torch: it takes its time
        return None
    return library


def _either(quick: _Quick, genuine: _Kernel) -> _Kernel:
    return lambda *given: quick(given) or genuine(*given)


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
    x, shape, weight, bias, *_ = given
    params = [each for each in (weight, bias) if each is not None]
    if not _usual(x, *params) or not x.is_contiguous() or not 0 < len(shape) <= x.dim():
        return None
    kept = x.dim() - len(shape)
    if any(each != x.shape[kept:] for each in (tuple(shape), *(each.shape for each in params))):
        return None
    if (like := _like(x)) is None:
        return None
    left = [*x.shape[:kept], *[1] * len(shape)]
    return like, _computed(x, left), _computed(x, left)


def _usual(*tensors: Tensor) -> bool:
    """Whether these are plain tensors, not empty, all of one dtype that nets have, with numbers for sizes."""
    import torch

    plain = (torch.Tensor, torch.nn.Parameter)
    dtypes = {each.dtype for each in tensors}
    return (
        dtypes < {torch.float64, torch.float32, torch.float16, torch.bfloat16}
        and len(dtypes) == 1
        and all(type(each) in plain for each in tensors)
        and all(type(size) is int and size for each in tensors for size in each.shape)
    )


def _like(x: Tensor) -> Tensor | None:
    """A tensor like this, if that is laid out row by row, or with its channels last."""
    import torch

    formats = [torch.contiguous_format, *([torch.channels_last] if x.dim() == 4 else [])]
    for form in formats:
        like = torch.empty(x.shape, dtype=x.dtype, device="meta", memory_format=form)
        if like.stride() == x.stride():
            return like
    return None


def _computed(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of the dtype in which torch computes for x."""
    import torch

    half = x.dtype in (torch.float16, torch.bfloat16)
    return torch.empty(shape, dtype=torch.float32 if half else x.dtype, device="meta")
