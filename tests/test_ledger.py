"""The ledger: every operation that runs, where, and with numbers that can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flopledger.counters.convention import Convention
from flopledger.counters.formula import Case, Formula, meaning, value
from flopledger.counters.libraries.fvcore import rules as _fvcore  # noqa: F401  (its quantities)
from flopledger.counters.libraries.thop import rules as _thop  # noqa: F401  (its quantities)
from flopledger.reference_model.ledger import Entry, Ledger
from flopledger.reference_model.mobilenet_v2 import mobilenet_v2
from flopledger.reference_model.quantities import FUNCTIONS
from flopledger.reference_model.running import ModelError, trace
from flopledger.reference_model.subject import Spec


class Calls(nn.Module):
    """A model that is one function of its inputs."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def of(model: nn.Module | Callable[..., Any], *shapes: tuple[int, ...], **options: Any) -> Ledger:
    module = model if isinstance(model, nn.Module) else Calls(model)
    return trace(module, tuple(torch.rand(shape) for shape in shapes), **options)


def only(ledger: Ledger, op: str) -> Entry:
    (entry,) = [entry for entry in ledger if entry.op == op]
    return entry


def amounts(entry: Entry, *names: str) -> tuple[int, ...]:
    return tuple(entry[name] for name in names)


def charged(ledger: Ledger, op: str, formula: str) -> int:
    """What a formula comes to over all calls of an op, whosever quantities it is made of."""
    cases = [case for case in Convention("", ()).cases(ledger) if case.entry.op == op]
    return int(sum(Formula.parse(formula).over_calls(case) for case in cases))


# --- MobileNetV2 at 416, from the facts page ------------------------------------------------------

FACTS = {  # design folder, facts.md, "MobileNetV2 1.0 at 1×3×416×416 (eval, batch 1)"
    "conv": {"sites": 52, "macs": 1_032_949_632, "bias_adds": 0},
    "linear": {"sites": 1, "macs": 1_280_000, "bias_adds": 1_000},
    "batch_norm": {"sites": 52, "outputs": 23_032_672, "weights": 17_056, "biases": 17_056},
    "activation": {"sites": 35, "outputs": 21_058_752},
    "add": {"sites": 10, "outputs": 746_304},
    "pool": {"sites": 1, "inputs": 216_320, "outputs": 1_280},
}


@pytest.fixture(scope="module")
def facts() -> Ledger:
    model, inputs, _ = Spec.parse("mobilenet_v2").build("meta")
    return trace(model, inputs, name="mobilenet_v2")


@pytest.mark.parametrize("op", FACTS)
def test_mobilenet_v2_at_416_is_as_measured(facts: Ledger, op: str) -> None:
    """The facts page was measured with other tools; it is the oracle for the whole trace."""
    found = facts.by_op()[op]
    assert FACTS[op] == {name: found.get(name, 0) for name in FACTS[op]}


def test_mobilenet_v2_as_a_whole(facts: Ledger) -> None:
    """Parameters, the MAC total, and that nothing runs which the table above does not name."""
    assert (3_504_872, "meta", [], ["1x3x416x416"]) == (facts.params, facts.device, facts.notes, facts.inputs)
    assert 1_032_949_632 + 1_280_000 == facts.total("macs")
    assert {*FACTS, "view"} >= facts.by_op().keys() - {"dropout"}
    assert [] == facts.unpriced()
    assert facts.total("outputs") == facts.totals()["outputs"] == int(facts.frame()["outputs"].sum())


def test_sites_are_the_names_of_named_modules(facts: Ledger) -> None:
    """A site is looked up in the user's own model; each must be there, with its class."""
    with torch.device("meta"):
        modules = dict(mobilenet_v2().named_modules())
    assert {entry.site for entry in facts} <= modules.keys()
    assert {"Conv2d"} == {entry.module for entry in facts if entry.op == "conv"}
    assert all(entry.leaf == (not list(modules[entry.site].children())) for entry in facts)
    assert {"features.3", "features.5", "features.6"} <= {entry.site for entry in facts if entry.op == "add"}


def test_pooling_by_mean_is_a_reduction_at_the_root() -> None:
    """The article's two networks differ in this alone; the ledger must tell a module from a function."""
    model, inputs, _ = Spec.parse("mobilenet_v2?pooling=mean").build("meta")
    ledger = trace(model, inputs)
    assert "pool" not in ledger.by_op()
    assert ("", 216_320, 1_280) == (
        only(ledger, "reduction").site,
        *amounts(only(ledger, "reduction"), "inputs", "outputs"),
    )
    assert 1_034_229_632 == ledger.total("macs")


