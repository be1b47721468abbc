"""The smallest cases in which rules once failed, each with what the library reports, and the rule for its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from flopledger.counters import registry
from flopledger.counters.engine.job import Live
from flopledger.counters.engine.plan import count_all
from flopledger.reference_model.ledger import Mode
from flopledger.reference_model.subject import Spec
from flopledger.reports.align import align

BOTH_THOPS = ["thop"]
HOOKS = ["thop", "torchsummaryX", "torchinfo"]
ALL = ["thop", "torchsummaryX", "ptflops-pytorch", "ptflops-aten", "fvcore", "torchinfo", "torch"]
TRACED = ["ptflops-pytorch", "ptflops-aten", "fvcore", "torch"]


def reported(
    model: nn.Module, inputs: tuple[Any, ...], counters: Sequence[str], mode: Mode = "eval"
) -> dict[str, dict[str, int]]:
    """What each counter really reports, by site; checked against its rules at every site."""
    ledger, tallies = count_all(
        counters, Spec(model="case", inputs=(), mode=mode), live=Live(model, inputs, {}, "case"), keep=False, workers=2
    )
    found = {}
    for tally in tallies:
        assert tally.status == "counted", (tally.name, tally.reason)
        side = align(tally, registry.get(tally.counter).convention(tally.version), ledger)
        assert [] == side.failures, tally.name
        sites: dict[str, int] = {}
        for part in tally.parts:
            sites[part.site] = sites.get(part.site, 0) + part.count
        found[tally.name] = {site: count for site, count in sites.items() if count}
    return found


class Each(nn.Module):
    """Runs each of its children on the same inputs, one after another."""

    def __init__(self, **children: nn.Module):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, a: Any, b: Any = None, c: Any = None) -> list[Any]:
        inputs = [value for value in (a, b, c) if value is not None]
        return [child(*inputs) for child in self.children()]


class Calls(nn.Module):
    """A function in a module, at a site of its own."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class Gain(nn.Module):
    """A hand-written leaf with a parameter called weight, and one that has nothing to do with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)) * self.scale


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose name has Conv in it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x.view(-1, 4), self.weight).view(*x.shape[:-1], 3)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


def test_leaves_of_ones_own_and_what_is_frozen_by_hooks() -> None:
    """A hook sees a parameter's name, whatever the module does with it, and torchsummaryX whether it is frozen."""
    half = nn.Linear(4, 3)
    half.bias.requires_grad_(False)
    model = Each(
        gain=Gain(), conv=Conv1D(), frozen=frozen(nn.Linear(4, 3)), half=half, plain=nn.Linear(4, 3),
        normed=torch.nn.utils.weight_norm(nn.Linear(4, 3)),
    )  # fmt: skip
    found = reported(model, (torch.zeros(2, 5, 4),), HOOKS)
    assert found["torchsummaryX"] == {"gain": 4, "conv": 36, "half": 12, "plain": 12, "normed": 15}
    assert found["torchinfo"] == {"gain": 8, "conv": 90, "frozen": 30, "half": 30, "plain": 30, "normed": 156}


def test_frozen_repetitions_and_two_parents() -> None:
    """Who reads a module twice, and who takes a frozen one's second call for a repetition."""
    shared, twice = nn.Linear(4, 4, bias=False), frozen(nn.Linear(4, 4))
    model = Each(a=nn.Sequential(shared), b=nn.Sequential(shared), c=nn.Sequential(twice, nn.ReLU()))
    model.d = Calls(lambda x: twice(twice(x)))
    found = reported(model, (torch.zeros(1, 4),), [*HOOKS, "ptflops-pytorch"])
    assert [128, 64, 32, 64] == [counts["a.0"] for counts in found.values()]
    assert 2 * 16 == found["torchsummaryX"]["c.0"]


