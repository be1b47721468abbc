"""The command line's options and what its commands share: errors, progress, counting."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from flopledger.reports.pages.terminal import Format, printable


class Commands(TyperGroup):
    """Says of each command the whole first sentence, however narrow the terminal."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(1000)) for name in self.list_commands(ctx)]
            )


app = typer.Typer(
    name="flopledger",
    cls=Commands,
    help="Run one PyTorch model through many FLOP counters and explain every difference exactly.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def complete_counters(incomplete: str) -> list[str]:
    from flopledger.counters import registry

    inert = (name for name in registry.names() if name == printable(name))  # the shell shows them as they are
    return [name for name in inert if name.lower().startswith(incomplete.lower())]


def models_completed(incomplete: str) -> list[str]:
    from flopledger.reference_model import zoo

    source, colon, _ = incomplete.partition(":")
    if colon:
        known = [f"{source}:{name}" for name in zoo.names(source)] if source in zoo.ZOOS else []
    else:
        known = ["mobilenet_v2", "mobilenet_v2?pooling=mean", *(f"{each}:" for each in zoo.ZOOS)]
    return [name for name in known if name.startswith(incomplete)]


def _time_limit(seconds: float) -> float:
    from flopledger.counters.engine.job import LONGEST

    if not 0.1 <= seconds <= LONGEST:  # nor is NaN
        raise typer.BadParameter(f"{seconds:g} is not between 0.1 and {LONGEST:.0f} seconds, which is a week")
    return seconds


class Mode(StrEnum):
    """How the model is run; `flopledger.reference_model.ledger.Mode` without importing it."""

    eval = "eval"
    train = "train"
    step = "step"


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="[MODEL]",
        help="mobilenet_v2, mobilenet_v2?width_mult=0.35, torchvision:resnet50, file.py:make, package:make, "
        "exported.pt2 or script.ts.",
        autocompletion=models_completed,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("-i", "--input", metavar="[NAME=]INPUT", help="What goes in: 1x3x224x224, ids=1x128:int64[0:30522], "
                 "mask=1x128:bool=1, scale=0.5, [3x224x224,3x256x200], @inputs.json, x=@x.npy; repeat for several.  "
                 "[default: what the model's own metadata name]"),
]  # fmt: skip
Counters = Annotated[
    list[str] | None,
    typer.Option("-c", "--counter", metavar="COUNTER", help="COUNTER or COUNTER==RELEASE; repeat for several.  "
                 "[default: all]", autocompletion=complete_counters),
]  # fmt: skip
ModeOption = Annotated[
    Mode,
    typer.Option("--mode", case_sensitive=False, help="eval; train: a forward in train mode; step: that and the "
                 "backward of the model's loss, or of the sum of its outputs."),
]  # fmt: skip
Past = Annotated[
    int | None,
    typer.Option("--past", metavar="TOKENS", min=1, help="For transformers: one new token, with so many before it in "
                 "the cache of keys and values; as ?past=TOKENS in MODEL."),
]  # fmt: skip
Form = Annotated[Format, typer.Option("--format", help="How to print.", case_sensitive=False)]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", callback=_time_limit, help="How long each counter may take."),
]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="How many run at once.  [default: one per core]")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Count again, whatever is kept of earlier runs.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run what only the baseline names: a model of somebody's own, or such a counter."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes on stderr.")]
Out = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the pages go.")]
Left = Annotated[str, typer.Argument(help="A counter, or COUNTER==RELEASE.", autocompletion=complete_counters)]
Right = Annotated[str, typer.Argument(help="Another counter.", autocompletion=complete_counters)]
DEFAULT = "mobilenet_v2"


