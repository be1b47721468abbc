"""What a model of transformers is called with, by the arguments of its forward and the sizes in its configuration.

Text is `1x128` tokens, drawn from the vocabulary, without an attention mask (no padding); fewer where the model has
fewer positions. An image has the configuration's `image_size`, else the size of the model's image processor; sound is
as long as the model's feature extractor makes it, else a second. An encoder and a decoder have the same length of text.
What is optional in a forward is left out, unless the model compares it with another input (CLIP: text and image).
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flopledger.reference_model.zoo.defaults import Defaults, shape, unsaid

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_TOKENS = 128
_SECOND = 16000  # samples of a second, as every speech model of the library's is given
_MAIN = ("input_ids", "pixel_values", "input_features", "input_values", "past_values", "inputs")
_PLACEHOLDERS = ("image", "video", "audio", "img", "vision", "mask")


class Unknown(LookupError):
    """Nothing in the configuration says how large an argument is."""


def inputs_of(
    name: str, model: type[PreTrainedModel], config: PreTrainedConfig, dtype: str = "float32", most: int = _TOKENS
) -> Defaults:
    """The inputs of a model whose weights are of this dtype, with as many tokens as `most`, and why they are so.

    Raises:
        SpecError: the configuration does not say how large one of them is.
    """
    signature = inspect.signature(model.forward).parameters
    names = [name for name, found in signature.items() if found.kind not in (found.VAR_KEYWORD, found.VAR_POSITIONAL)]
    required = [name for name in names[1:] if signature[name].default is inspect.Parameter.empty]
    asked = dict.fromkeys([*_mains(model, config, names), *required, *_besides(config, names)])
    about = _About(model, config, dtype, most)
    try:
        texts = [f"{name}={_ARGUMENTS[name](about)}" for name in names if name in asked]
    except (Unknown, KeyError) as error:
        raise unsaid(name, [*asked]) from error
    senses = {"image": "pixel_values", "sound": "input_features"}
    if "input_ids" in asked and (
        left := [said for said, name in senses.items() if name in names and name not in asked]
    ):
        about.reasons.append(f"no {' and no '.join(left)}")
    if not texts:
        raise unsaid(name, names[1:2])
    return Defaults(tuple(texts), _why(type(config).__name__, about.reasons))


def _why(configuration: str, reasons: Iterable[str]) -> str:
    return f"{configuration}: {', '.join(dict.fromkeys(reasons))}"


def _mains(model: type[PreTrainedModel], config: PreTrainedConfig, names: list[str]) -> list[str]:
    """What the model is for: the input that it names; text and image, or text and sound, where it compares both."""
    named = model.main_input_name
    found = [named] if isinstance(named, str) else list(named or [])
    found = [name for name in found if name in names] or [name for name in _MAIN if name in names][:1]
    parts = {name.removesuffix("_config") for name in config.sub_configs}
    compares = {"text": "input_ids", "vision": "pixel_values", "image": "pixel_values", "audio": "input_features"}
    both = [compares[part] for part in ("text", "vision", "image", "audio") if part in parts]
    if len(both) > 1 and not _generates(model, config) and all(name in names for name in both):
        return both
    return found


def _generates(model: type[PreTrainedModel], config: PreTrainedConfig) -> bool:
    """Whether it goes on with a text, in which an image stands in the place of tokens: text alone is an input, too."""
    return model.can_generate() or _continues(config) or hasattr(model, "get_placeholder_mask")


def _continues(config: PreTrainedConfig) -> bool:
    """Whether some token of its text marks the place of an image."""
    parts = {**config.to_dict(), **config.get_text_config().to_dict()}
    return any(key.endswith(("token_id", "token_index")) and key.startswith(_PLACEHOLDERS) for key in parts)


def _besides(config: PreTrainedConfig, names: list[str]) -> list[str]:
    """What comes with the main input: the decoder's tokens; where the words are on the page, and its image."""
    decoder = ["decoder_input_ids"] if config.is_encoder_decoder else []
    page = ["bbox", "pixel_values"] if "bbox" in names else []
    seen = ["pixel_values"] if "input_ids" in names and hasattr(config, "image_size") and not _continues(config) else []
    return [name for name in [*decoder, *page, *seen] if name in names]


