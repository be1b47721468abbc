"""Many models through many counters, in one plan of jobs: the rows of `flopledger table`.

What a row says of a counter (total, coverage, failing formulas) is kept beside the answers
(`flopledger.reports.briefs`), so that a table of fifty models that was made before is there without reading a ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from flopledger.counters import registry
from flopledger.counters.engine import adapters, plan
from flopledger.counters.engine.job import TIMEOUT, Live
from flopledger.counters.engine.plan import Asked
from flopledger.counters.tally import Tally
from flopledger.reference_model import inputs as written
from flopledger.reference_model.display import Displayed, Grid
from flopledger.reference_model.ledger import MODES, Ledger, Mode, calls_without_formula
from flopledger.reports import align, coverage, scale
from flopledger.reports.briefs import Gathered, Reading, gathered, said
from flopledger.reports.compare import alive, noted, with_convention
from flopledger.reports.dimensions import Sweep, resized
from flopledger.reports.documents import table as documents
from flopledger.reports.documents.table import Cell, Head, Row, Table
from flopledger.reports.documents.writing import write_file
from flopledger.reports.subjects import Subject, fields, subjects, texts_of

if TYPE_CHECKING:
    import pandas as pd


def table(
    models: Sequence[str | Mapping[str, Any]],
    *,
    counters: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    mode: Mode = "eval",
    unit: str | None = None,
    per: str | None = None,
    sweep: str | None = None,
    timeout: float = TIMEOUT,
    jobs: int | None = None,
    keep: bool = True,
    may_install: Callable[[], bool] = lambda: True,
    on_start: Callable[[int], None] = lambda total: None,
    on_running: Callable[[str], None] = lambda what: None,
    on_done: Callable[[str], None] = lambda what: None,
) -> Tabulated:
    """One row per model, one column per counter, beside the ledger's MACs and the parameters.

    Args:
        models: specs like `"torchvision:resnet50"`, patterns like `"torchvision:resnet*"`, or dicts with `model` and
            perhaps `name`, `inputs` and `mode`. In a dict the model may be a live module, whose inputs are then what
            `compare` takes, or texts: `{"model": net, "inputs": torch.rand(1, 3, 224, 224)}`.
        counters: names as `flopledger counters` lists them, `NAME==RELEASE` for a published release; default all.
        inputs: of models that have none of their own here, as texts; default what their metadata name.
        mode: how those models are run that say nothing else: "eval", "train" or "step".
        unit: "MAC", "FLOP", or with a prefix "GMAC"; default each counter's own.
        per: divide by "sample", "token", "pixel" or "parameter".
        sweep: sizes of one dimension, like "160,192,224", "length=128..2048*2" or "x.3=64..512+64".
        timeout: seconds that each counter may take for one model.
        jobs: how many run at once; default one per core.
        keep: false counts again, whatever is kept of earlier runs.
        may_install: asked when a release has to be installed.
        on_start: called with how many answers there will be, where any has to be waited for.
        on_running: called with a model and who begins with it.
        on_done: called with a model and who is through with it.

    Raises:
        ValueError: a model, counter, unit, divisor or sweep that is none.
    """
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}; there is {', '.join(MODES)}")
    names = plan.distinct(counters) if counters is not None else adapters.usual()
    asked = [Asked.parse(name) for name in names]
    if unit is not None:
        unit = str(scale.Unit.parse(unit))
    if per is not None:
        scale.divisor(per)
    sizes = Sweep.parse(sweep) if sweep is not None else None
    found = [each for model in models for each in _asked_for(model, inputs, mode)]
    if not found:
        raise ValueError("no model was named; name one, like torchvision:resnet50")
    options: dict[str, Any] = {"timeout": timeout, "workers": jobs, "keep": keep, "may_install": may_install}
    jobs_so_far = 0

    def started(more: int) -> None:
        nonlocal jobs_so_far
        jobs_so_far += more
        on_start(jobs_so_far)

    options |= {"on_start": started, "on_running": on_running, "on_done": on_done}
    if sizes is not None and any(each.live for each in found):
        raise ValueError("a sweep is of models by name: nothing says how to resize what goes into a live module")
    swept = found if sizes is None else list(_sizes([each.subject for each in found], sizes, options))
    specs = [each.subject.spec for each in swept if not each.reason and not each.live]
    by_name = {done.spec: done for done in gathered(specs, asked, _READING, **options)}
    return Tabulated(
        Table(
            flopledger=registry.version_of("flopledger") or "unknown",
            counters=names,
            asked=counters is not None,
            rows=[
                _row(each, _counted(each, asked, **options) if each.live else by_name.get(each.subject.spec))
                for each in swept
            ],
            unit=unit,
            per=per,
        )
    )


class _Swept(NamedTuple):
    """A row before it is counted; with a `reason` it never is."""

    subject: Subject
    dimension: str = ""
    size: int | None = None
    axes: str = ""
    reason: str = ""
    live: Live | None = None
    notes: Sequence[str] = ()


def _asked_for(model: Any, inputs: Sequence[str] | None, mode: Mode) -> Iterator[_Swept]:
    """What one of a table's models stands for. Raises ValueError."""
    net: Any = model.get("model") if isinstance(model, Mapping) else None
    if not hasattr(net, "named_modules"):
        yield from (_Swept(subject) for subject in subjects([model], inputs, mode))
        return
    name, way = fields(model, mode)
    asked = way if "mode" in model or way != "eval" else None  # one in train mode is then said to be
    given, kwargs = model.get("inputs", inputs), None
    values = given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else [given]
    if values and all(isinstance(value, str) for value in values):
        given, kwargs = written.made(written.parsed(texts_of(given)), "cpu")
    spec, live, notes = alive(net, given, kwargs, asked)
    yield _Swept(Subject(name or spec.model, spec), live=live, notes=notes)


