"""Any model, as people have it, is traced as it is: on meta while what is looked at is known, and left as it was."""

from __future__ import annotations

import dataclasses
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flopledger.counters.engine import worker
from flopledger.reference_model.known import moved
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.running import ModelError, trace
from flopledger.reference_model.subject import ON_REAL, Spec, SpecError
from flopledger.reports.command import options
from flopledger.reports.compare import compare


class Calls(nn.Module):
    """A model that is one function of itself and its inputs, with an integer buffer and constants as attributes."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function
        self.register_buffer("positions", torch.arange(6))
        self.sizes = torch.tensor([1, 2, 3])
        self.scales = torch.tensor([0.0, 1.0])

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def rows(ledger: Ledger) -> list[Any]:
    return [(e.site, e.op, e.aten, e.api, e.inside, e.module, e.calls) for e in ledger]


IDS, MASK = torch.tensor([[3, 0, 7, 1, 2], [5, 5, 8, 0, 1]]), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]) > 0

# Each looks at values that are known: of integers given, of buffers, attributes, constants, and what follows from them.
LOOKS: dict[str, Callable[..., Any]] = {
    "item": lambda s, x, ids, mask: x * ids.max().item(),
    "if": lambda s, x, ids, mask: x if mask.all() else x * 2,
    "x[mask]": lambda s, x, ids, mask: x.unsqueeze(1).expand(2, 5, 6)[mask] @ x.t(),
    "ids[mask]": lambda s, x, ids, mask: ids[mask] * 2,
    "masked_select": lambda s, x, ids, mask: x[:, :5].masked_select(mask).reshape(-1, 1) @ x[:1],
    "nonzero": lambda s, x, ids, mask: x[0][mask.nonzero()[:, 1]] * 2,
    "where": lambda s, x, ids, mask: torch.where(mask)[0] + x.sum(),
    "unique": lambda s, x, ids, mask: torch.unique(ids) + x.sum(),
    "tolist": lambda s, x, ids, mask: x.repeat(ids.clamp(1, 2)[0].tolist()),
    "numpy": lambda s, x, ids, mask: x * float(ids.numpy().max()),
    "index": lambda s, x, ids, mask: x[:, : [2, 3, 4, 5][ids[0, 1]]] * 2,
    "split": lambda s, x, ids, mask: torch.tensor_split(x, torch.tensor([1, 3], device="cpu"), 1)[1] * 2,
    "repeat": lambda s, x, ids, mask: x.repeat_interleave(torch.tensor([2, 3]), dim=0) * 2,
    "equal": lambda s, x, ids, mask: x if torch.equal(mask, mask) else x * 2,
    "buffer": lambda s, x, ids, mask: x[:, s.positions[s.positions > 2]] * 2,
    "attribute": lambda s, x, ids, mask: x[:, :3] * s.sizes + s.scales.max().item(),
    "constant": lambda s, x, ids, mask: x.view(torch.tensor([3, 4]).tolist()) * 2,
    "of tensors": lambda s, x, ids, mask: torch.tensor([ids.max(), 1]).max().item() * x,
    "in place": lambda s, x, ids, mask: (s.positions.add_(1), x[:, : s.positions.max() - 3] * 2)[1],
    "filled": lambda s, x, ids, mask: x * torch.empty(3, 3).fill_(-1).triu_(1).sum().item(),
    "view": lambda s, x, ids, mask: (ids[0].fill_(2), x[:, : ids.view(-1)[4]] * 2)[1],
    "float mask": lambda s, x, ids, mask: x * ((1 - mask.float()) * -1e9).min().item(),
    "list": lambda s, x, ids, mask: x[:, ids[0, [-1, 0]]] * 2 if 3 in ids[:, [0]] else x,
    "list written to": lambda s, x, ids, mask: (ids.__setitem__((0, [0, 1]), 2), x * ids[0, :2].max().item())[1],
    "checked": lambda s, x, ids, mask: torch.distributions.Categorical(probs=x.softmax(-1)).entropy() * 2,
    "to the CPU": lambda s, x, ids, mask: x.cpu() * 2,
    "packed": lambda s, x, ids, mask: nn.utils.rnn.pack_padded_sequence(
        x.unsqueeze(2).expand(2, 6, 3), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
    ).data * 2,
}  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
def test_known_values_keep_a_model_on_meta(look: str) -> None:
    """Most language models look at their mask; the ledger must be that of the run on real tensors all the same."""
    model, inputs = Calls(LOOKS[look]), (torch.rand(2, 6), IDS.clone(), MASK.clone())
    meta, real = (trace(model, inputs, device=device) for device in ("meta", "cpu"))
    assert rows(real) == rows(meta)
    assert "meta" == trace(model, inputs).device
    assert torch.equal(torch.arange(6), model.positions) and torch.equal(IDS, inputs[1])


# What is not known must never be answered with what was there before.
UNKNOWN: dict[str, Callable[..., Any]] = {
    "input": lambda s, x, ids, mask: x if x.sum() > 0 else x * 2,
    "written": lambda s, x, ids, mask: (ids.copy_(x[:, :5]), x * ids.max().item())[1],
    "written through a view": lambda s, x, ids, mask: (ids[0].copy_(x[0, :5]), x * ids.max().item())[1],
    "partly written": lambda s, x, ids, mask: (torch.zeros(4).index_put_((ids[0, :2],), x[0, :2]), x)[0].max().item(),
    "random": lambda s, x, ids, mask: x if torch.rand(1) > 0.5 else x * 2,
    "randomly written": lambda s, x, ids, mask: x if torch.zeros(1).uniform_() > 0.5 else x * 2,
}


@pytest.mark.parametrize("look", UNKNOWN)
def test_what_depends_on_data_is_run_on_real_tensors(look: str) -> None:
    """A value that was written over, or that is random, is not known: a wrong path would be a wrong ledger."""
    ledger = trace(Calls(UNKNOWN[look]), (torch.rand(2, 6), IDS.clamp(max=3), MASK.clone()))
    assert "cpu" == ledger.device and "traced on real tensors" in ledger.notes[0]


def test_what_was_read_before_a_write_keeps_its_value() -> None:
    """Values are computed when somebody looks; a write in between must not reach them."""

    def late(model: Any, x: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        before = ids.max() - 6
        ids.zero_()
        return x[:, :before] @ x[:, :before].t() + ids.max()

    inputs = (torch.rand(2, 6), IDS.clone(), MASK)
    assert 2 * 2 * 2 == trace(Calls(late), inputs, device="meta").total("macs")
    assert torch.equal(IDS, inputs[1])


# --- models as people have them -------------------------------------------------------------------


def linear(**options: Any) -> nn.Linear:
    return nn.Linear(4, 3, **options)


class Forward(nn.Module):
    """A layer of 4 to 3, twelve MACs a row, called in some way of its own."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module):
        super().__init__()
        self.layer = linear()
        self.called = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.called(self, *args, **kwargs)


