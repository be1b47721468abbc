"""Models by name: every zoo's names, its default inputs and what says so, and that nothing comes from anywhere."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from flopledger.reference_model import zoo
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import Spec, is_ours, split
from flopledger.reference_model.zoo.known_sizes import KNOWN
from flopledger.reports.command.options import models_completed


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
        zoo.default_inputs(source, name, options)
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
        ("transformers:bert-base-uncased", "input_ids=1x128:int64[0:30522]", "128 tokens of a vocabulary of 30522"),
        ("transformers:LlamaForCausalLM?vocab_size=99", "input_ids=1x128:int64[0:99]", "LlamaConfig: 128 tokens"),
        ("transformers:facebook/bart-large",
         "input_ids=1x128:int64[0:50265] decoder_input_ids=1x128:int64[0:50265]", "no mask"),
        ("transformers:clip-vit-base-patch32",
         "input_ids=1x77:int64[0:49408] pixel_values=1x3x224x224", "77 tokens, its positions"),
        ("transformers:whisper-tiny",
         "input_features=1x80x3000 decoder_input_ids=1x128:int64[0:51865]", "80 mel bins by 3000 frames"),
        ("transformers:vit?image_size=32&dtype=bfloat16", "pixel_values=1x3x32x32:bfloat16", "the image_size of an"),
        ("transformers:detr", "pixel_values=1x3x800x800", "the size of DetrImageProcessor"),
        ("transformers:layoutlm", "input_ids=1x128:int64[0:30522] bbox=1x128x4:int64=0", "no mask"),
        ("transformers:llava", "input_ids=1x128:int64[0:32000]", "no mask, no image"),
        ("transformers:wav2vec2", "input_values=1x16000", "a second of sound at 16000 Hz"),
        ("transformers:neucodec", "input_values=1x1x16000 input_features=1x128x160", "a second of sound at 16000 Hz"),
        ("transformers:vilt", "input_ids=1x40:int64[0:30522] pixel_values=1x3x384x384", "the image_size of an image"),
        ("transformers:xclip", "input_ids=1x77:int64[0:49408] pixel_values=1x8x3x224x224", "8 frames"),
        ("transformers:efficientloftr", "pixel_values=1x2x3x480x640", "the size of EfficientLoFTRImageProcessor"),
        ("transformers:qwen3_vl_vision", "hidden_states=2304x1536 grid_thw=1x3:int64=[1,48,48]", "2304 patches, its"),
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
        ("transformers:BertModle", "transformers has no model 'BertModle'; did you mean BertModel"),
        ("transformers:BERT", "transformers has no model 'BERT'; did you mean bert"),
        ("transformers:bert-base-uncsed", "like transformers:bert?hidden_size=2048; did you mean bert-base-uncased"),
        ("transformers:zzzz", "has no model 'zzzz'; write a type, a class or a file, like transformers:bert, tran"),
        ("transformers:bert?device_map=auto", "BertConfig has no 'device_map'; what is written after ? are attributes"),
        ("transformers:bert?num_hidden_layers=abc", "field 'num_hidden_layers': TypeError: Field 'num_hidden"),
        ("transformers:gpt2?dtype=float99", "dtype='float99' is none that weights have; write one of float32, flo"),
        ("transformers:brt", "transformers has no model 'brt'; did you mean bert"),
        (
            "transformers:Qwen/Qwen3-99B",
            "the sizes of 'Qwen/Qwen3-99B' are not known here, and nothing is downloaded; give its config.json, like "
            "transformers:path/to/config.json, or a type and what differs from its defaults, like transformers:qwen3?",
        ),
        ("transformers:bert?hiden_size=3", "BertConfig has no 'hiden_size'; did you mean hidden_size"),
        ("transformers:clip?patch_size=8", "CLIPConfig has no 'patch_size'; its vision_config has"),
        ("transformers:vit?task=MaskedLM", "ViTConfig has no task 'MaskedLM'; it has ImageClassification"),
        ("transformers:bert?attn_implementation=somebody/kernel", "is not built in; write a word, like eager"),
        ("transformers:bert?trust_remote_code=True", "leave out trust_remote_code"),
        (
            "transformers:esm",
            "nothing says what goes into 'transformers:esm'; name its inputs, like -i input_ids=1x128:i",
        ),
        ("transformers:no/such/config.json", "cannot read a configuration from 'no/such/config.json'"),
    ],
)
def test_a_model_that_a_zoo_does_not_have_is_one_line(model: str, hint: str) -> None:
    """Wrong names get the nearest ones, and nobody's weights are loaded because a document asks for them."""
    assert hint in refused(model)