def compared(
    model: str,
    inputs: list[str] | None,
    names: list[str] | None,
    timeout: float,
    jobs: int | None,
    quiet: bool,
    no_cache: bool = False,
    mode: Any = Mode.eval,
    past: int | None = None,
) -> Any:
    """The report of a run, with a bar where somebody can see it; a usage error where it cannot be had."""
    from flopledger.counters.engine import adapters
    from flopledger.reference_model.subject import NOT_GIVEN, ON_REAL
    from flopledger.reports.compare import compare
    from flopledger.reports.pages import numbers

    try:
        total = len(adapters.usual() if names is None else dict.fromkeys(names)) + 1
        with progress(total, quiet) as (_, advance):
            if past is not None:
                model = after(model, past)
            options: dict[str, Any] = {"mode": str(mode), "timeout": timeout, "jobs": jobs, "keep": not no_cache}
            found = compare(model, inputs, counters=names, on_running=advance.running, on_done=advance, **options)
    except ValueError as error:
        refuse(error)
    except OSError as error:
        fail(_cannot_work(error))
    if not quiet:
        for text in found.run.ledger.notes:
            if text.startswith((NOT_GIVEN, ON_REAL)):
                note(numbers.brief(text))
    return found


def about(run: Any) -> dict[str, Any]:
    """What the JSON of a command says of the model and its ledger, before its own answer.

    Who asks for `macs` where something is unpriced must not be given a number: it is `macs_at_least` then.
    """
    unpriced, macs = run.ledger.unpriced, run.ledger.totals.get("macs", 0)
    return {
        "model": run.model,
        "notes": run.ledger.notes,
        "ledger": {"macs_at_least" if unpriced else "macs": macs, "unpriced": unpriced},
    }


def after(model: str, past: int) -> str:
    """The spec of a model with so many tokens in its cache. Raises ValueError."""
    if not model.startswith("transformers:"):
        raise ValueError(f"--past is for models of transformers, like transformers:gpt2, and not {model!r}")
    return f"{model}{'&' if '?' in model else '?'}past={past}"


def _cannot_work(error: OSError) -> str:
    try:
        Path.cwd()
    except OSError:
        return "the working directory is gone; change into one that is there"
    return f"cannot work in {tempfile.tempdir or 'a temporary folder'}: {error.strerror or error}"


class Advance:
    """Tells a bar that something is through, when it is called, and what runs now."""

    def __init__(self, show: Callable[[int, str], None] = lambda done, now: None):
        self.show = show
        self.now: dict[str, None] = {}
        self.done = 0

    def running(self, name: str) -> None:
        """`name` begins to run."""
        self.now[name] = None
        self._say()

    def __call__(self, name: str) -> None:
        """`name` is through, whether it ran or was kept."""
        self.now.pop(name, None)
        self.done += 1
        self._say()

    def _say(self) -> None:
        from flopledger.counters.engine.job import LEDGER

        names = ", ".join(name for name in self.now if name != LEDGER)
        tracing = ["tracing the model"] if LEDGER in self.now else []
        self.show(self.done, "; ".join([*tracing, *([f"{printable(names)} running"] if names else [])]))


@contextmanager
def progress(total: int | None, quiet: bool) -> Iterator[tuple[Callable[[int], None], Advance]]:
    """A bar on stderr while jobs run, where somebody can see it; to start with a total, and to advance."""
    if quiet or not sys.stderr.isatty():
        yield lambda total: None, Advance()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), MofNCompleteColumn(separator=" of "), TextColumn("done"), TimeElapsedColumn(),
               TextColumn("{task.description}", markup=False))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("importing torch", total=total)

        def start(total: int) -> None:
            bar.update(task, total=total)

        def show(done: int, now: str) -> None:
            bar.update(task, completed=done, description=now)

        yield start, Advance(show)


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fail(f"cannot write to {out}: {error.strerror or error}")


def fail(message: str, *where: str) -> NoReturn:
    """One line on stderr, and below it those that say where; exit status 2."""
    note(message, *where)
    raise typer.Exit(2)


def refuse(error: ValueError) -> NoReturn:
    """What an error says, exit status 2; of one of a model also the lines that say where."""
    from flopledger.counters.engine.plan import Rejected

    fail(*(str(error).split("\n") if isinstance(error, Rejected) else [str(error)]))


def note(message: str, *where: str) -> None:
    """One line on stderr, and below it those that say where; the work goes on."""
    print(f"flopledger: {_line(message)}", *(f"  {_line(each)}" for each in where), sep="\n", file=sys.stderr)


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


def wrote(paths: Iterable[Path], to: TextIO | None = None) -> None:
    """Which files have been written, one per line; on stdout unless it has something else to say."""
    for path in paths:
        print(f"wrote {printable(str(path))}", file=to)
