"""What the tracer sees: nothing runs unseen, nothing is counted twice, nothing is priced with shapes of one sample."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.flop_counter import FlopCounterMode

from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.running import ModelError, trace


class Calls(nn.Module):
    """A model that is one function of its inputs."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def of(model: nn.Module | Callable[..., Any], *inputs: Any, **options: Any) -> Ledger:
    module = model if isinstance(model, nn.Module) else Calls(model)
    return trace(module, tuple(torch.rand(i) if isinstance(i, tuple) else i for i in inputs), **options)


def unpriced(ledger: Ledger) -> dict[str, tuple[int, int]]:
    """Calls and elements out of what has no price, by name."""
    found: dict[str, tuple[int, int]] = {}
    for each in ledger.unpriced():
        calls, outputs = found.get(each.name, (0, 0))
        found[each.name] = calls + each.calls, outputs + each.outputs
    return found


def macs(ledger: Ledger) -> dict[str, int]:
    """MACs by op, those that have any, and nothing unpriced."""
    assert {} == unpriced(ledger)
    return {op: values["macs"] for op, values in ledger.by_op().items() if values.get("macs")}


# --- kernels that torch does not see ----------------------------------------------------------------


@torch.library.custom_op("flopledger_tests::product", mutates_args=())
def product(x: Tensor, y: Tensor) -> Tensor:
    """A body of visible operations, which run below the operator."""
    return F.linear(x, y.T)


product.register_fake(lambda x, y: x.new_empty(x.shape[0], y.shape[1]))

library = torch.library.Library("flopledger_tests", "DEF")
library.define("explicit(Tensor x) -> Tensor")
library.impl("explicit", lambda x: x @ x, "CompositeExplicitAutograd")
library.define("implicit(Tensor x) -> Tensor")
library.impl("implicit", lambda x: x @ x, "CompositeImplicitAutograd")


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_custom_operator_is_unpriced_once(device: str) -> None:
    """What its body runs is the operator's, on real tensors too: neither lost nor counted beside it."""
    ledger = of(lambda x, y: product(x, y) + 1, (2, 3), (3, 4), device=device)
    assert ({"flopledger_tests.product": (1, 8)}, 0) == (unpriced(ledger), ledger.total("macs"))


def test_operators_defined_by_hand() -> None:
    """One with a kernel is unpriced; one that is only other operators is those."""
    explicit = of(lambda x: torch.ops.flopledger_tests.explicit(x), (3, 3), device="cpu")
    assert ({"flopledger_tests.explicit": (1, 9)}, 0) == (unpriced(explicit), explicit.total("macs"))
    assert {"matmul": 27} == macs(of(lambda x: torch.ops.flopledger_tests.implicit(x), (3, 3)))


def extension(out: Tensor) -> Tensor:
    """Write to a tensor as a C++ extension does: without operators, and not on meta."""
    with torch._C.DisableTorchFunction():
        if out.is_meta:
            raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")
        (ctypes.c_float * out.numel()).from_address(out.data_ptr())[:] = [1.0] * out.numel()
    return out


class Numpy(torch.autograd.Function):
    """Leaves torch by numpy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() @ x.numpy())


class Empty(torch.autograd.Function):
    """As a C++ extension does: makes a tensor, and writes to its memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return extension(torch.empty_like(x))


class Seen(torch.autograd.Function):
    """Made of torch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        return torch.mm(x, x, out=out)


class Identity(torch.autograd.Function):
    """Only its gradient is another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)


held = {kind: kind.apply for kind in (Numpy, Empty, Seen, Identity)}  # as people do, before anything is traced


@pytest.mark.parametrize("kind", [Numpy, Empty])
def test_an_autograd_function_around_a_kernel_is_unpriced(kind: Any) -> None:
    """Its result came out of nothing that torch ran."""
    ledger = of(lambda x: held[kind](x) + kind.apply(x), (3, 3))
    assert {f"autograd.Function {__name__}.{kind.__name__}": (2, 18)} == unpriced(ledger)


