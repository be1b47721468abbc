"""What the command's own process knows of counters. It runs nobody's code but ours to learn it.

An adapter of another package, or one named by its file, may raise, exit, crash or loop when it is imported and when
it is asked. So it is imported in a forked copy of this process, with a time limit, and what it says comes back as
data (`flopledger.counters.engine.supervisor.apart`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec

from flopledger.counters import registry
from flopledger.counters.convention import UNKNOWN, Convention, Deviation, Rule
from flopledger.counters.engine import sources
from flopledger.counters.formula import OWN, known_elsewhere, meaning
from flopledger.counters.registry import UnknownCounter
from flopledger.reference_model.ledger import Ledger

T = TypeVar("T")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """An adapter's attributes (see `registry.Counter`), and the files that count.

    `stating` are those beside them that only say what it charges. `identity` is its module and class. `trouble` says
    why a registered counter cannot be asked anything.
    """

    name: str
    distribution: str = ""
    unit: str = ""
    device: str = "meta"
    about: str = ""
    instead_of: str = ""
    identity: str = ""
    files: list[str] = []
    stating: list[str] = []
    trouble: str = ""

    @property
    def code(self) -> str:
        """The digest of the code that counts."""
        return sources.digest(Path(file) for file in self.files)


def about(name: str) -> About:
    """What there is to know of the counter called `name`.

    Raises:
        UnknownCounter: there is none, or one that nobody registered cannot be asked.
    """
    if name in registry.TABLE:
        return _described(name)
    try:
        return _told(name, _state(name))
    except UnknownCounter as error:
        if name not in registry.table():
            raise
        return About(name=name, trouble=str(error))


def ask(name: str, question: Callable[[], T], kind: type[T]) -> T:
    """The answer to a question that runs a counter's code: of one of others', in a process of its own.

    Raises:
        UnknownCounter: it has none.
    """
    if name in registry.TABLE:
        return question()
    from flopledger.counters.engine.supervisor import apart

    try:
        return apart(question, kind)
    except ValueError as error:
        said = str(error)
        raise UnknownCounter(
            said if said.startswith(("counter ", "no counter ")) else f"counter {name!r} {said}"
        ) from None


def _state(name: str) -> tuple[int, ...]:
    """What tells one state of an adapter's file from another, in a process that lives long."""
    try:
        about = Path(name.rpartition(":")[0]).stat()
    except (OSError, ValueError):
        return ()
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=256)
def _said(name: str, *_: int) -> About | UnknownCounter:
    """Failures too: one that loops is not waited for twice."""
    try:
        return ask(name, lambda: _described(name), About)
    except UnknownCounter as error:
        return error


def _told(name: str, state: tuple[int, ...]) -> About:
    found = _said(name, *state)
    if isinstance(found, UnknownCounter):
        raise found
    return found


def _described(name: str) -> About:
    adapter = registry.get(name)
    for attribute in ("distribution", "unit", "device", "about"):
        if not isinstance(getattr(adapter, attribute, None), str):
            raise UnknownCounter(f"counter {name!r} has no text `{attribute}`")
    if adapter.device not in ("meta", "cpu"):
        raise UnknownCounter(f'counter {name!r} has device {adapter.device!r}; it must be "meta" or "cpu"')
    module = type(adapter).__module__
    counting, stating = sources.files(module)
    return About(
        name=name,
        distribution=adapter.distribution,
        unit=adapter.unit,
        device=adapter.device,
        about=adapter.about,
        instead_of=registry.stands_in_for(adapter),
        identity=f"{module}:{type(adapter).__qualname__}",
        files=sorted(map(str, counting)),
        stating=sorted(map(str, stating)),
    )


def usual() -> list[str]:
    """The counters of a run that names none: all, less those that would overwrite an installed one."""
    every = {name: about(name) for name in registry.names()}
    return [name for name, adapter in every.items() if not adapter.instead_of or registry.is_here(adapter)]


def at_hand() -> list[str]:
    """The counters that can run."""
    every = {name: about(name) for name in registry.names()}
    return [name for name, adapter in every.items() if registry.is_here(adapter) and not adapter.trouble]


def overwritten(adapter: About) -> str | None:
    """What is wrong where two distributions of one import name are both installed."""
    for other in [adapter, *map(about, registry.TABLE)]:
        pair = {other.distribution, other.instead_of}
        if other.instead_of and adapter.distribution in pair and all(map(registry.version_of, pair)):
            return (
                f"{' and '.join(sorted(pair))} are both installed and overwrite each other's files; "
                f"uninstall one, or name a release of each, like {other.distribution}==RELEASE"
            )
    return None


class Stated(msgspec.Struct, frozen=True):
    """A convention on its way here: rules and deviations as JSON, the quantities of its own, and its charges.

    A charge is the index of a rule (-1 where none speaks) and an amount as text, None where it has no value.
    """

    rules: msgspec.Raw
    own: dict[str, str]
    charged: list[tuple[int, str | None]]
    deviations: tuple[Deviation, ...] = ()


class Elsewhere(Convention, frozen=True):
    """A convention of somebody else's, with what it charges for the one ledger that it was asked about."""

    charged: tuple[tuple[int, Fraction | None], ...] = ()

    def charges(self, ledger: Ledger) -> list[tuple[Rule, Fraction | None]]:
        return [(self.rules[at] if at >= 0 else UNKNOWN, amount) for at, amount in self.charged]


def claimed(name: str, version: str | None, ledger: Ledger | None = None) -> Convention:
    """What the counter called `name` says that it charges, at a version: in general, and for a ledger.

    Raises:
        UnknownCounter: there is none, or it cannot say.
    """
    if name in registry.TABLE:
        return registry.claimed(name, version)
    if trouble := about(name).trouble:
        raise UnknownCounter(trouble)
    stated = ask(name, lambda: _stated(name, version, ledger), Stated)
    known_elsewhere(stated.own)
    try:
        rules = msgspec.json.decode(stated.rules, type=tuple[Rule, ...], dec_hook=lambda kind, text: kind(text))
        charged = tuple((at, None if amount is None else Fraction(amount)) for at, amount in stated.charged)
        if not all(-1 <= at < len(rules) for at, _ in charged) or (ledger and len(charged) != len(ledger.rows())):
            raise ValueError("its charges are not of its rules")
    except ValueError as error:
        raise UnknownCounter(f"counter {name!r} cannot state its convention: {error}") from None
    return Elsewhere(name, rules, stated.deviations, charged)


def _stated(name: str, version: str | None, ledger: Ledger | None) -> Stated:
    convention = registry.claimed(name, version)
    order = {id(rule): at for at, rule in enumerate(convention.rules)}
    charges = convention.charges(ledger) if ledger else []
    return Stated(
        rules=msgspec.Raw(msgspec.json.encode(convention.rules, enc_hook=str)),
        own={quantity: meaning(quantity) for quantity in OWN},
        charged=[(order.get(id(rule), -1), None if n is None else str(n)) for rule, n in charges],
        deviations=convention.deviations,
    )
