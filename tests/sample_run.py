"""Run documents made without torch or any counter: MobileNetV2's numbers, four small conventions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import count
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from flopledger.counters.condition import in_modules, in_phase
from flopledger.counters.convention import Convention, Deviation, Rule, rule
from flopledger.counters.tally import Part, Status, Tally
from flopledger.reference_model.ledger import Call, Entry, Ledger, Member
from flopledger.reports.documents.history import Change, History
from flopledger.reports.documents.history import Row as Published
from flopledger.reports.documents.run import Environment, Run, assemble

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

HOSTILE = (
    "<script>window.broken=1</script>",
    "</script><script>window.broken=2</script>",
    '"><img src=x onerror="window.broken=3">',
    "a|b||c",
    "`tick` ``two``",
    "line\nbreak\r\nand\ttab",
    'it\'s "quoted" \\ backslash \\| & &amp; {{ 7*7 }} {% raw %} ${x} $x$',
    "<!-- <script> ]]> --> *bold* _em_ [link](http://example.invalid/) \u2028\u2029 \x00\x1b",
)


def calls(times: int = 1, **quantities: int) -> list[Call]:
    """One call with these quantities, made so many times; those that are 0 are left out, as a trace does."""
    return [Call(quantities={name: value for name, value in quantities.items() if value}, times=times)]


def charge(convention: Convention, ledger: Ledger, entry: Entry) -> Fraction:
    """What a convention charges for all calls of an entry."""
    found = zip(ledger.rows(), convention.charges(ledger), strict=True)
    return sum((amount or Fraction(0) for (mine, _), (_, amount) in found if mine is entry), Fraction(0))


def mobilenet_entries(size: int = 416) -> list[Entry]:
    """MobileNetV2's ledger entries at 1×3×size×size, from its table of blocks."""
    entries: list[Entry] = []

    def add(site: str, op: str, aten: str, module: str, api: str = "", leaf: bool = True, **quantities: int) -> None:
        entries.append(
            Entry(
                site=site,
                op=op,
                aten=f"aten.{aten}",
                module=module,
                api=api,
                leaf=leaf,
                calls=calls(samples=1, **quantities),
            )
        )

    def conv(site: str, into: int, out: int, kernel: int, side: int, stride: int = 1, groups: int = 1) -> int:
        after = side // stride
        weights = into // groups * out * kernel * kernel
        add(
            f"{site}",
            "conv",
            "convolution",
            "Conv2d",
            inputs=into * side * side,
            outputs=out * after * after,
            weights=weights,
            macs=weights * after * after,
            biases=0,
            bias_adds=0,
        )
        return after

    def norm(site: str, channels: int, side: int) -> None:
        size = channels * side * side
        add(
            site,
            "batch_norm",
            "native_batch_norm",
            "BatchNorm2d",
            inputs=size,
            outputs=size,
            weights=channels,
            biases=channels,
        )

    def relu(site: str, channels: int, side: int) -> None:
        size = channels * side * side
        add(
            site,
            "activation",
            "hardtanh",
            "ReLU6",
            api="torch.nn.functional.hardtanh",
            inputs=size,
            outputs=size,
        )

    side, channels, block = conv("features.0.0", 3, 32, 3, size, 2), 32, count(1)
    norm("features.0.1", 32, side)
    relu("features.0.2", 32, side)
    for expand, out, repeat, first_stride in BLOCKS:
        for stride in (first_stride, *[1] * (repeat - 1)):
            site, hidden, into, step = f"features.{next(block)}", channels * expand, channels, count()
            if expand != 1:
                i = next(step)
                conv(f"{site}.conv.{i}.0", into, hidden, 1, side)
                norm(f"{site}.conv.{i}.1", hidden, side)
                relu(f"{site}.conv.{i}.2", hidden, side)
            i = next(step)
            side = conv(f"{site}.conv.{i}.0", hidden, hidden, 3, side, stride, hidden)
            norm(f"{site}.conv.{i}.1", hidden, side)
            relu(f"{site}.conv.{i}.2", hidden, side)
            i = next(step)
            conv(f"{site}.conv.{i}", hidden, out, 1, side)
            norm(f"{site}.conv.{i + 1}", out, side)
            if stride == 1 and into == out:
                size = out * side * side
                add(site, "add", "add", "InvertedResidual", leaf=False, inputs=size, outputs=size)
            channels = out
    conv("features.18.0", 320, 1280, 1, side)
    norm("features.18.1", 1280, side)
    relu("features.18.2", 1280, side)
    add(
        "pool",
        "pool",
        "mean",
        "AdaptiveAvgPool2d",
        inputs=1280 * side * side,
        outputs=1280,
        windows=side * side,
    )
    add("", "view", "view", "MobileNetV2", leaf=False, inputs=1280, outputs=1280)
    add(
        "classifier.1",
        "linear",
        "addmm",
        "Linear",
        inputs=1280,
        outputs=1000,
        macs=1280000,
        weights=1280000,
        biases=1000,
        bias_adds=1000,
    )
    return entries