class Packed(nn.Module):
    """Recurrent layers on sequences of 3 and 2 steps, packed."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTM(4, 3), nn.GRU(4, 3, bias=False), nn.RNN(4, 3, bidirectional=True)

    def forward(self, x: torch.Tensor) -> list[Any]:
        packed = nn.utils.rnn.pack_padded_sequence(x, [3, 2])
        return [self.lstm(packed)[0].data, self.gru(packed)[0].data, self.rnn(packed)[0].data]


def test_packed_sequences() -> None:
    """thop takes them as wide everywhere as at the first step; torchinfo multiplies by the hidden size."""
    found = reported(Packed(), (torch.zeros(3, 2, 4),), [*HOOKS, "ptflops-aten", "fvcore", "torch"])
    assert (792, 1620) == (found["thop"]["lstm"], found["torchinfo"]["lstm"])


def test_without_a_batch_and_with_projections() -> None:
    """A hook that reads sizes off a shape reads others where there is no batch."""
    model = Each(lstm=nn.LSTM(6, 5), cut=nn.LSTM(6, 5, 2, bidirectional=True, proj_size=3), gru=nn.GRU(6, 5))
    found = reported(model, (torch.zeros(7, 6),), ALL)
    assert found["thop"]["lstm"] == 6 * found["torch"]["lstm"] // 2 + 6 * 7 * 16 * 5
    reported(model, (torch.zeros(7, 2, 6),), ALL)
    reported(Each(cell=nn.LSTMCell(6, 5)), (torch.zeros(6),), [*HOOKS, "ptflops-aten", "fvcore", "torch"])
    convs = Each(a=nn.Conv2d(4, 6, 3), b=nn.Conv2d(4, 6, 3, groups=2, stride=2), c=nn.ConvTranspose2d(4, 6, 2, 2))
    reported(convs, (torch.zeros(4, 9, 7),), [*HOOKS, "ptflops-pytorch"])
    reported(Each(a=nn.Conv1d(4, 6, 3), b=nn.ConvTranspose1d(4, 6, 3)), (torch.zeros(4, 9),), HOOKS)


def test_products_and_einsums_of_every_kind() -> None:
    """A jit trace has nodes for some of them; dispatched ones are mv and dot where a side is a vector."""

    class Fn(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

    model = Each(**{
        name: Calls(function)
        for name, function in {
            "outer": lambda a, b, c: torch.einsum("bi,bj->bij", a, a),
            "three": lambda a, b, c: torch.einsum("ij,jk,bkl->bil", a, b, c),
            "diagonal": lambda a, b, c: torch.einsum("ii->i", a[:, :3]),
            "usual": lambda a, b, c: torch.einsum("bij,bkj->bik", c, c),
            "left": lambda a, b, c: a[:, :3] @ c,
            "spread": lambda a, b, c: torch.matmul(c[:1], c.transpose(1, 2)),
            "dot": lambda a, b, c: torch.tensordot(a, b, 1),
            "inner": lambda a, b, c: torch.inner(a, a),
            "multi": lambda a, b, c: torch.linalg.multi_dot([a, b, c[0]]),
            "mv": lambda a, b, c: torch.mv(a, b[:, 0]),
            "vectors": lambda a, b, c: torch.dot(a[0], a[1]),
            "kron": lambda a, b, c: torch.outer(a[0], a[1]),
            "linear": lambda a, b, c: F.linear(a[0], b.t()),
            "add": lambda a, b, c: torch.addmm(a[:, :3], a, b),
            "badd": lambda a, b, c: torch.baddbmm(c[:, :, :3], c, c.transpose(1, 2)),
            "product": lambda a, b, c: a.mm(b),
            "function": lambda a, b, c: Fn.apply(a, b),
        }.items()
    })  # fmt: skip
    inputs = torch.zeros(3, 4), torch.zeros(4, 3), torch.zeros(2, 3, 5)
    found = reported(model, inputs, TRACED)
    assert 3 * 4 * 4 // 2 == found["fvcore"].get("outer", 0)
    assert 3 * 3 * 5 == found["fvcore"]["left"]
    assert not {"dot", "inner", "multi", "mv", "vectors", "function"} & found["fvcore"].keys()
    assert not {"mv", "vectors"} & found["torch"].keys()
    by_vector = Each(a=Calls(torch.matmul), b=Calls(lambda m, v: m.expand(2, 3, 4) @ v))
    reported(by_vector, (torch.zeros(3, 4), torch.zeros(4)), ["ptflops-aten", "torch"])


def test_batch_norms_that_take_their_own_statistics() -> None:
    """Also in eval: of weights that are standardised, and where no running statistics are kept."""
    model = Each(
        bn=nn.BatchNorm2d(5, track_running_stats=False), plain=nn.BatchNorm2d(5, affine=False),
        none=nn.BatchNorm2d(5, affine=False, track_running_stats=False),
        f=Calls(lambda x: F.batch_norm(x, None, None, training=True)),
    )  # fmt: skip
    found = reported(model, (torch.zeros(1, 5, 28, 112),), ALL)
    assert found["fvcore"] == {"bn": 5 * 15_680, "plain": 15_680, "none": 4 * 15_680, "f": 4 * 15_680}


class Held(nn.Module):
    """Activations that were taken hold of before a library can patch them, and some that were not."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.act, self.soft = F.relu, F.gelu, F.softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.soft(self.relu(x), 1) + self.act(x) + F.silu(x) + nn.functional.relu(x[:1])


