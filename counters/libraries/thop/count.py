"""thop (pytorch-OpCounter): forward hooks on module classes that it knows by exact type."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from flopledger.counters.convention import Convention, of_complex
from flopledger.counters.hooked import DROPS_PADDING
from flopledger.counters.libraries.thop import rules
from flopledger.counters.shims import ITERABLE, Shim, empty_module, imported
from flopledger.counters.tally import Count, Part, Unsupported, exact, lost

if TYPE_CHECKING:
    from torch import nn


class Thop:
    """Counts MACs of contractions, and operations of norms and average pools, in one sum."""

    distribution = "thop"
    unit = "MAC"
    device = "meta"  # its hooks read shapes only
    needs = ("numpy", "setuptools")  # the latter for distutils, which Python 3.12 has no more
    script = """import thop
print("thop", int(thop.profile(model, inputs=inputs, verbose=False)[0]))"""
    modes = ("eval",)
    about = "hooks on known module classes; MACs, plus operations of norms and average pools"
    shims: ClassVar[tuple[Shim, ...]] = (ITERABLE, empty_module("onnx", "it is imported for ONNX models only"))

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        return counted(model, inputs, self.shims)

    def convention(self, version: str | None) -> Convention:
        return Convention("thop", of_complex(rules.of(version)), (DROPS_PADDING,))


def counted(model: nn.Module, inputs: tuple[Any, ...], shims: Sequence[Shim]) -> Count:
    """Run `thop.profile`, noting what each of its hooks adds.

    The hooks of releases up to January 2020 add in float32 and lose digits, so that nothing exact can
    be read off the model. Therefore each hook is run once more, before it runs for the library: with a
    float64 number in the place of the module's count, and float64 for whatever tensor it makes. What
    is left there is the same count, exact up to 2**53, and the library's own is as if nothing had been.
    """
    import torch

    from flopledger.reference_model.sites import watched

    used = imported("thop", shims)
    tables = importlib.import_module("thop.profile")
    exactly: dict[nn.Module, Any] = {}
    functional: Counter[str] = Counter()
    additions = 0

    def noting(hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def noted(module: Any, x: Any, y: Any) -> Any:
            nonlocal additions
            own = module.total_ops
            module.total_ops = exactly.get(module, torch.zeros(1, dtype=torch.float64))
            with _float64():
                hook(module, x, y)
            exactly[module], module.total_ops = module.total_ops, own
            additions += 2 * (getattr(own, "dtype", None) == torch.float32)  # into a tensor, and into the sum
            return hook(module, x, y)

        return noted

    def noting_function(price: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(price)
        def noted(args: Any, kwargs: Any, y: Any) -> Any:
            amount = price(args, kwargs, y)
            functional[sites.here] += exact(amount)
            return amount

        return noted

    for kind, hook in tables.register_hooks.items():
        # ultralytics-thop knows `zero_ops` by identity; what it adds is known anyway.
        if hook is not None and hook.__name__ != "zero_ops":
            tables.register_hooks[kind] = noting(hook)
    functions = getattr(tables, "functional_hooks", {})  # ultralytics-thop only
    functions.update({function: noting_function(price) for function, price in functions.items()})
    with watched(model) as sites:
        total, params = _profiled(model, inputs)

    amounts = {module: exact(ops.item()) for module, ops in exactly.items()}
    times = _times(model, amounts, exact(total) - functional.total())
    names = {module: name for name, module in model.named_modules()}
    by_site = functional + Counter({names[module]: times[module] * ops for module, ops in amounts.items()})
    parts = [Part(site, None, ops) for site, ops in by_site.items()]
    rest, asides = lost(exact(total), by_site.total(), additions)
    warnings = []
    if rest or asides:
        how = "it adds up in float32" if additions else "some of it is counted twice or not at all"
        warnings.append(f"{how}; exactly, its hooks count {by_site.total():,}")
    leaves = [module for module in model.modules() if not list(module.children())]
    own = sum(parameter.numel() for leaf in leaves for parameter in leaf.parameters())
    if additions and exact(params) != own:
        warnings.append(f"it adds up parameters in float32, too; exactly, it counts {own:,}")
    return Count(
        total=exact(total),
        parts=[*parts, *rest],
        asides=asides,
        params=exact(params, "parameters"),
        shims=used,
        warnings=warnings,
    )


def _profiled(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[float, float]:
    import torch
    from thop import profile

    if "input_size" not in inspect.signature(profile).parameters:
        total, params = profile(model, inputs=inputs, verbose=False)
        return total, params
    # Up to June 2019 it takes a shape and makes its own zeros, on the device that it moves the model to.
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].dtype != torch.float32:
        raise Unsupported("this release makes its own input from a shape: one float32 tensor and nothing else")
    total, params = profile(model, tuple(inputs[0].shape), device=inputs[0].device, verbose=False)
    return total, params


@contextmanager
def _float64() -> Iterator[None]:
    import torch

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def _times(model: nn.Module, amounts: dict[nn.Module, int], total: int) -> Counter[nn.Module]:
    """How often each module's count goes into the total: once, or wherever a walk down the tree meets it.

    Most releases walk, and meet a module with two parents twice and the root never. Which of the two a
    release does is seen from its total.
    """
    walk = Counter(_below(model))
    met = sum(walk[module] * ops for module, ops in amounts.items())
    return walk if met == total else Counter(amounts.keys())


def _below(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield child
        yield from _below(child)
