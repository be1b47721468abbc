"""Each job in a process of its own: other people's code, a time limit, and only JSON comes back.

This is the side of the command; `flopledger.counters.engine.worker` is what runs in the job's process.
A job is forked from a small server that has torch imported, so it starts in milliseconds and no counter sees what
another one did. No counter is imported there; but packages may be that models come from or counters lean on, in the
server of such models alone. Jobs on one model that have to wait for each other are forked from a process that has
built it, besides. A live model, which lives in the caller's
memory, is forked from the caller: the child works on its copy. The answer is a file
without a name, in JSON; nothing that a job sends is ever unpickled.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, spawn, util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from flopledger.counters.engine import kernels, overlays, worker
from flopledger.counters.engine.guard import end_below
from flopledger.counters.engine.job import LONGEST, TIMEOUT, Answer, Job, Live
from flopledger.reference_model import subject
from flopledger.reference_model.names import SpecError

T = TypeVar("T")
LIMIT = 20.0  # seconds that an adapter may take to say what it is; some import torch first
_MOST_READ = 1 << 28
_LONGEST_TMPDIR = 60  # bytes; the address of a socket may have 107, and multiprocessing adds some forty
_PATIENCE = 5.0  # seconds for a guard to end when its job has
_TOGETHER = 8  # jobs of one process: as many as a model usually has on a device
_STARTING, _BEGINNING = threading.Lock(), threading.Lock()


class _Server(forkserver.ForkServer):
    """A process that has torch imported, and perhaps packages, and forks jobs."""

    packages: tuple[str, ...] = ()
    on_meta = True

    def start(self) -> None:
        """Start it, if it does not run yet, and come back at once: it imports torch meanwhile.

        It is a `python -c`, which without a safe path would take torch and json from the working directory. Its
        warnings are not errors, whatever this process was started with.
        """
        safe = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "", "TMPDIR": _place_for_sockets()}
        # Jobs have threads, and cores are shared: who waits for another thread lets go of its core.
        openmp = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_DYNAMIC": "FALSE", "OMP_THREAD_LIMIT": "64"}
        ours = {"FLOPLEDGER_FORKS_FOR": str(os.getpid()), "FLOPLEDGER_PRELOADS": " ".join(self.packages),
                "FLOPLEDGER_ON_META": "yes" if self.on_meta else ""}  # fmt: skip
        with _prepared("sys_path"), _environment(**safe, **openmp, **ours):
            told, sys.warnoptions[:] = [*sys.warnoptions], []
            try:
                self.set_forkserver_preload(["flopledger.counters.engine.preload"])
                self.ensure_running()
            finally:
                sys.warnoptions[:] = told


# A model of somebody's own may have a package of such a name beside it, so it never meets one that is imported.
_PLAIN, _FOR_PACKAGES = _Server(), _Server()
_begun: list[_Server] = []


def warm(packages: Iterable[str] = (), on_meta: bool = True) -> None:
    """Start a fork server, if none was before, and come back at once: it imports torch meanwhile.

    Without `packages` it is the one for all models; with some, which it imports too, it is for models of packages. What
    the meta device takes is there for jobs unless `on_meta` says that they will not be on it; one that is imports that.
    """
    with _BEGINNING:
        if not _begun:
            _FOR_PACKAGES.packages, _FOR_PACKAGES.on_meta = tuple(packages), on_meta
            _begun.append(_FOR_PACKAGES if _FOR_PACKAGES.packages else _PLAIN)
            _begun[0].start()


def _server(jobs: Sequence[Job]) -> _Server:
    """The fork server for jobs: it runs, or starts."""
    ours = _FOR_PACKAGES in _begun and all(_of_a_package(job.spec.model) for job in jobs)
    server = _FOR_PACKAGES if ours else _PLAIN
    server.start()
    return server


def _place_for_sockets() -> str:
    """The folder that multiprocessing removes at exit, made where the address of a socket in it is not too long.

    Torch puts a folder where temporary files go, so the server's go there too.
    """
    before = tempfile.gettempdir()
    if len(os.fsencode(before)) < _LONGEST_TMPDIR:
        return util.get_temp_dir()
    tempfile.tempdir = "/tmp"
    try:
        return util.get_temp_dir()
    finally:
        tempfile.tempdir = before


def run(
    jobs: deque[Job],
    *,
    live: Live | None = None,
    timeout: float = TIMEOUT,
    workers: int | None = None,
    on_running: Callable[[Job], None] = lambda job: None,
) -> Iterator[tuple[Job, Answer]]:
    """Run jobs, each in its own process, and yield answers as they come.

    Jobs are taken from the left of the queue, to which more may be added meanwhile; `on_running` is told of each.
    Where there are more than can run at once, some on one model are forked from a process that has built it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, workers or cores)
    timeout = min(timeout, LONGEST)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # each job has one open, and each process two
    most = _TOGETHER if files == resource.RLIM_INFINITY else max(1, min(_TOGETHER, files // (4 * workers)))
    started: list[_Running] = []
    apart: set[Job] = set()  # those for which a process that has their model is not to be had
    taken = 0
    with tempfile.TemporaryDirectory(prefix="flopledger-", ignore_cleanup_errors=True) as top:
        try:
            while jobs or started:
                while jobs and len(started) < workers:
                    some, folder = _together(jobs, apart, live, workers - len(started), most), Path(top, str(taken))
                    folder.mkdir()
                    taken += 1
                    try:
                        running = _started(some, folder, live)
                    except (OSError, EOFError) as error:
                        for job in some:
                            yield job, Answer(status="failed", reason=_not_started(error), passing=True)
                        continue
                    on_running(some[0])
                    running.deadline = time.monotonic() + _limit(some[0], timeout)
                    started.append(running)
                if not started:
                    continue
                soonest = min(running.deadline for running in started)
                watched = [running.process.sentinel for running in started]
                watched += [running.told for running in started if not running.told.closed]
                ready = wait(watched, timeout=max(0.0, soonest - time.monotonic()))
                for running in [*started]:
                    for code in running.ended():
                        job, paper = running.waiting.popleft()
                        with paper:
                            answer = _answer(code, paper)
                        if running.waiting:
                            on_running(running.waiting[0][0])
                            running.deadline = time.monotonic() + _limit(running.waiting[0][0], timeout)
                        yield job, answer
                    over = running.process.sentinel in ready or not running.waiting
                    if not over and running.deadline > time.monotonic():
                        continue
                    started.remove(running)
                    _end(running.process)
                    if running.waiting and (running.alone or not over):
                        job, paper = running.waiting.popleft()
                        with paper:
                            answer = _answer(running.process.exitcode, paper, None if over else timeout)
                        yield job, answer
                    left = [job for job, _ in running.waiting]
                    running.close()
                    apart.update(left if over else ())
                    jobs.extendleft(reversed(left))
        finally:
            for running in started:
                _end(running.process)
                running.close()


class _Running:
    """A process that works on jobs, one after the other, and what they will have answered."""

    def __init__(self, process: Any, told: Connection, waiting: Iterable[tuple[Job, Any]]):
        self.process, self.told, self.waiting = process, told, deque(waiting)
        self.alone = len(self.waiting) == 1
        self.deadline = 0.0

    def ended(self) -> Iterator[int]:
        """The statuses with which jobs have ended that others come after, or came before."""
        try:
            while self.waiting and not self.told.closed and self.told.poll():
                yield int(self.told.recv_bytes(8))
        except (EOFError, OSError, ValueError):  # it has ended, or a job has written there
            self.told.close()

    def close(self) -> None:
        self.told.close()
        for _, paper in self.waiting:
            paper.close()


def _together(jobs: deque[Job], apart: set[Job], live: Live | None, free: int, most: int) -> list[Job]:
    """The next job, and others on its model that had to wait otherwise: at `most` so many, and each core kept busy.

    Models are shared that only packages make, and not by releases, whose packages would have to be there first.
    """
    first = jobs.popleft()
    if live or first in apart or first.release or not _of_a_package(first.spec.model):
        return [first]
    most = min(1 + len(jobs) // free, most)
    alike = [job for job in jobs if job.spec.model == first.spec.model and not job.release and job not in apart]
    alike.sort(key=lambda job: job.device != first.device)
    # On meta first: what is found out there says how to build the model on the CPU.
    some = sorted([first, *alike[: most - 1]], key=lambda job: job.device != "meta")
    left = [job for job in jobs if not any(job is each for each in some)]
    jobs.clear()
    jobs.extend(left)
    return some


def _of_a_package(model: str) -> bool:
    try:
        return subject.is_ours(model)
    except SpecError:  # a file that is gone: the job says so
        return False


def _started(jobs: list[Job], folder: Path, live: Live | None) -> _Running:
    """The running process of jobs. What they leave in its folder for temporary files goes with the command.

    Raises:
        OSError, EOFError: no process can be had, or the fork server has ended.
    """
    context: Any = multiprocessing.get_context("fork" if live else "forkserver")
    environment = {**os.environ, "TMPDIR": str(folder), "FLOPLEDGER_CACHE": str(overlays.cache())}
    for name in ("TEMP", "TMP", "PYTHONWARNINGS"):
        environment.pop(name, None)
    with contextlib.ExitStack() as stack:
        # A paper has no name, so nobody replaces it.
        papers = [stack.enter_context(tempfile.TemporaryFile(dir=folder.parent)) for _ in jobs]
        sheets = [Connection(os.dup(paper.fileno()), readable=False) for paper in papers]
        told, tell = context.Pipe(duplex=False)
        arguments = (msgspec.json.encode(jobs), sheets, tell, environment, live)
        process = context.Process(target=worker.work, args=arguments, daemon=False)
        if live:
            kernels.load()
            process.start()
        else:
            with _prepared(server=_server(jobs)):
                process.start()
        tell.close()
        stack.pop_all()
    return _Running(process, told, zip(jobs, papers, strict=True))


def _not_started(error: Exception) -> str:
    why = f" ({error})" if str(error) else ""
    return f"no process could be started for it{why}: a limit on memory, processes, files or CPU time is in the way"


def apart(question: Callable[[], T], kind: type[T]) -> T:
    """What a function returns that may do anything: it runs in a forked copy of this process, for some seconds.

    Raises:
        ValueError: it raised, took too long, ended its process or returned something else than a `kind`.
    """
    try:
        with tempfile.TemporaryFile() as paper:
            sheet = Connection(os.dup(paper.fileno()), readable=False)
            process = multiprocessing.get_context("fork").Process(target=worker.reply, args=(sheet, question))
            process.start()
            late = not wait([process.sentinel], timeout=LIMIT)
            _end(process)
            if late:
                raise ValueError(f"gave no answer within {LIMIT:g} s")
            paper.seek(0)
            data = paper.read(_MOST_READ)
    except OSError as error:
        raise ValueError(_not_started(error)) from None
    if not data:
        raise ValueError(f"gave no answer: {_how_it_ended(process.exitcode)}")
    try:
        said: Any = msgspec.json.decode(data, type=worker.Said)
        if said.trouble is not None:
            raise ValueError(said.trouble)
        return msgspec.json.decode(said.answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"gave an answer that makes no sense: {error}") from None


@contextmanager
def _prepared(*less: str, server: _Server | None = None) -> Iterator[None]:
    """Keep multiprocessing from telling a server, or a job, what it must not know; and jobs are forked by `server`.

    The caller's script: a job would import it again, and needs none of it. `less` names what else. The
    functions that tell it, and that know a server, are stood in for in this thread alone; one thread at a time, or the
    second would keep the first one's substitute for the genuine function.
    """
    with _STARTING:
        genuine, connect, thread = spawn.get_preparation_data, forkserver.connect_to_new_process, threading.get_ident()

        def told(name: str) -> dict[str, Any]:
            data: dict[str, Any] = genuine(name)
            if threading.get_ident() != thread:
                return data
            return {key: value for key, value in data.items() if not key.startswith(("init_main_", "main_", *less))}

        def connected(fds: Sequence[int]) -> tuple[int, int]:
            if server is None or threading.get_ident() != thread:
                return connect(fds)
            return server.connect_to_new_process(fds)

        spawn.get_preparation_data, forkserver.connect_to_new_process = told, connected
        try:
            yield
        finally:
            spawn.get_preparation_data, forkserver.connect_to_new_process = genuine, connect


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
    if not job.release or overlays.is_ready(job.distribution, job.release):
        return timeout
    return timeout + overlays.INSTALL_TIMEOUT


def _end(process: Any) -> None:
    """End a job and everything it started; its guard, which is `process`, ends by itself then."""
    if process.exitcode is None:
        end_below(process.pid)
        process.join(_PATIENCE)
    if process.exitcode is None:  # the job has stopped its guard
        process.kill()
        process.join()


def _answer(code: int | None, paper: Any, late_after: float | None = None) -> Answer:
    """The job's answer, or what its process's end tells."""
    if late_after is not None:
        return Answer(status="timeout", reason=f"gave no answer within {late_after:g} s", passing=True)
    size = os.fstat(paper.fileno()).st_size
    if size > _MOST_READ:
        return Answer(status="failed", reason="its answer is larger than 256 MB")
    if not size:
        return Answer(status="failed", reason=_how_it_ended(code), passing=True)
    paper.seek(0)
    try:
        return msgspec.json.decode(paper.read(), type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
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
