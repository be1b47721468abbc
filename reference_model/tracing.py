"""Trace one forward pass into a ledger: a function mode for names, a dispatch mode for operations."""

from __future__ import annotations

import dis
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from reference_model import pooling  # noqa: F401  (registers its pricers)
from reference_model.ledger import Calls, Entry, Ledger
from reference_model.quantities import ATEN, FUNCTIONS, Priced, Pricer, Quantities, classify, elements, first_tensor

_ATTENTION = "torch.nn.functional.multi_head_attention_forward"
_SDPA = "torch.nn.functional.scaled_dot_product_attention"
_CONVOLUTION = "torch.nn.functional.conv"
_OPERATORS = {"add", "mul", "sub", "matmul", "true_divide", "div"}
_REDUCTION = getattr(torch.Tag, "reduction", None)  # torch 2.9 and newer


class ModelError(ValueError):
    """The model rejects these inputs; the message is the model's own."""


def trace(
    model: nn.Module,
    inputs: tuple[Any, ...],
    *,
    name: str | None = None,
    device: str | None = None,
) -> Ledger:
    """Run `model(*inputs)` once in eval mode and write down every operation.

    On the meta device (the default) nothing is computed. A model that cannot run there, because
    its path depends on data, is run on its own tensors and the ledger's notes say so; `device`
    "meta" or "cpu" (the tensors as they are) asks for one of the two. The model comes back as it was.

    Raises:
        ModelError: the model rejects the inputs on both.
    """
    described = [describe(value) for value in inputs]
    label = name or type(model).__name__
    params = sum(p.numel() for p in model.parameters())
    notes: list[str] = []
    used = "meta"
    recorder = Recorder(model)
    with in_eval(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if device != "cpu":
            try:
                run_on_meta(model, inputs, recorder)
            except Exception as error:
                # Data-dependent paths fail in a dozen ways there; running for real tells them
                # from a model that rejects its inputs.
                if device == "meta" or any(p.is_meta for p in model.parameters()):
                    raise ModelError(message(error)) from error
                notes.append(f"traced on real tensors: on the meta device the model says {message(error)!r}")
        if device == "cpu" or notes:
            used, recorder = "cpu", Recorder(model)
            try:
                # Whatever the model itself writes to, buffers or inputs, is a copy.
                buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
                copies = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, inputs)
                with recorder:
                    torch.func.functional_call(model, buffers, copies)
            except Exception as error:
                raise ModelError(message(error)) from error
    return Ledger(
        model=label,
        inputs=described,
        params=params,
        entries=recorder.ledger_entries(),
        device=used,
        notes=notes,
        modules=recorder.modules,
    )


