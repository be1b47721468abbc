"""The backward against an oracle: scalars that are multiplied one by one, forward and then backward by the chain rule.

Each operation is written from its definition, with loops. A product `a·b` of a contraction is one MAC forward; in the
backward it is one for the gradient of `a`, if that needs one, and one for that of `b`. The gradients that come out
are compared with torch's, so an oracle that counted another computation would fail by its values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.running import trace

few = settings(max_examples=12, deadline=None, derandomize=True, database=None)
size = st.integers(1, 4)


class Tape:
    """What was computed, in order, so that it can be gone back."""

    def __init__(self) -> None:
        self.steps: list[tuple[Scalar, list[tuple[Scalar, float, bool]]]] = []
        self.forward = self.backward = 0

    def constant(self, value: float, needs: bool = False) -> Scalar:
        return Scalar(self, value, needs)

    def of(self, tensor: Tensor) -> Any:
        """Nested lists of scalars."""
        if tensor.dim() == 0:
            return Scalar(self, tensor.item(), tensor.requires_grad)
        return [self.of(each) for each in tensor]

    def run(self, outputs: Any) -> None:
        """The backward of the sum of the outputs."""
        for scalar in flat(outputs):
            scalar.grad += 1.0
        for out, parents in reversed(self.steps):
            for parent, slope, contracted in parents:
                if parent.needs:
                    self.backward += contracted
                    parent.grad += out.grad * slope


class Scalar:
    """A number that knows its gradient; `times` is a product of a contraction, the rest is arithmetic of elements."""

    def __init__(self, tape: Tape, value: float, needs: bool):
        self.tape, self.value, self.needs, self.grad = tape, value, needs, 0.0

    def _made(self, value: float, *parents: tuple[Scalar, float, bool]) -> Scalar:
        out = Scalar(self.tape, value, any(parent.needs for parent, _, _ in parents))
        if out.needs:
            self.tape.steps.append((out, list(parents)))
        return out

    def times(self, other: Scalar) -> Scalar:
        self.tape.forward += 1
        return self._made(self.value * other.value, (self, other.value, True), (other, self.value, True))

    def __mul__(self, other: Scalar) -> Scalar:
        return self._made(self.value * other.value, (self, other.value, False), (other, self.value, False))

    def __add__(self, other: Scalar) -> Scalar:
        return self._made(self.value + other.value, (self, 1.0, False), (other, 1.0, False))

    def apply(self, value: float, slope: float) -> Scalar:
        return self._made(value, (self, slope, False))

    def exp(self) -> Scalar:
        return self.apply(math.exp(self.value), math.exp(self.value))

    def inverse(self) -> Scalar:
        return self.apply(1 / self.value, -1 / self.value**2)

    def sigmoid(self) -> Scalar:
        y = 1 / (1 + math.exp(-self.value))
        return self.apply(y, y * (1 - y))

    def tanh(self) -> Scalar:
        y = math.tanh(self.value)
        return self.apply(y, 1 - y * y)


def flat(value: Any) -> Iterator[Scalar]:
    if isinstance(value, Scalar):
        yield value
    else:
        for each in value:
            yield from flat(each)


def total(scalars: list[Scalar]) -> Scalar:
    out = scalars[0]
    for each in scalars[1:]:
        out = out + each
    return out


def dot(a: list[Scalar], b: list[Scalar]) -> Scalar:
    return total([x.times(y) for x, y in zip(a, b, strict=True)])


def transposed(matrix: list[list[Scalar]]) -> list[list[Scalar]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def matmul(a: list[list[Scalar]], b: list[list[Scalar]]) -> list[list[Scalar]]:
    return [[dot(row, column) for column in transposed(b)] for row in a]


class Calls(nn.Module):
    def __init__(self, function: Callable[..., Any], **tensors: Tensor):
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor, tensor.requires_grad))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs, **dict(self.named_parameters()))


def held(
    function: Callable[..., Tensor],
    by_definition: Callable[..., Any],
    inputs: list[Tensor],
    weights: dict[str, Tensor],
    bias: str = "",
) -> Ledger:
    """The ledger's MACs, forward and backward, are what the definition takes, and its gradients are torch's."""
    model = Calls(function, **weights)
    ledger = trace(model, tuple(inputs), mode="step")
    tape = Tape()
    given_ = [tape.of(tensor) for tensor in inputs]
    named = {name: tape.of(p) for name, p in model.named_parameters()}
    outputs = by_definition(tape, *given_, **named)
    tape.run(outputs)
    spent = {phase: sum(e["macs"] for e in ledger if e.phase == phase) for phase in ("forward", "backward")}
    assert {"forward": tape.forward, "backward": tape.backward} == spent
    assert not ledger.unpriced()
    assert "meta" == ledger.device and all(tensor.grad is None for tensor in [*inputs, *model.parameters()])

    # The oracle computes what torch computes.
    out = model(*inputs)
    assert torch.allclose(out.flatten(), torch.tensor([s.value for s in flat(outputs)], dtype=out.dtype))
    leaves = [*zip(inputs, given_, strict=True), *((p, named[name]) for name, p in model.named_parameters())]
    if any(tensor.requires_grad for tensor, _ in leaves):
        out.sum().backward()
    for tensor, scalars in leaves:
        assert (tensor.grad is not None) == tensor.requires_grad
        if tensor.grad is not None:
            found = torch.tensor([s.grad for s in flat(scalars)], dtype=tensor.dtype)
            assert torch.allclose(tensor.grad.flatten(), found)
            tensor.grad = None
    return ledger


def rand(*shape: int, grad: bool = True) -> Tensor:
    return torch.rand(shape, dtype=torch.float64).requires_grad_(grad)


# --- convolutions ---------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    dims = draw(st.integers(1, 2))
    groups, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(dims)]
    dilation = [draw(st.integers(1, 2)) for _ in range(dims)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return {
        "batch": draw(st.integers(1, 2)), "groups": groups, "channels": groups * per_in, "filters": groups * per_out,
        "kernel": kernel, "dilation": dilation, "stride": [draw(st.integers(1, 2)) for _ in range(dims)],
        "padding": [draw(st.integers(0, 1)) for _ in range(dims)],
        "sides": [r + draw(st.integers(0, 3)) for r in reach],
        "needs": draw(st.tuples(*[st.booleans()] * 3)), "bias": draw(st.booleans()),
    }  # fmt: skip


@few
@given(convolutions())
def test_convolution(case: dict[str, Any]) -> None:
    """Stride, padding (as if it were data), dilation, groups; input, weight and bias frozen in every combination."""
    x_needs, w_needs, b_needs = case["needs"]
    x = rand(case["batch"], case["channels"], *case["sides"], grad=x_needs)
    per = case["channels"] // case["groups"]
    weights = {"weight": rand(case["filters"], per, *case["kernel"], grad=w_needs)}
    if case["bias"]:
        weights["bias"] = rand(case["filters"], grad=b_needs)
    options = {name: tuple(case[name]) for name in ("stride", "padding", "dilation")}
    dims = len(case["kernel"])
    function = (F.conv1d, F.conv2d)[dims - 1]

    def by_definition(tape: Tape, x: Any, weight: Any, bias: Any = None) -> Any:
        beyond = tape.constant(0.0, x_needs)  # padding
        sides = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                case["sides"], case["padding"], case["dilation"], case["kernel"], case["stride"], strict=True
            )
        ]

        def at(image: Any, place: tuple[int, ...]) -> Scalar:
            for i, n in zip(place, case["sides"], strict=True):
                if not 0 <= i < n:
                    return beyond
                image = image[i]
            found: Scalar = image
            return found

        def tap(kernel: Any, place: tuple[int, ...]) -> Scalar:
            for i in place:
                kernel = kernel[i]
            found: Scalar = kernel
            return found

        outputs = []
        for sample, f, where in product(x, range(case["filters"]), product(*map(range, sides))):
            group = f // (case["filters"] // case["groups"])
            terms = []
            for c, k in product(range(per), product(*map(range, case["kernel"]))):
                steps = zip(where, case["stride"], k, case["dilation"], case["padding"], strict=True)
                place = tuple(o * s + i * d - p for o, s, i, d, p in steps)
                terms.append(at(sample[group * per + c], place).times(tap(weight[f][c], k)))
            outputs.append(total(terms + ([bias[f]] if bias else [])))
        return outputs

    ledger = held(
        lambda x, weight, bias=None: function(x, weight, bias, groups=case["groups"], **options),
        by_definition, [x], weights,
    )  # fmt: skip
    summed = sum(e["bias_adds"] for e in ledger if e.phase == "backward")
    outputs = sum(e["outputs"] for e in ledger if (e.phase, e.op) == ("forward", "conv"))
    assert summed == outputs * (case["bias"] and b_needs)
    each = sum(e["macs"] for e in ledger if e.phase == "forward")
    assert sum(e["weight_gradient_macs"] for e in ledger) == each * w_needs


@few
@given(convolutions())
def test_transposed_convolution(case: dict[str, Any]) -> None:
    """Each input element meets each tap of its group's filters once, wherever that lands."""
    x_needs, w_needs, b_needs = case["needs"]
    x = rand(case["batch"], case["channels"], *case["sides"], grad=x_needs)
    per = case["filters"] // case["groups"]
    weights = {"weight": rand(case["channels"], per, *case["kernel"], grad=w_needs)}
    if case["bias"]:
        weights["bias"] = rand(case["filters"], grad=b_needs)
    function = (F.conv_transpose1d, F.conv_transpose2d)[len(case["kernel"]) - 1]

    def by_definition(tape: Tape, x: Any, weight: Any, bias: Any = None) -> Any:
        sides = [
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(case["sides"], case["stride"], case["dilation"], case["kernel"], strict=True)
        ]
        outputs = []
        for sample in x:
            sums: dict[tuple[int, ...], Scalar] = {}
            for c, f in product(range(case["channels"]), range(per)):
                filter_ = c // (case["channels"] // case["groups"]) * per + f
                for place, k in product(product(*map(range, case["sides"])), product(*map(range, case["kernel"]))):
                    steps = zip(place, case["stride"], k, case["dilation"], strict=True)
                    value, tap = sample[c], weight[c][f]
                    for i in place:
                        value = value[i]
                    for i in k:
                        tap = tap[i]
                    term, at = value.times(tap), (filter_, *(i * s + j * d for i, s, j, d in steps))
                    sums[at] = sums[at] + term if at in sums else term
            for at in product(range(case["filters"]), *map(range, sides)):
                found = sums.get(at, tape.constant(0.0))
                outputs.append(found + bias[at[0]] if bias else found)
        return outputs

    options = {"stride": tuple(case["stride"]), "dilation": tuple(case["dilation"]), "groups": case["groups"]}
    held(lambda x, weight, bias=None: function(x, weight, bias, **options), by_definition, [x], weights)


