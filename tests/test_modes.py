"""Ways of running a model: what a training step costs, layer by layer, and what torch's own counter makes of it."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from flopledger.counters.convention import Convention
from flopledger.counters.libraries.torch_flop_counter import RULES
from flopledger.reference_model.backward import run_backward
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.mobilenet_v2 import mobilenet_v2
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.running import trace
from flopledger.reference_model.subject import Spec
from flopledger.reports.command.main import app
from flopledger.reports.compare import compare
from flopledger.reports.documents.baseline import read


def spent(ledger: Ledger, phase: str, quantity: str = "macs") -> int:
    return sum(entry[quantity] for entry in ledger if entry.phase == phase)


def run_again(ledger: Ledger) -> int:
    """What checkpoints computed a second time."""
    return sum(c.times * c.quantities.get("recomputed_macs", 0) for _, c in ledger.rows() if c.facts.get("recomputed"))


def between_groups(ledger: Ledger) -> int:
    """What torch counts of weight gradients between groups that never meet (flop_counter.py, conv_backward_flop)."""
    calls = [(c.times * c.quantities.get("weight_gradient_macs", 0), c.facts) for _, c in ledger.rows()]
    return sum(macs * (facts["groups"] - 1) for macs, facts in calls if macs)


def by_torch(model: nn.Module, inputs: tuple[Any, ...], **named: Any) -> int:
    """torch's FlopCounterMode on a step, which shares no code with the ledger."""
    model = copy.deepcopy(model).to("meta").train()
    inputs = tuple(torch.empty_like(x, device="meta").requires_grad_(x.requires_grad) for x in inputs)
    with FlopCounterMode(display=False) as counter:
        run_backward(model(*inputs, **named))
    return int(counter.get_total_flops())