class Mapped(Numpy):
    """The same with a rule of its own for vmap."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor) -> Any:
        return Mapped.apply(x), 0


def test_an_autograd_function_within_vmap_is_unpriced_too() -> None:
    """There torch runs it by a higher-order operator."""
    ledger = of(lambda x: torch.vmap(Mapped.apply)(x), (2, 3))
    assert {f"autograd.Function {__name__}.Mapped": (1, 6)} == unpriced(ledger)


def test_an_autograd_function_made_of_torch_is_what_it_runs() -> None:
    """Most are; their calls say where they were made, since some counters do not look into one."""
    ledger = of(lambda x: held[Seen](held[Identity](x)), (3, 3))
    assert {"matmul": 27} == macs(ledger)
    (entry,) = [entry for entry in ledger if entry.op == "matmul"]
    assert f"{__name__}.Seen" == entry.calls[0].facts["autograd_function"]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: torch.from_numpy(np.asarray(x) * 2), "torch.Tensor.__array__"),
        (lambda x: torch.from_numpy(x.numpy() * 2), "torch.Tensor.numpy"),
        (lambda x: torch.tensor(x.tolist()), "torch.Tensor.tolist"),
        (lambda x: torch.from_dlpack(np.from_dlpack(x) * 2), "torch.Tensor.__dlpack__"),
        (lambda x: (ctypes.memset(x.data_ptr(), 0, 4), x)[1], "torch.Tensor.data_ptr"),
    ],
    ids=["array", "numpy", "tolist", "dlpack", "ctypes"],
)
def test_numbers_that_leave_torch_are_unpriced(call: Callable[[Tensor], Any], name: str) -> None:
    """What numpy or C computes with them is unknown; and on meta, C would write to address 0."""
    kernel = nn.Sequential(Calls(call))
    ledger = of(kernel, (3, 3))
    ((entry,),) = ([entry for entry in ledger if entry.op == "unpriced"],)
    assert ("0", name, 1, (3, 3)) == (entry.site, entry.aten, entry["calls"], entry.calls[0].facts["input"])


def test_integers_that_leave_torch_are_sizes() -> None:
    """Lengths and positions are looked at in ordinary models."""
    ledger = of(lambda x, n: x[:, : n.tolist()[0]] * int(n.numpy()[0]), (3, 3), torch.tensor([2]))
    assert {} == unpriced(ledger)


def test_memory_written_to_outside_torch() -> None:
    """A C++ extension without operators is seen by what it leaves: content in a tensor that was made empty."""

    def kernel(x: Tensor) -> Tensor:
        return extension(x.new_empty(3, 4))

    unseen = {"written outside torch (aten.new_empty)": (1, 0)}
    assert unseen == unpriced(of(lambda x: kernel(x) + 1, (3, 3), device="cpu"))
    assert unseen == unpriced(of(kernel, (3, 3), device="cpu"))


def test_memory_written_to_by_operators() -> None:
    """Most tensors that are made empty are filled by torch; one without elements needs nothing."""

    def forward(x: Tensor) -> Tensor:
        a, b, c = torch.empty(3, 3), torch.empty_like(x), x.new_empty(3, 3)
        a.copy_(x)
        torch.mul(x, 2, out=b)
        c[:1], c[1:] = 0, 1
        return torch.cat([a, b, c, torch.empty(0, 3), torch.zeros_like(torch.empty(3, 3))])

    assert {} == unpriced(of(forward, (3, 3)))


# --- one sample for many ----------------------------------------------------------------------------


def attend(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q)


linear, conv = nn.Linear(8, 16), nn.Conv2d(3, 5, 3)
small = nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5))


@pytest.mark.parametrize(
    ("mapped", "whole", "shapes"),
    [
        (torch.vmap(linear), linear, [(2, 8)]),
        (torch.vmap(linear), linear, [(2, 5, 8)]),
        (torch.vmap(torch.vmap(linear)), linear, [(2, 3, 8)]),
        (torch.vmap(linear, in_dims=1, out_dims=1), lambda x: linear(x.T), [(8, 2)]),
        (torch.vmap(linear, chunk_size=2), linear, [(5, 8)]),
        (torch.vmap(conv), conv, [(2, 3, 6, 6)]),
        (torch.vmap(small), lambda x: small(x.flatten(0, 1)), [(2, 3, 3, 4)]),
        (torch.vmap(attend), attend, [(2, 4, 5, 8)]),
        (torch.vmap(F.linear), torch.bmm, [(2, 3, 8), (2, 8, 4)]),
        (torch.vmap(F.linear, in_dims=(None, 0)), lambda x, w: x @ w.mT, [(3, 8), (2, 4, 8)]),
        (torch.vmap(torch.matmul), torch.matmul, [(2, 3, 8), (2, 8, 4)]),
        (torch.vmap(torch.dot), lambda a, b: torch.bmm(a[:, None], b[..., None]), [(2, 3), (2, 3)]),
        (torch.vmap(F.avg_pool1d, in_dims=(0, None)), F.avg_pool1d, [(2, 3, 8), 2]),
        (torch.vmap(lambda x: F.dropout(linear(x), 0.5), randomness="different"), linear, [(2, 8)]),
    ],
    ids=["linear", "rows", "nested", "dims", "chunks", "conv", "model", "attention", "ensemble", "weights", "matmul",
         "dot", "pool", "random"],
)  # fmt: skip
def test_vmap_is_priced_with_its_batch(mapped: Any, whole: Any, shapes: list[Any]) -> None:
    """A function sees the shapes of one sample; all samples run."""
    if shapes == [(2, 3, 8), (2, 8, 4)] and whole is torch.bmm:
        shapes, whole = [(2, 3, 8), (2, 4, 8)], lambda x, w: torch.bmm(x, w.mT)
    found, wanted = of(mapped, *shapes), of(whole, *shapes)
    assert sum(macs(wanted).values()) == sum(macs(found).values())
    assert wanted.total("windows") == found.total("windows")


def test_vmap_of_a_linear_layer_is_a_linear_layer() -> None:
    """Its kind, bias and weights are those of the layer, whatever products torch makes of it; calls say so."""
    layer = nn.Linear(8, 16)
    ledger = of(Calls(lambda x: torch.vmap(layer)(x), layer=layer), (2, 8))
    (entry,) = [entry for entry in ledger if entry.op == "linear"]
    assert ("layer", 1, 256, 32, 32, 16, 128, 16) == (
        entry.site, *(entry[n] for n in ("calls", "macs", "outputs", "bias_adds", "inputs", "weights", "biases"))
    )  # fmt: skip
    assert [2] == entry.calls[0].facts["vmap"]


def test_derivatives_in_a_forward_are_what_runs() -> None:
    """Tangents beside each product, and gradients, at the place where they are computed."""
    layer = nn.Linear(8, 4, bias=False)

    def tangents(x: Tensor) -> Any:
        return torch.func.jvp(lambda x: F.linear(x, layer.weight.detach()), (x,), (x,))

    def gradient(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: F.linear(x, layer.weight.detach()).sum())(x)

    def samples(x: Tensor) -> Tensor:
        return torch.vmap(torch.func.grad(lambda x: F.linear(x, layer.weight.detach()).sum()))(x)

    def by_hand(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(F.linear(x, layer.weight.detach()).sum(), x)[0]

    def linear_part(x: Tensor) -> Any:
        return torch.func.linearize(lambda x: F.linear(x, layer.weight.detach()), x)[1](x)

    for call, times in ((tangents, 3), (gradient, 2), (samples, 2), (by_hand, 2), (linear_part, 7)):
        with FlopCounterMode(display=False) as theirs:
            call(torch.rand(2, 8))
        ledger = of(Calls(call, layer=layer), (2, 8))
        assert times * 2 * 8 * 4 == sum(macs(ledger).values()) == theirs.get_total_flops() / 2, call
    assert {"linear": 3 * 2 * 8 * 4} == macs(of(tangents, (2, 8)))  # a weight without a tangent has one of zeros


@pytest.mark.parametrize("transform", [torch.func.jacfwd, torch.func.jacrev, torch.func.hessian])
def test_jacobians_are_batched_products(transform: Any) -> None:
    """jacfwd maps tangents over the inputs, jacrev gradients over the outputs."""
    weight = torch.rand(3, 4)
    call = transform(lambda x: F.linear(x, weight.to(x.device)).sin() @ weight.to(x.device))
    with FlopCounterMode(display=False) as theirs:
        call(torch.rand(5, 4))
    ledger = of(call, (5, 4))
    assert ({}, theirs.get_total_flops()) == (unpriced(ledger), 2 * ledger.total("macs"))


def test_functional_call_is_the_module() -> None:
    """Sites and prices are those of the module that it calls, with other weights."""
    layer = nn.Linear(8, 4)
    weights = {"weight": torch.rand(4, 8), "bias": torch.rand(4)}
    model = Calls(lambda x: torch.func.functional_call(layer, {k: v.to(x.device) for k, v in weights.items()}, x),
                  layer=layer)  # fmt: skip
    ledger = of(model, (2, 8))
    assert {"linear": 64} == macs(ledger)
    assert {"layer"} == {entry.site for entry in ledger if entry["macs"]}


# --- functions that are given functions -------------------------------------------------------------


def test_of_branches_the_larger_counts_and_is_said() -> None:
    """Which of them runs depends on data: the same ledger on meta and on real tensors, whichever is taken."""
    yes, no = nn.Linear(4, 5), nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5))
    model = Calls(lambda x: torch.cond(x.sum() > 0, lambda x: yes(x), lambda x: no(x), (x,)), yes=yes, no=no)
    ledgers = [of(model, sign * torch.ones(2, 4), device=device) for sign in (1, -1) for device in ("meta", "cpu")]
    for ledger in ledgers:
        assert ({"linear": 2 * (24 + 30)}, {"no.0", "no.1"}) == (macs(ledger), {e.site for e in ledger if e["macs"]})
        assert ["torch.cond at the root runs one of branches of 40 and 108 MACs: the larger is counted"] == ledger.notes
        assert {"", "no", "no.0", "no.1"} == ledger.modules.keys()


def test_branches_give_what_they_would() -> None:
    """The model goes on with the branch that is taken, and the other one does not write to its inputs."""
    seen = []

    def forward(x: Tensor) -> Tensor:
        out = torch.cond(x.sum() > 0, lambda x: x.add_(1), lambda x: x.mul_(-7), (x,))
        seen.append((float(out.sum()), float(x.sum())))
        return out

    of(forward, torch.ones(3), device="cpu")
    assert [(6.0, 6.0)] == seen


def test_loops_scans_and_maps_run_as_often_as_they_run() -> None:
    """Each turn of a loop is counted, and a loop is never a zero."""
    from torch._higher_order_ops import associative_scan, map, scan, while_loop

    w = nn.Parameter(torch.rand(4, 4))
    module = nn.Module()
    module.w = w

    def loop(x: Tensor) -> Any:
        return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ module.w), (torch.tensor(0), x))

    def steps(x: Tensor) -> Any:
        return scan(lambda carry, x: (carry @ module.w, (carry + x).clone()), x[0], x)

    def mapped(x: Tensor) -> Any:
        return map(lambda x: x @ module.w, x)

    assert {"matmul": 3 * 16 * 5} == macs(of(Calls(loop, m=module), (5, 4)))
    assert {"matmul": 6 * 16 * 5} == macs(of(Calls(steps, m=module), (6, 5, 4)))
    assert {"matmul": 6 * 16 * 5} == macs(of(Calls(mapped, m=module), (6, 5, 4)))
    ledger = of(lambda x: associative_scan(lambda a, b: a * b, x, 0, combine_mode="generic"), (8, 3))
    assert (0, 3 * 11) == (len(unpriced(ledger)), sum(e["outputs"] for e in ledger if e.op == "mul"))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_is_transparent(reentrant: bool) -> None:
    """In the forward nothing is done twice."""
    from torch.utils.checkpoint import checkpoint

    layer = nn.Linear(8, 4)
    ledger = of(Calls(lambda x: checkpoint(layer, x, use_reentrant=reentrant), layer=layer), (2, 8))
    assert {"linear": 64} == macs(ledger)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_is_as_written(backend: str) -> None:
    """Same counts, nothing compiled; the sites are those of the module that was compiled."""
    layers = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    model = Calls(lambda x: compiled(x) + function(x[:, :4]), layers=layers)
    compiled = torch.compile(layers, backend=backend)
    function = torch.compile(lambda x: x @ x.T @ x, backend=backend)
    assert {"linear": 64, "matmul": 32} == macs(of(model, (2, 8)))
    ledger = of(torch.compile(layers, backend=backend), (2, 8))
    assert {"0", "1"} == {entry.site for entry in ledger}


class Flex(nn.Module):
    """Four heads of 16."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.qkv, self.out, self.options = nn.Linear(64, 192, bias=False), nn.Linear(64, 64, bias=False), options

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
        options = dict(self.options)
        if causal := options.pop("causal", None):
            n = x.shape[1]
            options["block_mask"] = create_block_mask(causal, None, None, n, n, device=x.device, BLOCK_SIZE=16)
        out: Tensor = flex_attention(q, k, v, **options)
        return self.out(out.transpose(1, 2).flatten(2))


