"""The ledger: every operation of one forward pass, where it runs, and what could be charged for it.

This module holds the types and needs no torch; `reference_model.tracing` fills them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

# Every quantity, all for the whole batch unless it says otherwise; `reference_model.quantities` computes them.
MEANING = {
    "calls": "how often it ran",
    "inputs": "elements of the first tensor in",
    "outputs": "elements of the first tensor out",
    "macs": "multiply-accumulates of the contraction, without the bias",
    "bias_adds": "additions of a bias: one per output where there is a bias",
    "addmm_adds": "linear: the bias additions that torch does inside an addmm",
    "weights": "elements of the weight tensor, once per call",
    "biases": "elements of the bias tensor, once per call",
    "sample_weights": "weights times the first dimension of the output",
    "sample_biases": "biases times the first dimension of the output",
    "macs_per_sample": "convolutions: weights times output positions of one sample",
    "macs_at_output": "convolutions: MACs if every output position cost a whole kernel (transposed ones cost less)",
    "channel_macs": "convolutions: MACs if the kernel were one tap: one per output and input channel of its group",
    "taps_at_output": "convolutions: outputs times the weights of one index of the weight tensor's first dimension",
    "windows": "pools: elements of all windows together, one window per output",
    "windows_as_written": "pools: outputs times the kernel size as written, 3 or (3, 3); adaptive: times in // out",
    "rows": "softmax, linear: vectors that it works through",
    "scores": "attention: elements of the query-key matrix, all heads",
    "steps": "recurrent: sequence length times batch",
    "states": "recurrent: hidden elements over all steps, layers and directions",
    "output_weights": "recurrent cells: weights times output elements",
    "output_biases": "recurrent cells: biases times output elements",
}


def meaning(quantity: str) -> str:
    """What a quantity is, "" where nobody says. `last_outputs` are the `outputs` of the last call alone."""
    told = MEANING.get(quantity.removeprefix("last_"), "")
    return (
        f"of the last call alone, where the calls at a site differ: {told}"
        if quantity != quantity.removeprefix("last_")
        else told
    )


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of one kind of operation at one site.

    `quantities` are totals over the calls: `calls` itself, `macs`, `inputs`, `outputs`,
    `weights`, … (`reference_model.quantities` defines each of them). Where the calls differ, the
    quantities of the last one are there too: `last_calls`, `last_inputs`, …
    `module` is the class of the module at the site (bare for `torch.nn`, dotted otherwise), `base`
    the nearest class of `torch.nn` from which one of another package derives, `leaf` whether it has
    no child modules, and `api` the outermost torch function through which the operation was called:
    counters that patch functions or hook modules tell operations apart by those.
    """

    site: str
    op: str
    aten: str
    quantities: dict[str, int]
    module: str = ""
    leaf: bool = False
    api: str = ""
    base: str = ""

    def __getitem__(self, quantity: str) -> int:
        return self.quantities.get(quantity, 0)


class Calls(msgspec.Struct, frozen=True):
    """How often a module ran, and its outputs' first two dimensions, multiplied, summed over the calls."""

    calls: int
    size: int


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The reference for one model and its inputs.

    `device` is `"meta"` when nothing was computed and `"cpu"` when the model had to be run on
    real tensors; `notes` then says why. `modules` are those that were called, containers included.
    """

    model: str
    inputs: list[str]
    params: int
    entries: list[Entry]
    device: str = "meta"
    notes: list[str] = []
    modules: dict[str, Calls] = {}

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

    def unclassified(self) -> dict[str, tuple[int, int]]:
        """ATen ops that have no formula: name → (calls, elements out). Never dropped, only unpriced."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self.entries:
            if entry.op == "unclassified":
                calls, outputs = found.get(entry.aten, (0, 0))
                found[entry.aten] = (calls + entry["calls"], outputs + entry["outputs"])
        return found

    def frame(self) -> pd.DataFrame:
        """One row per entry, one column per quantity (zero where an op has no such quantity)."""
        import pandas as pd

        rows = [{"site": e.site, "op": e.op, "aten": e.aten, "module": e.module, **e.quantities} for e in self.entries]
        frame = pd.DataFrame(rows, columns=None if rows else ["site", "op", "aten", "module"])
        numbers = frame.columns.difference(["site", "op", "aten", "module"])
        return frame.fillna(dict.fromkeys(numbers, 0)).astype(dict.fromkeys(numbers, "int64"))

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)


def trace(model: nn.Module, inputs: tuple[Any, ...], **options: Any) -> Ledger:
    """Trace `model(*inputs)`; see `reference_model.tracing.trace`, which this imports when called."""
    from reference_model.tracing import trace as run

    return run(model, inputs, **options)
