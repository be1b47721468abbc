"""Which function prices which operation: one registry, open to packages of others.

A function is registered under the ATen op (or the torch function, for operations that ATen
splits up) that it is for. It takes that op's own arguments and its output and returns the kind of
operation and its quantities (`flopledger.reference_model.ledger.MEANING`); its arguments become the facts of the
call. A package with operators of its own does the same in a module that the entry point group
`flopledger.quantities` names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from torch import Tensor

Quantities = dict[str, int]
Priced = tuple[str, Quantities]
Pricer = Callable[..., Priced]

GROUP = "flopledger.quantities"
ATEN: dict[str, Pricer] = {}  # "aten.convolution" → pricer(*args, out=…, **kwargs)
FUNCTIONS: dict[str, Pricer] = {}  # "torch.nn.functional.linear" → the same
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
    if isinstance(value, (bool, int, float, str)):
        return value
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


def elements(value: Any) -> int:
    """Elements of the first tensor in `value`, 0 where there is none."""
    tensor = first_tensor(value)
    return 0 if tensor is None else tensor.numel()


def parameters_of(out: Any, weight: Tensor | None, bias: Tensor | None) -> Quantities:
    """What is charged by weight and bias elements: those, and the first dimension of the output."""
    tensor = first_tensor(out)
    samples = tensor.shape[0] if tensor is not None and tensor.dim() else 1
    return {"weights": elements(weight), "biases": elements(bias), "samples": samples}
