"""torchinfo: a hook on every module; leaves charge their weights and biases by output size."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from flopledger.counters.convention import Convention, of_complex
from flopledger.counters.libraries.torchinfo import rules
from flopledger.counters.tally import Count, Part, Unsupported, exact

if TYPE_CHECKING:
    from torch import nn


class Torchinfo:
    """Counts multiply-adds as parameter elements, times positions in convolutions, times the batch."""

    distribution = "torchinfo"
    unit = "MAC"
    device = "meta"  # it reads shapes only
    repository = "https://github.com/TylerYep/torchinfo/blob/v{version}/"
    script = """import torchinfo
print("torchinfo", torchinfo.summary(model, input_data=list(inputs), device="meta", verbose=0).total_mult_adds)"""
    about = "hooks on leaf modules; elements of weights and biases, times batch and output positions"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from torch import Tensor
        from torchinfo import summary

        if "input_data" not in inspect.signature(summary).parameters:
            raise Unsupported("this release holds the name only: its summary() takes no model and returns 0")
        # Without a device, most releases move the model to the CPU.
        tensors = [*model.parameters(), *model.buffers(), *(value for value in inputs if isinstance(value, Tensor))]
        device = tensors[0].device if tensors else None
        # By default it puts the model in eval mode.
        options: dict[str, Any] = {"mode": "train"} if model.training else {}
        if options and "mode" not in inspect.signature(summary).parameters:
            raise Unsupported("this release cannot be told the mode, and counts a forward in eval mode")
        result = summary(model, input_data=list(inputs), device=device, verbose=0, **options)
        names = {id(module): name for name, module in model.named_modules()}
        containers = any(map(_counts_containers, result.summary_list))
        parts: list[Part] = []
        for layer in result.summary_list:
            if not any(layer.module.children()):
                parts.append(Part(names[layer.layer_id], None, exact(layer.macs)))
            elif containers:
                parts += _by_owner(layer.module, exact(layer.macs), names)
        warnings = []
        if containers and (deep := _unseen(model)):
            warnings.append(f"its hooks go four modules deep; {deep} modules with parameters are below that")
        if twice := len(result.summary_list) - len(set(map(id, result.summary_list))):
            warnings.append(f"it lists {twice} layers twice, and adds up both")
        return Count(
            total=exact(result.total_mult_adds),
            parts=[part for part in parts if part.count],
            params=exact(result.total_params),
            warnings=warnings,
        )

    def convention(self, version: str | None) -> Convention:
        return Convention("torchinfo", of_complex(rules.of(version)), rules.SILENT)


def _counts_containers(layer: Any) -> bool:
    """Whether this layer's release adds up all modules: those that add up leaves say which are."""
    return not (hasattr(layer, "is_leaf_layer") or hasattr(layer, "leaf_layer"))


def _by_owner(module: nn.Module, macs: int, names: dict[int, str]) -> Iterator[Part]:
    """The count of a module that contains others, laid on the modules whose weights it is for.

    It is one factor times the elements of every weight in it, each of which has its share. Only its own
    parameter called weight would have another factor; where there is one, all stays with the module. Attention
    calls a function with the weight of its projection, which never runs itself.
    """
    from torch.nn import MultiheadAttention

    weights = {name: p.numel() for name, p in module.named_parameters() if "weight" in name}
    if "weight" in weights or not weights:
        yield Part(names[id(module)], None, macs)
        return
    factor = Fraction(macs, sum(weights.values()))
    for name, elements in weights.items():
        site = name.rpartition(".")[0]
        around = module.get_submodule(site.rpartition(".")[0])
        owner = around if isinstance(around, MultiheadAttention) else module.get_submodule(site)
        yield Part(names[id(owner)], None, exact(factor * elements))


def _unseen(model: nn.Module) -> int:
    """How many modules with parameters of their own are below the last ones with a hook."""
    below = [module for name, module in model.named_modules() if len(name.split(".")) > rules.DEEPEST]
    return sum(any(True for _ in module.parameters(recurse=False)) for module in below)
