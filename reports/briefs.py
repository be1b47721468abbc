"""Many models through many counters, in one plan of jobs, for whoever needs little of each answer.

A ledger takes long to read and to go through. So what a table or a baseline says of one, and of a counter's tally on
it, is kept beside the answers, and holds as long as they do and the code that made it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from flopledger import counters as room
from flopledger.counters.engine import adapters, kept, plan
from flopledger.counters.engine.job import LEDGER
from flopledger.counters.engine.plan import Asked
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.subject import Spec

H = TypeVar("H")
C = TypeVar("C")


class Reading(msgspec.Struct, Generic[H, C], frozen=True, kw_only=True):
    """What is made of a ledger (a `head`) and of each tally on it (a `cell`, which has a `total` or None).

    `files` are those whose code that is, beside the counters' own. `name` tells several readings apart.
    """

    name: str
    head: type[H]
    cell: type[C]
    of_ledger: Callable[[Spec, Ledger], H]
    of_tally: Callable[[Tally, Ledger], C]
    files: list[Path]


class Gathered(NamedTuple, Generic[H, C]):
    """What the ledger and each counter say of a subject; without a ledger why there is none."""

    spec: Spec
    head: H | None
    cells: list[C]
    reason: str = ""


def gathered(
    specs: Iterable[Spec],
    asked: Sequence[Asked],
    reading: Reading[H, C],
    *,
    keep: bool = True,
    on_start: Callable[[int], None] = lambda total: None,
    on_running: Callable[[str], None] = lambda what: None,
    on_done: Callable[[str], None] = lambda what: None,
    **options: Any,
) -> Iterator[Gathered[H, C]]:
    """Each subject once, with the counters' cells: what was kept first, the rest as it comes."""
    shelf = _Shelf(asked, reading)
    missing: list[Spec] = []
    for spec in dict.fromkeys(specs):
        found = shelf.kept(spec) if keep else None
        if found is None:
            missing.append(spec)
        else:
            yield found
    if not missing:
        return
    on_start(len(missing) * (1 + sum(each.runs for each in asked)))
    done = plan.count_each(
        asked, missing, keep=keep, on_running=lambda spec, name: on_running(said(spec.model, name)),
        on_done=lambda spec, name: on_done(said(spec.model, name)), **options,
    )  # fmt: skip
    for spec, ledger, tallies, reason in done:
        if ledger is None:
            yield Gathered(spec, None, [], reason)
            continue
        head, cells = reading.of_ledger(spec, ledger), [reading.of_tally(tally, ledger) for tally in tallies]
        shelf.keep(spec, head, cells)
        yield Gathered(spec, head, cells)


def said(model: str, name: str) -> str:
    """A model and who counts it, as progress names them."""
    return f"{model}: {'the ledger' if name == LEDGER else name}"


class _Shelf(Generic[H, C]):
    """Where the heads and cells of one reading are kept."""

    def __init__(self, asked: Sequence[Asked], reading: Reading[H, C]):
        self.asked = asked
        self.reading = reading
        self.keys = kept.Keys()
        # Those that can say something; of the others it is said again.
        self.runs: Set[str] = {
            each.name for each in asked if each.runs and (each.release or not adapters.overwritten(each.adapter))
        }
        self.code = functools.cache(self._code)

    def _code(self, name: str) -> list[Any]:
        """What a head or cell depends on beside its answer: the rules of a counter, and how they are read."""
        adapter = next((each.adapter for each in self.asked if each.name == name), None)
        theirs = [*adapter.files, *adapter.stating] if adapter else []
        rooms = Path(str(room.__file__)).parent, Path(__file__)
        return [self.reading.name, *kept.stamps(*rooms, *self.reading.files, *map(Path, theirs))]

    def kept(self, spec: Spec) -> Gathered[H, C] | None:
        """All that is to be said of a subject, if it was said before; None where some of it must be asked for."""
        ledger = self.keys.ledger(spec)
        head = kept.brief(LEDGER, ledger, self.code(LEDGER), self.reading.head) if ledger else None
        if head is None:
            return None
        cells: list[C] = []
        for each in self.asked:
            if each.name not in self.runs:
                if each.runs:
                    return None
                nothing = Ledger(model=spec.model, inputs=[], params=0, entries=[])
                cells.append(self.reading.of_tally(plan.tally(each), nothing))
                continue
            key = self.keys.count(each.adapter, each.release, spec)
            cell = kept.brief(each.name, key, [self.code(each.name), ledger], self.reading.cell) if key else None
            if cell is None:
                return None
            cells.append(cell)
        return Gathered(spec, head, cells)

    def keep(self, spec: Spec, head: H, cells: Sequence[C]) -> None:
        ledger = self.keys.ledger(spec)
        if ledger is None:
            return
        kept.keep_brief(LEDGER, ledger, self.code(LEDGER), head)
        for each, cell in zip(self.asked, cells, strict=True):
            key = self.keys.count(each.adapter, each.release, spec) if each.name in self.runs else None
            if key is not None:
                failed = getattr(cell, "total", None) is None
                kept.keep_brief(each.name, key, [self.code(each.name), ledger], cell, failed=failed)
