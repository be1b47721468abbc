"""What runs in the process of a job: whatever happens there, at most one answer in JSON is left behind.

`flopledger.counters.engine.supervisor` starts it, keeps the time limit and reads the answer.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import itertools
import os
import re
import resource
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from flopledger.counters import registry
from flopledger.counters.engine import kernels, overlays, sources
from flopledger.counters.engine.guard import guarded, in_turn
from flopledger.counters.engine.job import LEDGER, Answer, Job, Live
from flopledger.counters.tally import Count, Unsupported, checked, exact
from flopledger.reference_model import inputs, subject, zoo
from flopledger.reference_model.faults import words_of
from flopledger.reference_model.ledger import Ledger, Mode
from flopledger.reference_model.names import SpecError, working_directory
from flopledger.reference_model.subject import Spec

if TYPE_CHECKING:
    from torch import nn

_MOST_SAID = 10_000  # characters of an error
_MOST_WRITTEN = 1 << 28  # bytes a job may write to one file


class NotNow(Unsupported):
    """What may be possible another time, or on another machine."""


def work(
    encoded: bytes, papers: list[Connection], told: Connection, environment: dict[str, str], live: Live | None
) -> None:
    """The jobs' process, from its first line to its last. Each answer goes to its paper, a file without a name.

    Several jobs are on one model, which is built once. `told` is written to at the end of each.
    """
    os.environ.clear()  # the fork server has that of the first command it served
    os.environ.update(environment)
    jobs = msgspec.json.decode(encoded, type=list[Job])
    if len(jobs) > 1:
        guarded(lambda: _in_turn(jobs, papers, told))
    told.close()
    guarded(lambda: write(papers[0], _answered(jobs[0], live)))


def _in_turn(jobs: list[Job], papers: list[Connection], told: Connection) -> None:
    """Jobs on one model: each in a process forked from this one, which has built it, and guards them.

    Where that cannot be, as a fork has none of the threads that building left, no answer is left behind.
    """
    import torch

    sys.path[:] = safe_path()
    be_quiet()
    torch.set_num_threads(1)  # its pool of threads would not be in a fork
    kernels.quicken()
    files: set[str] = set()

    def answer(at: int) -> None:
        told.close()
        os.environ["TMPDIR"] = str(Path(os.environ["TMPDIR"], str(at)))
        Path(os.environ["TMPDIR"]).mkdir()
        tempfile.tempdir = None
        write(papers[at], _answered(jobs[at], None, files))

    for device, some in itertools.groupby(range(len(jobs)), lambda at: jobs[at].device):
        ours = [*some]
        with _opened() as opened:
            _have_at_hand([jobs[at].spec for at in ours], device)
        files |= opened
        if threading.active_count() > 1:
            return
        for status in in_turn(functools.partial(answer, at) for at in ours):
            told.send_bytes(str(status).encode())
    os._exit(0)


def _have_at_hand(specs: list[Spec], device: str) -> None:
    """Build a model for several jobs. Where that cannot be, each of them finds out, and says so."""
    try:
        if device != "meta":
            _check_memory(specs[0])
    except (NotNow, SpecError):
        return
    subject.have_at_hand(specs, device)


class Said(msgspec.Struct, frozen=True):
    """What `reply` leaves behind: an answer in JSON, or why there is none."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    trouble: str | None = None


def reply(paper: Connection, question: Callable[[], Any]) -> None:
    """Answer a question that runs somebody else's code, in this process that is there for nothing else."""
    guarded(lambda: write(paper, _said_to(question)))


def _said_to(question: Callable[[], Any]) -> Said:
    try:
        be_quiet()
        return Said(answer=msgspec.Raw(msgspec.json.encode(question())))
    except registry.UnknownCounter as error:
        return Said(trouble=said(error))
    except BaseException as error:
        return Said(trouble=f"cannot say what it is: {_reason(error)}")


def write(paper: Connection, answer: Any) -> NoReturn:
    """Leave an answer behind, and end: not through atexit, as a library's own farewell may hang."""
    try:
        written = msgspec.json.encode(answer)
    except UnicodeEncodeError:  # a lone surrogate, in the name of a module or a file
        written = msgspec.json.encode(_printable(msgspec.to_builtins(answer)))
    with open(paper.fileno(), "wb", closefd=False) as file:
        file.write(written)
    os._exit(0)


