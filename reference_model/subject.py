"""Model specs, as people type them, and the module that they stand for; with its inputs, what is to be counted.

mobilenet_v2                         the reference
mobilenet_v2?width_mult=0.35         the same, with constructor arguments
torchvision:resnet50                 a torchvision model, random weights
timm:vit_tiny_patch16_224            a timm model, the same
transformers:gpt2                    a transformers model, by class, type, known name or config.json
diffusers:UNet2DConditionModel       a network of diffusers, by class or config.json
path/to/file.py:make                 a function or class of yours, called without arguments
package.module:make                  the same, from an installed package
path/to/program.pt2                  an exported program; script.pt, script.ts: a TorchScript file
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flopledger.reference_model import inputs as written
from flopledger.reference_model import zoo
from flopledger.reference_model.faults import below
from flopledger.reference_model.ledger import Mode
from flopledger.reference_model.names import SpecError, nearest, said, working_directory

if TYPE_CHECKING:
    from torch import nn

DEFAULT_MODEL = "mobilenet_v2"
DEFAULT_INPUT = "1x3x416x416"
IN_EVAL = "counted in eval mode; it was given in train mode"  # and one of a model that was not asked to be run so
ON_REAL = "traced on real tensors"  # that of one that could not be traced on the meta device
NOT_GIVEN = "no input was given"  # how a ledger's note begins that says where its inputs are from
_RELATIVE = re.compile(rb"^\s*from\s*\.", re.MULTILINE)
SAVED = (".pt2", ".pt", ".pth", ".ts", ".torchscript")  # how files of programs end
STANDARD = [  # where the standard library is, as entries of the search path
    entry for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    for entry in (folder, str(Path(folder, "lib-dynload")))
]  # fmt: skip


class Spec(msgspec.Struct, frozen=True):
    """A model and its inputs, by name, and how it is to be run; `build()` makes the real thing, in eval mode.

    `inputs` are texts as `flopledger.reference_model.inputs` reads them; None are the model's own (see `filled`).
    """

    model: str = DEFAULT_MODEL
    inputs: tuple[str, ...] | None = (DEFAULT_INPUT,)
    mode: Mode = "eval"

    @classmethod
    def parse(cls, model: str = DEFAULT_MODEL, inputs: Iterable[str] | None = None, mode: Mode = "eval") -> Spec:
        """Check what can be checked without torch. Raises SpecError."""
        if not model.isascii() and model.encode("utf-8", "replace").decode() != model:
            raise SpecError(f"{model!r} is not text")
        source, _, _ = split(model)
        if given := list(inputs or []):
            return cls(model, written.parsed(given), mode)
        if not source:
            return cls(model, mode=mode)
        if source in zoo.ZOOS or source.endswith(".pt2"):
            return cls(model, None, mode)
        raise _inputless(model)

    def filled(self) -> tuple[Spec, str | None]:
        """The same with inputs, and what says so where these are the model's own.

        Raises:
            SpecError: nothing says what goes in, or there is no such model.
        """
        if self.inputs is not None:
            return self, None
        found = _own_inputs(self.model)
        if found is None:
            raise _inputless(self.model)
        texts, why = found
        return msgspec.structs.replace(self, inputs=texts), why

    def build(self, device: str, drawn: bool = False) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
        """The module in eval mode, and its arguments: positional ones, and those by name.

        On `device` "meta" nothing is allocated, but that inputs of integers and truth values stay on the CPU: what
        a model does by their values is known. On "cpu", weights that no forward looks at have few numbers, repeated
        (`flopledger.reference_model.weights`), unless they are to be `drawn` as the constructor does.

        Raises:
            SpecError: no such model, wrong arguments, its own code raised, or no inputs.
        """
        spec, _ = self.filled()
        assert spec.inputs is not None
        module = _AT_HAND.pop((self.model, device), None) or _built(self.model, device, () if drawn else [spec])
        return module, *written.made(spec.inputs, device)


# What this process, or the one it is forked from, has built or asked already.
_AT_HAND: dict[tuple[str, str], nn.Module] = {}
_INPUTS: dict[str, tuple[tuple[str, ...], str] | None] = {}
_FREE: dict[Spec, bool] = {}
_LOOKED_AT: dict[str, nn.Module] = {}


def have_at_hand(specs: Sequence[Spec], device: str) -> None:
    """Build the model of these specs for the processes that are forked from this one.

    What is wrong with it is theirs to say.
    """
    model = specs[0].model
    with suppress(Exception):
        _AT_HAND[model, device] = _built(model, device, specs)
    if any(spec.inputs is None for spec in specs):
        with suppress(Exception):
            _INPUTS[model] = _own_inputs(model)
    if device != "meta":
        for spec in specs:
            values_are_free(spec)


def is_at_hand(model: str, device: str) -> bool:
    return (model, device) in _AT_HAND


def on_meta(model: str) -> nn.Module:
    """The model on meta, which is at hand then for whoever builds it. Raises SpecError."""
    if not is_at_hand(model, "meta"):
        _AT_HAND[model, "meta"] = _built(model, "meta")
    return _AT_HAND[model, "meta"]


def _on_any(model: str) -> nn.Module | None:
    """The model on any device, to be looked at; None where it cannot be built."""
    with suppress(Exception):
        return _AT_HAND.get((model, "cpu")) or on_meta(model)
    return None


def _built(model: str, device: str, specs: Sequence[Spec] = ()) -> nn.Module:
    """The module in eval mode. Raises SpecError."""
    import torch

    from flopledger.reference_model.weights import repeated

    with beside(split(model)[0]):
        factory, options = resolve(model)
        alike = device != "meta" and _may_be_repeated(specs)
        torch.manual_seed(0)
        try:
            with repeated() if alike else nullcontext():
                module = _made(factory, options, device)
        except SpecError:
            raise
        except Exception as error:
            raise SpecError(f"model {model!r} could not be built: {said(error)}{below(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise SpecError(f"model {model!r} gave {type(module).__name__}, not a torch.nn.Module")
    with suppress(NotImplementedError):  # an exported program is in the mode in which it was exported
        module.eval()
    return module


def _inputless(model: str) -> SpecError:
    return SpecError(
        f"nothing says what goes into {model!r}; name its inputs, like -i 1x3x224x224 or -i ids=1x128:int64"
    )


def values_are_free(spec: Spec) -> bool:
    """Whether a model's weights may have any value, as far as a forward of it with these inputs is concerned.

    That is so if it runs on meta, where they have none. One that is not ours may look at them in other ways.
    """
    from flopledger.reference_model.weights import runs_on_meta

    if spec not in _FREE:
        _FREE[spec] = False
        with suppress(Exception):
            if spec.mode == "eval" and is_ours(spec.model) and not needs_values(spec.model):
                filled, _ = spec.filled()
                module = _looked_at(spec.model)
                _FREE[spec] = runs_on_meta(module, *written.made(filled.inputs or (), "meta"))
    return _FREE[spec]


def needs_values(model: str) -> bool:
    """Whether a model is known not to run on meta. Raises SpecError."""
    source, name, _ = split(model)
    return zoo.needs_values(source, name)


def _may_be_repeated(specs: Sequence[Spec]) -> bool:
    """Whether a model's weights take long to draw, and may have any value for these forwards."""
    from flopledger.reference_model.weights import are_many

    with suppress(Exception):
        model = specs[0].model if specs else ""
        # One of somebody's own is built no more often than it has to be.
        if model and is_ours(model) and not needs_values(model):
            return are_many(_looked_at(model)) and all(map(values_are_free, specs))
    return False


