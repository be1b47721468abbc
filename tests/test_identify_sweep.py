"""Every convention against every count: by formula, and measured."""

from __future__ import annotations

import pytest

from flopledger.counters import registry
from flopledger.counters.engine.adapters import claimed
from flopledger.counters.engine.plan import Asked, count_each
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import align

MODELS = [
    *(f"torchvision:{name}" for name in (
        "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "mnasnet0_5",
        "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf",
        "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0",
        "squeezenet1_0", "squeezenet1_1", "swin_t", "vgg11", "vgg11_bn", "vit_b_32", "wide_resnet50_2")),
    "mobilenet_v2", "mobilenet_v2?pooling=mean", "mobilenet_v2?width_mult=0.35", "mobilenet_v2?width_mult=1.4",
]  # fmt: skip
RELEASES = [
    *(f"thop=={version}" for version in (
        "0.0.31.post2001170342", "0.0.30.post1908281655", "0.0.31.post1910280903", "0.0.31.post2005241907",
        "0.0.5.post2206100352", "0.1.0.post2206102148")),
    *(f"ptflops-pytorch=={version}" for version in ("0.3", "0.5.2", "0.6.4", "0.6.9", "0.7.1.2", "0.7.4")),
    *(f"fvcore=={version}" for version in (
        "0.1.2.post20210115", "0.1.3.post20210311", "0.1.5.post20210604", "0.1.5.post20210719")),
    *(f"torchinfo=={version}" for version in ("0.0.9", "1.5.4")),
    "torchsummaryX==1.1.0", "ultralytics-thop==2.0.14",
]  # fmt: skip


@pytest.mark.slow
def test_formulas_and_counts_agree() -> None:
    """What `identify` says by formula is what the library prints: thirty models, every counter, twenty old releases."""
    assert (len(MODELS), len(RELEASES)) == (30, 20)
    found, odd, missing = compared(MODELS, [*registry.TABLE, *RELEASES])
    assert not odd
    assert not missing or found > len(missing) * 20, missing


def compared(models: list[str], names: list[str]) -> tuple[int, list[str], list[str]]:
    """How many totals were compared, which differ from what their rules give, and which could not be had."""
    asked = [each for name in names if (each := Asked.parse(name)).runs]
    specs = [Spec.parse(model, ["1x3x224x224"]) for model in models]
    found, odd, missing = 0, [], []
    for done in count_each(asked, specs):
        spec, ledger = done.spec, done.ledger
        assert ledger is not None, spec.model
        for tally in done.tallies:
            if tally.total is None:
                missing.append(f"{tally.name} on {spec.model}: {tally.reason}")
                continue
            found += 1
            side = align(tally, claimed(tally.counter, tally.version, ledger), ledger)
            formula = sum(amount for _, amount in side.rows) + sum(aside.amount for aside in side.asides)
            known = all(failure.known for failure in side.failures)
            if formula != tally.total and not (side.failures and known):
                odd.append(f"{tally.name} on {spec.model}: {formula:,} by formula, {tally.total:,} measured")
    return found, odd, missing
