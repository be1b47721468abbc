"""What torchinfo charged before its newest release, and how the results of those releases are laid on modules.

Up to 0.1.1 the total is a sum over every module with a hook. Hooks go four modules deep, with the depth that
`summary` has by default, and a module that contains others charges for all the weights in it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from counters.convention import Rule, Step, both, has, in_class_named_conv, in_leaf, in_modules, rule
from counters.tally import Part, exact
from reference_model.ledger import Entry, Ledger

if TYPE_CHECKING:
    from torch import nn

DEEPEST = 4  # the depth of the last modules with a hook, where `depth` is its default of 3
MACS, SUM, HOOKS = "torchinfo/layer_info.py", "torchinfo/model_statistics.py", "torchinfo/torchinfo.py"


def uploaded(version: str) -> Version:
    """Where a version stands in time: 1.4.4 was uploaded by mistake, on the way from 0.0.2 to 0.0.3."""
    return Version("0.0.2.post1" if version == "1.4.4" else version)


def counts_containers(layer: Any) -> bool:
    """Whether this layer's release adds up all modules: those that add up leaves say which are."""
    return not (hasattr(layer, "is_leaf_layer") or hasattr(layer, "leaf_layer"))


def by_owner(module: nn.Module, macs: int, names: dict[int, str]) -> Iterator[Part]:
    """The count of a module that contains others, laid on the modules whose weights it is for.

    It is one factor times the elements of every weight in it, each of which has its share. Only its own
    parameter called weight would have another factor; where there is one, all stays with the module.
    """
    weights = {name: p.numel() for name, p in module.named_parameters() if "weight" in name}
    if "weight" in weights or not weights:
        yield Part(names[id(module)], None, macs)
        return
    factor = Fraction(macs, sum(weights.values()))
    for name, elements in weights.items():
        owner = module.get_submodule(name.rpartition(".")[0])
        yield Part(names[id(owner)], None, exact(factor * elements))


def unseen(model: nn.Module) -> int:
    """How many modules with parameters of their own are below the last ones with a hook."""
    below = [module for name, module in model.named_modules() if len(name.split(".")) > DEEPEST]
    return sum(any(True for _ in module.parameters(recurse=False)) for module in below)


def steps(ledger: Ledger) -> tuple[Step, ...]:
    """What changed, oldest first. What 0.0.9 to 0.1.1 charged has coefficients that are this model's own."""
    return (
        # The batch multiplies, and an inner weight is multiplied by the first two dimensions of the output.
        Step("0.0.9", tuple(_by_depth())),
        # Leaves only, however deep they are; biases count.
        Step("0.1.2", tuple(_by_size(ledger))),
    )


def _depth(site: str) -> int:
    return len(site.split(".")) if site else 0


def _at_depth(depth: int) -> Callable[[Entry], bool]:
    def condition(entry: Entry) -> bool:
        return entry.leaf and _depth(entry.site) == depth

    condition.__doc__ = f"in leaf modules at depth {depth}"
    return condition


def _too_deep(entry: Entry) -> bool:
    """in leaf modules deeper than 4"""
    return entry.leaf and _depth(entry.site) > DEEPEST


def _by_depth() -> Iterator[Rule]:
    """Up to 0.0.8: what is called weight, once for its own module and once for each one around it."""
    conv, other, around = f"{MACS}:125 macs", f"{MACS}:127 macs", "once more for each module around it"
    for depth in range(DEEPEST + 1):
        here, outer = _at_depth(depth), max(depth - 1, 0)
        yield rule("conv conv_transpose", f"macs_per_sample + {outer}·weights",
                   f"weight elements times output positions, batch ignored; {around}",
                   conv, both(here, in_class_named_conv))  # fmt: skip
        yield rule("*", f"{outer + 1}·weights", f"the elements of its weights, once per call; {around}",
                   other, both(here, has("weights")))  # fmt: skip
    yield rule("*", f"{DEEPEST}·weights", "too deep for a hook of its own; the weights count for the modules around it",
               f"{HOOKS}:359 depth", both(_too_deep, has("weights")))  # fmt: skip
    yield rule("*", "0", "it is no leaf module with weights", f"{MACS}:121 named_parameters")


