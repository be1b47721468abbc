"""Run a model once and have it traced: in eval mode, on the meta device where that can be, and left as it was."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from flopledger.reference_model.backward import leaf_tensors
from flopledger.reference_model.ledger import Ledger, Mode
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
    mode: Mode = "eval",
) -> Ledger:
    """Run `model(*inputs)` once and write down every operation.

    `mode` is how: "eval" (every module in eval mode, no gradients), "train" (every module in train mode, with what
    is kept for a backward), or "step" (the same, and the backward of the `loss` that the model returns, or else of
    the sum of its outputs). Parameters that need no gradient have none, nor have inputs unless they ask for it.
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
    recorder = Recorder(model, mode == "step")
    with in_mode(model, mode), torch.set_grad_enabled(mode != "eval"), warnings.catch_warnings():
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
            used, recorder = "cpu", Recorder(model, mode == "step")
            try:
                # Whatever the model itself writes to, buffers or inputs, is a copy.
                copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
                if mode == "step":
                    copies |= leaf_tensors(model)
                arguments = tree_map(_copy, inputs)
                with recorder:
                    _call(model, copies, arguments, recorder)
            except Exception as error:
                raise ModelError(message(error)) from error
    return Ledger(
        model=label,
        inputs=described,
        params=params,
        entries=recorder.ledger_entries(),
        device=used,
        mode=mode,
        notes=[*notes, *troubles, *recorder.notes],
        modules=recorder.hooked.modules(),
        input_shapes=[list(value.shape) if isinstance(value, Tensor) else None for value in inputs],
    )


def run_on_meta(model: nn.Module, inputs: tuple[Any, ...], recorder: Recorder) -> None:
    """Run the model with meta tensors in place of its own, which stay untouched."""
    on_meta = tree_map(lambda v: _on_meta(v) if isinstance(v, Tensor) else v, inputs)
    tensors: dict[str, Tensor] = {
        name: _on_meta(tensor)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if recorder.graph or not tensor.is_meta  # a backward leaves gradients on its leaves
    }
    # The device context is outermost: tensors that a forward makes for itself are meta as well.
    with torch.device("meta"), recorder:
        _call(model, tensors, on_meta, recorder)


class _Step(nn.Module):
    """A model with its backward, in which a checkpoint still needs the model's tensors."""

    def __init__(self, model: nn.Module, recorder: Recorder):
        super().__init__()
        self.model, self.recorder = model, recorder

    def forward(self, *inputs: Any) -> None:
        self.recorder.finish(self.model(*inputs))


def _call(model: nn.Module, tensors: dict[str, Tensor], inputs: tuple[Any, ...], recorder: Recorder) -> None:
    """Run a model with these tensors in place of its own."""
    if recorder.graph:
        tensors = {f"model.{name}": tensor for name, tensor in tensors.items()}
        model = _Step(model, recorder)
    if tensors:
        torch.func.functional_call(model, tensors, inputs)
    else:
        model(*inputs)


def _on_meta(tensor: Tensor) -> Tensor:
    """On meta, and a leaf that needs a gradient if that does; by this torch also folds a batched linear, or not."""
    return tensor.detach().to("meta").requires_grad_(tensor.requires_grad)


def _copy(value: Any) -> Any:
    """What is no tensor is itself."""
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value


@contextmanager
def in_mode(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Every module in eval or train mode, and each one's own flag back afterwards."""
    before = {module: module.training for module in model.modules()}
    if any(training != (mode != "eval") for training in before.values()):
        model.train(mode != "eval")
    try:
        yield
    finally:
        for module, training in before.items():
            if module.training != training:
                module.training = training


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
