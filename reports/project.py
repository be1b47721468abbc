"""What a project says of itself: `[tool.flopledger]` in its pyproject.toml, or flopledger.toml with the same keys.

    [tool.flopledger]
    baseline = "flops.json"                 # beside the file, in its folder or below; default "flopledger.json"
    counters = ["thop", "fvcore", "torch"]  # default: every counter that is installed
    mode = "eval"                           # of models that say nothing else

    [[tool.flopledger.models]]
    name = "resnet50"                       # default: the spec
    model = "torchvision:resnet50"
    inputs = ["1x3x224x224"]                # a text, a list, or a table by name
    mode = "step"
    budget = { macs = "4.1 G", params = 26_000_000, ops = { conv = "4 G" }, sites = { "layer4" = "1 G" } }

Files that it names (of models, of inputs) are beside it, wherever the command runs: `Project.here()` goes there.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from flopledger.counters import registry
from flopledger.counters.engine.adapters import about
from flopledger.counters.engine.plan import distinct
from flopledger.counters.tally import LARGEST
from flopledger.reference_model.ledger import MODES, OPS
from flopledger.reference_model.names import nearest
from flopledger.reference_model.subject import DEFAULT_MODEL, Spec
from flopledger.reports import toml_lines
from flopledger.reports.identify import number
from flopledger.reports.subjects import Subject, subjects

FILES = ("pyproject.toml", "flopledger.toml")
BASELINE = "flopledger.json"
QUANTITIES = "flopledger.quantities"  # the entry points of packages with operators of their own
_KEYS = ("baseline", "counters", "mode", "models")
_OF_MODEL = ("name", "model", "inputs", "mode", "budget")
_OF_BUDGET = ("macs", "params", "ops", "sites")
EXAMPLE = '[[tool.flopledger.models]] with model = "torchvision:resnet50"'


class ProjectError(ValueError):
    """What is wrong with a configuration, in one line that begins with the file and its line."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a model may take: MACs in all, by op and by site prefix, and parameters.

    A prefix is the name of a module, and stands for it and what is in it. `line` is where the file says so, and
    `lines` where it says each: "macs", "params", "op conv", "site layer4".
    """

    macs: int | None = None
    params: int | None = None
    ops: dict[str, int] = {}
    sites: dict[str, int] = {}
    line: int = 0
    lines: dict[str, int] = {}


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the project. `line` is where its entry begins."""

    name: str
    spec: Spec
    budget: Budget | None = None
    line: int = 0


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project's configuration. `counters` are None where it names none: all that are installed.

    `line` is where the configuration begins, `baseline_line` where it names its baseline.
    """

    path: Path
    baseline: Path
    counters: list[str] | None = None
    models: list[Guarded] = []
    line: int = 1
    baseline_line: int = 1

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Work in the project's own folder, from where the files that it names are seen."""
        with contextlib.chdir(self.path.parent):
            yield

    def fault(self, line: int, what: str) -> ProjectError:
        """An error at a line of the file."""
        return _error(self.path, line, what)

    def model(self, name: str) -> Guarded:
        """The model of that name.

        Raises:
            ProjectError: there is none; the message has the nearest.
        """
        found = next((each for each in self.models if each.name == name), None)
        if found is None:
            names = [each.name for each in self.models]
            raise self.fault(self.line, f"no model {name!r}{_instead(name, names)}")
        return found


def project(start: Path | None = None) -> Project | None:
    """The configuration that is nearest: of `start` (the working directory) or a folder above it; None where none is.

    Raises:
        ProjectError: it cannot be read or says what cannot be; or one folder has two.
    """
    try:
        folder = (start or Path.cwd()).resolve()
    except OSError:  # the working directory is gone
        return None
    for place in (folder, *folder.parents):
        found = [(path, table) for path in map(place.joinpath, FILES) if (table := _configured(path)) is not None]
        if len(found) == 2:
            raise _error(found[1][0], 1, f"{FILES[0]} beside it has [tool.flopledger], too; keep one of the two")
        if found:
            path, (table, text) = found[0]
            return _Reader(path, text).read(table)
    return None