# --- products -------------------------------------------------------------------------------------


@few
@given(st.lists(size, max_size=2), size, size, st.tuples(*[st.booleans()] * 3), st.booleans())
def test_linear(rows: list[int], into: int, out: int, needs: tuple[bool, ...], bias: bool) -> None:
    """Rows of any shape, also none: g·W for the input, gᵀ·x for the weight, a sum for the bias."""
    x = rand(*rows, into, grad=needs[0])
    weights = {"weight": rand(out, into, grad=needs[1])} | ({"bias": rand(out, grad=needs[2])} if bias else {})

    def by_definition(tape: Tape, x: Any, weight: Any, bias: Any = None) -> Any:
        flat_rows = [list(flat(x))[i : i + into] for i in range(0, len(list(flat(x))), into)]
        products = [[dot(row, w) for w in weight] for row in flat_rows]
        return [[y + b for y, b in zip(row, bias, strict=True)] for row in products] if bias else products

    ledger = held(F.linear, by_definition, [x], weights)
    assert {"linear"} == {entry.op for entry in ledger if entry["macs"]}


@few
@given(size, size, size, size, st.sampled_from(["same", "left", "right"]), st.booleans(), st.booleans())
def test_product_with_broadcasting(b: int, n: int, k: int, m: int, shared: str, left: bool, right: bool) -> None:
    """What is broadcast gets a gradient from each of those that it met."""
    x = rand(*([b] if shared != "left" else []), n, k, grad=left)
    y = rand(*([b] if shared != "right" else []), k, m, grad=right)

    def by_definition(tape: Tape, x: Any, y: Any) -> Any:
        lefts = [x] * b if shared == "left" else x
        rights = [y] * b if shared == "right" else y
        return [matmul(one, other) for one, other in zip(lefts, rights, strict=True)]

    held(torch.matmul, by_definition, [x, y], {})