def _by_size(ledger: Ledger) -> Iterator[Rule]:
    """From 0.0.9 to 0.1.1: a weight counts for its own module, and for each one around it times batch and channels.

    Those are the first two dimensions of that module's output, and not for every module does the ledger tell them.
    """
    sizes = _sizes(ledger)
    sums: dict[int | None, set[str]] = {}
    for site in {entry.site for entry in ledger.entries if entry.leaf and entry["weights"]}:
        known = [size for name in _around(site) if (size := sizes[name]) is not None]
        sums.setdefault(sum(known) if len(known) == len(_around(site)) else None, set()).add(site)
    for size, sites in sums.items():
        yield from _charged(size, _among(frozenset(sites), size))
    yield rule("*", "0", "it is no leaf module with weights", f"{MACS}:139 named_parameters")


def _charged(size: int | None, here: Callable[[Entry], bool]) -> Iterator[Rule]:
    """The rules where batch times channels of the modules around add up to `size`."""
    conv, other, inner = (f"{MACS}:{line} macs" for line in (143, 148, 151))
    around = f"{size or 0}·weights"
    why = "batch times channels of each module around it"
    if size is None:
        why += ", which the ledger does not tell"
    yield rule("*", around, f"too deep for a hook of its own; weight elements times {why}",
               f"{HOOKS}:382 depth", both(here, _too_deep))  # fmt: skip
    for op, formula, because, source, when in (
        ("conv", "macs", "weight elements times output positions and batch", conv, in_class_named_conv),
        ("conv_transpose", "macs_at_output", "weight elements times output positions and batch", conv,
         in_class_named_conv),
        ("recurrent", "output_weights", "weight elements times the elements of its output", inner,
         in_modules("LSTMCell", "GRUCell", "RNNCell")),
        ("recurrent", "macs", "every weight element, each step of each sample", inner, in_leaf),
        ("*", "sample_weights", "weight elements times the first dimension of the output", other, has("weights")),
    ):  # fmt: skip
        yield rule(op, f"{formula} + {around}", f"{because}; and times {why}", source, both(here, when))


def _among(sites: frozenset[str], size: int | None) -> Callable[[Entry], bool]:
    def condition(entry: Entry) -> bool:
        return entry.leaf and entry.site in sites

    added = "are not known" if size is None else f"add up to {size}"
    condition.__doc__ = f"in leaf modules around which batch times channels {added}"
    return condition


def _around(site: str) -> list[str]:
    """The modules with hooks that contain the one at `site`; the root has none."""
    names = site.split(".")
    return [".".join(names[:depth]) for depth in range(1, min(len(names), DEEPEST + 1))]


def _sizes(ledger: Ledger) -> dict[str, int | None]:
    """For each module its output's first two dimensions, multiplied; None where the ledger does not tell."""
    sizes: dict[str, int | None] = {}
    size, positions = None, 0
    for entry in ledger.entries:
        size = _size(entry, size, positions)
        positions = entry["outputs"] // (entry["calls"] * size) if size else 0
        sizes.update(dict.fromkeys([*_around(entry.site), entry.site], size))
    return sizes


_KEEPS_SIZE = frozenset("activation add mul sub div dropout pool batch_norm instance_norm group_norm upsample".split())


def _size(entry: Entry, before: int | None, positions: int) -> int | None:
    """The first two dimensions of an entry's output, multiplied; `before` and `positions` are the last output's.

    Concatenated are channels, if anything: the positions stay.
    """
    calls, weights = entry["calls"], entry["weights"]
    if entry["macs_per_sample"]:  # outputs over output positions
        return entry["outputs"] * weights // (entry["macs_per_sample"] * calls)
    if entry.op == "batch_norm" and weights:
        return entry["sample_weights"] // calls
    if entry.op == "linear" and weights:
        batch, rows = entry["sample_weights"] // weights, entry["rows"] // calls
        return entry["outputs"] // calls if rows == batch else rows
    if entry.aten == "aten.cat" and positions:
        return entry["outputs"] // (calls * positions)
    return before if entry.op in _KEEPS_SIZE else None