@pytest.mark.parametrize("name", ["resnet50", "vgg16_bn", "densenet121", "mobilenet_v3_large", "efficientnet_b0"])
def test_twice_the_macs_are_torchs_own_flops(name: str) -> None:
    """torch's FlopCounterMode shares no code with the ledger and counts two per MAC."""
    pytest.importorskip("torchvision")
    model, inputs, _ = Spec.parse(f"torchvision:{name}", ["2x3x224x224"]).build("meta")
    ledger = trace(model, inputs)
    with FlopCounterMode(display=False) as theirs:
        model(*inputs)
    assert theirs.get_total_flops() == 2 * ledger.total("macs")
    assert "meta" == ledger.device


# --- one op at a time, by hand --------------------------------------------------------------------


def test_convolution_with_groups_stride_padding_and_bias() -> None:
    """2×6×9×7 by 4 filters of 3×3×2 (3 groups would not divide 4; 2 groups of 3 do), stride 2, padding 1."""
    entry = only(of(nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2), (2, 6, 9, 7)), "conv")
    outputs, weights = 2 * 4 * 5 * 4, 4 * 3 * 3 * 3
    assert (outputs * 27, outputs, 2 * 6 * 9 * 7, outputs) == amounts(entry, "macs", "outputs", "inputs", "bias_adds")
    assert (weights, 4, 2, 20) == amounts(entry, "weights", "biases", "samples", "positions")


@pytest.mark.parametrize(
    ("model", "shape", "macs", "outputs"),
    [
        (nn.Conv1d(3, 5, 4, bias=False), (2, 3, 11), 2 * 5 * 8 * 12, 2 * 5 * 8),
        (nn.Conv3d(2, 3, (1, 2, 3), bias=False), (1, 2, 4, 5, 6), 3 * 4 * 4 * 4 * 12, 3 * 4 * 4 * 4),
        (nn.Conv2d(8, 8, 3, groups=8, bias=False), (1, 8, 5, 5), 8 * 9 * 9, 8 * 9),
        (nn.Conv2d(3, 5, 3, dilation=2, bias=False), (1, 3, 9, 9), 5 * 25 * 27, 5 * 25),
        (nn.Conv2d(3, 5, 2, bias=False), (3, 6, 6), 5 * 25 * 12, 5 * 25),
        (nn.Conv2d(3, 5, 3, padding="same", bias=False), (1, 3, 6, 6), 5 * 36 * 27, 5 * 36),
    ],
    ids=["1d", "3d", "depthwise", "dilated", "unbatched", "same"],
)  # fmt: skip
def test_convolutions_of_every_kind(model: nn.Module, shape: tuple[int, ...], macs: int, outputs: int) -> None:
    """outputs × (input channels / groups) × kernel, whatever the dimension; no bias, no bias adds."""
    ledger = of(model, shape)
    assert (macs, outputs) == (ledger.total("macs"), only(ledger, "conv")["outputs"])
    assert 0 == ledger.total("bias_adds")


def test_transposed_convolution_costs_a_kernel_per_input() -> None:
    """Several counters multiply by the output instead; both amounts are in the ledger, under two names."""
    entry = only(of(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 5)), "conv_transpose")
    weights, outputs = 4 * 3 * 9, 2 * 6 * 11 * 11
    assert (2 * weights * 25, 2 * weights * 121) == amounts(entry, "macs", "macs_at_output")
    assert (weights, outputs, outputs) == amounts(entry, "weights", "outputs", "bias_adds")


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    """ATen shows a linear layer as addmm, mm or a view and mm; the ledger as one linear of so many rows."""
    ledger = of(nn.Linear(4, 7, bias=bias), shape)
    rows = torch.Size(shape[:-1]).numel()
    entry = only(ledger, "linear")
    assert (rows * 28, rows * 7, rows, 28) == amounts(entry, "macs", "outputs", "rows", "weights")
    assert (rows * 7 * bias, 7 * bias) == amounts(entry, "bias_adds", "biases")
    assert ["linear"] == list(ledger.by_op())


