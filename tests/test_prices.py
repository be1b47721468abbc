"""Everything that torch can run is free for a stated reason, counted by its elements, priced, or named as unpriced."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_devices import assert_alike
from torch import Tensor, nn

import flopledger
from flopledger.counters import registry as counters
from flopledger.counters.engine.job import Live
from flopledger.counters.engine.plan import count_all
from flopledger.reference_model.ledger import OPS, Ledger
from flopledger.reference_model.quantities.kinds import BY_ELEMENTS, FREE, OURS, WITHOUT, group_of, kind_of
from flopledger.reference_model.quantities.registry import FUNCTIONS, pricer_of
from flopledger.reference_model.running import trace
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import align

COMPOSITE = "CompositeImplicitAutograd"  # torch takes such an operator apart before anyone is asked


def unlisted(operators: Iterable[str]) -> list[str]:
    """Packets, of those of torch's operators that reach a tracer as they are, of which nothing is known."""
    found = set()
    for operator in operators:
        library, _, name = operator.partition("::")
        packet = f"{library}.{name.partition('.')[0]}"
        if library in OURS and pricer_of(packet) is None and group_of(packet) is None:
            found.add(packet)
    return sorted(found)


def test_every_operator_of_the_installed_torch_is_in_a_list() -> None:
    """A new torch brings new operators; one that nobody looked at must be noticed before it is worth nothing."""
    operators = [
        name
        for name in torch._C._dispatch_get_all_op_names()
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, COMPOSITE)
    ]
    assert len(operators) > 2000
    assert [] == unlisted(operators)


def test_an_operator_in_no_list_is_found() -> None:
    """The walk above would be worth nothing if a name were enough to be listed."""
    assert ["aten._scaled_mm_v9", "prims.dot"] == unlisted(["aten::_scaled_mm_v9.out", "prims::dot", "aten::relu_"])
    assert ("unpriced", "unpriced") == (kind_of("aten._scaled_mm_v9"), kind_of("mylib.relu"))


def test_a_name_is_listed_once_and_its_kind_is_a_kind() -> None:
    """A name in two groups would have the kind of whichever was written last."""
    groups = FREE + BY_ELEMENTS + WITHOUT
    names = Counter(name for group in groups for name in group.names.split())
    assert [] == [name for name, times in names.items() if times > 1]
    assert set() == {group.op for group in groups} - OPS
    assert all(group.reason for group in groups)


@pytest.mark.parametrize(
    ("kind", "names"),
    {
        "view": "view expand detach_ lift_fresh _local_scalar_dense",
        "move": "expand_copy view_copy index_put_ _to_copy where masked_fill_ scatter",
        "fill": "zeros_ arange normal_ bernoulli",
        "elementwise": "exp_ _foreach_exp_ eq bitwise_and_ gcd pow",
        "add": "add_ _foreach_add_",
        "activation": "relu_ gelu _foreach_sigmoid_",
        "reduction": "sum linalg_vector_norm scatter_add_ cumsum_",
        "unpriced": "convolution_backward _foobar",
    }.items(),
)
def test_kinds(kind: str, names: str) -> None:
    """An operator in place, for many tensors, or that copies its view is of the kind of the plain one."""
    assert [] == [name for name in names.split() if kind_of(f"aten.{name}") != kind]


