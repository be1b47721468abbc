"""Which function prices which operation: one registry, open to packages of others.

A function is registered under the ATen op (or the torch function, for operations that ATen
splits up) that it is for. It takes that op's own arguments and its output and returns the kind of
operation and its quantities (`flopledger.reference_model.ledger.MEANING`); its arguments become the facts of the
call. A package with operators of its own does the same in a module that the entry point group
`flopledger.quantities` names.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from flopledger.reference_model.known import value_of

Quantities = dict[str, int]
Priced = tuple[str, Quantities]
Pricer = Callable[..., Priced]

GROUP = "flopledger.quantities"
ATEN: dict[str, Pricer] = {}  # "aten.convolution" → pricer(*args, out=…, **kwargs)
FUNCTIONS: dict[str, Pricer] = {}  # "torch.nn.functional.linear" → the same
COMPLEX: dict[str, Pricer] = {}  # the same for functions that ATen splits up only if their first tensor is complex
GRADIENTS: dict[str, Pricer] = {}  # torch functions whose backward is priced as a whole → the same


def aten(*names: str) -> Callable[[Pricer], Pricer]:
    """Register a pricer for dispatched ops, by packet name: `mm` is `aten.mm`, `mylib.op` is another library's."""

    def register(pricer: Pricer) -> Pricer:
        ATEN.update({name if "." in name else f"aten.{name}": pricer for name in names})
        return pricer

    return register


def function(*names: str) -> Callable[[Pricer], Pricer]:
    """Register a pricer for torch functions that ATen would show in pieces."""

    def register(pricer: Pricer) -> Pricer:
        FUNCTIONS.update(dict.fromkeys(names, pricer))
        return pricer

    return register


def price(*names: str) -> Callable[[Pricer], Pricer]:
    """Price operators of one's own, or of others: `@flopledger.price("mylib::op")`, also written `mylib.op`.

    The decorated function gets the operator's arguments and, as `out`, what it returned; it returns the kind of
    operation and the quantities of the call. `torch.` in front names a torch function, no library an ATen operator.
    The names of its arguments become those of the call's facts. Kinds and quantities that are new are named with
    `flopledger.reference_model.ledger.name_op` and `name_quantity`.

    Raises:
        ValueError: no name, or none that can be an operator's.
    """
    if not names or not all(re.fullmatch(r"[\w.]+(::[\w.]+)?", name) for name in names):
        raise ValueError(f"{names!r} is no operator, such as 'mylib::op'")
    plain = [name.replace("::", ".") for name in names]

    def register(pricer: Pricer) -> Pricer:
        function(*(name for name in plain if name.startswith("torch.")))(pricer)
        return aten(*(name for name in plain if not name.startswith("torch.")))(pricer)

    return register


def arranged(pricer: Pricer, order: str, **fixed: Any) -> Pricer:
    """The same price for a kernel that takes its arguments in another order: their names, as `pricer` has them."""
    names = order.split()

    def priced(*args: Any, out: Any, **kwargs: Any) -> Priced:
        return pricer(out=out, **fixed, **dict(zip(names, args, strict=False)), **kwargs)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments = [inspect.Parameter(name, kind) for name in names]
    priced.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    return priced


def real_macs(macs: int, *operands: Tensor | None) -> int:
    """MACs on real numbers: a complex number times a real one is two, and two complex numbers are four.

    (a + bi)(c + di) = (ac − bd) + (ad + bc)i, which are 4 multiplications, and 4 additions with those that accumulate
    it, whatever trick a kernel has to save some.
    """
    return macs << sum(operand is not None and operand.is_complex() for operand in operands)


def whole_numbers(tensor: Tensor) -> list[int]:
    """The values of a tensor of integers, read without anybody's seeing it.

    Raises:
        ValueError: nobody knows them, on meta.
    """
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        return [int(each) for each in value_of(tensor).tolist()]


def pricer_of(operator: str) -> Pricer | None:
    """What prices an operator (`aten.addmm_`, by packet); one in place or with its effects put out costs the same."""
    return ATEN.get(operator) or ATEN.get(operator.removesuffix("_").removesuffix("_functional"))


def gradient(*names: str) -> Callable[[Pricer], Pricer]:
    """Register what the backward of a torch function costs as a whole, however the kernels of a device split it up.

    The pricer gets the arguments and the output of the forward; which of its tensors need a gradient it sees by these.
    """

    def register(pricer: Pricer) -> Pricer:
        GRADIENTS.update(dict.fromkeys(names, pricer))
        return pricer

    return register


@cache
def load_others() -> tuple[str, ...]:
    """Import the modules with which other packages price operators of their own; what cannot be, in words."""
    troubles = []
    for point in metadata.entry_points(group=GROUP):
        try:
            point.load()
        except (Exception, SystemExit) as error:
            troubles.append(
                f"{point.value}, with which another package prices operators, cannot be loaded: "
                f"{type(error).__name__}; what it would price is unpriced"
            )
    return tuple(troubles)


@cache
def parameters(pricer: Pricer) -> tuple[str, ...]:
    """The names by which a pricer takes its positional arguments."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in inspect.signature(pricer).parameters.values() if p.kind in kinds)


def facts_of(pricer: Pricer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> dict[str, Any]:
    """The arguments that a pricer names, and `out`, as plain data: shapes of tensors, sizes as they were given."""
    facts = {}
    for name, value in zip(parameters(pricer), args, strict=False):
        if (found := _fact(value)) is not None:
            facts[name] = found
    for name, value in kwargs.items():
        if name != "out" and (found := _fact(value)) is not None:
            facts[name] = found
    if (found := _fact(out)) is not None:
        facts["out"] = found
    return facts


def _fact(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):  # most are
        return value
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):  # NumPy's are some, and are nothing that a document holds
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, (tuple, list)):
        found = [_fact(each) for each in value]
        return None if None in found else found
    return None


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a nest of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        return next((t for t in map(first_tensor, value) if t is not None), None)
    if isinstance(value, dict):
        return first_tensor(list(value.values()))
    return None


def shapes_of(value: Any) -> list[tuple[int, ...]]:
    """The shapes of all tensors in a nest of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    if isinstance(value, (tuple, list, dict)):
        inside = value.values() if isinstance(value, dict) else value
        return [shape for each in inside for shape in shapes_of(each)]
    return []


def is_complex(args: Sequence[Any]) -> bool:
    """Whether one of the arguments is a tensor of complex numbers."""
    return any(isinstance(value, Tensor) and value.is_complex() for value in args)


def elements(value: Any) -> int:
    """Elements of the first tensor in `value`, 0 where there is none."""
    tensor = first_tensor(value)
    return 0 if tensor is None else tensor.numel()


def parameters_of(out: Any, weight: Tensor | None, bias: Tensor | None) -> Quantities:
    """What is charged by weight and bias elements: those, and the first dimension of the output."""
    tensor = first_tensor(out)
    samples = tensor.shape[0] if tensor is not None and tensor.dim() else 1
    return {"weights": elements(weight), "biases": elements(bias), "samples": samples}
