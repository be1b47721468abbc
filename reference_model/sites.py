"""Which module is running, for adapters whose library does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from flopledger.reference_model.backward import Graph, in_backward, watching_checkpoints


class Sites:
    """The stack of running modules, by qualified name."""

    def __init__(self, model: nn.Module):
        self.names = {id(module): name for name, module in model.named_modules()}
        self.stack = [""]
        self.graph = Graph("")
        self.again = False

    @property
    def here(self) -> str:
        """The innermost module that runs; in a backward, the one whose operation it belongs to.

        To be asked at each operation, since that is how the operations of the backward are known.
        """
        if in_backward() and not self.again:
            site = self.graph.running()
            if torch.is_grad_enabled():  # a forward that a torch.autograd.Function runs again by hand
                self.graph.grew(site)
            return site
        self.graph.grew(self.stack[-1])
        return self.stack[-1]

    def enter(self, module: nn.Module, args: Any) -> None:
        self.graph.grew(self.graph.last)
        self.stack.append(self.names.get(id(module), self.stack[-1]))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()

    def once_more(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """A part of the forward that a checkpoint runs again, at the site where it is now."""
        site = self.stack[-1]

        def again(*args: Any, **kwargs: Any) -> Any:
            before = self.stack, self.again
            self.stack, self.again = [site], True
            try:
                return run(*args, **kwargs)
            finally:
                self.stack, self.again = before

        return again


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
        with watching_checkpoints(sites.once_more):
            yield sites
    finally:
        for handle in handles:
            handle.remove()