def run_on_meta(model: nn.Module, inputs: tuple[Any, ...], recorder: Recorder) -> None:
    """Run the model with meta tensors in place of its own, which stay untouched."""
    on_meta = tree_map(lambda v: v.to("meta") if isinstance(v, Tensor) else v, inputs)
    tensors: dict[str, Tensor] = {
        # requires_grad decides whether torch folds a batched linear into one product
        name: tensor.to("meta").requires_grad_(tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not tensor.is_meta
    }
    # The device context is outermost: tensors that a forward makes for itself are meta as well.
    with torch.device("meta"), recorder:
        if tensors:
            torch.func.functional_call(model, tensors, on_meta)
        else:
            model(*on_meta)


@contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and each one's own flag back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def message(error: BaseException) -> str:
    """The first line of an error that says something, with its type where the text alone would not."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return text if len(text) > 12 else f"{type(error).__name__}: {text}".rstrip(": ")


def describe(value: Any) -> str:
    """`1x3x416x416`, with `:dtype` where it is not float32, as a shape on the command line."""
    if isinstance(value, Tensor):
        shape = "x".join(map(str, value.shape)) or "scalar"
        dtype = str(value.dtype).removeprefix("torch.")
        return shape if dtype == "float32" else f"{shape}:{dtype}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(describe, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {describe(v)}" for k, v in value.items()) + "}"
    return repr(value)


class Recorder:
    """Collects entries while it is active. Not reentrant; one recorder is one pass."""

    def __init__(self, model: nn.Module):
        self.names = {id(module): name for name, module in model.named_modules()}
        self.kinds = {name: class_name(module) for name, module in model.named_modules()}
        self.bases = {name: base_name(module) for name, module in model.named_modules()}
        self.leaves = {name for name, module in model.named_modules() if not module._modules}
        self.site = [""]
        self.api = ""
        self.muted = False
        self.inner: set[str] = set()  # ATen ops of the muted call in progress
        self.rows: dict[tuple[str, str, str, str], Quantities] = {}
        self.last: dict[tuple[str, str, str, str], Quantities] = {}  # of the last call
        self.modules: dict[str, Calls] = {}
        self.unlike: set[tuple[str, str, str, str]] = set()  # whose calls are not all alike

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
            size = prod(tensor.shape[:2]) if tensor is not None else 0
            self.modules[site] = Calls(before.calls + 1, before.size + size)

    def add(self, op: str, aten: str, quantities: Quantities, api: str) -> None:
        key = (self.site[-1], op, aten, api)
        row = self.rows.setdefault(key, {})
        call = {"calls": 1, **quantities}
        if self.last.setdefault(key, call) != call:
            self.unlike.add(key)
        self.last[key] = call
        for name, value in call.items():
            row[name] = row.get(name, 0) + value

    def ledger_entries(self) -> list[Entry]:
        entries = []
        for key, row in self.rows.items():
            site, op, aten, api = key
            last = {f"last_{name}": value for name, value in self.last[key].items()} if key in self.unlike else {}
            entries.append(
                Entry(
                    site=site,
                    op=op,
                    aten=aten,
                    quantities={name: value for name, value in {**row, **last}.items() if value},
                    module=self.kinds[site],
                    leaf=site in self.leaves,
                    api=api,
                    base=self.bases[site],
                )
            )
        return entries


class _Names(TorchFunctionMode):
    """Knows through which torch function an operation was called, and prices those ATen splits up."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder
        self.known: dict[Any, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self.recorder, kwargs or {}
        name = self.known.get(func)
        if name is None:
            name = self.known[func] = api_name(func)
        if recorder.muted or recorder.api:  # inside another torch function
            return func(*args, **kwargs)
        if name.startswith("torch.Tensor.") and name[13:] in _OPERATORS and is_operator(sys._getframe(1), name[13:]):
            name = f"torch.Tensor.__{name[13:]}__"
        if name == _ATTENTION and not kwargs.get("need_weights", True):
            name = _SDPA
        if name.startswith(_CONVOLUTION) and any(isinstance(v, str) for v in (*args[4:5], kwargs.get("padding"))):
            name = "torch._convolution_mode"  # padding="same" is another operation to a jit trace
        pricer = FUNCTIONS.get(name) if func is not torch.nn.functional.multi_head_attention_forward else None
        if pricer is None:
            recorder.api = name
            try:
                return func(*args, **kwargs)
            finally:
                recorder.api = ""
        recorder.muted = True
        recorder.inner.clear()
        try:
            out = func(*args, **kwargs)
        finally:
            recorder.muted = False
        op, quantities = price(pricer, args, kwargs, out)
        if op == "linear" and "aten.addmm" in recorder.inner:
            quantities["addmm_adds"] = quantities["bias_adds"]
        recorder.add(op, f"aten.{name.rpartition('.')[2].strip('_')}", quantities, name)
        return out


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
        if recorder.muted:
            recorder.inner.add(name)
            return out
        pricer = ATEN.get(name)
        if pricer is not None:
            op, quantities = price(pricer, args, kwargs, out)
            if op == "matmul" and recorder.api in (_ATTENTION, _SDPA):
                # A projection may also be a bmm, with the weight expanded over the batch.
                projects = name in ("aten.mm", "aten.addmm") or args[1].stride(0) == 0
                op = "linear" if projects else "attention"
                if name == "aten.addmm":
                    quantities["addmm_adds"] = quantities["bias_adds"]
        else:
            op, quantities = kind, {"inputs": elements(args), "outputs": elements(out)}
        recorder.add(op, name, quantities, recorder.api)
        return out


def price(pricer: Pricer, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Priced:
    """What a pricer says; an operation called in a way that it does not know is listed as unclassified.

    A formula of ours must never look like a model that rejects its inputs.
    """
    try:
        return pricer(*args, out=out, **{k: v for k, v in kwargs.items() if k != "out"})
    except (TypeError, AttributeError, IndexError, ValueError, RuntimeError):
        return "unclassified", {"inputs": elements((args, kwargs)), "outputs": elements(out)}


def api_name(func: Any) -> str:
    """A torch function's public name, "" where it has none (attribute reads, mostly)."""
    try:
        name = resolve_name(func)
    except Exception:  # a function that torch.overrides does not list
        name = None
    if name is None:
        name = f"{getattr(func, '__module__', None) or 'torch'}.{getattr(func, '__name__', '')}"
    return "" if name.endswith(("__get__", "__set__")) else str(name)


def names_of(func: Any) -> tuple[str, str]:
    """`aten.relu` and the kind of an overload such as `aten.relu.default`."""
    packet = getattr(func, "_overloadpacket", None)
    if packet is None:  # a higher-order operator
        return str(func), "unclassified"
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