class Calls(nn.Module):
    """A model that is one function of its inputs."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def of(function: Callable[..., Any], *inputs: Tensor, device: str = "cpu") -> Ledger:
    return trace(Calls(function), inputs, device=device)


r = torch.rand


def c(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.complex64)


def i8(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.int8)


def half(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.bfloat16)


def ends(groups: int, size: int, like: Tensor) -> Tensor:
    return torch.arange(size, groups * size + 1, size, dtype=torch.int32, device=like.device)


def scaled(a: Tensor, b: Tensor) -> Tensor:
    one = torch.ones((), device=a.device)
    return torch._scaled_mm(a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t().contiguous().t(), one, one)


def bag(table: Tensor, weights: Tensor) -> Tensor:
    indices = torch.zeros(weights.shape, dtype=torch.int64, device=table.device)
    return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum")


def encoder(
    x: Tensor, qkv: Tensor, qkv_bias: Tensor, out: Tensor, e: Tensor, up: Tensor, f: Tensor, down: Tensor
) -> Any:
    norms = (e, e, e, e)
    return torch._transformer_encoder_layer_fwd(
        x, 8, 2, qkv, qkv_bias, out, e, False, False, 1e-5, *norms, up, f, down, e
    )


# By hand from the definition of each: m·k·n, one MAC per multiplication of `outer`, nonzeros times columns …
PRODUCTS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...], int]] = {
    "mv": (torch.mv, (r(3, 4), r(4)), 12),
    "dot": (torch.dot, (r(4), r(4)), 4),
    "vdot, complex": (torch.vdot, (c(4), c(4)), 16),
    "inner": (torch.inner, (r(3, 2), r(4, 2)), 24),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 2), (r(3, 4, 2), r(4, 2, 5)), 120),
    "multi_dot": (lambda *a: torch.linalg.multi_dot(a), (r(3, 2), r(2, 5), r(5, 3)), 30 + 18),
    "chain_matmul": (lambda *a: torch.linalg.multi_dot(a), (r(3, 2), r(2, 5)), 30),
    "vecdot": (torch.linalg.vecdot, (r(3, 8), r(8)), 24),
    "vecdot, complex": (torch.linalg.vecdot, (c(3, 8), c(3, 8)), 96),
    "outer": (torch.outer, (r(3), r(8)), 24),
    "Tensor.outer": (lambda a, b: a.outer(b), (r(3), r(8)), 24),
    "ger": (torch.ger, (r(3), r(8)), 24),
    "kron": (torch.kron, (r(3, 2), r(8, 2)), 96),
    "einsum without a sum": (lambda a, b: torch.einsum("bi,bj->bij", a, b), (r(2, 4), r(2, 2)), 16),
    "cross": (torch.linalg.cross, (r(5, 3), r(5, 3)), 30),
    "addr": (torch.addr, (r(3, 2), r(3), r(2)), 6),
    "addmm_": (lambda a, b, c: a.clone().addmm_(b, c), (r(3, 2), r(3, 4), r(4, 2)), 24),
    "baddbmm_": (lambda a, b, c: a.clone().baddbmm_(b, c), (r(2, 3, 2), r(2, 3, 4), r(2, 4, 2)), 48),
    "addbmm_": (lambda a, b, c: a.clone().addbmm_(b, c), (r(3, 2), r(4, 3, 5), r(4, 5, 2)), 120),
    "addmv_": (lambda a, b, c: a.clone().addmv_(b, c), (r(3), r(3, 4), r(4)), 12),
    "addr_": (lambda a, b, c: a.clone().addr_(b, c), (r(3, 2), r(3), r(2)), 6),
    "mm out": (lambda a, b: torch.mm(a, b, out=a.new_empty(3, 2)), (r(3, 4), r(4, 2)), 24),
    "_addmm_activation": (torch._addmm_activation, (r(2), r(3, 4), r(4, 2)), 24),
    "cdist": (torch.cdist, (r(30, 8), r(40, 8)), 9600),  # by products of matrices
    "cdist of few": (torch.cdist, (r(2, 3, 8), r(2, 4, 8)), 192),  # by differences
    "cdist, p=1": (lambda a, b: torch.cdist(a, b, p=1), (r(3, 8), r(4, 8)), 0),
    "pdist": (torch.pdist, (r(5, 8),), 80),
    "_grouped_mm": (lambda a, b: torch._grouped_mm(a, b, ends(8, 2, a)), (half(16, 8), half(8, 8, 8)), 1024),
    "grouped_mm": (lambda a, b: F.grouped_mm(a, b, offs=ends(8, 2, a)), (half(16, 8), half(8, 8, 8)), 1024),
    "grouped_mm, both": (lambda a, b: torch._grouped_mm(a, b, ends(2, 8, a)), (half(8, 16), half(16, 24)), 8 * 16 * 24),
    "_int_mm": (torch._int_mm, (i8(32, 16), i8(16, 8)), 4096),
    "_scaled_mm": (scaled, (r(32, 16), r(16, 16)), 32 * 16 * 16),
    "_weight_int8pack_mm": (torch._weight_int8pack_mm, (half(4, 16), i8(8, 16), half(8)), 4 * 16 * 8),
    "mm, complex": (torch.mm, (c(2, 3), c(3, 4)), 96),
    "matmul, complex": (torch.matmul, (c(2, 3), c(3, 4)), 96),
    "linear, complex": (F.linear, (c(2, 3), c(4, 3)), 96),
    "outer, complex and real": (torch.outer, (c(3), r(8)), 48),
    "conv2d, complex": (F.conv2d, (c(1, 2, 5, 5), c(3, 2, 3, 3)), 4 * 27 * 2 * 9),
    "conv2d same, complex": (
        lambda x, w: F.conv2d(x, w, padding="same"), (c(1, 2, 5, 5), c(3, 2, 3, 3)), 4 * 75 * 2 * 9
    ),
    "conv_transpose1d, complex": (F.conv_transpose1d, (c(1, 2, 5), c(2, 3, 3)), 4 * 5 * 2 * 3 * 3),
    "bilinear": (F.bilinear, (r(2, 3), r(2, 4), r(5, 3, 4)), 2 * 5 * (12 + 3)),
    "affine_grid": (lambda t: F.affine_grid(t, [2, 3, 4, 4], align_corners=False), (r(2, 2, 3),), 2 * 16 * 2 * 3),
    "conv_tbc": (lambda x, w, b: torch.conv_tbc(x, w, b, 1), (r(7, 2, 3), r(3, 3, 4), r(4)), 7 * 2 * 4 * 9),
    "embedding_bag with weights": (bag, (r(10, 4), r(2, 4)), 32),
    "attention on the CPU": (
        lambda q: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q), (r(1, 2, 5, 4),), 2 * 25 * 8
    ),
    "_transformer_encoder_layer_fwd": (
        encoder,
        (r(2, 5, 8), r(24, 8), r(24), r(8, 8), r(8), r(16, 8), r(16), r(8, 16)),
        10 * (4 * 64 + 2 * 128) + 2 * 25 * 16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    """Each was worth 0 once, or was not the same in place, on another device, or of complex numbers."""
    function, inputs, macs = PRODUCTS[name]
    meta, cpu = (of(function, *inputs, device=device) for device in ("meta", "cpu"))
    assert (macs, []) == (cpu.total("macs"), cpu.unpriced())
    assert_alike(meta, cpu)


EYE = torch.eye(4)
SPARSE: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...], int]] = {
    "sparse.mm": (lambda b: torch.sparse.mm(EYE.to_sparse(), b), (4, 3), 12),
    "CSR": (lambda b: torch.sparse.mm(EYE.to_sparse_csr(), b), (4, 3), 12),
    "@": (lambda b: EYE.to_sparse() @ b, (4, 3), 12),
    "mv": (lambda b: torch.mv(EYE.to_sparse_csr(), b), (4,), 4),
    "addmm": (lambda b: torch.sparse.addmm(torch.ones(4, 3), EYE.to_sparse(), b), (4, 3), 12),
    "CSC on the right": (lambda b: b @ EYE.to_sparse_csc(), (3, 4), 12),
    "BSR, whole blocks": (lambda b: EYE.to_sparse_bsr((2, 2)) @ b, (4, 3), 24),
    "batches": (lambda b: torch.bmm(EYE.expand(2, 4, 4).to_sparse(), b), (2, 4, 3), 24),
    "both": (lambda b: torch.sparse.mm(b.to_sparse(), EYE.to_sparse()), (4, 4), 16),
    "both, CSR": (lambda b: EYE.to_sparse_csr() @ EYE.to_sparse_csr(), (4, 4), 4),
    "sampled_addmm": (lambda b: torch.sparse.sampled_addmm(EYE.to_sparse_csr(), b, b.t()), (4, 3), 12),
    "hspmm": (lambda b: torch.hspmm(EYE.to_sparse(), b), (4, 3), 12),
    "linear": (lambda b: F.linear(b, EYE.to_sparse_csr()), (3, 4), 12),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", SPARSE)
def test_sparse_products_are_their_nonzeros(name: str) -> None:
    """A zero that is not stored is not multiplied, whatever the layout."""
    function, shape, macs = SPARSE[name]
    ledger = of(function, torch.rand(shape) + 1)
    assert (macs, []) == (ledger.total("macs"), ledger.unpriced())


GUIDE = Path(__file__).parent.parent / "docs" / "pricing-an-operator.md"


def test_the_guide_prices_an_operator_of_ones_own() -> None:
    """People copy it as it stands; a custom operator is unpriced before, and what its author says after."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    before, mark, after = code.partition("@flopledger.price")
    names: dict[str, Any] = {"__name__": "guide"}
    exec(before, names)
    inputs = (r(2, 3, 8), r(8, 4), r(4, 6))
    (found,) = of(names["low_rank"], *inputs, device="meta").unpriced()
    assert ("mylib.low_rank", 1, 36) == (found.name, found.calls, found.outputs)
    exec(mark + after, names)
    for device in ("meta", "cpu"):
        ledger = of(names["low_rank"], *inputs, device=device)
        assert (6 * (32 + 24), []) == (ledger.total("macs"), ledger.unpriced())
        assert ["linear"] == [entry.op for entry in ledger]


