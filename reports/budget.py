"""A budget for a model: how many multiply-accumulates a run of it may take, in all, by op and by module.

What is compared are `Measured`, which are kept of a ledger, so that a budget is checked without reading one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flopledger.reference_model.ledger import OPS, Entry
from flopledger.reference_model.names import nearest
from flopledger.reports.moves import Broken, Measured
from flopledger.reports.pages.budget_words import sentence
from flopledger.reports.pages.numbers import few
from flopledger.reports.project import Budget

if TYPE_CHECKING:
    from torch import nn

    from flopledger.reports.documents.run import Run

NAMED = 5  # places that a broken budget names
UNPRICED = "unpriced"


class BudgetError(ValueError):
    """A budget for what there is not, in one line; `line` is where the configuration has it, 0 where it does not."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


def measured(params: int, entries: Sequence[Entry], modules: Iterable[str]) -> Measured:
    """What is kept of a ledger, of its parameters, entries and the names of its modules."""
    macs: dict[tuple[str, str], int] = {}
    unpriced: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.op == UNPRICED:
            unpriced[entry.site, entry.aten] = unpriced.get((entry.site, entry.aten), 0) + entry["calls"]
        elif amount := entry["macs"]:
            macs[entry.site, entry.op] = macs.get((entry.site, entry.op), 0) + amount
    return Measured(
        params=params,
        macs=[(*key, n) for key, n in macs.items()],
        modules=sorted({*modules, *(entry.site for entry in entries)}),
        unpriced=[(*key, n) for key, n in unpriced.items()],
    )


def inside(site: str, prefix: str) -> bool:
    """Whether a site is a module or lies in it: `layer4.0` in `layer4`, `layer40` not; all are in the root, ""."""
    return not prefix or site == prefix or site.startswith(f"{prefix}.")


def check(budget: Budget, found: Measured) -> None:
    """Whether a model has what its budget speaks of.

    Raises:
        BudgetError: a site that is no module of it, or an op that is none; the message says what is.
    """
    for prefix in budget.sites:
        if not any(inside(site, prefix) for site in found.modules):
            tops = list(dict.fromkeys(site.partition(".")[0] for site in found.modules if site))
            raise BudgetError(
                f"a budget is for {prefix!r}, and no module is named so{nearest(prefix, found.modules)}; a site is a "
                f"module's whole name, as named_modules() gives it, and all that lies in it: {few(tops) or 'none'}",
                budget.lines.get(f"site {prefix}", budget.line),
            )
    known = (OPS | {op for _, op, _ in found.macs}) - {UNPRICED}
    for op in budget.ops:
        if op not in known:
            raise BudgetError(
                f"a budget is for {op!r}, which is no kind of operation{nearest(op, known)}; there is "
                f"{', '.join(sorted(known))}",
                budget.lines.get(f"op {op}", budget.line),
            )


def limits(budget: Budget) -> list[str]:
    """What it limits: "macs", "params", "op conv", "site layer4"."""
    return [*(what for what, *_ in _limits(budget)), *(["params"] if budget.params is not None else [])]


def broken(model: str, budget: Budget, found: Measured) -> list[Broken]:
    """The limits that a model is over, and those of which that cannot be told, as an operation in them has no formula.

    An operation without a formula is of no known kind, so it is in the budgets of the model and of the modules that it
    is in, and in no op's. A value that is not over its limit is there only as `at_least`.
    """
    said = []
    for what, prefix, op, limit in _limits(budget):
        rows = [(site, kind, n) for site, kind, n in found.macs if inside(site, prefix) and op in (None, kind)]
        unpriced: dict[str, int] = {}
        for site, name, calls in found.unpriced:
            if op is None and inside(site, prefix):
                unpriced[name] = unpriced.get(name, 0) + calls
        said.append(_broken(model, budget, what, limit, sum(n for _, _, n in rows), rows, unpriced))
    if budget.params is not None:
        said.append(_broken(model, budget, "params", budget.params, found.params, [], {}))
    return [each for each in said if each is not None]