def test_activations_that_a_model_holds() -> None:
    """Most of transformers: `self.act = F.gelu`. The library patches a name that nobody asks for."""
    model = Each(
        held=Held(), lrn=nn.LocalResponseNorm(2), area=Calls(lambda x: F.interpolate(x, size=2, mode="area")),
        big=Calls(lambda x: F.interpolate(x, scale_factor=2.0)), up=nn.Upsample(scale_factor=(2, 1.5)),
        half=Calls(lambda x: F.interpolate(x[:, :, :, :3], scale_factor=0.5)), old=Calls(lambda x: F.upsample(x, 8)),
        odd=Calls(lambda x: F.interpolate(x[..., :3], scale_factor=0.5, mode="area")),
    )  # fmt: skip
    found = reported(model, (torch.zeros(2, 3, 4, 4),), ["ptflops-pytorch"])
    assert 2 * 48 + 48 == found["ptflops-pytorch"]["held"]


class Attend(nn.Module):
    """Attention of two heads, to keys and values of its own."""

    def __init__(self, weights: bool, **options: Any):
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(8, 2, **options), weights

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
        return self.attention(q, k, v, need_weights=self.weights)[0]


@pytest.mark.parametrize("weights", [True, False])
def test_attention_with_keys_of_another_width_and_rows_that_it_adds(weights: bool) -> None:
    """ptflops squares the width of keys and values, and counts as many keys as go in."""
    q, k = torch.zeros(5, 3, 8), torch.zeros(7, 3, 8)
    model = Each(
        bias=Attend(weights, add_bias_kv=True), zero=Attend(weights, add_zero_attn=True), usual=Attend(weights),
        bare=Attend(weights, bias=False),
    )  # fmt: skip
    reported(model, (q, k, k), TRACED)
    other = torch.zeros(7, 3, 6), torch.zeros(7, 3, 4)
    reported(Each(other=Attend(weights, kdim=6, vdim=4)), (q, *other), TRACED)


def test_frozen_attention_takes_a_path_of_its_own() -> None:
    """torch has a fused kernel for it, where nothing needs a gradient; fvcore has no handle for that."""

    class To(nn.Module):
        def __init__(self, **options: Any):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, **options)

        def forward(self, x: torch.Tensor) -> Any:
            return self.attention(x, x, x)[0]

    model = Each(fused=frozen(To(batch_first=True)), slow=frozen(To()), usual=To(batch_first=True))
    found = reported(model, (torch.zeros(2, 5, 8),), TRACED)
    assert {"slow.attention", "usual.attention"} == found["fvcore"].keys()


def test_kernels_of_real_tensors() -> None:
    """A model that looks at its input runs on real tensors, where attention and LSTM are one kernel each."""

    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.gru = nn.LSTM(4, 3), nn.GRU(4, 3, 2, batch_first=True, bidirectional=True)
            self.cut = nn.LSTM(4, 3, proj_size=2)
            self.heads = Calls(F.scaled_dot_product_attention)

        def forward(self, x: torch.Tensor) -> Any:
            if x.sum() > 0:  # no value on meta
                return x
            y = x[None]
            return [self.lstm(x), self.gru(x), self.cut(x), self.heads(y, y, y), self.heads(y, y, y[..., :3])]

    found = reported(Looks(), (torch.zeros(2, 5, 4),), ["ptflops-aten", "torch", "ptflops-pytorch"])
    assert not {"lstm"} & found["torch"].keys() and {"gru", "cut", "heads"} <= found["torch"].keys()


