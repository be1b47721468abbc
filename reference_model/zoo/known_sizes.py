"""Models of Hugging Face's hub whose sizes are known without it: a configuration's defaults, and what differs there.

Each is here with the number of its parameters as it is published, which tests/test_zoo.py holds against the model that
is built. A checkpoint that transformers merely names beside a configuration is not enough: the defaults of BloomConfig
have two layers, those of SamConfig are not sam-vit-huge's.
"""

from __future__ import annotations

import re
from typing import Any

# What a model is called that was trained further, in the sizes that it had.
_TUNED = re.compile(r"-(instruct|chat|it)(?=-|$)", re.IGNORECASE)

# name: the configuration's model type, and what differs from its defaults
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "google-bert/bert-base-uncased": ("bert", {}),
    "google-bert/bert-base-cased": ("bert", {"vocab_size": 28996}),
    "google-bert/bert-large-uncased": (
        "bert",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
    "google-bert/bert-large-cased": (
        "bert",
        {
            "vocab_size": 28996,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "google-bert/bert-base-multilingual-cased": ("bert", {"vocab_size": 119547}),
    "google-bert/bert-base-chinese": ("bert", {"vocab_size": 21128}),
    "sentence-transformers/all-MiniLM-L6-v2": (
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    ),
    "distilbert/distilbert-base-uncased": ("distilbert", {}),
    "FacebookAI/roberta-base": ("roberta", {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}),
    "FacebookAI/roberta-large": (
        "roberta",
        {
            "vocab_size": 50265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "FacebookAI/xlm-roberta-base": (
        "xlm-roberta",
        {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "albert/albert-base-v2": (
        "albert",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "google/electra-small-discriminator": ("electra", {}),
    "google/mobilebert-uncased": ("mobilebert", {}),
    "microsoft/layoutlm-base-uncased": ("layoutlm", {}),
    "openai-community/gpt2": ("gpt2", {}),
    "openai-community/gpt2-medium": ("gpt2", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "openai-community/gpt2-large": ("gpt2", {"n_embd": 1280, "n_layer": 36, "n_head": 20}),
    "openai-community/gpt2-xl": ("gpt2", {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
    "distilbert/distilgpt2": ("gpt2", {"n_layer": 6}),
    "EleutherAI/gpt-neo-1.3B": ("gpt_neo", {}),
    "EleutherAI/gpt-j-6B": ("gptj", {}),
    "facebook/opt-125m": ("opt", {}),
    "facebook/opt-1.3b": (
        "opt",
        {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32, "ffn_dim": 8192},
    ),
    "facebook/opt-6.7b": (
        "opt",
        {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "ffn_dim": 16384},
    ),
    "EleutherAI/pythia-160m": (
        "gpt_neox",
        {
            "vocab_size": 50304,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
    ),
    "EleutherAI/pythia-1.4b": (
        "gpt_neox",
        {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 8192,
        },
    ),
    "bigscience/bloom-560m": ("bloom", {"vocab_size": 250880, "hidden_size": 1024, "n_layer": 24, "n_head": 16}),
    "tiiuae/falcon-7b": ("falcon", {}),
    "state-spaces/mamba-2.8b-hf": (
        "mamba",
        {"vocab_size": 50280, "hidden_size": 2560, "num_hidden_layers": 64, "intermediate_size": 5120},
    ),
    "meta-llama/Llama-2-7b-hf": ("llama", {"max_position_embeddings": 4096}),
    "meta-llama/Llama-2-13b-hf": (
        "llama",
        {
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
            "max_position_embeddings": 4096,
        },
    ),
    "meta-llama/Llama-2-70b-hf": (
        "llama",
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "max_position_embeddings": 4096,
        },
    ),
    "meta-llama/Meta-Llama-3-8B": (
        "llama",
        {
            "vocab_size": 128256,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
        },
    ),
    "meta-llama/Meta-Llama-3-70B": (
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
        },
    ),
    "meta-llama/Llama-3.1-8B": (
        "llama",
        {
            "vocab_size": 128256,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
        },
    ),
    "meta-llama/Llama-3.1-70B": (
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
        },
    ),
    "meta-llama/Llama-3.2-1B": (
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
        },
    ),
    "meta-llama/Llama-3.2-3B": (
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": True,
        },
    ),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (
        "llama",
        {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_key_value_heads": 4},
    ),
    "mistralai/Mistral-7B-v0.1": ("mistral", {}),
    "mistralai/Mistral-7B-v0.2": ("mistral", {}),
    "mistralai/Mistral-7B-v0.3": ("mistral", {"vocab_size": 32768}),
    "mistralai/Mixtral-8x7B-v0.1": ("mixtral", {}),
    "google/gemma-7b": ("gemma", {}),
    "google/gemma-2b": (
        "gemma",
        {
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
        },
    ),
    "google/gemma-2-2b": ("gemma2", {}),
    "Qwen/Qwen2-0.5B": (
        "qwen2",
        {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen/Qwen2-7B": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    "Qwen/Qwen2.5-0.5B": (
        "qwen2",
        {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen/Qwen2.5-1.5B": (
        "qwen2",
        {
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen/Qwen2.5-7B": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    "Qwen/Qwen3-0.6B": (
        "qwen3",
        {
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen/Qwen3-8B": (
        "qwen3",
        {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_key_value_heads": 8},
    ),
    "microsoft/phi-1": ("phi", {}),
    "microsoft/Phi-3-mini-4k-instruct": ("phi3", {}),
    "microsoft/phi-2": (
        "phi",
        {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32},
    ),
    "google-t5/t5-small": ("t5", {}),
    "google-t5/t5-base": ("t5", {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}),
    "google-t5/t5-large": ("t5", {"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16}),
    "google/flan-t5-base": (
        "t5",
        {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "feed_forward_proj": "gated-gelu"},
    ),
    "google/mt5-small": ("mt5", {}),
    "facebook/bart-large": ("bart", {}),
    "facebook/bart-base": (
        "bart",
        {
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
    ),
    "google/vit-base-patch16-224": ("vit", {}),
    "google/vit-large-patch16-224": (
        "vit",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
    "microsoft/swin-tiny-patch4-window7-224": ("swin", {}),
    "facebook/convnext-tiny-224": ("convnext", {}),
    "microsoft/resnet-50": ("resnet", {"image_size": 224}),  # ConvNextImageProcessor, which it has, says 384
    "openai/clip-vit-base-patch32": ("clip", {}),
    "openai/clip-vit-base-patch16": ("clip", {"vision_config": {"patch_size": 16}}),
    "openai/clip-vit-large-patch14": (
        "clip",
        {
            "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            "vision_config": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "patch_size": 14,
            },
            "projection_dim": 768,
        },
    ),
    "facebook/sam-vit-base": ("sam", {}),
    "openai/whisper-tiny": ("whisper", {}),
    "openai/whisper-base": (
        "whisper",
        {
            "d_model": 512,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "decoder_ffn_dim": 2048,
        },
    ),
    "openai/whisper-small": (
        "whisper",
        {
            "d_model": 768,
            "encoder_layers": 12,
            "decoder_layers": 12,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
    ),
    "openai/whisper-medium": (
        "whisper",
        {
            "d_model": 1024,
            "encoder_layers": 24,
            "decoder_layers": 24,
            "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
            "encoder_ffn_dim": 4096,
            "decoder_ffn_dim": 4096,
        },
    ),
    "openai/whisper-large-v3": (
        "whisper",
        {
            "vocab_size": 51866,
            "num_mel_bins": 128,
            "d_model": 1280,
            "encoder_layers": 32,
            "decoder_layers": 32,
            "encoder_attention_heads": 20,
            "decoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "decoder_ffn_dim": 5120,
        },
    ),
    "openai/whisper-large-v2": (
        "whisper",
        {
            "d_model": 1280,
            "encoder_layers": 32,
            "decoder_layers": 32,
            "encoder_attention_heads": 20,
            "decoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "decoder_ffn_dim": 5120,
        },
    ),
    "facebook/wav2vec2-base": ("wav2vec2", {}),
    "facebook/hubert-base-ls960": ("hubert", {}),
}


def known(name: str) -> tuple[str, dict[str, Any]] | None:
    """The model type and the sizes of a model of the hub, with or without its owner; None where they are not known."""
    names = (name, _TUNED.sub("", name, count=1))
    found = [value for each in names for full, value in KNOWN.items() if each in (full, full.partition("/")[2])]
    return found[0] if found else None
