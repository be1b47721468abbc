"""Models by name: every zoo's names, its default inputs and what says so, and that nothing comes from anywhere."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from typing import Any

import pytest

from flopledger.reference_model import zoo
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import Spec, is_ours, split


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reached for weights would fail, also on a machine that has a network."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"somebody asked the network for {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def defaults(model: str) -> tuple[str, str]:
    """The default inputs of a spec in one text, and the reason."""
    found = zoo.default_inputs(*split(model))
    assert found is not None
    return " ".join(found.inputs), found.why


def refused(model: str) -> str:
    """What is said of a spec whose model cannot be had."""
    source, name, options = split(model)
    with pytest.raises(SpecError) as caught:
        zoo.factory(source, name, options)
    return str(caught.value)


def test_names_are_read_without_importing_the_library() -> None:
    """A hint about a typing error took two seconds, and left torch's folder in TMPDIR."""
    import timm
    from torchvision import models

    assert zoo.names("torchvision") == sorted(models.list_models())
    assert zoo.names("timm") == sorted(timm.list_models())
    code = (
        "import sys; from flopledger.reference_model import zoo; [zoo.names(z) for z in zoo.ZOOS]; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", *zoo.ZOOS} & set(loaded)


@pytest.mark.parametrize(
    ("model", "inputs", "why"),
    [
        ("torchvision:resnet50", "1x3x224x224", "the transforms of ResNet50_Weights.DEFAULT"),
        ("torchvision:inception_v3", "1x3x299x299", "the transforms of Inception_V3_Weights.DEFAULT"),
        ("torchvision:quantized_mobilenet_v2", "1x3x224x224", "transforms of MobileNet_V2_QuantizedWeights.DEFAULT"),
        ("torchvision:vit_b_16?image_size=384", "1x3x384x384", "image_size as asked for"),
        ("torchvision:regnet_y_128gf", "1x3x384x384", "the transforms of RegNet_Y_128GF_Weights.DEFAULT"),
        ("torchvision:vit_h_14", "1x3x224x224", "the model's own image_size"),  # its weights: 518, another model
        ("torchvision:fcn_resnet50", "1x3x520x520", "that the transforms of FCN_ResNet50_Weights.DEFAULT resize to"),
        ("torchvision:r3d_18", "1x3x16x112x112", "the transforms of R3D_18_Weights.DEFAULT, and the frames"),
        ("torchvision:raft_small", "1x3x128x128 1x3x128x128", "images of the smallest size that Raft_Small_Weights"),
        ("torchvision:fasterrcnn_resnet50_fpn", "[3x800x800]", "that the detector scales images to"),
        ("torchvision:ssd300_vgg16", "[3x300x300]", "that the detector scales images to"),
        ("torchvision:retinanet_resnet50_fpn?min_size=320", "[3x320x320]", "that the detector scales images to"),
        ("timm:vit_tiny_patch16_224", "1x3x224x224", "configuration vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        ("timm:efficientnet_b3.ra2_in1k", "1x3x288x288", "configuration efficientnet_b3.ra2_in1k"),
        ("timm:vit_tiny_patch16_224?img_size=(64,96)&in_chans=1", "1x1x64x96", "with img_size and in_chans as asked"),
    ],
)  # fmt: skip
def test_the_default_input_is_what_the_models_own_metadata_name(model: str, inputs: str, why: str) -> None:
    """torchvision:resnet50 was silently counted at 416×416, the size of another model's example."""
    found = defaults(model)
    assert found[0] == inputs
    assert why in found[1]


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("torchvision:resnet55", "torchvision has no model 'resnet55'; did you mean resnet50"),
        ("torchvision:resnet18?weights=DEFAULT", "nothing is downloaded; leave out weights"),
        ("torchvision:fcn_resnet50?weights_backbone='DEFAULT'", "nothing is downloaded; leave out weights_backbone"),
        ("timm:vit_tiny_patch16_225", "timm has no model 'vit_tiny_patch16_225'; did you mean vit_tiny_patch16_224"),
        ("timm:resnet50.a1", "timm's resnet50 has no tag 'a1'; did you mean resnet50."),
        ("timm:resnet50?pretrained=True", "nothing is downloaded; leave out pretrained"),
        ("timm:resnet50?checkpoint_path=evil.pth", "leave out checkpoint_path"),
        ("timm:resnet50?pretrained_cfg={'file':'evil.pth'}", "leave out pretrained_cfg"),
    ],
)
def test_a_model_that_a_zoo_does_not_have_is_one_line(model: str, hint: str) -> None:
    """Wrong names get the nearest ones, and nobody's weights are loaded because a document asks for them."""
    assert hint in refused(model)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_a_library_that_is_not_installed_is_one_line(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoos are an extra: whoever has not got one reads what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert f"{source} is not installed; pip install 'flopledger[zoo]'" in refused(f"{source}:resnet50")


@pytest.mark.parametrize("model", ["torchvision:fcn_resnet50", "torchvision:inception_v3", "timm:resnet18"])
def test_models_are_built_on_meta_without_downloads(model: str) -> None:
    """A count must not fetch weights: nothing of a count depends on them."""
    module, _ = Spec.parse(f"{model}?num_classes=5", ["1x3x64x64"]).build("meta")
    assert {"meta"} == {parameter.device.type for parameter in module.parameters()}


def test_arguments_reach_the_models() -> None:
    """A query that were ignored would give the default network's numbers without a word."""
    for model in ("torchvision:resnet18", "timm:resnet18"):
        module, (x,) = Spec.parse(f"{model}?num_classes=5", ["1x3x64x64"]).build("meta")
        assert tuple(module(x).shape) == (1, 5)


def test_a_document_may_name_a_model_of_a_zoo() -> None:
    """It runs only the installed package's code, as a name that is built in does."""
    assert all(is_ours(f"{source}:name") for source in zoo.ZOOS)


def test_what_is_offline_is_so_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that counts a model may download its own weights afterwards."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    seen: list[bool] = []
    with zoo.nothing_downloaded():
        seen.append(constants.HF_HUB_OFFLINE)
    assert [*seen, constants.HF_HUB_OFFLINE] == [True, False]
