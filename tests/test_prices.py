"""Everything that torch can run is free for a stated reason, counted by its elements, priced, or named as unpriced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
import torch

from flopledger.reference_model.ledger import OPS
from flopledger.reference_model.quantities.kinds import BY_ELEMENTS, FREE, OURS, WITHOUT, group_of, kind_of
from flopledger.reference_model.quantities.registry import pricer_of

COMPOSITE = "CompositeImplicitAutograd"  # torch takes such an operator apart before anyone is asked


def unlisted(operators: Iterable[str]) -> list[str]:
    """Packets, of those of torch's operators that reach a tracer as they are, of which nothing is known."""
    found = set()
    for operator in operators:
        library, _, name = operator.partition("::")
        packet = f"{library}.{name.partition('.')[0]}"
        if library in OURS and pricer_of(packet) is None and group_of(packet) is None:
            found.add(packet)
    return sorted(found)


def test_every_operator_of_the_installed_torch_is_in_a_list() -> None:
    """A new torch brings new operators; one that nobody looked at must be noticed before it is worth nothing."""
    operators = [
        name
        for name in torch._C._dispatch_get_all_op_names()
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, COMPOSITE)
    ]
    assert len(operators) > 2000
    assert [] == unlisted(operators)


def test_an_operator_in_no_list_is_found() -> None:
    """The walk above would be worth nothing if a name were enough to be listed."""
    assert ["aten._scaled_mm_v9", "prims.dot"] == unlisted(["aten::_scaled_mm_v9.out", "prims::dot", "aten::relu_"])
    assert ("unpriced", "unpriced") == (kind_of("aten._scaled_mm_v9"), kind_of("mylib.relu"))


def test_a_name_is_listed_once_and_its_kind_is_a_kind() -> None:
    """A name in two groups would have the kind of whichever was written last."""
    groups = FREE + BY_ELEMENTS + WITHOUT
    names = Counter(name for group in groups for name in group.names.split())
    assert [] == [name for name, times in names.items() if times > 1]
    assert set() == {group.op for group in groups} - OPS
    assert all(group.reason for group in groups)


@pytest.mark.parametrize(
    ("kind", "names"),
    {
        "view": "view expand detach_ lift_fresh _local_scalar_dense",
        "move": "expand_copy view_copy index_put_ _to_copy where masked_fill_ scatter",
        "fill": "zeros_ arange normal_ bernoulli",
        "elementwise": "exp_ _foreach_exp_ eq bitwise_and_ gcd pow",
        "add": "add_ _foreach_add_",
        "activation": "relu_ gelu _foreach_sigmoid_",
        "reduction": "sum linalg_vector_norm scatter_add_ cumsum_",
        "unpriced": "convolution_backward _foobar",
    }.items(),
)
def test_kinds(kind: str, names: str) -> None:
    """An operator in place, for many tensors, or that copies its view is of the kind of the plain one."""
    assert [] == [name for name in names.split() if kind_of(f"aten.{name}") != kind]
