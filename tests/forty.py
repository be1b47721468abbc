"""Forty models of different kinds, ten of them and more transformers: what no rule was written for.

The sizes are those of a model that runs in seconds; what a counter could trip over is as it is in the large one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

FORTY: dict[str, tuple[str, ...]] = {}  # spec → shapes of the inputs


def _torchvision(shape: str, *names: str) -> None:
    FORTY.update({f"torchvision:{name}": (shape,) for name in names})


_torchvision("2x3x64x64", "alexnet", "resnet18", "densenet121", "googlenet", "mobilenet_v3_small", "shufflenet_v2_x0_5",
             "squeezenet1_1", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "swin_t", "swin_v2_t")  # fmt: skip
_torchvision("1x3x75x75", "inception_v3")
_torchvision("1x3x64x64", "lraspp_mobilenet_v3_large", "deeplabv3_resnet50")
_torchvision("1x3x4x32x32", "r3d_18")


def _made(*shapes: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(make: Callable[[], Any]) -> Callable[[], Any]:
        FORTY[f"{Path(__file__)}:{make.__name__}"] = shapes
        return make

    return register


def _timm(name: str, shape: str, **options: Any) -> None:
    def make() -> Any:
        import timm

        return timm.create_model(name.removeprefix("timm_"), pretrained=False, **options)

    make.__name__ = name
    globals()[name] = _made(shape)(make)


_timm("timm_vit_tiny_patch16_224", "2x3x224x224")
_timm("timm_crossvit_9_240", "1x3x240x240")
_timm("timm_mobilevit_xxs", "1x3x256x256")
_timm("timm_nf_resnet50", "1x3x64x64")
_timm("timm_mixer_s32_224", "1x3x224x224")
_timm("timm_poolformer_s12", "1x3x64x64")
_timm("timm_cait_xxs24_224", "1x3x224x224")
_timm("timm_resnetv2_50", "1x3x64x64")
_timm("timm_eca_nfnet_l0", "1x3x64x64")
_timm("timm_hrnet_w18_small", "1x3x64x64")

TEXT = {"vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TOKENS, IMAGE = "2x12:int64", "2x3x32x32"


def _transformer(name: str, kind: str, config: str, *shapes: str, **options: Any) -> None:
    def make() -> Any:
        import transformers

        return getattr(transformers, kind)(getattr(transformers, config)(**options))

    make.__name__ = name
    globals()[name] = _made(*shapes)(make)


_transformer("bert", "BertModel", "BertConfig", TOKENS, **TEXT)
_transformer("distilbert", "DistilBertForMaskedLM", "DistilBertConfig", TOKENS,
             vocab_size=101, dim=32, n_layers=2, n_heads=4, hidden_dim=48)  # fmt: skip
_transformer("gpt2", "GPT2LMHeadModel", "GPT2Config", TOKENS, vocab_size=101, n_embd=32, n_layer=2, n_head=4,
             n_positions=64, use_cache=False)  # fmt: skip
_transformer("llama", "LlamaForCausalLM", "LlamaConfig", TOKENS, num_key_value_heads=2, use_cache=False, **TEXT)
_transformer("mistral", "MistralForCausalLM", "MistralConfig", TOKENS, num_key_value_heads=2, use_cache=False, **TEXT)
_transformer("mixtral", "MixtralForCausalLM", "MixtralConfig", TOKENS, num_key_value_heads=2, use_cache=False,
             num_local_experts=4, **TEXT)  # fmt: skip
_transformer("t5", "T5Model", "T5Config", TOKENS, TOKENS, TOKENS, vocab_size=101, d_model=32, d_kv=8, d_ff=48,
             num_layers=2, num_heads=4, use_cache=False)  # fmt: skip
_transformer("vit", "ViTModel", "ViTConfig", IMAGE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=48, image_size=32, patch_size=8)  # fmt: skip
_transformer("swin", "SwinModel", "SwinConfig", IMAGE, image_size=32, patch_size=2, embed_dim=16, depths=[2, 2],
             num_heads=[2, 4], window_size=4)  # fmt: skip
_transformer("whisper", "WhisperModel", "WhisperConfig", "2x20x48", "2x48:int64", "2x6:int64", vocab_size=101,
             d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
             encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=20, max_source_positions=24, pad_token_id=0,
             bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, use_cache=False)  # fmt: skip
_transformer("opt", "OPTForCausalLM", "OPTConfig", TOKENS, vocab_size=101, hidden_size=32, num_hidden_layers=2,
             ffn_dim=48, num_attention_heads=4, word_embed_proj_dim=32, use_cache=False)  # fmt: skip
_transformer("wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config", "1x4000", conv_dim=[16] * 7, **TEXT)


@_made("3x5x6")
def recurrent() -> Any:
    """Recurrent layers, both ways and with a projection."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True, proj_size=3)
            self.gru = nn.GRU(6, 7)
            self.head = nn.Linear(7, 4)

        def forward(self, x: Any) -> Any:
            return self.head(self.gru(self.lstm(x)[0])[0])

    return Net()


@_made("2x7x16", "2x5x16")
def encoder_decoder() -> Any:
    """torch.nn's own transformer, whose encoder has a fast path."""
    from torch import nn

    return nn.Transformer(16, 4, 2, 2, 24, batch_first=True)


@_made("2x3x32x32")
def unet() -> Any:
    """Convolutions down and up, with skips."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 8), (8, 16))])
            self.norm = nn.ModuleList([nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(4, 16)])
            self.up = nn.ConvTranspose2d(16, 8, 2, 2)
            self.out = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            a = F.silu(self.norm[0](self.down[0](x)))
            b = F.leaky_relu(self.norm[1](self.down[1](a)))
            c = torch.cat([a, self.up(b)], 1)
            return F.interpolate(self.out(c), scale_factor=2.0, mode="bilinear")

    return Net()
