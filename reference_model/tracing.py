"""Trace one forward pass into a ledger: a function mode for names, a dispatch mode for operations."""

from __future__ import annotations

import dis
import sys
from contextlib import ExitStack
from math import prod
from types import CodeType, FrameType, FunctionType
from typing import Any

import msgspec
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from flopledger.reference_model import quantities as _priced  # noqa: F401  (registers its pricers)
from flopledger.reference_model.ledger import Call, Calls, Entry
from flopledger.reference_model.quantities.long_tail import classify
from flopledger.reference_model.quantities.registry import (
    ATEN,
    FUNCTIONS,
    Pricer,
    Quantities,
    elements,
    facts_of,
    first_tensor,
    shapes_of,
)

_ATTENTION = "torch.nn.functional.multi_head_attention_forward"
_FUSED = "torch.nn.functional.scaled_dot_product_attention"
_CONVOLUTION = "torch.nn.functional.conv"
_OPERATORS = {"add", "mul", "sub", "matmul", "true_divide", "div"}
_REDUCTION = getattr(torch.Tag, "reduction", None)  # torch 2.9 and newer
_OPENED = ("torch.nn.functional", "torch.functional")  # modules whose functions are Python all the way down
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class Frame:
    """A torch function that is running. One with a price is taken whole; what runs in another is seen by itself.

    No function has a price that calls another one with a price, so the innermost that has one decides.
    """

    def __init__(self, func: Any, name: str, pricer: Pricer | None):
        self.func, self.name, self.pricer = func, name, pricer
        self.inner: set[str] = set()  # the ATen ops in it, where it has a price