@few
@given(size, size, size, size, st.sampled_from([1, 2]), st.tuples(*[st.booleans()] * 3))
def test_fused_attention(
    length: int, context: int, width: int, values: int, share: int, needs: tuple[bool, ...]
) -> None:
    """dV, dP, dQ and dK as far as they are needed; the scores that a kernel computes again are apart."""
    q = rand(1, 2, length, width, grad=needs[0])
    k = rand(1, 2 // share, context, width, grad=needs[1])
    v = rand(1, 2 // share, context, values, grad=needs[2])

    def by_definition(tape: Tape, q: Any, k: Any, v: Any) -> Any:
        outputs = []
        for head in range(2):
            scores = matmul(q[0][head], transposed(k[0][head // share]))
            weights = []
            for row in scores:
                powers = [(s * tape.constant(width**-0.5)).exp() for s in row]
                inverse = total(powers).inverse()
                weights.append([p * inverse for p in powers])
            outputs.append(matmul(weights, v[0][head // share]))
        return outputs

    ledger = held(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=share > 1), by_definition, [q, k, v], {}
    )
    assert ledger.total("recomputed_macs") == (2 * length * context * width if any(needs) else 0)


# --- recurrent ------------------------------------------------------------------------------------


@few
@given(size, st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.booleans(), st.sampled_from(["", "ih", "hh"]))
def test_lstm(steps: int, into: int, hidden: int, layers: int, x_needs: bool, frozen: str) -> None:
    """Each matrix at each step: its gradient, and that of what it met; the first state is given and needs none."""
    torch.manual_seed(0)
    model = nn.LSTM(into, hidden, layers).double()
    for name, p in model.named_parameters():
        p.requires_grad_(not frozen or frozen not in name)
    x = rand(steps, 1, into, grad=x_needs)
    ledger = trace(model, (x,), mode="step")

    tape = Tape()
    given_ = tape.of(x)
    matrices = {name: tape.of(p) for name, p in model.named_parameters()}
    rows: list[list[Scalar]] = [sample[0] for sample in given_]
    states: list[Scalar] = []
    for layer in range(layers):
        w_ih, w_hh = matrices[f"weight_ih_l{layer}"], matrices[f"weight_hh_l{layer}"]
        b_ih, b_hh = matrices[f"bias_ih_l{layer}"], matrices[f"bias_hh_l{layer}"]
        h, c = ([tape.constant(0.0) for _ in range(hidden)] for _ in range(2))
        after = []
        for row in rows:
            gates = [dot(w, row) + b + dot(u, h) + d for w, b, u, d in zip(w_ih, b_ih, w_hh, b_hh, strict=True)]
            i, f, g, o = (gates[n * hidden : (n + 1) * hidden] for n in range(4))
            c = [b.sigmoid() * s + a.sigmoid() * n.tanh() for a, b, n, s in zip(i, f, g, c, strict=True)]
            h = [y.sigmoid() * s.tanh() for y, s in zip(o, c, strict=True)]
            after.append(h)
        states += [*h, *c]
        rows = after
    tape.run([*flat(rows), *states])  # outputs, last hidden states, last cells
    assert tape.backward == sum(e["macs"] for e in ledger if e.phase == "backward")
    assert tape.forward == sum(e["macs"] for e in ledger if e.phase == "forward")
    assert {"recurrent"} == {e.op for e in ledger if e["macs"]}
    out, (hn, cn) = model(x)
    (out.sum() + hn.sum() + cn.sum()).backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            assert torch.allclose(p.grad.flatten(), torch.tensor([s.grad for s in flat(matrices[name])]).double())


# --- by elements ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "model", "shape"),
    [
        ("batch_norm", nn.BatchNorm2d(3), (2, 3, 4, 5)),
        ("layer_norm", nn.LayerNorm(5), (2, 3, 5)),
        ("group_norm", nn.GroupNorm(2, 4), (2, 4, 3)),
        ("pool", nn.MaxPool2d(2), (2, 3, 4, 4)),
        ("pool", nn.AvgPool2d(2), (2, 3, 4, 4)),
        ("pool", nn.AdaptiveAvgPool2d(2), (2, 3, 4, 4)),
        ("activation", nn.GELU(), (2, 3, 4)),
        ("activation", nn.SiLU(), (2, 3, 4)),
        ("softmax", nn.Softmax(-1), (2, 3, 4)),
        ("upsample", nn.Upsample(scale_factor=2), (2, 3, 4, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_is_of_elements(op: str, model: nn.Module, shape: tuple[int, ...]) -> None:
    """One element of gradient in for each output, one out for each input, of the same kind and without a product."""
    x = torch.rand(shape, requires_grad=True)
    ledger = trace(model, (x,), mode="step")
    (forward,) = [entry for entry in ledger if (entry.phase, entry.op) == ("forward", op)]
    backward = [entry for entry in ledger if (entry.phase, entry.op) == ("backward", op)]
    assert [(forward["outputs"], forward["inputs"])] == [(e["inputs"], e["outputs"]) for e in backward]
    assert 0 == ledger.total("macs") and not ledger.unpriced()


def test_a_look_up() -> None:
    """The gradient of a table is that of what was taken from it, added up row by row."""
    ledger = trace(nn.Embedding(7, 3), (torch.tensor([[1, 2, 2]]),), mode="step")
    (entry,) = [e for e in ledger if (e.phase, e.op) == ("backward", "embedding")]
    assert (9, 21, 0) == (entry["inputs"], entry["outputs"], ledger.total("macs"))


@few
@given(size, size, st.booleans(), st.booleans())
def test_product_with_a_vector(n: int, k: int, left: bool, right: bool) -> None:
    """torch makes its gradients of element-wise products, and products they are."""

    def by_definition(tape: Tape, x: Any, y: Any) -> Any:
        return [dot(row, y) for row in x]

    held(torch.mv, by_definition, [rand(n, k, grad=left), rand(k, grad=right)], {})
    held(torch.dot, lambda tape, x, y: dot(x, y), [rand(k, grad=left), rand(k, grad=right)], {})