def members(entries: list[Entry], params: int) -> dict[str, Member]:
    """The modules of these sites and all that hold them; every parameter is the root's."""
    found = {"": Member(kind="mobilenet_v2.MobileNetV2", params=params, calls=1, output=[1, 1000], shapes=1)}
    for entry in entries:
        parts = entry.site.split(".") if entry.site else []
        for i in range(1, len(parts)):
            found.setdefault(".".join(parts[:i]), Member(kind="Sequential"))
        if entry.site and entry.leaf:
            found[entry.site] = Member(kind=entry.module, calls=1, output=[1, entry["outputs"]], shapes=1)
    return found


CONVENTIONS = (
    Convention(
        "thop",
        (
            rule(
                "conv linear",
                "macs",
                "one per multiply-accumulate",
                "thop/vision/basic_hooks.py:24 count_convNd",
            ),
            rule(
                "batch_norm",
                "4·outputs",
                "subtract, divide, scale and shift each element",
                "thop/vision/basic_hooks.py:57 count_normalization",
            ),
            rule(
                "pool",
                "inputs + outputs",
                "a sum over the window and a division",
                "thop/vision/basic_hooks.py:92 count_adap_avgpool",
                in_modules("AdaptiveAvgPool2d"),
            ),
            rule("activation", "0", "ReLU6 is registered with zero_ops", "thop/profile.py:38 register_hooks"),
        ),
    ),
    Convention(
        "torchsummaryX",
        (
            rule(
                "conv linear",
                "macs",
                "weights times output positions",
                "torchsummaryX/torchsummaryX.py:60 hook",
            ),
            rule(
                "batch_norm",
                "weights",
                "one per weight, whatever the size of the map",
                "torchsummaryX/torchsummaryX.py:71 hook",
            ),
        ),
    ),
    Convention(
        "torchinfo",
        (
            rule("conv", "macs", "weights times output positions; no bias here", "torchinfo/layer_info.py:170"),
            rule("linear", "macs + bias_adds", "weights and biases", "torchinfo/layer_info.py:176"),
            rule("batch_norm", "weights + biases", "every parameter once", "torchinfo/layer_info.py:176"),
        ),
    ),
    Convention(
        "torch_flop_counter",
        (
            rule(
                "conv linear",
                "2·macs",
                "a multiplication and an addition",
                "torch/utils/flop_counter.py:60 mm_flop",
            ),
        ),
    ),
)
UNITS = {"thop": "MAC", "torchsummaryX": "MAC", "torchinfo": "MAC", "torch_flop_counter": "FLOP"}


def tally_of(convention: Convention, ledger: Ledger, extra: tuple[Part, ...] = ()) -> Tally:
    """What a counter with exactly this convention would report, plus `extra` parts that nothing explains."""
    charged = zip(ledger.rows(), convention.charges(ledger), strict=True)
    parts = [Part(entry.site, None, int(amount)) for (entry, _), (_, amount) in charged if amount]
    parts += extra
    return Tally(
        counter=convention.counter,
        distribution=convention.counter,
        version="1.2.3",
        unit=UNITS.get(convention.counter, "MAC"),
        status="counted",
        total=sum(part.count for part in parts),
        params=ledger.params,
        parts=parts,
        device="cpu",
        seconds=0.25,
    )


def missing(name: str, status: Status, reason: str) -> Tally:
    """A counter that has no number."""
    return Tally(counter=name, distribution=name, version=None, unit="MAC", status=status, reason=reason)


