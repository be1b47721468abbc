"""Model specs and input shapes, as people type them, and the module and tensors they stand for.

mobilenet_v2                         the reference
mobilenet_v2?width_mult=0.35         the same, with constructor arguments
torchvision:resnet50                 a torchvision model, random weights
timm:vit_tiny_patch16_224            a timm model, the same
path/to/file.py:make                 a function or class of yours, called without arguments
package.module:make                  the same, from an installed package
1x3x224x224    1x128:int64           a float32 input, an int64 input
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flopledger.reference_model import zoo
from flopledger.reference_model.ledger import Mode
from flopledger.reference_model.names import SpecError, nearest, said

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT_MODEL = "mobilenet_v2"
DEFAULT_INPUT = "1x3x416x416"
_SHAPE = re.compile(r"(\d+(?:x\d+)*)(?::([a-z]\w*))?", re.IGNORECASE)
_DTYPES = ("float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128").split()
_LARGEST = 2**40
STANDARD = [  # where the standard library is, as entries of the search path
    entry for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    for entry in (folder, str(Path(folder, "lib-dynload")))
]  # fmt: skip


class Input(msgspec.Struct, frozen=True):
    """The shape and dtype of one input tensor."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> Input:
        """Read `1x3x224x224` or `1x128:int64`. Raises SpecError."""
        match = _SHAPE.fullmatch(text.strip())
        if not match:
            raise SpecError(f"{text!r} is not a shape; write sizes with x between, like {DEFAULT_INPUT}, "
                            "and a dtype after a colon if it is not float32, like 1x128:int64")  # fmt: skip
        sizes = match[1].lower().split("x")
        if max(map(len, sizes)) > 15 or len(sizes) > 25:
            raise SpecError(f"{text[:40]!r}…: that is more than a tensor can hold")
        shape = tuple(map(int, sizes))
        dtype = (match[2] or "float32").lower()
        if dtype not in _DTYPES:
            raise SpecError(f"{text!r}: no dtype {dtype!r}{nearest(dtype, _DTYPES)}")
        if 0 in shape:
            raise SpecError(f"{text!r}: every size must be at least 1")
        count = 1
        for size in shape:
            count *= size
        if count > _LARGEST:
            raise SpecError(f"{text!r} has {count:,} elements; that is more than this can hold")
        return cls(shape, dtype)

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape))
        return text if self.dtype == "float32" else f"{text}:{self.dtype}"

    def tensor(self, device: str) -> Tensor:
        """Seeded uniform noise for floats, zeros (a valid index anywhere) for integers."""
        import torch

        dtype = getattr(torch, self.dtype)
        if device == "meta" or not dtype.is_floating_point:
            return torch.zeros(self.shape, dtype=dtype, device=device)
        generator = torch.Generator().manual_seed(0)
        return torch.rand(self.shape, generator=generator).to(dtype)


