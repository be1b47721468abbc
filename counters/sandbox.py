"""Each job in a process of its own: other people's code, a time limit, and only JSON comes back.

A job is forked from a small server that has torch imported and nothing else, so it starts in
milliseconds and no counter sees what another one did. A live model, which lives in the caller's
memory, is forked from the caller instead: the child works on its copy. The answer is a file of
JSON; nothing that a job sends is ever unpickled.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import msgspec

from counters import registry, releases
from counters.tally import Count, Unsupported, checked
from reference_model.ledger import Ledger
from reference_model.spec import Spec, SpecError

LEDGER = "@ledger"  # the job that traces the reference; no counter can have this name
TIMEOUT = 300.0
_MOST_WRITTEN = 1 << 28  # bytes a job may write to one file; a counter that prints for ever meets it
_MOST_READ = 1 << 28


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One counter (or the ledger) on one model."""

    counter: str
    spec: Spec
    device: str = "meta"
    release: str | None = None

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's process leaves behind."""

    status: str
    count: Count | None = None
    ledger: Ledger | None = None
    version: str | None = None
    reason: str | None = None
    seconds: float | None = None
    passing: bool = False  # a failure of the moment, which need not be the same the next time


class Live(msgspec.Struct, frozen=True):
    """A model and inputs that exist only in this process's memory."""

    model: Any
    inputs: tuple[Any, ...]
    label: str


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
    context: Any = multiprocessing.get_context("fork" if live else "forkserver")
    if not live:
        os.environ["FLOPLEDGER_FORKS_FOR"] = str(os.getpid())
        context.set_forkserver_preload(["counters.warm"])
    started: dict[Any, tuple[Job, Path, float, Any]] = {}
    taken = 0
    with tempfile.TemporaryDirectory(prefix="flopledger-", ignore_cleanup_errors=True) as top:
        try:
            while jobs or started:
                while jobs and len(started) < workers:
                    job, folder = jobs.popleft(), Path(top, str(taken))
                    folder.mkdir()
                    threads = 1 if live else max(1, cores // workers)
                    arguments = (msgspec.json.encode(job), str(folder), threads, dict(os.environ), live)
                    process = context.Process(target=_work, args=arguments, daemon=False)
                    with _without_main():
                        process.start()
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


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from importing the caller's script again in the child: jobs need none of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _limit(job: Job, timeout: float) -> float:
    """The seconds that a job may take: longer where pip has to install a release first."""
    if not job.release or releases.where(registry.get(job.counter).distribution, job.release).is_dir():
        return timeout
    return timeout + releases.INSTALL_TIMEOUT


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
        code = process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = {
                "SIGKILL": " (out of memory?)",
                "SIGXFSZ": " (it wrote more than 256 MB to one file)",
            }.get(name, "")
            return Answer(status="failed", reason=f"its process was killed by {name}{hint}", passing=True)
        return Answer(status="failed", reason=f"its process ended with status {code} and no answer", passing=True)
    except msgspec.MsgspecError as error:
        return Answer(status="failed", reason=f"its answer makes no sense: {error}", passing=True)


def _work(encoded: bytes, folder: str, threads: int, environment: dict[str, str], live: Live | None) -> None:
    """The job's process. Whatever happens, at most one file of JSON is left behind."""
    os.setsid()
    os.environ.clear()  # the fork server has that of the first command it served
    os.environ.update(environment)
    _end_with_the_command()
    try:
        _redirect(Path(folder, "output"))
    except OSError:  # the command was interrupted and has cleared up already
        os._exit(1)
    answer = Answer(status="failed", reason="no answer")
    try:
        import torch

        torch.set_num_threads(threads)
        answer = _perform(msgspec.json.decode(encoded, type=Job), live)
    except Unsupported as error:
        answer = Answer(status="unsupported", reason=str(error))
    except releases.OverlayError as error:
        passing = isinstance(error, releases.Unreachable)
        answer = Answer(status="unavailable", reason=str(error), passing=passing)
    except SpecError as error:
        answer = Answer(status="rejected", reason=str(error))
    except SystemExit as error:
        answer = Answer(status="failed", reason=f"called sys.exit({error.code!r})")
    except BaseException as error:  # a counter may raise anything at all; its process ends here
        full = isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        answer = Answer(status="failed", reason=_reason(error), passing=full)
    whole = Path(folder, "answer.json")
    part = whole.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(answer))
    part.replace(whole)
    os._exit(0)  # not through atexit: a library's own farewell may hang