def _counted(
    each: _Swept,
    asked: Sequence[Asked],
    *,
    on_start: Callable[[int], None],
    on_running: Callable[[str], None],
    on_done: Callable[[str], None],
    **options: Any,
) -> Gathered[Head, Cell]:
    """What the ledger and the counters say of a live module; nothing of it is kept."""
    name, spec = each.subject.name, each.subject.spec
    on_start(1 + sum(one.runs for one in asked))
    try:
        ledger, tallies = plan.count_all(
            [one.name for one in asked], spec, live=each.live, on_running=lambda who: on_running(said(name, who)),
            on_done=lambda who: on_done(said(name, who)), **options,
        )  # fmt: skip
    except plan.Rejected as error:
        return Gathered(spec, None, [], "; ".join(str(error).split("\n")))
    ledger = noted(ledger, each.notes)
    return Gathered(spec, _head(ledger), [_cell(tally, ledger) for tally in tallies])


def _sizes(found: Sequence[Subject], sizes: Sweep, options: Mapping[str, Any]) -> Iterator[_Swept]:
    """Each model at each size. Raises ValueError where its inputs have no such dimension."""
    unknown = [subject.spec for subject in found if subject.spec.inputs is None]
    heads = {done.spec: done for done in gathered(unknown, [], _READING, **options)}
    for subject in found:
        own = heads.get(subject.spec)
        if own is not None and own.head is None:
            yield _Swept(subject, reason=own.reason)
            continue
        texts = own.head.inputs if own and own.head else subject.spec.inputs or ()
        for size in sizes.values:
            try:
                dimension = sizes.of(texts)
                inputs, axes = resized(texts, dimension, size)
            except ValueError as error:
                raise ValueError(f"{subject.name}: {error}") from error
            yield _Swept(replace(subject, spec=replace(subject.spec, inputs=inputs)), dimension, size, axes)


def _row(each: _Swept, done: Gathered[Head, Cell] | None) -> Row:
    return Row(
        name=each.subject.name,
        model=each.subject.spec.model,
        mode=each.subject.spec.mode,
        ledger=done.head if done else None,
        cells=done.cells if done else [],
        reason=each.reason or (done.reason if done else "it was not counted"),
        dimension=each.dimension,
        size=each.size,
        axes=each.axes,
    )