def by_layers(model: nn.Module, inputs: tuple[Any, ...], **named: Any) -> int:
    """MACs of the backward from each layer's sizes: once for its weight and once for its input, if they need it.

    Attention costs twice its forward, if what it attends to needs a gradient.
    """
    model = copy.deepcopy(model).to("meta").train()
    sums = [0]

    def layer(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        x = next(iter([*args, *kwargs.values()]))
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            macs = x.numel() * prod(module.weight.shape[1:])
        elif isinstance(module, nn.modules.conv._ConvNd):
            macs = out.numel() * prod(module.weight.shape[1:])
        elif isinstance(module, nn.MultiheadAttention):
            rows, (batch, length, width) = x.numel() // x.shape[-1], x.shape
            needs = x.requires_grad or module.in_proj_weight.requires_grad
            sums[0] += 3 * rows * width**2 * (x.requires_grad + module.in_proj_weight.requires_grad)
            sums[0] += 2 * 2 * batch * length**2 * width * needs
            sums[0] += rows * width**2 * (needs + module.out_proj.weight.requires_grad)
            return
        elif type(module).__name__.endswith("Attention"):
            batch, length, _ = x.shape
            heads, width = model.config.num_attention_heads, module.head_dim
            inner = [p for name, p in module.named_parameters() if "o_proj" not in name and "c_proj" not in name]
            sums[0] += 2 * 2 * batch * heads * length**2 * width * any(t.requires_grad for t in (x, *inner))
            return
        else:  # Linear, and transformers' Conv1D
            macs = x.numel() * (module.weight.numel() // x.shape[-1])
        sums[0] += macs * (x.requires_grad + module.weight.requires_grad)

    for module in model.modules():
        known = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
        if isinstance(module, known) or type(module).__name__.endswith(("Attention", "Conv1D")):
            module.register_forward_hook(layer, with_kwargs=True)
    model(*inputs, **named)
    return sums[0]


def depthwise() -> nn.Module:
    """Every second layer has as many groups as channels, some have a few; one is transposed."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 24, 5, padding=2, groups=24, bias=False), nn.Conv2d(24, 36, 1), nn.SiLU(),
        nn.Conv2d(36, 72, 3, stride=2, groups=36), nn.Conv2d(72, 24, 3, groups=4), nn.Hardswish(),
        nn.ConvTranspose2d(24, 12, 3, stride=2, groups=6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def torchvision(name: str) -> nn.Module:
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        found: nn.Module = models.get_model(name, weights=None)
    return found


def language_model(name: str, **sizes: int) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(**sizes)
    with torch.device("meta"):
        found: nn.Module = getattr(transformers, f"{name}{'LMHead' if name == 'GPT2' else 'For'}Model"
                                   if name == "GPT2" else f"{name}ForCausalLM")(config)  # fmt: skip
    return found


def gpt2() -> nn.Module:
    return language_model("GPT2", use_cache=False)


def llama() -> nn.Module:
    return language_model(
        "Llama", hidden_size=64, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
        intermediate_size=96, vocab_size=128, use_cache=False,
    )  # fmt: skip


IMAGE = (torch.empty(2, 3, 64, 64, device="meta"),)
TOKENS = (torch.zeros(2, 16, dtype=torch.int64, device="meta"),)
MASK = {"attention_mask": torch.zeros(1, 1, 16, 16, dtype=torch.bool, device="meta")}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], dict[str, Tensor]]] = {
    "mobilenet_v2": (mobilenet_v2, IMAGE, {}),
    "resnet50": (lambda: torchvision("resnet50"), IMAGE, {}),
    "depthwise": (depthwise, IMAGE, {}),
    "vit_b_16": (lambda: torchvision("vit_b_16"), (torch.empty(1, 3, 224, 224, device="meta"),), {}),
    "gpt2": (gpt2, TOKENS, MASK),
    "llama": (llama, TOKENS, MASK),
}


def whole(model: nn.Module) -> None:
    """Everything is trained."""


def first_half(model: nn.Module) -> None:
    """The first half of the parameters is frozen, as when a backbone is kept."""
    parameters = list(model.parameters())
    for p in parameters[: len(parameters) // 2]:
        p.requires_grad_(False)


def head_alone(model: nn.Module) -> None:
    """Only the last weight and bias are trained."""
    for p in list(model.parameters())[:-2]:
        p.requires_grad_(False)


def matrices(model: nn.Module) -> None:
    """Norms and biases are trained and nothing else, so every gradient passes through frozen weights."""
    for p in model.parameters():
        p.requires_grad_(p.dim() < 2)


@pytest.mark.parametrize("frozen", [whole, first_half, head_alone, matrices])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_what_its_layers_say(name: str, frozen: Callable[[nn.Module], None]) -> None:
    """The backward of a network is the sum of its layers' closed forms; torch differs by groups and nothing else."""
    make, inputs, named = NETWORKS[name]
    model = make()
    frozen(model)
    ledger = trace(model, inputs, named, mode="step")
    assert ("meta", "step", []) == (ledger.device, ledger.mode, ledger.notes)
    assert not ledger.unpriced()
    assert by_layers(model, inputs, **named) == spent(ledger, "backward")
    counted = by_torch(model, inputs, **named)
    assert counted == 2 * (ledger.total("macs") + between_groups(ledger))
    assert counted == sum(amount or 0 for _, amount in Convention("torch", RULES).charges(ledger))
    assert (name in ("mobilenet_v2", "depthwise") and frozen in (whole, first_half)) <= (between_groups(ledger) > 0)


@pytest.mark.parametrize(("steps", "layers", "both"), [(7, 1, False), (5, 3, False), (4, 2, True)])
@pytest.mark.parametrize("needs", [False, True])
def test_an_lstm_at_length(steps: int, layers: int, both: bool, needs: bool) -> None:
    """Every matrix at every step: twice, but for what goes back into a first state or an input that need nothing."""
    into, hidden, batch = 12, 20, 3
    model = nn.LSTM(into, hidden, layers, bidirectional=both)
    ledger = trace(model, (torch.rand(steps, batch, into).requires_grad_(needs),), mode="step")
    sides = 1 + both
    expected = 0
    for layer in range(layers):
        w_ih, w_hh = 4 * hidden * (into if layer == 0 else sides * hidden), 4 * hidden * hidden
        expected += sides * steps * batch * w_ih * (1 + (layer > 0 or needs))
        expected += sides * (steps * batch + (steps - 1) * batch) * w_hh
    assert expected == spent(ledger, "backward")
    real = trace(model, (torch.rand(steps, batch, into).requires_grad_(needs),), mode="step", device="cpu")
    assert expected == spent(real, "backward")
    assert by_torch(model, (torch.rand(steps, batch, into).requires_grad_(needs),)) == 2 * ledger.total("macs")


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"proj_size": 3}, {"bias": False}], ids=str)
@pytest.mark.parametrize("frozen", ["", "weight_ih_l0", "l0", "weight"])
def test_an_lstm_of_every_kind(options: dict[str, Any], frozen: str) -> None:
    """torch's counter sees each product of it on meta: two layers, packed and not, projected, frozen in part."""
    torch.manual_seed(0)
    for packed in (False, True):
        model = Packs(nn.LSTM(5, 6, 2, **options), packed)
        for name, p in model.named_parameters():
            p.requires_grad_(not frozen or frozen not in name)
        ledger = trace(model, (torch.rand(4, 3, 5),), mode="step")
        assert by_torch(model, (torch.rand(4, 3, 5),)) == 2 * ledger.total("macs")
        assert (frozen != "weight" or options.get("bias", True)) == bool(spent(ledger, "backward"))


