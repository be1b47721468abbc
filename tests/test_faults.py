"""A mistake in a model: which module, which line of whose file, which operation and which shapes; and a counter's."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor, nn

from flopledger.counters.engine import worker
from flopledger.counters.engine.plan import Rejected
from flopledger.reference_model.faults import words_of
from flopledger.reference_model.ledger import Mode
from flopledger.reference_model.running import ModelError, trace
from flopledger.reports.command import options
from flopledger.reports.compare import compare

MODEL = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, wrong):
        super().__init__()
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.c2 = nn.Conv2d(channels // 2 if wrong else channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.c2(torch.relu(self.c1(x)))


class Net(nn.Module):
    def __init__(self, wrong=5):
        super().__init__()
        self.blocks = nn.ModuleList(Block(4, i == wrong) for i in range(7))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Typo(Net):
    def forward(self, x):
        return self.blokcs[0](x)


def built():
    return nn.Conv2d(3, 8, kernal=3)
"""
WRONG = "Given groups=1, weight of size [4, 2, 3, 3], expected input[1, 4, 8, 8] to have 2 channels, but got 4 channels"
GOT = "conv2d got input 1×4×8×8, weight 4×2×3×3, bias 4"


class Calls(nn.Module):
    """Calls a function within a child, so that the place has a name."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.inner = Inner(function)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


class Inner(nn.Module):
    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def refused(model: nn.Module, *shape: int, mode: Mode = "eval") -> list[str]:
    """What is said of a model that cannot be traced, line by line."""
    with pytest.raises(ModelError) as caught:
        trace(model, (torch.rand(*shape or (1, 4, 8, 8)),), mode=mode)
    lines = caught.value.fault.told("it rejects this", "it fails").split("\n")
    assert len(lines) <= 3
    return lines


def here(function: Callable[..., Any], below: int) -> str:
    """How a line of this file is named, so many below a function's first."""
    file = __file__.removeprefix(f"{Path.cwd()}/")
    return f"{file}:{inspect.getsourcelines(function)[1] + below}, in "


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    return "net.py"