class Recorder:
    """Collects entries while it is active. Not reentrant; one recorder is one pass."""

    def __init__(self, model: nn.Module):
        self.found = dict(model.named_modules())
        self.names = {id(module): name for name, module in self.found.items()}
        self.site = [""]
        self.frames: list[Frame] = []
        self.rows: dict[tuple[str, str, str, tuple[str, ...]], dict[bytes, Call]] = {}
        self.modules: dict[str, Calls] = {}

    def __enter__(self) -> Recorder:
        self.stack = ExitStack()
        self.stack.callback(register_module_forward_pre_hook(self._enter_module).remove)
        self.stack.callback(register_module_forward_hook(self._leave_module, always_call=True).remove)
        self.stack.enter_context(_Names(self))
        self.stack.enter_context(_Operations(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        # A module that named_modules() does not know works on behalf of the one that calls it.
        self.site.append(self.names.get(id(module), self.site[-1]))

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        site = self.site.pop()
        if id(module) in self.names:
            tensor, before = first_tensor(output), self.modules.get(site, Calls(0, 0))
            with torch._C.DisableTorchFunction():
                size = prod(tensor.shape[:2]) if tensor is not None else 0
            self.modules[site] = Calls(before.calls + 1, before.size + size)

    def add(
        self,
        pricer: Pricer | None,
        kind: str,
        aten: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        beside: dict[str, Any] | None = None,
    ) -> None:
        """Write down one operation, at the site and in the functions that are running; `beside` are more facts."""
        site, apis = self.site[-1], tuple(frame.name for frame in self.frames)
        with torch._C.DisableTorchFunction():  # our reading of shapes is no function of the model's
            op, quantities, facts = price(pricer, kind, args, kwargs, out)
        facts.update(beside or {})
        if op == "matmul" and _ATTENTION in apis:
            op = "attention"  # its projections are linear functions, so what is left are the products of its heads
        quantities = {name: value for name, value in quantities.items() if value}
        calls = self.rows.setdefault((site, op, aten, apis), {})
        key = msgspec.json.encode((quantities, facts))
        before = calls.pop(key, None)
        calls[key] = Call(quantities=quantities, facts=facts, times=before.times + 1 if before else 1)

    def ledger_entries(self) -> list[Entry]:
        about = {site: about_module(self.found[site]) for site in {site for site, *_ in self.rows}}
        return [
            Entry(
                site=site,
                op=op,
                aten=aten,
                calls=list(calls.values()),
                api=apis[0] if apis else "",
                inside=list(apis[1:]),
                **about[site],
            )
            for (site, op, aten, apis), calls in self.rows.items()
        ]


class _Names(TorchFunctionMode):
    """Knows through which torch functions an operation was called, and prices those that ATen splits up."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder
        self.known: dict[Any, str] = {}
        self.bodies: dict[Any, FunctionType | None] = {}
        self.globals = [_unchecked(sys.modules[name]) for name in _OPENED]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self.recorder, kwargs or {}
        name = self.known.get(func)
        if name is None:
            name = self.known[func] = api_name(func)
        frames = recorder.frames
        if not name or (frames and frames[-1].func is func):  # it hands over to itself
            return func(*args, **kwargs)
        if name.startswith("torch.Tensor.") and name[13:] in _OPERATORS and is_operator(sys._getframe(1), name[13:]):
            name = f"torch.Tensor.__{name[13:]}__"
        if name.startswith(_CONVOLUTION) and any(isinstance(v, str) for v in (*args[4:5], kwargs.get("padding"))):
            name = "torch._convolution_mode"  # padding="same" is another operation to a jit trace
        pricer = FUNCTIONS.get(name)
        frame = Frame(func, name, pricer)
        frames.append(frame)
        try:
            if pricer is None and func not in self.bodies:
                self.bodies[func] = self._opened(func)
            if pricer is None and (body := self.bodies[func]) is not None:
                with self:
                    return body(*args, **kwargs)
            out = func(*args, **kwargs)
            if pricer is not None:
                aten = f"aten.{name.rpartition('.')[2].strip('_')}"
                recorder.add(pricer, "unpriced", aten, args, kwargs, out, _beside(name, frame, out))
            return out
        finally:
            frames.pop()

    def _opened(self, func: Any) -> FunctionType | None:
        """A Python function's own code without its question whether a mode is on, so that the calls in it are seen."""
        if not isinstance(func, FunctionType):
            return None
        for names, original in self.globals:
            if func.__globals__ is original:
                copy = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
                copy.__kwdefaults__ = func.__kwdefaults__
                return copy
        return None


def _beside(name: str, frame: Frame, out: Any) -> dict[str, Any]:
    """Facts that no argument holds.

    Linear: whether its bias is added inside the product, as addmm. Attention: the strides of what comes out, where
    that is not contiguous; they are the kernel's, which is another on each device, and decide whether the reshape
    after it copies.
    """
    if name == "torch.nn.functional.linear" and "aten.addmm" in frame.inner:
        return {"addmm": True}
    if name == _FUSED and not out.is_contiguous():
        return {"strides": list(out.stride())}
    return {}


def _unchecked(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The names that a module's functions see, with no mode on as far as they can tell, and the real ones."""
    return {**vars(module), **dict.fromkeys(_CHECKS, lambda *_: False)}, vars(module)


class _Operations(TorchDispatchMode):
    """Sees every ATen call that is not part of a function already priced."""

    supports_higher_order_operators = True

    def __init__(self, recorder: Recorder):
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder
        self.known: dict[Any, tuple[str, str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        recorder = self.recorder
        if func not in self.known:
            self.known[func] = names_of(func)
        name, kind = self.known[func]
        if recorder.frames and recorder.frames[-1].pricer is not None:
            recorder.frames[-1].inner.add(name)
            return out
        if not _of_the_device(name, args, out):
            recorder.add(ATEN.get(name), kind, name, args, kwargs, out)
        return out


def _of_the_device(name: str, args: tuple[Any, ...], out: Any) -> bool:
    """Whether an operation is there for where tensors lie, so that the same model elsewhere has none.

    A constant that becomes a tensor, and a tensor that goes from one device to another as it is.
    """
    if name == "aten._to_copy":
        return bool(args[0].device != out.device and args[0].dtype == out.dtype)
    return name == "aten.lift_fresh"


def price(
    pricer: Pricer | None, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> tuple[str, Quantities, dict[str, Any]]:
    """What a pricer says, or else the kind of operation with its elements, and the facts that this rests on.

    An operation called in a way that its pricer does not know is listed as unpriced: a formula of ours must
    never look like a model that rejects its inputs.
    """
    if pricer is not None:
        try:
            options = {name: value for name, value in kwargs.items() if name != "out"} if kwargs else kwargs
            found = facts_of(pricer, args, options, out)
            return (*pricer(*args, out=out, **options), found)
        except (TypeError, AttributeError, IndexError, ValueError, RuntimeError):
            kind = "unpriced"
    into, result = first_tensor((args, kwargs)), first_tensor(out)
    shapes = {"input": into, "out": result} if kind != "view" else {}
    facts: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in shapes.items() if tensor is not None}
    if kind == "unpriced":  # whoever reads of it, or prices it, needs them all
        facts |= {"shapes_in": shapes_of((args, kwargs)), "shapes_out": shapes_of(out)}
    return kind, {"inputs": elements(into), "outputs": elements(result)}, facts


def api_name(func: Any) -> str:
    """A torch function's public name, "" where it has none (attribute reads, mostly)."""
    try:
        name = resolve_name(func)
    except Exception:  # a function that torch.overrides does not list
        name = None
    own = str(getattr(func, "__name__", ""))
    if name is not None and not name.endswith(f".{own}") and getattr(torch, own, None) is func:
        name = f"torch.{own}"  # torch.spmm is another name of torch.mm
    if name is None:
        name = f"{getattr(func, '__module__', None) or 'torch'}.{getattr(func, '__name__', '')}"
    return "" if name.endswith(("__get__", "__set__")) else str(name)


def names_of(func: Any) -> tuple[str, str]:
    """`aten.relu` and the kind of an overload such as `aten.relu.default`."""
    packet = getattr(func, "_overloadpacket", None)
    if packet is None:  # a higher-order operator
        return str(func), "unpriced"
    name = str(packet)
    tags = func.tags
    return name, classify(
        name, bool(func.is_view), torch.Tag.pointwise in tags, _REDUCTION is not None and _REDUCTION in tags
    )


_opcodes: dict[CodeType, bytes] = {}


def is_operator(frame: FrameType, method: str) -> bool:
    """Whether the call in progress in `frame` is an operator (`x + y`) rather than `x.add(y)`.

    torch reports both as `Tensor.add`, but a library that patches the method sees only the second.
    """
    code = frame.f_code
    if method not in code.co_names:  # for example in sum(tensors)
        return True
    opcodes = _opcodes.get(code)
    if opcodes is None:
        opcodes = _opcodes[code] = code.co_code
    return dis.opname[opcodes[frame.f_lasti]].startswith(("BINARY_", "INPLACE_"))


def about_module(module: nn.Module) -> dict[str, Any]:
    """What an entry says of the module at its site."""
    return {
        "module": class_name(module),
        "base": base_name(module),
        "leaf": not module._modules,
        "params": sum(parameter.numel() for parameter in module.parameters(recurse=False)),
    }


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
