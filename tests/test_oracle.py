"""Every formula against the definition of its operation, executed with numbers that count what is done with them.

Nothing here reads a formula: a definition is loops over elements, with `counted_float` in place of floats, and its
result is compared with torch's, so that it is the right definition. A MAC is one multiplication and the addition that
accumulates it. What is no part of `macs` (scales, exponentials, gates) is computed on plain floats, uncounted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product as every
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from counted_float import CountedFloat, FlopCountingContext
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.quantities.registry import ATEN, FUNCTIONS
from flopledger.reference_model.running import trace

Array = Any  # of numbers that count


class Complex:
    """Two numbers that count: a product of two such is four multiplications and two additions."""

    def __init__(self, re: Any, im: Any):
        self.re, self.im = re, im

    def __add__(self, other: Complex) -> Complex:
        return Complex(self.re + other.re, self.im + other.im)

    def __mul__(self, other: Any) -> Complex:
        if isinstance(other, Complex):
            return Complex(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)
        return Complex(self.re * other, self.im * other)

    def conjugate(self) -> Complex:
        return Complex(self.re, -float(self.im))

    def __complex__(self) -> complex:
        return complex(float(self.re), float(self.im))


def numbers(tensor: Tensor) -> Array:
    """The elements of a tensor as numbers that count."""
    found = np.empty(tuple(tensor.shape), dtype=object)
    for at in np.ndindex(*tensor.shape):
        value = tensor[at].item()
        if isinstance(value, complex):
            found[at] = Complex(CountedFloat(value.real), CountedFloat(value.imag))
        else:
            found[at] = CountedFloat(value)
    return found


def total(products: Iterator[Any]) -> Any:
    """Products added up from zero: one addition for each."""
    found: Any = None
    for each in products:
        if found is None:
            found = Complex(CountedFloat(0.0), CountedFloat(0.0)) if isinstance(each, Complex) else CountedFloat(0.0)
        found = found + each
    return CountedFloat(0.0) if found is None else found


def filled(shape: tuple[int, ...], element: Callable[..., Any]) -> Array:
    found = np.empty(shape, dtype=object)
    for at in np.ndindex(*shape):
        found[at] = element(*at)
    return found


# --- definitions -----------------------------------------------------------------------------------


def dot(a: Array, b: Array) -> Any:
    return total(x * y for x, y in zip(a, b, strict=True))


def product(a: Array, b: Array) -> Array:
    """m×k by k×n."""
    return filled((a.shape[0], b.shape[1]), lambda i, j: dot(a[i], b[:, j]))


def batched(a: Array, b: Array) -> Array:
    return np.array([product(x, y) for x, y in zip(a, b, strict=True)])


def with_bias(bias: Array, a: Array, b: Array) -> Array:
    found = product(a, b)
    bias = np.broadcast_to(bias, found.shape)
    return filled(found.shape, lambda i, j: bias[i, j] + found[i, j])


def linear(x: Array, weight: Array, bias: Array) -> Array:
    return with_bias(bias, x, weight.T)


def outer(a: Array, b: Array) -> Array:
    return filled((len(a), len(b)), lambda i, j: a[i] * b[j])


def kron(a: Array, b: Array) -> Array:
    (p, q), (m, n) = a.shape, b.shape
    return filled((p * m, q * n), lambda i, j: a[i // m, j // n] * b[i % m, j % n])


def cross(a: Array, b: Array) -> Array:
    return filled(a.shape, lambda i, j: a[i, (j + 1) % 3] * b[i, (j + 2) % 3] - a[i, (j + 2) % 3] * b[i, (j + 1) % 3])


def distances(a: Array, b: Array) -> Array:
    def distance(i: int, j: int) -> Any:
        differences = [x - y for x, y in zip(a[i], b[j], strict=True)]
        return math.sqrt(float(total(d * d for d in differences)))

    return filled((len(a), len(b)), distance)


def pairs(a: Array) -> Array:
    return np.array([distances(a[i : i + 1], a[j : j + 1])[0, 0] for i in range(len(a)) for j in range(i + 1, len(a))])


def bilinear(x: Array, y: Array, weight: Array) -> Array:
    """xᵀ·W·y, row by row of W, and then those."""

    def element(n: int, o: int) -> Any:
        return total(x[n, i] * dot(weight[o, i], y[n]) for i in range(weight.shape[1]))

    return filled((len(x), len(weight)), element)


def grid(theta: Array, height: int, width: int) -> Array:
    def along(size: int, at: int) -> float:
        return (2 * at + 1) / size - 1

    def element(n: int, h: int, w: int, c: int) -> Any:
        point = [CountedFloat(v) for v in (along(width, w), along(height, h), 1.0)]
        return dot(theta[n, c], point)

    return filled((len(theta), height, width, 2), element)


def bag(table: Array, weights: Array, indices: list[list[int]]) -> Array:
    rows, width = weights.shape[0], table.shape[1]
    return filled(
        (rows, width), lambda n, c: total(table[i, c] * w for i, w in zip(indices[n], weights[n], strict=True))
    )


class Geometry(NamedTuple):
    stride: int
    padding: int
    dilation: int
    groups: int


def convolution(x: Array, weight: Array, shape: tuple[int, ...], how: Geometry, border: bool = True) -> Array:
    """N×Cin×H×W by Cout×Cin/groups×h×w; without `border` taps that fall on padding are left out."""
    inner = weight.shape[1]
    per_group = weight.shape[0] // how.groups

    def element(n: int, o: int, *at: int) -> Any:
        def taps() -> Iterator[Any]:
            for c, *tap in every(range(inner), *map(range, weight.shape[2:])):
                where = [i * how.stride - how.padding + k * how.dilation for i, k in zip(at, tap, strict=True)]
                inside = all(0 <= i < size for i, size in zip(where, x.shape[2:], strict=True))
                if inside or border:
                    value = x[(n, o // per_group * inner + c, *where)] if inside else CountedFloat(0.0)
                    yield value * weight[(o, c, *tap)]

        return total(taps())

    return filled(shape, element)


def transposed(x: Array, weight: Array, shape: tuple[int, ...], how: Geometry, border: bool = True) -> Array:
    """N×Cin×H×W by Cin×Cout/groups×h×w: each input is spread over the output, or over what is cut off."""
    found = filled(shape, lambda *_: CountedFloat(0.0))
    outer_channels, per_group = weight.shape[1], weight.shape[0] // how.groups
    for n, c, *at in np.ndindex(*x.shape):
        for o, *tap in every(range(outer_channels), *map(range, weight.shape[2:])):
            where = [i * how.stride - how.padding + k * how.dilation for i, k in zip(at, tap, strict=True)]
            place = (n, c // per_group * outer_channels + o, *where)
            if all(0 <= i < size for i, size in zip(where, shape[2:], strict=True)):
                found[place] = found[place] + x[(n, c, *at)] * weight[(c, o, *tap)]
            elif border:
                CountedFloat(0.0) + x[(n, c, *at)] * weight[(c, o, *tap)]
    return found


def attention(q: Array, k: Array, v: Array, allowed: Callable[[int, int], bool] = lambda i, j: True) -> Array:
    """B×H×L×E, B×G×S×E, B×G×S×V; scores that are not allowed are not computed."""
    shared = q.shape[1] // k.shape[1]

    def row(b: int, h: int, i: int) -> Array:
        keys = [j for j in range(k.shape[2]) if allowed(i, j)]
        scores = [float(dot(q[b, h, i], k[b, h // shared, j])) / math.sqrt(q.shape[3]) for j in keys]
        weights = [math.exp(score - max(scores)) for score in scores]
        shares = [CountedFloat(weight / sum(weights)) for weight in weights]
        return [
            total(s * v[b, h // shared, j, c] for s, j in zip(shares, keys, strict=True)) for c in range(v.shape[3])
        ]

    return np.array([[[row(b, h, i) for i in range(q.shape[2])] for h in range(q.shape[1])] for b in range(q.shape[0])])


def recurrent(gates: int, x: Array, w: Array, u: Array, step: Callable[..., tuple[Any, Any]]) -> Array:
    """T×N×I by (gates·H)×I and (gates·H)×H; `step` makes the next state of the sums, on plain floats."""
    hidden = u.shape[1]
    states = [(np.zeros((x.shape[1], hidden)), np.zeros((x.shape[1], hidden)))]
    for now in x:
        before = np.vectorize(CountedFloat, otypes=[object])(states[-1][0])
        of_input = product(now, w.T).astype(float).reshape(-1, gates, hidden)
        of_state = product(before, u.T).astype(float).reshape(-1, gates, hidden)
        states.append(step(of_input, of_state, *states[-1]))
    return np.array([h for h, _ in states[1:]])


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm_step(a: Any, b: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = (np.moveaxis(a + b, 1, 0)[n] for n in range(4))
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def gru_step(a: Any, b: Any, h: Any, _: Any) -> tuple[Any, Any]:
    r, z = (_sigmoid(a[:, n] + b[:, n]) for n in range(2))
    n = np.tanh(a[:, 2] + r * b[:, 2])
    return (1 - z) * n + z * h, h


def rnn_step(a: Any, b: Any, h: Any, _: Any) -> tuple[Any, Any]:
    return np.tanh(a[:, 0] + b[:, 0]), h


# --- one case for each formula ----------------------------------------------------------------------


class Calls(nn.Module):
    """A model that is one function of its inputs."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def traced(function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> tuple[Ledger, Any]:
    model = function if isinstance(function, nn.Module) else Calls(function)
    with torch.no_grad():
        return trace(model.eval(), inputs, device="cpu"), model(*inputs)