def _printable(value: Any) -> Any:
    """The same, with an escape for what UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return value


def _answered(job: Job, live: Live | None, opened: Iterable[str] = ()) -> Answer:
    """`opened` are the files that were read before this process began, to build the model."""
    try:
        sys.path[:] = safe_path()
        be_quiet()
        with _opened() as files:
            answer = _attempt(job, live)
        if live is None and not answer.passing:
            answer = msgspec.structs.replace(answer, sources=_sources(job, {*opened, *files}))
        return answer
    except BaseException as error:  # around the job rather than in it
        return Answer(status="failed", reason=_reason(error), passing=True)


def safe_path() -> list[str]:
    """This process's search path: the standard library, what the fork server was started with, and the caller's own.

    The caller's is last, as its script's folder and the working directory are in it; and before PYTHONPATH comes
    the standard library, so that a model's folder can lie between the two, as that of a script does.
    """
    preload = sys.modules.get("flopledger.counters.engine.preload")
    here = ("", ".", working_directory())
    first = getattr(preload, "PATH", None) or [entry for entry in sys.path if entry not in here]
    whole = dict.fromkeys([*first, *filter(None, sys.path)])
    return sorted(whole, key=lambda entry: entry not in subject.STANDARD)


def _attempt(job: Job, live: Live | None) -> Answer:
    """The answer of a job, also where it raises."""
    try:
        import torch

        # Always as many: a sum in another order may let a detector find one thing more. In a fork of the caller there
        # are none of the caller's threads, for which torch would wait.
        torch.set_num_threads(2 if live is None else 1)
        _hold_memory()
        kernels.quicken()
        return _perform(job, live)
    except Unsupported as error:
        return Answer(status="unsupported", reason=said(error), passing=isinstance(error, NotNow))
    except overlays.OverlayError as error:
        return Answer(status="unavailable", reason=said(error), passing=isinstance(error, overlays.Unreachable))
    except SpecError as error:
        return Answer(status="rejected", reason=said(error), passing=_of_the_moment(error))
    except SystemExit as error:
        return Answer(status="failed", reason=f"called sys.exit({error.code!r})")
    except BaseException as error:  # a counter may raise anything at all; its process ends here
        return Answer(status="failed", reason=_reason(error, job.distribution), passing=_of_the_moment(error))


def _hold_memory() -> None:
    """Have the allocator keep what a forward lets go of, for its next operation.

    glibc asks the system for each tensor of 32 MB and more anew, page by page: a fifth of a detector's forward.
    """
    with suppress(AttributeError, OSError):  # another allocator
        option = ctypes.CDLL(None).mallopt
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
        for name, size in ((trim_threshold, (1 << 31) - 1), (top_pad, 1 << 26), (mmap_threshold, 1 << 30)):
            option(name, size)


def _perform(job: Job, live: Live | None) -> Answer:
    start = time.perf_counter()
    if job.counter == LEDGER:
        return Answer(status="counted", ledger=_traced(job.spec, live, job.real), seconds=time.perf_counter() - start)
    adapter = registry.get(job.counter)
    _check_mode(adapter, job.spec.mode)
    overlay = str(overlays.overlay(adapter.distribution, job.release)) if job.release else None
    if overlay:
        overlays.put_first(overlay)
    model, tensors = _made(job, live)
    _check_origin(adapter.distribution, overlay)
    try:
        count = checked(_plain(adapter.count(model, tensors)))
    except Unsupported:
        raise
    except Exception as error:
        if _is_scripted(model) and not _of_the_moment(error):  # such modules take no hooks, and nothing is added
            raise Unsupported(f"cannot count TorchScript: {_reason(error)}") from error
        raise
    finally:  # a stranger's error would be put down to the library
        _check_origin(adapter.distribution, overlay)
    if overlay and not overlays.came_from(overlay):
        raise RuntimeError(f"{job.name} was counted by a package from elsewhere than its overlay")
    return Answer(
        status="counted",
        count=count,
        version=registry.version_of(adapter.distribution),
        seconds=time.perf_counter() - start,
    )


def _is_scripted(model: nn.Module) -> bool:
    """Whether any of it is TorchScript."""
    import torch

    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


def _check_mode(adapter: registry.Counter, mode: Mode) -> None:
    """Raises Unsupported where a counter has no number for this way of running a model."""
    if mode in registry.modes(adapter):
        return
    if mode == "step":
        raise Unsupported("it counts a forward only; a step is a forward and its backward")
    raise Unsupported("it puts a model in eval mode, so it does not count a forward in train mode")


def _check_origin(distribution: str, overlay: str | None) -> None:
    """Check that what this process has of an installed counter is what is installed.

    A folder of the same name beside the model, or in the script that calls, would be counted with and go by the
    installed version.

    Raises:
        RuntimeError: it is something else.
    """
    for top, place in ({} if overlay else registry.modules_of(distribution)).items():
        if (module := sys.modules.get(top)) is None:
            continue
        # What is below a package comes from its folder; one without a file of its own may have many.
        whole = getattr(module, "__file__", None)
        for name in [top] if whole else [each for each in sys.modules if each.startswith(f"{top}.")]:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not Path(file).resolve().is_relative_to(place):
                raise RuntimeError(f"{name} is {file} here, and not that of the installed {distribution} ({place})")


def _plain(count: Any) -> Count:
    """A count with numbers of Python's own: a library may add up NumPy's, or tensors.

    Raises:
        ValueError: what is no whole number, or is no `Count` at all.
    """
    if not isinstance(count, Count):
        raise ValueError(f"its `count` gave a {type(count).__name__}, not a Count")
    return msgspec.structs.replace(
        count,
        total=_whole(count.total),
        parts=[msgspec.structs.replace(part, count=_whole(part.count)) for part in count.parts],
        asides=[msgspec.structs.replace(aside, amount=_whole(aside.amount)) for aside in count.asides],
        params=None if count.params is None else _whole(count.params),
        uncounted={name: _whole(calls) for name, calls in count.uncounted.items()},
    )


def _whole(value: Any) -> int:
    """Of either sign, as asides have. Raises ValueError."""
    try:
        negative = bool(value < 0)
    except (TypeError, ValueError, RuntimeError):
        negative = False
    size = exact(-value if negative else value)
    return -size if negative else size


def _made(job: Job, live: Live | None) -> tuple[Any, tuple[Any, ...]]:
    """The model as adapters have it: it takes these tensors, one by one."""
    from flopledger.counters.engine.positional import positional
    from flopledger.reference_model.backward import Step

    model, args, kwargs = _given(job, live)
    try:
        model.train(job.spec.mode != "eval")
    except NotImplementedError:  # an exported program has one mode, and raises at libraries that set another
        model.train = model.eval = lambda *_: model
    if job.spec.mode == "step":
        model.forward = Step(model.forward)
    return positional(model, args, kwargs)


def _given(job: Job, live: Live | None) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    import torch

    from flopledger.reference_model.known import input_on_meta, moved
    from flopledger.reference_model.running import materialise, unwrapped

    if live is not None:
        model, args, kwargs = live.model, live.args, live.kwargs
    else:
        if job.device != "meta":
            _check_memory(job.spec)
            if subject.values_are_free(job.spec):  # nor has the number of threads a say then, and cores are shared
                torch.set_num_threads(1)
        model, args, kwargs = job.spec.build(job.device)
    model, _ = unwrapped(model)
    if job.device == "meta":
        if live is not None:
            model = moved(model)  # the child's copy; the caller's stays where it is
        args, kwargs = inputs.mapped(input_on_meta, (args, kwargs))
    materialise(model, args, kwargs)
    return model, args, kwargs


def _check_memory(spec: Spec) -> None:
    """Refuse to build what this machine cannot hold, before it drags everybody else down.

    Raises:
        NotNow: the weights alone are more than the memory that is free.
    """
    if not subject.is_at_hand(spec.model, "cpu"):
        filled, _ = spec.filled()
        _check_fits(subject.on_meta(spec.model), inputs.made(filled.inputs or (), "meta"))


def _check_fits(model: nn.Module | None, arguments: object) -> None:
    """Raises NotNow where what is on meta here would take more memory than is free; no model is one that is there."""
    from flopledger.reference_model.known import is_lazy

    memory = Path("/proc/meminfo")
    if not memory.exists():
        return
    available = next(line for line in memory.read_text().splitlines() if line.startswith("MemAvailable:"))
    free = int(available.split()[1]) * 1024
    held = [*model.parameters(), *model.buffers()] if model is not None else []
    tensors = [*held, *inputs.tensors(arguments)]
    needed = sum(t.numel() * t.element_size() for t in tensors if not is_lazy(t))
    if needed > free:
        raise NotNow(
            f"not enough memory for real tensors: these need {needed / 1e9:,.0f} GB; {free / 1e9:,.0f} GB are free"
        )


_AFTER_A_BACKWARD = (
    "autograd has threads in this process, as after torch.export or a backward on an accelerator, and torch then runs"
    " no backward in a forked copy of it: compare a step before that, or give the model as a file, 'file.py:make'"
)


def _traced(asked: Spec, live: Live | None, real: bool = True) -> Ledger:
    from flopledger.reference_model.running import ModelError, trace

    if live is not None:
        try:
            return trace(live.model, live.args, live.kwargs, name=live.label, mode=asked.mode)
        except ModelError as error:
            if "autograd's threading" in said(error):
                raise SpecError(_AFTER_A_BACKWARD) from error
            raise SpecError(error.fault.told("the model rejects these inputs", "the model fails")) from error
    on_real = real and subject.needs_values(asked.model)
    if on_real:
        subject.have_at_hand([asked], "cpu")  # which tells its inputs, too
    spec, why = asked.filled()
    texts = list(spec.inputs or ())
    notes = [] if why is None else [f"{subject.NOT_GIVEN}, so it is the model's own: {', '.join(texts)} ({why})"]
    if on_real:
        try:
            _check_fits(None, inputs.made(texts, "meta"))
        except NotNow as error:
            raise SpecError(f"model {spec.model!r} cannot be traced: {error}") from error
        ledger, reason = _on_real(spec), f"{subject.ON_REAL}: what a detector has to do is what it finds"
    else:
        ledger, reason = _on_meta(spec, real)
    notes += [reason] if reason else []
    if inputs.files(texts):
        notes.append(f"what was in the files that went in: {', '.join(ledger.inputs)}")
    # As they were asked for: a tensor no longer says what its values were drawn from.
    return msgspec.structs.replace(ledger, inputs=texts, notes=[*ledger.notes, *notes])


def _on_meta(spec: Spec, real: bool) -> tuple[Ledger, str]:
    """The ledger, and why it is one of real tensors; "" where it is not, as always unless it may be `real`."""
    from flopledger.reference_model.running import ModelError, trace

    model, args, kwargs = spec.build("meta")
    try:
        return trace(model, args, kwargs, name=spec.model, device="meta", mode=spec.mode), ""
    except ModelError as error:
        reason = error.fault.said
        if not real:
            raise SpecError(error.fault.told(*_named(spec))) from error
        try:
            _check_fits(model, (args, kwargs))
        except NotNow as error:
            raise SpecError(f"model {spec.model!r} cannot be traced on the meta device ({reason}): {error}") from error
    # Data-dependent, or really wrong: real tensors tell.
    return _on_real(spec), f"{subject.ON_REAL}: on the meta device the model says {reason!r}"


def _on_real(spec: Spec) -> Ledger:
    from flopledger.reference_model.running import ModelError, trace

    try:
        return trace(*spec.build("cpu", drawn=True), name=spec.model, device="cpu", mode=spec.mode)
    except ModelError as error:
        raise SpecError(error.fault.told(*_named(spec))) from error


def _named(spec: Spec) -> tuple[str, str]:
    """A model with its inputs, for an error of these and for any other."""
    which, given = f"model {spec.model!r}", f"input {', '.join(spec.inputs or ())}"
    return f"{which} rejects {given}", f"{which} fails with {given}"


@contextmanager
def _opened() -> Iterator[set[str]]:
    """The files that are opened to be read meanwhile: a model may be made from a YAML file beside its code."""
    files: set[str] = set()
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str) and not arguments[2] & os.O_ACCMODE:
            files.add(arguments[0])

    sys.addaudithook(hook)
    try:
        yield files
    finally:
        watching = False


def _sources(job: Job, opened: set[str]) -> list[str]:
    """The files that a model of somebody's own was made from, less those of packages whose versions tell.

    Nothing for our own model and those of zoos: versions tell all of them. What the counter brought along has
    digests of its own.
    """
    source, name, _ = subject.split(job.spec.model)
    if source in ("", *zoo.ZOOS):
        described = zoo.file(source, name)
        return [str(Path(described).resolve())] if described else []
    package = "" if source.endswith((".py", *subject.SAVED)) else source.partition(".")[0]
    itself = Path(source).resolve()
    modules = {
        Path(str(module.__file__)).resolve(): name.partition(".")[0] == package
        for name, module in [*sys.modules.items()]
        if getattr(module, "__file__", None)
    }
    # A program is opened by C++, which does not say so.
    read = {Path(file).resolve(): False for file in (*opened, source) if not file.endswith(".pyc")}
    elsewhere = [*_versioned(), *_brought(job)]
    return sorted(
        str(file)
        for file, its_own in {**read, **modules}.items()
        if file.is_file() and (its_own or file == itself or not any(map(file.is_relative_to, elsewhere)))
    )


def _brought(job: Job) -> set[Path]:
    """The files of the counter, in a job of one."""
    if job.counter == LEDGER:
        return set()
    return set().union(*sources.files(type(registry.get(job.counter)).__module__))


def _versioned() -> set[Path]:
    """Folders whose content a version tells, or that hold nothing of anybody's."""
    installed = [path for name, path in sysconfig.get_paths().items() if name.endswith("lib")]
    ours = [Path(str(file)).parent for file in (subject.__file__, registry.__file__)]
    places: list[str | Path] = [*installed, sysconfig.get_path("stdlib"), *ours, overlays.cache() / "overlays",
              "/proc", "/sys", "/dev", "/etc", "/usr/lib", "/usr/share"]  # fmt: skip
    return {Path(place).resolve() for place in places}


