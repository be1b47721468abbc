"""What torch does not see: memory that leaves it, and memory that something else than an operator wrote to.

A kernel of numpy, ctypes or a C++ extension is no operator. It takes a tensor's memory, and its result comes back in
a tensor that was made empty, or around memory of its own. What it computes is unknown, and unknown is not zero.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import resolve_name

from flopledger.reference_model.transforms import tensors

# Methods that hand out a tensor's memory or values.
EXITS = frozenset(
    f"torch.Tensor.{name}"
    for name in ("numpy", "__array__", "data_ptr", "__dlpack__", "tolist", "__cuda_array_interface__.__get__")
)
EMPTY = frozenset(f"aten.{name}" for name in ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided",
                                               "empty_permuted"))  # fmt: skip
_WRAPPERS = ("torch.overrides", "torch._tensor", "torch._compile", "torch._dynamo.", "flopledger.reference_model.")


def exit_name(func: Any, name: str) -> str:
    """`torch.Tensor.numpy` of a function that hands memory out, "" of all others."""
    name = name or resolve_name(func) or ""
    return name.removesuffix(".__get__") if name in EXITS else ""


def by_torch(frame: FrameType) -> bool:
    """Whether Python code of torch's own makes a call, looked at in `frame`; it knows what it does with memory."""
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_WRAPPERS):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "torch"


def leaves(values: tuple[Any, ...], frame: FrameType) -> bool:
    """Whether numbers that may be computed with leave torch, in a call by somebody's own code, `frame` or a caller.

    Integers and truths are lengths, positions and masks. torch itself asks for memory to compare it.

    Raises:
        RuntimeError: on the meta device there is no memory; a kernel would write to address 0.
    """
    if by_torch(frame):
        return False
    found = [tensor for tensor in tensors(values) if tensor.is_floating_point() or tensor.is_complex()]
    if any(tensor.is_meta for tensor in found):
        raise RuntimeError("memory of meta tensors cannot be handed out: they have none")
    return any(tensor.numel() for tensor in found)


class Memory:
    """Which tensors of this pass were made without content, and have none yet as far as torch has seen."""

    def __init__(self) -> None:
        self.empty: dict[int, tuple[str, str]] = {}  # storage → where it was made, and by what
        self.rules: dict[Any, tuple[bool, bool, tuple[int, ...], tuple[str, ...]]] = {}

    def ran(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, site: str
    ) -> list[tuple[str, str]]:
        """Take account of an operation at a site; what it reads though no operation wrote it: where and how made."""
        if name in EMPTY:
            if by_torch(sys._getframe(1)):
                return []
            for tensor in tensors(out):
                if (place := storage(tensor)) is not None and tensor.numel() and tensor.is_floating_point():
                    self.empty[place] = site, name
            return []
        rule = self.rules.get(func)
        if rule is None:
            rule = self.rules[func] = _rule(func)
        view, shape, positions, keywords = rule
        if view:
            return []
        given = where((args, kwargs))
        if not isinstance(func, OpOverload) or func.namespace != "aten":
            written = given  # not everybody's schema is right
        else:
            written = where([*(args[i] for i in positions if i < len(args)), *(kwargs.get(n) for n in keywords)])
        read = set[int]() if shape else given - written
        found = [told for place in read if (told := self.empty.pop(place, None)) is not None]
        for place in written | where(out):  # what comes out may lie where something lay before
            self.empty.pop(place, None)
        return found

    def given(self, values: Any) -> list[tuple[str, str]]:
        """The same of tensors that a module returns."""
        if not self.empty:
            return []
        return [told for place in where(values) if (told := self.empty.pop(place, None)) is not None]


def _rule(func: Any) -> tuple[bool, bool, tuple[int, ...], tuple[str, ...]]:
    """Whether an operator is a view, takes nothing but a shape, and which arguments it writes to."""
    if not isinstance(func, OpOverload):
        return False, False, (), ()
    schema = func._schema
    name = schema.name.partition("::")[2]
    written = [(i, a) for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    view = not written and any(r.alias_info is not None for r in schema.returns)
    random = schema.overload_name == "p" and name == "bernoulli"  # takes its shape from one, its odds from the other
    shape = random or name.endswith("_like") or name.startswith("new_") or "same" in name or name.startswith("sym_")
    return (
        view or name in ("_unsafe_view", "_reshape_alias", "detach"),
        shape,
        tuple(i for i, a in written if not a.kwarg_only),
        tuple(a.name for _, a in written if a.kwarg_only),
    )


def storage(tensor: Tensor) -> int | None:
    """Which memory a tensor lies in; None of one that has none of its own (sparse, nested, wrapped)."""
    if type(tensor) is not Tensor and not isinstance(tensor, torch.nn.Parameter):
        return None
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):
        return None


def where(values: Any) -> set[int]:
    """The memories of all tensors in a nest."""
    return {place for tensor in tensors(values) if (place := storage(tensor)) is not None}


class Applied:
    """A torch.autograd.Function that is running: what it was given, what operations in it made."""

    def __init__(self, kind: type, given: Any):
        self.name = f"{kind.__module__}.{kind.__qualname__}"
        self.own = kind.__module__.partition(".")[0] != "torch"
        self.made = where(given)
        self.outside = False

    def hidden(self, out: Any) -> bool:
        """Whether numbers left it, or something comes out that no operation made."""
        return self.own and (self.outside or bool(where(out) - self.made))


@contextmanager
def autograd_functions(around: Callable[[type, Any, Callable[[], Any]], Any]) -> Iterator[None]:
    """Have `around(class, (args, kwargs), forward)` called for the forward of each torch.autograd.Function.

    `apply` cannot be replaced: people hold it from before, as in `swish = Swish.apply`. It asks its class for
    `forward`, and so its class's class.
    """

    def attribute(kind: Any, name: str) -> Any:
        found = type.__getattribute__(kind, name)
        if name != "forward":
            return found

        @wraps(found)
        def forward(*args: Any, **kwargs: Any) -> Any:
            return around(kind, (args, kwargs), lambda: found(*args, **kwargs))

        return forward

    with patch.object(torch.autograd.function.FunctionMeta, "__getattribute__", attribute, create=True):
        yield
