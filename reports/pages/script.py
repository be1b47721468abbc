"""A script that shows the difference of two counters with their libraries alone, for an issue."""

from __future__ import annotations

from flopledger.counters import registry
from flopledger.reference_model import notation
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import DEFAULT_MODEL, split
from flopledger.reports.documents.run import Run, TallyRecord

# Our reference network, which no package but ours has: the same layers in the same order.
MOBILENET_V2 = """
def layer(i, o, k=3, s=1, g=1):
    return [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), nn.ReLU6(inplace=True)]

class Block(nn.Module):
    def __init__(self, i, o, s, t):
        super().__init__()
        self.adds, wide = s == 1 and i == o, layer(i, t * i, 1) if t > 1 else []
        self.conv = nn.Sequential(*wide, *layer(t * i, t * i, 3, s, t * i), *layer(t * i, o, 1)[:2])
    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)

def make():
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    widths = [32] + [c for t, c, n, s in table for _ in range(n)]
    steps = [(s if i == 0 else 1, t) for t, c, n, s in table for i in range(n)]
    blocks = [Block(i, o, *step) for i, o, step in zip(widths, widths[1:], steps)]
    top = [*layer(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(0.2), nn.Linear(1280, 1000)]
    return nn.Sequential(*layer(3, 32, 3, 2), *blocks, *top)
"""


class NoScript(ValueError):
    """There is none; the message says why."""


def alone(run: Run, left: TallyRecord, right: TallyRecord) -> str:
    """The script: it needs torch, the two libraries, and the package that the model is from.

    Raises:
        NoScript: a library needs help of ours, or the model or its inputs cannot be made in a few lines.
    """
    if run.model.mode != "eval":
        raise NoScript("a script is made of a forward in eval mode only")
    if registry.stands_in_for(_adapter(left)) == right.distribution or (
        registry.stands_in_for(_adapter(right)) == left.distribution
    ):
        raise NoScript("the two libraries cannot be installed side by side")
    lines = [_counted(tally) for tally in (left, right)]
    imports, make = _model(run.model.spec)
    needs = dict.fromkeys(f"{t.distribution}=={t.version}" for t in (left, right) if t.distribution != "torch")
    undeclared = dict.fromkeys(each for tally in (left, right) for each in getattr(_adapter(tally), "needs", ()))
    packages = [f"torch=={run.environment.torch}", *imports, *needs, *undeclared]
    head = [f"# pip install {' '.join(packages)}", "import torch", *(f"import {name}" for name in imports)]
    made = ", ".join(map(_tensor, run.model.inputs))
    head += ["from torch import nn", make] if "nn." in make else [make]
    head += ["", f"def inputs_on(device):\n    return tuple(x.to(device) for x in ({made},))"]
    for tally, printing in zip((left, right), lines, strict=True):
        head += ["", f'model, inputs = make().eval().to("{_device(tally)}"), inputs_on("{_device(tally)}")', printing]
    return "\n".join(head)


def _adapter(tally: TallyRecord) -> registry.Counter:
    if tally.counter not in registry.TABLE:
        raise NoScript(f"how to call {tally.counter} is not known here")
    return registry.get(tally.counter)


def _device(tally: TallyRecord) -> str:
    return tally.device or _adapter(tally).device


def _counted(tally: TallyRecord) -> str:
    """The lines that print a counter's total."""
    found = str(getattr(_adapter(tally), "script", ""))
    if tally.shims:
        raise NoScript(f"{tally.name} does not run by itself on today's libraries ({'; '.join(tally.shims)})")
    if tally.release or tally.version != registry.version_of(tally.distribution):
        raise NoScript(f"releases are called in their own ways, and {tally.name} is not the one that is installed")
    if not found:
        raise NoScript(f"how to call {tally.name} is not known here")
    return found


def _model(spec: str) -> tuple[list[str], str]:
    """What to import, and the lines that define `make()`."""
    try:
        source, name, options = split(spec)
    except SpecError:
        source, name, options = spec, "", {}
    given = "".join(f", {key}={value!r}" for key, value in options.items())
    if not source and name == DEFAULT_MODEL and not options:
        return [], MOBILENET_V2.rstrip()
    if source == "torchvision":
        return ["torchvision"], f"\ndef make():\n    return torchvision.models.get_model({name!r}, weights=None{given})"
    if source == "timm":
        return ["timm"], f"\ndef make():\n    return timm.create_model({name!r}, pretrained=False{given})"
    raise NoScript("the model cannot be made in a few lines without flopledger")


def _tensor(text: str) -> str:
    """An input as torch makes one: shapes of floats only."""
    try:
        found = notation.parse(text)
    except SpecError:
        found = None
    if not isinstance(found, notation.Input) or found.dtype != "float32" or found.values is not None or found.among:
        raise NoScript("its inputs are not plain tensors of floats")
    return f"torch.rand({', '.join(map(str, found.shape))})"