class Packs(nn.Module):
    def __init__(self, layer: nn.Module, packed: bool) -> None:
        super().__init__()
        self.layer, self.packed = layer, packed

    def forward(self, x: Tensor) -> Any:
        if not self.packed:
            return self.layer(x)
        return self.layer(nn.utils.rnn.pack_padded_sequence(x, [4, 3, 1]))[0].data


SEVENTY_BILLION = """
import resource, time
import torch, transformers
from flopledger.reference_model.running import trace

config = transformers.LlamaConfig(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
                                  num_attention_heads=64, num_key_value_heads=8, vocab_size=128256, use_cache=False)
with torch.device("meta"):
    model = transformers.LlamaForCausalLM(config)
tokens = torch.zeros(1, 4096, dtype=torch.int64, device="meta")
ledger = trace(model, (tokens,), mode="step")
print(ledger.params, ledger.total("macs"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time())
"""


@pytest.mark.slow
def test_a_step_of_seventy_billion_parameters() -> None:
    """Sixty seconds of a processor and 4 GB; three times the forward, since all inputs of its layers are trained."""
    pytest.importorskip("transformers")
    done = subprocess.run([sys.executable, "-c", SEVENTY_BILLION], capture_output=True, text=True, timeout=600)
    assert 0 == done.returncode, done.stderr
    params, macs, kilobytes, seconds = done.stdout.split()
    tokens, width, heads, shared, wide, words = 4096, 8192, 64, 8, 28672, 128256
    each = width // heads
    layer = tokens * width * (2 * width + 2 * shared * each + 3 * wide) + 2 * heads * tokens**2 * each
    assert 70_553_706_496 == int(params)
    assert 3 * (80 * layer + tokens * width * words) == int(macs)
    assert int(kilobytes) < 4 * 2**20 and float(seconds) < 60


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_is_seen_as_what_it_is(reentrant: bool) -> None:
    """Without what is computed twice a step costs the same; that is in the backward, and a quantity of its own."""
    model = llama()
    plain = trace(model, TOKENS, MASK, mode="step")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    ledger = trace(model, TOKENS, MASK, mode="step")
    assert plain.total("macs") == ledger.total("macs")
    assert spent(plain, "backward") == spent(ledger, "backward")
    assert 0 == run_again(plain)
    tokens, width, wide, each = 2 * 16, 64, 96, 8  # sizes of `llama`; 8 heads of 8, two of them for keys and values
    projections = tokens * width * (width + 2 * 2 * each + width)
    attention = 2 * 2 * 8 * 16**2 * each
    feed_forward = 3 * tokens * width * wide
    last = tokens * width * wide  # torch stops when it has the last tensor that it wants: the input of this one
    blocks = 3 * (projections + attention + feed_forward - (0 if reentrant else last))
    assert blocks == run_again(ledger)
    scores = 3 * 2 * 8 * 16**2 * each
    assert scores == plain.total("recomputed_macs") == ledger.total("recomputed_macs") - blocks
    assert by_torch(model, TOKENS, **MASK) == 2 * (ledger.total("macs") + blocks)
    again = {e.site for e, c in ledger.rows() if c.facts.get("recomputed") and e.op == "linear"}
    assert again <= {e.site for e in plain if e.op == "linear"} and "model.layers.2.self_attn.q_proj" in again


