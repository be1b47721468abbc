"""Trace one run into a ledger: a function mode for names, a dispatch mode for operations."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from types import BuiltinFunctionType, FrameType, FunctionType
from typing import Any, NamedTuple

import msgspec
import torch
from torch import nn
from torch._ops import HigherOrderOperator, OpOverloadPacket
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from flopledger.reference_model import inputs, outside, transforms
from flopledger.reference_model import quantities as _priced  # noqa: F401  (registers its pricers)
from flopledger.reference_model.backward import Graph, Origin, Priced, in_backward, run_backward, watching_checkpoints
from flopledger.reference_model.bodies import kernel_name, of_functions, run_bodies, run_higher
from flopledger.reference_model.calling import ATTENTION, EINSUM, api_name, callers, is_held, is_operator, whole_of
from flopledger.reference_model.flow import FOLLOWED, Flow, Spans, parted
from flopledger.reference_model.following import Below, Here, device_here, threads
from flopledger.reference_model.hooks import Hooked, base_name, class_name
from flopledger.reference_model.known import composite
from flopledger.reference_model.ledger import Call, Entry, Phase
from flopledger.reference_model.quantities.contractions import outer
from flopledger.reference_model.quantities.kinds import kind_of
from flopledger.reference_model.quantities.registry import (
    COMPLEX,
    FUNCTIONS,
    GRADIENTS,
    Pricer,
    Quantities,
    facts_of,
    first_tensor,
    is_complex,
    parameters,
    pricer_of,
)

_JIT = "torch._jit_internal"
_FUSED = "torch.nn.functional.scaled_dot_product_attention"
_LINEAR = "torch.nn.functional.linear"
_CONVOLUTION = "torch.nn.functional.conv"
_OPERATORS = {"add", "mul", "sub", "matmul", "true_divide", "div"}
_OPENED = ("torch.nn.functional", "torch.functional", "torch.autograd")  # whose functions are Python all the way down
# What the products of such a function are, where they are seen one by one: a half of it, tangents beside it.
_INNER = {
    _LINEAR: "linear",
    "torch.nn.functional.bilinear": "bilinear",
    _FUSED: "attention",
    **{f"torch.{kind}{cell}": "recurrent" for kind in "lstm gru rnn_tanh rnn_relu".split() for cell in ("", "_cell")},
}
_OF_AUTOGRAD = ("torch.autograd.backward", "torch.autograd.grad")  # by way of what ran before
_BESIDE = {"view", "add", "move", "fill", "unpriced"}  # in a backward: no matter what of, they are what they are
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
_WITH_VECTORS = {"aten.mv", "aten.dot", "aten.vdot", "aten.addmv"}
_NOTHING_NEW = {"view", "move", "fill"}

Rows = dict[tuple[Phase, str, str, str, tuple[str, ...]], dict[bytes, Call]]


class Frame:
    """A torch function that is running. One with a price is taken whole; what runs in another is seen by itself.

    No function has a price that calls another one with a price, so the innermost that has one decides.
    """

    def __init__(self, func: Any, name: str, pricer: Pricer | None, held: bool, whole: dict[str, Any], first: int):
        self.func, self.name, self.pricer = func, name, pricer
        self.first = first  # the operation with which it begins, in the flow
        self.held = held  # called by what had taken hold of it before, so that a patch of its name would not be seen
        self.whole = whole  # facts of the call as a whole, for the first operation in it
        self.inner: set[str] = set()  # the ATen ops in it, where it has a price
        self.ran: list[tuple[Any, ...]] = []  # the same with their arguments, where it may be left half way


class Apart(NamedTuple):
    """What ran in a branch."""

    rows: Rows
    seen: dict[str, Counter[Any]]

    def total(self, quantity: str) -> int:
        """A quantity over all that ran."""
        found = (call for calls in self.rows.values() for call in calls.values())
        return sum(call.times * call.quantities.get(quantity, 0) for call in found)


class Recorder:
    """Collects entries while it is active. Not reentrant; one recorder is one forward and, if `step`, its backward."""

    def __init__(self, model: nn.Module, step: bool = False):
        self.found = dict(model.named_modules())
        self.names = {id(module): name for name, module in self.found.items()}
        self.here = Here()
        self.below = Below(self.here)
        self.memory = outside.Memory()
        self.lock = threading.RLock()
        self.over = False
        self.rows: Rows = {}
        self.spans: Spans = {}
        self.live: set[int] | None = None
        self.flow = Flow(())
        self.hooked = Hooked(model)
        self.graph = Graph(Origin("", "unpriced", ())) if step else None
        self.phase: Phase = "forward"
        self.recomputing = False
        self.flexible = False
        self.notes: list[str] = []

    def __enter__(self) -> Recorder:
        self.flow = Flow(parameter for parameter in self.hooked.model.parameters() if parameter.requires_grad)
        self.stack = ExitStack()
        self.stack.callback(register_module_forward_pre_hook(self._enter_module).remove)
        self.stack.callback(register_module_forward_hook(self._leave_module, always_call=True).remove)
        self.stack.enter_context(transforms.plain())
        self.stack.enter_context(threads(self._follow))
        self.stack.enter_context(outside.autograd_functions(self._forward))
        if self.graph:
            self.stack.enter_context(watching_checkpoints(self._again))
        self.stack.enter_context(self._seeing("", None))
        return self

    def __exit__(self, *error: Any) -> None:
        self.over = True
        self.stack.close()

    @property
    def site(self) -> list[str]:
        """The sites that this thread is in, the innermost last."""
        return self.here.site

    @site.setter
    def site(self, site: list[str]) -> None:
        self.here.site = site

    @property
    def frames(self) -> list[Frame]:
        """The torch functions that this thread is in, the innermost last."""
        return self.here.frames

    @frames.setter
    def frames(self, frames: list[Frame]) -> None:
        self.here.frames = frames

    @contextmanager
    def _seeing(self, site: str, device: torch.device | None) -> Iterator[None]:
        """See what this thread does, at a site; the tensors that it makes are on `device`."""
        here = self.here
        before, seen = here.site, here.seen
        here.site, here.seen = [site], True
        try:
            with ExitStack() as stack:
                if not seen:
                    stack.enter_context(nullcontext() if device is None else device)
                    stack.enter_context(Names(self))
                    stack.enter_context(_Operations(self))
                yield
        finally:
            here.site, here.seen = before, seen

    def _follow(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A function that another thread is to run on behalf of this one."""
        if not self.here.seen or self.here.below:
            return run
        site, device = self.site[-1], device_here()

        def followed(*args: Any, **kwargs: Any) -> Any:
            with nullcontext() if self.over else self._seeing(site, device):
                return run(*args, **kwargs)

        return followed

    def _forward(self, kind: type, given: Any, forward: Callable[[], Any]) -> Any:
        """Run the forward of a torch.autograd.Function; what it computes where torch does not see it has no price."""
        here = self.here
        if not here.seen or here.below:
            return forward()
        with self.below:
            here.applied.append(outside.Applied(kind, given))
        try:
            out = forward()
        finally:
            function = here.applied.pop()
        with self.below:
            hidden = function.hidden(out) or (function.own and bool(self.memory.given(out)))
            for around in here.applied:
                around.made |= outside.where(out)
        if hidden:
            args, kwargs = given
            self.add(None, "unpriced", f"autograd.Function {function.name}", args, kwargs, out)
        return out

    def handed_out(self, name: str, args: tuple[Any, ...], caller: FrameType) -> None:
        """Write down that numbers leave torch, where somebody may compute with them."""
        if self.here.below or any(frame.name in outside.EXITS for frame in self.frames):
            return
        with self.below:
            gone = outside.leaves(args, caller)
            self.memory.given(args)
        if gone and self.here.applied:
            self.here.applied[-1].outside = True
        elif gone:
            self.add(None, "unpriced", name, args, {}, None)

    def ran(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Keep account of memory: what an operation made, read and wrote to."""
        with self.below, self.lock, torch._C.DisableTorchFunction():
            if self.phase == "forward":
                self.flow.ran(func, args, kwargs, out)
            if not self.memory.empty and not self.here.applied and name not in outside.EMPTY:
                return
            unseen = self.memory.ran(func, name, args, kwargs, out, self.site[-1])
            for function in self.here.applied:
                function.made |= outside.where(out)
        self.unseen(unseen, args)

    def higher(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a higher-order operator that is a kernel, and write it down as a whole."""
        name = kernel_name(kwargs) or f"higher_order.{func.name()}"
        # Of one whose backward has a price as a whole torch would trace a graph, which a mode does not survive.
        gradient = GRADIENTS.get(name) if torch.is_grad_enabled() else None
        with self.below, torch.set_grad_enabled(gradient is None and torch.is_grad_enabled()):
            out = func(*args, **kwargs)
        self.ran(func, name, args, kwargs, out)
        self.add(pricer_of(name), "unpriced", name, args, kwargs, out)
        if gradient is None:
            return out
        with self.below:
            first = Priced.apply(out[0], *(each for each in args if isinstance(each, torch.Tensor)))
            if self.graph:
                origin = dataclasses.replace(self.graph.last, name=name)
                origin.whole = price(gradient, origin.op, args, kwargs, out)
                self.graph.grew(origin)
        return first, *out[1:]

    def unseen(self, found: list[tuple[str, str]], values: Any) -> None:
        """Write down tensors that were made empty and have content that no operation wrote."""
        for site, name in found:
            self.add(None, "unpriced", f"written outside torch ({name})", (values,), {}, None, site=site)

    def finish(self, output: Any) -> None:
        """The model's output; of a step, the backward from there."""
        if not self.graph:
            with self.below, torch._C.DisableTorchFunction():
                self.live = self.flow.reaching(inputs.tensors(output))
        else:
            self.phase, self.site = "backward", [""]
            if not run_backward(output):
                self.note("nothing that the model returns needs a gradient: there is no backward")

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
        if not self.here.seen and id(module) in self.names:
            # A thread that was there before; it works for the model for as long as it is in this module.
            stack = ExitStack()
            stack.enter_context(self._seeing("", None))
            self.here.guests.append((id(module), stack))
        if self.graph:
            self.graph.grew(self.graph.last)
        # A module that named_modules() does not know works on behalf of the one that calls it.
        self.site.append(self.names.get(id(module), self.site[-1]))

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        site = self.site.pop()
        with self.below:
            unseen = self.memory.given(output)
        self.unseen(unseen, output)
        if id(module) in self.names and self.phase == "forward":
            self.hooked.note(site, module, args, output)
        if self.here.guests and self.here.guests[-1][0] == id(module) and len(self.site) == 1:
            self.here.guests.pop()[1].close()

    def add(
        self,
        pricer: Pricer | None,
        kind: str,
        aten: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        beside: dict[str, Any] | None = None,
        site: str | None = None,
        first: int | None = None,
    ) -> None:
        """Write down one operation, at the site and in the functions that are running; `beside` are more facts.

        `first` is where it begins in the flow; else it is the last one there.
        """
        site = self.site[-1] if site is None else site
        apis = tuple(frame.name for frame in self.frames if frame.name not in _OF_AUTOGRAD)
        if aten == "aten.mul" and apis and apis[-1] in (EINSUM, "torch.einsum"):
            pricer = outer  # where nothing is summed; torch does the rest by bmm
        with self.below, torch._C.DisableTorchFunction():  # our reading of shapes is no function of the model's
            op, quantities, facts = price(pricer, kind, args, kwargs, out)
            if "._foreach_" in aten and pricer is None:  # the same for each of many tensors
                each = sum(map(transforms.size, transforms.tensors(args[:1])))
                quantities = {"inputs": each, "outputs": each}
        facts.update(beside or {})
        if self.here.applied and self.here.applied[-1].own:
            facts["autograd_function"] = self.here.applied[-1].name
        if held := [frame.name for frame in self.frames if frame.held]:
            facts["held"] = held
        for frame in self.frames if op not in _NOTHING_NEW else ():
            facts.update(frame.whole)
            frame.whole = {}
        if op == "matmul" and ATTENTION in apis:
            op = "attention"  # its projections are linear functions, so what is left are the products of its heads
        whole = pricer is not None and bool(apis) and pricer in (FUNCTIONS.get(apis[-1]), COMPLEX.get(apis[-1]))
        if apis and not whole and quantities.get("macs"):
            op = _INNER.get(apis[-1], op)
        if self.graph and (self.phase == "forward" or self._runs_again()):
            if self.phase == "backward" and not self.recomputing and len(self.site) == 1:
                site = self.graph.running().site  # by hand, in the backward of a torch.autograd.Function
            origin = Origin(site, op, apis, bool(quantities.get("macs")))
            named = apis[-1] if whole else "torch.outer" if pricer is outer else ""
            # What runs without gradients has no backward: a reentrant checkpoint's, which runs again.
            gradient = GRADIENTS.get(named) if torch.is_grad_enabled() else None
            if gradient is not None:
                with self.below, torch._C.DisableTorchFunction():
                    origin.whole = price(gradient, op, args, kwargs, out)
            self.graph.grew(origin)
        if self.phase == "forward":
            now = len(self.flow.parents)
            self._write(site, op, aten, apis, quantities, facts, (now - 1 if first is None else first, now))
        elif self._runs_again():
            done = {"macs": "recomputed_macs", "masked_macs": "", "border_macs": ""}
            quantities = {done.get(name, name): value for name, value in quantities.items()}
            self._write(site, op, aten, apis, quantities, {**facts, "recomputed": True})
        elif in_backward():  # what is not, gives the loss its gradient
            if aten == "aten.mul" and all(isinstance(each, torch.Tensor) for each in args[:2]):
                facts["products"] = quantities["outputs"]
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
                (_, quantities, facts) = origin.whole
                name = origin.name or f"aten.{origin.apis[-1].rpartition('.')[2]}"
                self._write(origin.site, origin.op, name, origin.apis, quantities, facts)
            return
        products = facts.pop("products", 0)
        if origin.op == "matmul" and origin.macs and products:  # the gradient of a product with a vector
            quantities = {**quantities, "macs": products}
        own = op in _BESIDE or origin.op in _BESIDE - {"add"} or (quantities.get("macs") and not origin.macs)
        self._write(origin.site, op if own else origin.op, aten, origin.apis, quantities, facts)

    def _write(
        self,
        site: str,
        op: str,
        aten: str,
        apis: tuple[str, ...],
        quantities: Quantities,
        facts: dict[str, Any],
        span: tuple[int, int] | None = None,
    ) -> None:
        quantities = {name: value for name, value in quantities.items() if name and value}
        key = msgspec.json.encode((quantities, facts))
        with self.lock:
            row = self.phase, site, op, aten, apis
            if span is not None and not self.graph and op in FOLLOWED:
                self.spans.setdefault(row, {}).setdefault(key, []).append(span)
            calls = self.rows.setdefault(row, {})
            before = calls.pop(key, None)
            calls[key] = Call(quantities=quantities, facts=facts, times=before.times + 1 if before else 1)

    def note(self, text: str) -> None:
        """Say something of this pass once."""
        if text not in self.notes:
            self.notes.append(text)

    @contextmanager
    def apart(self) -> Iterator[Apart]:
        """What runs meanwhile is not the model's yet, see `join`."""
        before = self.rows, self.hooked.seen
        self.rows, self.hooked.seen = {}, {}
        done = Apart(self.rows, self.hooked.seen)
        try:
            yield done
        finally:
            self.rows, self.hooked.seen = before

    def join(self, done: Apart) -> None:
        """What ran apart is the model's after all."""
        for place, calls in done.rows.items():
            here = self.rows.setdefault(place, {})
            for key, call in calls.items():
                before = here.pop(key, None)
                here[key] = msgspec.structs.replace(call, times=call.times + (before.times if before else 0))
        for site, seen in done.seen.items():
            self.hooked.seen.setdefault(site, Counter()).update(seen)

    def ledger_entries(self) -> list[Entry]:
        about = {site: about_module(self.found[site]) for site in {site for _, site, *_ in self.rows}}
        return [
            Entry(
                phase=phase,
                site=site,
                op=op,
                aten=aten,
                calls=parted(calls, self.spans.get((phase, site, op, aten, apis), {}), self.live),
                api=apis[0] if apis else "",
                inside=list(apis[1:]),
                **about[site],
            )
            for (phase, site, op, aten, apis), calls in self.rows.items()
        ]


class Names(TorchFunctionMode):
    """Knows through which torch functions an operation was called, and prices those that ATen splits up."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder
        self.known: dict[Any, tuple[str, str]] = {}
        self.bodies: dict[Any, FunctionType | None] = {}
        self.answering: Any = None  # the function that a class of tensors answers
        self.globals = [_unchecked(sys.modules[name]) for name in _OPENED]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self.recorder, kwargs or {}
        if recorder.here.below or recorder.over:
            return func(*args, **kwargs)
        if func not in self.known:
            name = api_name(func)
            self.known[func] = name, outside.exit_name(func, name)
        name, gone = self.known[func]
        if not recorder.flexible and transforms.FLEX in sys.modules:  # also if a forward imports it
            recorder.flexible = True
            recorder.stack.enter_context(transforms.flexible())
        if gone:
            recorder.handed_out(gone, args, sys._getframe(1))
        frames = recorder.frames
        if isinstance(func, HigherOrderOperator):
            if not of_functions(func, args, kwargs):
                return recorder.higher(func, args, kwargs)
            with self:  # the functions that it runs are seen
                return run_higher(recorder, func, args, kwargs)
        if not name or (frames and frames[-1].func is func) or self._again(func, types):  # it hands over to itself
            return func(*args, **kwargs)
        if name.startswith("torch.Tensor.") and name[13:] in _OPERATORS and is_operator(sys._getframe(1), name[13:]):
            name = f"torch.Tensor.__{name[13:]}__"
        if name.startswith(_CONVOLUTION) and any(isinstance(v, str) for v in (*args[4:5], kwargs.get("padding"))):
            name = "torch._convolution_mode"  # padding="same" is another operation to a jit trace
        caller = sys._getframe(1)
        if name.endswith("_with_indices") and any(
            f.f_code.co_name == "fn" for f in callers(caller, 4, "torch._jit_internal")
        ):
            name = name.removesuffix("_with_indices")  # F.max_pool2d(x, 2, return_indices=True)
        with recorder.below, torch._C.DisableTorchFunction():
            pricer, aten = self._whole(func, name, args, kwargs)
            held, whole = is_held(caller, name), whole_of(name, args, kwargs, caller)
        if pricer is None and any(map(transforms.computes_itself, types)):
            before, self.answering = self.answering, func
            try:
                with self:  # what it calls is seen in its place
                    return _answered(func, types, args, kwargs)
            finally:
                self.answering = before
        if name == ATTENTION:
            whole["needs_gradient"] = recorder.flow.needs(args[0])
        frame = Frame(func, name, pricer, held, whole, len(recorder.flow.parents))
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
                beside = _beside(name, frame, out)
                recorder.add(pricer, "unpriced", aten, args, kwargs, out, beside, first=frame.first)
            return out
        except BaseException:
            recorder.left(frame)
            raise
        finally:
            frames.pop()
            if recorder.graph:
                recorder.graph.grew(recorder.graph.last)

    def _again(self, func: Any, types: Any) -> bool:
        """Whether a class of tensors that answers a function hands it over, and its own tensors with it."""
        return self.answering is func and any(map(transforms.computes_itself, types))

    def _whole(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Pricer | None, str]:
        """What prices a function as a whole, if that says all that will run, and the ATen operation that it is."""
        pricer, aten = FUNCTIONS.get(name), f"aten.{name.rpartition('.')[2].strip('_')}"
        if isinstance(packet := getattr(func, "_overloadpacket", func), OpOverloadPacket):
            pricer, aten = by_function(str(packet)), str(packet)
        elif name in COMPLEX and is_complex(args):
            pricer, aten = COMPLEX[name], "aten.convolution"
        return (pricer, aten) if pricer is not None and transforms.whole(args, kwargs) else (None, aten)

    def _opened(self, func: Any) -> FunctionType | None:
        """A Python function's own code without its question whether a mode is on, so that the calls in it are seen."""
        if not isinstance(func, FunctionType) or func is torch.autograd.grad:  # by which others trace, within a mode
            return None
        for names, original in self.globals:
            if func.__globals__ is original:
                copy = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
                copy.__kwdefaults__ = func.__kwdefaults__
                return copy
        return None


def _answered(func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A torch function as classes of tensors answer it, as torch asks them: one after the other."""
    for kind in types:
        out = kind.__torch_function__(func, types, args, kwargs)
        if out is not NotImplemented:
            return out
    raise TypeError(f"no implementation of {func} for {', '.join(kind.__name__ for kind in types)}")


@cache
def by_function(aten: str) -> Pricer | None:
    """What prices an ATen operation by the torch function that is the same one (`aten.linear`), if there is any.

    Functions written in Python may have their arguments in another order.
    """
    plain = aten.removeprefix("aten.")
    for place, module in (("torch", torch), ("torch.nn.functional", torch.nn.functional)):
        if isinstance(getattr(module, plain, None), BuiltinFunctionType) and f"{place}.{plain}" in FUNCTIONS:
            return FUNCTIONS[f"{place}.{plain}"]
    return None


def _beside(name: str, frame: Frame, out: Any) -> dict[str, Any]:
    """Facts that no argument holds.

    Linear: whether its bias is added inside the product, as addmm. Products: as what they ran where a side is a
    vector. Attention: the strides of what comes out, where that is not contiguous; they are the kernel's, which is
    another on each device, and decide whether the reshape after it copies.
    """
    if frame.pricer is FUNCTIONS[_LINEAR] and "aten.addmm" in frame.inner:
        return {"addmm": True}
    if vectors := frame.inner & _WITH_VECTORS:
        return {"vectors": sorted(vectors)}
    if name == _FUSED and not out.is_nested and not out.is_contiguous():
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
        kwargs, recorder = kwargs or {}, self.recorder
        if recorder.here.below or recorder.over:
            return func(*args, **kwargs)
        if any(map(transforms.wraps, types)):
            return NotImplemented  # it answers by operators on the tensors in it, and those are seen
        frame = recorder.frames[-1] if recorder.frames else None
        whole = frame is not None and frame.pricer is not None
        if isinstance(func, HigherOrderOperator) and not whole:
            if of_functions(func, args, kwargs):
                return run_bodies(recorder, (Names(recorder), self), func, args, kwargs)
            return recorder.higher(func, args, kwargs)
        if func not in self.known:
            self.known[func] = names_of(func)
        name, kind = self.known[func]
        pricer = pricer_of(name) or by_function(name)
        if (
            not whole
            and pricer is None
            and kind == "unpriced"
            and composite(func)
            and not transforms.nested(args, kwargs)
        ):
            with self:  # torch takes it apart below us where autograd is off, so nothing of it would be seen
                return func.decompose(*args, **kwargs)
        with recorder.below:
            out = func(*args, **kwargs)
        recorder.ran(func, name, args, kwargs, out)
        if frame is not None and whole:
            frame.inner.add(name)
            if recorder.recomputing:
                frame.ran.append((pricer, kind, name, args, kwargs, out))
        elif not _of_the_device(name, args, kwargs):
            recorder.add(pricer, kind, name, args, kwargs, out)
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
    facts: dict[str, Any]
    times = transforms.levels(args, kwargs, out)
    if pricer is not None:
        try:
            if transforms.nested(args, kwargs, out):
                named = {**dict(zip(parameters(pricer), args, strict=False)), **kwargs, "out": out}
                calls = [priced(pricer, *part) for part in transforms.parts((args, kwargs, out))]
                return transforms.added(calls, named)
            op, quantities, facts = priced(pricer, args, kwargs, out)
            if times:
                named = {**dict(zip(parameters(pricer), args, strict=False)), **kwargs}
                quantities = transforms.batched(quantities, times, named, first_tensor((args, kwargs)))
                facts["vmap"] = list(times.values())
            return op, quantities, facts
        except (TypeError, AttributeError, IndexError, ValueError, RuntimeError):
            kind = "unpriced"
    into, result = first_tensor((args, kwargs)), first_tensor(out)
    shapes = {"input": into, "out": result} if kind != "view" else {}
    facts = {name: transforms.shape(tensor) for name, tensor in shapes.items() if tensor is not None}
    if kind != "view" and is_complex(args):
        facts["complex"] = True
    if kind == "unpriced":  # whoever reads of it, or prices it, needs them all
        facts["shapes_in"] = [transforms.shape(tensor) for tensor in transforms.tensors(args, kwargs)]
        facts["shapes_out"] = [transforms.shape(tensor) for tensor in transforms.tensors(out)]
    return kind, {"inputs": transforms.size(into), "outputs": transforms.size(result)}, facts


def priced(
    pricer: Pricer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> tuple[str, Quantities, dict[str, Any]]:
    """What a pricer says of one call, and the facts that this rests on."""
    options = {name: value for name, value in kwargs.items() if name != "out"} if kwargs else kwargs
    facts = facts_of(pricer, args, options, out)
    if is_complex(args):
        facts["complex"] = True
    op, quantities = pricer(*args, out=out, **options)
    return op, quantities, facts


def names_of(func: Any) -> tuple[str, str]:
    """`aten.relu` and the kind of an overload such as `aten.relu.default`."""
    packet = getattr(func, "_overloadpacket", None)
    if packet is None:  # a higher-order operator
        return str(func), "unpriced"
    name = str(packet)
    return name, kind_of(name)


def about_module(module: nn.Module) -> dict[str, Any]:
    """What an entry says of the module at its site."""
    return {
        "module": class_name(module),
        "base": base_name(module),
        "leaf": not module._modules,
        "params": sum(parameter.numel() for parameter in module.parameters(recurse=False)),
        "frozen": sum(p.numel() for p in module.parameters(recurse=False) if not p.requires_grad),
    }