def be_quiet() -> None:
    """Let nothing that is printed, warned or written without end reach anybody."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    most = _MOST_WRITTEN if hard == resource.RLIM_INFINITY else min(hard, _MOST_WRITTEN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    # A caller may have put something of its own in these places (Jupyter, pytest).
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    faulthandler.disable()
    warnings.resetwarnings()  # of one that is an error somebody's number would depend


_MOMENT = re.compile(
    "allocate|out of memory|not enough memory|bad_alloc|cannot map|failed to map|no space left|disk quota|"
    "too many open files|start new thread|resource temporarily unavailable|timed out|connection|unreachable",
    re.IGNORECASE,
)


def _of_the_moment(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, may be gone the next time: memory, the disk, the network."""
    while error is not None:
        if isinstance(error, (MemoryError, OSError, KeyboardInterrupt, Warning)) or _MOMENT.search(said(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def said(error: BaseException) -> str:
    """What an error says of itself; some cannot even do that."""
    try:
        return str(error)
    except BaseException:
        return "(its own message raised an error)"


def _reason(error: BaseException, distribution: str = "") -> str:
    """An error in a line, with its type; with a distribution, also with the line of it that was running last."""
    words = words_of(error).removeprefix(type(error).__name__).removeprefix(": ")
    words = f"{words[:_MOST_SAID]} …" if len(words) > _MOST_SAID else words
    inside = registry.modules_of(distribution) if distribution else {}
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        top, *_ = str(frame.f_globals.get("__name__", "")).split(".")
        if top in inside:
            file = Path(frame.f_code.co_filename).parts
            at = len(file) - 1 - file[::-1].index(top) if top in file else -1
            place = f" ({'/'.join(file[at:])}:{line})"
    return f"{type(error).__name__}{': ' * bool(words)}{words}{place}"
