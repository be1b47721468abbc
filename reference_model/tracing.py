"""Trace one forward pass into a ledger: a function mode for names, a dispatch mode for operations."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import msgspec
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from flopledger.reference_model import quantities as _priced  # noqa: F401  (registers its pricers)
from flopledger.reference_model.backward import Graph, Origin, in_backward, run_backward, watching_checkpoints
from flopledger.reference_model.hooks import Hooked, base_name, class_name
from flopledger.reference_model.ledger import Call, Entry, Phase
from flopledger.reference_model.quantities.kinds import kind_of
from flopledger.reference_model.quantities.registry import (
    COMPLEX,
    FUNCTIONS,
    GRADIENTS,
    Pricer,
    Quantities,
    elements,
    facts_of,
    first_tensor,
    is_complex,
    pricer_of,
    shapes_of,
)

_ATTENTION = "torch.nn.functional.multi_head_attention_forward"
_EINSUM = "torch.functional.einsum"
_RESAMPLE = "torch.nn.functional.interpolate"
_FUSED = "torch.nn.functional.scaled_dot_product_attention"
_CONVOLUTION = "torch.nn.functional.conv"
_OPERATORS = {"add", "mul", "sub", "matmul", "true_divide", "div"}
_OPENED = (
    "torch.nn.functional",
    "torch.functional",
    "torch.autograd",
)  # modules whose functions are Python all the way down
_RECURRENT = tuple(f"torch.{name}" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"))
_INNER = {_FUSED: "attention", **dict.fromkeys(_RECURRENT, "recurrent")}  # what a half of such a function is
_OF_AUTOGRAD = ("torch.autograd.backward", "torch.autograd.grad")  # by way of what ran before
_BESIDE = {"view", "add", "move", "fill", "unpriced"}  # in a backward: no matter what of, they are what they are
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


_WITH_VECTORS = {"aten.mv", "aten.dot", "aten.vdot", "aten.addmv"}
_NOTHING_NEW = {"view", "move", "fill"}


class Frame:
    """A torch function that is running. One with a price is taken whole; what runs in another is seen by itself.

    No function has a price that calls another one with a price, so the innermost that has one decides.
    """

    def __init__(self, func: Any, name: str, pricer: Pricer | None, held: bool, whole: dict[str, Any]):
        self.func, self.name, self.pricer = func, name, pricer
        self.held = held  # called by what had taken hold of it before, so that a patch of its name would not be seen
        self.whole = whole  # facts of the call as a whole, for the first operation in it
        self.inner: set[str] = set()  # the ATen ops in it, where it has a price
        self.ran: list[tuple[Any, ...]] = []  # the same with their arguments, where it may be left half way


class Recorder:
    """Collects entries while it is active. Not reentrant; one recorder is one forward and, if `step`, its backward."""

    def __init__(self, model: nn.Module, step: bool = False):
        self.found = dict(model.named_modules())
        self.names = {id(module): name for name, module in self.found.items()}
        self.site = [""]
        self.frames: list[Frame] = []
        self.rows: dict[tuple[Phase, str, str, str, tuple[str, ...]], dict[bytes, Call]] = {}
        self.hooked = Hooked(model)
        self.graph = Graph(Origin("", "unpriced", ())) if step else None
        self.phase: Phase = "forward"
        self.recomputing = False
        self.notes: list[str] = []

    def __enter__(self) -> Recorder:
        self.stack = ExitStack()
        self.stack.callback(register_module_forward_pre_hook(self._enter_module).remove)
        self.stack.callback(register_module_forward_hook(self._leave_module, always_call=True).remove)
        if self.graph:
            self.stack.enter_context(watching_checkpoints(self._again))
        self.stack.enter_context(_Names(self))
        self.stack.enter_context(_Operations(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    def finish(self, output: Any) -> None:
        """The backward of a step, from the model's output."""
        if self.graph:
            self.phase, self.site = "backward", [""]
            if not run_backward(output):
                self.notes.append("nothing that the model returns needs a gradient: there is no backward")

    def _again(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A part of the forward that a checkpoint runs again in the backward, at the site where it is now."""
        site = self.site[-1]

        def again(*args: Any, **kwargs: Any) -> Any:
            before = self.site, self.frames, self.recomputing
            self.site, self.frames, self.recomputing = [site], [], True
            try:
                return run(*args, **kwargs)
            finally:
                self.site, self.frames, self.recomputing = before

        return again

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        if self.graph:
            self.graph.grew(self.graph.last)
        # A module that named_modules() does not know works on behalf of the one that calls it.
        self.site.append(self.names.get(id(module), self.site[-1]))

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        site = self.site.pop()
        if id(module) in self.names and self.phase == "forward":
            self.hooked.note(site, args, output)

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
        site, apis = self.site[-1], tuple(frame.name for frame in self.frames if frame.name not in _OF_AUTOGRAD)
        with torch._C.DisableTorchFunction():  # our reading of shapes is no function of the model's
            op, quantities, facts = price(pricer, kind, args, kwargs, out)
        facts.update(beside or {})
        if held := [frame.name for frame in self.frames if frame.held]:
            facts["held"] = held
        for frame in self.frames if op not in _NOTHING_NEW else ():
            facts.update(frame.whole)
            frame.whole = {}
        if op == "matmul" and _ATTENTION in apis:
            op = "attention"  # its projections are linear functions, so what is left are the products of its heads
        whole = pricer is not None and bool(apis) and pricer is FUNCTIONS.get(apis[-1])
        if apis and not whole and quantities.get("macs"):
            op = _INNER.get(apis[-1], op)
        if self.graph and (self.phase == "forward" or self._runs_again()):
            if self.phase == "backward" and not self.recomputing and len(self.site) == 1:
                site = self.graph.running().site  # by hand, in the backward of a torch.autograd.Function
            origin = Origin(site, op, apis, bool(quantities.get("macs")))
            if whole and apis[-1] in GRADIENTS:
                with torch._C.DisableTorchFunction():
                    origin.whole = price(GRADIENTS[apis[-1]], op, args, kwargs, out)
            self.graph.grew(origin)
        if self.phase == "forward":
            self._write(site, op, aten, apis, quantities, facts)
        elif self._runs_again():
            done = {"macs": "recomputed_macs", "masked_macs": "", "border_macs": ""}
            quantities = {done.get(name, name): value for name, value in quantities.items()}
            self._write(site, op, aten, apis, quantities, {**facts, "recomputed": True})
        elif in_backward():  # what is not, gives the loss its gradient
            self._write_backward(op, aten, quantities, facts)

    def left(self, frame: Frame) -> None:
        """A function with a price was left half way, as a checkpoint does when it has what it needs: what of it ran."""
        for ran in frame.ran:
            self.add(*ran)

    def _runs_again(self) -> bool:
        """Whether what runs is a part of the forward that is run again in the backward: by a checkpoint, or by hand."""
        return self.phase == "backward" and (self.recomputing or (in_backward() and torch.is_grad_enabled()))

    def _write_backward(self, op: str, aten: str, quantities: Quantities, facts: dict[str, Any]) -> None:
        """An operation of the backward is of the kind of that of the forward, at its site."""
        assert self.graph is not None
        origin = self.graph.running()
        if origin.whole and op != "add":
            if not origin.written:
                origin.written = True
                (_, quantities, facts), name = origin.whole, f"aten.{origin.apis[-1].rpartition('.')[2]}"
                self._write(origin.site, origin.op, name, origin.apis, quantities, facts)
            return
        own = op in _BESIDE or origin.op in _BESIDE - {"add"} or (quantities.get("macs") and not origin.macs)
        self._write(origin.site, op if own else origin.op, aten, origin.apis, quantities, facts)

    def _write(
        self, site: str, op: str, aten: str, apis: tuple[str, ...], quantities: Quantities, facts: dict[str, Any]
    ) -> None:
        quantities = {name: value for name, value in quantities.items() if name and value}
        calls = self.rows.setdefault((self.phase, site, op, aten, apis), {})
        key = msgspec.json.encode((quantities, facts))
        before = calls.pop(key, None)
        calls[key] = Call(quantities=quantities, facts=facts, times=before.times + 1 if before else 1)

    def ledger_entries(self) -> list[Entry]:
        about = {site: about_module(self.found[site]) for site in {site for _, site, *_ in self.rows}}
        return [
            Entry(
                phase=phase,
                site=site,
                op=op,
                aten=aten,
                calls=list(calls.values()),
                api=apis[0] if apis else "",
                inside=list(apis[1:]),
                **about[site],
            )
            for (phase, site, op, aten, apis), calls in self.rows.items()
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
        pricer = FUNCTIONS.get(name) or (COMPLEX[name] if name in COMPLEX and is_complex(args) else None)
        with torch._C.DisableTorchFunction():
            frame = Frame(
                func,
                name,
                pricer,
                is_held(sys._getframe(1), func, name),
                whole_of(name, args, kwargs, sys._getframe(1)),
            )
        frames.append(frame)
        try:
            if pricer is None and func not in self.bodies:
                self.bodies[func] = self._opened(func)
            if pricer is None and (body := self.bodies[func]) is not None:
                with self:
                    out = body(*args, **kwargs)
            else:
                out = func(*args, **kwargs)
            if frame.whole:  # nothing in it but views
                recorder.add(None, "view", f"aten.{name.rpartition('.')[2]}", (), {}, None, frame.whole)
            if pricer is not None:
                aten = "aten.convolution" if name in COMPLEX else f"aten.{name.rpartition('.')[2].strip('_')}"
                recorder.add(pricer, "unpriced", aten, args, kwargs, out, _beside(name, frame, out))
            return out
        except BaseException:
            recorder.left(frame)
            raise
        finally:
            frames.pop()
            if recorder.graph:
                recorder.graph.grew(recorder.graph.last)

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

    Linear: whether its bias is added inside the product, as addmm. Products: as what they ran where a side is a
    vector. Attention: the strides of what comes out, where
    that is not contiguous; they are the kernel's, which is another on each device, and decide whether the reshape
    after it copies.
    """
    if name == "torch.nn.functional.linear" and "aten.addmm" in frame.inner:
        return {"addmm": True}
    if vectors := frame.inner & _WITH_VECTORS:
        return {"vectors": sorted(vectors)}
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
            if recorder.recomputing:
                recorder.frames[-1].ran.append((pricer_of(name), kind, name, args, kwargs, out))
            return out
        if not _of_the_device(name, args, kwargs):
            recorder.add(pricer_of(name), kind, name, args, kwargs, out)
        return out


def _of_the_device(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation is there for where tensors lie, so that the same model elsewhere has none.

    A constant that becomes a tensor, and a tensor that goes from one device to another as it is.
    """
    if name == "aten._to_copy":
        tensor, device = args[0], kwargs.get("device")
        return device not in (None, tensor.device) and kwargs.get("dtype") in (None, tensor.dtype)
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
            facts: dict[str, Any] = facts_of(pricer, args, options, out)
            if is_complex(args):
                facts["complex"] = True
            return (*pricer(*args, out=out, **options), facts)
        except (TypeError, AttributeError, IndexError, ValueError, RuntimeError):
            kind = "unpriced"
    into, result = first_tensor((args, kwargs)), first_tensor(out)
    shapes = {"input": into, "out": result} if kind != "view" else {}
    facts = {name: tuple(tensor.shape) for name, tensor in shapes.items() if tensor is not None}
    if kind != "view" and is_complex(args):
        facts["complex"] = True
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
    return name, kind_of(name)


def whole_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> dict[str, Any]:
    """Facts of a function that comes apart: what an einsum contracts, what attends to what, how it is to resample."""
    if name == _RESAMPLE:
        asked = {**dict(zip(("size", "scale_factor"), args[1:3], strict=False)), **kwargs}
        sizes = {name: asked[name] for name in ("size", "scale_factor") if asked.get(name) is not None}
        twice = any(
            caller.f_code.co_name == "upsample" for caller in _callers(frame, 4)
        )  # F.upsample, no API of its own
        return {"resamples": 1 + twice, **{name: _plain(value) for name, value in sizes.items()}}
    if name == _ATTENTION:
        weights = [value for value in args[3:] if isinstance(value, torch.Tensor)]
        return {
            "attends": [tuple(tensor.shape) for tensor in args[:3]],
            "to_itself": args[0] is args[1] is args[2],
            "frozen": not any(tensor.requires_grad for tensor in weights),
        }
    if name == _EINSUM and args and isinstance(args[0], str):
        operands = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
        return {"equation": args[0].replace(" ", ""), "operands": [tuple(tensor.shape) for tensor in operands]}
    return {}


def _callers(frame: FrameType, at_most: int) -> Iterator[FrameType]:
    for _ in range(at_most):
        if frame.f_back is None:
            return
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "torch.nn.functional":
            yield frame


def _plain(value: Any) -> Any:
    return [*map(_plain, value)] if isinstance(value, (tuple, list)) else value if type(value) is float else int(value)


def is_held(frame: FrameType, func: Any, name: str) -> bool:
    """Whether a function of torch.nn.functional is called by a name of the model's own (`self.act = F.relu`).

    `frame` is that in which its call is noticed. What is looked up in torch.nn.functional when it is called, also
    by other functions there, is not held.
    """
    module, _, own = name.rpartition(".")
    if module != "torch.nn.functional":
        return False
    caller: FrameType | None = frame
    while caller is not None and caller.f_code.co_filename.endswith(_THROUGH):
        caller = caller.f_back
    while caller is not None and caller.f_code.co_name in (own, f"_{own}", f"{own}_with_indices", "fn"):
        if caller.f_globals.get("__name__") not in ("torch.nn.functional", "torch._jit_internal"):
            break
        caller = caller.f_back
    if caller is None or caller.f_globals.get("__name__") == "torch.nn.functional":
        return False
    base = _called_from(caller.f_code, caller.f_lasti)
    here = {**caller.f_globals, **caller.f_locals}
    return own not in caller.f_code.co_names or not isinstance(here.get(base), ModuleType)


@lru_cache(maxsize=4096)
def _called_from(code: CodeType, at: int) -> str:
    """The first name of the function that is called at an instruction: `nn` in `nn.functional.relu(x)`, "" if none."""
    before = [each for each in dis.get_instructions(code) if each.offset <= at]  # `at` may be in the call's cache
    call = before.pop().positions if before else None
    if call is None or call.lineno is None:
        return ""
    starts = [
        each
        for each in before
        if each.positions and each.opname.startswith("LOAD_") and isinstance(each.argval, str)
        and (each.positions.lineno, each.positions.col_offset) == (call.lineno, call.col_offset)
    ]  # fmt: skip
    return str(starts[0].argval) if starts else ""


_THROUGH = ("torch/overrides.py", "torch/utils/_device.py")
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
        "frozen": sum(p.numel() for p in module.parameters(recurse=False) if not p.requires_grad),
    }
