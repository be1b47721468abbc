"""torchsummaryX: a hook on every leaf module, and one rule: what is called weight costs its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counters.convention import Convention, both, has, in_class_named_conv, in_leaf, rule
from counters.tally import Count, Part, exact
from reference_model.ledger import Ledger

if TYPE_CHECKING:
    from torch import nn

SOURCE = "torchsummaryX/torchsummaryX.py"


class TorchSummaryX:
    """Counts multiply-adds as weight elements (times output positions in a convolution), batch 1."""

    distribution = "torchsummaryX"
    unit = "MAC"
    device = "meta"  # its hooks read shapes only
    about = "hooks on leaf modules; elements of every weight, times output positions in convolutions"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from torchsummaryX import summary
        from torchsummaryX.torchsummaryX import get_names_dict

        shims = _let_sum_skip_columns()
        table = summary(model, *inputs)
        canonical = {id(module): name for name, module in model.named_modules()}
        modules = get_names_dict(model)
        counted = table["Mult-Adds"].dropna()
        parts = [
            Part(canonical[id(modules[key.partition("_")[2]])], None, exact(value)) for key, value in counted.items()
        ]
        params = exact(table["Params"].dropna().sum(), "parameters")
        return Count(total=exact(counted.sum()), parts=parts, params=params, shims=shims)

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        return Convention("torchsummaryX", (
            rule("conv", "macs_per_sample", "weight elements times output positions; the batch is ignored",
                 f"{SOURCE}:53 macs", both(in_leaf, in_class_named_conv)),
            rule("conv_transpose", "macs_per_sample",
                 "weight elements times output positions, as if it were a convolution; the batch is ignored",
                 f"{SOURCE}:53 macs", both(in_leaf, in_class_named_conv)),
            rule("linear", "weights", "weight elements, once per call: neither batch nor bias nor sequence",
                 f"{SOURCE}:55 macs", both(in_leaf, has("weights"))),
            rule("recurrent", "weights", "every weight matrix once, however long the sequence",
                 f"{SOURCE}:60 macs", in_leaf),
            rule("batch_norm layer_norm group_norm instance_norm rms_norm", "weights",
                 "the scale is called weight, so its elements count, one per channel",
                 f"{SOURCE}:55 macs", both(in_leaf, has("weights"))),
            rule("*", "weights", "the elements of its weight, once per call", f"{SOURCE}:55 macs",
                 both(in_leaf, has("weights"))),
            rule("*", "0", "nothing in this module is called weight", f"{SOURCE}:70 macs", in_leaf),
            rule("*", "0", "hooks are for leaf modules; this runs in a module that has children",
                 f"{SOURCE}:75 _modules"),
        ))  # fmt: skip


def _let_sum_skip_columns() -> list[str]:
    """Give `DataFrame.sum` of pandas 2 and newer what older ones did: skip columns that cannot be added.

    torchsummaryX sums a table with lists and strings in it after all counting is done.
    """
    import pandas as pd

    if int(pd.__version__.partition(".")[0]) < 2:
        return []
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
    return ["pandas: DataFrame.sum skips columns that raise TypeError, as before pandas 2"]
