"""`flopledger conventions`: what each counter claims, without a model and without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopledger.reports.command.options import Form, app, complete_counters, fail, note
from flopledger.reports.pages.blocks import Block, Column, Table
from flopledger.reports.pages.terminal import Format, show, show_json

if TYPE_CHECKING:
    from flopledger.counters.convention import Rule


@app.command()
def conventions(
    counters: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COUNTER[==RELEASE]]…", help="Counters, files of counters or releases.  [default: all]",
                       autocompletion=complete_counters),
    ] = None,
    form: Form = Format.table,
) -> None:  # fmt: skip
    """What each counter charges, op by op: condition, formula, reason and source.

    Two releases of one counter are shown side by side: which rules came, and which went.
    """
    from flopledger.counters import registry
    from flopledger.counters.convention import Convention
    from flopledger.counters.engine import adapters, overlays

    found: list[tuple[str, str | None, str, Convention]] = []
    try:
        for name in counters or registry.names():
            counter, release = overlays.split(name)
            adapter = adapters.about(counter)
            if adapter.trouble and not counters:
                note(adapter.trouble)
                continue
            version = release or registry.version_of(adapter.distribution)
            found.append((counter, version, adapter.unit, adapters.claimed(counter, version)))
    except ValueError as error:
        fail(str(error))
    if form is Format.json:
        show_json([_plain(*each) for each in found])
        return
    blocks: list[Block] = []
    if len(found) == 2 and found[0][0] == found[1][0]:
        blocks = _side_by_side(found[0], found[1])
    else:
        for each in found:
            blocks += _claims(*each)
    show([*blocks, *_meanings([convention for *_, convention in found])], form)


def _title(counter: str, version: str | None, unit: str) -> str:
    return f"{counter} {version or '(not installed: its newest release)'}, in {unit}s; the first rule that fits decides"


def _claims(counter: str, version: str | None, unit: str, convention: Any) -> list[Block]:
    rows = [[*_row(rule), rule.because, rule.source] for rule in convention.rules]
    columns = [Column(c) for c in ("operation", "formula", "because", "source")]
    return [_title(counter, version, unit), Table(columns, rows)]


def _row(rule: Any) -> list[str]:
    from flopledger.reports.pages.vocabulary import op_word

    ops = ", ".join(map(op_word, rule.ops)) or "everything else"
    return [f"{ops} ({rule.condition})" if rule.condition else ops, str(rule.formula)]


def _side_by_side(before: Any, after: Any) -> list[Block]:
    old, new = (
        {(rule.ops, rule.condition, str(rule.formula)): rule for rule in reversed(each[3].rules)}
        for each in (before, after)
    )
    rows = [["−", *_row(rule), rule.because, rule.source] for key, rule in reversed(old.items()) if key not in new]
    rows += [["+", *_row(rule), rule.because, rule.source] for key, rule in reversed(new.items()) if key not in old]
    said = f"{before[0]}: {before[1]} (−) and {after[1]} (+)"
    if not rows:
        return [f"{said} charge alike: {len(new)} rules."]
    same = len([key for key in new if key in old])
    columns = [Column(c) for c in ("", "operation", "formula", "because", "source")]
    return [f"{said}; {same} rules, which come after these, are the same", Table(columns, rows)]


def _names(convention: Any) -> set[str]:
    return {name for rule in convention.rules for name in rule.formula.names}


def _meanings(found: list[Any]) -> list[Block]:
    from flopledger.counters.formula import meaning

    names = sorted({name for convention in found for name in _names(convention)})
    return [Table([Column("quantity"), Column("meaning")], [[name, meaning(name)] for name in names])]


def plain(rule: Rule) -> dict[str, Any]:
    """A rule for a program to read."""
    return {"ops": rule.ops, "when": rule.condition, "condition": rule.when, "formula": str(rule.formula),
            "because": rule.because, "source": rule.source}  # fmt: skip


def _plain(counter: str, version: str | None, unit: str, convention: Any) -> dict[str, Any]:
    from flopledger.counters.formula import meaning

    return {
        "counter": counter,
        "version": version,
        "unit": unit,
        "rules": [plain(rule) for rule in convention.rules],
        "quantities": {name: meaning(name) for name in sorted(_names(convention))},
    }  # fmt: skip
