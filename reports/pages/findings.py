"""What is wrong in a project's drift, one finding each: what JUnit, SARIF and annotations are made of.

Every text is one printable line, whoever wrote what is in it; a renderer escapes what its format would take for more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from flopledger.reports.causes import Cause
from flopledger.reports.moves import FINE, Broken, Change, Drift, Moves, Row
from flopledger.reports.pages.budget_words import limited, sentence
from flopledger.reports.pages.numbers import brief, few, listed, number, signed, visible
from flopledger.reports.pages.vocabulary import operation
from flopledger.reports.pages.words import without_formula

Kind = Literal["rule", "model", "number", "no-number", "new-number", "unlike", "unpriced", "no-model", "new-model",
               "budget"]  # fmt: skip
# What each kind of finding is, for whoever meets it in a list of alerts.
KINDS: dict[Kind, str] = {
    "rule": "A counter charges an operation by another rule than in the baseline.",
    "model": "A model does other work than in the baseline.",
    "number": "A counter has another number than in the baseline.",
    "no-number": "A counter has no number where it had one.",
    "new-number": "A counter has a number where it had none.",
    "unlike": "A number cannot be compared with the baseline's.",
    "unpriced": "An operation has no formula, so every number may be too small.",
    "no-model": "A model has no number where it had one.",
    "new-model": "A model is not in the baseline.",
    "budget": "A model takes more than its budget, or that cannot be told.",
}
CAUSES: dict[Cause, str] = {
    "model": "the model itself",
    "input": "another input",
    "release": "the counter's release",
    "torch": "another torch",
    "ours": "our own rules",
    "several": "several causes",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `name` tells it from others of its kind, whatever the numbers are today.

    `title` is a sentence, `lines` say more; `models` are those that it touches, each with what it is there.
    """

    kind: Kind
    name: tuple[str, ...]
    title: str
    lines: Sequence[str] = ()
    models: dict[str, str] = {}
    line: int = 0


def findings(found: Moves) -> list[Finding]:
    """All that is wrong: each rule that moved once, each budget, each model that changed, what is of one counter.

    What was accepted just now is wrong no more.
    """
    said = [*map(of_change, rules(found)), *map(of_broken, found.broken)]
    for model, drift in found.drifts.items():
        if of_itself(drift):
            said.append(of_model(model, drift))
        said += [one for row in drift.rows if not explained(found, model, row) and (one := of_row(model, row))]
        if drift.newly_unpriced:
            said.append(of_unpriced(model, drift))
        if without(drift):
            said.append(of_nothing(model))
    said += [of_failed(model, reason) for model, reason in found.failed.items()]
    said += [*map(of_gone, found.gone), *map(of_new, found.new)]
    accepted = {*found.accepted}
    still = [each for each in said if each.kind == "budget" or not accepted.issuperset(each.models)]
    return [replace(each, line=each.line or _line(found, each)) for each in still]


def place(found: Moves) -> str:
    """The file whose lines the findings are at; in a job of GitHub's as from the top of the repository."""
    file = found.project or found.baseline
    with contextlib.suppress(KeyError, ValueError, OSError):  # no such job; a file that is not of its repository
        file = str(Path(file).absolute().relative_to(Path(os.environ["GITHUB_WORKSPACE"]).absolute()))
    return visible(file)


def rules(found: Moves) -> list[Change]:
    """The rules that moved a number; one that is only worded anew is no drift."""
    return [change for change in found.changes if any(each.difference for each in change.models.values())]


def of_itself(drift: Drift) -> list[Row]:
    """The counters whose numbers moved because the model did, all or in part."""
    return [
        row for row in drift.rows if row.mark == "moved" and not row.residual and "model" in (row.cause, *row.parts)
    ]


def explained(found: Moves, model: str, row: Row) -> bool:
    """Whether a counter's number moved for rules that are said already, with its model, or for just these two."""
    if row.mark != "moved" or row.residual:
        return False
    if row.cause == "model":
        return True
    moved = sum(change.models[model].difference for change in rules(found)
                if change.counter == row.counter and model in change.models)  # fmt: skip
    return bool(row.lines) and moved + row.parts.get("model", 0) == row.difference


def of_change(change: Change) -> Finding:
    """One rule that moved: who did it, the formulas, why, where their sources say so, and the sums per model."""
    sums = {model: then_now(each.before, each.after) for model, each in change.models.items()}
    return Finding(
        kind="rule",
        name=(change.counter, change.cause, change.phase, change.op, change.before_formula, change.after_formula,
              change.before_because, change.after_because),
        title=f"{who(change)}: {operation(change)} is {charged(change.after_formula)} now, "
        f"{charged(change.before_formula)} then ({signed(change.difference)} {over(change.models)})",
        lines=[*reasons(change), *(f"{visible(model)}: {text}" for model, text in sums.items())],
        models=sums,
    )  # fmt: skip


def who(change: Change) -> str:
    """Who moved a rule: `thop 0.0.5 → 0.1.1`, another torch, or our own rules."""
    name = visible(change.counter)
    if change.cause == "release":
        return f"{name} {versions(change.before_version, change.after_version)}"
    return f"{name}, by {CAUSES[change.cause]}"


def versions(before: str | None, after: str | None) -> str:
    """`0.0.5 → 0.1.1`, or the one that both are."""
    return " → ".join(dict.fromkeys(visible(version) for version in (before, after) if version))