@pytest.mark.parametrize(
    ("a", "b", "macs"),
    [
        ((3, 4), (4, 5), 60),
        ((4,), (4,), 4),
        ((3, 4), (4,), 12),
        ((4,), (4, 5), 20),
        ((2, 1, 3, 4), (6, 4, 5), 2 * 6 * 60),
        ((6, 3, 4), (4, 5), 6 * 60),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", [torch.matmul, lambda a, b: a @ b, lambda a, b: a.matmul(b)], ids=["f", "@", "m"])
def test_matmul_with_broadcasting(call: Callable[..., Any], a: tuple[int, ...], b: tuple[int, ...], macs: int) -> None:
    """However it is written and broadcast, a product costs its inner length per output."""
    ledger = of(call, a, b)
    assert macs == only(ledger, "matmul")["macs"] == ledger.total("macs")


@pytest.mark.parametrize(
    ("call", "shapes", "macs"),
    [
        (torch.mm, [(3, 4), (4, 5)], 60),
        (torch.bmm, [(2, 3, 4), (2, 4, 5)], 120),
        (torch.mv, [(3, 4), (4,)], 12),
        (torch.dot, [(4,), (4,)], 4),
        (torch.addmm, [(5,), (3, 4), (4, 5)], 60),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 120),
        (torch.addmv, [(3,), (3, 4), (4,)], 12),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 120),
        (lambda a, b: torch.einsum("bij,bjk->bik", a, b), [(2, 3, 4), (2, 4, 5)], 120),
        (lambda a, b: a.__rmatmul__(b), [(4, 5), (3, 4)], 60),
    ],
    ids=["mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv", "addbmm", "einsum", "rmatmul"],
)
def test_products_by_other_names(call: Callable[..., Any], shapes: list[tuple[int, ...]], macs: int) -> None:
    """Research code calls these directly; a product by any name costs the same."""
    ledger = of(call, *shapes)
    assert (macs, {"matmul"}) == (ledger.total("macs"), {e.op for e in ledger if e["macs"]})


def test_bilinear() -> None:
    """Per output: in1·in2 MACs for W·x₂ and in1 for the product with x₁."""
    entry = only(of(nn.Bilinear(3, 4, 5), (2, 3), (2, 4)), "bilinear")
    assert (2 * 5 * (12 + 3), 10, 10, 60) == amounts(entry, "macs", "outputs", "bias_adds", "weights")


@pytest.mark.parametrize("options", [{}, {"is_causal": True}], ids=str)
def test_attention(options: dict[str, Any]) -> None:
    """heads·L·S·(E + V); a causal mask saves nothing in the dense computation that the ledger states."""
    shapes = (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 6)
    ledger = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), *shapes)
    assert (2 * 3 * 5 * 7 * 14, 2 * 3 * 5 * 7) == amounts(only(ledger, "attention"), "macs", "scores")
    assert ["attention"] == list(ledger.by_op())


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_is_its_projections_and_its_products(need_weights: bool) -> None:
    """The two code paths of nn.MultiheadAttention are one computation and must cost one amount."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.rand(3, 5, 8)
    ledger = trace(Calls(lambda a: attention(a, a, a, need_weights=need_weights)[0], attention=attention), (x,))
    macs = {op: values["macs"] for op, values in ledger.by_op().items() if values.get("macs")}
    assert {"linear": 4 * 3 * 5 * 8 * 8, "attention": 2 * 3 * 5 * 5 * 8} == macs


@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder_is_traced_unfused(norm_first: bool) -> None:
    """In eval mode torch takes a fused path that hides every product of a layer in one operation."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    ledger = of(model, (2, 5, 8))
    linear, attention = 2 * 5 * (4 * 8 * 8 + 2 * 8 * 16), 2 * 2 * 5 * 5 * 8
    assert 3 * (linear + attention) == ledger.total("macs")
    assert (6, 3) == (ledger.by_op()["layer_norm"]["sites"], ledger.by_op()["activation"]["sites"])
    assert [] == ledger.unpriced()


