"""What counters that hook modules have in common: what they charge a module for, whatever runs in it.

An operation's own facts tell what a hook charges as long as the module is one of torch.nn's, batched, with its own
weights. Where it is not, the module tells (`Case.module`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import prod

from flopledger.counters.condition import both, has, on_real_tensors
from flopledger.counters.convention import Deviation, Rule, times
from flopledger.counters.formula import Case, quantity, value
from flopledger.reference_model.ledger import Module

RNNS = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")


def elements(module: Module, name: str) -> int:
    """Elements of the module's own parameter of this name, 0 where it has none."""
    return prod(module.parameters[name]) if name in module.parameters else 0


def class_of(module: Module) -> str:
    """Its class without the package."""
    return module.kind.rpartition(".")[2]


def as_made(module: Module) -> bool:
    """Whether it is one of torch.nn's own classes with the parameters that this has."""
    usual = r"(weight|bias)_[ih][hr](_l\d+(_reverse)?)?" if module.kind in RNNS else "weight|bias"
    return "." not in module.kind and all(re.fullmatch(usual, name) for name in module.parameters)


def once_a_site(case: Case, amount: int | Fraction) -> Fraction:
    """What a module is charged in all, on the one row that stands for it (`Case.first`)."""
    return Fraction(amount, case.call.times) if case.first else Fraction(0)


@quantity
def unbatched(case: Case) -> int:
    """1 where the module is given its input without a batch, which torch then puts before it."""
    facts, seen = case.call.facts, case.module.seen
    into = facts.get("input", facts.get("x"))
    given = seen[0].inputs[0] if seen and seen[0].inputs else None
    return int(into is not None and given is not None and len(given) < len(into))


@quantity
def packed(case: Case) -> int:
    """1 where a recurrent layer is given a packed sequence: all steps of all samples in one dimension."""
    into = case.call.facts.get("input", ())
    return int(case.entry.op == "recurrent" and len(into) == 2 and case.module.kind in ("RNN", "GRU", "LSTM"))


@quantity
def projected(case: Case) -> int:
    """1 in an LSTM with a projection (`proj_size`)."""
    return int(bool(case.module.settings.get("proj_size")) and case.entry.op == "recurrent")


def layers(module: Module) -> list[tuple[int, int]]:
    """Of each layer of a recurrent module, the elements of its input's and its state's matrix in one direction."""
    names = [name for name in module.parameters if re.fullmatch(r"weight_ih(_l\d+)?", name)]
    return [(elements(module, name), elements(module, name.replace("_ih", "_hh"))) for name in names]


def steps_as_seen(case: Case) -> int:
    """Steps times samples of a recurrent layer, as a hook reads them off the shape of what goes in.

    Without a batch, the features are taken for one of the two. A packed sequence is taken to be as wide everywhere as
    at its first step.
    """
    facts = case.call.facts
    if value("packed", case):
        state = facts["third"][0] if isinstance(facts["third"][0], (list, tuple)) else facts["third"]
        return int(facts["second"][0] * state[1])
    steps = prod(facts["input"][:-1])
    return int(steps * facts["input"][-1] if value("unbatched", case) else steps)


@quantity
def fused(case: Case) -> int:
    """1 in a MultiheadAttention for which torch takes its fused path on real tensors, where gradients are on.

    That is so if nothing of it, and nothing before it, needs one (MultiheadAttention.forward, why_not_fast_path).
    """
    module = case.module
    settings = module.settings
    if not settings.get("batch_first") or len(module.frozen) < len(module.parameters) or case.ledger.mode != "eval":
        return 0
    if not {"in_proj_weight", "in_proj_bias"} <= module.parameters.keys():
        return 0
    if "bias_k" in module.parameters or settings["add_zero_attn"]:
        return 0
    facts = [call.facts for entry in case.ledger.entries if entry.site == case.entry.site for call in entry.calls]
    whole = [each for each in facts if "attends" in each]
    free = all(each["frozen"] and not each["needs_gradient"] for each in whole)
    alike = all(each["to_itself"] and len(each["attends"][0]) == 3 for each in whole)
    return int(free and alike and settings["num_heads"] % 2 == 0)


@quantity
def taken_apart(case: Case) -> int:
    """1 for a product of a module's weight that is seen in pieces, as where derivatives are computed beside it."""
    weighty = case.entry.op in ("linear", "conv", "conv_transpose") and "weight" in case.module.parameters
    return int(weighty and not case.call.quantities.get("weights"))


@quantity
def vmapped(case: Case) -> int:
    """1 for a call under torch.vmap."""
    return int("vmap" in case.call.facts)


@quantity
def one_sample(case: Case) -> Fraction:
    """One part of as many as torch.vmap runs over."""
    return Fraction(1, max(1, prod(case.call.facts["vmap"])))


def of_one_sample(rules: Iterable[Rule]) -> Iterator[Rule]:
    """The rules, each after what it is under torch.vmap, where hooks and patched functions see one sample's shapes."""
    for each in rules:
        if each.formula.terms:
            yield times("one_sample", each, has("vmapped"), "; under torch.vmap it sees one sample")
        yield each


@quantity
def padded_inside(case: Case) -> int:
    """1 inside a TransformerEncoder that is given what is padded, and may drop it."""
    ledger, site = case.ledger, case.entry.site
    while site:
        site = site.rpartition(".")[0]
        if site in ledger.modules and ledger.modules[site].kind == "TransformerEncoder":
            below = (entry for entry in ledger.entries if entry.site.startswith(f"{site}." if site else ""))
            padded = any(call.facts.get("padded") for entry in below for call in entry.calls)
            drops = ledger.mode == "eval" and ledger.modules[site].settings.get("use_nested_tensor")
            return int(bool(drops) and padded)
    return 0


DROPS_PADDING = Deviation(
    both(on_real_tensors, has("padded_inside")),
    "where no gradient is needed, an encoder of torch.nn drops on real tensors what the mask says is padded, and how"
    " much that is depends on data; the ledger has all of it",
    "torch/nn/modules/transformer.py:484 forward",
)
