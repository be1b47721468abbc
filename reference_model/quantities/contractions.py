"""Linear layers and products: what multiplies and accumulates.

A product is what torch calls one: of matrices, of vectors (also `outer` and `kron`, one MAC per multiplication, though
nothing is added up), of differences with themselves (`cdist`). A multiplication and a sum that a model writes as two
operations are two operations of elements.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from flopledger.reference_model.quantities.registry import (
    Priced,
    arranged,
    aten,
    function,
    parameters_of,
    real_macs,
)
from flopledger.reference_model.quantities.sparse import sparse_macs


@function("torch.nn.functional.linear")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Priced:
    """`x·Wᵀ + b`, x of shape …×in, W of out×in: one MAC per output and input feature, or nonzero of a sparse W."""
    dense = input.numel() * (weight.shape[0] if weight.dim() > 1 else 1)
    return "linear", {
        "macs": real_macs(sparse_macs(input, weight, transposed=True) or dense, input, weight),
        "inputs": input.numel(),
        "outputs": out.numel(),
        "rows": input.numel() // max(1, input.shape[-1]),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, weight, bias),
    }


@function("torch.nn.functional.bilinear")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Priced:
    """`x₁ᵀ·W·x₂ + b`, W of out×in1×in2: in1·in2 MACs for `W·x₂` and in1 for `x₁·(…)`, per output."""
    per_output = weight.shape[1] * weight.shape[2] + weight.shape[1]
    return "bilinear", {
        "macs": real_macs(out.numel() * per_output, input1, weight),
        "inputs": input1.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, weight, bias),
    }


@function("torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__")
def matmul(input: Tensor, other: Tensor, *, out: Tensor) -> Priced:
    """Batched product …×m×k by …×k×n: k MACs per output, broadcast dimensions included.

    Of a sparse operand its nonzeros count, as they are stored: each meets a row (or a column) of the other.
    """
    macs = sparse_macs(input, other)
    return "matmul", {
        "macs": real_macs(out.numel() * input.shape[-1] if macs is None else macs, input, other),
        "inputs": input.numel(),
        "outputs": out.numel(),
    }


@function("torch.Tensor.__rmatmul__")
def reflected_matmul(other: Tensor, input: Tensor, *, out: Tensor) -> Priced:
    """`other.__rmatmul__(input)` is `input @ other`."""
    return matmul(input, other, out=out)


@aten("mm", "bmm", "dot", "vdot", "mv", "_int_mm", "quantized.matmul", "_sparse_sparse_matmul", "hspmm",
      "_sparse_mm_reduce_impl")  # fmt: skip
def product(a: Tensor, b: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """…×m×k by …×k×n: k MACs per output. `_sparse_mm_reduce_impl` also says which elements were largest."""
    return matmul(a, b, out=out if isinstance(out, Tensor) else out[0])


@aten("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation", "sspaddmm")
def added_product(bias: Tensor, a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """`bias + a·b`: the product's MACs, and one addition per output (`addbmm` also sums over its batch)."""
    columns = b.shape[-1] if b.dim() > 1 else 1
    macs = sparse_macs(a, b)
    return "matmul", {
        "macs": real_macs(a.numel() * columns if macs is None else macs, a, b),
        "inputs": a.numel(),
        "outputs": out.numel(),
        "bias_adds": out.numel(),
        "biases": bias.numel(),
    }


@aten("_sparse_addmm")
def added_sparse_product(bias: Tensor, a: Tensor, b: Tensor, *_: Any, beta: Any = 1, out: Tensor, **__: Any) -> Priced:
    """The same of a sparse `a`. torch.sparse.mm is this with a `beta` of 0, and adds nothing."""
    op, quantities = added_product(bias, a, b, out=out)
    return op, quantities if beta else {**quantities, "bias_adds": 0, "biases": 0}


