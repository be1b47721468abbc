"""Which module is running, for adapters whose library does not say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class Sites:
    """The stack of running modules, by qualified name; `here` is the innermost."""

    def __init__(self, model: nn.Module):
        self.names = {id(module): name for name, module in model.named_modules()}
        self.stack = [""]

    @property
    def here(self) -> str:
        return self.stack[-1]

    def enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(self.names.get(id(module), self.stack[-1]))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()


@contextmanager
def watched(model: nn.Module) -> Iterator[Sites]:
    """Follow the modules of `model` with global hooks.

    Hooks on the modules themselves would switch off torch's fused transformer paths and so
    change what is counted; global ones do not.
    """
    sites = Sites(model)
    handles = [
        register_module_forward_pre_hook(sites.enter),
        register_module_forward_hook(sites.leave, always_call=True),
    ]
    try:
        yield sites
    finally:
        for handle in handles:
            handle.remove()
