"""Products of sparse matrices, of whatever layout: what is stored is what is multiplied."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

_DENSE = (torch.strided, torch._mkldnn)  # type: ignore[attr-defined]


def stored(tensor: Tensor) -> int:
    """Elements that a sparse tensor stores: its nonzeros, zeros that were written down, and the whole of its blocks."""
    return tensor._values().numel() if tensor.layout is torch.sparse_coo else tensor.values().numel()


def sparse_macs(a: Tensor, b: Tensor, transposed: bool = False) -> int | None:
    """MACs of …×m×k by …×k×n (`transposed`: n×k) where one is sparse, None where none is.

    One sparse: each stored element by a row or column of the other. Both: by what is stored in that row.
    """
    sparse_a, sparse_b = (tensor.layout not in _DENSE for tensor in (a, b))
    if sparse_a and sparse_b:
        met = _along(b, 1 if transposed else 0)
        return sum(count * met[k] for k, count in _along(a, 1).items())
    if sparse_a:
        return stored(a) * (1 if b.dim() < 2 else b.shape[-2 if transposed else -1])
    if sparse_b:
        batches = max(b.dim() - 2, 0)
        return stored(b) * (a.numel() // max(1, a.shape[-1] * int(torch.Size(b.shape[:batches]).numel())))
    return None


def _along(matrix: Tensor, dim: int) -> Counter[int]:
    """How many elements a sparse matrix stores in each row (0) or column (1)."""
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        plain = matrix if matrix.layout is torch.sparse_coo else matrix.to_sparse_coo()
        return Counter(plain._indices()[dim].tolist())
