"""ptflops, whose two backends are two counters: hooks and patched functions, or dispatched operations."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from packaging.version import Version

from flopledger.counters.condition import given
from flopledger.counters.convention import Convention, of_complex, rule
from flopledger.counters.dispatched import MASK_BY_HEAD
from flopledger.counters.hooked import DROPS_PADDING
from flopledger.counters.libraries.ptflops import rules
from flopledger.counters.registry import version_of
from flopledger.counters.tally import Aside, Count, Part, Unsupported, exact

if TYPE_CHECKING:
    from torch import nn

    from flopledger.reference_model.sites import Sites

COMPLEX_CONVOLUTION = rule(
    "conv conv_transpose", "3·macs / 4 + 2·bias_adds", "torch takes it apart into three real ones, two with the bias",
    "ptflops/aten_ops.py:71 conv_flop_count", given("complex", True),
)  # fmt: skip


_SCRIPT = """from ptflops import get_model_complexity_info
options = dict(input_constructor=lambda _: inputs[0], as_strings=False, print_per_layer_stat=False, backend="{0}")
print("ptflops-{0}", int(get_model_complexity_info(model, (1,), **options)[0]))"""


def _complexity(model: nn.Module, inputs: tuple[Any, ...], backend: str) -> tuple[int, int]:
    """Call the library with these very tensors. It prints errors and returns None for them; here they are raised."""
    from ptflops import get_model_complexity_info

    options = _asked(model, inputs, version_of("ptflops"))
    if "backend" in inspect.signature(get_model_complexity_info).parameters:
        options["backend"] = backend
    printed = io.StringIO()
    caught: list[BaseException | None] = []
    with contextlib.redirect_stdout(printed), patch("traceback.print_exc", lambda: caught.append(sys.exc_info()[1])):
        macs, params = get_model_complexity_info(model, print_per_layer_stat=False, as_strings=False, **options)
    if macs is None or params is None:
        if caught and caught[-1] is not None:
            raise caught[-1]
        lines = [line.strip() for line in printed.getvalue().splitlines()]
        said = [line for line in lines if line and not line.endswith("exception:")]
        raise RuntimeError(said[0] if said else "the library returned None")
    return exact(macs), exact(params, "parameters")


class PtflopsPytorch:
    """Hooks on module classes, averaged over the batch, plus patched functions, which are not averaged."""

    distribution = "ptflops"
    unit = "MAC"
    device = "cpu"  # on meta, torch's own Python kernels call the functions that it patches
    needs = ("numpy",)
    script = _SCRIPT.format("pytorch")
    modes = ("eval",)
    about = "hooks on module classes and patched functions; MACs, plus elements of norms, ReLUs, pools"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from flopledger.reference_model.sites import watched

        # Up to 0.6.7 there was one file, up to 0.7 no function was patched.
        if not (batch := _batch(model, inputs)):
            raise Unsupported("it divides by the batch, which is 0")
        split = find_spec("ptflops.pytorch_engine")
        engine = import_module("ptflops.pytorch_engine" if split else "ptflops.flops_counter")
        hooked: list[tuple[str, int]] = []
        called: list[Part] = []
        with watched(model) as sites:
            _observe_hooks(engine, sites, hooked)
            if hasattr(engine, "torch_function_wrapper"):
                _observe_functions(engine.torch_function_wrapper, sites, called)
            total, params = _complexity(model, inputs, "pytorch")
        parts = [Part(site, None, count // batch) for site, count in hooked]
        rest, asides = total - sum(part.count for part in parts + called), []
        if 0 < rest <= sum(count % batch for _, count in hooked) // batch:
            asides.append(Aside("remainders", rest, "it adds up what its hooks count before it divides by the batch"))
        elif rest:
            parts.append(Part("", "unattributed", rest))
        return Count(total=total, parts=parts + called, asides=asides, params=params)

    def convention(self, version: str | None) -> Convention:
        return Convention("ptflops-pytorch", of_complex(rules.of(version)), (rules.CUT_OFF,))


def _observe_hooks(engine: Any, sites: Sites, found: list[tuple[str, int]]) -> None:
    """Note what every hook has put on its module when the library adds it up."""

    def note(module: Any) -> None:
        if engine.is_supported_instance(module) and module.__flops__:
            found.append((sites.names[id(module)], exact(module.__flops__)))

    if hasattr(engine, "accumulate_flops"):  # walks down the tree and meets a module with two parents twice
        walk = engine.accumulate_flops

        def accumulate(module: Any) -> Any:
            note(module)
            return walk(module)

        engine.accumulate_flops = accumulate
    else:  # up to 0.6.4, each module once
        add_up = engine.compute_average_flops_cost

        def average(model: Any) -> Any:
            for module in model.modules():
                note(module)
            return add_up(model)

        engine.compute_average_flops_cost = average


def _observe_functions(wrapper: Any, sites: Sites, found: list[Part]) -> None:
    """Note what every call of a patched function adds to its list, and where."""
    call = wrapper.__call__

    def observed(self: Any, *args: Any, **kwargs: Any) -> Any:
        index, site = len(self.collector), sites.here
        out = call(self, *args, **kwargs)
        if amount := exact(self.collector[index]):
            found.append(Part(site, None, amount))
        return out

    wrapper.__call__ = observed


class PtflopsAten:
    """Formulas on dispatched operations: products, convolutions and the biases that go with them."""

    distribution = "ptflops"
    unit = "MAC"
    device = "meta"
    modes = ("eval",)
    needs = ("numpy",)
    script = _SCRIPT.format("aten")
    about = "formulas on dispatched operations; MACs and bias additions of convolutions and products"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from flopledger.reference_model.known import knowing_of
        from flopledger.reference_model.sites import watched

        if not find_spec("ptflops.aten_ops"):
            raise Unsupported(f"ptflops {version_of('ptflops')} counts as ptflops-pytorch does; aten came with 0.7.3")
        table = import_module("ptflops.aten_ops").ATEN_OPS_MAPPING
        parts: list[Part] = []

        def placed(formula: Callable[..., int]) -> Callable[..., int]:
            def counted(args: Any, out: Any) -> int:
                amount = formula(args, out)
                parts.append(Part(sites.here, None, exact(amount)))
                return amount

            return counted

        table.update({op: placed(formula) for op, formula in table.items()})  # 0.7.3 takes no formulas of others
        with knowing_of([*model.parameters(), *inputs]), watched(model) as sites:
            total, params = _complexity(model, inputs, "aten")
        return Count(total=total, parts=parts, params=params)

    def convention(self, version: str | None) -> Convention:
        return Convention("ptflops-aten", (COMPLEX_CONVOLUTION, *of_complex(rules.ATEN)), (MASK_BY_HEAD, DROPS_PADDING))


def _batch(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    """What the pytorch backend divides by: the length of a single tensor. By name it sees no batch."""
    seen = _alone(model, inputs) and inputs[0].dim() and rules.takes_a_tensor(version_of("ptflops"))
    return len(inputs[0]) if seen else 1


def _alone(model: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether there is one tensor that goes in as it is: not by name, and not in a list, whose length is no batch."""
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return len(inputs) == 1 and kinds[:1] != [inspect.Parameter.KEYWORD_ONLY]