def test_a_kernel_behind_an_operator_is_priced_as_it() -> None:
    """`triton_op` is how torch wraps Triton kernels; what is inside is the kernel's, and no call of the model's."""

    @torch.library.triton_op("flopledger_tests::squares", mutates_args=())
    def squares(x: Tensor) -> Tensor:
        return (x * x).sum(-1)

    @flopledger.price("flopledger_tests.squares")
    def priced(x: Tensor, *, out: Tensor) -> Any:
        return "reduction", {"macs": x.numel(), "inputs": x.numel(), "outputs": out.numel()}

    (entry,) = of(squares, r(3, 4))
    assert ("flopledger_tests.squares", "reduction", 12) == (entry.aten, entry.op, entry["macs"])


def test_a_torch_function_is_priced_by_its_name() -> None:
    """A function that ATen shows in pieces can be taken whole."""

    @flopledger.price("torch.nn.functional.cosine_similarity")
    def priced(x1: Tensor, x2: Tensor, *_: Any, out: Tensor, **__: Any) -> Any:
        return "matmul", {"macs": 3 * x1.numel(), "outputs": out.numel()}

    try:
        (entry,) = of(F.cosine_similarity, r(2, 5), r(2, 5))
        assert ("torch.nn.functional.cosine_similarity", 30) == (entry.api, entry["macs"])
    finally:
        del FUNCTIONS["torch.nn.functional.cosine_similarity"]