class Spec(msgspec.Struct, frozen=True):
    """A model and its inputs, by name, and how it is to be run; `build()` makes the real thing, in eval mode."""

    model: str = DEFAULT_MODEL
    inputs: tuple[Input, ...] = (Input((1, 3, 416, 416)),)
    mode: Mode = "eval"

    @classmethod
    def parse(cls, model: str = DEFAULT_MODEL, inputs: list[str] | None = None, mode: Mode = "eval") -> Spec:
        """Check what can be checked without torch. Raises SpecError."""
        if not model.isascii() and model.encode("utf-8", "replace").decode() != model:
            raise SpecError(f"{model!r} is not text")
        split(model)
        return cls(model, tuple(Input.parse(text) for text in inputs or [DEFAULT_INPUT]), mode)

    def build(self, device: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The module in eval mode and its inputs, on `device` ("meta" allocates nothing).

        Raises:
            SpecError: no such model, wrong arguments, or its own code raised.
        """
        import torch

        with beside(split(self.model)[0]):
            factory, options = resolve(self.model)
            torch.manual_seed(0)
            try:
                module = _made(factory, options, device)
            except SpecError:
                raise
            except Exception as error:
                raise SpecError(f"model {self.model!r} could not be built: {said(error)}") from error
        if not isinstance(module, torch.nn.Module):
            raise SpecError(f"model {self.model!r} gave {type(module).__name__}, not a torch.nn.Module")
        return module.eval(), tuple(value.tensor(device) for value in self.inputs)


def _made(factory: Callable[..., Any], options: dict[str, Any], device: str) -> Any:
    import torch

    if device != "meta":
        return factory(**options)
    try:
        with torch.device("meta"):
            return factory(**options)
    except (NotImplementedError, RuntimeError):  # a constructor that reads values, e.g. `.item()`
        module = factory(**options)
        return module.to("meta") if isinstance(module, torch.nn.Module) else module


def split(model: str) -> tuple[str, str, dict[str, Any]]:
    """`source:name?key=value` in three: the source ("" for our own), the name, the arguments."""
    name, _, query = model.partition("?")
    source, colon, attribute = name.rpartition(":")
    if not name or (colon and not (source and attribute)):
        raise SpecError(
            f"{model!r} is not a model; write a name like {DEFAULT_MODEL}, torchvision:resnet50, or file.py:make"
        )
    options: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise SpecError(f"{model!r}: {pair!r} is not key=value")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            options[key] = value
    if not colon:
        from_file = name.endswith(".py")
        if from_file:
            raise SpecError(f"{model!r}: name the function that makes the model, like {name}:make")
        if name not in _own():
            known = {bare: f"torchvision:{bare}" for bare in zoo.names("torchvision")} | {own: own for own in _own()}
            close = [name] if name in known else difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            hint = f"did you mean {', '.join(known[n] for n in close)}?" if close else f"there is {DEFAULT_MODEL}"
            raise SpecError(f"no model {name!r}; {hint}")
    if source.endswith(".py") and not _is_file(source):
        raise SpecError(f"no file {source!r} (looked in {working_directory()})")
    return source, attribute if colon else name, options


def is_ours(model: str) -> bool:
    """Whether a spec names a model that is built in, or one of a zoo; any other runs somebody's code."""
    return split(model)[0] in ("", *zoo.ZOOS)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name that no file can have
        return False


def resolve(model: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function that makes the model, and its arguments. Imports what it names. Raises SpecError."""
    source, name, options = split(model)
    if not source:
        from flopledger.reference_model.mobilenet_v2 import mobilenet_v2

        return mobilenet_v2, options
    if source in zoo.ZOOS:
        return zoo.factory(source, name, options), {}
    try:
        factory = named(source, name)
    except SpecError as error:
        raise SpecError(f"model {model!r} {error}") from error.__cause__
    if not callable(factory):
        raise SpecError(f"{model!r} is a {type(factory).__name__}; it must be a function or class")
    return factory, options


def named(source: str, name: str) -> Any:
    """What `name` (with dots) is in a file or an importable module, for whoever names a model or a counter.

    Raises:
        SpecError: there is no such file, module or name, or its code raised; what is said follows upon "X ".
    """
    if source.endswith(".py") and not _is_file(source):
        raise SpecError(f"is not there: no file {source!r} (looked in {working_directory()})")
    try:
        found: Any = _loaded(source)
    except (Exception, SystemExit) as error:
        raise SpecError(f"could not be loaded: {said(error)}") from error
    for attribute in name.split("."):
        if not hasattr(found, attribute):
            names = [n for n in dir(found) if not n.startswith("_") and callable(getattr(found, n))]
            raise SpecError(f"is not there: {source} has no {attribute!r}{nearest(attribute, names)}")
        found = getattr(found, attribute)
    return found


def _loaded(source: str) -> types.ModuleType:
    """The module of a file, or of a dotted name. A file in a package is imported as a member of it."""
    if not source.endswith(".py"):
        return importlib.import_module(source)
    path = Path(source).resolve()
    with beside(source):
        members = path.relative_to(root(path)).with_suffix("").parts
        if len(members) == 1:
            return _alone(path)
        package = Path(root(path), members[0], "__init__.py")
        if members[0] not in sys.modules:  # by its place: the standard library may have one of that name
            _run(members[0], package)
        if getattr(sys.modules[members[0]], "__file__", None) != str(package):
            return _alone(path)
        return importlib.import_module(".".join(members[:-1] if members[-1] == "__init__" else members))


def _alone(path: Path) -> types.ModuleType:
    """The module of a file that is in no package, as it is now; once, however often it is named."""
    about = path.stat()
    return _as_it_is(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache
def _as_it_is(path: Path, *_: int) -> types.ModuleType:
    there = getattr(sys.modules.get(path.stem), "__file__", None)
    free = path.stem not in sys.modules or there == str(path)
    return _run(path.stem if free else f"{path.stem} at {path.parent}", path)


def _run(name: str, path: Path) -> types.ModuleType:
    """Execute a file as the module `name`; nothing is left of it where it raises."""
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def root(path: Path) -> Path:
    """The folder from which a file is imported: its own, or that of the package it is part of."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder = folder.parent
    return folder


@contextmanager
def beside(source: str) -> Iterator[None]:
    """Import the neighbours of a file as when it is run as a script, and what it is part of.

    They come before installed packages, and after the standard library, which others import too. Later they
    come last: a `thop.py` beside a model is not what a counter means by `import thop`.
    """
    if not source.endswith(".py"):
        yield
        return
    path = Path(source).resolve()
    folders = list(dict.fromkeys([str(path.parent), str(root(path))]))
    known = [folder for folder in folders if folder in sys.path]
    at = 1 + max((i for i, entry in enumerate(sys.path) if entry in STANDARD), default=-1)
    sys.path[at:at] = folders
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
        sys.path += [folder for folder in folders if folder not in known]


def own(name: str) -> str:
    """The module that one of our own models is in."""
    return f"{__package__}.mobilenet_v2"


def _own() -> list[str]:
    return [DEFAULT_MODEL]


def working_directory() -> str:
    """Where this process works."""
    try:
        return str(Path.cwd())
    except OSError:
        return "a folder that is gone"
