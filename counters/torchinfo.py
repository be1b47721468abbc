"""torchinfo: a hook on every module; leaves charge their weights and biases by output size."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from counters.convention import Convention, both, has, in_class_named_conv, in_force, in_leaf, in_modules, rule
from counters.tally import Count, Part, Unsupported, exact
from counters.torchinfo_history import by_owner, counts_containers, steps, unseen, uploaded
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
        from torch import Tensor
        from torchinfo import summary

        if "input_data" not in inspect.signature(summary).parameters:
            raise Unsupported("this release holds the name only: its summary() takes no model and returns 0")
        # Without a device, most releases move the model to the CPU.
        tensors = [*model.parameters(), *model.buffers(), *(value for value in inputs if isinstance(value, Tensor))]
        device = tensors[0].device if tensors else None
        result = summary(model, input_data=list(inputs), device=device, verbose=0)
        names = {id(module): name for name, module in model.named_modules()}
        containers = any(map(counts_containers, result.summary_list))
        parts: list[Part] = []
        for layer in result.summary_list:
            if not any(layer.module.children()):
                parts.append(Part(names[layer.layer_id], None, exact(layer.macs)))
            elif containers:
                parts += by_owner(layer.module, exact(layer.macs), names)
        warnings = []
        if containers and (deep := unseen(model)):
            warnings.append(f"its hooks go four modules deep; {deep} modules with parameters are below that")
        if twice := len(result.summary_list) - len(set(map(id, result.summary_list))):
            warnings.append(f"it lists {twice} layers twice, and adds up both")
        return Count(
            total=exact(result.total_mult_adds),
            parts=[part for part in parts if part.count],
            params=exact(result.total_params),
            warnings=warnings,
        )

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        return Convention("torchinfo", in_force(version, steps(ledger), RULES, uploaded))


RULES = (
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
)  # fmt: skip