@pytest.mark.parametrize(
    ("op", "make", "shape", "weights"),
    [
        ("batch_norm", lambda a: nn.BatchNorm1d(6, affine=a), (2, 6), 6),
        ("batch_norm", lambda a: nn.BatchNorm2d(6, affine=a), (2, 6, 3, 4), 6),
        ("batch_norm", lambda a: nn.BatchNorm3d(6, affine=a, track_running_stats=False), (2, 6, 2, 3, 4), 6),
        ("instance_norm", lambda a: nn.InstanceNorm2d(6, affine=a), (2, 6, 3, 4), 6),
        ("group_norm", lambda a: nn.GroupNorm(3, 6, affine=a), (2, 6, 3, 4), 6),
        ("layer_norm", lambda a: nn.LayerNorm((3, 4), elementwise_affine=a), (2, 6, 3, 4), 12),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_norms(op: str, make: Callable[[bool], nn.Module], shape: tuple[int, ...], weights: int, affine: bool) -> None:
    """Counters charge for elements or for parameters; the second are none without affine."""
    ledger = of(make(affine), shape)
    size = torch.Size(shape).numel()
    assert (size, size, weights * affine, weights * affine) == amounts(
        only(ledger, op), "inputs", "outputs", "weights", "biases"
    )
    assert 0 == ledger.total("macs")


def test_rms_norm_has_no_bias() -> None:
    """RMSNorm is the norm of today's language models, and has weights alone."""
    entry = only(of(nn.RMSNorm(4), (2, 3, 4)), "rms_norm")
    assert (24, 4, 0) == amounts(entry, "outputs", "weights", "biases")


def _recurrent_by_hand(model: nn.RNNBase, rows: int) -> tuple[int, int]:
    """MACs and bias adds from the layer sizes alone, not from the weights the ledger reads."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[type(model).__name__]
    hidden, ways, out = model.hidden_size, 1 + model.bidirectional, model.proj_size or model.hidden_size
    macs = 0
    for layer in range(model.num_layers):
        into = model.input_size if layer == 0 else ways * out
        macs += ways * (gates * hidden * (into + out) + model.proj_size * hidden)
    return rows * macs, rows * model.num_layers * ways * 2 * gates * hidden * model.bias


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_recurrent(kind: type[nn.RNNBase], bidirectional: bool, bias: bool, layers: int) -> None:
    """torch runs a whole stack in one call; the formula over layers and directions is written out here."""
    model = kind(3, 5, num_layers=layers, bidirectional=bidirectional, bias=bias)
    entry = only(of(model, (7, 2, 3)), "recurrent")
    assert _recurrent_by_hand(model, 14) == amounts(entry, "macs", "bias_adds")
    assert (14, 14 * layers * (1 + bidirectional) * 5) == amounts(entry, "steps", "states")
    assert 14 * 5 * (1 + bidirectional) == entry["outputs"]
    assert entry["weights"] + entry["biases"] == sum(p.numel() for p in model.parameters())


def test_lstm_with_projections() -> None:
    """A projection is one more matrix per layer; it holds no state of its own."""
    model = nn.LSTM(3, 8, num_layers=2, bidirectional=True, proj_size=4)
    entry = only(of(model, (7, 2, 3)), "recurrent")
    assert _recurrent_by_hand(model, 14) == amounts(entry, "macs", "bias_adds")
    assert 14 * 2 * 2 * 8 == entry["states"]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_recurrent_cells(kind: type[nn.Module], gates: int) -> None:
    """One step of a cell is one step of a layer."""
    entry = only(of(kind(3, 5), (2, 3)), "recurrent")
    assert (2 * gates * 5 * 8, 2 * 2 * gates * 5, 2) == amounts(entry, "macs", "bias_adds", "steps")


@pytest.mark.parametrize(
    ("model", "shape", "outputs"),
    [
        (nn.MaxPool1d(2), (1, 3, 8), 12),
        (nn.MaxPool2d(2), (1, 3, 8, 8), 48),
        (nn.MaxPool2d(2, return_indices=True), (1, 3, 8, 8), 48),
        (nn.MaxPool3d(2), (1, 3, 4, 4, 4), 24),
        (nn.AvgPool1d(2), (1, 3, 8), 12),
        (nn.AvgPool2d(3, stride=2, padding=1), (1, 3, 8, 8), 48),
        (nn.AvgPool3d(2), (1, 3, 4, 4, 4), 24),
        (nn.AdaptiveAvgPool1d(1), (1, 3, 8), 3),
        (nn.AdaptiveAvgPool2d(1), (1, 3, 8, 8), 3),
        (nn.AdaptiveAvgPool2d((2, 3)), (1, 3, 8, 8), 18),
        (nn.AdaptiveAvgPool3d(1), (1, 3, 4, 4, 4), 3),
        (nn.AdaptiveMaxPool1d(2), (1, 3, 8), 6),
        (nn.AdaptiveMaxPool2d(2), (1, 3, 8, 8), 12),
        (nn.AdaptiveMaxPool3d(2), (1, 3, 4, 4, 4), 24),
        (nn.LPPool2d(2, 2), (1, 3, 8, 8), 48),
        (nn.FractionalMaxPool2d(2, output_size=3), (1, 3, 8, 8), 27),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_pooling_is_pooling_by_every_name(model: nn.Module, shape: tuple[int, ...], outputs: int) -> None:
    """ATen turns some of these into means or other pools; the reader asked about a pooling layer."""
    assert (torch.Size(shape).numel(), outputs) == amounts(only(of(model, shape), "pool"), "inputs", "outputs")


@pytest.mark.parametrize(
    ("model", "shape", "windows", "as_written"),
    [
        (nn.MaxPool2d(3, 2, 1), (2, 3, 8, 8), 2 * 3 * 16 * 9, 2 * 3 * 16 * 3),
        (nn.MaxPool2d((3, 2)), (1, 1, 9, 8), 12 * 6, 12 * 6),
        (nn.AvgPool2d(2), (1, 3, 8, 8), 3 * 64, 3 * 16 * 2),
        (nn.AvgPool2d(3, 1, 1), (1, 1, 4, 4), 16 * 9, 16 * 3),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), (1, 1, 4, 4), 10 * 10, 16 * 3),  # a side: 2 + 3 + 3 + 2
        (nn.AvgPool1d(2, ceil_mode=True), (1, 1, 5), 5, 3 * 2),  # the last window has one element
        (nn.AdaptiveAvgPool2d(1), (2, 3, 8, 8), 2 * 3 * 64, 2 * 3 * 64),
        (nn.AdaptiveAvgPool1d(3), (1, 1, 8), 3 + 4 + 3, 3 * 2),  # 0:3, 2:6, 5:8
    ],
    ids=str,
)
def test_windows_of_pools(model: nn.Module, shape: tuple[int, ...], windows: int, as_written: int) -> None:
    """Counters differ in whether a window is its elements, its size as written, or cut off at the edge."""
    ledger = of(model, shape)
    assert (windows, as_written) == (only(ledger, "pool")["windows"], charged(ledger, "pool", "windows_as_written"))


def test_a_formula_is_evaluated_call_by_call() -> None:
    """A hook that sets a number instead of adding to it keeps the last; a square is not the square of the sum."""

    class Twice(nn.Module):
        def __init__(self, first: int) -> None:
            super().__init__()
            self.act, self.first = nn.ReLU(), first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.act(x[:, : self.first])
            return self.act(x)

    unlike, alike = of(Twice(2), (1, 3)), of(Twice(3), (1, 3))
    assert (2, 5) == amounts(only(unlike, "activation"), "calls", "inputs")
    assert [(1, 2), (1, 3)] == [(call.times, call.quantities["inputs"]) for call in only(unlike, "activation").calls]
    assert [(2, 3)] == [(call.times, call.quantities["inputs"]) for call in only(alike, "activation").calls]
    assert (3, 3) == tuple(charged(ledger, "activation", "last·inputs") for ledger in (unlike, alike))
    assert (13, 18) == tuple(charged(ledger, "activation", "inputs·inputs") for ledger in (unlike, alike))
    assert (5, 6) == tuple(charged(ledger, "activation", "calls·inputs / batch") for ledger in (unlike, alike))
    assert "" == meaning("no_such_quantity")


def test_the_last_of_three_calls_is_the_one_made_last() -> None:
    """The very same call made first and last, another between: the order of the last makings decides."""
    act = nn.ReLU()
    ledger = of(Calls(lambda x: act(act(x)[:, :2].repeat(1, 2)[:, :3]) + act(x[:, :1]) + act(x), act=act), (1, 3))
    assert 3 == charged(ledger, "activation", "last·inputs")
    assert [1, 3] == [call.times for call in only(ledger, "activation").calls]


def test_a_class_of_ones_own_tells_what_it_derives_from() -> None:
    """Some counters know a subclass of Conv2d for one, others go by the exact type."""

    class Mine(nn.Linear):
        pass

    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x)

    assert "Linear" == only(of(Mine(3, 4), (1, 3)), "linear").base
    assert "" == only(of(nn.Linear(3, 4), (1, 3)), "linear").base
    assert "" == only(of(Plain(), (1, 3)), "activation").base


def test_modules_that_ran_and_their_outputs_are_told() -> None:
    """Old torchinfo charges a weight once more for every call of a module around it; a ModuleList never runs."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.never = nn.Sequential(nn.Conv2d(3, 5, 1)), nn.ModuleList([nn.ReLU()])

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [self.inner(x), self.never[0](self.inner(x[:1]))]

    found = of(Around(), (2, 3, 4, 4)).modules
    expected = {"": (1, 10), "inner": (2, 15), "inner.0": (2, 15), "never.0": (1, 5)}
    assert expected == {name: (ran.calls, ran.size) for name, ran in found.items()}


def test_a_kernel_without_its_taps_and_an_output_without_its_kernel() -> None:
    """Old thop multiplies a bias by the input channels; old fvcore takes a transposed kernel's sides the other way."""
    grouped = of(nn.Conv2d(6, 9, (3, 2), groups=3), (2, 6, 5, 5))
    assert 2 * 9 * 3 * 4 * 2 == charged(grouped, "conv", "channel_macs")
    assert 2 * 9 * 3 * 4 * 2 * 3 * 2 == charged(grouped, "conv", "taps_at_output")
    transposed = of(nn.ConvTranspose2d(6, 9, (3, 2), groups=3), (1, 6, 5, 5))
    assert 9 * 7 * 6 * 2 == charged(transposed, "conv_transpose", "channel_macs")
    assert 9 * 7 * 6 * (3 * 3 * 2) == charged(transposed, "conv_transpose", "taps_at_output")


def test_facts_are_what_the_quantities_were_computed_from() -> None:
    """A counter that charges by something of its own finds it here, and need not edit the ledger."""
    (call,) = only(of(nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2), (2, 6, 9, 7)), "conv").calls
    wanted = {"x": (2, 6, 9, 7), "weight": (4, 3, 3, 3), "out": (2, 4, 5, 4), "stride": [2, 2], "groups": 2}
    assert wanted == {name: call.facts[name] for name in wanted}
    ledger = of(nn.MaxPool2d(3, 2), (1, 2, 9, 9))
    (pooled,) = only(ledger, "pool").calls
    assert 3 == pooled.facts["kernel_size"]
    assert 2 == value("samples", Case(ledger, only(ledger, "pool"), pooled)) + 2


@pytest.mark.parametrize(
    "model",
    [nn.ReLU(), nn.ReLU6(), nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Sigmoid(), nn.Tanh(),
     nn.LeakyReLU(), nn.ELU(), nn.Softplus(), nn.Mish(), nn.Hardsigmoid(), nn.LogSigmoid()],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_activations(model: nn.Module) -> None:
    """`neither counts: ReLU6 (… elements)` needs every activation under that one name."""
    assert (24, 24) == amounts(only(of(Calls(model), (2, 3, 4)), "activation"), "inputs", "outputs")


def test_prelu_is_the_activation_with_weights() -> None:
    """torchinfo and torchsummaryX charge for them."""
    assert (24, 3) == amounts(only(of(nn.PReLU(3), (2, 3, 4)), "activation"), "outputs", "weights")


def test_softmax_knows_its_rows() -> None:
    """Some counters charge per row, others per element."""
    assert (24, 6) == amounts(only(of(nn.Softmax(dim=-1), (2, 3, 4)), "softmax"), "outputs", "rows")
    assert (24, 8) == amounts(only(of(nn.Softmax(dim=1), (2, 3, 4)), "softmax"), "outputs", "rows")


def test_embedding_is_a_look_up() -> None:
    """Its table is large and its arithmetic none: weights yes, MACs no."""
    ledger = trace(nn.Embedding(11, 4), (torch.zeros(2, 3, dtype=torch.int64),))
    assert (6, 24, 44, 0) == amounts(only(ledger, "embedding"), "inputs", "outputs", "weights", "macs")
    assert ["2x3:int64"] == ledger.inputs


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("upsample", lambda x: F.interpolate(x, scale_factor=2)),
        ("upsample", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
        ("grid_sample", lambda x: F.grid_sample(x, x.new_zeros(1, 5, 5, 2), align_corners=False)),
        ("move", lambda x: torch.cat([x, x])),
        ("reduction", lambda x: x.sum()),
        ("reduction", lambda x: x.mean([2, 3])),
        ("elementwise", lambda x: x.exp()),
        ("elementwise", lambda x: x > 0),
        ("sort", lambda x: torch.topk(x, 2)[0]),
        ("sort", lambda x: torch.sort(x)[0]),
        ("loss", lambda x: F.mse_loss(x, x)),
        ("view", lambda x: x.flatten(1)),
        ("add", lambda x: x + x),
        ("sub", lambda x: 1 - x),
        ("mul", lambda x: x * 2),
        ("div", lambda x: x / x),
        ("pool", nn.LocalResponseNorm(2)),  # a square, an average pool over the channels, a power and a division
    ],
)
def test_the_long_tail_is_named_by_kind(op: str, call: Callable[[Tensor], Any]) -> None:
    """What no counter charges for still has a name, so that a report can say so."""
    ledger = of(call, (1, 4, 6, 6))
    assert op in ledger.by_op()
    assert [] == ledger.unpriced()


@pytest.mark.parametrize(
    ("name", "call", "outputs"),
    [
        ("torchvision.box_iou_rotated", lambda x: torch.ops.torchvision.box_iou_rotated(x, x), 9),
    ],
)
def test_an_operation_without_a_formula_is_listed(name: str, call: Callable[[Tensor], Any], outputs: int) -> None:
    """Nothing is ever dropped in silence: it is there by name, with calls and elements."""
    pytest.importorskip("torchvision")
    ledger = of(lambda x: (call(x), call(x)), (3, 5))
    assert [(name, 2, 2 * outputs)] == [(x.name, x.calls, x.outputs) for x in ledger.unpriced()]
    assert {"inputs": 30} == {k: v for k, v in only(ledger, "unpriced").quantities.items() if k == "inputs"}


def test_a_custom_operation_is_listed() -> None:
    """Somebody's own kernel is an operation too, and no formula can be known for it."""

    @torch.library.custom_op("flopledger_tests::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return x * 2

    twice.register_fake(lambda x: torch.empty_like(x))
    ledger = of(lambda x: twice(x), (3, 4))
    assert [("flopledger_tests.twice", 1, 12)] == [(x.name, x.calls, x.outputs) for x in ledger.unpriced()]


# --- where and through what -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "api"),
    [
        (lambda x, y: x + y, "torch.Tensor.__add__"),
        (lambda x, y: x.add(y), "torch.Tensor.add"),
        (lambda x, y: torch.add(x, y), "torch.add"),
        (lambda x, y: x * y, "torch.Tensor.__mul__"),
        (lambda x, y: x.mul(y), "torch.Tensor.mul"),
        (lambda x, y: x @ y.T, "torch.Tensor.__matmul__"),
        (lambda x, y: x.matmul(y.T), "torch.Tensor.matmul"),
        (lambda x, y: x - y, "torch.Tensor.__sub__"),
    ],
)
def test_an_operator_is_told_from_a_method(call: Callable[..., Any], api: str) -> None:
    """torch reports both as Tensor.add; a counter that patches the method sees only one of them."""
    ledger = of(call, (3, 4), (3, 4))
    assert api in {entry.api for entry in ledger}


def test_the_same_line_tells_operator_and_method_apart() -> None:
    """Both in one expression: the decision is made per call, not per line or function."""
    ledger = of(lambda x, y: (x + y).add(y) + y, (3, 4), (3, 4))
    calls = {entry.api: entry["calls"] for entry in ledger if entry.op == "add"}
    assert {"torch.Tensor.__add__": 2, "torch.Tensor.add": 1} == calls


def test_sum_of_a_list_is_operators() -> None:
    """The built-in sum() adds with `+`: no patched method sees it."""
    ledger = of(lambda x, y: sum([x, y]), (3, 4), (3, 4))
    assert {"torch.Tensor.__add__"} == {entry.api for entry in ledger if entry.op == "add"} - {"torch.Tensor.__radd__"}


def test_a_module_used_twice_is_one_site_with_two_calls() -> None:
    """Weight sharing must not hide the second pass, nor double the parameters."""
    shared = nn.Linear(4, 4)
    ledger = of(Calls(lambda x: shared(shared(x)), a=shared, b=shared), (3, 4))
    entry = only(ledger, "linear")
    assert ("a", 2, 96, 20) == (entry.site, entry["calls"], entry["macs"], ledger.params)


def test_a_submodule_that_fails_and_is_caught_does_not_move_the_site() -> None:
    """Everything after a handled error would otherwise be booked on the module that failed."""
    bad, good = nn.Linear(9, 2), nn.Linear(4, 2)

    def forward(x: Tensor) -> Tensor:
        try:
            return bad(x)
        except RuntimeError:
            return good(x) + 1

    ledger = of(Calls(forward, bad=bad, good=good), (3, 4))
    assert ("good", "") == (only(ledger, "linear").site, only(ledger, "add").site)


# --- the model comes back as it was ---------------------------------------------------------------


def hooks() -> list[int]:
    from torch.nn.modules import module as registry

    return [len(value) for name, value in sorted(vars(registry).items())
            if name.startswith("_global_") and "hook" in name and hasattr(value, "__len__")]  # fmt: skip


class Choosy(nn.Module):
    """Its path depends on its data, so it cannot run on meta; and it counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.yes, self.no = nn.Linear(4, 5), nn.Linear(4, 6)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.yes(x) if x.sum().item() > 0 else self.no(x)
        return out


@pytest.mark.parametrize("make", [lambda: mobilenet_v2(width_mult=0.1), Choosy], ids=["meta", "real"])
def test_the_model_comes_back_as_it_was(make: Callable[[], nn.Module]) -> None:
    """A notebook goes on training the same model afterwards: same tensors, values, flags and hooks."""
    model = make().train()
    next(iter(model.children())).eval()
    modules = list(model.modules())
    flags = [m.training for m in modules]
    values = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    x = torch.rand(2, 3, 32, 32) if "features" in dict(model.named_children()) else torch.rand(2, 4)
    kept, before, attributes = x.clone(), hooks(), [sorted(vars(m)) for m in modules]
    trace(model, (x,))
    after = model.state_dict(keep_vars=True)
    assert flags == [m.training for m in model.modules()]
    assert [id(m) for m in modules] == [id(m) for m in model.modules()]
    assert {n: v[0] for n, v in values.items()} == {n: id(t) for n, t in after.items()}
    assert [] == [n for n, (_, value) in values.items() if not torch.equal(value, after[n])]
    assert [0] == sorted({len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules})
    assert attributes == [sorted(vars(m)) for m in modules]
    assert before == hooks()
    assert torch.equal(kept, x)
    assert torch.is_grad_enabled()


def test_a_model_that_raises_leaves_nothing_behind_either() -> None:
    """The way out through an error is as clean as the other."""
    model, before = nn.Sequential(nn.Linear(4, 3), nn.Linear(9, 2)).train(), hooks()
    with pytest.raises(ModelError):
        of(model, (2, 4))
    assert before == hooks()
    assert all(m.training for m in model.modules())
    assert 1 == len(of(nn.ReLU(), (2, 4)).entries)


def test_a_model_that_needs_data_is_traced_on_real_tensors_with_a_note() -> None:
    """Such a model has no number without data; the ledger has one and says how it came by it."""
    ledger = trace(Choosy(), (torch.ones(2, 4),))
    assert ("cpu", "yes", 2 * 4 * 5) == (ledger.device, only(ledger, "linear").site, ledger.total("macs"))
    assert "traced on real tensors" in ledger.notes[0]
    other = trace(Choosy(), (-torch.ones(2, 4),))
    assert 2 * 4 * 6 == other.total("macs")


def test_data_dependent_on_meta_alone_is_an_error_that_says_so() -> None:
    """Without real weights there is no data to depend on; no number is better than a guess."""
    with pytest.raises(ModelError, match="item"):
        trace(Choosy(), (torch.ones(2, 4),), device="meta")
    with pytest.raises(ModelError, match="item"):
        trace(Choosy().to("meta"), (torch.ones(2, 4, device="meta"),))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(4, 2), "mat1 and mat2 shapes cannot be multiplied"),
        (nn.Conv2d(3, 4, 1), "Expected 3D (unbatched) or 4D (batched) input"),
        (Calls(lambda x, y: x), "missing 1 required positional argument"),
        (Calls(lambda x: 1 / 0), "ZeroDivisionError: division by zero"),
    ],
    ids=["linear", "conv", "arguments", "own code"],
)
def test_a_model_that_rejects_its_inputs_speaks_for_itself(model: nn.Module, words: str) -> None:
    """The model's own message says which sizes; it must arrive, and at most two lines of where that was."""
    with pytest.raises(ModelError) as caught:
        of(model, (2, 3))
    assert words in str(caught.value) or words.split(": ")[-1] in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_ten_gigabytes_of_parameters_on_meta() -> None:
    """A 70-billion-parameter model must trace on a laptop: nothing may be allocated or computed."""
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(25_000, 25_000) for _ in range(4)))
    ledger = trace(model, (torch.rand(1_000, 25_000, device="meta"),))
    assert ledger.params * 4 > 10**10 - 10**6
    assert 4 * 1_000 * 25_000**2 == ledger.total("macs")
    assert 4 * 1_000 * 25_000 == ledger.total("bias_adds")


