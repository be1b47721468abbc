"""diffusers' networks, the parts of its pipelines, by class or by the config.json of one.

diffusers:UNet2DConditionModel                           a class, with its own defaults
diffusers:UNet2DConditionModel?cross_attention_dim=768   with arguments of its constructor
diffusers:path/to/unet/config.json                       the network that a file describes
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.zoo.defaults import Defaults, shape, unsaid
from flopledger.reference_model.zoo.source_text import found_in

_NETWORK = re.compile(r"^class (\w+)\((?:\s*\w+,)*\s*ModelMixin\b", re.MULTILINE)
_LONG = re.compile("1D|3D|Allegro|Audio|Motion|Temporal|Video")  # sounds and clips
_WORDS = 77  # the tokens of CLIP's text encoder, whose output a network takes unless its configuration says otherwise
_LATENT = 64  # of an image of 512 by 512: what StableDiffusionPipeline's networks were made for


@functools.cache
def names() -> list[str]:
    """The classes of networks that the package offers."""
    found = importlib.util.find_spec("diffusers")
    if found is None or found.origin is None:
        return []
    offered = re.findall(r"\"(\w+)\"", Path(found.origin).read_text("utf-8"))
    return sorted({name for (name,) in found_in("diffusers", "models", _NETWORK)}.intersection(offered))


def factory(name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """The class's constructor with these arguments, over those of a file."""
    made, arguments = _described(name, options)
    return functools.partial(made, **arguments)


def _described(name: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class and the arguments of its constructor. Raises SpecError."""
    try:
        import diffusers
    except Exception as error:  # built for another torch
        raise SpecError(f"diffusers cannot be imported here ({error}); pip install diffusers") from error
    given: dict[str, Any] = {}
    called = name
    if name.endswith(".json"):
        try:
            given = json.loads(Path(name).read_text("utf-8"))
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise SpecError(f"cannot read a configuration from {name!r}: {said}") from error
        called = str(given.get("_class_name")) if isinstance(given, dict) else ""
    if called not in names() or (made := getattr(diffusers, called, None)) is None:
        if "/" in name and called == name:
            raise SpecError(
                f"the sizes of {name!r} are not known here, and nothing is downloaded; give the config.json of its "
                "network, like diffusers:unet/config.json, or a class, like diffusers:UNet2DConditionModel"
            )
        raise SpecError(f"diffusers has no network {called!r}{nearest(called, names())}")
    known = [key for key in inspect.signature(made.__init__).parameters if key not in ("self", "args", "kwargs")]
    for key in options:
        if key not in known:
            raise SpecError(f"{called} has no argument {key!r}{nearest(key, known)}")
    return made, {**{key: value for key, value in given.items() if key in known}, **options}


def default_inputs(name: str, options: dict[str, Any]) -> Defaults:
    """What the network takes, by the arguments that its forward needs and those of its constructor.

    An image, or a latent one, has the configuration's `sample_size`; of a network of Stable Diffusion's kind, which
    has none, 64 by 64. The text that it heeds is 77 tokens, unless the configuration has another length.
    """
    made, arguments = _described(name, options)
    usual = {key: found.default for key, found in inspect.signature(made.__init__).parameters.items()}
    config = _Config(
        {**{key: value for key, value in usual.items() if value is not inspect.Parameter.empty}, **arguments}
    )
    taken = inspect.signature(made.forward).parameters
    needed = [key for key, found in taken.items() if key != "self" and found.default is found.empty
              and found.kind not in (found.VAR_KEYWORD, found.VAR_POSITIONAL)]  # fmt: skip
    heeded = [key for key, why in _HEEDED.items() if key in taken and why(config)]
    asked = dict.fromkeys([*needed, *heeded])
    found = {key: _ARGUMENTS[key](config) if key in _ARGUMENTS else None for key in asked}
    # Of those no configuration says how long they are, and where that goes among the dimensions.
    if not found or None in found.values() or _LONG.search(made.__name__):
        raise unsaid(f"diffusers:{name}", [*asked])
    texts = tuple(f"{key}={text}" for key, text in found.items())
    return Defaults(texts, f"{made.__name__}'s {', '.join(config.said)}")


class _Config(dict[str, Any]):
    """A configuration, and what of it was used."""

    def __init__(self, values: dict[str, Any]):
        super().__init__(values)
        self.said: list[str] = []

    def first(self, *names: str) -> Any:
        """The first of these that there is; the first of a list of equal ones."""
        for name in names:
            if (value := self.get(name)) is not None:
                self.said.append(f"{name} {value}")
                return max(value) if isinstance(value, (list, tuple)) else value
        return None


def _picture(config: _Config) -> str | None:
    """`1x4x64x64`."""
    channels = config.first("in_channels")
    if channels is None:
        return None
    if (
        (size := config.get("sample_size")) is None
        and "cross_attention_dim" in config
        and "block_out_channels" in config
    ):
        config.said.append(f"latents of {_LATENT} by {_LATENT}")
        return shape(1, channels, _LATENT, _LATENT)
    if size is None:
        return None
    config.said.append(f"sample_size {size}")
    return shape(1, channels, [size, size] if isinstance(size, int) else size)


def _text(config: _Config) -> str | None:
    width = config.first("encoder_hid_dim", "joint_attention_dim", "caption_channels", "text_embed_dim", "text_dim",
                         "cross_attention_dim")  # fmt: skip
    words = config.first("max_text_seq_length", "text_len") or _WORDS
    config.said.append(f"{words} tokens of text")
    return None if width is None else shape(1, words, width)


def _beside(config: _Config) -> str | None:
    """What SDXL is told beside the text, an embedding of it and six sizes; PixArt, the size of the image."""
    if "addition_embed_type" not in config:
        return "{resolution: 1x2, aspect_ratio: 1x1}"
    whole, each = config.first("projection_class_embeddings_input_dim"), config.first("addition_time_embed_dim")
    return None if whole is None or each is None else f"{{text_embeds: 1x{whole - 6 * each}, time_ids: 1x6}}"


def _pooled(config: _Config) -> str | None:
    width = config.first("pooled_projection_dim")
    return None if width is None else shape(1, width)


def _is_told_sizes(config: _Config) -> bool:
    """PixArt-α of 1024 pixels is, unless its configuration says otherwise."""
    told = config.get("use_additional_conditions", False)
    return bool(told) or (told is None and config.get("sample_size") == 128)


_ARGUMENTS: dict[str, Callable[[_Config], str | None]] = {
    "sample": _picture,
    "hidden_states": _picture,
    "timestep": lambda config: "1:int64=1",
    "encoder_hidden_states": _text,
    "pooled_projections": _pooled,
    "class_labels": lambda config: "1:int64=1",
    "encoder_attention_mask": lambda config: f"1x{_WORDS}:int64=1",
    "added_cond_kwargs": _beside,
}
# What a forward calls optional, and fails without.
_HEEDED: dict[str, Callable[[_Config], bool]] = {
    "encoder_hidden_states": lambda config: any(
        config.get(key) for key in ("joint_attention_dim", "caption_channels", "cross_attention_dim")
    ),
    "timestep": lambda config: True,
    "encoder_attention_mask": lambda config: "groups" in config and "encoder_hid_dim" in config,  # Kandinsky 3
    "pooled_projections": lambda config: bool(config.get("pooled_projection_dim")),
    "class_labels": lambda config: bool(config.get("num_embeds_ada_norm")) and "caption_channels" not in config,
    "added_cond_kwargs": lambda config: config.get("addition_embed_type") == "text_time" or _is_told_sizes(config),
}
