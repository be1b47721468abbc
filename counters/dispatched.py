"""What counters of functions and of dispatched operations have in common: how products and kernels are called."""

from __future__ import annotations

from math import prod

from flopledger.counters.condition import both, has, on_real_tensors
from flopledger.counters.convention import Deviation
from flopledger.counters.formula import Case, quantity


@quantity
def by_vector(case: Case) -> int:
    """1 where a side of a product is a vector, so that torch dispatches mv or dot."""
    return int("vectors" in case.call.facts or case.entry.aten in ("aten.mv", "aten.dot", "aten.vdot", "aten.addmv"))


@quantity
def in_one_kernel(case: Case) -> int:
    """1 where a CPU has a kernel of its own for attention or an LSTM, which on the meta device comes apart.

    Attention: three dimensions or four, heads as wide as values, no dropout (use_flash_attention_cpp,
    sdp_utils_cpp.cpp). LSTM: oneDNN has no projections, packed sequences and float64 (use_mkldnn, RNN.cpp).
    """
    facts, entry = case.call.facts, case.entry
    if entry.op == "recurrent":
        packed = len(facts["input"]) < 3
        exact = any("float64" in text for text in case.ledger.inputs)
        return int(entry.aten == "aten.lstm" and not packed and not exact and not case.module.settings.get("proj_size"))
    if "query" not in facts or len(facts["query"]) not in (3, 4) or facts.get("dropout_p"):
        return 0
    query, key, value = ((1, *facts[name])[-4:] for name in ("query", "key", "value"))
    heads = facts.get("enable_gqa") or query[:2] == key[:2] == value[:2]
    plain = len(facts.get("attn_mask") or (0, 0)) in (2, 4) and not mask_by_head(case)
    return int(query[3] == key[3] == value[3] and bool(heads) and plain and prod(query) * prod(key) > 0)


@quantity
def mask_by_head(case: Case) -> int:
    """1 for attention whose mask is another for each head, which the model makes: a bias that it learns, mostly."""
    mask: tuple[int, ...] = tuple(case.call.facts.get("attn_mask") or ())
    ours = "torch.nn.functional.multi_head_attention_forward"
    return int(len(mask) == 4 and mask[1] > 1 and ours not in (case.entry.api, *case.entry.inside))


MASK_BY_HEAD = Deviation(
    both(on_real_tensors, has("mask_by_head")),
    "a CPU's kernel takes no mask that needs a gradient; the ledger follows no gradients here, and takes a mask that is"
    " another for each head for one that is learned",
    "torch/nn/functional.py:6367 scaled_dot_product_attention",
)


@quantity
def adds_outside(case: Case) -> int:
    """Additions of the first layer's input bias that a CPU makes beside the product, not in it.

    It multiplies the whole input at once, and a transposed one (`batch_first`) is not contiguous (RNN.cpp, linear).
    """
    facts, module = case.call.facts, case.module
    into = facts["input"]
    if len(into) != 3 or min(into[:2]) < 2 or not module.settings.get("batch_first"):
        return 0
    directions = 2 if module.settings["bidirectional"] else 1
    return int(into[0] * into[1] * directions * prod(module.parameters.get("bias_ih_l0", [0])))


@quantity
def left_by_columns(case: Case) -> int:
    """Elements of a product's left side times the last side of its right, whatever is repeated to fit."""
    facts = case.call.facts
    left, right = ("input", "other") if "other" in facts else ("a", "b")
    return int(prod(facts[left]) * facts[right][-1] * prod(facts.get("vmap", ())))


@quantity
def dense_macs(case: Case) -> int:
    """MACs of a product if no side of it were sparse, 0 where its sides are not known."""
    facts = case.call.facts
    left = next((name for name in ("input", "a") if name in facts), "")
    return int(prod(facts["out"]) * facts[left][-1]) if left and "out" in facts else 0


@quantity
def stored_alone(case: Case) -> int:
    """1 for a product of which the ledger has what a sparse side stores."""
    complexes = 4 if case.call.facts.get("complex") else 1
    return int(case.entry.op == "matmul" and case.call.quantities.get("macs", 0) < complexes * dense_macs(case))


@quantity
def spread(case: Case) -> int:
    """1 for a product whose MACs are not that: its left side is repeated to fit, or its right is a vector."""
    known = {"input", "other"} <= case.call.facts.keys()
    return int(known and case.call.quantities.get("macs", 0) != left_by_columns(case))
