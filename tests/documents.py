"""One small document of each kind, with something of everything in it, and their changes by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace
from sample_run import assembled, calls, missing, tally_of

from flopledger.counters import registry
from flopledger.counters.convention import Convention, rule
from flopledger.counters.engine.package_index import Listing, Release
from flopledger.counters.tally import Aside, Part, Tally
from flopledger.reference_model.ledger import Call, Entry, Ledger, Member
from flopledger.reference_model.subject import Spec
from flopledger.reports.documents import baseline as baselines
from flopledger.reports.documents.baseline import Baseline, Snapshot, snapshot
from flopledger.reports.documents.reading import FORMAT, digest, encode
from flopledger.reports.history import told

COUNTER = "miniatures:Published"
LEDGER = Ledger(
    model="mobilenet_v2",
    inputs=["1x3x8x8", "2:int64"],
    params=77,
    entries=[
        Entry(site="a", op="conv", aten="aten.convolution", module="Conv2d", leaf=True,
              calls=calls(macs=1 << 26, outputs=1 << 24)),
        Entry(site="b", op="conv", aten="aten.convolution", inside=["torch.f"], calls=calls(2, macs=200, outputs=20)),
        Entry(site="b", op="add", aten="aten.add", calls=calls(outputs=30)),
        Entry(site="c", op="linear", aten="aten.addmm",
              calls=[*calls(outputs=15, macs=60), *calls(outputs=16, macs=64)]),
        Entry(site="d", op="unpriced", aten="mylib.op", calls=[
            Call(quantities={"outputs": 8}, facts={"shapes_in": [[2, 3]], "shapes_out": [[2, 4]]}, times=2)]),
    ],
    notes=["a note"],
    members={"": Member(kind="lib.Net", calls=1, output=[1, 5], shapes=1),
             "a": Member(kind="Conv2d", params=77, calls=1)},
)  # fmt: skip
MACS = Convention(
    "macs", (rule("conv linear", "macs", "one each", "lib.py:x"), rule("add", "outputs", "adds", "lib.py:y"))
)
FLOPS = Convention(
    "torch_flop_counter", (rule("conv linear", "2·macs", "two each", "lib.py:z"), rule("add", "0", "none", "lib.py:0"))
)


def a_run() -> Any:
    """Three counters with a number: one fails and rounds, one says FLOPs, one speaks of ops; and one without."""
    rounded = tally_of(MACS, LEDGER, (Part("b", "mystery", 9), Part("", "unattributed", -4)))
    asides = [Aside("rounding", -2, "it adds up in float32")]
    by_op = [Part("", "conv", (1 << 26) + 400), Part("", "add", 31), Part("", "linear", 124)]
    tallies = [
        (replace(rounded, total=(rounded.total or 0) - 2, asides=asides, warnings=["beware", "of it"],
                 shims=["a shim"], uncounted={"aten::roll": 3}), MACS),
        (tally_of(FLOPS, LEDGER), FLOPS),
        (replace(rounded, counter="ops", parts=by_op, granularity="op", total=(1 << 26) + 555, release="3.0"), MACS),
        (missing("gone", "failed", "it crashed"), MACS),
    ]  # fmt: skip
    return replace(assembled(LEDGER, tallies), asked=["gone", "macs"])


def a_history() -> Any:
    """Six releases: an egg, two that differ by rule, one that fails to count, one that fails, and one that rounds."""
    published = [
        Release(version=version, uploaded=f"20{year}-05-06T07:08:09", yanked="a mistake" if year == 22 else None,
                obstacle="an egg" if year == 17 else None)
        for version, year in (("0.9", 17), ("1.0", 18), ("1.1", 19), ("2.0", 20), ("2.1", 21), ("2.2", 22))
    ]  # fmt: skip
    listing = Listing(distribution="mini", asked="2026-01-01T00:00:00+00:00", releases=published)
    found = [(release, _published(release.version)) for release in published]
    history = told(COUNTER, Spec.parse("mobilenet_v2", ["1x3x8x8"]), listing, found, LEDGER)
    return replace(history, flopledger="0.1.0", created="2026-01-02T03:04:05+00:00", environment=a_run().environment)


def _published(version: str) -> Tally | None:
    if version == "0.9":
        return None
    if version == "1.1":
        return replace(missing(COUNTER, "timeout", "too slow"), release=version)
    extra = (Part("c", None, 5), Part("elsewhere", "conv", 6)) if version == "2.1" else ()
    tally = tally_of(registry.claimed(COUNTER, version), LEDGER, extra)
    asides = [Aside("rounding", 1, "it adds up in float32")] if version == "2.2" else []
    return replace(tally, counter=COUNTER, release=version, version=version, asides=asides,
                   total=(tally.total or 0) + len(asides), warnings=["beware"], shims=["a shim"])  # fmt: skip


def documents() -> dict[str, dict[str, Any]]:
    """Kind → a document as plain JSON, without its digest; a snapshot is an entry of a baseline."""
    found = {"run": a_run(), "history": a_history(), "snapshot": snapshot(a_run())}
    plain = {kind: json.loads(encode(document)) for kind, document in found.items()}
    return {kind: {name: value for name, value in d.items() if name != "digest"} for kind, d in plain.items()}


def baseline(*entries: Snapshot, **named: Snapshot) -> bytes:
    """A baseline's file: of one entry by the name "net", or of several by theirs."""
    return baselines.encode(Baseline(models={**({"net": entries[0]} if entries else {}), **named}))


