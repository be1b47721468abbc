"""Each job in a process of its own: other people's code, a time limit, and only JSON comes back.

This is the side of the command; `flopledger.counters.engine.worker` is what runs in the job's process.
A job is forked from a small server that has torch imported and nothing else, so it starts in
milliseconds and no counter sees what another one did. A live model, which lives in the caller's
memory, is forked from the caller instead: the child works on its copy. The answer is a file of
JSON; nothing that a job sends is ever unpickled.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, spawn
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import msgspec

from flopledger.counters import registry
from flopledger.counters.engine import overlays, worker
from flopledger.counters.engine.job import TIMEOUT, Answer, Job, Live

_MOST_READ = 1 << 28
_STARTING = threading.Lock()


def warm() -> None:
    """Start the fork server, if it does not run yet, and come back at once: it imports torch meanwhile.

    It is a `python -c`, which without a safe path would take torch and json from the working directory.
    """
    safe = {"PYTHONSAFEPATH": "1", "FLOPLEDGER_FORKS_FOR": str(os.getpid())}
    with _prepared("sys_path"), _environment(**safe):
        forkserver.set_forkserver_preload(["flopledger.counters.engine.preload"])
        forkserver.ensure_running()


def run(
    jobs: deque[Job],
    *,
    live: Live | None = None,
    timeout: float = TIMEOUT,
    workers: int | None = None,
) -> Iterator[tuple[Job, Answer]]:
    """Run jobs, each in its own process, and yield answers as they come.

    Jobs are taken from the left of the queue, to which more may be added meanwhile.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, workers or cores)
    threads = 1 if live else max(1, cores // workers)
    started: dict[Any, tuple[Job, Path, float, Any]] = {}
    taken = 0
    with tempfile.TemporaryDirectory(prefix="flopledger-", ignore_cleanup_errors=True) as top:
        try:
            while jobs or started:
                while jobs and len(started) < workers:
                    job, folder = jobs.popleft(), Path(top, str(taken))
                    folder.mkdir()
                    process = _started(job, folder, threads, live)
                    started[process.sentinel] = (job, folder, time.monotonic() + _limit(job, timeout), process)
                    taken += 1
                soonest = min(deadline for _, _, deadline, _ in started.values())
                ended = wait(list(started), timeout=max(0.0, soonest - time.monotonic()))
                late = [s for s, (_, _, deadline, _) in started.items() if deadline <= time.monotonic()]
                for sentinel in {*ended, *late}:
                    job, folder, _, process = started[sentinel]
                    timed_out = sentinel not in ended
                    _kill(process)
                    del started[sentinel]
                    yield job, _answer(process, folder, timeout if timed_out else None)
        finally:
            for _, _, _, process in started.values():
                _kill(process)


def _started(job: Job, folder: Path, threads: int, live: Live | None) -> Any:
    """The running process of a job."""
    context: Any = multiprocessing.get_context("fork" if live else "forkserver")
    arguments = (msgspec.json.encode(job), str(folder), threads, dict(os.environ), live)
    process = context.Process(target=worker.work, args=arguments, daemon=False)
    if live:
        process.start()
        return process
    warm()
    with _prepared():
        process.start()
    return process


@contextmanager
def _prepared(*less: str) -> Iterator[None]:
    """Keep multiprocessing from telling the server, or a job, what it must not know.

    The caller's script: a job would import it again, and needs none of it. `less` names what else. The
    function that tells it is stood in for in this thread alone; one thread at a time, or the second would
    keep the first one's substitute for the genuine function.
    """
    with _STARTING:
        genuine, thread = spawn.get_preparation_data, threading.get_ident()

        def told(name: str) -> dict[str, Any]:
            data: dict[str, Any] = genuine(name)
            if threading.get_ident() != thread:
                return data
            return {key: value for key, value in data.items() if not key.startswith(("init_main_", "main_", *less))}

        spawn.get_preparation_data = told
        try:
            yield
        finally:
            spawn.get_preparation_data = genuine


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _limit(job: Job, timeout: float) -> float:
    """The seconds that a job may take: longer where pip has to install a release first."""
    if not job.release or overlays.where(registry.get(job.counter).distribution, job.release).is_dir():
        return timeout
    return timeout + overlays.INSTALL_TIMEOUT


def _kill(process: Any) -> None:
    """End a job and everything it started (it leads a process group of its own)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        if process.is_alive():
            process.kill()
    process.join()


def _answer(process: Any, folder: Path, late_after: float | None) -> Answer:
    """The job's answer, or what its process's end tells."""
    if late_after is not None:
        return Answer(status="timeout", reason=f"gave no answer within {late_after:g} s", passing=True)
    result = folder / "answer.json"
    try:
        if result.stat().st_size > _MOST_READ:
            return Answer(status="failed", reason="its answer is larger than 256 MB")
        return msgspec.json.decode(result.read_bytes(), type=Answer)
    except OSError:
        return Answer(status="failed", reason=_how_it_ended(process.exitcode), passing=True)
    except msgspec.MsgspecError as error:
        return Answer(status="failed", reason=f"its answer makes no sense: {error}", passing=True)


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with status {code} and no answer"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {-code}"
    hints = {"SIGKILL": " (out of memory?)", "SIGXFSZ": " (it wrote more than 256 MB to one file)"}
    return f"its process was killed by {name}{hints.get(name, '')}"
