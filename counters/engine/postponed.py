"""torch._dynamo, imported when somebody needs it: five hundred modules and more than a second that no forward takes.

Torch imports it for the mere decision not to compile: on the first call of any function it has marked so, of which
its meta kernels and its dispatch modes are made. Torchvision does to ask about a device.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache, partial, wraps
from types import FunctionType, ModuleType
from typing import Any

_NAMES = ("torch._dynamo", "torch._dynamo.utils")
_spared: list[Any] = []  # functions of which nobody asked more than not to be compiled


def postpone() -> None:
    """Have modules stand in for torch._dynamo until something of it is asked for, unless it is imported already."""
    if any(name in sys.modules for name in _NAMES):
        return
    dynamo, utils = (_Postponed(name) for name in _NAMES)
    vars(dynamo)["disable"] = _disable
    vars(utils)["is_compile_supported"] = lambda device: _genuine(_NAMES[1]).is_compile_supported(device)
    sys.modules.update(zip(_NAMES, (dynamo, utils), strict=True))


class _Postponed(ModuleType):
    def __getattr__(self, name: str) -> Any:
        path = name == "__path__" and self.__name__ == _NAMES[0]  # asked for before another part of it is imported
        if name.startswith("__") and not path:  # inspect asks every module for its file
            raise AttributeError(name)
        return getattr(_genuine(self.__name__), name)


def _genuine(name: str) -> Any:
    """The module itself, which is what everybody gets from now on."""
    for each in _NAMES:
        if isinstance(sys.modules.get(each), _Postponed):
            del sys.modules[each]
    while _spared:
        vars(_spared.pop()).pop("__dynamo_disable", None)  # where torch keeps what it got: it shall ask again
    return importlib.import_module(name)


def _disable(fn: Any = None, recursive: bool = True, *, wrapping: bool = True, **more: Any) -> Any:
    """What `torch._dynamo.disable` does to a function: nothing, as long as nothing is compiled."""
    if fn is None:
        return partial(_disable, recursive=recursive, wrapping=wrapping, **more)
    if type(fn) is not FunctionType:
        return _genuine(_NAMES[0]).disable(fn, recursive, wrapping=wrapping, **more)
    if not wrapping and not more:  # torch's own question
        _spared.append(fn)
        return fn

    @cache
    def disabled() -> Any:
        return _genuine(_NAMES[0]).disable(fn, recursive, wrapping=wrapping, **more)

    @wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        return (fn if isinstance(sys.modules.get(_NAMES[0]), _Postponed) else disabled())(*args, **kwargs)

    return run