def test_flex_attention_is_the_full_square() -> None:
    """4 heads of 16, 128 tokens: as much as the projections; what score_mod does is the kernel's."""
    ledger = of(Flex(score_mod=lambda s, b, h, q, k: s + q - k), (1, 128, 64))
    assert {"linear": 2_097_152, "attention": 2_097_152} == macs(ledger)
    assert ("meta", 0) == (ledger.device, ledger.total("masked_macs"))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_flex_attention_says_what_its_block_mask_leaves_out(device: str) -> None:
    """Beside the full square: 8 rows of blocks of 16, of which a causal kernel needs 1 + … + 8 of 64."""
    ledger = of(Flex(causal=lambda b, h, q, k: q >= k), (1, 128, 64), device=device)
    assert (2_097_152, device) == (macs(ledger)["attention"], ledger.device)
    assert 4 * (64 - 36) * 16 * 16 * 32 == ledger.total("masked_macs")
    cut = of(Flex(causal=lambda b, h, q, k: q >= k), (1, 40, 64), device=device)  # blocks of 16, 16 and 8
    skipped = 16 * 16 + 16 * 8 * 2
    assert 4 * skipped * 32 == cut.total("masked_macs")


def test_a_step_through_flex_attention() -> None:
    """What torch traces to make a backward of it is no part of the model; the backward has twice the products."""
    ledger = of(Flex(), (1, 128, 64), mode="step")
    found = {entry.phase: entry["macs"] for entry in ledger if entry.op == "attention"}
    assert ({}, {"forward": 2_097_152, "backward": 2 * 2_097_152}) == (unpriced(ledger), found)


