"""Every published release of every counter, as `flopledger releases` runs it: some 370 installs the first time."""

from __future__ import annotations

import pytest

from flopledger.reports.history import History, history

# How many count MobileNetV2 today; why the others do not is in their rows. Seen on 2026-11-25.
LEAST = {
    "thop": 45,
    "ultralytics-thop": 44,
    "ptflops-pytorch": 25,
    "ptflops-aten": 3,
    "torchinfo": 31,
    "torchsummaryX": 4,
    "fvcore": 177,
}
# Networks with what MobileNetV2 lacks: biases, max pools, dropout, hard activations. Both sides of every step.
OTHERS = {"torchvision:resnet18": "1x3x64x64", "torchvision:vgg11_bn": "1x3x224x224"}


def counted(counter: str, model: str, shape: str) -> History:
    found = history(counter, model, [shape])
    wrong = [(row.release, row.sites - row.agree) for row in found.counted if row.sites != row.agree]
    assert [] == wrong
    assert [] == [(c.before, c.after) for c in found.changes if c.reconciliation.residual]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("counter", LEAST)
def test_every_release_agrees_at_every_site(counter: str) -> None:
    """The promise of a history: no step without its reason, at 1x3x416x416 and elsewhere."""
    found = counted(counter, "mobilenet_v2", "1x3x416x416")
    assert len(found.counted) >= LEAST[counter]
    assert all(row.reason for row in found.rows if row.status != "counted")
    for model, shape in OTHERS.items():
        counted(counter, model, shape)
