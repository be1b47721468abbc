"""Count and reconcile: the one road from a model to a run document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flopledger.counters import registry
from flopledger.counters.convention import Convention
from flopledger.counters.engine import adapters, plan, sources
from flopledger.counters.engine.job import TIMEOUT, Live
from flopledger.counters.tally import Tally
from flopledger.reference_model import inputs as written
from flopledger.reference_model.display import Displayed, Grid
from flopledger.reference_model.ledger import MODES, Ledger, Mode
from flopledger.reference_model.subject import IN_EVAL, Spec
from flopledger.reports.align import as_run
from flopledger.reports.documents import run as documents
from flopledger.reports.documents.run import Run
from flopledger.reports.reconcile import Reconciliation

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


def compare(
    model: nn.Module | str = "mobilenet_v2",
    inputs: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    counters: Sequence[str] | None = None,
    mode: Mode | None = None,
    timeout: float = TIMEOUT,
    jobs: int | None = None,
    keep: bool = True,
    on_running: Callable[[str], None] = lambda name: None,
    on_done: Callable[[str], None] = lambda name: None,
) -> Report:
    """Run a model through the counters and reconcile every pair.

    Args:
        model: a live module, or a spec like `"mobilenet_v2"` or `"torchvision:resnet50"`.
        inputs: for a live module, a tensor, a tuple or list of positional arguments (one that is itself a list is
            `([a, b],)`), a dict or batch of arguments by name, or any one other argument; for a spec, a text like
            `"1x3x224x224"`, a list of those or a dict. Default for a spec: what its own metadata name.
        kwargs: arguments by name beside them, as a dict.
        counters: names as `flopledger counters` lists them, `NAME==RELEASE` for a published release in an
            overlay of its own; default all.
        mode: "eval" (the default), "train" (a forward with every module in train mode), or "step": that and the
            backward of the `loss` that the model returns, or else of the sum of its outputs. Inputs need no
            gradient unless they ask for it, nor do frozen parameters.
        timeout: seconds that each counter may take.
        jobs: how many run at once; default one per core.
        keep: false counts again, whatever is kept of earlier runs.
        on_running: called with a counter's name when it begins to run.
        on_done: called with its name when it is through.

    A live module is worked on in forked copies of this process and comes back as it was: state, hooks, flags and
    identity. One that comes in train mode is counted in eval mode all the same where no `mode` is given, and the
    ledger's notes say so.

    Raises:
        ValueError: an unknown counter, model or mode, a release or shape that is none, inputs that the model rejects.
    """
    names = plan.distinct(counters) if counters is not None else adapters.usual()
    if mode not in (None, *MODES):
        raise ValueError(f"no mode {mode!r}; there is {', '.join(MODES)}")
    live: Live | None = None
    notes: list[str] = []
    if isinstance(model, str):
        spec = Spec.parse(model, written.written(*_arguments(inputs, kwargs)), mode or "eval")
    else:
        spec, live, notes = alive(model, inputs, kwargs, mode)
    ledger, tallies = plan.count_all(
        names, spec, live=live, timeout=timeout, workers=jobs, keep=keep, on_running=on_running, on_done=on_done
    )
    ledger = noted(ledger, notes)
    return Report(
        documents.assemble(
            flopledger=registry.version_of("flopledger") or "unknown",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=documents.environment(),
            spec=spec.model,
            ledger=ledger,
            tallies=[with_convention(tally, ledger) for tally in tallies],
            source=sources.reference(),
            adapters={t.counter: adapters.about(t.counter).code for t in tallies},
            asked=names if counters is not None else None,
        )
    )


def alive(
    model: nn.Module, inputs: Any, kwargs: Mapping[str, Any] | None, mode: Mode | None
) -> tuple[Spec, Live, list[str]]:
    """A live module with its arguments as it is counted, and notes for its ledger. Raises ValueError without inputs."""
    if inputs is None and kwargs is None:
        raise ValueError("a live model needs inputs: a tensor, a tuple of arguments, or a dict of them by name")
    from flopledger.reference_model.running import unwrapped

    model, notes = unwrapped(model)
    live = _on_cpu(Live(model, *_arguments(inputs, kwargs), type(model).__name__))
    if mode is None and any(module.training for module in model.modules()):
        notes.append(f'{IN_EVAL}, which mode="train" would count')
    return Spec(model=live.label, inputs=(), mode=mode or "eval"), live, notes


def noted(ledger: Ledger, notes: Sequence[str]) -> Ledger:
    """The same with more notes, before its own."""
    return replace(ledger, notes=[*dict.fromkeys([*notes, *ledger.notes])])


def _arguments(inputs: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments, and those by name."""
    named = dict(kwargs or {})
    if inputs is None:
        return (), named
    if isinstance(inputs, Mapping):
        return (), {**inputs, **named}
    if isinstance(inputs, (tuple, list)) and not hasattr(inputs, "_fields"):  # a named tuple is one argument
        return tuple(inputs), named
    return (inputs,), named


