"""torchinfo: a hook on every module; leaves charge their weights and biases by output size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counters.convention import Convention, both, has, in_class_named_conv, in_leaf, in_modules, rule
from counters.tally import Count, Part, exact
from reference_model.ledger import Ledger

if TYPE_CHECKING:
    from torch import nn

SOURCE = "torchinfo/layer_info.py"


class Torchinfo:
    """Counts multiply-adds as parameter elements, times positions in convolutions, times the batch."""

    distribution = "torchinfo"
    unit = "MAC"
    device = "meta"  # it reads shapes only
    about = "hooks on leaf modules; elements of weights and biases, times batch and output positions"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from torchinfo import summary

        result = summary(model, input_data=list(inputs), verbose=0)
        canonical = {id(module): name for name, module in model.named_modules()}
        parts = [
            Part(canonical[layer.layer_id], None, exact(layer.macs))
            for layer in result.summary_list
            if layer.is_leaf_layer and layer.macs
        ]
        return Count(total=exact(result.total_mult_adds), parts=parts, params=exact(result.total_params))

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        return Convention("torchinfo", (
            rule("conv", "macs + bias_adds", "weight and bias elements times output positions and batch",
                 f"{SOURCE}:238 macs", both(in_leaf, in_class_named_conv)),
            rule("conv_transpose", "macs_at_output + bias_adds",
                 "counted like a convolution: weight and bias elements times output positions and batch",
                 f"{SOURCE}:238 macs", both(in_leaf, in_class_named_conv)),
            rule("recurrent", "output_weights + output_biases",
                 "weight and bias elements, times the first two dimensions of the output: its hidden size too",
                 f"{SOURCE}:245 macs", both(in_leaf, in_modules("LSTMCell", "GRUCell", "RNNCell"))),
            rule("recurrent", "macs + bias_adds", "every weight and bias element, each step of each sample",
                 f"{SOURCE}:245 macs", in_leaf),
            rule("*", "sample_weights + sample_biases",
                 "weight and bias elements, times the first dimension of the output",
                 f"{SOURCE}:242 macs", both(in_leaf, has("weights"))),
            rule("*", "0", "it has no parameters", f"{SOURCE}:233 named_parameters", in_leaf),
            rule("*", "0", "only leaf modules add to the total; this runs in a module that has children",
                 "torchinfo/model_statistics.py:32 is_leaf_layer"),
        ))  # fmt: skip
