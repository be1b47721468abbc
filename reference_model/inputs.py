"""Inputs, as people type them and documents hold them, and the arguments that they stand for.

1x3x224x224                       a float32 tensor, the first positional argument
1x128:int64                       another dtype; `scalar:float32` has no dimensions, and a size may be 0
ids=1x128:int64[0:30522]          a keyword argument; drawn from a half-open range, with a fixed seed
mask=1x128:bool=1                 filled with a value; 2:int64=[5,3] has just these
alpha=0.5  n==5  mode='mean'      plain values of Python: after a second = where they could be read as a shape
[3x224x224, 3x256x200]            a list; (…) is a tuple, {image: 1x3, scale: 0.5} a dict, and they nest
@inputs.json  @inputs.toml        all arguments (a list: positional, a dict: by name); texts in it are as above
x=@x.npy  @all.safetensors        tensors of a file: .pt, .safetensors, .npz or .npy

A text is canonical once it is `parsed`, so that equal inputs have equal texts. Nothing here imports torch
before tensors are made.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flopledger.reference_model.names import SpecError, nearest, working_directory

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLE = "1x3x416x416"
_BITS = {"uint8": (0, 8), "uint16": (0, 16), "uint32": (0, 32), "uint64": (0, 64),
         "int8": (7, 7), "int16": (15, 15), "int32": (31, 31), "int64": (63, 63), "bool": (0, 1)}  # fmt: skip
_DTYPES = [
    "float32", "float64", "float16", "bfloat16", *_BITS, "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"
]  # fmt: skip
_LARGEST = 2**40
_KNOWN = 2**24  # elements of an integer input up to which its values are known on the meta device
_DEEPEST = 32
_TABLES = {".json": json.loads, ".toml": tomllib.loads}
_STORED = (".pt", ".pth", ".safetensors", ".npz", ".npy")
_TENSOR = re.compile(
    r"(scalar|\d+(?:x\d+)*)(?::([a-z]\w*))?(?:\[([^][:]*):([^][:]*)\])?(?:=(\[[^][]*\]|[^][(){}\s,]+))?(?=[\s,)\]}]|$)",
    re.IGNORECASE,
)
_MARKS = ("'", '"')
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_WORD = re.compile(r"[^][(){}\s,]+")
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None, "inf": math.inf, "-inf": -math.inf,
              "nan": math.nan}  # fmt: skip


class Input(msgspec.Struct, frozen=True):
    """One input tensor: its shape and dtype, and its values where they are said.

    `among` is a half-open range that they are drawn from; `values` are all of them, or one for each.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    among: tuple[int | float, int | float] | None = None
    values: int | float | tuple[int | float, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Input:
        """Read `1x3x224x224` or `1x128:int64[0:30522]`. Raises SpecError."""
        found = parse(text)
        if not isinstance(found, cls):
            raise _strange(text)
        return found

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) or "scalar"
        # A bare integer could be a number.
        if self.dtype != "float32" or len(self.shape) == 1 or self.among or self.values is not None:
            text += f":{self.dtype}"
        if self.among:
            text += f"[{self.among[0]}:{self.among[1]}]"
        if isinstance(self.values, tuple):
            return f"{text}=[{','.join(map(str, self.values))}]"
        return text if self.values is None else f"{text}={self.values}"

    def tensor(self, device: str) -> Tensor:
        """Seeded uniform noise for floats, zeros (a valid index anywhere) for integers, unless they are said.

        On meta, integers and truth values are on the CPU all the same, so that what a model does by them is known.
        """
        import torch

        dtype = getattr(torch, self.dtype)
        exact = not (dtype.is_floating_point or dtype.is_complex)
        if device == "meta" and not (exact and math.prod(self.shape) <= _KNOWN):
            return torch.empty(self.shape, dtype=dtype, device="meta")
        if isinstance(self.values, tuple):
            return torch.tensor(self.values, dtype=dtype).reshape(self.shape)
        if self.values is not None:
            return torch.full(self.shape, self.values).to(dtype)
        generator = torch.Generator().manual_seed(0)
        if exact:
            if self.among is None:
                return torch.zeros(self.shape, dtype=dtype)
            return torch.randint(*map(int, self.among), self.shape, generator=generator).to(dtype)  # type: ignore[call-overload,no-any-return]
        low, high = self.among or (0, 1)
        kind = dtype if dtype.is_complex else torch.float32
        return (torch.rand(self.shape, generator=generator, dtype=kind) * (high - low) + low).to(dtype)


