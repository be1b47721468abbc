"""The ledger: every call of every operation of one run, where it happens, and what could be charged for it.

This module holds the types and the vocabulary and needs no torch; `flopledger.reference_model.tracing` fills them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flopledger.reference_model.display import Displayed, Grid

if TYPE_CHECKING:
    import pandas as pd

Phase = Literal["forward", "backward"]
Mode = Literal["eval", "train", "step"]
MODES: dict[Mode, str] = {
    "eval": "a forward in eval mode",
    "train": "a forward in train mode",
    "step": "a forward in train mode and its backward",
}

# The kinds of operation. A package with operators of its own adds its kinds (`name_op`).
OPS = {
    "activation", "add", "attention", "batch_norm", "bilinear", "conv", "conv_transpose", "div", "dropout",
    "elementwise", "embedding", "fft", "fill", "grid_sample", "group_norm", "instance_norm", "layer_norm", "linalg",
    "linear", "loss", "matmul", "move", "mul", "pool", "recurrent", "reduction", "rms_norm", "softmax", "sort", "sub",
    "unpriced", "upsample", "view",
}  # fmt: skip

# Every quantity of a call, for the whole batch unless it says otherwise; `flopledger.reference_model.quantities`
# computes them from the call's facts.
MEANING = {
    "inputs": "elements of the first tensor in",
    "outputs": "elements of the first tensor out",
    "samples": "the first dimension of the output",
    "macs": "multiply-accumulates of real numbers in the contraction, without the bias; a complex one is four of them",
    "masked_macs": "attention: those of `macs` that the kernel's own mask (causal, a window, blocks) makes needless",
    "border_macs": "convolutions: those of `macs` that meet padding (transposed ones: whose product is cut off)",
    "fft_flops": "Fourier transforms: 5·n·⌈log₂ n⌉ operations along each dimension for complex numbers, half for real",
    "linalg_flops": "linear algebra: operations by the textbook's leading order, times four for complex matrices",
    "bias_adds": "additions of a bias: one per output where there is a bias",
    "weights": "elements of the weight tensor, once per call",
    "biases": "elements of the bias tensor, once per call",
    "positions": "convolutions: output positions of one sample and channel",
    "macs_at_output": "convolutions: MACs if every output position cost a whole kernel (transposed ones cost less)",
    "windows": "pools: elements of all windows together, one window per output",
    "rows": "softmax, linear: vectors that it works through",
    "scores": "attention: elements of the query-key matrix, all heads",
    "queries": "attention: query vectors, all samples and heads",
    "weight_gradient_macs": "the backward of a convolution: MACs of the weight's gradient, which are part of `macs`",
    "recomputed_macs": "MACs that are done again in a backward, and are in no `macs`: what a checkpoint runs a second "
    "time, and the scores that a fused attention kernel did not keep",
    "steps": "recurrent: sequence length times batch",
    "states": "recurrent: hidden elements over all steps, layers and directions",
}

# What is so of a call without being computed from its facts.
CIRCUMSTANCES = {
    "calls": "1 for each call",
    "last": "1 for the last call of an operation at its site, 0 for those before it",
    "own_params": "elements of the parameters that the module itself holds, not those of its children",
    "paths": "by how many ways the root leads to the module: 2 for one that has two parents",
    "shared": "1 in a module to which more than one way leads, else 0",
    "batch": "the model's batch: the first dimension of its first input, 1 where that has none",
}


def name_op(op: str) -> None:
    """Add a kind of operation to the vocabulary, for an operator of another package."""
    OPS.add(op)


def name_quantity(name: str, meaning: str) -> None:
    """Add a quantity to the vocabulary, for an operator of another package.

    Raises:
        ValueError: the name has another meaning already.
    """
    if MEANING.setdefault(name, meaning) != meaning or name in CIRCUMSTANCES:
        raise ValueError(f"quantity {name!r} means something else already: {meaning_of(name)}")


def meaning_of(quantity: str) -> str:
    """What a quantity of the ledger is, "" where nobody says."""
    return MEANING.get(quantity) or CIRCUMSTANCES.get(quantity, "")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an operation; `times` is how often the very same call happened at that site.

    `facts` are what the formulas of `flopledger.reference_model.quantities` read: the shapes of tensors by the name
    of their argument (`out` is the output), sizes and flags as they were given. `quantities` are of one
    run, those that are not 0.
    """

    quantities: dict[str, int]
    facts: dict[str, Any] = {}
    times: int = 1


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of one kind of operation at one site, in the order in which each was last made.

    `module` is the class of the module at the site (bare for `torch.nn`, dotted otherwise), `base`
    the nearest class of `torch.nn` from which one of another package derives, `leaf` whether it has
    no child modules, `params` the elements of its own parameters and `frozen` how many of those need no
    gradient. `api` is the outermost torch function
    through which the operation was called and `inside` are those further in: counters that patch
    functions or hook modules tell operations apart by those.
    """

    site: str
    op: str
    aten: str
    calls: list[Call]
    phase: Phase = "forward"
    module: str = ""
    leaf: bool = False
    api: str = ""
    inside: list[str] = []
    base: str = ""
    params: int = 0
    frozen: int = 0

    def __getitem__(self, quantity: str) -> int:
        """A quantity over all calls; `"calls"` is how many there were."""
        if quantity == "calls":
            return sum(call.times for call in self.calls)
        return sum(call.times * call.quantities.get(quantity, 0) for call in self.calls)

    @property
    def quantities(self) -> dict[str, int]:
        """Every quantity over all calls, and `calls`."""
        totals: Counter[str] = Counter(calls=self["calls"])
        for call in self.calls:
            for name, value in call.quantities.items():
                totals[name] += call.times * value
        return dict(totals)


class Seen(msgspec.Struct, frozen=True):
    """What a hook on a module sees of its calls, `times` alike.

    `inputs` are the shapes of the positional arguments (None: no tensor), `output` the shape of the first tensor out.
    """

    inputs: list[list[int] | None]
    output: list[int] | None
    times: int = 1


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module that was called, as hooks on it see it.

    `kind` is its class (as `Entry.module`), `paths` by how many ways the root leads to it: 2 for one with two parents.
    `parameters` are the shapes of its own parameters by name, `frozen` the names of those that need no gradient, or
    were computed and put in their place, `settings` the numbers, flags and words that it was made with, for torch.nn's
    classes and those based on them. `kept` says how many elements a mask leaves of a parameter that is pruned
    (torch.nn.utils.prune), where that is known.
    """

    kind: str
    paths: int = 1
    parameters: dict[str, list[int]] = {}
    frozen: list[str] = []
    settings: dict[str, bool | int | float | str] = {}
    kept: dict[str, int] = {}
    seen: list[Seen] = []
    hollow: bool = False  # it has children, and they are empty containers

    @property
    def calls(self) -> int:
        """How often it ran."""
        return sum(seen.times for seen in self.seen)

    @property
    def size(self) -> int:
        """Its outputs' first two dimensions, multiplied, summed over the calls."""
        return sum(seen.times * prod(seen.output[:2]) for seen in self.seen if seen.output is not None)


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A module of the model, whether or not it was called: what a tree of modules shows of it.

    `kind` is its class (as `Entry.module`), `params` the elements of its own parameters, those that two modules share
    at the first of them; `output` the shape of the first tensor out of its first call (None: no call, or no tensor),
    `shapes` how many different ones its calls gave.
    """

    kind: str
    params: int = 0
    calls: int = 0
    output: list[int] | None = None
    shapes: int = 0


class Unpriced(msgspec.Struct, frozen=True, kw_only=True):
    """A call that may hold arithmetic and has no formula: what it takes is unknown, which is not 0.

    `name` is the operator's, or says what else it is (`autograd.Function mylib.Fused`). `calls` is how often the very
    same call was made; `inputs` and `output` are the shapes of its tensors, `outputs` the elements of the first one out
    over all calls.
    """

    name: str
    site: str
    calls: int
    outputs: int
    inputs: list[list[int]] = []
    output: list[list[int]] = []
    api: str = ""
    module: str = ""
    phase: Phase = "forward"


def unpriced(rows: Iterable[tuple[Entry, Call]]) -> list[Unpriced]:
    """The calls without a formula among a ledger's, in order. Never dropped, only unpriced."""
    return [
        Unpriced(
            name=entry.aten,
            site=entry.site,
            calls=call.times,
            outputs=call.times * call.quantities.get("outputs", 0),
            inputs=[list(shape) for shape in call.facts.get("shapes_in", ())],
            output=[list(shape) for shape in call.facts.get("shapes_out", ())],
            api=entry.api,
            module=entry.module,
            phase=entry.phase,
        )
        for entry, call in rows
        if entry.op == "unpriced"
    ]


