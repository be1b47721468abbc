"""The seven libraries themselves: facts about what they report, and whether our conventions hold."""

from __future__ import annotations

import re
import sys
from collections import deque
from importlib import metadata
from pathlib import Path

import pytest

from flopledger.counters import registry
from flopledger.counters.engine.plan import count_all
from flopledger.counters.tally import Tally
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import align
from flopledger.reports.documents.run import Environment, Run, assemble

SEVEN = ["thop", "torchsummaryX", "ptflops-pytorch", "ptflops-aten", "fvcore", "torchinfo", "torch"]
# shared/facts.md: MobileNetV2 1.0 at 1x3x416x416, keyed by release. None: any (torch's own formulas).
FACTS = {
    ("thop", "0.1.1.post2209072238"): 1_126_577_920,
    ("torchsummaryX", "1.3.0"): 1_034_246_688,
    ("ptflops-pytorch", "0.7.5"): 1_101_787_368,
    ("ptflops-aten", "0.7.5"): 1_034_230_632,
    ("fvcore", "0.1.5.post20221221"): 1_080_511_296,
    ("torchinfo", "1.8.0"): 1_034_264_744,
    ("torch", None): 2_068_459_264,
}
ZOO = Path(__file__).parent / "zoo.py"
# Every combination is another shape of evidence: input size, width, batch, pooling, other networks.
CASES = [
    ("mobilenet_v2", "1x3x416x416"),
    ("mobilenet_v2", "1x3x224x224"),
    ("mobilenet_v2?width_mult=0.35", "1x3x416x416"),
    ("mobilenet_v2", "4x3x96x96"),
    ("mobilenet_v2?pooling=mean", "2x3x75x91"),
    (f"{ZOO}:Functions", "1x3x9x9"),
    (f"{ZOO}:Recurrent", "3x4x6"),
    (f"{ZOO}:Attention", "2x6:int64"),
    (f"{ZOO}:Block", "2x6:int64"),
    (f"{ZOO}:TwoInputs", "2x4"),
    (f"{ZOO}:Layers", "2x3x9x9"),
]
SLOW = [
    *((f"torchvision:{name}", "1x3x224x224") for name in (
        "resnet50", "efficientnet_b0", "mnasnet1_0", "regnet_y_400mf", "convnext_tiny", "swin_t")),
    *(pytest.param(f"torchvision:{name}", shape, marks=pytest.mark.slow) for name, shape in (
        # test_forty has them, or smaller ones of their families; of vgg16_bn's there is one below
        ("densenet121", "1x3x224x224"), ("alexnet", "1x3x224x224"), ("googlenet", "1x3x224x224"),
        ("inception_v3", "1x3x299x299"), ("vgg16_bn", "1x3x224x224"), ("mobilenet_v3_large", "1x3x224x224"),
        ("squeezenet1_1", "1x3x224x224"), ("shufflenet_v2_x1_0", "1x3x224x224"))),
    ("torchvision:vit_b_16", "2x3x224x224"),
    ("torchvision:swin_v2_t", "1x3x256x256"),
    ("torchvision:vgg11_bn", "2x3x300x260"),
    ("torchvision:r3d_18", "1x3x8x64x64"),
]  # fmt: skip


def counted(spec: str, shape: str) -> Run:
    inputs = [shape, shape] if "TwoInputs" in spec else [shape]
    ledger, tallies = count_all(SEVEN, Spec.parse(spec, inputs))
    return assemble(
        flopledger="test",
        created="",
        environment=Environment(python="", torch=None, platform=""),
        spec=spec,
        ledger=ledger,
        tallies=[(t, registry.get(t.counter).convention(t.version)) for t in tallies],
    )


def check(run: Run) -> None:
    for tally in run.tallies:
        if tally.status == "unavailable":
            pytest.skip(f"{tally.distribution} is not installed: {tally.reason}")
        assert (tally.status, tally.reason) == ("counted", None), tally.counter
        assert tally.failures == [], tally.counter
        assert tally.verified.sites == tally.verified.agree, tally.counter
        assert sum(part.count for part in tally.parts) == tally.total, tally.counter
    assert [r.residual for r in list(run.pairs())] == [0] * 21
    for r in list(run.pairs()):
        assert sum(line.difference for line in r.lines) == r.difference


@pytest.fixture(scope="module")
def reference() -> Run:
    return counted(*CASES[0])


def test_the_default_install_has_all_seven() -> None:
    """A counter that silently went missing would make every other test vacuous."""
    assert set(SEVEN) <= {n for n in registry.names() if registry.version_of(registry.get(n).distribution)}


