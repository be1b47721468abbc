"""Decompositions and solvers. Their operations are `linalg_flops`, not MACs: a textbook's leading order.

Sources: GVL is G. H. Golub and C. F. Van Loan, Matrix Computations, 4th edition, 2013; LAWN 41 is S. Blackford and
J. Dongarra, LAPACK Working Note 41, Installation Guide for LAPACK, 1999, appendix C, without terms of lower order.
What iterates until it converges (eigenvalues; singular values, by Golub and Reinsch) has GVL's typical count. Counts
are for real matrices, each of a batch; complex ones are four times that, by the rule for MACs. They are rounded down.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities.registry import Priced, aten, elements, real_macs


def _linalg(matrix: Tensor, flops: Fraction | int, out: Any, dims: int = 2) -> Priced:
    total = Fraction(flops) * prod(matrix.shape[: matrix.dim() - dims])
    return "linalg", {
        "linalg_flops": real_macs(int(total), matrix, matrix),
        "inputs": matrix.numel(),
        "outputs": elements(out),
    }


def _sides(matrix: Tensor) -> tuple[int, int]:
    """Rows and columns, the longer first."""
    rows, columns = matrix.shape[-2:]
    return max(rows, columns), min(rows, columns)


def _right_hand_sides(matrix: Tensor, b: Tensor) -> int:
    """Columns to solve for, where `b` is one vector of each system or a matrix of them."""
    return 1 if b.dim() == 1 or (b.dim() < matrix.dim() and b.shape == matrix.shape[:-1]) else b.shape[-1]


@aten("linalg_cholesky_ex", "linalg_ldl_factor_ex")
def cholesky(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """n³/3 (GVL 4.2; LDLᵀ with pivots 4.4)."""
    return _linalg(matrix, Fraction(matrix.shape[-1] ** 3, 3), out)


def _lu(matrix: Tensor) -> Fraction:
    long, short = _sides(matrix)
    return long * short**2 - Fraction(short**3, 3)


@aten("linalg_lu", "linalg_lu_factor_ex", "_linalg_det", "_linalg_slogdet")
def lu(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """m·n² − n³/3 for m ≥ n, so 2n³/3 for a square (GVL 3.2; LAWN 41, GETRF); for determinants, too."""
    return _linalg(matrix, _lu(matrix), out)


@aten("_linalg_solve_ex", "_spsolve")
def solve(matrix: Tensor, b: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """2n³/3 for LU and 2n² for each right-hand side (GVL 3.2 and 3.1)."""
    n = matrix.shape[-1]
    return _linalg(matrix, _lu(matrix) + 2 * n**2 * _right_hand_sides(matrix, b), out)


@aten("linalg_solve_triangular")
def solve_triangular(matrix: Tensor, b: Tensor, *_: Any, left: bool = True, out: Any, **__: Any) -> Priced:
    """n² for each right-hand side (GVL 3.1)."""
    columns = b.shape[-1 if left else -2]
    return _linalg(matrix, matrix.shape[-1] ** 2 * columns, out)


@aten("triangular_solve")
def solve_triangular_by_its_old_name(b: Tensor, matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """The same with its arguments in another order."""
    return solve_triangular(matrix, b, out=out)


@aten("cholesky_solve", "_cholesky_solve_helper")
def solve_factored(b: Tensor, factor: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """Two triangular solves: 2n² for each right-hand side (GVL 4.2)."""
    return _linalg(factor, 2 * factor.shape[-1] ** 2 * b.shape[-1], out)


@aten("linalg_lu_solve", "linalg_ldl_solve")
def solve_by_factors(factor: Tensor, pivots: Tensor, b: Tensor, *rest: Any, out: Any, **options: Any) -> Priced:
    """The same from LU or LDLᵀ; `left=False` solves for rows."""
    rows = options.get("left", True) is False
    return _linalg(factor, 2 * factor.shape[-1] ** 2 * b.shape[-2 if rows else -1], out)


@aten("linalg_inv_ex")
def inverse(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """2n³: LU and n right-hand sides, whose zeros are used (LAWN 41, GETRF and GETRI)."""
    return _linalg(matrix, 2 * matrix.shape[-1] ** 3, out)


@aten("cholesky_inverse")
def inverse_of_factor(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """2n³/3 (LAWN 41, POTRI)."""
    return _linalg(matrix, Fraction(2 * matrix.shape[-1] ** 3, 3), out)


def _householder(matrix: Tensor) -> Fraction:
    long, short = _sides(matrix)
    return 2 * long * short**2 - Fraction(2 * short**3, 3)


def _orthogonal(rows: int, columns: int, reflections: int) -> Fraction:
    """Columns of the product of reflections, written out (LAWN 41, ORGQR)."""
    return (
        4 * rows * columns * reflections
        - 2 * (rows + columns) * reflections**2
        + Fraction(4 * reflections**3, 3)
    )  # fmt: skip


@aten("geqrf")
def reflections(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """2n²·(m − n/3) for m ≥ n, by Householder's reflections (GVL 5.2)."""
    return _linalg(matrix, _householder(matrix), out)