def test_products_that_are_none_of_a_counters() -> None:
    """A formula of the ledger must not become a claim about a library that never heard of the operation."""
    from torchvision.ops import DeformConv2d

    class Deform(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset, self.conv = nn.Conv2d(4, 18, 3, padding=1), DeformConv2d(4, 6, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x, self.offset(x))

    class Bilinear(nn.Bilinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return super().forward(x, x)

    model = Each(
        deform=Deform(), cdist=Calls(lambda x: torch.cdist(x[0, 0], x[0, 1])), bilinear=Bilinear(6, 6, 3),
        outer=Calls(lambda x: torch.outer(x[0, 0, 0], x[0, 0, 1])), kron=Calls(lambda x: torch.kron(x[0, 0], x[0, 1])),
        addbmm=Calls(lambda x: torch.addbmm(x[0, 0], x[0], x[1])),
    )  # fmt: skip
    reported(model, (torch.zeros(2, 4, 6, 6),), ALL)


def test_a_counter_may_not_know_what_a_gradient_would_change() -> None:
    """A mask of each head, that a model learns, sends a CPU to products; one that it does not, to a kernel."""

    class Biased(nn.Module):
        def __init__(self, learned: bool):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1, 2, 5, 5), requires_grad=learned)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum() > 0:
                return x
            return F.scaled_dot_product_attention(x, x, x, self.bias + 0)

    x = torch.zeros(3, 2, 5, 4)
    reported(Biased(True), (x,), ["torch", "ptflops-aten"])
    ledger, tallies = count_all(
        ["torch"], Spec(model="case", inputs=()), live=Live(Biased(False), (x,), {}, "case"), keep=False
    )
    side = align(tallies[0], registry.get("torch").convention(None), ledger)
    assert ["a CPU's kernel takes no mask"] == [failure.known[:28] for failure in side.failures]


def test_in_train_mode() -> None:
    """Those that do not put the model into eval mode count what it is."""
    model = Each(
        norm=nn.BatchNorm1d(4), free=nn.BatchNorm1d(4, track_running_stats=False),
        plain=nn.BatchNorm1d(4, affine=False),
        instance=nn.InstanceNorm1d(4, affine=True, track_running_stats=True), lstm=nn.LSTM(6, 5, 2, dropout=0.5),
        attention=nn.TransformerEncoderLayer(6, 2, 7), drop=nn.Sequential(nn.Dropout(), nn.PReLU(), nn.RReLU()),
        soft=nn.Sequential(nn.Softmax(-1), nn.LayerNorm(6)), fixed=frozen(nn.BatchNorm1d(4)),
    )  # fmt: skip
    found = reported(model, (torch.zeros(3, 4, 6),), ["torchsummaryX", "fvcore", "torch"], "train")
    assert [5 * 72, 4 * 72] == [found["fvcore"][name] for name in ("norm", "plain")]
    assert 4 == found["torchsummaryX"]["norm"] and "fixed" not in found["torchsummaryX"]


def test_complex_numbers_and_leaves_that_are_hollow_or_silent() -> None:
    """Shapes do not tell that a number is two; a child that is an empty container is none to torchinfo."""

    class Hollow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.short = nn.Parameter(torch.zeros(4)), nn.Sequential()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.short(x) * self.weight

    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight

    model = Each(
        linear=nn.Linear(4, 3, dtype=torch.cfloat), conv=nn.Conv1d(5, 3, 2, dtype=torch.cfloat),
        product=Calls(lambda x: torch.bmm(x, x.mT)), operator=Calls(lambda x: x @ x.mT), hollow=Hollow(),
    )  # fmt: skip
    found = reported(model, (torch.zeros(2, 5, 4, dtype=torch.cfloat),), ALL)
    assert [120, 180] == [found["thop"][name] for name in ("linear", "conv")]
    assert [240, 1080] == [found["torch"][name] for name in ("linear", "conv")]
    ledger, tallies = count_all(
        ["torchinfo"], Spec(model="case", inputs=()), live=Live(Each(s=Silent()), (torch.zeros(2),), {}, "case"),
        keep=False,
    )  # fmt: skip
    side = align(tallies[0], registry.get("torchinfo").convention(tallies[0].version), ledger)
    assert ["a module that runs no operation"] == [failure.known[:31] for failure in side.failures]


def pruned(module: nn.Module, name: str = "weight") -> nn.Module:
    """Half of a parameter is masked; it has the name `weight_orig` now."""
    prune.random_unstructured(module, name, 0.5)
    return module


