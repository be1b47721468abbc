"""torchsummaryX: a hook on every leaf module, and one rule: what is called weight costs its size."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

from flopledger.counters.condition import both, class_named, has, in_leaf
from flopledger.counters.convention import Convention, Deviation, rule
from flopledger.counters.formula import Case, quantity, value
from flopledger.counters.hooked import as_made, class_of, elements, once_a_site
from flopledger.counters.shims import Shim, helped
from flopledger.counters.tally import Count, Part, Unsupported, exact
from flopledger.reference_model.ledger import Seen

if TYPE_CHECKING:
    from torch import nn

SOURCE = "torchsummaryX/torchsummaryX.py"


def _let_sum_skip_columns() -> None:
    """The library sums a table with lists and strings in it after all counting is done."""
    import pandas as pd

    original = pd.DataFrame.sum

    def total(frame: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(frame, *args, **kwargs)
        except TypeError:
            sums = {}
            for column in frame.columns:
                try:
                    sums[column] = frame[column].sum()
                except TypeError:
                    continue
            return pd.Series(sums)

    pd.DataFrame.sum = total  # type: ignore[assignment,method-assign]


class TorchSummaryX:
    """Counts multiply-adds as weight elements (times output positions in a convolution), batch 1."""

    distribution = "torchsummaryX"
    unit = "MAC"
    device = "meta"  # its hooks read shapes only
    script = """import torchsummaryX
print("torchsummaryX", int(torchsummaryX.summary(model, *inputs)["Mult-Adds"].sum()))"""
    about = "hooks on leaf modules; elements of every weight, times output positions in convolutions"
    shims: ClassVar[tuple[Shim, ...]] = (
        Shim(
            "pandas: DataFrame.sum skips columns that raise TypeError, as before pandas 2",
            lambda error: isinstance(error, TypeError),
            _let_sum_skip_columns,
        ),
    )

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        if not inputs:
            raise Unsupported("its summary() takes a model that a tensor goes into, and none does")
        try:
            (layers, table), used = helped(lambda: _summary(model, inputs), self.shims)
        except (KeyError, UnboundLocalError) as error:
            if not model._modules:
                raise Unsupported("it finds names for the modules in a model, and this is a single one") from error
            if error.args == ("macs",):
                raise Unsupported("no module without children is called, so its table has no columns") from error
            raise
        names = {id(module): name for name, module in model.named_modules()}
        parts = [Part(names[layer["id"]], None, exact(layer["macs"])) for layer in layers if layer["macs"] != "-"]
        total = sum(part.count for part in parts)
        params = sum(exact(layer["params"]) for layer in layers if not isinstance(layer["params"], str))
        warnings = []
        if table is None:
            warnings.append(f"it only prints {total / 1e6:,.2f}M; exactly, its hooks count {total:,}")
        elif "Mult-Adds" in table:
            total = exact(table["Mult-Adds"].sum())
        return Count(total=total, parts=parts, params=params, shims=used, warnings=warnings)

    def convention(self, version: str | None) -> Convention:
        return Convention("torchsummaryX", RULES, SILENT)


@quantity
def weight_by_hook(case: Case) -> Fraction:
    """What hooks charge this module in all: what is called weight, once a call, times the output from its third side.

    A module that is reached twice has two hooks. The first call of one that is wholly frozen is charged nothing; a
    later one is taken for a repetition, which is.
    """
    module = case.module
    inner = sum(elements(module, name) for name in module.parameters if "weight" in name and name != "weight")

    def once(seen: Seen) -> int:
        sides = prod((seen.output or [])[2:]) if "Conv" in class_of(module) else 1
        return elements(module, "weight") * sides + inner

    total = module.paths * sum(seen.times * once(seen) for seen in module.seen)
    if module.seen and len(module.frozen) == len(module.parameters):
        total -= once(module.seen[0])
    return once_a_site(case, total)


@quantity
def charged_whole(case: Case) -> int:
    """1 in a module whose operations do not tell what its hook charges: one's own, shared, frozen, unbatched."""
    module = case.module
    frozen = bool(module.parameters) and len(module.frozen) == len(module.parameters)
    odd = value("unbatched", case) or value("taken_apart", case)
    return int(not as_made(module) or module.paths > 1 or frozen or bool(odd))


SILENT = (Deviation(None, "a module that runs no operation, as one that hands out its own weight, is nowhere in the"
                    " ledger", f"{SOURCE}:55 macs"),)  # fmt: skip
RULES = (
    rule("*", "weight_by_hook", "the elements of what is called weight, once per call of the module, whatever that"
         " does with it; times output positions if its class is called Conv", f"{SOURCE}:55 macs",
         both(in_leaf, has("charged_whole"))),
    rule("conv", "weights·positions", "weight elements times output positions; the batch is ignored",
         f"{SOURCE}:53 macs", both(in_leaf, class_named("Conv"))),
    rule("conv_transpose", "weights·positions",
         "weight elements times output positions, as if it were a convolution; the batch is ignored",
         f"{SOURCE}:53 macs", both(in_leaf, class_named("Conv"))),
    rule("linear", "weights", "weight elements, once per call: neither batch nor bias nor sequence",
         f"{SOURCE}:55 macs", both(in_leaf, has("weights"))),
    rule("recurrent", "weights", "every weight matrix once, however long the sequence",
         f"{SOURCE}:60 macs", in_leaf),
    rule("batch_norm layer_norm group_norm instance_norm rms_norm", "weights",
         "the scale is called weight, so its elements count, one per channel",
         f"{SOURCE}:55 macs", both(in_leaf, has("weights"))),
    rule("*", "weights", "the elements of its weight, once per call", f"{SOURCE}:55 macs",
         both(in_leaf, has("weights"))),
    rule("*", "0", "it counts elements of what is called weight, and this operation uses none", f"{SOURCE}:70 macs",
         in_leaf),
    rule("*", "0", "hooks are for leaf modules; this runs in a module that has children",
         f"{SOURCE}:75 _modules"),
)  # fmt: skip


def _summary(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[dict[str, Any]], Any]:
    """What `summary` returns, a table or nothing, and before it what its hooks noted for each layer.

    Those notes are values of the first OrderedDict that it makes.
    """
    made: list[OrderedDict[str, Any]] = []

    class Noted(OrderedDict[str, Any]):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    library = importlib.import_module("torchsummaryX.torchsummaryX")
    with mock.patch.object(library, "OrderedDict", Noted):
        table = library.summary(model, *inputs)
    return list(made[0].values()), table