@pytest.mark.parametrize("name", SEVEN)
def test_totals_are_the_measured_ones(name: str, reference: Run) -> None:
    """A library that changes what it counts must be noticed here first."""
    tally = reference.tally(name)
    fact = FACTS.get((name, tally.version)) or FACTS.get((name, None))
    if fact is None:
        pytest.skip(f"no measured total for {name} {tally.version}")
    assert fact == tally.total
    assert tally.params == (None if name in ("fvcore", "torch") else 3_504_872)  # those two count no parameters


def test_the_founding_example_adds_up(reference: Run) -> None:
    """thop against torchsummaryX is what this project was started for."""
    found = reference.between("thop", "torchsummaryX")
    assert found.difference == 92_331_232
    contributing = {line.op: line.difference for line in found.lines if line.difference}
    assert contributing == {"batch_norm": 92_130_688 - 17_056, "pool": 217_600}
    neither = {line.op for line in found.lines if line.left_formula == line.right_formula == "0"}
    assert {"activation", "add"} == neither


@pytest.mark.parametrize(("spec", "shape"), CASES, ids=lambda v: v.rpartition("/")[2])
def test_every_convention_agrees_at_every_site(spec: str, shape: str) -> None:
    """A convention is a claim; this is the evidence."""
    check(counted(spec, shape))


@pytest.mark.parametrize(("spec", "shape"), SLOW, ids=lambda v: v.rpartition(":")[2])
def test_conventions_agree_on_other_peoples_networks(spec: str, shape: str) -> None:
    """Conventions written while looking at one network must hold on those nobody looked at."""
    check(counted(spec, shape))


@pytest.mark.parametrize("name", SEVEN)
def test_a_wrong_convention_is_caught(name: str, reference: Run) -> None:
    """The check above must be able to fail: the same tally against another counter's rules."""
    tally = reference.tally(name)
    ledger = Ledger(model="", inputs=reference.model.inputs, params=0, entries=reference.ledger.entries)
    other = registry.get("torchinfo" if name != "torchinfo" else "thop").convention(None)
    told = Tally(
        counter=name, distribution="", version=None, unit="", status="counted", total=tally.total,
        parts=tally.parts,
    )  # fmt: skip
    aligned = align(told, other, ledger)
    assert aligned.agree < aligned.sites


@pytest.mark.parametrize("name", SEVEN)
def test_sources_point_at_the_line_that_says_so(name: str) -> None:
    """A pointer to a line is worth nothing if the line says something else; checked for these releases."""
    adapter = registry.get(name)
    version = registry.version_of(adapter.distribution)
    if name != "torch" and (name, version) not in FACTS:
        pytest.skip(f"lines are noted for another release than {version}")
    if name == "torch" and not str(version).startswith("2.14"):
        pytest.skip("lines are noted for torch 2.14")
    for rule in adapter.convention(version).rules:
        path, line, symbol = re.fullmatch(r"(\S+):(\d+) (\w+)", rule.source).groups()  # type: ignore[union-attr]
        file = metadata.distribution(adapter.distribution).locate_file(path)
        text = Path(str(file)).read_text().splitlines()[int(line) - 1]
        assert symbol in text, rule.source


@pytest.mark.parametrize("name", SEVEN)
def test_an_adapter_is_listed_without_its_library(name: str) -> None:
    """Listing counters and checking conventions must stay instant."""
    registry.get(name).convention(None)
    assert {"thop", "torchsummaryX", "ptflops", "fvcore", "torchinfo"}.isdisjoint(sys.modules)


def test_an_unknown_counter_is_answered_with_the_nearest() -> None:
    """Most unknown names are typing errors."""
    with pytest.raises(registry.UnknownCounter, match="did you mean torchinfo"):
        registry.get("torch-info")


def test_meta_and_cpu_give_one_answer_where_an_adapter_says_so() -> None:
    """An adapter may ask for the meta device only if the library's answer does not depend on it."""
    spec = Spec.parse("mobilenet_v2", ["2x3x64x64"])
    from flopledger.counters.engine.supervisor import Job, run

    hooked = [name for name in SEVEN if registry.get(name).device == "meta"]
    jobs = [Job(counter=name, spec=spec, device=device) for name in hooked for device in ("meta", "cpu")]
    totals: dict[str, dict[str, int]] = {}
    for job, answer in run(deque(jobs)):
        assert answer.count is not None, answer.reason
        totals.setdefault(job.counter, {})[job.device] = answer.count.total
    assert {name: t["cpu"] for name, t in totals.items()} == {name: t["meta"] for name, t in totals.items()}