@dataclasses.dataclass
class Result:
    logits: Tensor
    hidden: Tensor | None = None


class Tied(nn.Module):
    """An embedding that is the head as well, and a forward that relies on that."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        assert self.head.weight is self.embedding.weight
        return self.head(self.embedding(ids))


def hooked() -> nn.Module:
    """One whose hook runs a layer that the model does not know."""
    model, other = Forward(lambda s, x: s.layer(x)), nn.Linear(3, 2)
    model.layer.register_forward_hook(lambda module, args, output: other(output))
    return model


def with_keywords() -> nn.Module:
    """One that gets one of its keyword-only inputs from a hook."""
    model = Forward(lambda s, *, x, scale: s.layer(x) * scale)
    model.register_forward_pre_hook(lambda module, args, kwargs: (args, {**kwargs, "scale": 2.0}), with_kwargs=True)
    return model


def remembers(model: Any, x: Tensor) -> Tensor:
    """A forward that leaves much behind."""
    model.seen = getattr(model, "seen", 0) + 1
    model.last = model.layer(x)
    model.history.append(model.last)
    model.count += 1
    return model.last.add_(model.count)


def forgetful() -> nn.Module:
    model = Forward(remembers)
    model.register_buffer("count", torch.zeros(()))
    model.history = []
    return model


def inference(model: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.layer(x)


def packs(model: Any, x: Tensor, lengths: Tensor) -> Tensor:
    return model.rnn(nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True))[0].data


def nests(model: Any, a: Tensor, b: Tensor) -> Tensor:
    return model.layer(torch.nested.as_nested_tensor([a, b], layout=torch.jagged)).values()


def calls_functionally(model: Any, x: Tensor) -> Any:
    return torch.func.functional_call(model.layer, {"weight": model.layer.weight * 2}, (x,))


def groups(model: Any, x: Tensor) -> Tensor:
    return F.grouped_mm(x, torch.ones(2, 4, 8), offs=torch.tensor([1, 2], dtype=torch.int32))


def holds() -> nn.Module:
    """One that has a weight in a list of its own."""
    model = Forward(lambda s, x: x @ s.plain[0])
    model.plain = [torch.rand(4, 3)]
    return model


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))


ROW, ROWS = torch.rand(1, 4), torch.rand(2, 4)
NESTED = torch.nested.nested_tensor([torch.rand(2, 4), torch.rand(3, 4)], layout=torch.jagged)
PACKED = nn.utils.rnn.pack_sequence([torch.rand(3, 4), torch.rand(2, 4)])

# Name: the model, its arguments (a dict where they have names) and its MACs, by hand.
KINDS: dict[str, tuple[Callable[[], Any], Any, int]] = {
    "a dict": (lambda: Forward(lambda s, x: {"out": s.layer(x)}), (ROWS,), 24),
    "a dataclass": (lambda: Forward(lambda s, x: Result(s.layer(x))), (ROWS,), 24),
    "a tuple": (lambda: Forward(lambda s, x: (s.layer(x), None)), (ROWS,), 24),
    "nothing": (lambda: Forward(lambda s, x: (s.layer(x), None)[1]), (ROWS,), 24),
    "a loop": (lambda: Forward(lambda s, x: [s.layer(row) for row in x]), (ROWS,), 24),
    "a given loop": (lambda: Forward(lambda s, x, n: [s.layer(x) for _ in range(n)]), (ROW, torch.tensor(5)), 60),
    "tied weights": (Tied, (torch.tensor([[1, 2]]),), 2 * 20),
    "called twice": (lambda: Forward(lambda s, x: s.layer(x) + s.layer(2 * x)), (ROWS,), 48),
    "keyword-only": (with_keywords, {"x": ROWS}, 24),
    "by training": (lambda: Forward(lambda s, x: s.layer(x) if s.training else s.layer(2 * x[:1])), (ROWS,), 12),
    "half": (lambda: linear().half(), (ROWS.half(),), 24),
    "bfloat16": (lambda: linear().bfloat16(), (ROWS.bfloat16(),), 24),
    "complex": (lambda: linear(dtype=torch.complex64), (ROWS.to(torch.complex64),), 4 * 24),
    "no parameters": (nn.ReLU, (ROWS,), 0),
    "empty": (linear, (torch.rand(0, 4),), 0),
    "a list of images": (lambda: Forward(lambda s, xs: [s.layer(x) for x in xs]), ([ROW, ROWS],), 36),
    "a packed sequence": (lambda: nn.LSTM(4, 3), (PACKED,), 5 * 4 * 3 * 7),
    "packed inside": (lambda: Forward(packs, rnn=nn.GRU(4, 3)), (torch.rand(2, 3, 4), torch.tensor([3, 2])), 15 * 21),
    "a nested tensor": (linear, (NESTED,), 60),
    "nested inside": (lambda: Forward(nests), (torch.rand(3, 4), ROWS), 60),
    "DataParallel": (lambda: nn.DataParallel(nn.Sequential(linear())), (ROWS,), 24),
    "compiled": (lambda: torch.compile(nn.Sequential(linear())), (ROWS,), 24),
    "compiled within": (lambda: nn.Sequential(torch.compile(linear()), nn.ReLU()), (ROWS,), 24),
    "scripted": (lambda: torch.jit.script(nn.Sequential(linear(), nn.ReLU())), (ROWS,), 24),
    "scripted within": (lambda: nn.Sequential(torch.jit.script(linear()), nn.ReLU()), (ROWS,), 24),
    "traced by jit": (lambda: torch.jit.trace(nn.Sequential(linear(), nn.ReLU()), (ROWS,)), (ROWS,), 24),
    "hooks": (hooked, (ROWS,), 24 + 2 * 6),
    "functional_call": (lambda: Forward(calls_functionally), (ROWS,), 24),
    "on meta": (lambda: linear(device="meta"), (ROWS,), 24),
    "lazy": (lazy, (torch.rand(1, 2, 8, 8),), 36 * 54 + 108 * 2),
    "parametrized": (lambda: nn.utils.parametrizations.weight_norm(linear()), (ROWS,), 24),
    "inference mode": (lambda: Forward(inference), (ROWS,), 24),
    "leaves much behind": (forgetful, (ROWS,), 24),
    "tensors in lists": (holds, (ROWS,), 24),
    "groups": (lambda: Forward(groups), (ROWS,), 2 * 32),
}  # fmt: skip
WRAPPED = {"DataParallel": "Sequential", "compiled": "Sequential"}


def made(kind: str) -> tuple[Any, tuple[Any, ...], dict[str, Any], int]:
    make, given, macs = KINDS[kind]
    args, kwargs = ((), given) if isinstance(given, dict) else (given, {})
    return make(), args, kwargs, macs


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_model(kind: str) -> None:
    """People have models of every kind; each is traced on meta as it is on real tensors, with its MACs by hand."""
    if kind == "groups" and not hasattr(F, "grouped_mm"):
        pytest.skip("this torch has none")
    model, args, kwargs, macs = made(kind)
    ledger = trace(model, args, kwargs)
    assert (macs, "meta") == (ledger.total("macs"), ledger.device)
    assert (kind in WRAPPED) == any("wrapper" in note and WRAPPED[kind] in note for note in ledger.notes)
    if kind != "on meta":
        real = trace(model, args, kwargs, device="cpu")
        assert rows(real) == rows(ledger)
        assert (real.params, real.notes) == (ledger.params, ledger.notes)


def test_a_lazy_module_is_counted_as_it_becomes() -> None:
    """Its parameters have no size before the first run; the caller's stay without one all the same."""
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    assert (15, "Linear") == ((ledger := trace(model, (ROWS,))).params, ledger.entries[0].module)
    assert "LazyLinear" == type(model[0]).__name__ and model[0].has_uninitialized_params()
    assert 24 + 24 == trace(model, (ROWS,), mode="step").total("macs")  # and the gradient of its weight


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("kind", ["leaves much behind", "tied weights", "scripted", "hooks", "parametrized"])
def test_a_model_comes_back_as_it_was(kind: str, device: str | None) -> None:
    """It may be in the middle of its training: state, identities, flags, attributes, hooks and random numbers."""
    model, args, kwargs, _ = made(kind)

    def state() -> list[Any]:
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        lists = [[*v] for m in model.modules() for v in vars(m).values() if isinstance(v, list)]
        names = [sorted(vars(m)) for m in model.modules()]
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        flags = [(m.training, type(m)) for m in model.modules()]
        values = {n: (id(t), t.tolist(), t.requires_grad, t.grad) for n, t in tensors.items()}
        return [values, lists, names, hooks, flags]

    before, dice = state(), (torch.get_rng_state().tolist(), random.getstate())
    for mode in ("eval", "train", "step"):
        trace(model, args, kwargs, device=device, mode=mode)
    assert before == state()
    assert dice == (torch.get_rng_state().tolist(), random.getstate())


