"""What a hook on a module sees: its class and parameters, and the shapes that go in and come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flopledger.reference_model.known import value_of
from flopledger.reference_model.ledger import Member, Module, Seen
from flopledger.reference_model.quantities.registry import first_tensor

Shape = tuple[int, ...]


class Hooked:
    """Notes the calls of a model's modules; what it knows of a module is the same however often that runs."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.seen: dict[str, Counter[tuple[tuple[Shape | None, ...], Shape | None]]] = {}
        self.computed: dict[str, set[str]] = {}  # parameters that were put in place for a call (functional_call)

    def note(self, site: str, module: nn.Module, args: Sequence[Any], output: Any) -> None:
        """One call of the module at `site`."""
        own = module._parameters.items()
        if put := {name for name, p in own if p is not None and not isinstance(p, nn.Parameter)}:
            self.computed.setdefault(site, set()).update(put)
        with torch._C.DisableTorchFunction():
            into = tuple(_shape(value) if isinstance(value, Tensor) else None for value in args)
            self.seen.setdefault(site, Counter())[into, _shape(first_tensor(output))] += 1

    def modules(self) -> dict[str, Module]:
        """Those that ran, in the order in which each first came to its end."""
        paths = _paths(self.model)
        found = dict(self.model.named_modules())
        return {
            site: _module(found[site], paths[found[site]], seen, self.computed.get(site, set()))
            for site, seen in self.seen.items()
        }

    def members(self) -> dict[str, Member]:
        """All modules of the model, in the order of `named_modules()`."""
        counted: set[int] = set()
        found = {}
        for site, module in self.model.named_modules():
            own = {id(p): p for p in module.parameters(recurse=False) if id(p) not in counted}
            counted |= own.keys()
            seen = self.seen.get(site, Counter())
            outputs = list(dict.fromkeys(out for _, out in seen if out is not None))
            found[site] = Member(
                kind=class_name(module),
                params=sum(parameter.numel() for parameter in own.values()),
                calls=sum(seen.values()),
                output=list(outputs[0]) if outputs else None,
                shapes=len(outputs),
            )
        return found


def _shape(tensor: Tensor | None) -> Shape | None:
    try:
        return None if tensor is None else tuple(int(side) for side in tensor.shape)
    except (RuntimeError, TypeError, AttributeError):  # a side that is no number: of a nested tensor
        return None


def _module(module: nn.Module, paths: int, seen: Counter[Any], computed: set[str]) -> Module:
    own = dict(module.named_parameters(recurse=False))
    ours = base_name(module) or in_torch_nn(type(module))
    return Module(
        kind=class_name(module),
        paths=paths,
        hollow=bool(module._modules) and all(map(_is_empty, module.children())),
        parameters={name: list(shape) for name, p in own.items() if (shape := _shape(p)) is not None},
        frozen=[name for name, parameter in own.items() if not parameter.requires_grad or name in computed],
        kept={name: kept for name in own if (kept := _kept(module, name)) is not None},
        settings={
            name: value
            for name, value in vars(module).items()
            if ours and name[0] != "_" and type(value) in (bool, int, float, str)
        },
        seen=[
            Seen([None if shape is None else list(shape) for shape in into], None if out is None else list(out), times)
            for (into, out), times in seen.items()
        ],
    )


def _kept(module: nn.Module, name: str) -> int | None:
    """What the mask of a pruned parameter leaves of it, None where there is none or nobody knows."""
    mask = module._buffers.get(f"{name.removesuffix('_orig')}_mask") if name.endswith("_orig") else None
    try:
        return None if mask is None else int(value_of(mask).sum())
    except ValueError:
        return None


def _is_empty(module: nn.Module) -> bool:
    """Whether it is a container of nothing, which Python takes for false."""
    try:
        return not module
    except TypeError:  # of a compiled module that has no length
        return False


def _paths(model: nn.Module) -> dict[nn.Module, int]:
    """By how many ways the root leads to each module, one for each parent's child however many names it has there."""
    order: dict[nn.Module, None] = {}

    def visit(module: nn.Module) -> None:
        if module not in order:
            for child in module.children():
                visit(child)
            order[module] = None  # after all that is below it

    visit(model)
    paths = dict.fromkeys(order, 0) | {model: 1}
    for module in reversed(order):
        for child in module.children():
            paths[child] += paths[module]
    return paths


def class_name(module: nn.Module) -> str:
    """`Conv2d` for torch.nn's own classes, the dotted path for all others."""
    kind = type(module)
    return kind.__qualname__ if in_torch_nn(kind) else f"{kind.__module__}.{kind.__qualname__}"


def base_name(module: nn.Module) -> str:
    """`Conv2d` for a class of another package that derives from it, "" for torch.nn's own and for plain modules."""
    kinds = type(module).__mro__
    nearest = next(kind for kind in kinds if in_torch_nn(kind))
    return "" if nearest in (kinds[0], nn.Module) else nearest.__qualname__


def in_torch_nn(kind: type) -> bool:
    """Whether a class is one of torch.nn's own."""
    return kind.__module__.startswith("torch.nn.modules.")