class Stored(msgspec.Struct, frozen=True):
    """What a file of tensors holds: a tensor, or a list or dict of them."""

    path: str

    def __str__(self) -> str:
        return f"@{self.path if _WORD.fullmatch(self.path) and self.path[0] not in _MARKS else repr(self.path)}"

    def load(self, device: str) -> Any:
        """Its tensors; floats have no values on meta. No code in the file runs.

        Raises:
            SpecError: it is not there, or holds something else.
        """
        try:
            found = _read(Path(self.path))
        except SpecError:
            raise
        except Exception as error:  # of four formats
            said = (str(error).splitlines() or [""])[0][:200]
            raise SpecError(f"cannot read tensors from {self.path!r}: {type(error).__name__}: {said}") from error
        return mapped(lambda t: t if _is_exact(t) else t.to(device), found) if device == "meta" else found


def _is_exact(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() <= _KNOWN


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


def parsed(texts: Iterable[str]) -> tuple[str, ...]:
    """The canonical texts of some inputs: tables are written out, and each argument has one.

    Raises:
        SpecError: one of them is no input, a file is not there, or a name is given twice.
    """
    found: list[tuple[str | None, Any]] = []
    for given in texts:
        name, text = _named(given)
        try:
            value = parse(text, alone=name is None, opened=_opened)
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
        name, text = _named(given)
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
    for name, text in map(_named, texts):
        parse(text, alone=name is None)


def files(texts: Iterable[str]) -> list[str]:
    """The files of tensors that some inputs name."""
    values = [parse(text, alone=name is None) for name, text in map(_named, texts)]
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
        return value.load(device)
    if isinstance(value, dict):
        return {key: _made(each, device) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_made(each, device) for each in value)
    return value


def _named(text: str) -> tuple[str | None, str]:
    """`NAME=REST` in two; what has no name is positional."""
    name, equals, rest = text.strip().partition("=")
    return (name, rest.strip()) if equals and name.isidentifier() else (None, text.strip())


def parse(text: str, *, alone: bool = True, opened: Callable[[str], Any] | None = None) -> Any:
    """What one text stands for, less its name: `Input`, `Stored`, a plain value, or lists, tuples and dicts of those.

    `alone` is that a bare integer can only be a shape; `opened` says what `@path` is. Without it no file is looked
    at, and a table is none of these.

    Raises:
        SpecError: it stands for nothing; the message is one line with what would be right.
    """
    if not _is_text(text):
        raise SpecError(f"{text!r} is not text")
    reader = _Reader(text, opened or _named_only)
    value = reader.value(alone)
    if reader.rest.strip():
        raise _strange(text)
    return value


class _Reader:
    """A text and how far it has been read."""

    def __init__(self, text: str, opened: Callable[[str], Any]):
        self.text, self.rest, self.depth, self.opened = text, text, 0, opened

    def value(self, alone: bool = False) -> Any:
        first = self._next()
        if first in ("[", "("):
            items = self._items(")" if first == "(" else "]", self.value)
            return tuple(items) if first == "(" else items
        if first == "{":
            return dict(self._items("}", self._pair))
        if first == "@":
            self.rest = self.rest[1:]
            return self.opened(self._quoted() if self.rest[:1] in _MARKS else self._word())
        if first in _MARKS:
            return self._quoted()
        if found := _TENSOR.match(self.rest):
            if found[0].isdigit() and not alone:
                size = found[0][:40]
                raise SpecError(
                    f"{_shown(self.text)}: {size} could be a number or a tensor; sizes have x between, "
                    f"like {_EXAMPLE}; write ={size} for the number, {size}:float32 for a vector"
                )
            self.rest = self.rest[found.end() :]
            return _tensor(found)
        if first == "=":
            self.rest = self.rest[1:]
            if self.rest[:1] in _MARKS:
                return self._quoted()
        word = self._word()
        try:
            return _plain(word)
        except ValueError:
            raise _strange(self.text, word) from None

    def _items(self, end: str, one: Callable[[], Any]) -> list[Any]:
        self.rest = self.rest[1:]
        self.depth += 1
        if self.depth > _DEEPEST:
            raise SpecError(f"{_shown(self.text)} is nested too deeply")
        found = []
        while self._next() != end:
            found.append(one())
            if self._next() == ",":
                self.rest = self.rest[1:]
            elif self._next() != end:
                raise SpecError(f"{_shown(self.text)}: a {end} is missing")
        self.rest = self.rest[1:]
        self.depth -= 1
        return found

    def _next(self) -> str:
        self.rest = self.rest.lstrip()
        return self.rest[:1]

    def _pair(self) -> tuple[str, Any]:
        quoted = self._next() in _MARKS
        key = self._quoted() if quoted else self.rest.partition(":")[0]
        if not quoted:
            self.rest, key = self.rest[len(key) :], key.strip()
        if self._next() != ":" or not (quoted or key.isidentifier()):
            raise SpecError(f"{_shown(self.text)}: write name: value in a dict, with commas between")
        self.rest = self.rest[1:]
        return key, self.value()

    def _quoted(self) -> str:
        found = _QUOTED.match(self.rest)
        try:
            said = ast.literal_eval(found[0]) if found else None
        except (ValueError, SyntaxError):
            said = None
        if found is None or not isinstance(said, str) or not _is_text(said):
            raise SpecError(f"{_shown(self.text)}: a quotation that does not end, or is no text")
        self.rest = self.rest[found.end() :]
        return said

    def _word(self) -> str:
        found = _WORD.match(self.rest)
        if found is None:
            raise _strange(self.text)
        self.rest = self.rest[found.end() :]
        return found[0]


def _is_text(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "replace").decode() == text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 200 else f"{text[:40]!r}…"


def _strange(text: str, word: str = "") -> SpecError:
    quoted = f"; a text goes in quotation marks, like {word!r}" if word.isidentifier() else ""
    return SpecError(
        f"{_shown(text)} is not a shape or a value{quoted}; write sizes with x between, like {_EXAMPLE}, "
        "and a dtype after a colon if it is not float32, like 1x128:int64"
    )


def _plain(word: str) -> int | float | bool | None:
    """A number or a constant. Raises ValueError."""
    if word.lower() in _CONSTANTS:
        return _CONSTANTS[word.lower()]
    if "_" in word or len(word) > 400:
        raise ValueError(word)
    return int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)


