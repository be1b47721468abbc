"""The next token of a language model: one token in, and the keys and values of those before it in its cache."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from flopledger.reference_model.names import SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST = 2**24  # tokens


def checked(past: Any) -> int:
    """How many tokens are in the cache. Raises SpecError."""
    if type(past) is not int or not 0 < past <= _MOST:
        raise SpecError(f"past={past!r} is no number of tokens in a cache, from 1 to {_MOST}")
    return past


def decoding(make: Callable[[], PreTrainedModel], past: int) -> PreTrainedModel:
    """The model that `make` makes, whose every call finds `past` tokens in its cache.

    What the cache holds (all of them, or a window; heads, or what is kept of them) is what a forward of `past` tokens
    leaves there on meta, so it has the sizes that the model gives it; its numbers are zeros.

    Raises:
        SpecError: the model keeps no such cache.
    """
    import torch

    from flopledger.reference_model.known import knowing

    with torch.no_grad():
        with knowing():
            twin = make().eval()
            try:
                output = twin(input_ids=torch.zeros(1, past, dtype=torch.int64), use_cache=True)
                cache = output.past_key_values
                layers = [vars(layer) for layer in cache.layers]
            except (TypeError, ValueError, AttributeError, RuntimeError, LookupError) as error:
                raise SpecError(
                    f"{type(twin).__name__} keeps no keys and values to go on from; past={past} is for a model that "
                    "goes on with a text, like transformers:gpt2?task=CausalLM"
                ) from error
        model = make()
        for layer in layers:
            for name, value in layer.items():
                if isinstance(value, torch.Tensor):
                    layer[name] = torch.zeros(value.shape, dtype=value.dtype)
                elif isinstance(value, torch.device):
                    layer[name] = next(model.parameters()).device
    model.forward = Decoding(model.forward, cache)
    return model


class Decoding:
    """A model's `forward` with a cache of its own for each call; an object, so that a copied model has its own."""

    def __init__(self, forward: Callable[..., Any], cache: Any):
        self.genuine, self.cache = forward, cache
        update_wrapper(self, forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from torch import Tensor

        batch = next(value.shape[0] for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers if batch > 1 else ():
            for name, value in vars(layer).items():
                if isinstance(value, Tensor) and value.dim() > 1:
                    setattr(layer, name, value.expand(batch, *value.shape[1:]))
        return self.genuine(*args, **{**kwargs, "past_key_values": cache, "use_cache": True})
