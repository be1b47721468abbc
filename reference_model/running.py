"""Run a model once and have it traced: in eval mode, on the meta device where that can be, and left as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from flopledger.reference_model.known import knowing, on_meta
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.quantities.registry import load_others
from flopledger.reference_model.tracing import Recorder


class ModelError(ValueError):
    """The model rejects these inputs; the message is the model's own."""


def trace(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    name: str | None = None,
    device: str | None = None,
) -> Ledger:
    """Run `model(*args, **kwargs)` once in eval mode and write down every operation.

    On the meta device (the default) nothing is computed but what follows from integers and constants.
    A model that cannot run there, because its path depends on data, is run on its own tensors and the
    ledger's notes say so; `device` "meta" or "cpu" (the tensors as they are) asks for one of the two.
    The model comes back as it was.

    Raises:
        ModelError: the model rejects the inputs on both.
    """
    inputs = (*args, *(kwargs or {}).values())
    notes: list[str] = []
    used = "meta"
    troubles = load_others()
    recorder = Recorder(model)
    with in_eval(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if device != "cpu":
            try:
                run_on_meta(model, args, kwargs, recorder)
            except Exception as error:
                # Data-dependent paths fail in a dozen ways there; running for real tells them
                # from a model that rejects its inputs.
                if device == "meta" or any(p.is_meta for p in model.parameters()):
                    raise ModelError(message(error)) from error
                notes.append(f"traced on real tensors: on the meta device the model says {message(error)!r}")
        if device == "cpu" or notes:
            used, recorder = "cpu", Recorder(model)
            try:
                run_for_real(model, args, kwargs, recorder)
            except Exception as error:
                raise ModelError(message(error)) from error
    return Ledger(
        model=name or type(model).__name__,
        inputs=[describe(value) for value in inputs],
        params=sum(p.numel() for p in model.parameters()),
        entries=recorder.ledger_entries(),
        device=used,
        notes=[*notes, *troubles],
        modules=recorder.modules,
        input_shapes=[list(value.shape) if isinstance(value, Tensor) else None for value in inputs],
    )


def run_on_meta(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None, recorder: AbstractContextManager[Any]
) -> None:
    """Run the model with meta tensors in place of its own, which stay untouched."""
    # What is given is known as far as paths depend on such: integers, and a single number like a time step.
    args, kwargs = tree_map_only(Tensor, lambda t: on_meta(t, not _inexact(t) or t.numel() == 1), (args, kwargs or {}))
    # The recorder is inside: it sees each operation once, and nothing of what is done to know its value.
    with instead(model, _on_meta), knowing(), recorder:
        model(*args, **kwargs)


def run_for_real(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None, recorder: AbstractContextManager[Any]
) -> None:
    """Run the model on its own tensors. Whatever it writes to, buffers or inputs, is a copy."""
    args, kwargs = tree_map_only(Tensor, torch.clone, (args, kwargs or {}))
    with instead(model, _copied), recorder:
        model(*args, **kwargs)


def _inexact(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _on_meta(tensor: Tensor) -> Tensor:
    """The like of a model's own tensor. Weights are not worth knowing, tables and masks are."""
    weights = isinstance(tensor, nn.Parameter)
    moved = on_meta(tensor, not _inexact(tensor) or tensor.numel() <= (1 if weights else 2**14))
    # requires_grad decides whether torch folds a batched linear into one product
    if weights:
        return nn.Parameter(moved, tensor.requires_grad)
    return moved.requires_grad_(tensor.requires_grad) if tensor.requires_grad else moved


def _copied(tensor: Tensor) -> Tensor:
    return tensor if isinstance(tensor, nn.Parameter) else tensor.clone()


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
    before = [(type(module), dict(vars(module)), _contents(vars(module))) for module in modules]
    try:
        for module in modules:
            holders: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for held in holders:
                for name, tensor in held.items():
                    if tensor is not None:
                        held[name] = changed(tensor)
            own = vars(module)
            for name, value in own.items():
                if isinstance(value, Tensor) or _holds_tensors(name, value):
                    own[name] = tree_map_only(Tensor, changed, value)
        yield
    finally:
        for module, (kind, attributes, contents) in zip(modules, before, strict=True):
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
            for held, content in contents:
                held.clear()
                held.extend(content) if isinstance(held, list) else held.update(content)


def _contents(attributes: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Lists, dictionaries and sets that a forward may add to, each with a copy of what is in it."""
    return [(value, value.copy()) for value in attributes.values() if isinstance(value, (list, dict, set))]


def _holds_tensors(name: str, value: Any) -> bool:
    if name in ("_parameters", "_buffers") or not isinstance(value, (list, tuple, dict)):
        return False
    return any(isinstance(v, Tensor) for v in (value.values() if isinstance(value, dict) else value))


@contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and each one's own flag back afterwards."""
    training = [module for module in model.modules() if module.training]
    if training:
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