def with_convention(tally: Tally, ledger: Ledger) -> tuple[Tally, Convention]:
    """A tally and what its counter claims; one that cannot say claims nothing, so all of it is left over."""
    if tally.total is None:
        return tally, Convention(tally.counter, ())
    try:
        return tally, adapters.claimed(tally.counter, tally.version, as_run(tally, ledger))
    except registry.UnknownCounter as error:
        return replace(tally, warnings=[*tally.warnings, str(error)]), Convention(tally.counter, ())


def _on_cpu(live: Live) -> Live:
    """The same model, or a copy of it on the CPU: a forked process cannot use an accelerator."""
    from copy import deepcopy

    from torch import Tensor

    arguments = (live.args, live.kwargs)
    tensors = [*live.model.parameters(), *live.model.buffers(), *written.tensors(arguments)]
    if all(t.device.type in ("cpu", "meta") for t in tensors):
        return live
    args, kwargs = written.mapped(Tensor.cpu, arguments)
    return Live(deepcopy(live.model).cpu(), args, kwargs, live.label)


class Report(Displayed):
    """A run, to look at and to ask: tables, reconciliations, pages."""

    def __init__(self, run: Run):
        self.run = run

    @classmethod
    def read(cls, path: str | Path) -> Report:
        """The report of a run document. Raises RunError and OSError."""
        return cls(documents.read(Path(path)))

    def frame(self) -> pd.DataFrame:
        """One row per counter: unit, total, params, version, status, sites and how many agree."""
        import pandas as pd

        return (
            pd.DataFrame(
                [
                    {
                        "counter": t.name,
                        "total": t.total,
                        "unit": t.unit,
                        "params": t.params,
                        "version": t.version,
                        "status": t.status,
                        "sites": t.verified.sites,
                        "agree": t.verified.agree,
                        "reason": t.reason,
                    }
                    for t in self.run.tallies
                ]
            )
            .astype({"total": "Int64", "params": "Int64"})
            .set_index("counter")
        )

    def reconcile(self, left: str, right: str) -> Reconciliation:
        """Why `left` and `right` differ. Raises KeyError where one of them did not count."""
        return self.run.between(*(plan.distinct([name])[0] for name in (left, right)))

    def save(self, folder: str | Path) -> list[Path]:
        """Write report.md, report.html, their pictures and run.json, all of them or none. Raises OSError."""
        from flopledger.reports.documents.writing import write_whole
        from flopledger.reports.pages.files import run_files

        return write_whole(Path(folder), run_files(self.run))

    def _line(self) -> str:
        return self.run._line()

    def _notes(self) -> Iterator[str]:
        from flopledger.reports.pages.words import anything_left

        yield anything_left(self.run)

    def _grids(self) -> Iterator[Grid]:
        """The totals, and the lines between the two most different; `save` writes the page."""
        from flopledger.reports.pages.analysis import most_different

        yield from self.run._grids()
        pair = most_different(self.run)
        if pair:
            yield from pair._grids()