def _end_with_the_command() -> None:
    """Where the command is killed outright, nobody is left to keep the time limit: end, with all that was started."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _redirect(output: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_WRITTEN, _MOST_WRITTEN))
    sys.stdout.flush()
    sys.stderr.flush()
    null, file = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    # A caller may have put something of its own in these places (Jupyter, pytest).
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def _perform(job: Job, live: Live | None) -> Answer:
    start = time.perf_counter()
    if job.counter == LEDGER:
        return Answer(status="counted", ledger=_traced(job, live), seconds=time.perf_counter() - start)
    adapter = registry.get(job.counter)
    overlay = str(releases.overlay(adapter.distribution, job.release)) if job.release else None
    if overlay:
        releases.put_first(overlay)
    elif clash := registry.overwritten(adapter):
        raise Unsupported(clash)
    model, inputs = _made(job, live)
    count = checked(adapter.count(model.eval(), inputs))
    if overlay and not releases.came_from(overlay):
        raise RuntimeError(f"{job.name} was counted by a package from elsewhere than its overlay")
    return Answer(
        status="counted",
        count=count,
        version=registry.version_of(adapter.distribution),
        seconds=time.perf_counter() - start,
    )


def _made(job: Job, live: Live | None) -> tuple[Any, tuple[Any, ...]]:
    if live is None:
        if job.device != "meta":
            _check_memory(job.spec)
        return job.spec.build(job.device)
    if job.device != "meta":
        return live.model, live.inputs
    from torch import Tensor
    from torch.utils._pytree import tree_map

    # This is the child's copy of the model; the caller's stays where it is.
    inputs = tree_map(lambda v: v.to("meta") if isinstance(v, Tensor) else v, live.inputs)
    return live.model.to("meta"), inputs


def _check_memory(spec: Spec) -> None:
    """Refuse to build what this machine cannot hold, before it drags everybody else down.

    Raises:
        Unsupported: the weights alone are more than the memory that is free.
    """
    memory = Path("/proc/meminfo")
    if not memory.exists():
        return
    available = next(line for line in memory.read_text().splitlines() if line.startswith("MemAvailable:"))
    free = int(available.split()[1]) * 1024
    model, inputs = spec.build("meta")
    needed = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers(), *inputs])
    if needed > free:
        raise Unsupported(
            f"it counts on real tensors, and this model's need {needed / 1e9:,.0f} GB; {free / 1e9:,.0f} GB are free"
        )


def _traced(job: Job, live: Live | None) -> Ledger:
    from reference_model.tracing import ModelError, trace

    if live is not None:
        model, inputs, label = live.model, live.inputs, live.label
    else:
        model, inputs = job.spec.build("meta")
        label = job.spec.model
    try:
        return trace(model, inputs, name=label, device="meta" if live is None else None)
    except ModelError as error:
        if live is not None:
            raise SpecError(f"the model rejects these inputs: {error}") from error
        reason = str(error)
    try:  # data-dependent, or really wrong: real tensors tell
        model, inputs = job.spec.build("cpu")
        ledger = trace(model, inputs, name=label, device="cpu")
    except ModelError as error:
        shapes = ", ".join(map(str, job.spec.inputs))
        raise SpecError(f"model {label!r} rejects input {shapes}: {error}") from error
    note = f"traced on real tensors: on the meta device the model says {reason!r}"
    return msgspec.structs.replace(ledger, notes=[*ledger.notes, note])


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:2000] if lines else type(error).__name__
