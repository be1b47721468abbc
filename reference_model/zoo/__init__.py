"""Models by name, from installed libraries, with random weights: which there are, how one is made, what it takes.

torchvision:resnet50                         any of torchvision's, also detection, video and optical flow
timm:vit_tiny_patch16_224                    any of timm's
transformers:gpt2                            transformers', by class, type, name or config.json
diffusers:UNet2DConditionModel               a network of diffusers' pipelines, by class or config.json
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from flopledger.reference_model.names import SpecError, said
from flopledger.reference_model.zoo import diffusers, timm, torchvision, transformers
from flopledger.reference_model.zoo.defaults import Defaults
from flopledger.reference_model.zoo.offline import nothing_downloaded


class Zoo(Protocol):
    """What the file of a zoo has."""

    def names(self) -> list[str]:
        """The names of its models, without importing the library; [] where it is not installed."""

    def factory(self, name: str, options: dict[str, Any]) -> Callable[[], Any]:
        """What makes the model. Raises SpecError, with the nearest names."""

    def default_inputs(self, name: str, options: dict[str, Any]) -> Defaults | None:
        """The inputs that the library's own metadata name; None, or a SpecError, where they name none."""


ZOOS: dict[str, Zoo] = {"torchvision": torchvision, "timm": timm, "transformers": transformers, "diffusers": diffusers}
# These libraries build all of their models on the meta device themselves, to load them: what fails there fails with
# real tensors, too, but may take all memory before it does.
_ON_META = ("transformers", "diffusers")


def names(source: str) -> list[str]:
    """The models of a zoo, for whoever completes or corrects a name; nothing is imported. [] if it is not installed."""
    return ZOOS[source].names()


def factory(source: str, name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """A function without arguments that makes the model, with random weights; nothing is downloaded.

    Raises:
        SpecError: the library is not installed, or has no such model; or `options` ask for weights.
    """
    zoo = _of(source)
    with _explained(source, name):
        make = zoo.factory(name, options)

    def offline() -> Any:
        with nothing_downloaded():
            if source not in _ON_META:
                return make()
            with _explained(source, name):
                return make()

    return offline


def default_inputs(
    source: str, name: str, options: dict[str, Any], made: Callable[[], Any] | None = None
) -> Defaults | None:
    """The inputs that the model's own metadata name, and what says so; None where nothing names one.

    Where only the model itself tells, it is asked for: `made` gives it, if that is cheaper than to make it, and None
    where it cannot be made.

    Raises:
        SpecError: as `factory`, or the model cannot be made with these options.
    """
    zoo = _of(source)
    with nothing_downloaded(), _explained(source, name):
        more = (made,) if zoo is torchvision else ()
        return zoo.default_inputs(name, options, *more)


@contextmanager
def _explained(source: str, name: str) -> Iterator[None]:
    """Whatever a library raises meanwhile is a SpecError of one line."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"model '{source}:{name}' could not be built: {said(error)}") from error


def needs_values(source: str, name: str) -> bool:
    """Whether a model is known to do what values say, so that it cannot be had on the meta device."""
    return ZOOS.get(source) is torchvision and torchvision.needs_values(name)


def file(source: str, name: str) -> str | None:
    """The configuration file that a name of a zoo is; None where it is a name, or no zoo's."""
    return name if source in ZOOS and name.endswith(".json") else None


def _of(source: str) -> Zoo:
    if importlib.util.find_spec(source) is None:
        raise SpecError(f"{source} is not installed; pip install 'flopledger[zoo]' brings it")
    return ZOOS[source]