class _About:
    """A configuration, asked for sizes, and what it was asked."""

    def __init__(self, model: type[PreTrainedModel], config: PreTrainedConfig, dtype: str, most: int):
        self.model, self.config, self.dtype, self.reasons = model, config, dtype, list[str]()
        self.most = most  # tokens

    def maybe(self, *names: str) -> Any:
        """The first of these attributes that the configuration has, or one of its parts; None where none has."""
        parts = [self.config, *(getattr(self.config, name, None) for name in self.config.sub_configs)]
        return next((value for part in parts if (value := _any(part, *names)) is not None), None)

    def first(self, *names: str) -> Any:
        """The same, where one must be there. Raises Unknown."""
        if (value := self.maybe(*names)) is None:
            raise Unknown(names[0])
        return value

    def floating(self, *sizes: Any) -> str:
        text = shape(1, *sizes)
        return text if self.dtype == "float32" else f"{text}:{self.dtype}"

    def tokens(self, decoder: bool = False) -> str:
        """`1x128:int64[0:30522]`, in the range without tokens that stand for images."""
        try:
            part = self.config.get_text_config(decoder=True) if decoder else self.config.get_text_config()
        except ValueError as error:  # a configuration with several of them
            raise Unknown("vocab_size") from error
        vocabulary = int(_any(part, "vocab_size", "text_vocab_size") or self.first("vocab_size"))
        longest = [n for name in _POSITIONS if isinstance(n := getattr(part, name, None), int) and n > 0]
        length = min([self.most, *longest])
        if longest and length == min(longest) < self.most:
            self.reasons.append(f"{length} tokens, its positions, of a vocabulary of {vocabulary}, no mask")
        else:
            self.reasons.append(f"{length} token{'s' * (length > 1)} of a vocabulary of {vocabulary}, no mask")
        marks = {value for key, value in {**self.config.to_dict(), **part.to_dict()}.items()
                 if key.endswith(("token_id", "token_index")) and key.startswith(_PLACEHOLDERS)
                 and isinstance(value, int) and 0 <= value < vocabulary}  # fmt: skip
        ends = sorted({-1, vocabulary, *marks})
        low, high = max(itertools.pairwise(ends), key=lambda ends: ends[1] - ends[0])
        return f"1x{length}:int64[{low + 1}:{high}]"

    def image(self) -> tuple[int, int, int]:
        """Channels, height and width. Raises Unknown."""
        channels = _any(self._seen(), "num_channels", "in_channels", "in_chans", "image_channels") or 3
        for name in ("image_size", "img_size", "crop_size", "input_size"):
            if (size := _any(self._seen(), name)) is not None:
                self.reasons.append(f"the {name} of an image")
                return (channels, *_square(size))
        processor = _processor(self.config.model_type)
        for name in ("crop_size", "size"):
            if (size := getattr(processor, name, None)) is not None and (found := _sides(size)) is not None:
                self.reasons.append(f"the {name} of {processor.__name__.removesuffix('Pil')}")
                return (channels, *found)
        raise Unknown("image_size")

    def _seen(self) -> Any:
        return getattr(self.config, "vision_config", None) or getattr(self.config, "image_config", None) or self.config

    def pixels(self) -> str:
        """An image, or a clip where the configuration says how many frames one has."""
        channels, *sides = self.image()
        frames = _any(self._seen(), "num_frames", "frames_per_clip")
        if frames is not None and self.config.model_type in _CLIPS:
            self.reasons.append(f"{frames} frames")
            return self.floating(frames, channels, *sides)
        return self.floating(*([2] if _compares_pairs(self.config) else []), channels, *sides)

    def patches(self) -> str:
        """The patches of one image as rows, for a tower that takes images of any size beside a grid."""
        seen = {name: self.first(name) for name in ("in_channels", "temporal_patch_size", "patch_size")}
        rows = shape(self.side() ** 2, seen["in_channels"] * seen["temporal_patch_size"] * seen["patch_size"] ** 2)
        return rows if self.dtype == "float32" else f"{rows}:{self.dtype}"

    def grid(self) -> str:
        """How many patches one image has over time, from top to bottom, and from left to right."""
        self.first("temporal_patch_size")
        if (side := self.side()) % self.first("spatial_merge_size"):
            raise Unknown("image_size")
        return f"1x3:int64=[1,{side},{side}]"

    def side(self) -> int:
        """The patches along one side of a square image. Raises Unknown."""
        if (positions := self.maybe("num_position_embeddings")) is not None:
            self.reasons.append(f"an image of {positions} patches, its positions")
            return math.isqrt(positions)
        size, patch = self.first("image_size"), self.first("patch_size")
        self.reasons.append("the image_size of an image")
        return int(size) // int(patch)

    def video(self) -> str:
        channels, *sides = self.image()
        frames = self.first("frames_per_clip", "num_frames")
        self.reasons.append(f"{frames} frames")
        return self.floating(frames, channels, *sides)

    def features(self) -> str:
        """The spectrogram of some sound.

        Whisper's kind has mel bins by frames, always of one length; CLAP's is an image that fills its square; most
        are frames by features, of any length.
        """
        wide = self.maybe("feature_projection_input_dim", "input_feat_per_channel")
        bins = wide or self.first("num_mel_bins", "n_mels")
        if (square := self.maybe("spec_size")) is not None:
            frames = square * (square // bins)
            self.reasons.append(f"{frames} frames of {bins} mel bins, which fill spec_size")
            return self.floating(1, frames, bins)
        if wide is None and (positions := self.maybe("max_source_positions")) is not None:
            self.reasons.append(f"{bins} mel bins by {2 * positions} frames, twice max_source_positions")
            return self.floating(bins, 2 * positions)
        self.reasons.append(f"{_TOKENS} frames of {bins} features")
        return self.floating(_TOKENS, bins)

    def waveform(self) -> str:
        """A second of sound; the spectrogram of an audio spectrogram transformer."""
        if (longest := getattr(self.config, "max_length", None)) and hasattr(self.config, "num_mel_bins"):
            self.reasons.append(f"{longest} frames of {self.config.num_mel_bins} mel bins")
            return self.floating(longest, self.config.num_mel_bins)
        rate = int(_any(self.config, "sampling_rate", "sample_rate") or _SECOND)
        self.reasons.append(f"a second of sound at {rate} Hz")
        channels = _any(self.config, "audio_channels", "num_channels", "channels")
        apart = _is_codec(self.config) or _dimensions(self.model, "input_values") == 3
        return self.floating(channels or 1, rate) if apart else self.floating(rate)

    def past(self) -> str:
        """A window of a time series: its length by the number of its channels."""
        length = int(self.first("context_length"))
        self.reasons.append(f"context_length {length}")
        return self.floating(length, int(self.first("num_input_channels")))

    def boxes(self) -> str:
        """Where each word is on its page: at its corner, since a box must not end before it begins."""
        tokens = self.tokens()
        length = tokens.partition(":")[0].removeprefix("1x")
        whole = self.config.model_type != "bros"  # whose boxes are fractions of the page
        return f"1x{length}x4:int64=0" if whole else self.floating(int(length), 4)


_POSITIONS = ("max_position_embeddings", "max_target_positions", "n_positions", "max_seq_len")
_CLIPS = ("videomae", "timesformer", "vivit", "xclip")
_ARGUMENTS: dict[str, Callable[[_About], str]] = {
    "input_ids": _About.tokens,
    "decoder_input_ids": lambda about: about.tokens(decoder=True),
    "pixel_values": _About.pixels,
    "pixel_values_videos": _About.video,
    "hidden_states": _About.patches,
    "grid_thw": _About.grid,
    "input_features": _About.features,
    "input_values": _About.waveform,
    "past_values": _About.past,
    "bbox": _About.boxes,
}


def _any(part: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(part, name, None)) is not None), None)