@aten("sparse_sampled_addmm")
def sampled_product(pattern: Tensor, a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """`pattern + a·b` where the sparse pattern (CSR) has elements: k MACs for each of those."""
    stored = pattern.values().numel()
    return "matmul", {
        "macs": real_macs(stored * a.shape[-1], a, b),
        "inputs": a.numel(),
        "outputs": out.numel(),
        "bias_adds": stored,
    }


@function("torch.outer", "torch.ger", "torch.Tensor.outer", "torch.Tensor.ger", "torch.kron", "torch.Tensor.kron")
def outer(input: Tensor, vec2: Tensor, *, out: Tensor) -> Priced:
    """Each element by each of the other's: one multiplication per output, each counted as a MAC."""
    return "matmul", {
        "macs": real_macs(out.numel(), input, vec2),
        "inputs": input.numel(),
        "outputs": out.numel(),
    }


@aten("addr")
def added_outer(bias: Tensor, a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """`bias + a·bᵀ` of two vectors: one MAC per output."""
    op, quantities = outer(a, b, out=out)
    return op, {**quantities, "bias_adds": out.numel(), "biases": bias.numel()}


@function("torch.linalg.vecdot")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1, out: Tensor) -> Priced:
    """Dot products of vectors along `dim`, the others broadcast: one MAC per element."""
    length = torch.broadcast_shapes(x.shape, y.shape)[dim]
    return "matmul", {"macs": real_macs(out.numel() * length, x, y), "inputs": x.numel(), "outputs": out.numel()}


@aten("linalg_cross")
def cross(input: Tensor, other: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """a×b of vectors of three: two multiplications per output, `a₂b₃ − a₃b₂`, each counted as a MAC."""
    return "matmul", {"macs": real_macs(2 * out.numel(), input, other), "inputs": input.numel(), "outputs": out.numel()}


@function("torch.functional.cdist")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, *_: Any, out: Tensor, **__: Any) -> Priced:
    """Distances of each row to each: …×P×M, …×R×M to …×P×R.

    With p = 2 one MAC per pair and coordinate, a difference times itself, also where a kernel reaches it by
    ‖x‖² + ‖y‖² − 2x·y. Other norms multiply nothing: sums, largest elements and powers of `inputs`.
    """
    macs = out.numel() * x1.shape[-1] if p == 2 else 0
    return ("matmul" if p == 2 else "reduction"), {"macs": macs, "inputs": x1.numel(), "outputs": out.numel()}


aten("_cdist_forward", "_euclidean_dist")(cdist)


@aten("_pdist_forward")
def pdist(input: Tensor, p: float = 2.0, *, out: Tensor) -> Priced:
    """The same for each pair of rows of one matrix, N·(N−1)/2 of them."""
    return cdist(input, input, p, out=out)


@aten("affine_grid_generator", "cudnn_affine_grid_generator")
def affine_grid(theta: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """Every point of a grid, with a 1, times N matrices of 2×3 or 3×4: as many MACs per output as there are columns."""
    return "matmul", {"macs": out.numel() * theta.shape[-1], "inputs": theta.numel(), "outputs": out.numel()}


@aten("_compute_linear_combination")
def linear_combination(input: Tensor, coefficients: Tensor, *, out: Tensor) -> Priced:
    """Sums of T tensors, each with its coefficient: one MAC per output and tensor."""
    return matmul(coefficients, input, out=out)


@aten("_trilinear")
def trilinear(
    i1: Tensor,
    i2: Tensor,
    i3: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    sumdim: list[int],
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """Sums over `sumdim` of three factors, each expanded at some dimensions: in the cheapest of the three orders.

    Two are multiplied first, and summed over what the third does not have; one MAC per element of each product.
    """
    shapes = []
    for tensor, expand in ((i1, expand1), (i2, expand2), (i3, expand3)):
        shape = list(tensor.shape)
        for dim in sorted(expand):
            shape.insert(dim, 1)
        shapes.append(shape)
    costs = []
    for last in range(3):
        a, b = (shape for which, shape in enumerate(shapes) if which != last)
        first = list(map(max, a, b))
        left = [1 if dim in sumdim and shapes[last][dim] == 1 else size for dim, size in enumerate(first)]
        costs.append(prod(first) + prod(map(max, left, shapes[last])))
    return "bilinear", {"macs": real_macs(min(costs), i1, i2), "inputs": i1.numel(), "outputs": out.numel()}


@aten("_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2")
def grouped_product(a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """Products of groups, as of a mixture of experts: T×k rows, each by the k×n of its group (or batches of both).

    Rows in groups: T·k·n. Columns in groups (G×m×k by k×T): m·k·T. Both (m×T by T×n): the groups share T between
    them, m·T·n. That all rows are in a group is taken for granted, as torch's kernels do.
    """
    length = a.shape[-1] * _packed(a)
    macs = a.shape[0] * length * b.shape[-1] if a.dim() == b.dim() == 2 else out.numel() * length
    return "matmul", {"macs": macs, "inputs": a.numel(), "outputs": out.numel()}


@aten("_scaled_mm", "_scaled_mm_v2")
def scaled_product(a: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """m×k by k×n in eight bits or four: k MACs per output. Four-bit numbers are stored in pairs."""
    return "matmul", {"macs": out.numel() * a.shape[-1] * _packed(a), "inputs": a.numel(), "outputs": out.numel()}


def _packed(tensor: Tensor) -> int:
    return 2 if tensor.dtype is getattr(torch, "float4_e2m1fn_x2", None) else 1


@aten("_foreach_mm")
def many_products(a: list[Tensor], b: list[Tensor], *, out: list[Tensor]) -> Priced:
    """One product after the other: k MACs per output of each."""
    each = [product(left, right, out=result)[1] for left, right, result in zip(a, b, out, strict=True)]
    return "matmul", {name: sum(quantities[name] for quantities in each) for name in ("macs", "inputs", "outputs")}


@aten("inductor._mm_plus_mm")
def two_products(a: Tensor, b: Tensor, c: Tensor, d: Tensor, *_: Any, out: Tensor) -> Priced:
    """`a·b + c·d`."""
    macs = out.numel() * (a.shape[-1] + c.shape[-1])
    return "matmul", {"macs": macs, "inputs": a.numel(), "outputs": out.numel()}


@aten("linear", "mkldnn_linear")
def kernel_linear(x: Tensor, weight: Tensor | None, bias: Tensor | None = None, *, out: Tensor, **_: Any) -> Priced:
    """A linear layer by a kernel, whose weight may be packed: the input features for each output."""
    return "linear", {
        "macs": real_macs(out.numel() * x.shape[-1], x, x),
        "inputs": x.numel(),
        "outputs": out.numel(),
        "rows": x.numel() // max(1, x.shape[-1]),
        "bias_adds": 0 if bias is None else out.numel(),
        **parameters_of(out, None, bias),
    }


# Kernels with their arguments in another order; those with a weight of four or eight bits, packed or not, too.
for _order, _names in {
    "x weight bias": "mkldnn._linear_pointwise onednn.linear_dynamic_fp16 onednn.linear_relu_dynamic_fp16 "
    "quantized.linear_dynamic_fp16_unpacked_weight _quantized.wrapped_fbgemm_linear_fp16_weight",
    "x weight scale bias": "_mixed_dtypes_linear",
    "x packed weight bias": "mkl._mkl_linear",
    "x x_scale x_zero_point weight w_scale w_zero_point bias": "onednn.qlinear_pointwise "
    "_quantized.wrapped_quantized_linear",
    "x weight": "_weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros "
    "_weight_int8pack_mm _dyn_quant_matmul_4bit",
}.items():  # fmt: skip
    aten(*_names.split())(arranged(kernel_linear, _order))
for _name in ("fbgemm_linear_fp16_weight", "fbgemm_linear_fp16_weight_fp32_activation"):
    function(f"torch.{_name}")(arranged(kernel_linear, "x weight bias"))
for _name in ("fbgemm_linear_int8_weight", "fbgemm_linear_int8_weight_fp32_activation"):
    function(f"torch.{_name}")(
        arranged(kernel_linear, "x weight packed col_offsets weight_scale weight_zero_point bias")
    )


@aten("_sparse_semi_structured_linear")
def semi_structured_linear(x: Tensor, weight: Tensor, meta: Tensor, bias: Tensor | None = None, *_: Any,
                           out: Tensor, **__: Any) -> Priced:  # fmt: skip
    """A linear layer whose weight keeps two of every four: only those are stored, and multiplied."""
    return "linear", {
        "macs": x.numel() // max(1, x.shape[-1]) * weight.numel(),
        "inputs": x.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
    }


@aten("_sparse_semi_structured_mm")
def semi_structured_product(a: Tensor, meta: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """m×k/2, two of every four of m×k, by k×n: k/2 MACs per output."""
    return "matmul", {"macs": a.numel() * b.shape[-1], "inputs": a.numel(), "outputs": out.numel()}


@aten("_sparse_semi_structured_addmm")
def added_semi_structured(bias: Tensor, a: Tensor, meta: Tensor, b: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """The same, and one addition per output."""
    op, quantities = semi_structured_product(a, meta, b, out=out)
    return op, {**quantities, "bias_adds": out.numel()}


@aten("_cslt_sparse_mm")
def compressed_product(a: Tensor, b: Tensor, bias: Tensor | None = None, *_: Any, out: Tensor, **__: Any) -> Priced:
    """The same by cuSPARSELt, with m×k in one compressed tensor: k/2 MACs per output of m×n."""
    return "matmul", {
        "macs": out.numel() * b.shape[0] // 2,
        "inputs": a.numel(),
        "outputs": out.numel(),
        "bias_adds": 0 if bias is None else out.numel(),
    }