def _tensor(found: re.Match[str]) -> Input:
    """The input that a text is. Raises SpecError."""
    text = found[0]
    sizes = [] if found[1].lower() == "scalar" else found[1].lower().split("x")
    if sizes and (max(map(len, sizes)) > 15 or len(sizes) > 25):
        raise SpecError(f"{text[:40]!r}…: that is more than a tensor can hold")
    shape = tuple(map(int, sizes))
    dtype = (found[2] or "float32").lower()
    if dtype not in _DTYPES:
        raise SpecError(f"{_shown(text)}: no dtype {dtype!r}{nearest(dtype, _DTYPES)}")
    count = math.prod(shape)
    if count > _LARGEST:
        raise SpecError(f"{_shown(text)} has {count:,} elements; that is more than this can hold")
    among = None
    if found[3] is not None:
        low, high = (_number(end, dtype, text) for end in (found[3], found[4]))
        if not low < high:
            raise SpecError(f"{_shown(text)}: nothing is in this range; its second number is the first one left out")
        among = low, high
    if found[5] is None:
        return Input(shape, dtype, among)
    if among:
        raise SpecError(f"{_shown(text)} has a range and values; leave out one")
    if not found[5].startswith("["):
        return Input(shape, dtype, None, _number(found[5], dtype, text))
    values = tuple(_number(one, dtype, text) for one in found[5][1:-1].split(",") if one.strip())
    if len(values) != count:
        raise SpecError(f"{_shown(text)} has {len(values)} values for {count:,} elements")
    return Input(shape, dtype, None, values)


