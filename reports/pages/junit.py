"""What moved as JUnit's XML: a test case for each rule that moved, for each counter of each model, and each budget.

The format is the one of Jenkins' xUnit plug-in (`junit-10.xsd`), which other tools read, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree as Tree

from flopledger.reports.moves import Broken, Moves, Row
from flopledger.reports.pages import findings
from flopledger.reports.pages.budget_words import limited
from flopledger.reports.pages.findings import Finding
from flopledger.reports.pages.numbers import brief, number, visible
from flopledger.reports.pages.vocabulary import operation

Outcome = Literal["failure", "error", "skipped"]
ERRORS = ("no-number", "no-model")  # there is nothing to compare, so these did not fail: they did not run


class Case(NamedTuple):
    """One test case: its names, what it has to say, and what went wrong, if anything did."""

    suite: str
    name: str
    said: str = ""
    outcome: Outcome | None = None
    kind: str = ""
    lines: Sequence[str] = ()


def render(found: Moves) -> str:
    """The document, whose names and texts are printable, so that XML can hold them."""
    suites: dict[str, list[Case]] = {}
    for case in _cases(found):
        suites.setdefault(case.suite, []).append(case)
    root = Tree.Element("testsuites", {"name": "flopledger drift", **_counts([c for s in suites.values() for c in s])})
    for name, cases in suites.items():
        suite = Tree.SubElement(root, "testsuite", {"name": name, **_counts(cases)})
        suite.set("skipped", str(sum(case.outcome == "skipped" for case in cases)))
        for case in cases:
            element = Tree.SubElement(suite, "testcase", {"classname": name, "name": case.name, "time": "0"})
            if case.outcome:
                wrong = Tree.SubElement(element, case.outcome, {"type": case.kind, "message": case.said})
                wrong.text = "\n".join((case.said, *case.lines))
            elif case.said:
                Tree.SubElement(element, "system-out").text = case.said
    Tree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Tree.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    numbers = {f"{outcome}s": sum(case.outcome == outcome for case in cases) for outcome in ("failure", "error")}
    return {"tests": str(len(cases)), **{name: str(n) for name, n in numbers.items()}}


def _cases(found: Moves) -> Iterable[Case]:
    for change in findings.rules(found):
        formulas = " → ".join(findings.charged(each) for each in (change.before_formula, change.after_formula))
        name = f"{operation(change)}: {formulas}"
        if not {*found.accepted}.issuperset(change.models):
            yield _wrong(f"rules of {visible(change.counter)}", name, findings.of_change(change))
    broken: dict[str, list[Broken]] = {}
    for each in found.broken:
        broken.setdefault(each.model, []).append(each)
    for model in dict.fromkeys([*found.drifts, *found.failed, *found.gone, *found.new, *found.budgets, *broken]):
        cases = _of_model(found, model)
        yield from (case._replace(outcome=None) for case in cases) if model in found.accepted else cases
        yield from _of_budgets(found, model, broken.get(model, []))


def _of_model(found: Moves, model: str) -> Iterable[Case]:
    suite, drift = visible(model), found.drifts.get(model)
    if drift:
        yield from (_of_row(model, row) for row in drift.rows)
        if drift.newly_unpriced:
            yield _wrong(suite, "operations without a formula", findings.of_unpriced(model, drift))
        if findings.without(drift):
            yield _wrong(suite, "the model", findings.of_nothing(model))
    if model in found.failed:
        yield _wrong(suite, "the model", findings.of_failed(model, found.failed[model]))
    if model in found.gone:
        yield _wrong(suite, "the model", findings.of_gone(model))
    if model in found.new:
        yield _wrong(suite, "the model", findings.of_new(model))


def _of_budgets(found: Moves, model: str, broken: Sequence[Broken]) -> Iterable[Case]:
    suite = visible(model)
    over = {each.what: each for each in broken}
    for what in dict.fromkeys([*found.budgets.get(model, []), *over]):
        name = f"budget of {limited(what)}"
        yield _wrong(suite, name, findings.of_broken(over[what])) if what in over else Case(suite, name)


def _of_row(model: str, row: Row) -> Case:
    wrong = findings.of_row(model, row)
    if wrong:
        return _wrong(visible(model), visible(row.counter), wrong)
    if row.after is None:
        said = f"no number, then and now{f': {brief(row.reason)}' if row.reason else ''}"
        return Case(visible(model), visible(row.counter), said, "skipped", "no-number")
    at = findings.versions(row.before_version, row.after_version)
    return Case(visible(model), visible(row.counter), f"{number(row.after)}, then and now{f' ({at})' if at else ''}")


def _wrong(suite: str, name: str, found: Finding) -> Case:
    return Case(suite, name, found.title, "error" if found.kind in ERRORS else "failure", found.kind, found.lines)