class Case(NamedTuple):
    """`made` makes inputs of the sizes drawn; `adds`: its additions are those that accumulate, and of biases given."""

    sizes: int
    made: Callable[..., tuple[Tensor, ...]]
    function: Callable[..., Any]
    definition: Callable[..., Array]
    adds: bool = True


def r(*shape: int) -> Tensor:
    return torch.rand(shape) - 0.5


def c(*shape: int) -> Tensor:
    return torch.complex(r(*shape), r(*shape))


def whole(*shape: int) -> Tensor:
    return torch.randint(-5, 6, shape, dtype=torch.int8)


def sparse(rows: int, columns: int) -> Tensor:
    matrix = torch.zeros(rows, columns)
    for i, j in every(range(rows), range(columns)):
        if (i + 2 * j) % 3 == 0:
            matrix[i, j] = i + j + 1.0
    return matrix


def stored_product(a: Array, b: Array) -> Array:
    """What is zero is not stored, and not multiplied."""

    def element(i: int, j: int) -> Any:
        return total(a[i, k] * b[k, j] for k in range(a.shape[1]) if float(a[i, k]) and float(b[k, j]))

    return filled((a.shape[0], b.shape[1]), element)


def sampled(pattern: Array, a: Array, b: Array) -> Array:
    def element(i: int, j: int) -> Any:
        return pattern[i, j] + dot(a[i], b[:, j]) if float(pattern[i, j]) else CountedFloat(0.0)

    return filled(pattern.shape, element)


