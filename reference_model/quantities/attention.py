"""Attention by whatever kernel: softmax(q·kᵀ)·v, for sequences of one length or of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

from flopledger.reference_model.quantities.registry import Priced, arranged, aten, elements, function, whole_numbers


@cache
def masked(queries: int, keys: int, left: int = -1, right: int = -1, last: bool = False) -> int:
    """Scores that need not be computed, of queries×keys, because the mask of the kernel forbids them.

    Query i sees the keys from i − left to i + right, each -1 for no limit; causal is right = 0. `last` says that
    the last query is beside the last key, and not the first beside the first.
    """
    shift = keys - queries if last else 0
    seen = 0
    for i in range(shift, shift + queries):
        stop = keys if right < 0 else min(i + right + 1, keys)
        start = 0 if left < 0 else max(i - left, 0)
        seen += max(stop - start, 0)
    return queries * keys - seen


def _priced(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Any,
    heads: int,
    lengths: Iterable[tuple[int, int]],
    left: int = -1,
    right: int = -1,
    last: bool = False,
) -> Priced:
    """`lengths` are of the queries and keys of each sequence, `heads` those of the queries."""
    width = query.shape[-1] + value.shape[-1]
    pairs = list(lengths)
    scores = heads * sum(queries * keys for queries, keys in pairs)
    forbidden = 0
    if left >= 0 or right >= 0:
        forbidden = heads * sum(masked(queries, keys, left, right, last) for queries, keys in pairs)
    return "attention", {
        "macs": scores * width,
        "masked_macs": forbidden * width,
        "scores": scores,
        "queries": heads * sum(queries for queries, _ in pairs),
        "inputs": elements(query),
        "outputs": elements(out),
    }


@function("torch.nn.functional.scaled_dot_product_attention")
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *_: Any,
    out: Any,
    **__: Any,
) -> Priced:
    """softmax(q·kᵀ)·v with q …×h×L×E, k …×h×S×E, v …×h×S×V: L·S·(E+V) MACs a head, mask or not.

    Key and value heads that are shared between queries (GQA) are counted once per query head. Of a causal kernel
    `masked_macs` are those that it need not do: query i sees the keys up to i. Jagged nested tensors are sequences of
    their own lengths.
    """
    right = 0 if is_causal else -1
    if query.is_nested:
        sequences = zip(_jagged(query), _jagged(key), strict=True)
        return _priced(query, key, value, out, query.shape[1], sequences, right=right)
    lengths = [(query.shape[-2], key.shape[-2])]
    return _priced(query, key, value, out, prod(query.shape[:-2]), lengths, right=right)


def _jagged(tensor: Tensor) -> list[int]:
    """Lengths of the sequences in a jagged tensor."""
    with torch._C.DisableTorchFunction():
        return _differences(whole_numbers(tensor.offsets()))  # type: ignore[attr-defined]


def _differences(offsets: Sequence[int]) -> list[int]:
    return [end - start for start, end in pairwise(offsets)]


for _order, _names in {
    "query key value dropout_p is_causal": "_scaled_dot_product_flash_attention "
    "_scaled_dot_product_flash_attention_for_cpu",
    "query key value attn_mask compute_log_sumexp dropout_p is_causal": "_scaled_dot_product_efficient_attention "
    "_scaled_dot_product_cudnn_attention",
    "query key value attn_mask dropout_p is_causal": "_scaled_dot_product_fused_attention_overrideable "
    "_scaled_dot_product_attention_math_for_mps",
}.items():
    aten(*_names.split())(arranged(attention, _order))


@aten("_flash_attention_forward")
def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cum_seq_q: Tensor | None = None,
    cum_seq_k: Tensor | None = None,
    max_q: int = 0,
    max_k: int = 0,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *_: Any,
    out: Any,
    window_size_left: int | None = None,
    window_size_right: int | None = None,
    seqused_k: Tensor | None = None,
    **__: Any,
) -> Priced:
    """q N×L×h×E, k N×S×h×E, v N×S×h×V; with `cum_seq_q` sequences of several lengths one after the other, …×h×E.

    Then the lengths are what the offsets differ by, and an error says if nobody knows them. A causal mask, or a window
    of so many keys to the left and right, is laid from the end (the last query sees the last key), as the kernel does.
    """
    left, right = (-1 if side is None else side for side in (window_size_left, window_size_right))
    if is_causal:
        right = 0
    if cum_seq_q is None:
        lengths = [(query.shape[1], key.shape[1])]
        return _priced(query, key, value, out, query.shape[0] * query.shape[2], lengths, left, right, last=True)
    queries = _differences(whole_numbers(cum_seq_q))
    if seqused_k is not None:
        keys = whole_numbers(seqused_k)
    else:
        keys = queries if cum_seq_k is None else _differences(whole_numbers(cum_seq_k))
    lengths = list(zip(queries, keys, strict=True))
    return _priced(query, key, value, out, query.shape[-2], lengths, left, right, last=True)


aten("_flash_attention_forward_no_dropout_inplace")(
    arranged(flash_attention, "result query key value cum_seq_q cum_seq_k max_q max_k dropout_p is_causal")
)


@aten("torch_attn._varlen_attn")
def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    scale: float | None = None,
    window_size: Sequence[int] | None = None,
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    *_: Any,
    out: Any,
) -> Priced:
    """torch.nn.attention.varlen: the same, with its window as one argument."""
    left, right = window_size or (-1, -1)
    return flash_attention(query, key, value, cu_seq_q, cu_seq_k, is_causal=is_causal, window_size_left=left,
                           window_size_right=right, seqused_k=seqused_k, out=out)  # fmt: skip


_ORDER = "result query key value cu_seq_q cu_seq_k max_q max_k is_causal scale window_size enable_gqa seqused_k"
aten("torch_attn._varlen_attn_out")(arranged(varlen_attention, _ORDER))


@aten("_efficient_attention_forward")
def efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    max_seqlen_q: int | None = None,
    max_seqlen_k: int | None = None,
    dropout_p: float = 0.0,
    custom_mask_type: int = 0,
    *_: Any,
    out: Any,
    window_size: int | None = None,
    **__: Any,
) -> Priced:
    """As `flash_attention`; `custom_mask_type` is 1 for causal from the first query, 2 from the last."""
    right = 0 if custom_mask_type else -1
    left = -1 if not window_size else window_size - 1
    if cu_seqlens_q is None:
        lengths = [(query.shape[1], key.shape[1])]
        heads = query.shape[0] * query.shape[2]
    else:
        offsets = cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
        lengths = list(zip(*(_differences(whole_numbers(each)) for each in (cu_seqlens_q, offsets)), strict=True))
        heads = query.shape[-2]
    return _priced(query, key, value, out, heads, lengths, left, right, last=custom_mask_type == 2)


@aten("_cudnn_attention_forward")
def cudnn_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Tensor | None,
    cum_seq_q: Tensor | None,
    cum_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    compute_log_sumexp: bool = False,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *_: Any,
    out: Any,
    **__: Any,
) -> Priced:
    """As `attention`, N×h×L×E; with `cum_seq_q` as `flash_attention`."""
    if cum_seq_q is None:
        return attention(query, key, value, attn_bias, dropout_p, is_causal, out=out)
    return flash_attention(query, key, value, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, out=out)


@aten("_native_multi_head_attention")
def fused_multi_head(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    *_: Any,
    out: Any,
    **__: Any,
) -> Priced:
    """A whole MultiheadAttention of N×L×E in one kernel: 4·E² MACs per token for its projections, and its heads."""
    batch, length, keys = query.shape[0], query.shape[1], key.shape[1]
    op, heads = _priced(query, key, value, out, batch * num_head, [(length, keys)])
    inner = 2 * batch * num_head * length * keys * (embed_dim // num_head)
    projections = batch * (2 * length + 2 * keys) * embed_dim**2
    adds = batch * (length + 2 * keys) * embed_dim + batch * length * embed_dim
    weights = qkv_weight.numel() + proj_weight.numel()
    return op, {**heads, "macs": inner + projections, "bias_adds": adds, "weights": weights,
                "biases": qkv_bias.numel() + proj_bias.numel()}  # fmt: skip


@aten("_transformer_encoder_layer_fwd")
def fused_encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """A whole TransformerEncoderLayer of N×L×E in one kernel: the above, and two linear layers, E·F MACs each."""
    op, found = fused_multi_head(
        src, src, src, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, out=out
    )
    tokens = prod(src.shape[:-1])
    layers, biases = ffn_weight_1.numel() + ffn_weight_2.numel(), ffn_bias_1.numel() + ffn_bias_2.numel()
    return op, {
        **found,
        "macs": found["macs"] + tokens * layers,
        "bias_adds": found["bias_adds"] + tokens * biases,
        "weights": found["weights"] + layers + norm_weight_1.numel() + norm_weight_2.numel(),
        "biases": found["biases"] + biases + norm_bias_1.numel() + norm_bias_2.numel(),
    }