def sample_run(
    size: int = 416,
    *,
    counters: int = 4,
    rename: Callable[[Entry], str] = lambda entry: entry.site,
    extra: dict[str, tuple[Part, ...]] | None = None,
    repeat: int = 1,
) -> Run:
    """A consistent run: `counters` of the four counted, two without a number.

    `extra` adds unexplained parts per counter; `repeat` copies the network, for thousands of sites.
    """
    entries = [replace(entry, site=rename(entry)) for entry in mobilenet_entries(size)]
    entries += [replace(entry, site=f"copy{n}.{entry.site}") for n in range(1, repeat) for entry in entries]
    ledger = Ledger(model="mobilenet_v2", inputs=[f"1x3x{size}x{size}"], params=3504872 * repeat, entries=entries,
                    members=members(entries, 3504872 * repeat))  # fmt: skip
    tallies = [
        (tally_of(convention, ledger, (extra or {}).get(convention.counter, ())), convention)
        for convention in CONVENTIONS[:counters]
    ]
    tallies += [
        (missing("fvcore", "unavailable", "not installed: pip install fvcore"), Convention("fvcore", ())),
        (missing("ptflops", "failed", "RuntimeError: it crashed"), Convention("ptflops", ())),
    ]
    return assembled(ledger, tallies)


def hostile_run() -> Run:
    """Names, reasons and warnings that try to break out of HTML, JSON, Markdown and LaTeX."""
    ledger_entries = [
        replace(entry, site=f"{HOSTILE[i % len(HOSTILE)]}.{i}") for i, entry in enumerate(mobilenet_entries(224))
    ]
    ledger_entries += [
        Entry(site=name, op=name, aten=name, module=name, api=name, calls=calls(outputs=7 + i))
        for i, name in enumerate(HOSTILE)
    ]
    ledger_entries += [replace(KERNEL, site=name, aten=name, module=name, api=name) for name in HOSTILE]
    ledger = Ledger(model="".join(HOSTILE), inputs=["1x3x224x224"], params=1, entries=ledger_entries, notes=[*HOSTILE])
    hard = Convention(
        HOSTILE[1],
        (
            rule("conv linear", "macs", "".join(HOSTILE), "".join(HOSTILE)),
            Rule((HOSTILE[0], HOSTILE[3]), CONVENTIONS[1].rules[0].formula, HOSTILE[0], HOSTILE[4]),
        ),
    )
    tallies = [(tally_of(convention, ledger), convention) for convention in (CONVENTIONS[0], CONVENTIONS[3])]
    odd = tally_of(hard, ledger, (Part(HOSTILE[5], None, 11), Part(HOSTILE[0], HOSTILE[3], 13)))
    tallies.append((replace(odd, warnings=[*HOSTILE], shims=[*HOSTILE], uncounted=dict.fromkeys(HOSTILE, 3)), hard))
    tallies.append((missing(HOSTILE[2] + HOSTILE[3], "failed", "\n".join(HOSTILE)), Convention("x", ())))
    return assembled(ledger, tallies)


def assembled(ledger: Ledger, tallies: list[tuple[Tally, Convention]]) -> Run:
    """The run document of `tallies`, with a fixed date and environment."""
    return assemble(
        flopledger="0.1.0",
        created="2026-01-02T03:04:05Z",
        environment=Environment(python="3.12.0", torch="2.14.0", platform="Linux-x86_64"),
        spec=ledger.model,
        ledger=ledger,
        tallies=tallies,
    )


KERNEL = Entry(
    site="kernel", op="unpriced", aten="mylib.op", module="mylib.Kernel", api="torch.ops.mylib.op",
    calls=[Call(quantities={"outputs": 8}, facts={"shapes_in": [[2, 3]], "shapes_out": [[2, 4]]})],
)  # fmt: skip


def small_run(first: Convention = CONVENTIONS[0]) -> Run:
    """A run of a few sites in which every kind of text occurs: a failure, a warning, a shim, a note, a reason."""
    entries = [entry for entry in mobilenet_entries(64) if entry.site in ("features.0.0", "features.0.1", "pool", "")]
    entries.append(KERNEL)
    ledger = Ledger(model="small", inputs=["1x3x64x64"], params=7, entries=entries, notes=["a note"])
    odd = tally_of(first, ledger, (Part("features.0.0", None, 3),))
    odd = replace(odd, warnings=["a warning"], shims=["a shim"], uncounted={"aten.left_out": 2})
    narrow = Convention("narrow", (rule("conv", "macs", "a reason", "a source", in_modules("Conv2d")),))
    return assembled(
        ledger,
        [
            (odd, first),
            (tally_of(narrow, ledger), narrow),
            (tally_of(CONVENTIONS[3], ledger), CONVENTIONS[3]),
            (missing("broken", "failed", "it crashed"), Convention("broken", ())),
        ],
    )


