"""Run a model once and have it traced: in eval mode, on the meta device where that can be, and left as it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.quantities.registry import load_others
from flopledger.reference_model.tracing import Recorder


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
    troubles = load_others()
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
        notes=[*notes, *troubles],
        modules=recorder.hooked.modules(),
        input_shapes=[list(value.shape) if isinstance(value, Tensor) else None for value in inputs],
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