def _configured(path: Path) -> tuple[Any, str] | None:
    """What a file says of flopledger, and its text; None where it says nothing. Raises ProjectError."""
    try:
        if not path.is_file():
            return None
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _error(path, 1, f"it cannot be read: {error.strerror if isinstance(error, OSError) else error}") from None
    if path.name == FILES[0] and "flopledger" not in text:
        return None
    try:
        content: Any = tomllib.loads(text)
    except RecursionError:
        raise _error(path, 1, "it is nested deeper than anybody can follow") from None
    except tomllib.TOMLDecodeError as error:
        line, what = toml_lines.fault(error, text)
        raise _error(path, line, f"it is not TOML: {what}") from None
    if path.name == FILES[0]:
        tools = content.get("tool")
        content = tools.get("flopledger") if isinstance(tools, Mapping) else None
    return None if content is None else (content, text)


def _error(path: Path, line: int, what: str) -> ProjectError:
    """The file is named as it is seen from here."""
    with contextlib.suppress(ValueError, OSError):
        path = path.relative_to(Path.cwd())
    return ProjectError(f"{path}:{line}: {' '.join(what.split())}")


def is_name(text: str) -> bool:
    """Whether a model can be called so: one line that is no option on a command line, and no test's."""
    fine = text.isprintable() and text == text.strip() and 0 < len(text) <= 200
    return fine and not text.startswith("-") and "::" not in text