def step_run() -> Run:
    """One training step with a kernel of nobody's: one counter knows of the backward, three do not.

    Two of those report what their rules do not give: one so that its total is another's, one by a known accident.
    """
    sites = ("features.0.0", "features.0.1", "classifier.1")
    forward = [entry for entry in mobilenet_entries(64) if entry.site in sites]
    backward = [
        replace(entry, phase="backward", calls=calls(macs=2 * entry["macs"], outputs=entry["outputs"]))
        for entry in forward
    ]
    ledger = Ledger(
        model="small", inputs=["1x3x64x64"], params=7, mode="step", entries=[*forward, KERNEL, *backward],
        notes=["no input was given, so it is the model's own: 1x3x64x64 (as it says)", "another note"],
    )  # fmt: skip
    both, once = (replace(CONVENTIONS[i], rules=CONVENTIONS[i].rules[:1]) for i in (3, 0))
    only = Convention("only", (rule("conv linear", "macs", "a reason", "a source", in_phase("forward")),))
    dice = replace(only, counter="dice", deviations=(Deviation(in_modules("Linear"), "it throws dice", "lib.py:1"),))
    more = tuple(Part(entry.site, None, entry["macs"]) for entry in backward if entry["macs"])
    return assembled(
        ledger,
        [
            (tally_of(both, ledger), both),
            (tally_of(once, ledger), once),
            (tally_of(only, ledger, more), only),
            (tally_of(dice, ledger, (Part("classifier.1", None, 5),)), dice),
        ],
    )


def small_history() -> History:
    """Four releases: one that is first, one that moved the number, one that crashed, one that was yanked."""
    run = small_run()
    step = run.between("thop", "narrow")
    first, second = run.tally("narrow").total or 0, run.tally("thop").total or 0
    return History(
        format=3,
        kind="history",
        flopledger=run.flopledger,
        created=run.created,
        environment=run.environment,
        model=run.model,
        counter="thop",
        distribution="thop",
        unit="MAC",
        listed="2026-01-01T00:00:00Z",
        ledger=run.ledger.totals,
        unpriced={"mylib.op": 1},
        rows=[
            Published(release="1.0", uploaded="2020-01-01T00:00:00", status="counted", total=first, sites=3, agree=3),
            Published(release="1.1", uploaded="2020-02-01T00:00:00", status="failed", reason="it crashed"),
            Published(release="2.0", uploaded="2021-01-01T00:00:00", status="counted", total=second, sites=3, agree=2,
                      moved=second - first, shims=["a shim"], warnings=["a warning"]),
            Published(release="2.1", uploaded="2021-02-01T00:00:00", status="unavailable", yanked="it was a mistake"),
        ],
        changes=[Change(before="1.0", after="2.0", uploaded="2021-01-01T00:00:00", reconciliation=step)],
    )  # fmt: skip


Document = TypeVar("Document", bound=msgspec.Struct)
WORDS_OF_OURS = {"phase", "mode", "status", "granularity", "level", "kind"}  # others there are no document
# What is a date, a version or a shape, or else the document is refused when it is read.
OF_A_FORM = {"flopledger", "version", "release", "created", "uploaded", "listed", "inputs", "before", "after", "python",
             "torch"}  # fmt: skip


def everywhere(found: Document, text: str, *, readable: bool = False) -> Document:
    """The same document with `text` at both ends of every string in it, and of every key that is a name.

    Unless it has to be `readable`, also of those that reading would refuse.
    """
    spared = WORDS_OF_OURS | (OF_A_FORM if readable else set())

    def changed(value: Any, field: str = "") -> Any:
        if isinstance(value, str):
            return value if field in spared or not value else f"{text} {value} {text}"
        if isinstance(value, (list, tuple)):
            return type(value)(changed(item, field) for item in value)
        if isinstance(value, dict):
            return {changed(name) if field in ("uncounted", "unpriced") else name: item for name, item in value.items()}
        if isinstance(value, msgspec.Struct):
            names = value.__struct_fields__
            return replace(value, **{name: changed(getattr(value, name), name) for name in names})
        return value

    whole: Document = changed(found)
    return whole