def calls_without_formula(found: Iterable[Unpriced]) -> dict[str, int]:
    """The name of each unpriced operation, and how often it was called."""
    calls: dict[str, int] = {}
    for one in found:
        calls[one.name] = calls.get(one.name, 0) + one.calls
    return calls


class Ledger(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """The reference for one model and its inputs.

    `device` is `"meta"` when nothing was computed and `"cpu"` when the model had to be run on
    real tensors; `notes` then says why. `modules` are those that were called, containers included,
    `members` all that the model has, in the order of `named_modules()`.
    `input_shapes` are of the tensors that went in, `nested` of which by name or in lists and dicts.
    `mode` is how the model was run: `eval`, `train` (a forward in train mode), `step` (that and its backward).
    """

    model: str
    inputs: list[str]
    params: int
    entries: list[Entry]
    device: str = "meta"
    mode: Mode = "eval"
    notes: list[str] = []
    modules: dict[str, Module] = {}
    members: dict[str, Member] = {}
    input_shapes: list[list[int]] = []
    nested: int = 0

    @property
    def batch(self) -> int:
        """The first dimension of the first input, 1 where that has none."""
        first = self.input_shapes[0] if self.input_shapes else None
        return max(1, first[0]) if first else 1

    def rows(self) -> list[tuple[Entry, Call]]:
        """Every call with its entry, in order: what a convention charges for, one by one."""
        return [(entry, call) for entry in self.entries for call in entry.calls]

    def total(self, quantity: str) -> int:
        """Sum of one quantity over all entries."""
        return sum(entry[quantity] for entry in self.entries)

    def totals(self) -> dict[str, int]:
        """Every quantity, summed over all entries."""
        totals: Counter[str] = Counter()
        for entry in self.entries:
            totals.update(entry.quantities)
        return dict(sorted(totals.items()))

    def by_op(self) -> dict[str, dict[str, int]]:
        """Quantities summed per op, with `sites` (how many there are), most MACs first."""
        ops: dict[str, Counter[str]] = {}
        sites: dict[str, set[str]] = {}
        for entry in self.entries:
            ops.setdefault(entry.op, Counter()).update(entry.quantities)
            sites.setdefault(entry.op, set()).add(entry.site)
        order = sorted(ops, key=lambda op: (-ops[op]["macs"], -ops[op]["outputs"], op))
        return {op: {"sites": len(sites[op]), **ops[op]} for op in order}

    def unpriced(self) -> list[Unpriced]:
        """The calls that have no formula, in order: where there are any, every total is `at least`."""
        return unpriced(self.rows())

    def _line(self) -> str:
        names = list(dict.fromkeys(found.name for found in self.unpriced()))
        least = "at least " if names else ""
        text = f"{self.model} at {', '.join(self.inputs) or 'no inputs'}: {least}{self.total('macs'):,} MACs, "
        text += f"{self.params:,} parameters, {len({entry.site for entry in self.entries}):,} sites"
        return text + (f"; UNPRICED: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}" if names else "")

    def _grids(self) -> Iterator[Grid]:
        names = "sites", "calls", "macs", "outputs"
        rows = [[op, *(None if op == "unpriced" and name == "macs" else found.get(name, 0) for name in names)]
                for op, found in self.by_op().items()]  # fmt: skip
        sums = ["sum", None, *(self.total(name) for name in names[1:])]
        yield Grid(["op", "sites", "calls", "MACs", "elements out"], rows, [sums])

    def frame(self) -> pd.DataFrame:
        """One row per entry, one column per quantity: 0 where an op has no such quantity, missing where it is unpriced.

        The columns are of int64, or of Int64 where something is unpriced.
        """
        import pandas as pd

        about = ["site", "op", "aten", "module"]
        found = [(entry, entry.quantities) for entry in self.entries]
        names = dict.fromkeys(name for _, quantities in found for name in quantities)
        rows = [
            [*(getattr(entry, field) for field in about),
             *(quantities.get(name, None if entry.op == "unpriced" else 0) for name in names)]
            for entry, quantities in found
        ]  # fmt: skip
        whole = "Int64" if any(entry.op == "unpriced" for entry in self.entries) else "int64"
        frame = pd.DataFrame(rows, columns=[*about, *names], dtype=object)
        return frame.astype({**dict.fromkeys(about, "str"), **dict.fromkeys(names, whole)})

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)
