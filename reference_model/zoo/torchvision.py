"""torchvision's models, at the size that the transforms of their weights crop to."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.zoo.defaults import Defaults, shape
from flopledger.reference_model.zoo.offline import refuse
from flopledger.reference_model.zoo.source_text import found_in

_REGISTERED = re.compile(r"^@register_model\((?:name=\"(\w+)\")?\)$[\s\S]*?^def (\w+)\(", re.MULTILINE)
_FRAMES = re.compile(r"clip_len=(\d+)")


def names() -> list[str]:
    """What `torchvision.models.list_models()` says."""
    return sorted(_registered("models"))


@functools.cache
def _registered(folder: str) -> set[str]:
    return {named or made for named, made in found_in("torchvision", folder, _REGISTERED)}


def factory(name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """`get_model(name, **options)` without weights, of the backbone neither."""
    try:
        from torchvision import models
    except Exception as error:  # built for another torch
        raise SpecError(f"torchvision cannot be imported here ({error}); pip install torchvision") from error
    known = models.list_models()
    if name not in known:
        raise SpecError(f"torchvision has no model {name!r}{nearest(name, known)}")
    refuse(options, "weights", "weights_backbone")
    fixed: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        fixed["weights_backbone"] = None
    if name.removeprefix("quantized_") in ("inception_v3", "googlenet"):
        options = {"init_weights": False, **options}  # half a minute, for weights that nothing depends on
    return functools.partial(models.get_model, name, **{**options, **fixed})


def needs_values(name: str) -> bool:
    """Whether it is a detector: how much its second half has to do is what its first half finds."""
    return name in _registered("models/detection")


def default_inputs(name: str, options: dict[str, Any], made: Callable[[], Any] | None = None) -> Defaults:
    """One image, clip, pair or list of images of the size for which the model, or else its weights, were made.

    Where the model itself has a size it is that: a transformer's `image_size` (`image_size` and `input_size` in
    `options` set it), and what a detector scales every image to, `min_size`. Else it is what the transforms of its
    weights crop to, or resize to where they do not crop; of optical flow, which has neither, the weights' `min_size`.
    A clip has as many frames as the weights were evaluated with.
    """
    import torch
    from torchvision import models

    make = factory(name, options)
    weights = models.get_model_weights(name).DEFAULT
    try:
        with torch.device("meta"):
            model = made() if made else make()
    except Exception:  # a constructor that reads values; what else is wrong is said when the model is built
        model = None
    called = f"{type(weights).__name__}.DEFAULT"
    if (transform := getattr(model, "transform", None)) is not None:  # a detector's: torchvision's own class for it
        side = transform.fixed_size[::-1] if transform.fixed_size else (transform.min_size[-1],) * 2
        return Defaults((f"[{shape(3, side)}]",), "a list of one image of the size that the detector scales images to")
    preset = weights.transforms()
    if asked := [key for key in ("image_size", "input_size") if options.get(key) is not None]:
        return Defaults((shape(1, 3, _square(options[asked[0]])),), f"{asked[0]} as asked for")
    if (own := getattr(model, "image_size", None)) is not None:
        return Defaults((shape(1, 3, _square(own)),), "the model's own image_size")
    if (crop := getattr(preset, "crop_size", None)) is None:
        if (resize := getattr(preset, "resize_size", None)) is not None:
            return Defaults((shape(1, 3, _square(resize)),), f"the size that the transforms of {called} resize to")
        smallest = shape(1, 3, weights.meta["min_size"])
        return Defaults((smallest, smallest), f"two images of the smallest size that {called} takes")
    if frames := _FRAMES.search(weights.meta["_docs"]):
        clip = shape(1, 3, int(frames[1]), _square(crop))
        return Defaults((clip,), f"the transforms of {called}, and the frames that it was evaluated with")
    return Defaults((shape(1, 3, _square(crop)),), f"the transforms of {called}")


def _square(size: Any) -> tuple[int, int]:
    """224, [224] and (224, 224) are the same size."""
    both = (size,) if isinstance(size, int) else tuple(size)
    return both if len(both) == 2 else (both[0], both[0])
