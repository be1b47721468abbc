"""Run a model once and have it traced: on the meta device where that can be, and left as it was."""

from __future__ import annotations

import inspect
import random
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flopledger.reference_model import inputs
from flopledger.reference_model.faults import Fault, fault_of
from flopledger.reference_model.known import held, input_on_meta, is_lazy, knowing, unmade
from flopledger.reference_model.ledger import Ledger, Mode
from flopledger.reference_model.quantities.registry import load_others
from flopledger.reference_model.subject import ON_REAL
from flopledger.reference_model.tracing import Names, Recorder
from flopledger.reference_model.transforms import sides

Where = Literal["meta", "cpu"]
_MOST_SHAPES = 8  # in one line


class ModelError(ValueError):
    """The model rejects these inputs, or has a fault of its own: its message, and where that was."""

    def __init__(self, fault: Fault | str):
        self.fault = Fault(said=fault) if isinstance(fault, str) else fault
        super().__init__(self.fault.told("", ""))


def trace(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    name: str | None = None,
    device: str | None = None,
    mode: Mode = "eval",
) -> Ledger:
    """Run `model(*args, **kwargs)` once and write down every operation.

    `mode` is how: "eval" (every module in eval mode, no gradients), "train" (every module in train mode, with what
    is kept for a backward), or "step" (the same, and the backward of the `loss` that the model returns, or else of
    the sum of its outputs). Parameters that need no gradient have none, nor have inputs unless they ask for it.
    On the meta device (the default) nothing is computed but what follows from integers and constants, where the
    model looks at it. A model that cannot run there, because its path depends on data, is run on its own tensors
    and the ledger's notes say so; `device` "meta" or "cpu" (the tensors as they are) asks for one of the two.
    The model comes back as it was.

    Raises:
        ModelError: the model rejects the inputs on both; in at most three lines: the model's own words with the
            module, the line of its code, the operation and the shapes that it got.
    """
    kwargs = kwargs or {}
    model, notes = unwrapped(model)
    label = name or type(model).__name__

    def traced(where: Where) -> Ledger:
        recorder = Recorder(model, mode == "step")
        change = input_on_meta if where == "meta" else _copy
        given, named = inputs.mapped(change, (args, kwargs))
        # The recorder is inside: it sees each operation once, and nothing of what is done to know its value.
        with (
            instead(model, held if where == "meta" else _shared_or_copied),
            knowing() if where == "meta" else _same_dice(),
        ):
            materialise(model, given, named)
            with recorder:
                recorder.finish(model(*given, **named))
            return Ledger(
                model=label,
                inputs=inputs.described(args, kwargs),
                params=sum(p.numel() for p in model.parameters()),
                entries=recorder.ledger_entries(),
                device=where,
                mode=mode,
                notes=[*notes, *troubles, *recorder.notes],
                modules=recorder.hooked.modules(),
                members=recorder.hooked.members(),
                input_shapes=[sides(tensor) for tensor in inputs.tensors(args, kwargs)],
                nested=len(inputs.tensors([value for value in args if not isinstance(value, Tensor)], kwargs)),
            )

    troubles = load_others()
    with in_mode(model, mode), _as_scripted(), torch.set_grad_enabled(mode != "eval"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if device != "cpu":
            try:
                return traced("meta")
            except Exception as error:
                # Data-dependent paths fail in a dozen ways there; running for real tells them
                # from a model that rejects its inputs.
                fault = _fault(error, model)
                if device == "meta" or any(p.is_meta for p in model.parameters()):
                    raise ModelError(fault) from error
                notes.append(f"{ON_REAL}: on the meta device the model says {fault.said!r}")
        try:
            return traced("cpu")
        except Exception as error:
            raise ModelError(_fault(error, model)) from error


def _fault(error: Exception, model: nn.Module) -> Fault:
    return fault_of(error, {id(module): name for name, module in model.named_modules()}, _asked)


def _asked(frame: FrameType) -> str:
    """What torch was asked for in a frame of the recorder, with the shapes that it got; "" for any other frame."""
    if frame.f_code is not Names.__torch_function__.__code__ or not frame.f_locals.get("name"):
        return ""
    func, name, args, kwargs = (frame.f_locals[each] for each in ("func", "name", "args", "kwargs"))
    bare = name.rpartition(".")[2].strip("_")
    named = {**dict(zip(_takes(func, bare), args, strict=False)), **kwargs}
    labels = {id(value): label for label, value in named.items() if label != "self"}
    with torch._C.DisableTorchFunction():
        found = [
            f"{labels.get(id(tensor), '')} {'×'.join(map(str, sides(tensor))) or 'a single number'}".strip()
            for tensor in inputs.tensors(args, kwargs)
        ]
    shown = found if len(found) <= _MOST_SHAPES else [*found[:_MOST_SHAPES], "…"]
    return f"{bare} got {', '.join(shown) or 'no tensor'}"


def _takes(func: Any, name: str) -> list[str]:
    """By which names a torch function takes its arguments; nothing where neither it nor an ATen operator says."""
    if isinstance(func, FunctionType):
        return [*inspect.signature(func).parameters]
    packet = getattr(torch.ops.aten, name, None)
    overloads = sorted(packet.overloads(), key="default".__ne__) if packet else []
    return [argument.name for argument in getattr(packet, overloads[0])._schema.arguments] if overloads else []


def unwrapped(model: Any) -> tuple[nn.Module, list[str]]:
    """The module that a wrapper of torch's stands for, under whose own names all is counted; and notes that say so.

    Wrappers are DataParallel and its kin, a compiled module, an exported program.

    Raises:
        ModelError: there is no module in it.
    """
    notes: list[str] = []
    while (inner := _inner(model)) is not None:
        notes.append(f"{type(model).__name__} is a wrapper: counted is the {type(inner).__name__} in it")
        model = inner
    if not isinstance(model, nn.Module):
        raise ModelError(f"{type(model).__name__} is not a torch.nn.Module")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        notes.append("a scripted module runs as a whole: what is in it is at its own site")
    return model, notes


def _inner(model: Any) -> Any:
    if isinstance(model, torch.export.ExportedProgram):
        return model.module()
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return model.module
    return getattr(model, _WRAPPERS.get(type(model).__name__, ""), None)


# Classes whose modules are costly to import, and what they call the module that they wrap.
_WRAPPERS = {"OptimizedModule": "_orig_mod", "FullyShardedDataParallel": "_fsdp_wrapped_module"}


def materialise(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let a model with lazy modules find its sizes, which come with the first run and are none of its work."""
    if any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
        with torch.no_grad():
            model(*args, **kwargs)


@contextmanager
def _as_scripted() -> Iterator[None]:
    """torch.jit runs what was written, and none of its own questions about that."""
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        yield


@contextmanager
def _same_dice() -> Iterator[None]:
    """The random numbers of whoever calls go on as if nothing had been drawn."""
    theirs = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(theirs)


def _shared_or_copied(tensor: Tensor) -> Tensor:
    """A model's own tensor for a run: weights share their memory, but what they gather in a backward is not theirs."""
    if is_lazy(tensor):
        return unmade(tensor, "cpu")
    return nn.Parameter(tensor.detach(), tensor.requires_grad) if isinstance(tensor, nn.Parameter) else _copy(tensor)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


@contextmanager
def instead(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put other tensors in place of all that the modules hold, the same one wherever one is held twice.

    Every module has its own attributes back afterwards, whatever a forward assigned, appended or registered.
    """
    ours: dict[int, Tensor] = {}

    def changed(tensor: Tensor) -> Tensor:
        if id(tensor) not in ours:
            ours[id(tensor)] = change(tensor)
        return ours[id(tensor)]

    modules = [*model.modules()]
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    before = [(type(module), dict(vars(module)), _contents(vars(module))) for module in plain]
    swapped: list[tuple[dict[str, Any], str, Tensor]] = []
    try:
        for module in modules:
            holders: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for held in holders:
                for name, tensor in [*held.items()]:
                    if tensor is not None:
                        swapped.append((held, name, tensor))
                        held[name] = changed(tensor)
            own = {} if isinstance(module, torch.jit.ScriptModule) else vars(module)
            for name, value in own.items():
                if isinstance(value, Tensor) or _holds_tensors(name, value):
                    own[name] = inputs.mapped(changed, value)
        yield
    finally:
        for held, name, tensor in swapped:  # those of a scripted module are in no dictionary
            held[name] = tensor
        for module, (kind, attributes, contents) in zip(plain, before, strict=True):
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
            for held, content in contents:
                held.clear()
                held.extend(content) if isinstance(held, list) else held.update(content)


def _contents(attributes: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Lists, dictionaries and sets that a forward may add to, each with a copy of what is in it.

    Not those of a class of somebody's own: diffusers' configurations are dictionaries that refuse to be written to.
    """
    return [(value, value.copy()) for value in attributes.values() if type(value) in _ADDED_TO]


_ADDED_TO = (list, dict, set, OrderedDict, defaultdict)


def _holds_tensors(name: str, value: Any) -> bool:
    if name in ("_parameters", "_buffers") or not isinstance(value, (list, tuple, dict)):
        return False
    return any(isinstance(v, Tensor) for v in (value.values() if isinstance(value, dict) else value))


@contextmanager
def in_mode(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Every module in eval or train mode, and each one's own flag back afterwards."""
    before = {module: module.training for module in model.modules() if hasattr(module, "training")}
    if mode != "eval" or any(before.values()):
        try:
            model.train(mode != "eval")
        except NotImplementedError:  # of an exported program
            if mode != "eval":
                raise ModelError("an exported program runs in the mode in which it was exported") from None
    try:
        yield
    finally:
        for module, training in before.items():
            if module.training != training:
                module.training = training
