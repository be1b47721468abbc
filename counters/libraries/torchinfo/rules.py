"""What torchinfo charges, and what it charged before.

Up to 0.1.1 the total is a sum over every module with a hook. Hooks go four modules deep, with the depth that
`summary` has by default, and a module that contains others charges for all the weights in it once more.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

from packaging.version import Version

from flopledger.counters.condition import both, class_named, has, in_leaf, in_modules
from flopledger.counters.convention import Deviation, Rule, Step, in_force, rule
from flopledger.counters.formula import Case, quantity, value
from flopledger.counters.hooked import as_made, class_of, elements, once_a_site

DEEPEST = 4  # the depth of the last modules with a hook, where `depth` is its default of 3
MACS, SUM, HOOKS = "torchinfo/layer_info.py", "torchinfo/model_statistics.py", "torchinfo/torchinfo.py"
_CONV = class_named("Conv")
SCRIPTED = ("torch.jit._script.RecursiveScriptModule", "torch.jit._trace.TopLevelTracedModule",
            "torch.jit._trace.TracedModule")  # fmt: skip


def of(version: str | None) -> tuple[Rule, ...]:
    """The rules of a release, None for the newest."""
    return in_force(version, STEPS, RULES, uploaded)


def uploaded(version: str) -> Version:
    """Where a version stands in time: 1.4.4 was uploaded by mistake, on the way from 0.0.2 to 0.0.3."""
    return Version("0.0.2.post1" if version == "1.4.4" else version)


def _around(site: str) -> list[str]:
    """The modules with hooks that contain the one at `site`; the root has none."""
    names = site.split(".")
    return [".".join(names[:depth]) for depth in range(1, min(len(names), DEEPEST + 1))]


@quantity
def too_deep(case: Case) -> int:
    """1 in a module that is deeper than those with a hook."""
    return int(len(case.entry.site.split(".")) > DEEPEST)


@quantity
def weights_beside(case: Case) -> int:
    """Weights of its own that a module with children has, as MultiheadAttention, which uses its projection's too."""
    module = case.module
    if case.entry.leaf or "weight" in module.parameters:
        return 0
    projection = int(module.settings["embed_dim"]) ** 2 if module.kind == "MultiheadAttention" else 0
    return projection + sum(elements(module, name) for name in module.parameters if "weight" in name)


@quantity
def beside_by_calls(case: Case) -> Fraction:
    """Those weights, for each call of the module and of those with a hook around it."""
    return once_a_site(case, weights_beside(case) * (_hooked(case) * case.module.calls + calls_around(case)))


@quantity
def beside_by_sizes(case: Case) -> Fraction:
    """Those weights, times the first two dimensions of the output of the module and of those with a hook around it."""
    return once_a_site(case, weights_beside(case) * (_hooked(case) * case.module.size + sizes_around(case)))


def _hooked(case: Case) -> bool:
    return bool(case.entry.site) and not too_deep(case)


@quantity
def calls_around(case: Case) -> int:
    """How often the modules with a hook ran that are around this one."""
    modules = case.ledger.modules
    return sum(modules[name].calls for name in _around(case.entry.site) if name in modules)


@quantity
def sizes_around(case: Case) -> int:
    """Batch times channels that the modules with a hook put out that are around this one, over all their calls."""
    modules = case.ledger.modules
    return sum(modules[name].size for name in _around(case.entry.site) if name in modules)


@quantity
def parameters_by_hook(case: Case) -> Fraction:
    """What a hook charges this module in all: parameters called weight and bias by the output's first dimension (in
    what is called Conv, by all but the second), others with such a name by the first two."""
    return _by_hook(case, case.module.kept)


@quantity
def masked_by_hook(case: Case) -> Fraction:
    """The same, where a pruned parameter has another name and all of its elements."""
    return _by_hook(case, {})


def _by_hook(case: Case, kept: dict[str, int]) -> Fraction:
    module = case.module
    sizes = {name.removesuffix("_orig") if name in kept else name: kept.get(name, elements(module, name))
             for name in module.parameters}  # fmt: skip
    outer = sizes.get("weight", 0) + sizes.get("bias", 0)
    inner = sum(size for name, size in sizes.items() if "weight" in name or "bias" in name) - outer
    total = 0
    for seen in module.seen:
        out = seen.output or []
        sides = prod(out[:1] + out[2:]) if "Conv" in class_of(module) else (out or [0])[0]
        total += seen.times * (outer * sides + inner * prod(out[:2]))
    return once_a_site(case, total)


@quantity
def pruned(case: Case) -> int:
    """1 in a module with a pruned parameter (torch.nn.utils.prune)."""
    return int(bool(case.module.kept))


@quantity
def charged_at_once(case: Case) -> int:
    """1 in a module whose operations do not tell what its hook charges: one's own, unbatched, packed, in vmap, jvp."""
    odd = any(value(name, case) for name in ("unbatched", "packed", "vmapped", "taken_apart"))
    return int(odd or not as_made(case.module))


@quantity
def hollow(case: Case) -> int:
    """1 in a module that has children, all of them empty containers, which it takes for none."""
    return int(not case.entry.leaf and case.module.hollow)