def _looked_at(model: str) -> nn.Module:
    """The model on meta, for nobody else: a module may keep something of its forward. Raises SpecError."""
    if model not in _LOOKED_AT:
        _LOOKED_AT[model] = on_meta(model)
        del _AT_HAND[model, "meta"]
    return _LOOKED_AT[model]


def _own_inputs(model: str) -> tuple[tuple[str, ...], str] | None:
    """The inputs that a model's own metadata name, and what says so; None where nothing does. Raises SpecError."""
    if model in _INPUTS:
        return _INPUTS[model]
    source, name, options = split(model)
    if source in zoo.ZOOS:
        found = zoo.default_inputs(source, name, options, lambda: _on_any(model))
        return (written.parsed(found.inputs), found.why) if found else None
    if source.endswith(".pt2"):
        given = _exported(source).example_inputs
        return (tuple(written.described(*given)), "what it was exported with") if given else None
    return None


def _made(factory: Callable[..., Any], options: dict[str, Any], device: str) -> Any:
    import torch

    from flopledger.reference_model.known import knowing, moved

    if isinstance(factory, functools.partial) and factory.func is _saved:
        return factory(device)
    if device != "meta":
        return factory(**options)
    try:
        with knowing():
            module = factory(**options)
    except SpecError:
        raise
    except Exception:  # a constructor that needs data, or a device: NumPy's, a trace by jit
        module = factory(**options)
    return moved(module) if isinstance(module, torch.nn.Module) else module


def split(model: str) -> tuple[str, str, dict[str, Any]]:
    """`source:name?key=value` in three: the source ("" for our own), the name, the arguments."""
    name, _, query = model.partition("?")
    source, colon, attribute = name.rpartition(":")
    if name.endswith(SAVED):
        source, colon, attribute = name, "", ""
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
    if source and not colon:
        if options:
            raise SpecError(f"{model!r}: a file of a program takes no arguments")
    elif not colon:
        from_file = name.endswith(".py")
        if from_file:
            raise SpecError(f"{model!r}: name the function that makes the model, like {name}:make")
        if name not in _own():
            known = {own: [own] for own in _own()}
            for each in zoo.ZOOS:
                for bare in zoo.names(each):
                    known.setdefault(bare, []).append(f"{each}:{bare}")
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            meant = known.get(name) or [known[bare][0] for bare in close]
            hint = f"did you mean {', '.join(meant)}?" if meant else f"there is {DEFAULT_MODEL}"
            raise SpecError(f"no model {name!r}; {hint}")
    if source.endswith((".py", *SAVED)) and not _is_file(source):
        raise SpecError(f"no file {source!r} (looked in {working_directory()})")
    return source, attribute if source else name, options