class _Reader:
    """One file on its way to a `Project`; knows where each value stands."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self.text = text
        self.prefix: toml_lines.Path = ("tool", "flopledger") if path.name == FILES[0] else ()
        self.lines = toml_lines.lines(text)

    def line(self, *place: str | int) -> int:
        return toml_lines.line_of(self.lines, (*self.prefix, *place))

    def fail(self, what: str, *place: str | int) -> NoReturn:
        raise _error(self.path, self.line(*place), what)

    def read(self, table: Any) -> Project:
        self._known(table, _KEYS, "[tool.flopledger]")
        mode = self._mode(table.get("mode", "eval"), "mode")
        return Project(
            path=self.path,
            baseline=self._baseline(table.get("baseline", BASELINE)),
            counters=self._counters(table.get("counters")),
            models=self._models(table.get("models", []), mode),
            line=self.line(),
            baseline_line=self.line("baseline"),
        )

    def _known(self, table: Any, keys: Sequence[str], what: str, *place: str | int) -> None:
        if not isinstance(table, Mapping):
            self.fail(f"{what} is {_said(table)}; it is a table with {', '.join(keys)}", *place)
        for key in table:
            if key not in keys:
                self.fail(f"{what} has no {key!r}{_instead(key, keys)}", *place, key)

    def _mode(self, mode: Any, *place: str | int) -> Any:
        if not isinstance(mode, str) or mode not in MODES:
            self.fail(f"no mode {_said(mode)}; there is {', '.join(MODES)}", *place)
        return mode

    def _baseline(self, given: Any) -> Path:
        if not isinstance(given, str) or not given.strip() or not given.isprintable():
            self.fail(f"baseline is {_said(given)}; it is a file's name, like {BASELINE!r}", "baseline")
        folder = self.path.parent
        place = (folder / given).resolve()
        if not place.is_relative_to(folder.resolve()):
            self.fail(f"baseline {given!r} is outside of the project; name a file in {folder} or below", "baseline")
        if place.is_dir():
            self.fail(f"baseline {given!r} is a folder; name a file, like {BASELINE!r}", "baseline")
        return folder / given

    def _counters(self, given: Any) -> list[str] | None:
        if given is None:
            return None
        if not isinstance(given, list) or not given:
            self.fail(f'counters are {_said(given)}; they are a list of names, like ["thop", "fvcore"]', "counters")
        for i, name in enumerate(given):
            try:
                if not isinstance(name, str):
                    raise ValueError(f"a counter is {_said(name)}; it is a name, like 'thop' or 'fvcore==0.1.5'")
                (counter,) = (each.partition("==")[0] for each in distinct([name]))
                if counter not in registry.TABLE:  # of our own there is nothing to ask
                    with contextlib.chdir(self.path.parent):
                        about(counter)
            except ValueError as error:
                self.fail(str(error), "counters", i)
        return distinct(given)

    def _models(self, given: Any, mode: Any) -> list[Guarded]:
        if not isinstance(given, list):
            self.fail(f"models are {_said(given)}; each begins with [[tool.flopledger.models]]", "models")
        found: dict[str, Guarded] = {}
        for i, each in enumerate(given):
            for model in self._model(each, mode, i):
                if other := found.get(model.name):
                    self.fail(
                        f"two models are called {model.name!r}, this and that of line {other.line}; give one "
                        "another name",
                        "models", i, "name",
                    )  # fmt: skip
                found[model.name] = model
        return list(found.values())

    def _model(self, given: Any, mode: Any, i: int) -> Iterator[Guarded]:
        here = "models", i
        self._known(given, _OF_MODEL, "a model", *here)
        spec = given.get("model")
        if not isinstance(spec, str):
            self.fail(
                f'a model needs its spec, like model = "torchvision:resnet50"; it is {_said(spec)}', *here, "model"
            )
        self._mode(given.get("mode", mode), *here, "mode")
        if (name := given.get("name")) is not None:
            self._name(name, *here, "name")
        inputs = given.get("inputs")
        if inputs is not None and not isinstance(inputs, (str, list, Mapping)):
            self.fail(
                f"inputs are {_said(inputs)}; they are a text like '1x3x224x224', a list or a table", *here, "inputs"
            )
        budget = self._budget(given["budget"], *here, "budget") if "budget" in given else None
        plain = {key: value for key, value in given.items() if key != "budget"}
        with contextlib.chdir(self.path.parent):
            if inputs is not None:
                self._subjects({**plain, "model": DEFAULT_MODEL}, mode, *here, "inputs")
            matching = self._subjects(plain, mode, *here, "model")
        for each in matching:
            yield Guarded(name=each.name, spec=each.spec, budget=budget, line=self.line(*here))

    def _subjects(self, given: Mapping[str, Any], mode: Any, *place: str | int) -> list[Subject]:
        try:
            return subjects([given], None, mode)
        except ValueError as error:
            self.fail(str(error), *place)

    def _name(self, name: Any, *place: str | int) -> None:
        if not isinstance(name, str) or not is_name(name):
            self.fail(
                f"{_said(name)} cannot be a name; it is one line of text that has no '::' and no dash in front", *place
            )

    def _budget(self, given: Any, *place: str | int) -> Budget:
        self._known(given, _OF_BUDGET, "a budget", *place)
        lines: dict[str, int] = {}
        limits: dict[str, dict[str, int]] = {"ops": {}, "sites": {}}
        alone: dict[str, int] = {}
        for key, value in given.items():
            if key in alone or key in ("macs", "params"):
                alone[key] = self._amount(value, f"the budget's {key}", key, *place, key)
                lines[key] = self.line(*place, key)
                continue
            if not isinstance(value, Mapping):
                self.fail(
                    f'a budget\'s {key} are {_said(value)}; they are a table, like {key} = {{ "…" = "1 G" }}',
                    *place,
                    key,
                )
            for name, amount in value.items():
                if key == "ops" and name not in OPS and not entry_points(group=QUANTITIES):  # they may name others
                    self.fail(f"no op {name!r}{_instead(name, OPS)}", *place, key, name)
                limits[key][name] = self._amount(amount, f"the budget of {name!r}", "macs", *place, key, name)
                lines[f"{key[:-1]} {name}"] = self.line(*place, key, name)
        return Budget(
            macs=alone.get("macs"), params=alone.get("params"), **limits, line=self.line(*place), lines=lines
        )  # fmt: skip

    def _amount(self, given: Any, what: str, unit: str, *place: str | int) -> int:
        """A whole number of MACs or parameters, as people write them."""
        right = "it is a number like 26_000_000 or '4.1 G'"
        if isinstance(given, bool) or not isinstance(given, (int, float, str)):
            self.fail(f"{what} is {_said(given)}; {right}", *place)
        try:
            if isinstance(given, str):
                printed = number.parse(given)
                if printed.unit == "FLOP" or (unit == "params" and printed.unit):
                    self.fail(f"{what} is in {unit if unit == 'params' else 'MACs'}, not {given!r}; {right}", *place)
                value = printed.value
            else:
                value = Fraction(given)
        except (ValueError, OverflowError) as error:
            if isinstance(error, ProjectError):
                raise
            self.fail(f"{what} is no number: {error}", *place)
        if value.denominator != 1 or not 0 <= value <= LARGEST:
            self.fail(f"{what} is {_said(given)}, which is no whole number of {unit} up to 2**62; {right}", *place)
        return int(value)


def _instead(name: str, known: Iterable[str]) -> str:
    """The nearest of the names there are, or all of them."""
    return nearest(name, known) or f"; there is {', '.join(sorted(known)) or 'none'}"


def _said(value: Any) -> str:
    """A value as a message names it."""
    text = repr(value)
    return "missing" if value is None else text if len(text) <= 60 else f"{text[:60]}…"
