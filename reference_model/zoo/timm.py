"""timm's models, at the size that their pretrained configuration names."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.zoo.defaults import Defaults, shape
from flopledger.reference_model.zoo.offline import refuse
from flopledger.reference_model.zoo.source_text import found_in

_REGISTERED = re.compile(r"^@register_model\s*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
_LOADS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


@functools.cache
def names() -> list[str]:
    """What `timm.list_models()` says."""
    return sorted({made for (made,) in found_in("timm", "models", _REGISTERED)})


def factory(name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """`create_model(name, **options)` without weights; `name` may have a tag, as in `resnet50.a1_in1k`.

    `deployed` in `options` is timm's `reparameterize_model`: branches that only training needs become one convolution.
    """
    try:
        import timm
    except Exception as error:  # built for another torch
        raise SpecError(f"timm cannot be imported here ({error}); pip install timm") from error
    architecture, dot, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise SpecError(f"timm has no model {architecture!r}{nearest(architecture, timm.list_models())}")
    if dot and name not in (known := timm.list_pretrained(f"{architecture}.*")):
        raise SpecError(f"timm's {architecture} has no tag {tag!r}{nearest(name, known)}")
    refuse(options, *_LOADS)
    arguments = {key: value for key, value in options.items() if key != "deployed"}
    make = functools.partial(timm.create_model, name, pretrained=False, **arguments)
    return functools.partial(_deployed, make) if options.get("deployed") else make


def _deployed(make: Callable[[], Any]) -> Any:
    from timm.utils.model import reparameterize_model

    return reparameterize_model(make().eval())


def default_inputs(name: str, options: dict[str, Any]) -> Defaults | None:
    """One image of the configuration's `input_size`, or of what `img_size` and `in_chans` in `options` ask for."""
    factory(name, options)
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name, allow_unregistered=False)
    if config is None:
        return None
    channels, *sides = config.input_size
    why = f"the input_size of timm's configuration {config.architecture}" + (f".{config.tag}" if config.tag else "")
    if asked := {key: options[key] for key in ("img_size", "in_chans") if options.get(key) is not None}:
        side = asked.get("img_size", sides)
        sides = [side, side] if isinstance(side, int) else list(side)
        channels = asked.get("in_chans", channels)
        why += f", with {' and '.join(asked)} as asked for"
    return Defaults((shape(1, channels, sides),), why)
