"""The arguments that inputs stand for, and what they are made of: any nest of tensors and other values.

How inputs are written is in `flopledger.reference_model.notation`. Nothing here imports torch before tensors are made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flopledger.reference_model.names import SpecError, said
from flopledger.reference_model.notation import (
    KNOWN,
    Input,
    Stored,
    fields_of,
    name_of,
    of_table,
    opened,
    parse,
    text_of,
)

if TYPE_CHECKING:
    from torch import Tensor


def parsed(texts: Iterable[str]) -> tuple[str, ...]:
    """The canonical texts of some inputs: tables are written out, and each argument has one.

    Raises:
        SpecError: one of them is no input, a file is not there, or a name is given twice.
    """
    found: list[tuple[str | None, Any]] = []
    for given in texts:
        name, text = name_of(given)
        try:
            value = parse(text, alone=name is None, opened=opened)
        except SpecError as error:
            raise error if name is None else SpecError(f"input {name}: {error}") from None
        spread = name is None and text.startswith("@")  # a file of all arguments
        if spread and isinstance(value, dict):
            found += value.items()
        elif spread and isinstance(value, list):
            found += ((None, each) for each in value)
        else:
            found.append((name, value))
    names = [name for name, _ in found if name is not None]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SpecError(f"input {twice!r} is given twice")
    if odd := next((name for name in names if not name.isidentifier()), None):
        raise SpecError(f"{odd!r} is no name of an argument")
    return tuple(text_of(value) if name is None else f"{name}={text_of(value)}" for name, value in found)


def made(texts: Iterable[str], device: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that some inputs stand for: positional ones, and those by name.

    On "meta" floats allocate nothing; integers and truth values are on the CPU, with their values.

    Raises:
        SpecError: a file of tensors cannot be read.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for given in texts:
        name, text = name_of(given)
        value = parse(text, alone=name is None)
        held = _made(value, device)
        if name is not None:
            kwargs[name] = held
        elif isinstance(value, Stored) and isinstance(held, Mapping):
            kwargs |= held
        elif isinstance(value, Stored) and isinstance(held, (list, tuple)):
            args += held
        else:
            args.append(held)
    return tuple(args), kwargs


def check(texts: Iterable[str]) -> None:
    """Raise SpecError where a text is no input. No file is looked at: a document may name any."""
    for name, text in map(name_of, texts):
        parse(text, alone=name is None)


def files(texts: Iterable[str]) -> list[str]:
    """The files of tensors that some inputs name."""
    values = [parse(text, alone=name is None) for name, text in map(name_of, texts)]
    return sorted({leaf.path for leaf in _leaves(values) if isinstance(leaf, Stored)})


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _made(value: Any, device: str) -> Any:
    if isinstance(value, Input):
        return value.tensor(device)
    if isinstance(value, Stored):
        return _loaded(value.path, device)
    if isinstance(value, dict):
        return {key: _made(each, device) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_made(each, device) for each in value)
    return value


def _loaded(path: str, device: str) -> Any:
    """The tensors of a file; floats have no values on meta. Nothing that is pickled in it runs. Raises SpecError."""
    try:
        found = _read(Path(path))
    except SpecError:
        raise
    except Exception as error:  # of four formats
        raise SpecError(f"cannot read tensors from {path!r}: {said(error)[:300]}") from error
    return mapped(lambda t: t if _is_known(t) else t.to(device), found) if device == "meta" else found


def _is_known(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() <= KNOWN


def _read(path: Path) -> Any:
    import torch

    if path.suffix in (".pt", ".pth"):
        return torch.load(path, weights_only=True, map_location="cpu")
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            raise SpecError(f"{str(path)!r} needs a package: pip install safetensors") from error
        return load_file(path)
    import numpy as np

    found = np.load(path, allow_pickle=False)
    if path.suffix == ".npy":
        return torch.from_numpy(found)
    with found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def described(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """The texts of the arguments that a model is called with."""
    return [*map(text_of, args), *(f"{name}={text_of(value)}" for name, value in kwargs.items())]


def written(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """The texts of arguments that are texts already, plain values, or lists, tuples and dicts of those.

    Raises:
        SpecError: one of them is something else.
    """
    arguments = [*((None, value) for value in args), *kwargs.items()]
    texts = [(name, value if isinstance(value, str) else text_of(of_table(value, Path()))) for name, value in arguments]
    return [text if name is None else f"{name}={text}" for name, text in texts]


def mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """A value with each tensor in it changed, the value itself left as it was.

    Looks into lists, tuples, dicts, dataclasses and named tuples, packed sequences among them.
    """
    from torch import Tensor
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, PackedSequence):  # the sizes of its steps are on the CPU wherever it is
        return PackedSequence(change(value.data), value.batch_sizes, *(mapped(change, each) for each in value[2:]))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(change, each) for each in value))
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(change, each) for each in value)
    if isinstance(value, Mapping):
        held = copy.copy(value)
        for key, each in value.items():
            held[key] = mapped(change, each)  # type: ignore[index]
        return held
    if fields := fields_of(value):
        held = copy.copy(value)
        for name, each in fields.items():
            object.__setattr__(held, name, mapped(change, each))
        return held
    return value


def tensors(*values: Any) -> list[Tensor]:
    """Every tensor in some values, in the order in which `mapped` meets them."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(note, values)
    return found