@pytest.mark.parametrize("source", [*zoo.ZOOS])
def test_a_library_that_is_not_installed_is_one_line(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoos are an extra: whoever has not got one reads what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert f"{source} is not installed; pip install 'flopledger[zoo]'" in refused(f"{source}:resnet50")


@pytest.mark.parametrize("model", ["torchvision:fcn_resnet50", "torchvision:inception_v3", "timm:resnet18"])
def test_models_are_built_on_meta_without_downloads(model: str) -> None:
    """A count must not fetch weights: nothing of a count depends on them."""
    module, _, _ = Spec.parse(f"{model}?num_classes=5", ["1x3x64x64"]).build("meta")
    assert {"meta"} == {parameter.device.type for parameter in module.parameters()}


def test_arguments_reach_the_models() -> None:
    """A query that were ignored would give the default network's numbers without a word."""
    for model in ("torchvision:resnet18", "timm:resnet18"):
        module, (x,), _ = Spec.parse(f"{model}?num_classes=5", ["1x3x64x64"]).build("meta")
        assert tuple(module(x).shape) == (1, 5)


def test_a_document_may_name_a_model_of_a_zoo() -> None:
    """It runs only the installed package's code, as a name that is built in does. A file is somebody's."""
    assert all(is_ours(f"{source}:name") for source in zoo.ZOOS)
    assert not is_ours("transformers:path/to/config.json")


def test_what_is_offline_is_so_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that counts a model may download its own weights afterwards."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    seen: list[bool] = []
    with zoo.nothing_downloaded():
        seen.append(constants.HF_HUB_OFFLINE)
    assert [*seen, constants.HF_HUB_OFFLINE] == [True, False]


# As they are published with the models, without the head that AutoModel leaves away.
PARAMETERS = {
    "google-bert/bert-base-uncased": 109_482_240, "google-bert/bert-base-cased": 108_310_272,
    "google-bert/bert-large-cased": 333_579_264, "google-bert/bert-base-multilingual-cased": 177_853_440,
    "google-bert/bert-base-chinese": 102_267_648, "sentence-transformers/all-MiniLM-L6-v2": 22_713_216,
    "google-bert/bert-large-uncased": 335_141_888, "distilbert/distilbert-base-uncased": 66_362_880,
    "FacebookAI/roberta-base": 124_645_632, "FacebookAI/roberta-large": 355_359_744,
    "FacebookAI/xlm-roberta-base": 278_043_648, "albert/albert-base-v2": 11_683_584,
    "google/electra-small-discriminator": 13_548_800 - 65_792, "google/mobilebert-uncased": 24_581_888 + 262_656,
    "microsoft/layoutlm-base-uncased": 109_482_240 + 4 * 1024 * 768,
    "openai-community/gpt2": 124_439_808, "openai-community/gpt2-medium": 354_823_168,
    "openai-community/gpt2-large": 774_030_080, "openai-community/gpt2-xl": 1_557_611_200,
    "distilbert/distilgpt2": 81_912_576, "EleutherAI/gpt-neo-1.3B": 1_315_575_808,
    "EleutherAI/gpt-j-6B": 6_050_882_784 - 50400 * 4097, "facebook/opt-125m": 125_239_296,
    "facebook/opt-1.3b": 1_315_758_080, "facebook/opt-6.7b": 6_658_473_984,
    "EleutherAI/pythia-160m": 162_322_944 - 50304 * 768, "EleutherAI/pythia-1.4b": 1_414_647_808 - 50304 * 2048,
    "bigscience/bloom-560m": 559_214_592, "tiiuae/falcon-7b": 6_921_720_704,
    "state-spaces/mamba-2.8b-hf": 2_768_345_600,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616 - 32000 * 4096,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320 - 32000 * 5120,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192 - 32000 * 8192,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248 - 128256 * 4096,
    "meta-llama/Meta-Llama-3-70B": 70_553_706_496 - 128256 * 8192,
    "meta-llama/Llama-3.1-8B": 8_030_261_248 - 128256 * 4096,
    "meta-llama/Llama-3.1-70B": 70_553_706_496 - 128256 * 8192,
    "meta-llama/Llama-3.2-1B": 1_235_814_400, "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384 - 32000 * 2048,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096 - 32000 * 4096,
    "mistralai/Mistral-7B-v0.2": 7_241_732_096 - 32000 * 4096,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552 - 32768 * 4096,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704 - 32000 * 4096,
    "google/gemma-7b": 8_537_680_896, "google/gemma-2b": 2_506_172_416, "google/gemma-2-2b": 2_614_341_888,
    "Qwen/Qwen2.5-0.5B": 494_032_768, "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-7B": 7_615_616_512 - 152064 * 3584,
    "Qwen/Qwen3-0.6B": 596_049_920, "Qwen/Qwen3-8B": 8_190_735_360 - 151936 * 4096,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552 - 32064 * 3072,
    "Qwen/Qwen2-0.5B": 494_032_768, "Qwen/Qwen2-7B": 7_615_616_512 - 152064 * 3584,
    "microsoft/phi-1": 1_418_270_720 - 51200 * 2049, "microsoft/phi-2": 2_779_683_840 - 51200 * 2561,
    "google-t5/t5-small": 60_506_624, "google-t5/t5-base": 222_903_552, "google-t5/t5-large": 737_668_096,
    "google/flan-t5-base": 247_577_856 - 32128 * 768,
    "google/mt5-small": 300_176_768 - 250112 * 512,
    "facebook/bart-large": 406_291_456, "facebook/bart-base": 139_420_416,
    "google/vit-base-patch16-224": 86_389_248, "google/vit-large-patch16-224": 303_301_632 + 1024 * 1025,
    "microsoft/swin-tiny-patch4-window7-224": 27_519_354, "facebook/convnext-tiny-224": 27_820_128,
    "microsoft/resnet-50": 23_508_032, "openai/clip-vit-base-patch32": 151_277_313,
    "openai/clip-vit-base-patch16": 149_620_737, "openai/whisper-small": 241_734_912,
    "openai/whisper-medium": 763_857_920, "openai/whisper-large-v3": 1_543_490_560,
    "openai/clip-vit-large-patch14": 427_616_513, "facebook/sam-vit-base": 93_735_728,
    "openai/whisper-tiny": 37_760_640, "openai/whisper-base": 72_593_920, "openai/whisper-large-v2": 1_543_304_960,
    "facebook/wav2vec2-base": 94_371_712, "facebook/hubert-base-ls960": 94_371_712,
}  # fmt: skip


def test_known_sizes_are_the_models() -> None:
    """What is counted under a model's name must be that model: as many parameters as are published of it."""
    assert PARAMETERS.keys() == KNOWN.keys()
    for name in ("openai-community/gpt2", "google-bert/bert-large-uncased", "openai/clip-vit-large-patch14"):
        assert parameters(f"transformers:{name}") == PARAMETERS[name]
        assert parameters(f"transformers:{name.partition('/')[2]}") == PARAMETERS[name]


@pytest.mark.slow
def test_all_known_sizes_are_the_models() -> None:
    """As above, of all of them."""
    assert {name: parameters(f"transformers:{name}") for name in KNOWN} == PARAMETERS


def parameters(model: str) -> int:
    """How many parameters a spec's model has."""
    source, name, options = split(model)
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in zoo.factory(source, name, options)().parameters())


