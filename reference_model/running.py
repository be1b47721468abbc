"""Run a model once and have it traced: in eval mode, on the meta device where that can be, and left as it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flopledger.reference_model import inputs
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

    On the meta device (the default) nothing is computed. A model that cannot run there, because
    its path depends on data, is run on its own tensors and the ledger's notes say so; `device`
    "meta" or "cpu" (the tensors as they are) asks for one of the two. The model comes back as it was.

    Raises:
        ModelError: the model rejects the inputs on both.
    """
    kwargs = kwargs or {}
    described = inputs.described(args, kwargs)
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
                # Whatever the model itself writes to, buffers or inputs, is a copy.
                buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
                args, kwargs = inputs.mapped(Tensor.clone, (args, kwargs))
                with recorder:
                    torch.func.functional_call(model, buffers, args, kwargs)
            except Exception as error:
                raise ModelError(message(error)) from error
    return Ledger(
        model=label,
        inputs=described,
        params=params,
        entries=recorder.ledger_entries(),
        device=used,
        notes=[*notes, *troubles],
        modules=recorder.modules,
        input_shapes=[list(tensor.shape) for tensor in inputs.tensors(args, kwargs)],
    )


def run_on_meta(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], recorder: Recorder) -> None:
    """Run the model with meta tensors in place of its own, which stay untouched."""
    args, kwargs = inputs.mapped(lambda tensor: tensor.to("meta"), (args, kwargs))
    tensors: dict[str, Tensor] = {
        # requires_grad decides whether torch folds a batched linear into one product
        name: tensor.to("meta").requires_grad_(tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not tensor.is_meta
    }
    # The device context is outermost: tensors that a forward makes for itself are meta as well.
    with torch.device("meta"), recorder:
        if tensors:
            torch.func.functional_call(model, tensors, args, kwargs)
        else:
            model(*args, **kwargs)


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
