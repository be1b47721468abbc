"""transformers' models by class, by model type, by the name of the hub where its sizes are known, or by a config.json.

transformers:BertModel                           a class, with its configuration's defaults
transformers:bert?num_hidden_layers=2            a model type: what AutoModel makes of it, with another depth
transformers:gpt2?task=CausalLM                  a model of the hub (`known_sizes`), as AutoModelForCausalLM makes it
transformers:path/to/config.json?dtype=bfloat16  the model that a file describes, in its own architecture
transformers:llama?attn_implementation=eager     sdpa, eager, flex_attention …; experts_implementation likewise

transformers:gpt2?task=CausalLM&past=1000        the next token, with a thousand before it in the cache

Options are attributes of the configuration; one that it has not got is refused, which transformers itself does not do.
No cache of keys and values is made (`use_cache=False`) unless it is asked for: it is for the next token.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.zoo.defaults import Defaults
from flopledger.reference_model.zoo.known_sizes import KNOWN, known
from flopledger.reference_model.zoo.source_text import found_in
from flopledger.reference_model.zoo.transformers_inputs import inputs_of
from flopledger.reference_model.zoo.transformers_past import checked, decoding

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_TYPES = re.compile(r"^        \(\"([\w.-]+)\", \"\w+Config\"\),$", re.MULTILINE)
_BUILT = ("dtype", "attn_implementation", "experts_implementation")  # how a model is built, not what it is
_DTYPES = ("float32", "float64", "float16", "bfloat16")
_NEVER = ("trust_remote_code", "auto_map", "quantization_config", "kernel_config", "allow_all_kernels", "name_or_path")
_IMPLEMENTATION = re.compile(r"\w+")  # one of the hub's kernels has a slash in its name


@functools.cache
def names() -> list[str]:
    """The model types of AutoConfig, and the names of the hub whose sizes are known."""
    types = {name for (name,) in found_in("transformers", "models/auto", _TYPES)}
    return sorted({*types, *KNOWN, *(name.partition("/")[2] for name in KNOWN)} if types else [])


def factory(name: str, options: dict[str, Any]) -> Callable[[], Any]:
    """The class's `_from_config`, as AutoModel calls it, on the configuration of this name."""
    made, config, built = _described(name, options)
    make = functools.partial(made._from_config, config, **built)
    return functools.partial(decoding, make, checked(options["past"])) if "past" in options else make


def default_inputs(name: str, options: dict[str, Any]) -> Defaults:
    """What the class's forward takes, in the sizes of the configuration; see `transformers_inputs`."""
    made, config, built = _described(name, options)
    alone = {"most": 1} if "past" in options else {}
    dtype = str(built.get("dtype", config.dtype or "float32")).removeprefix("torch.")
    return inputs_of(f"transformers:{name}", made, config, dtype, **alone)


def _described(name: str, options: dict[str, Any]) -> tuple[type[PreTrainedModel], PreTrainedConfig, dict[str, Any]]:
    """The class, its configuration and how it is built. Raises SpecError."""
    try:
        import transformers
    except Exception as error:  # built for another torch
        raise SpecError(f"transformers cannot be imported here ({error}); pip install transformers") from error
    transformers.logging.set_verbosity_error()
    if asked := [key for key in _NEVER if key in options]:
        raise SpecError(f"models are built from the installed package with random weights; leave out {asked[0]}")
    sizes = {key: value for key, value in options.items() if key not in (*_BUILT, "task", "past")}
    built = {key: options[key] for key in _BUILT if options.get(key) is not None}
    for key, value in built.items():
        if not (isinstance(value, str) and _IMPLEMENTATION.fullmatch(value)):
            raise SpecError(f"{key}={value!r} is not built in; write a word, like eager or bfloat16")
        if key == "dtype" and value not in _DTYPES:
            raise SpecError(f"dtype={value!r} is none that weights have; write one of {', '.join(_DTYPES)}")
    made, config = _by_file(name, sizes) if name.endswith(".json") else _by_name(name, sizes)
    for part in _parts(config):
        if getattr(part, "use_pretrained_backbone", False):
            part.use_pretrained_backbone = False
        if getattr(part, "use_cache", False) and "use_cache" not in sizes:
            part.use_cache = False
    task = options.get("task")
    return (_for_task(str(task), config) if task else made or _usual(config)), config, built