class Again(nn.Module):
    """A block under a checkpoint."""

    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(partial(self.inner, **kwargs), *args, use_reentrant=self.reentrant)


class Sequences(nn.Module):
    """Two LSTMs, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(8, 8), nn.LSTM(8, 8, 2, bidirectional=True)])
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)[0]
        out: Tensor = self.head(x)
        return out


BLOCKS = {"mobilenet_v2": "features", "resnet50": "layer3", "vit_b_16": "encoder.layers", "lstm": "layers",
          "gpt2": "transformer.h"}  # fmt: skip
MANY = [
    pytest.param(name, frozen, marks=pytest.mark.slow)
    for name in BLOCKS
    for frozen in (whole, first_half, matrices)
    if (name, frozen) != ("lstm", first_half)
]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize(("name", "frozen"), [("lstm", first_half), *MANY])
def test_checkpoints_of_every_network(name: str, frozen: Callable[[nn.Module], None], reentrant: bool) -> None:
    """What a checkpoint runs again is its blocks' forward, and nothing else changes, whatever is frozen."""
    networks = {**NETWORKS, "lstm": (Sequences, (torch.empty(5, 2, 8, device="meta"),), {})}
    make, inputs, named = networks[name]
    if name == "gpt2":  # a step on embedded tokens: they need a gradient
        inputs, named = (), {"inputs_embeds": torch.empty(2, 16, 768, device="meta").requires_grad_(), **named}
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in copy.deepcopy(inputs))
    model = make()
    frozen(model)
    plain = trace(model, inputs, named, mode="step")
    assert name == "lstm" or by_layers(model, inputs, **named) == spent(plain, "backward")
    blocks = model.get_submodule(BLOCKS[name])
    for key, block in list(blocks.named_children()):
        setattr(blocks, key, Again(block, reentrant))
    ledger = trace(model, inputs, named, mode="step")
    for phase in ("forward", "backward"):
        assert spent(plain, phase) == spent(ledger, phase)
    inside = sum(e["macs"] for e in plain if e.phase == "forward" and e.site.startswith(BLOCKS[name]))
    # Not reentrant, torch stops when it has the last tensor that a backward needs.
    assert 0 < run_again(ledger) <= inside and (not reentrant or run_again(ledger) == inside)
    again = {e.site.replace(".inner", "", 1) for e, c in ledger.rows() if c.facts.get("recomputed") and e["inputs"]}
    assert again <= {e.site for e in plain}
    assert by_torch(model, inputs, **named) == 2 * (ledger.total("macs") + run_again(ledger) + between_groups(ledger))