def _head(ledger: Ledger) -> Head:
    return Head(
        macs=ledger.total("macs"),
        params=ledger.params,
        inputs=ledger.inputs,
        device=ledger.device,
        notes=ledger.notes,
        unpriced=calls_without_formula(ledger.unpriced()),
    )


def _cell(tally: Tally, ledger: Ledger) -> Cell:
    cell = Cell(counter=tally.name, version=tally.version, unit=tally.unit, status=tally.status, reason=tally.reason)
    if tally.total is None:
        return cell
    side = align.align(*with_convention(tally, ledger), ledger)
    return replace(
        cell,
        total=tally.total,
        params=tally.params,
        seen=coverage.coverage(side, ledger.rows()).total,
        failing=side.sites - side.agree,
        places=side.sites,
        unexplained=sum(failure.unexplained for failure in side.failures),
    )


# What is said of a ledger and of a counter in a table, and whose code it depends on.
_READING = Reading(
    name="table",
    head=Head,
    cell=Cell,
    of_ledger=lambda spec, ledger: _head(ledger),
    of_tally=lambda tally, ledger: _cell(tally, ledger),
    files=[Path(str(module)) for module in (__file__, align.__file__, coverage.__file__, documents.__file__)],
)


class Tabulated(Displayed):
    """A table, to look at and to take along."""

    def __init__(self, table: Table):
        self.table = table

    def frame(self) -> pd.DataFrame:
        """One row per model, indexed by name: a column per counter with its numbers, and its unit, coverage and status.

        Numbers are Int64 where all of a column are whole, else floats; missing where there is none.
        """
        import pandas as pd

        records = self.table.records()
        frame = pd.DataFrame(records, columns=list(self.table.columns()), dtype=object)
        for column in ["params", "macs", "macs at least", "size", *self.table.counters]:
            if column in frame:
                whole = all(isinstance(value, int) for value in frame[column] if value is not None)
                frame[column] = frame[column].astype("Int64" if whole else "Float64")
        for name in self.table.counters:
            frame[f"{name} seen"] = frame[f"{name} seen"].astype("Float64")
        return frame.set_index("name")

    def text(self, ending: str) -> str:
        """The table in the format of files that end so: .csv, .json, .md, .html, .tex, or .svg for a sweep's chart.

        Raises:
            ValueError: no table is written so.
        """
        from flopledger.reports.pages.table_files import WRITERS

        if ending not in WRITERS:
            raise ValueError(f"no table is written as {ending!r}; there is {', '.join(WRITERS)}")
        return WRITERS[ending](self.table)

    def save(self, path: str | Path) -> None:
        """Write it, as the ending of the file's name says (see `text`; or .parquet). Raises ValueError and OSError."""
        path = Path(path)
        if path.suffix == ".parquet":
            self.to_parquet(path)
        else:
            write_file(path, self.text(path.suffix).encode())

    def to_parquet(self, path: str | Path) -> None:
        """Write `frame()` as a Parquet file. Raises OSError, and ValueError where pandas finds nothing to write it."""
        try:
            content = self.frame().to_parquet(None)
        except ImportError:
            raise ValueError("a Parquet file needs pyarrow; pip install pyarrow") from None
        write_file(Path(path), content)

    def _line(self) -> str:
        rows, counted = self.table.rows, sum(row.ledger is not None for row in self.table.rows)
        return f"{counted} of {len(rows)} rows have a ledger; {len(self.table.counters)} counters"

    def _notes(self) -> list[str]:
        from flopledger.reports.pages.table_page import drawn

        return drawn(self.table)[1]

    def _grids(self) -> list[Grid]:
        from flopledger.reports.pages.table_page import drawn

        grid, _ = drawn(self.table)
        return [Grid([column.heading for column in grid.columns], grid.rows)]
