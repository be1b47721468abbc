"""The baseline document: of each model a run without its sites, small enough to be checked in and read in a review.

{"format": 3, "kind": "baseline", "models": {NAME: {"digest": …, …}, …}}

Nothing in it is of the whole file but format and kind, so that branches that change different models merge by line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from flopledger.counters.tally import ROUNDING, Aside, Natural, Status, believed
from flopledger.reference_model.display import Displayed, Grid
from flopledger.reference_model.ledger import Entry, Member, calls_without_formula
from flopledger.reports.coverage import coverage
from flopledger.reports.documents.reading import (
    FORMAT,
    Moment,
    RunError,
    Version,
    check_moment,
    check_unlike,
    digest,
    line_of,
    opened,
    parse,
    quoted,
    unsealed,
)
from flopledger.reports.documents.reading import content as read_content
from flopledger.reports.documents.run import (
    ConventionLine,
    Environment,
    Model,
    Run,
    TallyRecord,
    Verified,
    check_model,
    check_status,
    check_unpriced,
    convention_lines,
)
from flopledger.reports.documents.run import check as check_run
from flopledger.reports.documents.writing import write_made
from flopledger.reports.reconcile import Rows


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What one counter said: its total, and the amounts by operation and formula that make it up.

    `unexplained` is what no formula gives, so `total == sum(line.count) + unexplained`. `seen` are the MACs of the
    ledger that it saw (see `flopledger.reports.coverage`).
    """

    counter: str
    distribution: str
    version: Version | None
    release: Version | None
    unit: str
    status: Status
    total: Natural | None
    params: Natural | None
    reason: str | None
    lines: list[ConventionLine]
    unexplained: int
    seen: Natural
    verified: Verified
    adapter: str
    warnings: list[str] = []

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Snapshot(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """One model's entry: a run without its sites.

    `ledger` holds the totals of every quantity, `unpriced` the operations without a formula and how often each was
    called, `source` the code that makes ledgers, by its digest. `work` is the digest of all calls and `modules` that of
    all modules, whatever they are called: what it does, as the ledger has it, and what it is.
    """

    flopledger: Version
    created: Moment
    environment: Environment
    model: Model
    ledger: dict[str, Natural]
    unpriced: dict[str, Natural]
    source: str
    work: str
    modules: str
    tallies: list[Pinned]

    def _line(self) -> str:
        totals = ", ".join(f"{t.name} {t.total:,} {t.unit}s" for t in self.tallies if t.total is not None)
        return f"{self.model.spec} at {', '.join(self.model.inputs)}: {totals or 'no counter has a number'}"

    def _grids(self) -> Iterator[Grid]:
        rows = [(t.name, t.version, t.total, t.unit, t.reason or "") for t in self.tallies]
        yield Grid(("counter", "version", "total", "unit", "remark"), rows)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What every model of a project cost when it was last accepted, by name."""

    format: Literal[3] = FORMAT
    kind: Literal["baseline"] = "baseline"
    models: dict[str, Snapshot]


def snapshot(run: Run) -> Snapshot:
    """The entry of a run."""
    return Snapshot(
        flopledger=run.flopledger,
        created=run.created,
        environment=run.environment,
        model=run.model,
        ledger=run.ledger.totals,
        unpriced=calls_without_formula(run.ledger.unpriced),
        source=run.ledger.source,
        work=work(run.ledger.entries),
        modules=modules(run.ledger.members),
        tallies=sorted((pinned(tally, run.rows) for tally in run.tallies), key=lambda tally: tally.name),
    )


def work(entries: Iterable[Entry]) -> str:
    """The digest of all calls of a ledger: what they are and cost, in no order, and not where they are."""
    calls = sorted(
        msgspec.json.encode([each.phase, each.op, each.aten, call.times, call.quantities], order="sorted")
        for each in entries
        for call in each.calls
    )
    return hashlib.sha256(b"\n".join(calls)).hexdigest()[:20]


def modules(members: Mapping[str, Member]) -> str:
    """The digest of all modules of a model: their classes, parameters, calls and outputs, and not their names."""
    every = sorted(map(msgspec.json.encode, members.values()))
    return hashlib.sha256(b"\n".join(every)).hexdigest()[:20]


def pinned(tally: TallyRecord, rows: Rows) -> Pinned:
    """What a tally said of a ledger's calls, with the lines of its convention that charge something."""
    return Pinned(
        counter=tally.counter,
        distribution=tally.distribution,
        version=tally.version,
        release=tally.release,
        unit=tally.unit,
        status=tally.status,
        total=tally.total,
        params=tally.params,
        reason=tally.reason,
        lines=[line for line in convention_lines(tally, rows) if line.count],
        unexplained=tally.unexplained,
        seen=0 if tally.total is None else coverage(tally, rows).total.macs,
        verified=tally.verified,
        adapter=tally.adapter,
        warnings=tally.warnings,
    )


def decode(data: bytes) -> Baseline:
    """Read a baseline; a run document is one of one model, by its spec.

    Raises:
        RunError: it cannot be read, was changed, or does not add up; with its line where that can be told.
    """
    kind, head = opened(data, ("baseline", "run"))
    if kind == "run":
        run: Run = parse(data, {"run": (Run, check_run)})
        return Baseline(models={run.model.spec: snapshot(run)})
    if set(head) != {"format", "kind", "models"} or not isinstance(head["models"], dict):
        raise RunError(f"it has other fields than a baseline of format {FORMAT}")
    if twice := _twice(data):
        line = line_of(data, twice, 1, b"{") if twice in head["models"] else None
        raise RunError(f"it has two entries for {quoted(twice)}; keep one of them", line)
    models = {}
    for name, entry in head["models"].items():
        what = f"an entry of a baseline of format {FORMAT}"
        try:
            if not isinstance(entry, dict):
                raise RunError(f"it is not {what}")
            models[name] = unsealed(entry, Snapshot, check, what)
        except RunError as error:
            raise RunError(f"{quoted(name)}: {error}", line_of(data, name, 0, b"{")) from None
    return Baseline(models=dict(sorted(models.items())))


def _twice(data: bytes) -> str | None:
    """A model that has two entries, as after a merge: of two equal keys a reader of JSON keeps the last."""
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        repeated.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(found)

    json.loads(data, object_pairs_hook=pairs)
    return repeated[0] if repeated else None


def encode(found: Baseline) -> bytes:
    """A baseline as it is written: sorted by name, and what has no lists in it on one line."""
    return _whole({name: entry(each) for name, each in found.models.items()})


def entry(found: Snapshot) -> bytes:
    """One model's entry as it is written, its digest first: what follows it in the file may get a comma."""
    plain = msgspec.to_builtins(found)
    return _laid({"digest": digest(plain), **plain}, 2)


def _whole(entries: Mapping[str, bytes]) -> bytes:
    models = b",\n".join(b"  " + msgspec.json.encode(name) + b": " + entries[name] for name in sorted(entries))
    inside = b"{\n" + models + b"\n }" if entries else b"{}"
    return b'{\n "format": %d,\n "kind": "baseline",\n "models": %s\n}\n' % (FORMAT, inside)


def _laid(value: Any, depth: int) -> bytes:
    """JSON in which a list or table with nothing nested in it is one line, so that a change is one."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(each, (dict, list)) and each for each in inside):
        return msgspec.json.format(msgspec.json.encode(value), indent=0)
    new, end = b"\n" + b" " * (depth + 1), b"\n" + b" " * depth
    if isinstance(value, dict):
        parts = [msgspec.json.encode(key) + b": " + _laid(each, depth + 1) for key, each in value.items()]
        return b"{" + new + (b"," + new).join(parts) + end + b"}"
    return b"[" + new + (b"," + new).join(_laid(each, depth + 1) for each in value) + end + b"]"


def rewrite(path: Path, changes: Mapping[str, Snapshot | None], anew: bool = False) -> None:
    """Put these entries into a file, or take them out (None). All other entries keep their bytes.

    The file is read and written under a lock, so that two processes lose nothing of each other's. `anew` forgets
    what is there, readable or not.

    Raises:
        RunError: what is there cannot be read.
        OSError: it cannot be read or written.
    """

    def content() -> bytes:
        entries: dict[str, bytes] = {}
        if path.exists() and not anew:
            data = read_content(path)
            decode(data)
            entries = {name: bytes(raw) for name, raw in msgspec.json.decode(data, type=_Entries).models.items()}
        for name, changed in changes.items():
            entries.pop(name, None)
            if changed is not None:
                entries[name] = entry(changed)
        return _whole(entries)

    write_made(path, content)


class _Entries(msgspec.Struct):
    models: dict[str, msgspec.Raw]


def check(found: Snapshot) -> Snapshot:
    """Add everything up again.

    Raises:
        RunError: what does not hold.
    """
    check_moment(found.created, "when it was made")
    check_model(found.model)
    check_unpriced(found.unpriced, found.ledger)
    check_unlike([tally.name for tally in found.tallies], "tallies")
    for tally in found.tallies:
        check_status(quoted(tally.name), tally.status, tally.total)
        _check_pinned(tally, found.ledger.get("calls", 0))
        if tally.seen > found.ledger.get("macs", 0) or (tally.total is None and tally.seen):
            raise RunError(f"{quoted(tally.name)} saw more MACs than there are to see")
    return found


def _check_pinned(tally: Pinned, calls: int) -> None:
    name, wrong = quoted(tally.name), tally.verified.sites - tally.verified.agree
    if (tally.total or 0) != sum(line.count for line in tally.lines) + tally.unexplained:
        raise RunError(f"the lines of {name} do not sum to its total")
    if tally.total is None and (tally.lines or tally.verified.sites or tally.params is not None):
        raise RunError(f"{name} did not count and has numbers")
    if wrong < 0 or (tally.unexplained and not wrong):
        raise RunError(f"{name} agrees at {tally.verified.agree} of {tally.verified.sites} places, and "
                       f"{tally.unexplained:,} of it is unexplained")  # fmt: skip
    rules = [
        str((line.phase, line.op, line.formula, line.because, line.source, line.when))
        for line in tally.lines
        if line.sites
    ]
    check_unlike(rules, "lines")
    if any(line.count == 0 or line.formula == "0" or line.sites > calls for line in tally.lines):
        raise RunError(f"a line of {name} charges nothing, or at more sites than the model has calls")
    asides = [Aside(line.op, line.count, "") for line in tally.lines if line.op == ROUNDING or not line.sites]
    if not believed(asides, tally.total or 0, calls):
        raise RunError(f"{name} has more in its total of no operation than can be rounding, or one for each call")


def read(path: Path) -> Baseline:
    """`decode` of a file's bytes; raises RunError and OSError."""
    return decode(read_content(path))


def only(found: Snapshot, names: set[str]) -> Snapshot:
    """The same entry with just these counters."""
    return msgspec.structs.replace(found, tallies=[tally for tally in found.tallies if tally.name in names])


def is_test(name: str) -> bool:
    """Whether an entry is a test's (`tests/test_x.py::test_y`), which only that test can count again."""
    return "::" in name