@pytest.mark.parametrize("names", [(), ("",), ("my op",), ("a::b::c",)])
def test_what_can_be_no_operator_is_refused(names: tuple[str, ...]) -> None:
    """A price that is never asked for would be a silent mistake."""
    with pytest.raises(ValueError, match="no operator"):
        flopledger.price(*names)


@pytest.mark.parametrize(
    ("layer", "shape", "op", "macs"),
    [
        (lambda q: q.Conv2d(4, 6, 3, padding=1, groups=2), (1, 4, 5, 5), "conv", 25 * 6 * 2 * 9),
        (lambda q: q.Conv1d(4, 6, 3), (1, 4, 5), "conv", 3 * 6 * 4 * 3),
        (lambda q: q.Conv3d(4, 6, 3), (1, 4, 5, 5, 5), "conv", 27 * 6 * 4 * 27),
        (lambda q: q.ConvTranspose2d(4, 6, 3), (1, 4, 5, 5), "conv_transpose", 25 * 4 * 6 * 9),
        (lambda q: q.Linear(4, 6), (3, 4), "linear", 72),
        (lambda q: torch.ao.nn.intrinsic.quantized.ConvReLU2d(4, 6, 3), (1, 4, 5, 5), "conv", 9 * 6 * 4 * 9),
        (lambda q: q.dynamic.Linear(4, 6), (3, 4), "linear", 72),
        (lambda q: q.dynamic.LSTM(4, 6, 2, bidirectional=True), (3, 2, 4), "recurrent", 6 * 2 * 24 * (10 + 18)),
        (lambda q: q.dynamic.GRU(4, 6, 2), (3, 2, 4), "recurrent", 6 * 18 * (10 + 12)),
        (lambda q: q.dynamic.LSTMCell(4, 6), (3, 4), "recurrent", 3 * 24 * 10),
        (lambda q: q.dynamic.RNNCell(4, 6), (3, 4), "recurrent", 3 * 6 * 10),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_quantized_layers_cost_what_they_cost_in_float(
    layer: Callable[[Any], nn.Module], shape: tuple[int, ...], op: str, macs: int
) -> None:
    """Their weights are packed away, and every product of theirs was worth 0."""
    kind = torch.ao.nn.quantized
    module = layer(kind)
    dynamic = type(module).__module__.startswith("torch.ao.nn.quantized.dynamic")

    def run(x: Tensor) -> Any:
        return module(x) if dynamic else module(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)).dequantize()

    ledger = of(run, torch.rand(shape))
    assert [] == ledger.unpriced()
    assert [macs] == [entry["macs"] for entry in ledger if entry.op == op]


def test_deformable_convolution() -> None:
    """Detection's best known layer was worth 0."""
    ops = pytest.importorskip("torchvision.ops")
    ledger = trace(ops.DeformConv2d(64, 64, 3, padding=1), (r(1, 64, 64, 64), r(1, 18, 64, 64)))
    assert (150_994_944, []) == (ledger.total("macs"), ledger.unpriced())


def test_recurrent_kernels_of_every_device() -> None:
    """What cuDNN and oneDNN run in one kernel costs what torch.lstm does."""
    x, h = r(3, 2, 4), torch.zeros(1, 2, 6)
    weights = (r(24, 4), r(24, 6), r(24), r(24))
    wanted = of(nn.LSTM(4, 6), x).total("macs")

    def onednn(x: Tensor, *w: Tensor) -> Any:
        return torch.ops.aten.mkldnn_rnn_layer(x, *w, h, h, False, [], 2, 6, 1, True, False, False, False)

    def cudnn(x: Tensor, h: Tensor, *w: Tensor) -> Any:
        return torch.ops.aten._cudnn_rnn(x, w, 4, None, h, h, 2, 6, 0, 1, False, 0.0, False, False, [], None)

    assert wanted == of(onednn, x, *weights).total("macs") == 6 * 24 * 10
    assert wanted == of(cudnn, x, h, *weights, device="meta").total("macs")


@pytest.mark.parametrize(("window", "masked"), [((-1, -1), 0), ((-1, 0), 6 + 15), ((1, 0), 6 + 15 + 3 + 10)])
def test_sequences_of_several_lengths(window: tuple[int, int], masked: int) -> None:
    """Their lengths are in a tensor of offsets, whose values are known though nothing is computed."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")

    def run(x: Tensor) -> Any:
        offsets = torch.tensor([0, 4, 10], dtype=torch.int32, device=x.device)
        return varlen.varlen_attn(x, x, x, offsets, offsets, 6, 6, window_size=window)

    ledger = of(run, half(10, 2, 16), device="meta")
    assert (2 * (16 + 36) * 32, []) == (ledger.total("macs"), ledger.unpriced())
    assert 2 * masked * 32 == ledger.total("masked_macs")


def test_the_masked_half_and_the_border_are_told_beside_the_macs() -> None:
    """Two switches that change no default: what a causal kernel need not do, and what meets padding."""
    causal = of(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), r(1, 2, 5, 4))
    plain = of(lambda q: F.scaled_dot_product_attention(q, q, q), r(1, 2, 5, 4))
    assert causal.total("macs") == plain.total("macs") == 2 * 25 * 8
    assert (2 * 10 * 8, 0) == (causal.total("masked_macs"), plain.total("masked_macs"))
    padded = trace(nn.Conv2d(2, 4, 3, padding=1, groups=2), (r(1, 2, 5, 5),))
    assert (4 * 225, 4 * (225 - 169)) == (padded.total("macs"), padded.total("border_macs"))
    assert 0 == trace(nn.Conv2d(2, 4, 3, groups=2), (r(1, 2, 5, 5),)).total("border_macs")


def test_a_call_on_complex_numbers_says_so() -> None:
    """A counter that charges one for a complex multiplication can say so in a rule."""
    facts = [call.facts.get("complex") for _, call in of(lambda a, b: a @ b + a.exp(), c(2, 2), c(2, 2)).rows()]
    assert [True, True, True] == facts
    assert not any("complex" in call.facts for _, call in of(lambda a, b: a @ b, r(2, 2), r(2, 2)).rows())


def test_transforms_and_solvers_have_quantities_of_their_own() -> None:
    """Their operations are not MACs, and would make a sum of two units."""
    spectrum = of(lambda x: torch.fft.rfft2(x), r(2, 4, 8))
    assert (0, 5 * 64 * (2 + 3) // 2) == (spectrum.total("macs"), spectrum.total("fft_flops"))
    frames = of(lambda x: torch.stft(x, 16, return_complex=True, window=torch.ones(16)), r(1, 64))
    assert 17 * 5 * 16 * 4 // 2 == frames.total("fft_flops")
    solved = of(torch.linalg.solve, r(3, 6, 6), r(3, 6, 2))
    assert (0, 3 * (2 * 6**3 // 3 + 2 * 36 * 2)) == (solved.total("macs"), solved.total("linalg_flops"))
    assert [] == [*spectrum.unpriced(), *frames.unpriced(), *solved.unpriced()]


class ComplexLayers(nn.Module):
    """What of complex numbers the counters can run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1, dtype=torch.complex64)
        self.linear = nn.Linear(4, 5, bias=False, dtype=torch.complex64)
        self.back = nn.ConvTranspose1d(2, 3, 3, dtype=torch.complex64)

    def forward(self, x: Tensor) -> Any:
        y = self.linear(self.conv(x))
        return y @ y.transpose(-1, -2), self.back(x[:, :, 0])