def test_pruned_and_parametrized_weights() -> None:
    """torchinfo counts what a mask leaves, under the name that a parameter had; parametrized ones have other names."""
    model = Each(
        pruned=pruned(nn.Conv1d(4, 3, 3)), bias=pruned(nn.Conv1d(4, 3, 3), "bias"), norm=pruned(nn.BatchNorm1d(4)),
        old=torch.nn.utils.weight_norm(nn.Conv1d(4, 3, 3)), weighted=parametrizations.weight_norm(nn.Conv1d(4, 3, 3)),
        spectral=parametrizations.spectral_norm(nn.Conv1d(4, 3, 3)), lstm=pruned(nn.LSTM(8, 3), "weight_ih_l0"),
        gru=torch.nn.utils.weight_norm(nn.GRU(8, 3), "weight_hh_l0"),
    )  # fmt: skip
    found = reported(model, (torch.zeros(2, 4, 8),), HOOKS)
    assert 2 * 6 * (18 + 3) == found["torchinfo"]["pruned"]
    assert 9 * 8 + 9 + 9 * 3 == found["torchsummaryX"]["gru"]


def test_what_no_output_depends_on() -> None:
    """A jit trace drops it, but for what it writes to the model; the ledger says which calls those are."""

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.written = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 4)
            self.norm, self.kept = nn.BatchNorm1d(2), nn.Linear(4, 4)
            self.register_buffer("last", torch.zeros(2, 2, 4))

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.used(x)
            self.unused(y), self.used(x[:1])
            z = torch.zeros_like(y)
            z[:, 0] = self.written(y)[:, 0]
            self.last.copy_(self.kept(y))
            return {"z": z + self.norm(y).view_as(y)[:1] * 0}

    inputs = (torch.zeros(2, 2, 4),)
    found = reported(Unused(), inputs, ["fvcore", "torch"])
    assert "unused" not in found["fvcore"] and 64 == found["fvcore"]["used"] and "kept" in found["fvcore"]
    assert found["torch"]["unused"] and 2 * (64 + 32) == found["torch"]["used"]
    reported(Unused(), inputs, ["fvcore"], "train")


def test_frozen_layers_after_others_that_are_not() -> None:
    """Whether a gradient is needed is a matter of what a tensor depends on, not of what ran before."""
    layer = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}
    model = Each(
        before=nn.Linear(8, 8), frozen=frozen(nn.TransformerEncoderLayer(**layer)),
        after=nn.Sequential(nn.Linear(8, 8), frozen(nn.TransformerEncoderLayer(**layer))),
    )  # fmt: skip
    found = reported(model, (torch.zeros(2, 5, 8),), ["fvcore", "ptflops-pytorch", "torch"])
    assert "after.1.self_attn" in found["fvcore"] and "frozen.self_attn" not in found["fvcore"]