def test_a_step_through_branches_and_loops() -> None:
    """Autograd goes through what runs in them, also to weights that they only refer to."""
    from torch._higher_order_ops import while_loop

    layer = nn.Linear(4, 4)

    def forward(x: Tensor) -> Any:
        x = torch.cond(x.sum() > 0, layer, lambda x: x + 1, (x,))
        return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, layer(x)), (torch.tensor(0), x))[1]

    ledger = of(Calls(forward, layer=layer), (2, 4), mode="step")
    one = 2 * 4 * 4
    assert {"forward": 4 * one, "backward": (4 + 3) * one} == {
        phase: sum(entry["macs"] for entry in ledger if entry.phase == phase) for phase in ("forward", "backward")
    }
    assert ("meta", {"layer"}) == (ledger.device, {entry.site for entry in ledger if entry["macs"]})


# --- other numbers and other tensors ----------------------------------------------------------------


def test_complex_numbers_are_told() -> None:
    """One complex MAC is four real ones, for layers and convolutions alike, whatever torch makes of it."""
    x = torch.rand(2, 3, 5, 5, dtype=torch.complex64)
    for model, one in [
        (nn.Conv2d(3, 4, 3, padding="same"), 2 * 4 * 25 * 27),
        (nn.ConvTranspose2d(3, 4, 3), 2 * 25 * 3 * 4 * 9),
        (nn.Linear(5, 4), 2 * 3 * 5 * 20),
        (Calls(lambda x: x @ x), 2 * 3 * 125),
    ]:
        ledger = of(model.to(torch.complex64), x)
        assert [4 * one] == list(macs(ledger).values())
        (call,) = [call for entry, call in ledger.rows() if entry["macs"]]
        assert call.facts["complex"] is True