def grouped(a: Array, b: Array) -> Array:
    rows = len(a) // len(b)
    return np.concatenate([product(a[g * rows : (g + 1) * rows], b[g]) for g in range(len(b))])


def time_first(x: Array, weight: Array, bias: Array) -> Array:
    """T×N×Cin by kernel×Cin×Cout, padded by one."""

    def element(t: int, n: int, o: int) -> Any:
        def taps() -> Iterator[Any]:
            for k, i in every(range(weight.shape[0]), range(weight.shape[1])):
                at = t + k - 1
                yield (x[at, n, i] if 0 <= at < len(x) else CountedFloat(0.0)) * weight[k, i, o]

        return bias[o] + total(taps())

    return filled((len(x) + 3 - weight.shape[0], x.shape[1], weight.shape[2]), element)


def heads(x: Array, qkv: Array, out: Array, count: int) -> Array:
    """N×L×E: projections, attention in `count` heads, a projection."""
    batch, length, width = x.shape
    projected = product(x.reshape(-1, width), qkv.T).reshape(batch, length, 3, count, -1)
    q, k, v = np.moveaxis(projected, (2, 3), (0, 2))
    joined = np.moveaxis(attention(q, k, v), 1, 2).reshape(-1, width)
    return product(joined, out.T).reshape(x.shape)


def encoder(x: Array, qkv: Array, out: Array, up: Array, down: Array) -> Array:
    """Norms, residuals and activation on plain floats."""

    def normed(values: Any) -> Array:
        centred = values - values.mean(-1, keepdims=True)
        return np.vectorize(CountedFloat, otypes=[object])(
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        )

    def plain(values: Array) -> Any:
        return values.astype(float)

    first = normed(plain(x) + plain(heads(x, qkv, out, 2)))
    rows = first.reshape(-1, x.shape[-1])
    between = np.vectorize(CountedFloat, otypes=[object])(np.maximum(plain(product(rows, up.T)), 0))
    return normed(plain(first) + plain(product(between, down.T)).reshape(x.shape))


def run_encoder(x: Tensor, qkv: Tensor, out: Tensor, up: Tensor, down: Tensor) -> Tensor:
    one, zero = torch.ones(8), torch.zeros(8)
    return torch._transformer_encoder_layer_fwd(
        x, 8, 2, qkv, torch.zeros(24), out, zero, False, False, 1e-5, one, zero, one, zero,
        up, torch.zeros(len(up)), down, zero,
    )  # fmt: skip


def run_heads(x: Tensor, qkv: Tensor, out: Tensor) -> Tensor:
    return torch._native_multi_head_attention(
        x, x, x, 8, 2, qkv, torch.zeros(24), out, torch.zeros(8), need_weights=False
    )[0]


def indices(weights: Tensor) -> list[list[int]]:
    return [[(3 * i + j) % 5 for j in range(weights.shape[1])] for i in range(weights.shape[0])]


