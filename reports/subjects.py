"""Which models a table is of: specs, names with a star in them, and files of both."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flopledger.reference_model import inputs as written
from flopledger.reference_model import zoo
from flopledger.reference_model.ledger import MODES, Mode
from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.subject import Spec

_FIELDS = ("name", "model", "inputs", "mode")
_COMPLETE = ("torchvision",)  # zoos whose list of names has all of them


class Subject(msgspec.Struct, frozen=True):
    """A model of a table, and the name that it has there."""

    name: str
    spec: Spec


def subjects(models: Iterable[str | Mapping[str, Any]], inputs: Sequence[str] | None, mode: Mode) -> list[Subject]:
    """The models of a table, in order: specs, patterns like `torchvision:resnet*`, and tables as a TOML file has them.

    `inputs` and `mode` are of those that have none of their own.

    Raises:
        SpecError: one of them stands for nothing.
    """
    found: list[Subject] = []
    for model in models:
        if isinstance(model, str):
            found += [Subject(name, _spec(name, inputs, mode)) for name in _matching(model)]
        elif isinstance(model, Mapping):
            found += _of_table(model, inputs, mode)
        else:
            raise SpecError(
                f"a table is of models by name, like 'torchvision:resnet50', and not of a {type(model).__name__}; "
                "a live module comes with its inputs, as {'model': net, 'inputs': x}"
            )
    return found


def _spec(model: str, inputs: Sequence[str] | None, mode: Mode) -> Spec:
    spec = Spec.parse(model, inputs, mode)
    source, _, name = model.partition("?")[0].partition(":")
    known = zoo.names(source) if source in _COMPLETE else []
    if known and name not in known:
        raise SpecError(f"{source} has no model {name!r}{nearest(name, known)}")
    return spec


def _matching(model: str) -> list[str]:
    """The models that a pattern stands for; a spec without a star is itself."""
    name, query, options = model.partition("?")
    source, _, pattern = name.partition(":")
    if "*" not in name or source.endswith(".py"):
        return [model]
    if source not in zoo.ZOOS:
        raise SpecError(f"{model!r}: names with a star are of {', '.join(zoo.ZOOS)}, like torchvision:resnet*")
    known = zoo.names(source)
    matching = [each for each in known if fnmatch.fnmatchcase(each, pattern)]
    if not matching:
        hint = nearest(pattern.replace("*", ""), known) if known else f"; {source} is not installed"
        raise SpecError(f"no model of {source} is called {pattern!r}{hint}")
    return [f"{source}:{each}{query}{options}" for each in matching]


def _of_table(given: Mapping[str, Any], inputs: Sequence[str] | None, mode: Mode) -> list[Subject]:
    name, way = fields(given, mode)
    model = given.get("model")
    if not isinstance(model, str):
        raise SpecError(f"a model needs its spec, like model = 'torchvision:resnet50'; it is {model!r}")
    own = given.get("inputs")
    texts = inputs if own is None else texts_of(own)
    matching = _matching(model)
    if name is not None and len(matching) > 1:
        raise SpecError(f"{model!r} is {len(matching)} models, which cannot all be called {name!r}")
    return [Subject(name or each, _spec(each, texts, way)) for each in matching]


def texts_of(given: Any) -> list[str]:
    """Inputs that are a text, a list of them, or a table by name, as a list of texts. Raises SpecError."""
    if isinstance(given, Mapping):
        return written.written((), given)
    return written.written([given] if isinstance(given, str) else given, {})


def fields(given: Mapping[str, Any], mode: Mode) -> tuple[str | None, Mode]:
    """The name of a model, and its mode, or `mode`. Raises SpecError, also where there is something else."""
    if odd := [key for key in given if key not in _FIELDS]:
        raise SpecError(f"no field {odd[0]!r}{nearest(odd[0], _FIELDS)}; a model has {', '.join(_FIELDS)}")
    model, name, way = given.get("model"), given.get("name"), given.get("mode", mode)
    called = repr(model) if isinstance(model, str) else f"a {type(model).__name__}"
    if name is not None and not isinstance(name, str):
        raise SpecError(f"the name of {called} is no text but {name!r}")
    if way not in MODES:
        raise SpecError(f"{called}: no mode {way!r}; there is {', '.join(MODES)}")
    return name, way


def listed(path: Path) -> list[str | Mapping[str, Any]]:
    """The models in a file: TOML with one `[[models]]` for each, or one spec per line, `#` before a remark.

    Raises:
        SpecError: it cannot be read, or names no model.
    """
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".toml":
            return _of_toml(path, tomllib.loads(text))
    except OSError as error:
        raise SpecError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{str(path)!r} cannot be read: {error}") from error
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    found: list[str | Mapping[str, Any]] = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise SpecError(f"{str(path)!r} names no model; write one per line, like torchvision:resnet50")
    return found


def _of_toml(path: Path, content: Mapping[str, Any]) -> list[str | Mapping[str, Any]]:
    models = content.get("models")
    if odd := [key for key in content if key != "models"]:
        raise SpecError(f"{str(path)!r}: no field {odd[0]!r}; each model begins with [[models]]")
    if not isinstance(models, list) or not models or not all(isinstance(each, Mapping) for each in models):
        raise SpecError(f"{str(path)!r} names no model; each begins with [[models]], and model = 'torchvision:…'")
    return list(models)