def test_jagged_tensors_cost_their_own_tokens() -> None:
    """3 and 5 tokens are 8 rows of a layer, and 9 + 25 scores."""
    layer, norm = nn.Linear(8, 8), nn.LayerNorm(8)
    x = torch.nested.nested_tensor([torch.rand(3, 8), torch.rand(5, 8)], layout=torch.jagged)

    def forward(x: Tensor) -> Tensor:
        q = F.relu(norm(layer(x))).unflatten(-1, [2, 4]).transpose(1, 2)
        return layer(F.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2))

    ledger = of(Calls(forward, layer=layer, norm=norm), x)
    assert {"linear": 2 * 8 * 64, "attention": 2 * (9 + 25) * 8} == macs(ledger)
    (call,) = [call for entry, call in ledger.rows() if entry.op == "attention"]
    assert ((1, 2, 8, 4), [(1, 2, 3, 4), (1, 2, 5, 4)]) == (call.facts["query"], call.facts["nested"])
    assert {"activation": 64, "layer_norm": 64} == {
        op: values["outputs"] for op, values in ledger.by_op().items() if op in ("activation", "layer_norm")
    }


def test_strided_nested_tensors_cost_their_own_tokens() -> None:
    """The same of the older kind."""
    layer = nn.Linear(8, 8)

    def forward(*parts: Tensor) -> Tensor:
        q = F.relu(layer(torch.nested.as_nested_tensor(list(parts))))
        scores = torch.matmul(q, q.transpose(1, 2))
        return torch.nested.to_padded_tensor(scores.softmax(-1), 0.0)

    ledger = of(Calls(forward, layer=layer), (3, 8), (5, 8))
    assert {"linear": 8 * 64, "matmul": (9 + 25) * 8} == macs(ledger)
    assert 64 == ledger.by_op()["activation"]["outputs"]


