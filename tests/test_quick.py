"""What makes counting quick must not change what is counted: meta kernels, weights, packages imported before."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from flopledger.counters.engine import kernels, plan, supervisor, worker
from flopledger.reference_model import subject
from flopledger.reference_model.subject import Spec, SpecError
from flopledger.reference_model.weights import repeated, runs_on_meta

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64]
NORM = torch.ops.aten.native_batch_norm
NO_TRAINING = torch.ops.aten._native_batch_norm_legit_no_training
LAYER = torch.ops.aten.native_layer_norm


@st.composite
def laid_out(draw: st.DrawFn) -> Tensor:
    """A tensor on meta: of any rank, also empty ones; by rows, channels last, transposed, expanded or a slice."""
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    x = torch.empty(shape, dtype=draw(st.sampled_from(DTYPES)), device="meta")
    match draw(st.integers(0, 4)):
        case 1 if x.dim() == 4:
            return x.to(memory_format=torch.channels_last)
        case 2:
            return x.transpose(0, -1).contiguous().transpose(0, -1)
        case 3:
            return x[:1].expand(shape) if shape[0] else x
        case 4:
            return torch.empty([*shape[:-1], 2 * shape[-1]], dtype=x.dtype, device="meta")[..., ::2]
    return x


def told(op: Any, *given: Any) -> Any:
    try:
        found = op(*given)
    except (RuntimeError, IndexError, TypeError, ZeroDivisionError, NotImplementedError, AssertionError):
        return "refused"
    found = [found] if isinstance(found, Tensor) else found
    return [(t.shape, t.stride(), t.dtype, t.device, t.storage_offset()) for t in found]


def vector(draw: st.DrawFn, like: Tensor, size: int) -> Tensor:
    """One number per channel; sometimes of another dtype, or one too many."""
    dtype = draw(st.sampled_from([like.dtype] * 6 + DTYPES))
    return torch.empty(size + (not draw(st.integers(0, 9))), dtype=dtype, device="meta")


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_batch_norm_on_meta_gives_what_torchs_own_kernel_gives(data: st.DataObject) -> None:
    """A shape, stride or dtype that differs from torch's would be another forward than the model's."""
    x = data.draw(laid_out())
    size = x.shape[1] if x.dim() > 1 else x.shape[0]
    weight, bias = (vector(data.draw, x, size) if data.draw(st.booleans()) else None for _ in "wb")
    mean, var = (vector(data.draw, x, size) for _ in "mv")
    quick = kernels.batch_norm([x, weight, bias, mean, var, False, 0.1, 1e-5])
    if quick is not None:
        assert told(lambda: quick) == told(NORM, x, weight, bias, mean, var, False, 0.1, 1e-5)
        assert told(lambda: quick) == told(NO_TRAINING, x, weight, bias, mean, var, 0.1, 1e-5)
    assert kernels.batch_norm([x, weight, bias, mean, var, True, 0.1, 1e-5]) is None  # it writes to mean and var


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_layer_norm_on_meta_gives_what_torchs_own_kernel_gives(data: st.DataObject) -> None:
    """The same of layer norm, whose own kernel makes what it gets contiguous first."""
    x = data.draw(laid_out())
    shape = [*x.shape[-data.draw(st.integers(1, x.dim())) :]]
    if not data.draw(st.integers(0, 9)):
        shape[0] += 1
    params = [
        torch.empty(shape, dtype=data.draw(st.sampled_from([x.dtype] * 6 + DTYPES)), device="meta")
        if data.draw(st.booleans())
        else None
        for _ in "wb"
    ]
    quick = kernels.layer_norm([x, shape, *params, 1e-5])
    if quick is not None:
        assert told(lambda: quick) == told(LAYER, x, shape, *params, 1e-5)


NUMBERS = st.one_of(st.integers(-2, 3), st.floats(-2, 3), st.booleans(), st.just(1j))


@given(st.data(), st.sampled_from(kernels._ELEMENTWISE))
@settings(max_examples=3_000, deadline=None)
def test_elementwise_operations_on_meta_give_what_torchs_own_give(data: st.DataObject, name: str) -> None:
    """The same of operations on numbers in the same place: with numbers, scalars, and tensors that are broadcast."""
    packet, _, overload = name.partition(".")
    op = getattr(getattr(torch.ops.aten, packet), overload or "default")
    given: list[Any] = [data.draw(laid_out())]
    for argument in op._schema.arguments[1:]:
        if argument.kwarg_only:
            break
        if str(argument.type) != "Tensor":
            given.append(data.draw(st.one_of(NUMBERS, st.none()) if "Optional" in str(argument.type) else NUMBERS))
            continue
        shape = [*given[0].shape]
        for at in range(len(shape)):
            if not data.draw(st.integers(0, 5)):
                shape[at] = data.draw(st.integers(1, 3))
        shape = shape[data.draw(st.sampled_from([0, 0, 0, *range(len(shape) + 1)])) :]
        dtype = data.draw(st.sampled_from([given[0].dtype] * 6 + DTYPES))
        other = torch.empty(shape, dtype=dtype, device=data.draw(st.sampled_from(["meta"] * 9 + ["cpu"])))
        if data.draw(st.booleans()) and len(shape) > 1:
            other = other.transpose(0, -1)
        same = torch.empty_strided(given[0].shape, given[0].stride(), dtype=dtype, device="meta")
        given.append(data.draw(st.sampled_from([other, other, same])))
        if data.draw(st.booleans()):
            given.reverse()
    quick = kernels.elementwise(given)
    if quick is not None:
        assert told(lambda: quick) == told(op, *given)


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_linear_layers_on_meta_give_what_torchs_own_kernel_gives(data: st.DataObject) -> None:
    """The same of a product with a bias, whichever way its matrices lie."""
    m, k, n = (data.draw(st.integers(0, 4)) for _ in "mkn")
    dtypes = st.sampled_from([torch.float32] * 6 + DTYPES)

    def matrix(rows: int, columns: int) -> Tensor:
        form = [columns, rows] if (flipped := data.draw(st.booleans())) else [rows, columns]
        made = torch.empty(form, dtype=data.draw(dtypes), device="meta")
        return made.t() if flipped else made

    bias = data.draw(st.sampled_from([torch.empty(n, device="meta"), torch.empty(1, device="meta"), matrix(m, n)]))
    given = bias, matrix(m, k), matrix(k + (not data.draw(st.integers(0, 9))), n)
    quick = kernels.addmm(given)
    if quick is not None:
        assert told(lambda: quick) == told(torch.ops.aten.addmm, *given)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_roll_on_meta_gives_what_torchs_own_kernel_gives(data: st.DataObject) -> None:
    """The same of windows that are shifted."""
    numbers = st.lists(st.integers(-6, 6), max_size=3)
    given = data.draw(laid_out()), data.draw(numbers), data.draw(numbers)
    quick = kernels.roll(given)
    if quick is not None:
        assert told(lambda: quick) == told(torch.ops.aten.roll, *given)


def test_what_is_done_in_place_on_meta_is_still_what_it_was() -> None:
    """Flows and aliases are followed by storage; a new tensor would be one that nobody made."""
    code = (
        "import torch; from flopledger.counters.engine import kernels; kernels.load(); kernels.quicken()\n"
        "x = torch.empty(2, 3, device='meta')\n"
        "with torch.inference_mode(): print(torch.ops.aten.hardtanh_.default(x, 0.0, 6.0) is x)\n"
        "print(torch.nn.functional.relu6(x, inplace=True) is x, kernels.in_place([x, 0.0, 6.0]) is x)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3


def test_usual_operations_are_quick() -> None:
    """The tests above would hold of kernels that never answer."""
    x, c = torch.empty(2, 3, 4, 4, device="meta"), torch.empty(3, device="meta")
    two, three = torch.empty(2, 3, device="meta"), torch.empty(2, 3, 4, device="meta")
    for each in (x, x.to(memory_format=torch.channels_last), two, three, x.half()):
        own = c.to(each.dtype)
        assert kernels.batch_norm([each, own, own, own, own, False, 0.1, 1e-5])
    assert kernels.layer_norm([x, [4], None, None, 1e-5])
    assert kernels.layer_norm([x, [4, 4], x[0, 0], x[0, 0], 1e-5])
    assert kernels.layer_norm([x.permute(0, 2, 3, 1), [3], c, c, 1e-5])
    flipped = x.permute(0, 2, 3, 1)
    for usual in ([x, x], [x, c[:, None, None]], [c, flipped.contiguous()], [flipped, flipped], [x, torch.tensor(0.5)]):
        assert kernels.elementwise(usual) is not None
    assert kernels.elementwise([x, None, 6]) is not None
    assert kernels.addmm([c, two, torch.empty(3, 3, device="meta").t()]) is not None
    assert kernels.roll([x, [1, -1], [2, 3]]) is not None


def test_a_job_keeps_the_memory_of_large_tensors() -> None:
    """A fifth of a detector's forward went into getting the same pages from the system again and again."""
    code = (
        "import resource, torch; from flopledger.counters.engine import worker; worker._hold_memory()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "torch.ones(1 << 24); before = faults()\n"
        "for _ in range(4): torch.ones(1 << 24)\n"
        "print(faults() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # of 65,536 pages


def test_a_large_weight_has_few_numbers_and_a_small_one_its_own() -> None:
    """A model whose weights nobody looks at must still have some in each place, as random as its constructor says."""
    with repeated():
        torch.manual_seed(0)
        large, small = torch.empty(300, 1001).normal_(5.0, 0.1), torch.empty(100).uniform_(2.0, 3.0)
        flipped = torch.empty(300, 1001).t().normal_()
    assert 15_000 < len(large.unique()) <= 1 << 14
    assert 4.99 < large.mean() < 5.01
    assert 0.09 < large[-1].std() < 0.11
    assert len(small.unique()) > 95
    assert len(flipped.unique()) > 100_000
    torch.manual_seed(0)
    assert len(torch.empty(300, 1001).normal_().unique()) > 100_000


class Looks(nn.Module):
    """Does more where its weight says so."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight if self.weight.sum() > 0 else x


def test_weights_that_a_forward_looks_at_are_not_free() -> None:
    """Its path, and with it every count, would depend on numbers that are not the model's."""
    x = torch.empty(2, 3, device="meta")
    assert not runs_on_meta(Looks().to("meta"), (x,), {})
    assert runs_on_meta(nn.Linear(3, 4).to("meta"), (x,), {})


@pytest.mark.parametrize(("model", "free"), [("torchvision:vgg11", True), ("torchvision:ssd300_vgg16", False)])
def test_the_weights_of_a_large_model_are_its_own_where_its_work_depends_on_them(model: str, free: bool) -> None:
    """A detector does as much as it finds, so its weights have to be those that its constructor draws."""
    pytest.importorskip("torchvision")
    module, *_ = Spec.parse(model).build("cpu")
    largest = max(module.parameters(), key=lambda each: each.numel()).detach().flatten()[: 1 << 17]
    assert free == (len(largest.unique()) < 1 << 15)


def test_what_needs_values_is_exactly_what_does_not_run_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors are not tried on meta, which takes a second. Any other on real tensors would take far longer."""
    pytest.importorskip("torchvision")
    names = ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcn_resnet50", "raft_small", "mvit_v1_b"]
    said = {name: subject.needs_values(f"torchvision:{name}") for name in names}
    monkeypatch.setattr(subject, "needs_values", lambda model: False)
    assert said == {name: not subject.values_are_free(Spec.parse(f"torchvision:{name}")) for name in names}


@pytest.mark.parametrize(
    ("models", "counters", "on_meta"),
    [
        (["torchvision:fcos_resnet50_fpn"], False, False),
        (["torchvision:fcos_resnet50_fpn"], True, True),
        (["torchvision:fcos_resnet50_fpn", "torchvision:resnet18"], False, True),
        (["mobilenet_v2"], False, True),
        (["torch.nn:Identity"], False, True),
    ],
)
def test_what_meta_takes_is_imported_where_something_runs_there(
    models: list[str], counters: bool, on_meta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second of a detector's ledger would go into kernels for a device that it is not on."""
    said: list[bool] = []
    monkeypatch.setattr(supervisor, "warm", lambda packages, on_meta: said.append(on_meta))
    plan.warm([Spec(model, None) for model in models], counters)
    assert said == [on_meta]


def test_a_detector_is_traced_on_real_tensors_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its note says why; a wrong input is rejected in the words of one, and one too large before it is made."""
    pytest.importorskip("torchvision")
    monkeypatch.setattr(worker, "_on_meta", None)
    ssd = Spec.parse("torchvision:ssdlite320_mobilenet_v3_large")
    ledger = worker._traced(ssd, None)
    assert ledger.device == "cpu" and ledger.inputs == ["[3x320x320]"]
    assert any(note == f"{subject.ON_REAL}: what a detector has to do is what it finds" for note in ledger.notes)
    with pytest.raises(SpecError, match="rejects"):
        worker._traced(Spec.parse(ssd.model, ["3x320x320"]), None)
    with pytest.raises(SpecError, match="not enough memory for real tensors"):
        worker._traced(Spec.parse(ssd.model, ["[3x300000x300000]"]), None)


def test_a_model_that_does_not_fit_is_not_built_for_several_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process builds it for all of them, before any of them could say that there is not enough memory."""

    def refuse(spec: Spec) -> None:
        raise worker.NotNow("not enough memory")

    monkeypatch.setattr(worker, "_check_memory", refuse)
    worker._have_at_hand([Spec.parse()], "cpu")
    assert not subject.is_at_hand("mobilenet_v2", "cpu")


def test_a_model_beside_a_package_of_the_same_name_has_its_own(tmp_path: Any, alone: Any) -> None:
    """Packages of zoos are imported before jobs are forked; a model of somebody's own has what lies beside it."""
    (tmp_path / "torchvision.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    (tmp_path / "own.py").write_text(
        "import torchvision\nfrom torch import nn\ndef make(): return nn.Sequential(torchvision.Layer(3, 5))\n"
    )
    assert (
        alone(
            "from flopledger.counters.engine.plan import count_all\n"
            "from flopledger.reference_model.subject import Spec\n"
            "alexnet, vgg11 = Spec.parse('torchvision:alexnet'), Spec.parse('torchvision:vgg11')\n"
            "specs = [alexnet, Spec.parse('own.py:make', ['2x3']), vgg11]\n"
            "print([count_all([], spec, keep=False)[0].totals()['macs'] for spec in specs])\n",
            tmp_path,
        )
        == "[714188480, 30, 7609090048]\n"
    )


@pytest.fixture
def alone() -> Any:
    """Runs a script in a process of its own, in a folder, and gives what it prints."""
    import subprocess
    import sys

    def run(script: str, folder: Any) -> str:
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout

    return run


POSTPONED = """
import sys
import torch
from flopledger.counters.engine import kernels, postponed
postponed.postpone()
kernels.load()

class Mode(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **kwargs or {})

@torch.compiler.disable
def twice(x):
    return x + x

@torch.compiler.disable(recursive=False)
def thrice(x):
    return x + x + x

with Mode():
    assert twice(torch.relu(torch.ones(3, device="meta"))).shape == (3,)
assert thrice(torch.ones(1)) == 3
__import__("inspect").getmodule(twice)
assert "torch._dynamo.eval_frame" not in sys.modules, "torch itself needs it"
standing_in = sys.modules["torch._dynamo"]
import torchvision
assert "torch._dynamo.eval_frame" not in sys.modules, "torchvision needs it"

seen = []
def backend(graph, inputs):
    seen.extend(node.name for node in graph.graph.nodes if node.op.startswith("call_"))
    return graph.forward

@torch.compile(backend=backend)
def model(x):
    return twice(torch.cos(x)) + torch.sin(x)

x = torch.ones(2)
assert torch.equal(model(x), torch.cos(x) * 2 + torch.sin(x))
assert "cos" in seen and "sin" in seen and "twice" not in str(seen), seen
assert seen.count("add") <= 1, seen  # that of twice is not compiled
import torch._dynamo.config, torch._dynamo.utils
assert sys.modules["torch._dynamo"] is not standing_in and standing_in.config is torch._dynamo.config
asks = torchvision.ops.roi_align.__globals__["is_compile_supported"]
assert asks("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
with Mode():
    torch.relu(torch.ones(3, device="meta"))
"""


def test_torch_dynamo_is_imported_when_somebody_compiles_and_not_before() -> None:
    """It takes longer than most models; and who compiles must meet it as if it had been there from the start."""
    pytest.importorskip("torchvision")
    ran = subprocess.run([sys.executable, "-c", POSTPONED], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr


JOBS = """
import sys
from flopledger.counters.engine import preload, worker
from flopledger.counters.engine.job import LEDGER, Job
from flopledger.reference_model.subject import Spec
for counter in (LEDGER, "torch", "thop", "torchsummaryX", "torchinfo", "ptflops-aten"):
    for model in ("mobilenet_v2", "torchvision:swin_t"):
        assert worker._attempt(Job(counter=counter, spec=Spec.parse(model)), None).status == "counted", counter
        assert "torch._dynamo.eval_frame" not in sys.modules, counter
"""


def test_no_job_on_an_ordinary_model_imports_torch_dynamo() -> None:
    """One that did would take a second longer than its neighbours, and each of its kind again."""
    pytest.importorskip("torchvision")
    ran = subprocess.run([sys.executable, "-c", JOBS], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