def _by_name(name: str, sizes: dict[str, Any]) -> tuple[type[PreTrainedModel] | None, PreTrainedConfig]:
    """The class, where the name is one, and the configuration. Raises SpecError."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if name in CONFIG_MAPPING:
        return None, _configured(CONFIG_MAPPING[name], {}, sizes)
    if found := known(name):
        return None, _configured(CONFIG_MAPPING[found[0]], found[1], sizes)
    made: Any = getattr(transformers, name, None) if name.isidentifier() and name[0].isupper() else None
    if isinstance(made, type) and issubclass(made, transformers.PreTrainedModel):
        kind: Any = made.config_class  # type: ignore[attr-defined]
        if kind is not None:
            return made, _configured(kind, {}, sizes)
    if Path(name, "config.json").is_file():
        raise SpecError(f"{name!r} is a folder; give its file, transformers:{Path(name, 'config.json')}")
    if "/" in name or "-" in name:
        close = nearest(name, [*KNOWN, *(each.partition("/")[2] for each in KNOWN if "/" not in name)])
        raise SpecError(
            f"the sizes of {name!r} are not known here, and nothing is downloaded; give its config.json, like "
            "transformers:path/to/config.json, or a type and what differs from its defaults, like "
            f"transformers:{_kind_in(name)}?hidden_size=2048{close}"
        )
    close = nearest(name, [*names(), *_classes()])
    raise SpecError(
        f"transformers has no model {name!r}{close or '; write a type, a class or a file, like '}"
        f"{'' if close else 'transformers:bert, transformers:BertModel or transformers:path/to/config.json'}"
    )


def _kind_in(name: str) -> str:
    """The model type that the name of a model begins with, or has in it: qwen2 of Qwen/Qwen2.5-7B; llama of none."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    plain = {_letters(kind): kind for kind in CONFIG_MAPPING}
    of_it = _letters(name.rpartition("/")[2])
    found = [kind for kind in plain if len(kind) > 1 and kind in of_it]
    return plain[min(found, key=lambda kind: (of_it.index(kind), -len(kind)))] if found else "llama"


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _classes() -> set[str]:
    """The classes of models that AutoModel, for some task, makes."""
    from transformers.models.auto import modeling_auto

    found = [value for name, value in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES")]
    each = (made for mapping in found for made in mapping.values())
    named = {name for made in each for name in ([made] if isinstance(made, str) else made)}
    return {name for name in named if not name.endswith("Config")}


def _by_file(path: str, sizes: dict[str, Any]) -> tuple[type[PreTrainedModel] | None, PreTrainedConfig]:
    """The architecture and the configuration that a config.json describes; no code in it runs. Raises SpecError."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        text = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(
            f"cannot read a configuration from {path!r}: {getattr(error, 'strerror', None) or error}"
        ) from error
    kind = text.pop("model_type", None) if isinstance(text, dict) else None
    if kind not in CONFIG_MAPPING:
        raise SpecError(f"{path!r} has no model_type that transformers knows{nearest(str(kind), [*CONFIG_MAPPING])}")
    text = {key: value for key, value in text.items() if key not in _NEVER}
    config = _configured(CONFIG_MAPPING[kind], text, sizes)
    named = [getattr(transformers, each, None) for each in text.get("architectures") or []]
    classes = [each for each in named if isinstance(each, type) and issubclass(each, transformers.PreTrainedModel)]
    return (classes[0] if classes else None), config


def _configured(kind: type[PreTrainedConfig], known: dict[str, Any], sizes: dict[str, Any]) -> PreTrainedConfig:
    """A configuration: its defaults, what is known of the model, and over both what is asked for. Raises SpecError."""
    try:
        usual = kind(**known)
    except Exception:  # there are some whose defaults alone are nothing
        usual = None
    if usual is not None:
        attributes = {*usual.to_dict(), *usual.attribute_map}
        for key in sizes:
            if key not in attributes and not hasattr(usual, key):
                parts = [name for name in usual.sub_configs if hasattr(getattr(usual, name, None), key)]
                where = f"; its {parts[0]} has: {parts[0]}={{'{key}': …}}" if parts else nearest(key, attributes)
                where = where or "; what is written after ? are attributes of it, like num_hidden_layers=2"
                raise SpecError(f"{kind.__name__} has no {key!r}{where}")
    merged = _merged(known, sizes)
    layers = merged.get("num_hidden_layers")
    for key, value in known.items():  # one entry a layer: a model with fewer layers has the first of them
        if isinstance(layers, int) and key.endswith("layer_types") and key not in sizes and isinstance(value, list):
            merged[key] = value[:layers]
    return kind(**merged)


def _merged(known: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """`sizes` over `known`; a dict is a part, and merged likewise."""
    both = {key: _merged(known[key], value) for key, value in sizes.items()
            if isinstance(value, dict) and isinstance(known.get(key), dict)}  # fmt: skip
    return {**known, **sizes, **both}


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for name in config.sub_configs:
        if (part := getattr(config, name, None)) is not None:
            yield from _parts(part)


def _usual(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class that AutoModel takes. Raises SpecError."""
    from transformers import AutoModel

    if type(config) not in AutoModel._model_mapping:
        raise SpecError(f"AutoModel has no class for {type(config).__name__}; name one, like transformers:BertModel")
    return _first(AutoModel._model_mapping[type(config)])


def _for_task(task: str, config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class that AutoModelFor`task` takes. Raises SpecError."""
    from transformers.models.auto import modeling_auto

    prefix = "AutoModelFor"
    tasks = {name.removeprefix(prefix): getattr(modeling_auto, name) for name in dir(modeling_auto)
             if name.startswith(prefix)}  # fmt: skip
    plain = {re.sub(r"\W|_", "", name).lower(): name for name in tasks}
    asked = re.sub(r"\W|_", "", task).lower()
    having = [name for name, auto in tasks.items() if type(config) in auto._model_mapping]
    for name in having:
        auto = tasks[name]
        if plain.get(asked) == name:
            return _first(auto._model_mapping[type(config)])
    said = ", ".join(having) or "none"
    raise SpecError(f"{type(config).__name__} has no task {task!r}{nearest(task, having)}; it has {said}")


def _first(found: Any) -> type[PreTrainedModel]:
    """The usual of several classes."""
    one: type[PreTrainedModel] = found[0] if isinstance(found, (tuple, list)) else found
    return one
