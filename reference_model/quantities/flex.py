"""Attention with a block mask (torch.nn.attention.flex_attention): the full square, and what the mask leaves out."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from flopledger.reference_model.known import is_known, value_of
from flopledger.reference_model.quantities.attention import attention
from flopledger.reference_model.quantities.registry import Priced, aten


@aten("higher_order.flex_attention")
def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: Any, block_mask: tuple[Any, ...], *_: Any, out: Any, **__: Any
) -> Priced:
    """softmax(mod(q·kᵀ))·v as attention without a mask: L·S·(E+V) MACs a head; what `score_mod` does is not counted.

    `masked_macs` are those of blocks that the mask leaves out as a whole, which the kernel skips. They are known where
    the mask's numbers are: on real tensors, and on meta if they follow from what is known.
    """
    op, quantities = attention(query, key, value, out=out[0])
    if all(is_known(numbers) for numbers in block_mask[2:6] if numbers is not None):
        left = quantities["scores"] - kept_scores(block_mask, query.shape, key.shape[-2])
        quantities["masked_macs"] = left * (query.shape[-1] + value.shape[-1])
    return op, quantities


def kept_scores(block_mask: tuple[Any, ...], query: torch.Size, length: int) -> int:
    """Scores that lie in a block that is computed, of all samples and heads.

    `block_mask` is `BlockMask.as_tuple()`: the two lengths, then per sample, head and row of blocks how many there are
    (samples × heads × rows) and which (… × columns), partly masked ones and full ones; before the last come the sizes
    of a block. The blocks at the end are cut off at the lengths.
    """
    with torch.device("cpu"), torch.no_grad():
        return _kept(block_mask, query, length)


def _kept(block_mask: tuple[Any, ...], query: torch.Size, length: int) -> int:
    rows, columns = int(block_mask[-3]), int(block_mask[-2])
    found = 0
    for number, which in (block_mask[2:4], block_mask[4:6]):
        if number is None:
            continue
        heights = _sizes(query[-2], rows, number.shape[-1])
        widths = _sizes(length, columns, which.shape[-1])
        number, which = value_of(number), value_of(which)
        there = torch.arange(which.shape[-1]) < number.unsqueeze(-1)
        covered = (widths[which.long() * there] * there).sum(-1)
        shared = prod(query[:2]) // prod(number.shape[:2])  # one mask for all samples, or for all heads
        found += shared * int((covered * heights).sum())
    return found


def _sizes(length: int, block: int, blocks: int) -> Tensor:
    """How much of each block lies within a length."""
    return (length - torch.arange(blocks) * block).clamp(0, min(block, length))