SILENT = (Deviation(None, "a module that runs no operation, as one that hands out its own weight, is nowhere in the"
                    " ledger", f"{MACS}:242 macs"),)  # fmt: skip
RULES = (
    rule("*", "0", "TorchScript takes no hooks: it is listed, and its output has no size", f"{HOOKS}:606 apply_hooks",
         in_modules(*SCRIPTED)),
    rule("*", "parameters_by_hook", "elements of what is called weight or bias times sides of the output; its children"
         " are empty containers, so it is a leaf", f"{MACS}:52 is_leaf_layer", has("hollow")),
    rule("*", "parameters_by_hook", "elements of what is called weight or bias times sides of the output, once per"
         " call of the module, whatever that does with them", f"{MACS}:242 macs",
         both(in_leaf, has("charged_at_once"))),
    rule("conv", "macs + bias_adds", "weight and bias elements times output positions and batch",
         f"{MACS}:238 macs", both(in_leaf, _CONV)),
    rule("conv_transpose", "macs_at_output + bias_adds",
         "counted like a convolution: weight and bias elements times output positions and batch",
         f"{MACS}:238 macs", both(in_leaf, _CONV)),
    rule("recurrent", "outputs·weights + outputs·biases",
         "weight and bias elements, times the first two dimensions of the output: its hidden size too",
         f"{MACS}:245 macs", both(in_leaf, in_modules("LSTMCell", "GRUCell", "RNNCell"))),
    rule("recurrent", "macs + bias_adds", "every weight and bias element, each step of each sample",
         f"{MACS}:245 macs", in_leaf),
    rule("*", "samples·weights + samples·biases",
         "weight and bias elements, times the first dimension of the output",
         f"{MACS}:242 macs", both(in_leaf, has("weights"), has("own_params"))),
    rule("*", "0", "it counts by parameters, and this operation uses none", f"{MACS}:233 named_parameters", in_leaf),
    rule("*", "0", "only leaf modules add to the total; this runs in a module that has children",
         "torchinfo/model_statistics.py:32 is_leaf_layer"),
)  # fmt: skip

_WEIGHTY = both(in_leaf, has("weights"), has("own_params"))
_CALLS = "; once more for each call of a module around it"
_SIZES = "; and times the first two dimensions of the output of each module around it"
STEPS = (
    # The batch multiplies, and an inner weight is multiplied by the first two dimensions of the output.
    Step("0.0.9", (
        rule("*", "last·calls_around·weights", f"too deep for a hook of its own{_CALLS}", f"{HOOKS}:359 depth",
             both(_WEIGHTY, has("too_deep"))),
        rule("conv conv_transpose", "weights·positions + last·calls_around·weights",
             f"weight elements times output positions, batch ignored{_CALLS}", f"{MACS}:125 macs",
             both(_WEIGHTY, _CONV)),
        rule("*", "weights + last·calls_around·weights", f"the elements of its weights, once per call{_CALLS}",
             f"{MACS}:127 macs", _WEIGHTY),
        rule("*", "beside_by_calls", "weights of its own beside those of its children, once for each call of it and"
             " of each module around it", f"{MACS}:127 macs", has("weights_beside")),
        rule("*", "0", "it is no leaf module with weights", f"{MACS}:121 named_parameters"),
    )),
    # Leaves only, however deep they are; biases count.
    Step("0.1.2", (
        rule("*", "last·sizes_around·weights", f"too deep for a hook of its own{_SIZES}", f"{HOOKS}:382 depth",
             both(_WEIGHTY, has("too_deep"))),
        rule("conv", "macs + last·sizes_around·weights",
             f"weight elements times output positions and batch{_SIZES}", f"{MACS}:143 macs", both(_WEIGHTY, _CONV)),
        rule("conv_transpose", "macs_at_output + last·sizes_around·weights",
             f"weight elements times output positions and batch{_SIZES}", f"{MACS}:143 macs", both(_WEIGHTY, _CONV)),
        rule("recurrent", "outputs·weights + last·sizes_around·weights",
             f"weight elements times the elements of its output{_SIZES}", f"{MACS}:151 macs",
             both(_WEIGHTY, in_modules("LSTMCell", "GRUCell", "RNNCell"))),
        rule("recurrent", "macs + last·sizes_around·weights", f"every weight element, each step of each sample{_SIZES}",
             f"{MACS}:151 macs", _WEIGHTY),
        rule("*", "samples·weights + last·sizes_around·weights",
             f"weight elements times the first dimension of the output{_SIZES}", f"{MACS}:148 macs", _WEIGHTY),
        rule("*", "beside_by_sizes", "weights of its own beside those of its children, times the first two dimensions"
             " of the output of it and of each module around it", f"{MACS}:151 macs", has("weights_beside")),
        rule("*", "0", "it is no leaf module with weights", f"{MACS}:139 named_parameters"),
    )),
    # What a mask leaves of a pruned parameter counts, under the name that this had.
    Step("1.6.1", (
        rule("*", "masked_by_hook", "elements of what is called weight or bias times sides of the output, pruned or"
             " not; a pruned one is called weight_orig", f"{MACS}:130 macs", both(in_leaf, has("pruned"))),
    )),
)  # fmt: skip
