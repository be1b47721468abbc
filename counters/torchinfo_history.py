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
from reference_model.ledger import Calls, Entry, Ledger

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
    """What changed, oldest first. What containers add has coefficients that are this model's own."""
    return (
        # The batch multiplies, and an inner weight is multiplied by the first two dimensions of the output.
        Step("0.0.9", tuple(_by_call(ledger))),
        # Leaves only, however deep they are; biases count.
        Step("0.1.2", tuple(_by_size(ledger))),
    )


def _by_call(ledger: Ledger) -> Iterator[Rule]:
    """Up to 0.0.8: what is called weight, once a call of its own module and once for each call of one around it."""
    conv, other, around = f"{MACS}:125 macs", f"{MACS}:127 macs", "; once more for each call of a module around it"
    for more, here in _added(ledger, lambda calls: calls.calls):
        yield rule("*", f"{more}·weights", f"too deep for a hook of its own{around}", f"{HOOKS}:359 depth",
                   both(here, _too_deep))  # fmt: skip
        yield rule("conv conv_transpose", f"macs_per_sample + {more}·weights",
                   f"weight elements times output positions, batch ignored{around}",
                   conv, both(here, in_class_named_conv))  # fmt: skip
        yield rule("*", f"{more + 1}·weights", f"the elements of its weights, once per call{around}", other, here)
    yield rule("*", "0", "it is no leaf module with weights", f"{MACS}:121 named_parameters")


def _by_size(ledger: Ledger) -> Iterator[Rule]:
    """From 0.0.9 to 0.1.1: for each call of a module around it a weight counts times that one's batch and channels."""
    conv, other, inner = (f"{MACS}:{line} macs" for line in (143, 148, 151))
    why = "; and times the first two dimensions of the output of each module around it"
    for more, here in _added(ledger, lambda calls: calls.size):
        around = f" + {more}·weights" if more else ""
        yield rule("*", f"{more}·weights", f"too deep for a hook of its own{why}", f"{HOOKS}:382 depth",
                   both(here, _too_deep))  # fmt: skip
        for op, formula, because, source, when in (
            ("conv", "macs", "weight elements times output positions and batch", conv, in_class_named_conv),
            ("conv_transpose", "macs_at_output", "weight elements times output positions and batch", conv,
             in_class_named_conv),
            ("recurrent", "output_weights", "weight elements times the elements of its output", inner,
             in_modules("LSTMCell", "GRUCell", "RNNCell")),
            ("recurrent", "macs", "every weight element, each step of each sample", inner, in_leaf),
            ("*", "sample_weights", "weight elements times the first dimension of the output", other, has("weights")),
        ):  # fmt: skip
            yield rule(op, f"{formula}{around}", f"{because}{why}", source, both(here, when))
    yield rule("*", "0", "it is no leaf module with weights", f"{MACS}:139 named_parameters")


def _added(ledger: Ledger, of: Callable[[Calls], int]) -> Iterator[tuple[Fraction, Callable[[Entry], bool]]]:
    """What the modules around add for each of a leaf's weights, in parts of its calls, and where it is so much."""
    sums = {
        site: sum(of(ledger.modules[name]) for name in _around(site) if name in ledger.modules)
        for site in {entry.site for entry in ledger.entries}
    }

    def added(entry: Entry) -> Fraction:
        return Fraction(sums[entry.site], entry["calls"])

    weighty = [entry for entry in ledger.entries if entry.leaf and entry["weights"]]
    for more in sorted({added(entry) for entry in weighty}):

        def here(entry: Entry, more: Fraction = more) -> bool:
            return entry.leaf and entry["weights"] > 0 and added(entry) == more

        here.__doc__ = f"in leaf modules around which that adds up to {more}"
        yield more, here


def _too_deep(entry: Entry) -> bool:
    """and deeper than 4"""
    return len(entry.site.split(".")) > DEEPEST


def _around(site: str) -> list[str]:
    """The modules with hooks that contain the one at `site`; the root has none."""
    names = site.split(".")
    return [".".join(names[:depth]) for depth in range(1, min(len(names), DEEPEST + 1))]
