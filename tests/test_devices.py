"""The ledger of a model is the same on meta and on real tensors, entry by entry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_counters import CASES
from torch import Tensor, nn

from flopledger.reference_model import probes
from flopledger.reference_model.ledger import Entry, Ledger
from flopledger.reference_model.running import ModelError, trace
from flopledger.reference_model.subject import Spec

# One of each family of torchvision, at sizes that a CPU runs in a second or two.
NETWORKS = {
    "alexnet": 64, "convnext_tiny": 64, "deeplabv3_mobilenet_v3_large": 64, "densenet121": 64, "efficientnet_b0": 64,
    "efficientnet_v2_s": 64, "fcn_resnet50": 64, "googlenet": 64, "inception_v3": 96, "lraspp_mobilenet_v3_large": 64,
    "maxvit_t": 224, "mnasnet0_5": 64, "mnasnet1_3": 64, "mobilenet_v2": 64, "mobilenet_v3_large": 64,
    "mobilenet_v3_small": 64, "regnet_x_400mf": 64, "regnet_y_400mf": 64, "resnet18": 64, "resnet50": 64,
    "resnext50_32x4d": 64, "shufflenet_v2_x0_5": 64, "shufflenet_v2_x1_0": 64, "squeezenet1_0": 64,
    "squeezenet1_1": 64, "swin_t": 64, "swin_v2_t": 64, "vgg11": 64, "vgg11_bn": 64, "vit_b_32": 224,
    "wide_resnet50_2": 64,
}  # fmt: skip
CLIPS = {"r3d_18": "1x3x4x32x32", "mc3_18": "1x3x4x32x32"}


def strides(ledger: Ledger) -> list[Any]:
    """The named fact that may differ: how a fused attention kernel lays out what it puts out."""
    return [call.facts["strides"] for _, call in ledger.rows() if "strides" in call.facts]


def plain(entry: Entry) -> dict[str, Any]:
    """An entry without that fact."""
    calls = [(c.times, c.quantities, {k: v for k, v in c.facts.items() if k != "strides"}) for c in entry.calls]
    return {"site": entry.site, "op": entry.op, "aten": entry.aten, "api": entry.api, "inside": entry.inside,
            "module": entry.module, "phase": entry.phase, "calls": calls}  # fmt: skip


def assert_alike(meta: Ledger, cpu: Ledger) -> None:
    assert ("meta", "cpu") == (meta.device, cpu.device)
    copies = () if strides(meta) == strides(cpu) else ("move", "view")  # the reshape after such a kernel, or not
    ours, theirs = ([plain(e) for e in ledger if e.op not in copies] for ledger in (meta, cpu))
    assert ours == theirs
    assert (meta.params, meta.modules, meta.batch) == (cpu.params, cpu.modules, cpu.batch)


def both(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    try:
        meta = trace(model.eval(), inputs, device="meta")
    except ModelError:
        pytest.skip("its path depends on data, so there is no ledger on meta to compare with")
    assert_alike(meta, trace(model.eval(), inputs, device="cpu"))


@pytest.mark.parametrize(("model", "shape"), CASES, ids=lambda value: value.rpartition("/")[2])
def test_zoo(model: str, shape: str) -> None:
    """What a report says of a model must not depend on whether it could be traced without its data."""
    shapes = [shape, shape] if model.endswith("TwoInputs") else [shape]
    both(*Spec.parse(model, shapes).build("cpu")[:2])


@pytest.mark.parametrize("name", probes.PROBES)
def test_probes(name: str) -> None:
    """The same, one operation at a time."""
    model, inputs, _ = Spec.parse(probes.spec(name), list(probes.PROBES[name])).build("cpu")
    both(model, inputs)


@pytest.mark.parametrize("name", [*NETWORKS, *CLIPS])
def test_torchvision(name: str) -> None:
    """The same on networks that nobody here wrote."""
    pytest.importorskip("torchvision")
    size = NETWORKS.get(name)
    shape = f"1x3x{size}x{size}" if size else CLIPS[name]
    model, inputs, _ = Spec.parse(f"torchvision:{name}", [shape]).build("cpu")
    both(model, inputs)


class Elsewhere(nn.Module):
    """Makes tensors on the CPU by name and brings them to its input, as torchvision's RAFT does."""

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.arange(x.shape[-1], device="cpu").to(x.device)
        return x + grid.to(x.dtype) * torch.tensor(2.0, device=x.device)


class LooksUp(nn.Module):
    """Look-ups whose kernels are others on each device."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bag(x).sum() + torch.nn.functional.one_hot(x, 10).sum()


def test_what_a_kernel_does_beside_its_answer_is_no_operation() -> None:
    """Buffers of counts and searches for the largest index depend on the device, not on the model."""
    both(LooksUp(), (torch.randint(0, 10, (3, 4)),))


def test_where_tensors_come_from_is_no_operation() -> None:
    """A copy from one device to another is of the machine, not of the model."""
    both(Elsewhere(), (torch.rand(2, 3),))
    assert {"move"} == {entry.op for entry in trace(Elsewhere(), (torch.rand(2, 3),)) if "copy" in entry.aten}