def test_a_model_of_seventy_billion_parameters_is_there_at_once() -> None:
    """On the meta device nothing is allocated, so its size is no reason to wait."""
    start = time.monotonic()
    assert parameters("transformers:Meta-Llama-3-70B?task=CausalLM") == 70_553_706_496
    assert time.monotonic() - start < 20


def test_a_constructor_that_fails_on_meta_is_not_tried_with_real_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that is none, of twenty billion parameters, took five minutes and all memory to say so."""
    tries: list[int] = []

    def fails() -> None:
        tries.append(len(tries))
        raise KeyError("full_attention")

    monkeypatch.setattr(zoo.transformers, "factory", lambda name, options: fails)
    with pytest.raises(SpecError, match=r"'transformers:big' could not be built: KeyError: 'full_attention'"):
        Spec.parse("transformers:big", ["1x3"]).build("meta")
    assert [0] == tries


def test_a_configuration_of_a_file(tmp_path: Path) -> None:
    """Most models are not known by name: their config.json has the architecture and the sizes, and runs no code."""
    path = tmp_path / "config.json"
    text = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_embd": 64, "n_head": 2,
            "vocab_size": 100, "auto_map": {"AutoModel": "evil.Model"}}  # fmt: skip
    path.write_text(json.dumps(text))
    assert defaults(f"transformers:{path}")[0] == "input_ids=1x128:int64[0:100]"
    with torch.device("meta"):
        model = zoo.factory("transformers", str(path), {"n_layer": 3})()
    assert type(model).__name__ == "GPT2LMHeadModel"
    assert len(model.transformer.h) == 3
    path.write_text(json.dumps({"model_type": "gpt22"}))
    assert "no model_type that transformers knows; did you mean gpt2" in refused(f"transformers:{path}")


def test_options_of_a_part_of_a_configuration() -> None:
    """A model of text and image has a configuration for each; what is not said of one stays as it is known."""
    source, name, options = split("transformers:clip-vit-large-patch14?vision_config={'num_hidden_layers':2}")
    with torch.device("meta"):
        config = zoo.factory(source, name, options)().config
    assert (config.vision_config.num_hidden_layers, config.vision_config.hidden_size) == (2, 1024)


def test_the_networks_of_diffusers() -> None:
    """The parts of a pipeline are what costs; a class has its own defaults, a file the sizes of a model."""
    pytest.importorskip("diffusers")
    assert defaults("diffusers:UNet2DConditionModel?cross_attention_dim=768")[0] == (
        "sample=1x4x64x64 timestep=1:int64=1 encoder_hidden_states=1x77x768"
    )
    assert defaults("diffusers:AutoencoderKL")[0] == "sample=1x3x32x32"
    assert defaults("diffusers:PixArtTransformer2DModel")[0].endswith("{resolution: 1x2, aspect_ratio: 1x1}")
    assert "; name its inputs, like -i sample=1x128 -i timestep=1x128" in refused("diffusers:UNet2DModel")
    assert "name its inputs, like -i sample=1x128 -i timestep=1x128" in refused("diffusers:UNet3DConditionModel")
    assert "did you mean UNet2DModel" in refused("diffusers:Unet2DModel")
    assert "UNet2DModel has no argument 'in_chanels'; did you mean in_channels" in refused(
        "diffusers:UNet2DModel?in_chanels=3"
    )
    assert "give the config.json of its network" in refused("diffusers:runwayml/stable-diffusion-v1-5")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet50", "did you mean torchvision:resnet50, timm:resnet50?"),
        ("bert-base-uncased", "did you mean transformers:bert-base-uncased?"),
        ("UNet2DConditionModel", "did you mean diffusers:UNet2DConditionModel?"),
        ("vit_tiny_patch16_225", "did you mean timm:vit_tiny_patch16_224, "),
    ],
)
def test_a_name_without_its_zoo_is_suggested_with_it(name: str, hint: str) -> None:
    """The bare name is the likeliest of all wrong specs."""
    with pytest.raises(SpecError) as caught:
        split(name)
    assert hint in str(caught.value)


def test_the_shell_completes_models() -> None:
    """Nobody types vit_large_patch14_clip_quickgelu_224 twice."""
    assert "timm:" in models_completed("ti")
    assert ["timm:vit_tiny_patch16_224"] == models_completed("timm:vit_tiny_patch16_2")
    assert [] == models_completed("mylib:")