def test_rules_hold_for_complex_numbers() -> None:
    """To every counter a complex product is one; to those that see torch split a convolution it is three."""
    names = ["thop", "torchsummaryX", "ptflops-pytorch", "ptflops-aten", "fvcore", "torchinfo", "torch"]
    live = Live(ComplexLayers(), (c(1, 2, 4, 4),), {}, "case")
    ledger, tallies = count_all(names, Spec(model="case", inputs=()), live=live, keep=False, workers=2)
    assert 4 * (16 * 3 * 18 + 48 * 5 + 48 * 5 + 4 * 2 * 3 * 3) == ledger.total("macs")
    failures = {
        tally.name: align(tally, counters.get(tally.counter).convention(tally.version), ledger).failures
        for tally in tallies
    }
    assert {name: [] for name in names} == failures


class Learned(nn.Module):
    """A product of the input with a parameter."""

    def __init__(self, function: Callable[..., Any], weight: Tensor):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(weight)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.weight)


@pytest.mark.parametrize(
    ("function", "x", "weight"),
    [
        (torch.outer, r(3), r(5)),
        (lambda x, w: torch.einsum("bi,bj->bij", x, w), r(2, 4), r(2, 3)),
        (torch.kron, r(3, 2), r(2, 2)),
        (torch.linalg.vecdot, r(3, 4), r(3, 4)),
        (F.conv1d, c(1, 2, 5), c(3, 2, 3)),
        (F.conv_transpose1d, c(1, 2, 5), c(2, 3, 3)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_gradient_of_a_product_costs_what_the_product_costs(function: Any, x: Tensor, weight: Tensor) -> None:
    """Their backward is sums and products of elements to torch, which would be worth 0 beside a forward that is not."""
    for needed in (True, False):
        ledger = trace(Learned(function, weight), (x.clone().requires_grad_(needed),), mode="step")
        assert [] == ledger.unpriced()
        macs = {phase: sum(e["macs"] for e in ledger if e.phase == phase) for phase in ("forward", "backward")}
        assert macs["backward"] == (1 + needed) * macs["forward"] > 0