def test_a_number_of_numpys_is_a_fact_like_another() -> None:
    """VITS fills a tensor with one, and the ledger could not be written."""
    ledger = trace(Calls(lambda s, x, ids, mask: (x.fill_(np.log(2)), x * 2)[1]), (torch.rand(2, 6), IDS, MASK))
    assert {"fill", "mul"} <= {entry.op for entry in ledger}


def test_weights_with_a_device_of_their_own_are_moved_to_meta() -> None:
    """XLNet makes one by torch.FloatTensor: what is tied stays tied, and no counter finds two devices."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert {"meta"} == {parameter.device.type for parameter in moved(model).parameters()}
    assert model[2].weight is model[0].weight


def test_a_model_that_rejects_its_inputs_says_so_in_its_own_words() -> None:
    """They are the best there are, and what torch was asked for; nothing of how it was run belongs there."""
    said = r"^mat1 and mat2 shapes cannot be multiplied \(2x5 and 4x3\)\nlinear got input 2×5, weight 3×4, bias 3$"
    with pytest.raises(ModelError, match=said):
        trace(linear(), (torch.rand(2, 5),))
    with pytest.raises(ModelError, match=r"missing 1 required positional argument: 'input'$"):
        trace(linear(), ())


EXPORTED = """
import torch
from flopledger import trace
x = torch.rand(2, 4)
program = torch.export.export(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()), (x,))
for model in (program, program.module()):
    ledger = trace(model, (x,))
    print(ledger.total("macs"), ledger.device, ledger.params, *ledger.notes)