def test_the_fused_encoder_takes_nested_tensors() -> None:
    """torch has no other path for them, and takes it only where it believes that no mode is on."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    ledger = of(layer, torch.nested.nested_tensor([torch.rand(3, 8), torch.rand(5, 8)]))
    assert {"attention": 8 * (4 * 64 + 2 * 128) + 2 * (9 + 25) * 8} == macs(ledger)
    (call,) = [call for entry, call in ledger.rows() if entry["macs"]]
    assert ((1, 8, 8), (24, 8)) == (call.facts["src"], call.facts["qkv_weight"])
    assert ([[2, 64]], ["nested:float32"]) == (ledger.input_shapes, ledger.inputs)


class LowRank(Tensor):
    """A weight that is two: a layer with it is two products."""

    a: Tensor
    b: Tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            return F.linear(F.linear(args[0], args[1].a), args[1].b)
        return super().__torch_function__(func, types, args, kwargs or {})


class Plain(Tensor):
    """A subclass that changes nothing."""


def test_a_class_of_tensors_that_computes_in_its_own_way() -> None:
    """What it runs counts, not what the function would have cost; one that changes nothing changes nothing."""

    def low(x: Tensor) -> Tensor:
        w = x.new_zeros(16, 8).as_subclass(LowRank)
        w.a, w.b = x.new_zeros(2, 8), x.new_zeros(16, 2)
        return F.linear(x, w) + w.as_subclass(Tensor).sum()

    assert {"linear": 3 * (2 * 8 + 16 * 2)} == macs(of(low, (3, 8)))
    assert {"linear": 3 * 16 * 8} == macs(of(lambda x: F.linear(x, x.new_zeros(16, 8).as_subclass(Plain)), (3, 8)))


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.orthogonal, None])
def test_parametrised_modules(norm: Any) -> None:
    """What makes the weight runs too, at the site of the parametrisation."""
    layer = nn.Linear(8, 4)
    if norm is None:
        nn.utils.parametrize.register_parametrization(layer, "weight", Calls(lambda w: w @ torch.eye(8)))
    else:
        norm(layer)
    ledger = of(nn.Sequential(layer), (2, 8))
    assert 64 == sum(entry["macs"] for entry in ledger if entry.op == "linear")
    if norm is None:
        assert {"0.parametrizations.weight.0": 4 * 64} == {e.site: e["macs"] for e in ledger if e.op == "matmul"}


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_same_in_every_mode_of_autograd(around: Any) -> None:
    """In inference mode torch hands composite operators to a dispatch mode whole."""
    layer = nn.Linear(8, 4)

    def forward(x: Tensor) -> Tensor:
        with around():
            return torch.ops.aten.linear(layer(x), layer.weight.T) @ layer.weight.T

    assert {"linear": 128, "matmul": 64} == macs(of(Calls(forward, layer=layer), (2, 8), device="cpu"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_is_moves(dtype: torch.dtype) -> None:
    """A cast is a copy; the products are those of the layer."""
    layer = nn.Linear(8, 4)

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            return layer(x)

    ledger = of(Calls(forward, layer=layer), (2, 8), device="cpu")
    assert {"linear": 64} == macs(ledger)
    assert {"linear"} == ledger.by_op().keys() - {"view", "move"}


# --- who calls, and from where ----------------------------------------------------------------------


def test_operators_called_by_themselves() -> None:
    """A graph module of an exported program calls ATen operators; the kinds are those of the functions."""
    layer = nn.Linear(8, 4)
    aten = torch.ops.aten
    ledger = of(Calls(lambda x: aten.layer_norm.default(aten.linear.default(x, layer.weight, layer.bias), [4])), (2, 8),
                device="cpu")  # fmt: skip
    assert {"linear": 64} == macs(ledger)
    assert {"linear", "layer_norm"} == ledger.by_op().keys()
    assert {"aten.linear", "aten.layer_norm"} == {entry.aten for entry in ledger}
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(8, 4), nn.ReLU()))
    assert {"0", "1"} == {entry.site for entry in of(graph, (2, 8))}


def test_a_scripted_part_is_priced_by_its_operators() -> None:
    """Its functions are not Python's; its products are torch's."""
    part = torch.jit.script(nn.Sequential(nn.Linear(8, 16), nn.Conv1d(3, 4, 1)))
    ledger = of(lambda x: part(x), (2, 3, 8), device="cpu")
    assert 2 * 3 * 128 + 2 * 4 * 3 * 16 == ledger.total("macs")
    assert {} == unpriced(ledger)


def test_threads_are_followed() -> None:
    """A model that runs its parts side by side runs all of them; a mode is on in one thread only."""
    a, b, c = nn.Linear(8, 4), nn.Linear(8, 5), nn.Linear(8, 6)
    old = ThreadPoolExecutor(1)
    old.submit(int).result()

    def forward(x: Tensor) -> Any:
        got: list[Tensor] = []
        thread = threading.Thread(target=lambda: got.append(c(x) + torch.ones(6)))
        thread.start()
        with ThreadPoolExecutor(2) as pool:
            parts = [*pool.map(lambda part: part(x), [a, b]), old.submit(torch.mm, x, x.T).result()]
        thread.join()
        return parts, got

    for device in ("meta", "cpu"):
        ledger = of(Calls(forward, a=a, b=b, c=c), (2, 8), device=device)
        assert {"linear": 2 * 8 * 15, "matmul": 32} == macs(ledger)
        assert {"a": 64, "b": 80, "c": 96, "": 32} == {e.site: e["macs"] for e in ledger if e["macs"]}
    assert {} == unpriced(of(lambda x: x, (2,)))
    assert old.submit(lambda: torch.overrides._get_current_function_mode_stack()).result() == []


def test_a_thread_from_before_is_seen_in_the_models_modules() -> None:
    """A worker that waits for work by other means than a pool is followed where it enters a module."""
    import queue

    layer, todo, done = nn.Linear(8, 4), queue.Queue[Any](), queue.Queue[Any]()
    threading.Thread(target=lambda: [done.put(layer(x)) for x in iter(todo.get, None)], daemon=True).start()
    ledger = of(Calls(lambda x: (todo.put(x), done.get())[1], layer=layer), (2, 8), device="cpu")
    todo.put(None)
    assert {"layer": 64} == {e.site: e["macs"] for e in ledger if e["macs"]}


def test_hooks_that_run_modules() -> None:
    """What a hook runs is the model's, at the site of the module that it runs."""
    main, extra = nn.Linear(8, 4), nn.Linear(4, 3)
    main.register_forward_hook(lambda module, args, out: extra(out))
    main.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    ledger = of(Calls(lambda x: main(x), main=main, extra=extra), (2, 8))
    assert {"main": 64, "extra": 24} == {e.site: e["macs"] for e in ledger if e["macs"]}
    assert ["main"] == [e.site for e in ledger if e.op == "mul"]