def is_ours(model: str) -> bool:
    """Whether a spec names a model that is built in, or one of a zoo; any other is somebody's file or code."""
    source, name, _ = split(model)
    return source in ("", *zoo.ZOOS) and zoo.file(source, name) is None


def _is_file(path: str | Path) -> bool:
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
    if source.endswith(SAVED):
        return functools.partial(_saved, source), options
    try:
        factory = named(source, name)
    except SpecError as error:
        where = below(error.__cause__) if error.__cause__ else ""
        raise SpecError(f"model {model!r} {error}{where}") from error.__cause__
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
        above = root(path)
        members = path.relative_to(above).with_suffix("").parts
        if len(members) == 1:
            return _alone(path)
        package = _package(above / members[0])
        if package is None:
            return _alone(path)
        return importlib.import_module(".".join([package, *members[1 : -1 if members[-1] == "__init__" else None]]))


def _package(folder: Path) -> str | None:
    """The name by which a folder is imported as a package; None where another has that name, and it needs it."""
    init = folder / "__init__.py"
    if init.is_file():
        if folder.name not in sys.modules:  # by its place: the standard library may have one of that name
            _run(folder.name, init)
        return folder.name if getattr(sys.modules[folder.name], "__file__", None) == str(init) else None
    # Without an __init__ it is found by nobody but us, so any name will do.
    name, place = folder.name, [str(folder)]
    if not name.isidentifier() or getattr(sys.modules.get(name), "__path__", place) != place:
        name = f"{name} at {folder.parent}".replace(".", "_")
    if name not in sys.modules:
        sys.modules[name] = module = types.ModuleType(name)
        module.__path__ = place
    return name


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
    """The folder from which a file is imported: its own, or that of the package it is part of.

    A folder is a package if it has an `__init__.py`, or if its files import each other relatively to it.
    """
    folder = path.parent
    needed = max((len(folder.parents) - len(at.parents) for at in _relative_to(path) if folder.is_relative_to(at)),
                 default=-1)  # fmt: skip
    folder = path.parents[needed + 1]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder = folder.parent
    return folder


def _relative_to(path: Path) -> set[Path]:
    """The folders relative to which a file imports others, and these others in turn."""
    found: set[Path] = set()
    open_, seen = [path], {path}
    while open_:
        at = open_.pop()
        try:
            text = at.read_bytes()
            tree = ast.parse(text) if _RELATIVE.search(text) else ast.Module([], [])
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and 0 < node.level < len(at.parents):
                folder = at.parents[node.level - 1]
                found.add(folder)
                named = folder.joinpath(*(node.module or "").split("."))
                for place in (named, *(named / alias.name for alias in node.names)):
                    files = {place.parent / f"{place.name}.py", place / "__init__.py"} - seen
                    seen |= files
                    open_ += filter(_is_file, files)
    return found


@contextmanager
def beside(source: str) -> Iterator[None]:
    """Import the neighbours of a file as when it is run as a script, and what it is part of.

    They come before installed packages, and after the standard library, which others import too. Later they
    come last: a `thop.py` beside a model is not what a counter means by `import thop`. The working directory, as
    with `python -m`, comes last from the beginning, and only for a file below it.
    """
    if not source.endswith(".py"):
        yield
        return
    path = Path(source).resolve()
    folders = list(dict.fromkeys([str(path.parent), str(root(path))]))
    here = working_directory()
    known = [folder for folder in folders if folder in sys.path]
    at = 1 + max((i for i, entry in enumerate(sys.path) if entry in STANDARD), default=-1)
    sys.path[at:at] = folders
    if path.is_relative_to(here) and here not in sys.path:
        sys.path.append(here)
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
        sys.path += [folder for folder in folders if folder not in known]


def own(name: str) -> str:
    """The module that one of our own models is in."""
    return f"{__package__}.mobilenet_v2"


def _saved(source: str, device: str) -> nn.Module:
    """The module of an exported program or a TorchScript file. Pickled Python in it does not run. Raises SpecError."""
    if source.endswith(".pt2"):
        return _exported(source).module().to(device)  # type: ignore[no-any-return]
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.load(source, map_location=device)  # type: ignore[no-any-return]
    except Exception as error:
        raise SpecError(
            f"{source!r} is no TorchScript file ({said(error)[:200]}); of one that torch.save wrote, "
            "name a function that makes the model, like file.py:make"
        ) from error


def _exported(source: str) -> Any:
    """The exported program in a file. Raises SpecError."""
    import torch

    def refused(*_: Any, **__: Any) -> Any:
        raise SpecError(f"{source!r} has objects in it that only running its own pickled code would make")

    try:
        from unittest import mock  # and asyncio with it, which a command that runs nothing need not read

        with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"), mock.patch("pickle.loads", refused):
            return torch.export.load(source)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"{source!r} is no exported program: {said(error)[:200]}") from error


def _own() -> list[str]:
    return [DEFAULT_MODEL]