try:
    trace(program, (x,), mode="train")
except ValueError as error:
    print(error)
"""


def test_an_exported_program() -> None:
    """It has one mode, and no modules. In a process of its own: after an export torch cannot fork and train."""
    done = subprocess.run([sys.executable, "-c", EXPORTED], capture_output=True, text=True, check=True)
    assert [
        "24 meta 15 ExportedProgram is a wrapper: counted is the GraphModule in it",
        "24 meta 15",
        "an exported program runs in the mode in which it was exported",
    ] == done.stdout.splitlines()


def test_counters_get_what_is_in_a_wrapper_with_its_sizes_found() -> None:
    """Libraries know neither wrappers nor lazy modules; the sites must be the ledger's."""
    model = nn.DataParallel(nn.Sequential(nn.LazyLinear(3)))
    report = compare(model, ROWS, counters=["thop", "torch"], keep=False)
    assert [24, 48] == [tally.total for tally in report.run.tallies]
    assert ["0"] == [entry.site for entry in report.run.ledger.entries]
    assert 0 == report.reconcile("thop", "torch").residual
    assert model.module[0].has_uninitialized_params()


def test_counters_of_operations_know_values_on_meta() -> None:
    """A model of which the mask is looked at may be too large for real tensors, and kernels there are other ones."""
    model = Calls(lambda s, x, ids, mask: (x @ x[:, mask[0]].repeat(1, 6), x[:, : s.positions.max().item()] @ x[:5]))
    report = compare(model, (torch.rand(6, 6), IDS, torch.eye(6) > 0), counters=["torch", "ptflops-aten"], keep=False)
    assert ["meta", "meta"] == [tally.device for tally in report.run.tallies]
    assert 0 == report.reconcile("torch", "ptflops-aten").residual


