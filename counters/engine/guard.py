"""A process that watches over another one and over all that this one starts: nothing of it is left when it ends.

What a job starts may leave its group and its session, and outlive its parent. On Linux such an orphan becomes
the guard's own child (`PR_SET_CHILD_SUBREAPER`), so it is found and ended with the rest. Elsewhere only what is
still below the job is.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from typing import NoReturn

import psutil

_SUBREAPER, _DIE_WITH_PARENT = 36, 1  # prctl(2)
_PATIENCE = 5.0  # seconds for what was killed to be gone


def guarded(work: Callable[[], None]) -> NoReturn:
    """Do `work` in a child of this process, and end as it ends, or when the command that waits for it is gone.

    Both lead sessions of their own: a counter that kills its group does not kill its guard.
    """
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # the command has handlers of its own
        signal.signal(number, signal.SIG_DFL)
    _prctl(_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        child = os.fork()
    except OSError:  # a limit on processes, or on memory
        os._exit(1)
    if not child:
        _work(work)
    parent = multiprocessing.parent_process()
    watched = [woken, *([parent.sentinel] if parent else [])]
    status = None
    while status is None:
        ready = wait(watched)
        if woken not in ready:
            break
        os.read(woken, 1 << 16)
        status = _reaped()[0].get(child)
    end_below(os.getpid())
    _end_like(status)


def in_turn(works: Iterable[Callable[[], None]]) -> Iterator[int]:
    """Do each in a child of this process, which is guarded itself, and end all that one leaves before the next begins.

    Yields the status with which each ended: that of its exit, or its signal, negative.

    Raises:
        OSError: no process can be had.
    """
    _prctl(_SUBREAPER, 1)
    for work in works:
        child = os.fork()
        if not child:
            _work(work)
        pid, status = 0, 0
        while pid != child:  # others are orphans
            pid, status = os.waitpid(-1, 0)
        end_below(os.getpid())
        yield os.waitstatus_to_exitcode(status)


def _work(work: Callable[[], None]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        os.setsid()
        work()
    finally:
        os._exit(1)


def end_below(pid: int) -> None:
    """Kill every process below this one, and what they start meanwhile."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if pid == os.getpid() and not _reaped()[1]:
            return
        try:
            family = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        if not family:
            return
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                each.kill()
        time.sleep(0.002)


def _reaped() -> tuple[dict[int, int], bool]:
    """How children of this process have ended, adopted orphans among them; and whether there are more."""
    found: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found, False
        if not pid:
            return found, True
        found[pid] = status


def _end_like(status: int | None) -> NoReturn:
    """End as the work did: by the same signal, with the same status."""
    code = 1 if status is None else os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the work has left its own
        with contextlib.suppress(OSError, ValueError):  # nobody may handle SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