class Checkpointed(nn.Module):
    """A function, and not a module, under a checkpoint: its site is the module that has it."""

    def __init__(self, ends_in_attention: bool = False) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.ends_in_attention = ends_in_attention

    def part(self, x: Tensor) -> Tensor:
        x = self.inner(x) @ x.transpose(-1, -2) @ x
        with torch.no_grad():
            scale = (x @ x.transpose(-1, -2)).mean()
        x = x * scale
        return F.scaled_dot_product_attention(x, x, x) if self.ends_in_attention else x.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.part, x, use_reentrant=False)
        return out


@pytest.mark.parametrize("ends_in_attention", [False, True])
def test_what_runs_again_is_at_its_site(ends_in_attention: bool) -> None:
    """Also what needed no gradient the first time, and half of a fused attention, which torch leaves half way."""
    model = nn.Sequential(nn.Linear(8, 8), Checkpointed(ends_in_attention))
    x = torch.rand(2, 4, 8)
    ledger = trace(model, (x,), mode="step")
    again = [e for e, c in ledger.rows() if c.facts.get("recomputed")]
    assert {"1", "1.inner.0", "1.inner.1"} == {e.site for e in again}
    assert {"backward"} == {e.phase for e in again} and all(not e["macs"] for e in again)
    assert by_torch(model, (x,)) == 2 * (ledger.total("macs") + run_again(ledger))
    square, row = 2 * 4 * 4 * 8, 2 * 4 * 8 * 8  # a 4×8 by 8×4 product, or back; the linear layer
    assert row + 3 * square + ends_in_attention * square == run_again(ledger)


class Remembers(torch.autograd.Function):
    """Computes its forward again in its backward, by itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return (x @ w).relu()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, w = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            y = (x @ w).relu()
        return torch.autograd.grad(y, (x, w), grads[0])


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.rand(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Remembers.apply(x, self.w)  # type: ignore[no-untyped-call]
        return out


def test_a_function_with_a_backward_of_its_own() -> None:
    """Its operations are seen, at the site of its forward; what it computes again is said to be that."""
    ledger = trace(nn.Sequential(nn.Linear(8, 8), Own()), (torch.rand(3, 8),), mode="step")
    at = [e for e in ledger if e.site == "1" and e.phase == "backward"]
    assert (2 * 3 * 8 * 5, 3 * 8 * 5) == (sum(e["macs"] for e in at), sum(e["recomputed_macs"] for e in at))


class Flexible(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return flex_attention(self.inner(x), y, y)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_flex_attention_goes_back_too(device: str) -> None:
    """torch would trace it for its backward, which ends the process under a mode; what needs no gradient has none."""
    inputs = (torch.rand(1, 2, 128, 16), torch.rand(1, 2, 128, 16))
    ledger = trace(Flexible(), inputs, mode="step", device=device)
    square, row = 2 * 128 * 128 * 16, 2 * 128 * 16 * 16
    assert (2 * square + row, 2 * square + row) == (spent(ledger, "forward"), spent(ledger, "backward"))
    assert square == ledger.total("recomputed_macs") and not ledger.unpriced()
    trained = trace(Flexible(), inputs, mode="train", device=device)
    assert spent(ledger, "forward") == trained.total("macs")


# --- where a backward starts ----------------------------------------------------------------------


@dataclasses.dataclass
class Answer:
    first: Tensor
    rest: dict[str, list[Tensor]]
    loss: Tensor | None = None


class Answers(nn.Module):
    """Two branches; the loss is of one of them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.a, self.b, self.kind = nn.Linear(4, 3), nn.Linear(4, 5), kind

    def forward(self, x: Tensor) -> Any:
        a, b = self.a(x), self.b(x)
        if self.kind == "tuple":
            return a, (b, "text", None, torch.tensor([1]))
        if self.kind == "dict with a loss":
            return {"loss": a.mean(), "b": b}
        return Answer(a, {"b": [b]}, a.mean() if self.kind == "loss" else None)