def run_layer(kind: type[nn.RNNBase]) -> Callable[..., Tensor]:
    def run(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        layer = kind(w.shape[1], u.shape[1], bias=False)
        return torch.func.functional_call(layer, {"weight_ih_l0": w, "weight_hh_l0": u}, (x,))[0]  # type: ignore[no-any-return]

    return run


def run_onednn(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    state, none = torch.zeros(1, x.shape[1], u.shape[1]), torch.zeros(len(w))
    return torch.ops.aten.mkldnn_rnn_layer(  # type: ignore[no-any-return]
        x, w, u, none, none, state, state, False, [], 2, u.shape[1], 1, True, False, False, False
    )[0]


def layer_inputs(gates: int) -> Callable[..., tuple[Tensor, ...]]:
    return lambda t, n, i, h: (r(t, n, i), r(gates * h, i), r(gates * h, h))


def cell_inputs(gates: int) -> Callable[..., tuple[Tensor, ...]]:
    return lambda n, i, h: (r(n, i), r(gates * h, i), r(gates * h, h))


def run_cell(name: str) -> Callable[..., Tensor]:
    def run(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        state = torch.zeros(len(x), u.shape[1])
        found = getattr(torch, name)(x, (state, state) if name == "lstm_cell" else state, w, u)
        return found[0] if name == "lstm_cell" else found  # type: ignore[no-any-return]

    return run


def cell(gates: int, step: Callable[..., tuple[Any, Any]]) -> Callable[..., Array]:
    return lambda x, w, u: recurrent(gates, x[None], w, u, step)[0]


CASES: dict[str, Case] = {
    "torch.matmul": Case(4, lambda b, m, k, n: (r(b, m, k), r(b, k, n)), torch.matmul, batched),
    "torch.Tensor.__rmatmul__": Case(3, lambda m, k, n: (r(m, k), r(k, n)), lambda a, b: b.__rmatmul__(a), product),
    "aten.mm": Case(3, lambda m, k, n: (r(m, k), r(k, n)), torch.mm, product),
    "aten.bmm": Case(4, lambda b, m, k, n: (r(b, m, k), r(b, k, n)), torch.bmm, batched),
    "aten.mv": Case(2, lambda m, k: (r(m, k), r(k)), torch.mv, lambda a, b: product(a, b[:, None])[:, 0]),
    "aten.dot": Case(1, lambda k: (r(k), r(k)), torch.dot, dot),
    "aten.vdot": Case(1, lambda k: (c(k), c(k)), torch.vdot, lambda a, b: dot([x.conjugate() for x in a], b)),
    "torch.nn.functional.linear": Case(3, lambda m, k, n: (r(m, k), r(n, k), r(n)), F.linear, linear),
    "complex linear": Case(3, lambda m, k, n: (c(m, k), c(n, k)), F.linear, lambda x, w: product(x, w.T)),
    "complex matmul": Case(3, lambda m, k, n: (c(m, k), c(k, n)), torch.matmul, product),
    "complex outer": Case(2, lambda m, n: (c(m), r(n)), torch.outer, outer, adds=False),
    "aten.addmm": Case(3, lambda m, k, n: (r(m, n), r(m, k), r(k, n)), torch.addmm, with_bias),
    "aten.addmv": Case(2, lambda m, k: (r(m), r(m, k), r(k)), torch.addmv,
                       lambda c, a, b: with_bias(c[:, None], a, b[:, None])[:, 0]),
    "aten.baddbmm": Case(4, lambda b, m, k, n: (r(b, m, n), r(b, m, k), r(b, k, n)), torch.baddbmm,
                         lambda c, a, b: np.array(list(map(with_bias, c, a, b)))),
    "aten.addbmm": Case(3, lambda m, k, n: (r(m, n), r(2, m, k), r(2, k, n)), torch.addbmm,
                        lambda c, a, b: with_bias(c, np.concatenate(a, -1), np.concatenate(b, 0))),
    "aten.addr": Case(2, lambda m, n: (r(m, n), r(m), r(n)), torch.addr,
                      lambda c, a, b: filled(c.shape, lambda i, j: c[i, j] + a[i] * b[j]), adds=False),
    "torch.outer": Case(2, lambda m, n: (r(m), r(n)), torch.outer, outer, adds=False),
    "torch.kron": Case(4, lambda p, q, m, n: (r(p, q), r(m, n)), torch.kron, kron, adds=False),
    "torch.linalg.vecdot": Case(2, lambda m, k: (r(m, k), r(m, k)), torch.linalg.vecdot,
                                lambda a, b: np.array(list(map(dot, a, b)))),
    "aten.linalg_cross": Case(1, lambda n: (r(n, 3), r(n, 3)), torch.linalg.cross, cross, adds=False),
    "torch.functional.cdist": Case(3, lambda p, q, m: (r(p, m), r(q, m)), torch.cdist, distances, adds=False),
    "aten._pdist_forward": Case(2, lambda n, m: (r(n, m),), torch.pdist, pairs, adds=False),
    "torch.nn.functional.bilinear": Case(4, lambda n, i, j, o: (r(n, i), r(n, j), r(o, i, j)), F.bilinear, bilinear),
    "aten.affine_grid_generator": Case(3, lambda n, h, w: (r(n, 2, 3), r(h, w)),
        lambda t, like: F.affine_grid(t, [len(t), 1, *like.shape], align_corners=False),
        lambda t, like: grid(t, *like.shape)),
    "torch.nn.functional.embedding_bag": Case(3, lambda n, k, d: (r(5, d), r(n, k)),
        lambda t, w: F.embedding_bag(torch.tensor(indices(w)), t, per_sample_weights=w, mode="sum"),
        lambda t, w: bag(t, w, indices(w))),
    "aten._int_mm": Case(2, lambda m, k: (whole(17 + m, 8 * k), whole(8 * k, 8)), torch._int_mm, product),
    "aten._weight_int8pack_mm": Case(3, lambda m, k, n: (r(m, 16 * k), whole(8 * n, 16 * k)),
        lambda x, w: torch._weight_int8pack_mm(x, w, torch.ones(len(w))), lambda x, w: product(x, w.T)),
    "aten._grouped_mm": Case(2, lambda g, n: (r(4 * g, 4), r(g, 4, 4 * n)), lambda a, b: torch._grouped_mm(
        a, b, torch.arange(4, len(a) + 1, 4, dtype=torch.int32)), grouped),
    "aten._foreach_mm": Case(3, lambda m, k, n: (r(m, k), r(k, n)),
        lambda a, b: torch.ops.aten._foreach_mm([a, b.t()], [b, a.t()])[0],
        lambda a, b: (product(b.T, a.T), product(a, b))[1]),
    "aten._sparse_addmm": Case(3, lambda m, k, n: (sparse(m, k), r(k, n)),
        lambda a, b: torch.sparse.mm(a.to_sparse(), b), stored_product),
    "sparse CSR": Case(3, lambda m, k, n: (sparse(m, k), r(k, n)), lambda a, b: a.to_sparse_csr() @ b, stored_product),
    "sparse on the right": Case(3, lambda m, k, n: (r(m, k), sparse(k, n)), lambda a, b: a @ b.to_sparse_csc(),
                                stored_product),
    "both sparse": Case(3, lambda m, k, n: (sparse(m, k), sparse(k, n)),
        lambda a, b: torch.sparse.mm(a.to_sparse(), b.to_sparse()).to_dense(), stored_product),
    "aten.sparse_sampled_addmm": Case(3, lambda m, k, n: (sparse(m, n), r(m, k), r(k, n)),
        lambda p, a, b: torch.sparse.sampled_addmm(p.to_sparse_csr(), a, b).to_dense(), sampled),
    "aten.conv_tbc": Case(3, lambda n, i, o: (r(5, n, i), r(3, i, o), r(o)), lambda x, w, b: torch.conv_tbc(x, w, b, 1),
                          time_first),
    "complex convolution": Case(4, lambda n, i, o, k: (c(n, i, 6), c(o, i, k)), F.conv1d,
        lambda x, w: convolution(x, w, (len(x), len(w), 7 - w.shape[2]), Geometry(1, 0, 1, 1))),
    "torch.nn.functional.scaled_dot_product_attention": Case(4,
        lambda n, s, e, v: (r(2, 4, n, e), r(2, 2, s, e), r(2, 2, s, v)),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), attention),
    "aten._scaled_dot_product_flash_attention_for_cpu": Case(2,
        lambda n, e: (r(2, 2, n, e), r(2, 2, n, e), r(2, 2, n, e)),
        lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0], attention),
    "aten._native_multi_head_attention": Case(2, lambda n, t: (r(n, t, 8), r(24, 8), r(8, 8)), run_heads,
                                              lambda x, qkv, out: heads(x, qkv, out, 2), adds=False),
    "aten._transformer_encoder_layer_fwd": Case(2, lambda t, f: (r(1, t, 8), r(24, 8), r(8, 8), r(f, 8), r(8, f)),
                                                run_encoder, encoder, adds=False),
    "torch.lstm": Case(4, layer_inputs(4), run_layer(nn.LSTM), lambda x, w, u: recurrent(4, x, w, u, lstm_step)),
    "torch.gru": Case(4, layer_inputs(3), run_layer(nn.GRU), lambda x, w, u: recurrent(3, x, w, u, gru_step)),
    "torch.rnn_tanh": Case(4, layer_inputs(1), run_layer(nn.RNN), lambda x, w, u: recurrent(1, x, w, u, rnn_step)),
    "aten.mkldnn_rnn_layer": Case(4, layer_inputs(4), run_onednn, lambda x, w, u: recurrent(4, x, w, u, lstm_step),
                                  adds=False),
    "torch.lstm_cell": Case(3, cell_inputs(4), run_cell("lstm_cell"), cell(4, lstm_step)),
    "torch.gru_cell": Case(3, cell_inputs(3), run_cell("gru_cell"), cell(3, gru_step)),
    "torch.rnn_tanh_cell": Case(3, cell_inputs(1), run_cell("rnn_tanh_cell"), cell(1, rnn_step)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_macs_are_the_multiplications_of_the_definition(name: str, data: st.DataObject) -> None:
    """A formula that was derived once can be wrong twice: in the code, and in the test that repeats it."""
    case = CASES[name]
    sizes = [data.draw(st.integers(1, 3)) for _ in range(case.sizes)]
    inputs = case.made(*sizes)
    ledger, answer = traced(case.function, inputs)
    arguments = list(map(numbers, inputs))
    with FlopCountingContext() as context:
        result = case.definition(*arguments)
    counts = context.flop_counts()
    kind = complex if answer.is_complex() else float
    assert np.allclose(np.vectorize(kind, otypes=[kind])(result), answer.numpy(), atol=1e-4)
    assert [] == ledger.unpriced()
    assert counts.MUL == ledger.total("macs")
    if case.adds:
        assert counts.ADD + counts.SUB == ledger.total("macs") + ledger.total("bias_adds")
    assert not name.startswith(("aten.", "torch.")) or name in {
        each for entry in ledger for each in (entry.aten, entry.api, *entry.inside)
    }


@settings(max_examples=15, deadline=None)
@given(
    dims=st.integers(1, 2), size=st.integers(3, 5), taps=st.integers(1, 3), stride=st.integers(1, 3),
    padding=st.integers(0, 2), dilation=st.integers(1, 2), groups=st.integers(1, 2), back=st.booleans(),
)  # fmt: skip
def test_convolutions_and_what_meets_their_border(
    dims: int, size: int, taps: int, stride: int, padding: int, dilation: int, groups: int, back: bool
) -> None:
    """`border_macs` are the multiplications that vanish when taps on padding (or cut off) are left out."""
    how = Geometry(stride, padding, dilation, groups)
    if back and (size - 1) * stride + dilation * (taps - 1) + 1 <= 2 * padding:
        return
    if not back and size + 2 * padding < dilation * (taps - 1) + 1:
        return
    into, out = 2 * groups, groups
    x = r(1, into, *[size] * dims)
    weight = r(into, out // groups, *[taps] * dims) if back else r(out, into // groups, *[taps] * dims)
    function = getattr(F, f"conv_transpose{dims}d" if back else f"conv{dims}d")
    ledger, answer = traced(lambda x, w: function(x, w, None, **how._asdict()), (x, weight))
    definition = transposed if back else convolution
    counts = []
    for border in (True, False):
        arguments = numbers(x), numbers(weight)
        with FlopCountingContext() as context:
            result = definition(*arguments, tuple(answer.shape), how, border=border)
        assert np.allclose(result.astype(float), answer.numpy(), atol=1e-4)
        counts.append(context.flop_counts().MUL)
    assert [ledger.total("macs"), ledger.total("macs") - ledger.total("border_macs")] == counts


@settings(max_examples=8, deadline=None)
@given(queries=st.integers(1, 5), keys=st.integers(1, 5), width=st.integers(1, 3))
def test_a_causal_kernel_need_not_compute_what_is_masked(queries: int, keys: int, width: int) -> None:
    """`masked_macs` are the multiplications that vanish when forbidden scores are not computed."""
    inputs = r(1, 2, queries, width), r(1, 2, keys, width), r(1, 2, keys, width)
    ledger, answer = traced(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), inputs)
    arguments = list(map(numbers, inputs))
    with FlopCountingContext() as context:
        result = attention(*arguments, allowed=lambda i, j: j <= i)
    assert np.allclose(result.astype(float), answer.numpy(), atol=1e-4)
    assert context.flop_counts().MUL == ledger.total("macs") - ledger.total("masked_macs")


def test_deformable_convolution() -> None:
    """Its taps are where the offsets say; here by whole pixels, so that a sample is an element."""
    ops = pytest.importorskip("torchvision.ops")
    x, weight = r(1, 4, 5, 4), r(2, 2, 3, 3)
    offset = torch.randint(-1, 2, (1, 18, 5, 4)).float()
    ledger, answer = traced(lambda x, o, w: ops.deform_conv2d(x, o, w, padding=1), (x, offset, weight))

    def element(n: int, o: int, i: int, j: int) -> Any:
        def taps() -> Iterator[Any]:
            for c, a, b in every(range(2), range(3), range(3)):
                dy, dx = (int(offset[n, 2 * (3 * a + b) + which, i, j]) for which in (0, 1))
                at = i + a - 1 + dy, j + b - 1 + dx
                inside = 0 <= at[0] < 5 and 0 <= at[1] < 4
                yield (pixels[(n, 2 * o + c, *at)] if inside else CountedFloat(0.0)) * kernel[o, c, a, b]

        return total(taps())

    pixels, kernel = numbers(x), numbers(weight)
    with FlopCountingContext() as context:
        result = filled(tuple(answer.shape), element)
    assert np.allclose(result.astype(float), answer.numpy(), atol=1e-4)
    assert context.flop_counts().MUL == ledger.total("macs")


def test_a_sequence_of_several_lengths_is_several_sequences() -> None:
    """The kernels that take them need a GPU: the price alone is asked here, the definition is of each by itself."""
    from flopledger.reference_model.quantities.attention import flash_attention

    lengths, keys, width = [3, 5], [4, 5], 2
    q, k = r(8, 2, width), r(9, 2, width)
    offsets = [torch.tensor([0, a, a + b], dtype=torch.int32) for a, b in (lengths, keys)]
    _, quantities = flash_attention(q, k, k, *offsets, 5, 5, 0.0, True, out=q)
    each = [(q[None, :3], k[None, :4]), (q[None, 3:], k[None, 4:])]
    for causal in (False, True):
        counts = 0
        for queries, values in each:
            one, other = numbers(queries.transpose(1, 2)), numbers(values.transpose(1, 2))
            shift = other.shape[2] - one.shape[2]  # the last query sees the last key
            with FlopCountingContext() as context:
                attention(one, other, other, lambda i, j, s=shift, all_=not causal: all_ or j <= i + s)
            counts += context.flop_counts().MUL
        assert counts == quantities["macs"] - (quantities["masked_macs"] if causal else 0)


# --- transforms and solvers -------------------------------------------------------------------------


def transform(x: list[Any]) -> list[Any]:
    """Cooley and Tukey's radix 2, each butterfly with its factor."""
    if len(x) == 1:
        return x
    even, odd = transform(x[::2]), transform(x[1::2])
    angles = [-2 * math.pi * k / len(x) for k in range(len(x) // 2)]
    turned = [
        Complex(CountedFloat(math.cos(a)), CountedFloat(math.sin(a))) * o for a, o in zip(angles, odd, strict=True)
    ]
    below = [Complex(CountedFloat(-float(t.re)), CountedFloat(-float(t.im))) for t in turned]
    return [e + t for e, t in zip(even, turned, strict=True)] + [e + t for e, t in zip(even, below, strict=True)]


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_fft_flops_are_those_of_radix_two(n: int) -> None:
    """Where n is a power of two the rule is the algorithm's own count."""
    x = c(n)
    ledger, answer = traced(torch.fft.fft, (x,))
    arguments = list(numbers(x))
    with FlopCountingContext() as context:
        result = transform(arguments)
    counts = context.flop_counts()
    assert np.allclose([complex(each) for each in result], answer.numpy(), atol=1e-4)
    assert counts.MUL + counts.ADD + counts.SUB == ledger.total("fft_flops")


def cholesky(a: Array) -> Array:
    n = len(a)
    low = filled((n, n), lambda *_: CountedFloat(0.0))
    for j in range(n):
        rest = a[j, j]
        for k in range(j):
            rest = rest - low[j, k] * low[j, k]
        low[j, j] = rest.sqrt() if hasattr(rest, "sqrt") else rest**0.5
        for i in range(j + 1, n):
            rest = a[i, j]
            for k in range(j):
                rest = rest - low[i, k] * low[j, k]
            low[i, j] = rest / low[j, j]
    return low


def eliminated(a: Array) -> Array:
    """LU in place, without pivots."""
    a = a.copy()
    for k in range(min(a.shape)):
        for i in range(k + 1, a.shape[0]):
            a[i, k] = a[i, k] / a[k, k]
            for j in range(k + 1, a.shape[1]):
                a[i, j] = a[i, j] - a[i, k] * a[k, j]
    return a


def back_substituted(upper: Array, b: Array) -> Array:
    x = b.copy()
    for i in reversed(range(len(upper))):
        for j in range(b.shape[1]):
            for k in range(i + 1, len(upper)):
                x[i, j] = x[i, j] - upper[i, k] * x[k, j]
            x[i, j] = x[i, j] / upper[i, i]
    return x


def forward_substituted(lower: Array, b: Array) -> Array:
    x = b.copy()
    for i in range(len(lower)):
        for j in range(b.shape[1]):
            for k in range(i):
                x[i, j] = x[i, j] - lower[i, k] * x[k, j]
    return x


def solved(a: Array, b: Array) -> Array:
    factors = eliminated(a)
    return back_substituted(factors, forward_substituted(factors, b))


def reflected(a: Array) -> Array:
    """R by Householder's reflections."""
    a = a.copy()
    for k in range(a.shape[1]):
        column = [a[i, k] for i in range(k, a.shape[0])]
        length = CountedFloat(math.sqrt(float(total(x * x for x in column))))
        column[0] = column[0] + (length if float(column[0]) >= 0 else -float(length))
        scale = CountedFloat(2.0) / total(x * x for x in column)
        for j in range(k, a.shape[1]):
            along = scale * total(x * a[k + i, j] for i, x in enumerate(column))
            for i, x in enumerate(column):
                a[k + i, j] = a[k + i, j] - along * x
    return a


def definite(n: int) -> Tensor:
    a = r(n, n)
    return a @ a.T + n * torch.eye(n)


SOLVERS: dict[str, tuple[Callable[..., Any], Callable[[int], tuple[Tensor, ...]], Callable[..., Array]]] = {
    "cholesky": (torch.linalg.cholesky, lambda n: (definite(n),), cholesky),
    "lu": (lambda a: torch.linalg.lu_factor(a, pivot=True)[0], lambda n: (definite(n),), eliminated),
    "lu, twice as long": (lambda a: torch.linalg.lu_factor(a)[0], lambda n: (r(2 * n, n) + 9,), eliminated),
    "det": (torch.linalg.det, lambda n: (definite(n),), eliminated),
    "solve": (torch.linalg.solve, lambda n: (definite(n), r(n, n)), solved),
    "solve_triangular": (lambda a, b: torch.linalg.solve_triangular(a, b, upper=True),
                         lambda n: (definite(n).triu(), r(n, n)), back_substituted),
    "qr, R alone": (lambda a: torch.linalg.qr(a, "r")[1], lambda n: (r(2 * n, n),), reflected),
    "geqrf": (lambda a: torch.geqrf(a)[0], lambda n: (r(n, n),), reflected),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
def test_linalg_flops_are_the_leading_order_of_the_algorithm(name: str) -> None:
    """The third differences of a cubic polynomial are its leading coefficient, whatever follows it.

    Iterations until convergence (eigenvalues, singular values) have no such count; their formulas are their sources'.
    """
    function, made, algorithm = SOLVERS[name]
    ours, theirs = [], []
    for n in range(2, 6):
        inputs = made(n)
        thrice = tuple(tensor.expand(3, *tensor.shape) for tensor in inputs)  # thirds are whole numbers then
        ours.append(traced(function, thrice)[0].total("linalg_flops"))
        arguments = list(map(numbers, inputs))
        with FlopCountingContext() as context:
            algorithm(*arguments)
        counts = context.flop_counts()
        theirs.append(3 * (counts.MUL + counts.ADD + counts.SUB + counts.DIV))
    assert np.diff(ours, 3) == np.diff(theirs, 3) > 0


# --- no formula without ------------------------------------------------------------------------------

# Formulas whose kernels no CPU has, or that only put what is above in another order.
ELSEWHERE = {
    "aten._scaled_mm": "eight bits; tests/test_prices.py, by hand",
    "aten._sparse_semi_structured_linear": "CUDA",
    "aten._sparse_semi_structured_mm": "CUDA",
    "aten._sparse_semi_structured_addmm": "CUDA",
    "aten._cslt_sparse_mm": "CUDA",
    "inductor._mm_plus_mm": "a compiled graph's",
    "aten._compute_linear_combination": "inside of the exponential of a matrix",
    "aten._trilinear": "inside of bilinear and its backward",
    "aten._flash_attention_forward": "CUDA; the sequences above",
    "torch_attn._varlen_attn": "CUDA; the sequences above",
    "aten._efficient_attention_forward": "CUDA",
    "aten._cudnn_attention_forward": "CUDA",
    "aten._cudnn_rnn": "CUDA",
    "aten._lstm_mps": "MPS",
    "aten.convolution": "the convolutions above",
    "torchvision.deform_conv2d": "the deformable convolution above",
    "aten.linear": "a kernel of linear layers, which are above",
    "quantized.linear": "integers; tests/test_prices.py, by hand",
    "quantized.conv2d": "integers; tests/test_prices.py, by hand",
    "quantized.embedding_bag_byte": "as embedding_bag",
}


def test_no_formula_is_without_its_oracle() -> None:
    """A new product is counted here by its definition, or there is a reason why not."""
    here = {*CASES, *ELSEWHERE}
    names: dict[tuple[str, str], set[str]] = {}
    for name, pricer in {**ATEN, **FUNCTIONS}.items():
        module, own = pricer.__module__.rpartition(".")[2], pricer.__qualname__
        if module in ("contractions", "convolutions", "attention", "recurrent"):
            names.setdefault((module, own), set()).add(name)
    assert {} == {at: found for at, found in names.items() if not found & here and "<locals>" not in at[1]}