def _limits(budget: Budget) -> Iterable[tuple[str, str, str | None, int]]:
    """Each limit of MACs: its name, the site and the op that it is for."""
    if budget.macs is not None:
        yield "macs", "", None, budget.macs
    for op, limit in budget.ops.items():
        yield f"op {op}", "", op, limit
    for site, limit in budget.sites.items():
        yield f"site {site}", site, None, limit


def _broken(
    model: str, budget: Budget, what: str, limit: int, value: int, rows: list[tuple[str, str, int]],
    unpriced: dict[str, int],
) -> Broken | None:  # fmt: skip
    if value <= limit and not unpriced:
        return None
    heaviest = sorted(rows, key=lambda row: -row[2])[:NAMED]
    return Broken(model=model, what=what, limit=limit, value=value, at_least=bool(unpriced), heaviest=heaviest,
                  line=budget.lines.get(what, budget.line), unpriced=unpriced)  # fmt: skip


def assert_macs(
    model: nn.Module | str,
    inputs: Any = None,
    *,
    at_most: float | None = None,
    params: float | None = None,
    ops: Mapping[str, float] | None = None,
    sites: Mapping[str, float] | None = None,
) -> int:
    """Check that one forward pass takes at most so many MACs, by the ledger: no counter is asked.

    Args:
        model: a live module, or a spec like `"mobilenet_v2"`.
        inputs: as `compare` takes them.
        at_most: the budget, a whole number of MACs (320e6 is one).
        params: how many parameters there may be.
        ops: MACs by kind of operation: `{"conv": 3e9}`.
        sites: MACs by module, with all that lies in it: `{"layer4": 1e9}`.

    Returns:
        How many MACs it takes in all.

    Raises:
        AssertionError: it takes more; the message says of each limit by how much, and names the sites that take most.
            Also where an operation has no formula: what that takes is unknown, so no budget can be promised.
        ValueError: no budget, one that is no whole number, of an op or a module that there is not, or what `compare`
            raises.
    """
    __tracebackhide__ = True  # pytest shows the test and the message, not this
    from flopledger.reports.compare import compare

    budget = budget_of(at_most, params, ops, sites)
    run = compare(model, inputs, counters=[]).run
    return held(run, budget, run.model.spec)


def budget_of(
    at_most: float | None = None,
    params: float | None = None,
    ops: Mapping[str, float] | None = None,
    sites: Mapping[str, float] | None = None,
) -> Budget:
    """A budget as `assert_macs` is given it. Raises ValueError where there is none, or a limit is no whole number."""
    budget = Budget(
        macs=None if at_most is None else _whole(at_most, "MACs"),
        params=None if params is None else _whole(params, "parameters"),
        ops={op: _whole(limit, "MACs") for op, limit in (ops or {}).items()},
        sites={site: _whole(limit, "MACs") for site, limit in (sites or {}).items()},
    )
    if budget == Budget():
        raise ValueError("no budget is given: at_most, params, ops or sites")
    return budget


def held(run: Run, budget: Budget, name: str) -> int:
    """How many MACs a run takes. Raises AssertionError where it is over a budget, BudgetError of one for nothing."""
    __tracebackhide__ = True
    found = measured(run.model.params, run.ledger.entries, run.ledger.members)
    check(budget, found)
    over = broken(name, budget, found)
    if over:
        raise AssertionError("\n".join(map(sentence, over)))
    return int(run.ledger.totals.get("macs", 0))


def _whole(limit: float, unit: str) -> int:
    """Raises ValueError where a limit is no whole number."""
    if isinstance(limit, str) or limit != limit or limit in (float("inf"),) or limit != int(limit) or limit < 0:
        raise ValueError(f"a budget is a whole number of {unit}, not {limit!r}")
    return int(limit)