def test_real_weights_are_not_computed_with() -> None:
    """Even a model in memory is traced on meta: 10¹⁵ MACs on a batch that could not exist."""
    ledger = trace(nn.Linear(1_000, 1_000), (torch.rand(1, 1_000).expand(10**9, 1_000),))
    assert ("meta", 10**15) == (ledger.device, ledger.total("macs"))


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ((torch.zeros(2, 3),), ["2x3"]),
        ((torch.zeros(2, dtype=torch.int64), torch.zeros(())), ["2:int64", "scalar"]),
        (([torch.zeros(2), torch.zeros(3)],), ["[2:float32, 3:float32]"]),
        (({"a": torch.zeros(2, 3)},), ["{a: 2x3}"]),
        ((torch.zeros(2), 5), ["2:float32", "=5"]),
    ],
)
def test_inputs_are_described_as_they_would_be_typed(inputs: tuple[Any, ...], text: list[str]) -> None:
    """The sentence for the paper names the input shape; nested inputs must be readable too."""
    assert text == trace(Calls(lambda *a: torch.zeros(1)), inputs).inputs


def test_an_empty_ledger_is_a_ledger() -> None:
    """A model that does nothing has nothing to count, and every view of it still works."""
    ledger = trace(nn.Identity(), (torch.zeros(2),))
    assert ([], 0, {}, {}, 0) == (
        ledger.entries, ledger.total("macs"), ledger.totals(), ledger.by_op(), len(ledger.frame())
    )  # fmt: skip


def test_frame_holds_every_entry_as_integers(facts: Ledger) -> None:
    """Floats from missing quantities would lose digits of large counts."""
    frame = facts.frame()
    assert len(facts.entries) == len(frame)
    assert {"int64"} == {str(kind) for name, kind in frame.dtypes.items() if name in facts.totals()}
    assert facts.totals() == {name: int(frame[name].sum()) for name in sorted(facts.totals())}


def test_a_call_that_no_formula_understands_is_listed_and_not_a_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new torch may give a function another signature: the trace goes on and says what it could not price."""

    def strict(input: torch.Tensor, *, out: torch.Tensor) -> Any:
        raise AssertionError("called with a weight, which its signature does not have")

    monkeypatch.setitem(FUNCTIONS, "torch.nn.functional.linear", strict)
    ledger = trace(nn.Linear(3, 4), (torch.rand(2, 3),))
    (found,) = ledger.unpriced()
    assert ("aten.linear", 1, 8, [[2, 3], [4, 3], [4]]) == (found.name, found.calls, found.outputs, found.inputs)
    assert "meta" == ledger.device