def test_a_module_that_is_not_registered_works_for_its_caller() -> None:
    """A list of modules hides its members from named_modules(), not from the run."""
    hidden = [nn.Linear(8, 4)]
    ledger = of(nn.Sequential(Calls(lambda x: hidden[0](x))), (2, 8), device="cpu")
    assert {"0": 64} == {e.site: e["macs"] for e in ledger if e["macs"]}


def test_what_ran_before_an_error_that_is_caught_did_run() -> None:
    """A model that tries one path and falls back to another pays for both; nothing is torn afterwards."""

    def forward(x: Tensor) -> Tensor:
        try:
            return F.multi_head_attention_forward(  # fails after its projection
                x, x, x, 8, 2, torch.rand(24, 8), None, None, None, False, 0.0, torch.rand(8, 7), None
            )[0]
        except RuntimeError:
            return torch.relu(x)

    ledger = of(forward, (5, 2, 8))
    assert ("", ["torch.relu"]) == (ledger.entries[-1].site, [ledger.entries[-1].api, *ledger.entries[-1].inside])
    assert ledger.total("macs") >= 10 * 8 * 24


def test_nothing_is_left_behind() -> None:
    """The next model, and the caller's own threads and functions, are as before."""
    before = threading.Thread.start, ThreadPoolExecutor.submit, torch.compile, vars(torch.autograd.Function).copy()
    with pytest.raises(ModelError):
        of(lambda x: Seen.apply(x).missing, (3, 3))
    assert before == (
        threading.Thread.start, ThreadPoolExecutor.submit, torch.compile, vars(torch.autograd.Function).copy()
    )  # fmt: skip
    assert "apply" not in vars(torch.autograd.function._SingleLevelFunction)