def _is_codec(config: Any) -> bool:
    return _any(config, "codebook_size", "audio_channels") is not None


def _dimensions(model: type[PreTrainedModel], argument: str) -> int:
    """How many dimensions the documentation of a forward gives an argument; 0 where it gives none."""
    found = re.search(rf"^\s*{argument} \([^\n]*of shape `\(([^)]*)\)", model.forward.__doc__ or "", re.MULTILINE)
    return len(found[1].split(",")) if found else 0


def _compares_pairs(config: PreTrainedConfig) -> bool:
    """Whether it finds the same points in two images."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_KEYPOINT_MATCHING_MAPPING_NAMES

    return config.model_type in MODEL_FOR_KEYPOINT_MATCHING_MAPPING_NAMES


def _square(size: Any) -> tuple[int, int]:
    """224, [224] and (224, 224) are the same size."""
    both = (size,) if isinstance(size, int) else tuple(size.values() if isinstance(size, dict) else size)
    return both if len(both) == 2 else (both[0], both[0])


def _sides(size: Any) -> tuple[int, int] | None:
    """The height and width that an image processor resizes to, or crops to."""
    if isinstance(size, int):
        return size, size
    height = size.get("height") or size.get("shortest_edge")
    width = size.get("width") or height
    return (height, width) if height else None


def _processor(model_type: str) -> Any:
    """The class of a model's image processor, None where it has none that can be imported."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    named = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type)
    for name in named.values() if isinstance(named, dict) else named or ():
        try:
            return getattr(transformers, name)
        except (AttributeError, ImportError, TypeError):
            continue
    return None
