"""How inputs are written: what people type, and documents hold.

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
import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flopledger.reference_model.names import SpecError, nearest, said, working_directory

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLE = "1x3x416x416"
_BITS = {"uint8": (0, 8), "uint16": (0, 16), "uint32": (0, 32), "uint64": (0, 63),
         "int8": (7, 7), "int16": (15, 15), "int32": (31, 31), "int64": (63, 63), "bool": (0, 1)}  # fmt: skip
_DTYPES = [
    "float32", "float64", "float16", "bfloat16", *_BITS, "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"
]  # fmt: skip
_LARGEST = 2**40
KNOWN = 2**24  # elements of an integer input up to which its values are known on the meta device
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
        if device == "meta" and not (exact and math.prod(self.shape) <= KNOWN):
            return torch.empty(self.shape, dtype=dtype, device="meta")
        if isinstance(self.values, tuple):
            return torch.tensor(self.values).to(dtype).reshape(self.shape)
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
        plain = _WORD.fullmatch(self.path) and self.path[0] not in _MARKS
        return f"@{self.path if plain else repr(self.path)}"


def name_of(text: str) -> tuple[str | None, str]:
    """`NAME=REST` in two; what has no name is positional."""
    name, equals, rest = text.strip().partition("=")
    return (name, rest.strip()) if equals and name.isidentifier() else (None, text.strip())


def parse(text: str, *, alone: bool = True, opened: Callable[[str], Any] | None = None) -> Any:
    """What one text stands for, less its name: `Input`, `Stored`, a plain value, or lists, tuples and dicts of those.

    `alone` is that a bare integer can only be a shape; `opened` says what `@path` is. Without it no file is looked
    at, and only files of tensors have a meaning.

    Raises:
        SpecError: it stands for nothing; the message is one line with what would be right.
    """
    if not _is_text(text):
        raise SpecError(f"{text!r} is not text")
    reader = _Reader(text, opened or _unopened)
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
            text = ast.literal_eval(found[0]) if found else None
        except (ValueError, SyntaxError):
            text = None
        if found is None or not isinstance(text, str) or not _is_text(text):
            raise SpecError(f"{_shown(self.text)}: a quotation that does not end, or is no text")
        self.rest = self.rest[found.end() :]
        return text

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
        low, high = (_number(end, dtype, text, beyond=1) for end in (found[3], found[4]))
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


def _number(word: str, dtype: str, text: str, beyond: int = 0) -> int | float:
    """A value that a tensor of this dtype can have; with `beyond` 1, the end of a range of them. Raises SpecError."""
    word = word.strip()
    try:
        value = _plain(word)
    except ValueError:
        value = None
    if value is None or (beyond and not math.isfinite(value)):
        raise SpecError(f"{_shown(text)}: {word!r} is no number")
    if dtype not in _BITS:
        return value
    below, above = _BITS[dtype]
    low, high = -(2**below) if below else 0, 2**above - 1
    if not (math.isfinite(value) and value == int(value) and low <= value <= min(high + beyond, 2**63 - 1)):
        raise SpecError(f"{_shown(text)}: {word} is no {dtype}; they go from {low} to {high}")
    return int(value)


def _unopened(path: str) -> Stored:
    if not path.endswith(_STORED):
        raise SpecError(f"{path!r} is no file of tensors; these are: {', '.join(_STORED)}")
    return Stored(path)


def opened(path: str) -> Any:
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
        raise SpecError(f"{path!r} cannot be read: {said(error)}") from error
    try:
        return of_table(table, place.parent)
    except SpecError as error:
        raise SpecError(f"in {path!r}: {error}") from error


def of_table(value: Any, folder: Path, depth: int = 0) -> Any:
    """What a value of JSON, TOML or Python stands for: its texts are inputs, and paths in them are from `folder`.

    Raises:
        SpecError: something in it stands for nothing.
    """
    if depth > _DEEPEST:
        raise SpecError("it is nested too deeply")
    if isinstance(value, dict):
        return {key: of_table(each, folder, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(of_table(each, folder, depth + 1) for each in value)
    if isinstance(value, str):
        return parse(value, opened=lambda path: opened(_unopened(str(folder / path)).path))
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
    if hasattr(type(value), "shape") and hasattr(type(value), "dtype"):  # to ask a nested tensor itself is an error
        return _of_tensor(value)
    if fields := fields_of(value):
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


def fields_of(value: Any) -> dict[str, Any]:
    """What a dataclass or a named tuple holds, by name."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value._asdict()  # type: ignore[attr-defined,no-any-return]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)}