def charged(formula: str) -> str:
    """What a formula charges: `4·outputs`, `not charged`."""
    return visible(formula) if formula not in ("", "0") else "not charged"


def over(models: Mapping[str, object]) -> str:
    """`in resnet50`, `in 3 models`."""
    return f"in {visible(next(iter(models)))}" if len(models) == 1 else f"in {number(len(models))} models"


def then_now(before: int | None, after: int | None) -> str:
    """`4 then, 2 now, −2`."""
    said = f"{_number(before)} then, {_number(after)} now"
    return said if before is None or after is None else f"{said}, {signed(after - before)}"


def reasons(change: Change) -> list[str]:
    """Because of what either formula is charged, and the lines of source that say so."""
    sides = (
        ("then", change.before_version, change.before_because, change.before_source),
        ("now", change.after_version, change.after_because, change.after_source),
    )
    return [
        f"{when}{f' ({visible(version)})' if version else ''}: {visible(because) or 'not charged'}"
        f"{f' ({visible(source)})' if source else ''}"
        for when, version, because, source in sides
    ]


def of_model(model: str, drift: Drift) -> Finding:
    """A model that does other work, and what that makes of each counter's number."""
    sums = [f"{visible(row.counter)}: {then_now(row.before, row.after)}{made_of(row)}" for row in of_itself(drift)]
    return Finding(
        kind="model",
        name=(model,),
        title=f"{visible(model)} itself does other work than in the baseline",
        lines=[*map(brief, drift.notes), *sums],
        models={model: "it changed itself"},
    )


def of_row(model: str, row: Row) -> Finding | None:
    """What is wrong with one counter's number of a model; None where nothing is."""
    if row.mark in FINE:
        return None
    counter = f"{visible(row.counter)} of {visible(model)}"
    reason = f": {brief(row.reason)}" if row.reason else ""
    moved = then_now(row.before, row.after)
    at = versions(row.before_version, row.after_version)
    kind: Kind
    match row.mark:
        case "newly failing":
            kind, title = "no-number", f"{counter} has no number now{reason}; it had {_number(row.before)}"
        case "gone":
            kind, title = "no-number", f"{counter} was not asked now; it had {_number(row.before)}"
        case "newly counting" | "new":
            kind, title = "new-number", f"{counter} has a number, {_number(row.after)}, and had none"
        case "not comparable":
            kind, title = "unlike", f"{counter} cannot be compared{reason} ({moved})"
        case _:
            kind, title = "number", f"{counter}{f', {at}' if at else ''}: {moved}{made_of(row)}{reason}"
    return Finding(kind=kind, name=(model, row.counter), title=title, models={model: moved})


def made_of(row: Row) -> str:
    """The operations that moved a number and what no formula explains; of several causes how much each made."""
    parts = [f"{operation(line)} {signed(line.difference)}" for line in row.lines]
    if row.residual:
        parts.append(f"{signed(row.residual)} that no formula explains")
    said = f" ({few(parts)})" if parts else ""
    if len(row.parts) > 1:
        said += f", by {listed([f'{CAUSES[cause]} {signed(n)}' for cause, n in row.parts.items()])}"
    return said


def of_unpriced(model: str, drift: Drift) -> Finding:
    """An operation without a formula that was not in the baseline, or not so often."""
    return Finding(
        kind="unpriced",
        name=(model, *drift.newly_unpriced),
        title=f"UNPRICED in {visible(model)}: {without_formula(drift.newly_unpriced)}; it was not in the baseline, or "
        "not so often",
        models={model: "unpriced"},
    )


def without(drift: Drift) -> bool:
    """Whether there is nothing to compare, and no counter that says so."""
    return not drift.compared and all(row.mark in FINE for row in drift.rows)


def of_nothing(model: str) -> Finding:
    """A model of which no counter has a number on both sides."""
    return Finding(kind="no-model", name=(model, "nothing"), models={model: "nothing to compare"},
                   title=f"{visible(model)}: no counter has a number both then and now")  # fmt: skip


def of_failed(model: str, reason: str) -> Finding:
    """A model that could not be counted."""
    return Finding(kind="no-model", name=(model, "failed"), title=f"{visible(model)} has no number: {brief(reason)}",
                   models={model: "no number"})  # fmt: skip


def of_gone(model: str) -> Finding:
    """An entry of the baseline that no model of the project has."""
    return Finding(kind="no-model", name=(model, "gone"), models={model: "gone"},
                   title=f"{visible(model)} is in the baseline, and no model of the project any more")  # fmt: skip


def of_new(model: str) -> Finding:
    """A model of the project that the baseline does not have."""
    return Finding(kind="new-model", name=(model,), title=f"{visible(model)} is new: it is not in the baseline",
                   models={model: "new"})  # fmt: skip


def of_broken(found: Broken) -> Finding:
    """A budget that is broken, or of which that cannot be told."""
    return Finding(kind="budget", name=(found.model, found.what), title=sentence(found), line=found.line,
                   models={found.model: f"a budget of {limited(found.what)}"})  # fmt: skip


def _number(n: int | None) -> str:
    return "none" if n is None else number(n)


def _line(found: Moves, finding: Finding) -> int:
    """Where the project's file has the first of the models."""
    return next((line for model in finding.models if (line := found.lines.get(model, 0))), 1)