def _asked(model: nn.Module, inputs: tuple[Any, ...], version: str | None) -> dict[str, Any]:
    """The arguments by which a release takes these inputs.

    A release that takes no tensor makes one of its own from a shape, a batch of one, and that is its usual
    way. Everything else goes in by name (0.7.1 and 0.7.1.1 fail there, of an error of their own).

    Raises:
        Unsupported: there is no name.
    """
    if rules.takes_a_tensor(version):
        batch = inputs[0] if _alone(model, inputs) else _named(model, inputs)
        return {"input_res": (1,), "input_constructor": lambda _: batch}
    assert version is not None
    if shape := _own_shape(model, inputs, version):
        return {"input_res": shape}
    by_name = _named(model, inputs)
    any_shape = (1, 1) if Version(version) < Version("0.2") else (1, 1, 1)
    return {"input_res": any_shape, "input_constructor": lambda _: by_name}


def _named(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """The inputs by the names that forward() has for them."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    if len(parameters) < len(inputs) or any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in
                                            parameters[: len(inputs)]):  # fmt: skip
        raise Unsupported("takes these inputs by name only, and this forward() does not name them")
    return {p.name: value for p, value in zip(parameters, inputs, strict=False)}


def _own_shape(model: nn.Module, inputs: tuple[Any, ...], version: str) -> tuple[int, ...] | None:
    """The shape from which a release makes a tensor like the one that goes in, None where it cannot."""
    import torch

    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        return None
    if any(tensor.dtype != torch.float32 for tensor in (*inputs, *model.parameters())):
        return None
    batch, *rest = inputs[0].shape or (0,)
    if batch != 1:
        return None
    if Version(version) < Version("0.2"):  # height and width, of three channels
        return tuple(rest[1:]) if len(rest) == 3 and rest[0] == 3 else None
    least = 3 if Version(version) < Version("0.3") else 2 if Version(version) < Version("0.6.1") else 1
    return tuple(rest) if len(rest) >= least else None