@aten("linalg_qr")
def qr(matrix: Tensor, mode: str = "reduced", *, out: Any) -> Priced:
    """The same, and Q written out: 4m·q·k − 2(m + q)·k² + 4k³/3 for q columns, k = min(m, n) (LAWN 41, ORGQR)."""
    rows, columns = matrix.shape[-2:]
    short = min(rows, columns)
    written = {"r": Fraction(0), "complete": _orthogonal(rows, rows, short)}
    return _linalg(matrix, _householder(matrix) + written.get(mode, _orthogonal(rows, short, short)), out)


@aten("linalg_householder_product")
def product_of_reflections(matrix: Tensor, tau: Tensor, *, out: Any) -> Priced:
    """Q of as many columns as `matrix` has, from as many reflections as `tau` (LAWN 41, ORGQR)."""
    rows, columns = matrix.shape[-2:]
    return _linalg(matrix, _orthogonal(rows, columns, tau.shape[-1]), out)


@aten("ormqr")
def times_reflections(matrix: Tensor, tau: Tensor, other: Tensor, left: bool = True, *_: Any, out: Any) -> Priced:
    """Q·C for m×n: 4m·n·k − 2n·k², from the other side with m and n exchanged (LAWN 41, ORMQR)."""
    rows, columns = other.shape[-2:] if left else other.shape[:-3:-1]
    k = tau.shape[-1]
    return _linalg(other, 4 * rows * columns * k - 2 * columns * k**2, out)


def _svd(matrix: Tensor, vectors: bool, full: bool) -> Fraction:
    m, n = _sides(matrix)
    if not vectors:
        return 4 * m * n**2 - Fraction(4 * n**3, 3)
    if full:
        return Fraction(4 * m**2 * n + 8 * m * n**2 + 9 * n**3)
    return Fraction(14 * m * n**2 + 8 * n**3)


@aten("_linalg_svd")
def svd(matrix: Tensor, full_matrices: bool = False, compute_uv: bool = True, *_: Any, out: Any, **__: Any) -> Priced:
    """m ≥ n: 4m·n² − 4n³/3 for Σ, 14m·n² + 8n³ with U₁ and V, 4m²n + 8m·n² + 9n³ with U (GVL 8.6)."""
    return _linalg(matrix, _svd(matrix, compute_uv, full_matrices), out)


@aten("prims.svd")
def svd_by_prims(matrix: Tensor, *, full_matrices: bool = False, out: Any) -> Priced:
    """The same with vectors."""
    return _linalg(matrix, _svd(matrix, True, full_matrices), out)


def _eigh(n: int, vectors: bool) -> Fraction:
    return Fraction(9 * n**3) if vectors else Fraction(4 * n**3, 3)


@aten("_linalg_eigh")
def eigh(matrix: Tensor, UPLO: str = "L", compute_v: bool = True, *_: Any, out: Any, **__: Any) -> Priced:
    """4n³/3 for the eigenvalues of a symmetric matrix, 9n³ with vectors, by the QR algorithm (GVL 8.3)."""
    return _linalg(matrix, _eigh(matrix.shape[-1], compute_v), out)


@aten("linalg_eig")
def eig(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """25n³ with vectors, by the QR algorithm (GVL 7.5)."""
    return _linalg(matrix, 25 * matrix.shape[-1] ** 3, out)


@aten("linalg_eigvals", "_linalg_eigvals")
def eigvals(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """10n³ for eigenvalues alone (GVL 7.5)."""
    return _linalg(matrix, 10 * matrix.shape[-1] ** 3, out)


@aten("linalg_lstsq")
def least_squares(matrix: Tensor, b: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """By QR, whatever the driver: 2n²·(m − n/3), and 4m·n − n² for each right-hand side (GVL 5.3; LAWN 41, ORMQR)."""
    m, n = _sides(matrix)
    return _linalg(matrix, _householder(matrix) + (4 * m * n - n**2) * _right_hand_sides(matrix, b), out)


@aten("linalg_pinv")
def pseudo_inverse(matrix: Tensor, *rest: Any, hermitian: bool = False, out: Any, **__: Any) -> Priced:
    """By the singular values (`hermitian`: eigenvalues), with vectors, and the product V·Σ⁺·Uᵀ of 2m·n² operations."""
    m, n = _sides(matrix)
    symmetric = hermitian or any(each is True for each in rest)
    decomposition = _eigh(n, True) if symmetric else _svd(matrix, True, False)
    return _linalg(matrix, decomposition + 2 * m * n**2, out)


@aten("linalg_matrix_exp")
def exponential(matrix: Tensor, *, out: Any) -> Priced:
    """10n³: five products of matrices for a Taylor polynomial of degree 18.

    The degrees and products are those of P. Bader, S. Blanes and F. Casas, Computing the Matrix Exponential with an
    Optimized Taylor Polynomial Approximation, 2019. Lower degrees and squarings depend on the norm: not in it.
    """
    return _linalg(matrix, 10 * matrix.shape[-1] ** 3, out)


@aten("linalg_matrix_sqrth")
def square_root(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """By the eigenvalues of a symmetric matrix: 9n³, and 2n³ to put it together again (GVL 8.3 and 9.1)."""
    return _linalg(matrix, 11 * matrix.shape[-1] ** 3, out)


@aten("linalg_polar", "_native.linalg_polar")
def polar(matrix: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """U·Vᵀ and V·Σ·Vᵀ by the singular values and vectors, and the two products (GVL 6.4)."""
    m, n = _sides(matrix)
    return _linalg(matrix, _svd(matrix, True, False) + 2 * m * n**2 + 2 * n**3, out)