def test_a_command_says_that_a_model_was_traced_on_real_tensors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a detector finds in noise depends on its random weights, and so does the number."""
    run = SimpleNamespace(ledger=SimpleNamespace(notes=[f"{ON_REAL}: on the meta device the model says 'no'", "else"]))
    monkeypatch.setattr("flopledger.reports.compare.compare", lambda *args, **kwargs: SimpleNamespace(run=run))
    options.compared("detector", None, ["torch"], 1.0, 1, False)
    assert "flopledger: traced on real tensors: on the meta device the model says 'no'\n" == capsys.readouterr().err


MAKES = """
import numpy as np
import torch
from torch import nn

class Needs(nn.Module):
    def __init__(self):
        super().__init__()
        rates = torch.linspace(0, 0.1, 3)
        self.rate = float(rates.numpy()[1]) + rates[2].item() + np.asarray(torch.arange(3)).sum()
        self.layer, self.traced = nn.Linear(4, 3), torch.jit.trace(nn.Linear(3, 3), torch.rand(1, 3))

    def forward(self, x):
        return self.traced(self.layer(x)) * self.rate

class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10**7, 10**7)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x
"""


def test_a_constructor_that_needs_values(tmp_path: Path) -> None:
    """Rates of dropped paths, tables of NumPy and traces by jit are made on the way to half of all models."""
    (tmp_path / "makes.py").write_text(MAKES)
    model, args, kwargs = Spec.parse(f"{tmp_path}/makes.py:Needs", ["2x4"]).build("meta")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert (2 * (12 + 9), "meta") == ((ledger := trace(model, args, kwargs)).total("macs"), ledger.device)


def test_what_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    """A ledger that needs real tensors must not take the machine down with it."""
    (tmp_path / "makes.py").write_text(MAKES)
    with pytest.raises(
        SpecError, match=r"on meta tensors.*: not enough memory for real tensors: these need 400,000 GB"
    ):
        worker._traced(Spec.parse(f"{tmp_path}/makes.py:Large", ["1x10000000"]), None)


SEVENTY = """
import sys, torch
from transformers import LlamaConfig, LlamaForCausalLM
from flopledger.reference_model.known import knowing
from flopledger.reference_model.running import ModelError, trace
from flopledger.reference_model.subject import Spec, SpecError
from flopledger.reports.compare import compare
sizes = dict(hidden_size=8192, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8)
with knowing():
    model = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=28672, vocab_size=128256))
ledger = trace(model, (torch.zeros(1, 128, dtype=torch.int64),), mode=sys.argv[1])
print(ledger.device, ledger.total("macs"), len(ledger.unpriced()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "seconds", "gigabytes"), [("eval", 20, 2), ("step", 60, 4)])
def test_seventy_billion_parameters(mode: str, seconds: int, gigabytes: int) -> None:
    """A model that no machine here could hold; CPU seconds, for the machine may be busy."""
    pytest.importorskip("transformers")
    command = [sys.executable, "-c", SEVENTY, mode]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    device, macs, unpriced = done.stdout.split()
    # Projections of queries and outputs, keys and values, the gated unit; the head; and the products of attention.
    layer = 128 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672)
    attention = 2 * 128 * 128 * 8192
    forward = 80 * (layer + attention) + 128 * 8192 * 128256
    backward = 0 if mode == "eval" else 2 * forward
    assert ("meta", "0", forward + backward) == (device, unpriced, int(macs))
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < seconds
    assert after.ru_maxrss * 1024 < gigabytes * 10**9
