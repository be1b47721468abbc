"""Where each thread of a model is. Modes are on in one thread only, so other threads are followed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

Run = Callable[..., Any]


class Here(threading.local):
    """What one thread is doing: the sites, torch functions and autograd functions that it is in, innermost last."""

    def __init__(self) -> None:
        self.site = [""]
        self.frames: list[Any] = []
        self.applied: list[Any] = []
        self.seen = False  # whether the modes are on in this thread
        self.below = 0  # in an operation that is written down as a whole, or in a reading of ours
        self.guests: list[tuple[int, ExitStack]] = []  # modules during which alone this thread is seen


class Below:
    """What this thread runs meanwhile is part of something that is written down as a whole.

    A class, as it is entered four times for each operation, and a generator takes four times as long.
    """

    __slots__ = ("here",)

    def __init__(self, here: Here):
        self.here = here

    def __enter__(self) -> None:
        self.here.below += 1

    def __exit__(self, *error: object) -> None:
        self.here.below -= 1


@contextmanager
def threads(follow: Callable[[Run], Run]) -> Iterator[None]:
    """Wrap by `follow` what a thread that is started, or a pool that is given work, is to run.

    A pool's worker may outlive the model's pass, so it is not followed, only what it is given.
    """
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def started(thread: threading.Thread) -> None:
        if sys._getframe(1).f_globals.get("__name__") != "concurrent.futures.thread":
            thread.run = follow(thread.run)  # type: ignore[method-assign]
        start(thread)

    def submitted(pool: ThreadPoolExecutor, run: Run, /, *args: Any, **kwargs: Any) -> Any:
        return submit(pool, follow(run), *args, **kwargs)

    with patch.object(threading.Thread, "start", started), patch.object(ThreadPoolExecutor, "submit", submitted):
        yield


def device_here() -> Any:
    """The device on which this thread's tensors are made, as a context for another thread; None if nothing says."""
    return next((m.device for m in _get_current_function_mode_stack() if isinstance(m, DeviceContext)), None)