def test_a_wrong_channel_count_is_told_with_module_line_operation_and_shapes(
    net: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has written a hundred layers must not search for the one; four lines are read, a traceback is not."""
    for names in ([], ["torch"]):
        with pytest.raises(typer.Exit) as ended:
            options.compared(f"{net}:Net", ["1x4x8x8"], names, 60.0, 1, True)
        said = capsys.readouterr().err.splitlines()
        assert 2 == ended.value.exit_code
        assert [
            f"flopledger: model 'net.py:Net' rejects input 1x4x8x8 in blocks.5.c2 (Conv2d): {WRONG} instead",
            "  net.py:13, in Block.forward: return x + self.c2(torch.relu(self.c1(x)))",
            f"  {GOT}",
        ] == said
    typo = r"^model 'net.py:Typo' fails with input 1x4x8x8: AttributeError: .*'blokcs'"
    with pytest.raises(Rejected, match=typo) as e:
        compare(f"{net}:Typo", "1x4x8x8", counters=["torch"])
    assert "net.py:29, in Typo.forward: return self.blokcs[0](x)" == str(e.value).split("\n", 1)[1]
    with pytest.raises(Rejected, match=r"could not be built: TypeError: .*'kernal'\nnet.py:33, in built: return nn\."):
        compare(f"{net}:built", "1x4x8x8", counters=["torch"])
    monkeypatch.syspath_prepend(".")
    live = __import__("net").Net()
    with pytest.raises(ValueError, match=r"^the model rejects these inputs in blocks.5.c2 \(Conv2d\): ") as caught:
        compare(live, torch.rand(1, 4, 8, 8), counters=["torch"])
    assert str(caught.value).endswith(f"self.c2(torch.relu(self.c1(x)))\n{GOT}")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x @ torch.rand(5, 5), ["it rejects this in inner (Inner): ", "matmul got 1×4×8×8, other 5×5"]),
        (lambda x: torch.cat([x, x[:, :, :2]], 1), ["it rejects this in inner", "cat got 1×4×8×8, 1×4×2×8"]),
        (
            lambda x: nn.functional.embedding(x, torch.rand(9, 5)),
            ["it rejects this in inner", "embedding got weight 9×5, indices 1×4×8×8"],
        ),
        (lambda x: x.shpe, ["it fails in inner (Inner): AttributeError: 'Tensor' object has no attribute 'shpe'"]),
        (lambda x: undefined, ["it fails in inner (Inner): NameError: name 'undefined' is not defined"]),  # noqa: F821
        (lambda x: 1 / 0, ["it fails in inner (Inner): ZeroDivisionError: division by zero"]),
        (lambda x: {}["left"], ["it fails in inner (Inner): KeyError: 'left'"]),
    ],
    ids=["matmul", "cat", "embedding", "attribute", "name", "division", "key"],
)
def test_an_error_is_told_with_its_line(function: Callable[..., Any], said: list[str]) -> None:
    """Only where torch was asked for something is it about shapes; a slip of the pen rejects no input."""
    first, place, *rest = refused(Calls(function))
    assert first.startswith(said[0]) and said[1:] == rest
    assert place.startswith(here(function, 0)[: -len(", in ")]) and re.search("in <lambda>: .?lambda x: ", place)


class Hooked(nn.Sequential):
    """Its hook asks for what cannot be."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU(), nn.ReLU())
        self[1].register_forward_hook(self.hook)

    def hook(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        return out.reshape(3, 5)


class Backward(torch.autograd.Function):
    """Its backward has never been tried."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return ctx.nothing * grad


def test_hooks_and_backwards_have_their_line() -> None:
    """Code runs in other places than forward, and one has to be told in which."""
    first, place, got = refused(Hooked())
    assert first.startswith("it rejects this in 1 (ReLU): shape '[3, 5]' is invalid")
    assert here(Hooked.hook, 1) + "Hooked.hook: return out.reshape(3, 5)" == place
    assert "reshape got 1×4×8×8" == got
    weighted = nn.Sequential(nn.Conv2d(4, 4, 1), Calls(Backward.apply))
    first, place = refused(weighted, mode="step")
    assert re.match("it fails in its backward: AttributeError: .* has no attribute 'nothing'", first)
    assert here(Backward.backward, 2) + "Backward.backward: return ctx.nothing * grad" == place


def test_without_a_line_of_the_models_own_the_module_and_the_shapes_remain() -> None:
    """Nothing but torch's own modules: torch's files are no place to look for the mistake."""
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(2, 4, 3, padding=1)))
    assert [f"it rejects this in 1.0 (Conv2d): {WRONG} instead", GOT] == refused(model)


def test_scripted_code_has_its_line(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames are none of Python's, and what it says begins with a line that says nothing."""
    monkeypatch.syspath_prepend(".")
    sys.modules.pop("net", None)
    first, place = refused(torch.jit.script(__import__("net").Net()))
    assert first.startswith("it rejects this: ") and "TorchScript interpreter" not in first
    assert place.endswith("net.py:13, in forward: return x + self.c2(torch.relu(self.c1(x)))")


def test_a_name_with_line_breaks_makes_no_more_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose names they are is not ours to say, and neither is what they hold."""
    model = nn.Sequential()
    model.add_module("a\nflopledger: all is well\x1b[31m", Calls(lambda x: x.nothing))
    lines = refused(model)
    assert 2 == len(lines)
    options.note(*lines, "a\nb")
    printed = capsys.readouterr().err
    assert 3 == printed.count("\n") and printed.replace("\n", "").isprintable()


def test_an_error_that_prints_a_tensor_is_told_to_the_end_of_it() -> None:
    """fvcore's usual one was `output 1 (1`, as if that were a reason."""
    error = RuntimeError("output 1 (1\n[ CPULongType{} ]) of traced region\nhas no observable dependence")
    assert "output 1 (1 [ CPULongType{} ]) of traced region" == words_of(error)
    assert "ValueError: (a" == words_of(ValueError("(a"))


def test_a_counters_failure_is_its_own_exception_with_the_place() -> None:
    """The last line that somebody printed is seldom the reason; where in the library it was, is half of it."""
    pytest.importorskip("ptflops")
    from flopledger.counters.libraries.ptflops.count import _complexity

    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("this is why\n\nSet TORCHDYNAMO_VERBOSE=1 for the internal stack trace")

    with pytest.raises(RuntimeError, match="this is why") as caught:
        _complexity(Fails(), (torch.rand(1, 3),), "aten")
    said = worker._reason(caught.value, "ptflops")
    assert re.fullmatch(r"RuntimeError: this is why \(ptflops/aten_engine\.py:\d+\)", said)