@pytest.mark.parametrize(
    ("kind", "branches"), [("tuple", "ab"), ("dataclass", "ab"), ("loss", "a"), ("dict with a loss", "a")]
)
def test_the_loss_is_the_model_s_own_or_the_sum(kind: str, branches: str) -> None:
    """What the loss does not depend on has no gradient; a sum is not the model's and is in no ledger."""
    ledger = trace(Answers(kind), (torch.rand(2, 4),), mode="step")
    assert set(branches) == {e.site for e in ledger if e.phase == "backward" and e["macs"]}
    assert spent(ledger, "backward") == sum(2 * 4 * {"a": 3, "b": 5}[b] for b in branches)
    assert ("loss" in kind) == any(e.op == "reduction" and not e.site for e in ledger)


def test_nothing_to_train_is_said() -> None:
    """A step of a frozen model is a forward, and the ledger says why."""
    ledger = trace(nn.Linear(4, 3).requires_grad_(False), (torch.rand(2, 4),), mode="step")
    assert {"forward"} == {entry.phase for entry in ledger}
    assert ["nothing that the model returns needs a gradient: there is no backward"] == ledger.notes


class Looks(nn.Module):
    """Must see its data, so it cannot run on meta."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 4, 3, groups=4)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        q = out.flatten(2)
        out = F.scaled_dot_product_attention(q, q, q)
        return out * 2 if float(out.detach().sum()) > 1e9 else out * 3


def test_a_step_on_real_tensors_is_the_same_and_leaves_no_trace() -> None:
    """Attention on a CPU is another kernel; parameters get no gradients and batch norms keep what they know."""
    model, x = Looks(), torch.rand(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    ledger = trace(model, (x,), mode="step")
    assert "cpu" == ledger.device
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (
        all(p.grad is None for p in model.parameters()) and model.training and all(m.training for m in model.modules())
    )
    model.forward = lambda x: model.layers(x)  # type: ignore[method-assign]
    meta = trace(model, (x,), mode="step")
    assert "meta" == meta.device

    def layers(ledger: Ledger) -> list[Any]:
        return [(e.phase, e.site, e.op, e.aten, e.quantities) for e in ledger if "layers" in e.site and e.op != "view"]

    assert layers(meta) == layers(ledger)
    scores = 2 * 4 * 4 * 16
    assert (2 * 2 * scores, scores) == (sum(e["macs"] for e in ledger if (e.phase, e.op) == ("backward", "attention")),
                                        ledger.total("recomputed_macs"))  # fmt: skip


# --- modes ----------------------------------------------------------------------------------------


class Switches(nn.Module):
    """Another forward when it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.extra = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        return (x, self.extra(x)) if self.training else x


def test_a_forward_in_train_mode_is_that_of_training() -> None:
    """Branches, batch statistics and dropout are those of training, and each module's flag comes back."""
    model = Switches()
    model.body.eval()
    evaluated, trained = (trace(model, (torch.rand(2, 4),), mode=mode) for mode in ("eval", "train"))
    assert ("eval", 32, "train", 80) == (
        evaluated.mode, evaluated.total("macs"), trained.mode, trained.total("macs")
    )  # fmt: skip
    assert [False, True] == [
        c.facts["training"] for found in (evaluated, trained) for e, c in found.rows() if e.op == "batch_norm"
    ]
    assert model.training and not model.body.training and not model.body[1].training


def test_counters_in_each_mode() -> None:
    """Who counts a forward only says so of a step, and who forces eval mode of a forward in train mode."""

    def of(mode: Any) -> Any:
        return compare(Switches(), torch.rand(2, 4), mode=mode, counters=["torch", "thop", "torchinfo"]).run

    step, train, unsaid = of("step"), of("train"), of(None)
    said = {run.model.mode: {t.name: t.status for t in run.tallies} for run in (step, train, unsaid)}
    assert said == {
        "step": {"torch": "counted", "thop": "unsupported", "torchinfo": "unsupported"},
        "train": {"torch": "counted", "thop": "unsupported", "torchinfo": "counted"},
        "eval": dict.fromkeys(("torch", "thop", "torchinfo"), "counted"),
    }
    assert "it counts a forward only; a step is a forward and its backward" == step.tally("thop").reason
    assert "it puts a model in eval mode" in train.tally("thop").reason
    assert ['counted in eval mode; it was given in train mode, which mode="train" would count'] == unsaid.ledger.notes
    assert [] == step.ledger.notes and all(not t.unexplained for run in (step, train, unsaid) for t in run.counted())
    with pytest.raises(ValueError, match="no mode 'training'; there is eval, train, step"):
        of("training")


