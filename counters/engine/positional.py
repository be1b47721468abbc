"""Any model as one that takes tensors one by one and gives tensors back, which is what counting libraries know.

The model keeps its class, its modules and their names: only its own `forward` is stood in for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flopledger.reference_model import inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


def positional(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model, and the tensors in its arguments: `model(*tensors)` is then `model(*args, **kwargs)`.

    What is no tensor in the arguments stays as it is. Of an output that is not a tensor, or a list or tuple of
    tensors, the tensors in it come back.
    """
    model.forward = forward = Forward(model.forward, args, kwargs)
    if any(type(value).__name__ == "PackedSequence" for value in args):
        # A library's hook on a recurrent layer that is the model itself asks what kind of input that is.
        model.register_forward_pre_hook(forward.rebuild, prepend=True, with_kwargs=True)
    return model, tuple(inputs.tensors(args, kwargs))


class Forward:
    """A model's `forward` that takes the tensors in these arguments; an object, so that a copied model has its own.

    Its signature names them, for libraries that pass arguments by name: keyword-only those that were given by name or
    in lists and dicts, in which a library that looks for a batch would find none.
    """

    def __init__(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.genuine, self.args, self.kwargs = forward, args, kwargs
        self.rebuilt = False
        self.names = _names(forward, args, kwargs)
        nested = next((at for at, value in enumerate(args) if not _plain(value) and inputs.tensors(value)), len(args))
        alone = len(inputs.tensors(args[:nested]))
        kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD] * alone + [inspect.Parameter.KEYWORD_ONLY] * len(self.names)
        self.__signature__ = inspect.Signature(list(map(inspect.Parameter, self.names, kinds)))

    def __call__(self, *tensors: Tensor, **named: Tensor) -> Any:
        args, kwargs = (tensors, named) if self.rebuilt else self.arguments(tensors, named)
        out = self.genuine(*args, **kwargs)
        if _plain(out) or (isinstance(out, (list, tuple)) and all(map(_plain, out))):
            return out
        return tuple(inputs.tensors(out)) or out

    def arguments(
        self, tensors: tuple[Tensor, ...], named: dict[str, Tensor]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the model takes, with these tensors in it."""
        given = iter([*tensors, *(named[name] for name in self.names[len(tensors) :])])
        args, kwargs = inputs.mapped(lambda _: next(given), (self.args, self.kwargs))
        return args, kwargs

    def rebuild(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same before any other hook of the model sees them."""
        self.rebuilt = True
        return self.arguments(args, kwargs)


def _plain(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor)


def _names(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """A name for each tensor: that of its argument where it is one of its own, and else numbered."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):  # TorchScript has none
        parameters = {}.values()
    known = [p.name if p.kind == p.POSITIONAL_OR_KEYWORD else "" for p in parameters][: len(args)]
    arguments = [*zip([*known, *[""] * (len(args) - len(known))], args, strict=True), *kwargs.items()]
    names: list[str] = []
    for name, value in arguments:
        found = len(inputs.tensors(value))
        names += [name] if name and _plain(value) else [f"{name or 'input'}_{len(names) + i}" for i in range(found)]
    return names if len(set(names)) == len(names) else [f"input_{i}" for i in range(len(names))]