def _number(word: str, dtype: str, text: str) -> int | float:
    """A value that a tensor of this dtype can have, or the end of a range of them. Raises SpecError."""
    try:
        value = _plain(word.strip())
    except ValueError:
        value = None
    if value is None:
        raise SpecError(f"{_shown(text)}: {word.strip()!r} is no number")
    if dtype not in _BITS:
        return value
    below, above = _BITS[dtype]
    low, high = -(2**below) if below else 0, 2**above
    if value != value or value in (math.inf, -math.inf) or value != int(value) or not low <= value <= high:
        raise SpecError(f"{_shown(text)}: {word.strip()} is no {dtype}; they go from {low} to {high - 1}")
    return int(value)


def _named_only(path: str) -> Stored:
    if not path.endswith(_STORED):
        raise SpecError(f"{path!r} is no file of tensors; these are: {', '.join(_STORED)}")
    return Stored(path)


def _opened(path: str) -> Any:
    """What `@path` stands for: the content of a table, or a file of tensors. Raises SpecError."""
    place = Path(path)
    read = _TABLES.get(place.suffix)
    if read is None and place.suffix not in _STORED:
        raise SpecError(f"{path!r} is no file of inputs; these are: {', '.join([*_TABLES, *_STORED])}")
    try:
        if not place.is_file():
            raise SpecError(f"no file {path!r} (looked in {working_directory()})")
        if read is None:
            return Stored(path)
        table = read(place.read_text("utf-8"))
    except SpecError:
        raise
    except OSError as error:
        raise SpecError(f"cannot read {path!r}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path!r} is no {place.suffix[1:].upper()}: {str(error).splitlines()[0]}") from error
    try:
        return _of_table(table, place.parent)
    except SpecError as error:
        raise SpecError(f"in {path!r}: {error}") from error


def _of_table(value: Any, folder: Path, depth: int = 0) -> Any:
    """A value of JSON or TOML: its texts are inputs, paths in them relative to the file."""
    if depth > _DEEPEST:
        raise SpecError("it is nested too deeply")
    if isinstance(value, dict):
        return {key: _of_table(each, folder, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_of_table(each, folder, depth + 1) for each in value)
    if isinstance(value, str):
        within = value.strip()
        if within.startswith("@") and within[1:2] not in _MARKS:
            return _opened(str(folder / within[1:]))
        return parse(value, opened=_opened)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise SpecError(f"a {type(value).__name__} is no text of an input, like {_EXAMPLE}, nor a number")


def text_of(value: Any) -> str:
    """The text that `parse` reads as this value. Of what no text can say, a description."""
    if isinstance(value, (Input, Stored)):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"={value}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({text_of(value[0])},)" if len(value) == 1 else f"({', '.join(map(text_of, value))})"
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {text_of(each)}" for key, each in value.items()) + "}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _of_tensor(value)
    if fields := _fields(value):
        return f"{type(value).__name__}({', '.join(f'{name}={text_of(each)}' for name, each in fields.items())})"
    return " ".join(repr(value).split())


def _of_tensor(value: Any) -> str:
    try:
        shape = tuple(map(int, value.shape))
    except Exception:  # a nested tensor has no shape, and may say so in several ways
        return "nested:" + str(value.dtype).removeprefix("torch.")
    return str(Input(shape, str(value.dtype).removeprefix("torch.")))


def _key(key: Any) -> str:
    return key if isinstance(key, str) and key.isidentifier() else repr(key)


def described(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """The texts of the arguments that a model is called with."""
    return [*map(text_of, args), *(f"{name}={text_of(value)}" for name, value in kwargs.items())]


def written(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """The texts of arguments that are texts already, plain values, or lists, tuples and dicts of those.

    Raises:
        SpecError: one of them is something else.
    """
    arguments = [*((None, value) for value in args), *kwargs.items()]
    texts = [
        (name, value if isinstance(value, str) else text_of(_of_table(value, Path()))) for name, value in arguments
    ]
    return [text if name is None else f"{name}={text}" for name, text in texts]


def mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    """A value with each tensor in it changed: in lists, tuples, dicts, dataclasses, and named tuples, packed
    sequences among them. What holds none comes back as it is."""
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
    if fields := _fields(value):
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


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value._asdict()  # type: ignore[attr-defined,no-any-return]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)}