# --- the next token -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "scores"),
    [
        ("GPT2LMHeadModel?n_layer=2&past=30", 2 * 12 * 31),
        ("LlamaForCausalLM?num_hidden_layers=2&num_attention_heads=8&num_key_value_heads=2&past=30", 2 * 8 * 31),
        ("MistralForCausalLM?num_hidden_layers=1&sliding_window=16&past=30", 32 * 16),
    ],
    ids=["heads", "shared heads", "a window"],
)
def test_the_next_token(spec: str, scores: int) -> None:
    """One query for each head meets every key in the cache and its own; all else is as for one token alone."""
    pytest.importorskip("transformers")
    cached, alone = (f"transformers:{text}" for text in (spec, spec.replace("&past=30", "")))
    ledger = trace(*Spec.parse(cached).build("meta"), name=cached)
    assert ("meta", scores) == (ledger.device, ledger.total("scores")) and not ledger.unpriced()
    single = trace(*Spec.parse(alone, ["input_ids=1x1:int64"]).build("meta"), name=alone)
    assert single.by_op()["linear"]["macs"] == ledger.by_op()["linear"]["macs"]
    attention = ledger.by_op()["attention"]["macs"] * single.total("scores")
    assert attention == single.by_op()["attention"]["macs"] * scores
    both = trace(*Spec.parse(cached, ["input_ids=3x1:int64"]).build("meta"))
    assert 3 * ledger.total("macs") == both.total("macs")
    assert ledger.total("macs") == trace(*Spec.parse(cached).build("cpu"), device="cpu").total("macs")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("transformers:gpt2?past=0", "no number of tokens"),
        ("transformers:bert?past=4", "keeps no keys and values"),
        ("transformers:t5?past=4", "keeps no keys and values"),
    ],
)
def test_a_cache_that_is_none(model: str, says: str) -> None:
    """A model whose forward takes no cache would run as if there were nothing before."""
    pytest.importorskip("transformers")
    with pytest.raises(SpecError, match=says):
        Spec.parse(model, ["input_ids=1x1:int64"]).build("meta")


# --- on the command line --------------------------------------------------------------------------


def test_the_commands_take_a_mode_and_documents_keep_it(tmp_path: Path) -> None:
    """A baseline is counted again as it was counted; a mode that is none is refused in one line."""

    def said(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert status == done.exit_code, done.output
        return done.output

    baseline = str(tmp_path / "baseline.json")
    tiny = ("mobilenet_v2?width_mult=0.35", "-i", "2x3x32x32")
    said("snapshot", *tiny, "--mode", "step", "-c", "torch", "-o", baseline)
    (found,) = read(Path(baseline)).models.values()
    assert "step" == found.model.mode
    ledger = json.loads(said("ledger", *tiny, "--mode", "step", "--format", "json"))
    assert {"forward", "backward"} == {entry["phase"] for entry in ledger["entries"]}
    assert "step" == ledger["model"]["mode"]
    said("drift", baseline, "-q")
    assert "a forward only" in said("count", *tiny, "--mode", "step", "-c", "fvcore", "-c", "torch", status=1)
    assert "eval" in said("count", *tiny, "--mode", "training", status=2)
    assert "transformers:gpt2" in said("count", *tiny, "--past", "3", status=2)
