"""What ops, sites and ways of running are called for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flopledger.reference_model.ledger import Entry, Mode
from flopledger.reports.pages.numbers import visible
from flopledger.reports.reconcile import UNIT, Line, Residue

if TYPE_CHECKING:
    from flopledger.reports.align import Failure
    from flopledger.reports.documents.run import ConventionLine
    from flopledger.reports.moves import Change, Moved

NOT_AN_OPERATION = frozenset({"view", "fill"})  # they move or make elements; no counter could charge for them


OP_WORDS = {
    "activation": "activation",
    "add": "residual or element-wise add",
    "attention": "attention",
    "batch_norm": "batch norm",
    "bilinear": "bilinear layer",
    "conv": "convolution",
    "conv_transpose": "transposed convolution",
    "div": "element-wise division",
    "dropout": "dropout",
    "elementwise": "other element-wise operation",
    "embedding": "embedding",
    "fft": "Fourier transform",
    "fill": "fill",
    "grid_sample": "grid sampling",
    "group_norm": "group norm",
    "instance_norm": "instance norm",
    "layer_norm": "layer norm",
    "linalg": "linear algebra",
    "linear": "linear layer",
    "loss": "loss",
    "matmul": "matrix product",
    "move": "copy or gather",
    "mul": "element-wise multiplication",
    "pool": "pooling",
    "recurrent": "recurrent layer",
    "reduction": "reduction",
    "rms_norm": "RMS norm",
    "rounding": "rounding in float32",
    "softmax": "softmax",
    "sort": "sorting or search",
    "sub": "element-wise subtraction",
    "unattributed": "not attributed to a site",
    "unpriced": "unpriced operation",
    "unit": UNIT,
    "upsample": "upsampling",
    "view": "view",
}


def op_word(op: str) -> str:
    """The name of an op for people; an op without one keeps its own, underscores as blanks."""
    return OP_WORDS.get(op) or visible(op).replace("_", " ").strip() or "(unnamed)"


def operation(line: Line | ConventionLine | Moved | Change) -> str:
    """The op of a line, with the phase where it is not the forward."""
    return op_word(line.op) + (" (backward)" if line.phase == "backward" else "")


def place(site: str) -> str:
    """A site's name, `(root)` for the model itself."""
    return visible(site) or "(root)"


PASSES: dict[Mode, str] = {
    "eval": "one forward pass",
    "train": "one forward pass in train mode",
    "step": "one training step, forward and backward",
}


NOUNS = {"op": "operation", "total": "total"}  # what is compared, if it is no site


def whereabouts(found: Residue | Failure) -> str:
    """Where formulas fail: a site, perhaps one op of it; an op over the whole model; the total."""
    if found.level == "total":
        return "the total" if found.op is None else op_word(found.op)
    if found.level == "op":
        return f"{op_word(found.op or '')} over the whole model"
    return f"{place(found.site)}{f' ({op_word(found.op)})' if found.op else ''}"


def kind(entry: Entry) -> str:
    """What runs there: the class of a leaf module, else the function that was called."""
    if entry.op == "unpriced":  # its name is all that is known of it
        return visible(entry.aten)
    shown = entry.module if entry.leaf else (entry.api or entry.aten).rpartition(".")[2].strip("_")
    return visible(shown or entry.aten)