def test_a_backward_of_ones_own_has_products() -> None:
    """torch's counter sees a product in a backward by whatever name it is called."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> Any:
            x, w = ctx.saved_tensors
            return grads[0] @ w.t(), F.linear(x.t(), grads[0].t()) + F.conv1d(x.t()[None], x[:, :, None]).sum()

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(4, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Product.apply(x, self.w)  # type: ignore[no-any-return,no-untyped-call]

    found = reported(nn.Sequential(nn.Linear(4, 4), Own()), (torch.zeros(2, 4),), ["torch"], "step")
    assert 3 * 2 * 64 + 2 * 2 * 2 * 4 == found["torch"]["1"]


def test_a_packed_sequence_as_it_is_given() -> None:
    """A hook on a recurrent layer that is the model itself must see what its forward is given."""
    packed = nn.utils.rnn.pack_sequence([torch.zeros(3, 4), torch.zeros(2, 4)])
    found = reported(nn.LSTM(4, 3), (packed,), ["thop", "torchinfo", "fvcore", "torch"])
    assert [792, 1620] == [found[name][""] for name in ("thop", "torchinfo")]


def test_padding_that_an_encoder_drops_is_a_known_deviation() -> None:
    """On real tensors, where no gradient is needed, it computes nothing for what a mask says is padded."""
    mask = torch.tensor([[False] * 4 + [True]] * 2)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoder(layer, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.encoder(x, src_key_padding_mask=mask)  # type: ignore[no-any-return]

    ledger, tallies = count_all(
        ["thop"], Spec(model="case", inputs=()), live=Live(Padded(), (torch.zeros(2, 5, 8),), {}, "case"), keep=False
    )
    assert "meta" == ledger.device
    side = align(tallies[0], registry.get("thop").convention(None), ledger)
    assert {"where no gradient is needed"} == {failure.known.partition(",")[0] for failure in side.failures}
    assert {"encoder.layers.0.linear1", "encoder.layers.0.norm1"} <= {failure.site for failure in side.failures}


def test_batches_that_are_none() -> None:
    """What is averaged over a batch of 0 has no number; what a batch does not divide is cut off."""
    given = {"empty": torch.zeros(0, 4), "odd": torch.zeros(4)}
    ledgers = {
        name: count_all(
            ["ptflops-pytorch"], Spec(model="case", inputs=()), live=Live(nn.Linear(4, 3), (x,), {}, "case"), keep=False
        )
        for name, x in given.items()
    }
    assert "divides by the batch, which is 0" in str(ledgers["empty"][1][0].reason)
    ledger, (tally,) = ledgers["odd"]
    side = align(tally, registry.get(tally.counter).convention(tally.version), ledger)
    assert (15 // 4, True) == (tally.total, all("cut off" in failure.known for failure in side.failures))


def test_where_transforms_run() -> None:
    """Hooks see one sample of a vmap; beside derivatives, and where a side is sparse, products are what runs."""

    class Transforms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mapped, self.beside, self.put = nn.Linear(8, 3), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> Any:
            weights = {name: 2 * p for name, p in self.put.named_parameters()}
            return (
                torch.vmap(self.mapped)(x), torch.vmap(lambda y: y @ y.mT)(x),
                torch.func.functional_call(self.put, weights, (x,)), torch.eye(5).to_sparse_csr() @ x[0],
            )  # fmt: skip

    class Derivatives(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.beside = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> Any:
            return torch.func.jvp(self.beside, (x,), (x,))

    x = torch.zeros(2, 5, 8)
    found = reported(Transforms(), (x,), ["thop", "torchsummaryX", "torch", "ptflops-aten"])
    assert (5 * 8 * 3, None) == (found["thop"]["mapped"], found["torchsummaryX"].get("put"))
    reported(Derivatives(), (x,), ["torchsummaryX", "torchinfo", "fvcore", "ptflops-aten"])
    reported(Each(a=nn.Conv1d(4, 6, 2, groups=2, dtype=torch.cfloat)), (x[:, :4].cfloat(),), ["torch"], "step")


@pytest.mark.parametrize(("left", "right"), [("2.1.2", "2.1.3"), ("2.1.5", "2.1.6")])
@pytest.mark.slow
def test_recurrent_layers_of_the_fork(left: str, right: str) -> None:
    """It learned of inputs without a batch, and then of packed sequences and projections."""

    class Sequences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.packed, self.flat = nn.LSTM(4, 3, 2), nn.GRU(4, 3, bidirectional=True)
            self.cut, self.short, self.cell = *(nn.LSTM(4, 6, 2, proj_size=2) for _ in range(2)), nn.LSTMCell(4, 3)

        def forward(self, x: torch.Tensor) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(x, [3, 2])
            return [self.packed(packed)[0].data, self.flat(x[:, 0])[0], self.cut(packed)[0].data,
                    self.short(x[:, 0])[0], self.cell(x[0, 0])[0]]  # fmt: skip

    releases = [f"ultralytics-thop=={release}" for release in (left, right)]
    first, second = reported(Sequences(), (torch.zeros(3, 2, 4),), releases).values()
    assert first["flat"] != second["flat"] if left == "2.1.2" else first["packed"] != second["packed"]


@pytest.mark.slow
def test_modules_under_two_parents_in_old_releases() -> None:
    """How many hooks there are, and how often each is read, is a matter of the release."""
    shared = nn.Linear(4, 4)
    model = Each(a=nn.Sequential(shared), b=nn.Sequential(nn.Sequential(shared)))
    names = ["thop==0.0.31.post2001170342", "thop==0.0.31.post2005141432", "thop==0.0.5.post2206100352",
             "ultralytics-thop==2.0.21", "ultralytics-thop==2.0.22"]  # fmt: skip
    found = reported(model, (torch.zeros(1, 4),), names)
    assert [4 * (2 * 16 - 4 + 4), 8 * 16, 8 * 16, 8 * 16, 2 * 16] == [counts["a.0"] for counts in found.values()]
