"""Which counters there are: a lazy table, and the entry points of other people's packages.

A counter is one file. Its class has the attributes of `Counter` below; listing them imports
nothing but these small files, never a counter library.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from packaging.version import InvalidVersion, Version

from flopledger.counters.convention import Convention, Step
from flopledger.counters.tally import Count
from flopledger.reference_model import subject
from flopledger.reference_model.ledger import Mode
from flopledger.reference_model.names import SpecError

if TYPE_CHECKING:
    from torch import nn

GROUP = "flopledger.counters"
_NAME = re.compile(r"\w[\w.+-]*")
TABLE = {
    "thop": "flopledger.counters.libraries.thop.count:Thop",
    "ultralytics-thop": "flopledger.counters.libraries.ultralytics_thop:UltralyticsThop",
    "torchsummaryX": "flopledger.counters.libraries.torchsummaryx:TorchSummaryX",
    "ptflops-pytorch": "flopledger.counters.libraries.ptflops.count:PtflopsPytorch",
    "ptflops-aten": "flopledger.counters.libraries.ptflops.count:PtflopsAten",
    "fvcore": "flopledger.counters.libraries.fvcore.count:Fvcore",
    "torchinfo": "flopledger.counters.libraries.torchinfo.count:Torchinfo",
    "torch": "flopledger.counters.libraries.torch_flop_counter:TorchFlopCounter",
}


class Counter(Protocol):
    """What an adapter has to be.

    `distribution` is the name on the package index, `unit` "MAC" or "FLOP" (what one unit of the
    total stands for in a contraction), `device` the device on which the library's answer is its
    answer: "meta" where shapes alone decide, "cpu" where they do not. It may also have `modes`, the ways of running
    a model that it can count: by default `("eval", "train")`, a forward as the model is. Where "step" is one of
    them, `model(*inputs)` is a forward and its backward.

    For who pastes a difference elsewhere it may have `script`, the lines that print its total of `model` and `inputs`
    with the library alone; `needs`, the packages that the library imports and does not require; and `repository`, the
    address of its source at the tag of a `{version}`.
    """

    distribution: ClassVar[str]
    unit: ClassVar[str]
    device: ClassVar[str]
    about: ClassVar[str]

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        """Run the library, in a process of its own, on a model in the mode that is asked for.

        Raises:
            Unsupported: the library says that it cannot.
        """

    def convention(self, version: str | None) -> Convention:
        """What this version charges. Must not import the library."""


class Named(Protocol):
    """What has a distribution: an adapter, or what is known of one."""

    @property
    def distribution(self) -> str: ...


class UnknownCounter(ValueError):
    """No such counter; the message suggests the nearest names."""


@lru_cache(maxsize=1)
def table() -> dict[str, str]:
    """name → "module:Class", our own and those of installed packages; without those in `left_out`."""
    return {**TABLE, **{name: targets[0] for name, targets in _offered().items() if name not in left_out()}}


@lru_cache(maxsize=1)
def left_out() -> dict[str, str]:
    """Names that installed packages offer and that cannot be used, with the reason: they concern nobody else."""
    reasons = {}
    for name, targets in _offered().items():
        if name in TABLE:
            reasons[name] = f"{', '.join(targets)} has the name of a counter that is part of flopledger"
        elif len(targets) > 1:
            reasons[name] = f"more than one counter is called {name!r}: {', '.join(targets)}"
        elif not _NAME.fullmatch(name):
            reasons[name] = f"no counter can be called {name!r}: letters, digits, '.', '_', '-' and '+' make a name"
    return reasons


def _offered() -> dict[str, list[str]]:
    """What installed packages offer: name → targets, mostly one."""
    found: dict[str, list[str]] = {}
    for point in metadata.entry_points(group=GROUP):
        targets = found.setdefault(point.name, [])
        if point.value not in targets:
            targets.append(point.value)
    return found


def names() -> list[str]:
    """All counters, in the order of the table."""
    return list(table())


def is_here(adapter: Named) -> bool:
    """Whether a counter can run without an overlay: its distribution is installed, or it has none."""
    return not adapter.distribution or version_of(adapter.distribution) is not None


def modes(adapter: Counter) -> tuple[Mode, ...]:
    """The ways of running a model that an adapter counts."""
    return tuple(getattr(adapter, "modes", ("eval", "train")))


def changes(name: str) -> list[str]:
    """The releases with which a counter of ours changed what it charges, oldest first, as its file states them."""
    module = sys.modules[type(get(name)).__module__]
    steps: Sequence[Step] = getattr(getattr(module, "rules", module), "STEPS", ())
    return [step.release for step in steps]


def stands_in_for(adapter: Named) -> str:
    """The distribution whose import name this one shares (`instead_of`), "" for most."""
    return str(getattr(adapter, "instead_of", ""))


def remedy(adapter: Named) -> str:
    """What to do about a counter that is not installed."""
    if other := stands_in_for(adapter):
        return f"it would overwrite {other}; run a release of it: {adapter.distribution}==RELEASE"
    return f"pip install {adapter.distribution}"


def get(name: str) -> Counter:
    """The adapter called `name`; `path/file.py:Class` and `module:Class` name one that is not registered.

    Raises:
        UnknownCounter: there is none.
    """
    target = TABLE.get(name) or table().get(name) or (name if ":" in name else None)
    if target is None and name in left_out():
        raise UnknownCounter(left_out()[name])
    if target is None:
        lowered = {known.lower(): known for known in table()}
        close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
        hint = ", ".join(lowered[n] for n in close)
        raise UnknownCounter(
            f"no counter {name!r}; did you mean {hint}?" if close
            else f"no counter {name!r}; there are {', '.join(table())}"
        )  # fmt: skip
    source, _, attribute = target.rpartition(":")
    what = f"counter {name!r}" if name == target else f"counter {name!r} ({target})"
    try:
        found = subject.named(source, attribute)
    except SpecError as error:
        raise UnknownCounter(f"{what} {error}") from error.__cause__
    if not isinstance(found, type) or not hasattr(found, "count"):
        raise UnknownCounter(f"{what} is no class with a method `count`")
    try:
        return cast(Counter, found())
    except Exception as error:
        raise UnknownCounter(f"{what} cannot be made: {type(error).__name__}: {error}".splitlines()[0]) from error


def claimed(name: str, version: str | None) -> Convention:
    """What the counter called `name` says that it charges, at a version.

    Raises:
        UnknownCounter: there is none, or it cannot say.
    """
    try:
        found = get(name).convention(version)
    except UnknownCounter:
        raise
    except Exception as error:
        raise UnknownCounter(
            f"counter {name!r} cannot state its convention: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Convention):
        raise UnknownCounter(f"counter {name!r} cannot state its convention: it is no Convention but {found!r}")
    return found


def modules_of(distribution: str) -> dict[str, Path]:
    """The top-level modules of an installed distribution, and where they lie; empty where that is not told."""
    try:
        found = metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: a counter of no distribution
        return {}
    if is_editable(found):
        return {}
    tops = (found.read_text("top_level.txt") or "").split()
    if not tops and Path(str(found.locate_file(distribution))).is_dir():  # torch's list of files takes long to read
        tops = [distribution]
    if not tops:
        parts = [file.parts for file in found.files or () if ".." not in file.parts]
        tops = [p[0] for p in parts if (len(p) > 1 or p[0].endswith(".py")) and not p[0].endswith(".dist-info")]
    named = {top.removesuffix(".py"): Path(str(found.locate_file(top.removesuffix(".py")))) for top in tops}
    places = {name: place if place.is_dir() else place.with_name(f"{name}.py") for name, place in named.items()}
    return {name: place.resolve() for name, place in places.items() if place.exists()}


def is_editable(found: metadata.Distribution) -> bool:
    """Whether a distribution is installed from a folder in which somebody works."""
    return bool(re.search(r'"editable":\s*true', found.read_text("direct_url.json") or ""))


def version_of(distribution: str) -> str | None:
    """The installed version as the package index writes it, or None; a counter may have no distribution ("")."""
    if not distribution:
        return None
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
    try:
        return str(Version(found))  # thop's metadata says 0.1.1-2209072238
    except (InvalidVersion, TypeError):  # TypeError: metadata without a version
        return re.sub(r"[^\w.+!-]", "_", found or "unknown")[:100]  # one word, as documents have it