def sealed(plain: Any) -> bytes:
    """The document with a digest that fits: as a wrong program would write it, or somebody who knows how."""
    return with_seal(plain, digest(plain))


def with_seal(plain: Any, seal: str | None) -> bytes:
    """The document with this digest, or without one; an entry of a baseline in one of its own."""
    whole = {**plain, **({} if seal is None else {"digest": seal})}
    if "work" in plain and "format" not in plain:
        whole = {"format": FORMAT, "kind": "baseline", "models": {"net": whole}}
    return json.dumps(whole).encode()


Path = tuple[str | int, ...]


def changes(plain: Any) -> Iterator[tuple[Path, Any]]:
    """Every leaf changed in several ways, every list and every key: the place, and the changed document."""
    for path, value in list(places(plain)):
        for other in _others(value):
            if other != value or type(other) is not type(value):
                yield path, with_value(plain, path, other)


def with_value(plain: Any, path: Path, other: Any) -> Any:
    """A copy with another value at one place; the rest is shared."""
    if not path:
        return other
    copied = plain.copy()
    copied[path[0]] = with_value(plain[path[0]], path[1:], other)
    return copied


def value_at(plain: Any, path: Path) -> Any:
    """What is at a place."""
    return value_at(plain[path[0]], path[1:]) if path else plain


def places(value: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place inside, and what is there."""
    if at:
        yield at, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*at, key))


def _others(value: Any) -> list[Any]:
    """What a value may be changed to: other values of its type and of other types."""
    if isinstance(value, dict):
        renamed = [{(f"{k}x" if k == key else k): v for k, v in value.items()} for key in value]
        dropped = [{k: v for k, v in value.items() if k != key} for key in value]
        return [*renamed, *dropped, [], None, "x"]
    if isinstance(value, list):
        without = [value[:i] + value[i + 1 :] for i in range(len(value))]
        doubled = [value[: i + 1] + value[i:] for i in range(len(value))]
        swapped = [value[:i] + value[i : i + 2][::-1] + value[i + 2 :] for i in range(len(value) - 1)]
        return [*without, *doubled, *swapped, [], {}, None, 3]
    if isinstance(value, bool):
        return [not value, None, 1, "x"]
    if isinstance(value, int):
        return [value + 1, value - 1, value + 1000, -value, 2 * value, 0, 1 << 61, (1 << 62) + 1, 10**400,
                value + 0.5, None, str(value), True, []]  # fmt: skip
    if isinstance(value, float):
        return [value + 1, -1.0, 1e300, "x", None]
    if isinstance(value, str):
        dated = [f"19{value[2:]}"] if re.match(r"20\d\d-\d\d-\d\dT", value) else []
        return [*dated, value + "x", "", "a\nb", "\x1b[m", "0", "MAC", "conv", None, 1, []]
    return ["x", 1, [], True]
