"""A model's numbers for its card on the Hugging Face hub: a key of the card's metadata, and a table between marks.

The hub has no field for FLOPs. Of `model-index`, which is for evaluations, it checks that each result names a task
and a dataset, and a count has neither; keys that it does not know it keeps and leaves alone
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md, huggingface/transformers#13528). So the metadata are
one key of our own, `flopledger`, as `co2_eq_emissions` is one with fields of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction

from flopledger.reports.documents.baseline import Pinned, Snapshot
from flopledger.reports.marks import line_of, live
from flopledger.reports.pages.badge import verified
from flopledger.reports.pages.blocks import Block, Column, Table
from flopledger.reports.pages.markdown import render
from flopledger.reports.pages.numbers import brief, giga, integer, number, percent, plural, visible

KEY = "flopledger"
BEGIN, END = "<!-- flopledger-card -->", "<!-- /flopledger-card -->"
_MARKS = re.compile(r"<!--\s*(?P<end>/?)flopledger-card(?P<asks>)\s*-->")
_FRONT = re.compile(r"(?P<open>\A\ufeff?\s*---[ \t]*\r?\n)(?P<yaml>(?:.*\n)*?)(?P<close>---[ \t]*(?:\r?\n|\Z))")
_OURS = re.compile(rf"^[\"']?{KEY}[\"']?[ \t]*:.*\n(?:[ \t]+\S.*\n)*", re.MULTILINE)
_EMPTY = re.compile(r"^\{\}[ \t]*\r?\n", re.MULTILINE)
CONVENTION = "multiply-accumulates of every operation, by the shapes of its call; one MAC is two FLOPs"


class CardError(ValueError):
    """A file in which there is no place for a card; the message is one line, and `line` where."""

    def __init__(self, message: str, line: int = 1):
        super().__init__(message)
        self.line = line


def updated(text: str, name: str, model: Snapshot) -> str:
    """A Markdown file with the model's card in it, for the first time or again; all else of it stays as it is.

    Raises:
        CardError: its metadata are no mapping in lines of their own, or its marks are not one pair.
    """
    end = "\r\n" if "\r\n" in text.partition("\n")[0] + "\n" else "\n"
    front = _FRONT.match(text)
    if front is None:
        body, head = text, f"---{end}{_lines(metadata(model), end)}---{end}{end}"
    else:
        body = text[front.end() :]
        head = f"{front['open']}{_with_ours(front['yaml'], metadata(model), end)}{front['close']}"
    before = text.count("\n", 0, len(text) - len(body))
    return head + _with_table(body, render(table(name, model)), end, before)


def _with_ours(yaml: str, ours: str, end: str) -> str:
    """The lines of metadata with our key in its place, or at the end."""
    lines = _lines(ours, end)
    if _OURS.search(yaml):
        return _OURS.sub(lambda _: lines, yaml, count=1)
    content = "".join(line for line in yaml.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    if content.strip() == "{}":  # as in the hub's own template
        return _EMPTY.sub(lambda _: lines, yaml, count=1)
    if content[:1] in ("{", "["):
        raise CardError("its metadata are in braces; write each key on a line of its own")
    return yaml + lines


def _with_table(body: str, drawn: str, end: str, before: int) -> str:
    marks = live(body, _MARKS)
    inner = f"{BEGIN}{end}{end}{_lines(drawn, end)}{end}{END}"
    if not marks:
        gap = "" if not body.strip() else end if body.endswith("\n") else end * 2
        return f"{body}{gap}## Compute{end}{end}{inner}{end}"
    if [bool(mark["end"]) for mark in marks] != [False, True]:
        at = before + line_of(body, marks[0].start())
        raise CardError(f"a card is between one {BEGIN} and one {END}; there are {plural(len(marks), 'mark')}", at)
    return body[: marks[0].start()] + inner + body[marks[1].end() :]


def _lines(text: str, end: str) -> str:
    return "".join(f"{line}{end}" for line in text.splitlines())


def metadata(model: Snapshot) -> str:
    """The numbers as one key of YAML, in lines: texts are quoted as in JSON, which YAML reads alike."""
    least = "_at_least" if model.unpriced else ""
    macs = model.ledger.get("macs", 0)
    fields = {
        "model": visible(model.model.spec),
        "inputs": [visible(text) for text in model.model.inputs],
        "mode": model.model.mode,
        f"macs{least}": integer(macs),
        f"flops{least}": integer(2 * macs),
        "flops_per_mac": 2,
        "parameters": integer(model.model.params),
        **({"unpriced": {visible(name): calls for name, calls in model.unpriced.items()}} if least else {}),
        "verified": verified(model),
        "counters": _Lines([_counter(tally) for tally in model.tallies if tally.total is not None]),
        "torch": model.environment.torch,
        "flopledger": model.flopledger,
        "counted": model.created[:10],
    }
    return "\n".join([f"{KEY}:", *(f"  {name}:{_yaml(value)}" for name, value in fields.items())])


class _Lines(list[dict[str, object]]):
    """What is to have a line for each."""


def _yaml(value: object) -> str:
    if isinstance(value, _Lines) and value:
        return "".join(f"\n    - {_json(each)}" for each in value)
    return f" {_json(value)}"


def _counter(tally: Pinned) -> dict[str, object]:
    holds = tally.verified.agree == tally.verified.sites
    return {"name": visible(tally.name), "version": tally.version, "unit": tally.unit,
            "total": integer(tally.total or 0), "macs_seen": integer(tally.seen), "formulas_hold": holds}  # fmt: skip


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def table(name: str, model: Snapshot) -> list[Block]:
    """The same for a reader: what was counted and how, and what each counter says."""
    rows = [[key, text] for key, text in _rows(name, model)]
    counters = [[tally.name, tally.version or "–", *_said(tally, model)] for tally in model.tallies]
    columns = [Column("Counter"), Column("Release"), Column("Reports", numeric=True),
               Column("MACs that it saw", numeric=True), Column("Its formulas")]  # fmt: skip
    found: list[Block] = [Table([Column("Compute"), Column(visible(name))], rows)]
    return [*found, Table(columns, counters)] if counters else found


def _rows(name: str, model: Snapshot) -> Iterator[tuple[str, str]]:
    macs, least = model.ledger.get("macs", 0), "at least " if model.unpriced else ""
    if model.model.spec != name:
        yield "Model", model.model.spec
    yield "MACs", f"{least}{number(macs)} ({giga(macs)})"
    yield "FLOPs", f"{least}{number(2 * macs)} ({giga(2 * macs)})"
    yield "Parameters", f"{number(model.model.params)} ({giga(model.model.params)})"
    yield "Input", ", ".join(model.model.inputs)
    yield "Mode", model.model.mode
    yield "Convention", CONVENTION
    if model.unpriced:
        calls = ", ".join(f"{visible(op)} ({plural(n, 'call')})" for op, n in model.unpriced.items())
        yield "Not counted", f"what these take is not known: {calls}"
    else:
        yield (
            "Coverage",
            "every operation has a formula" + (", and those of the counters below hold" if verified(model) else ""),
        )
    torch = f" with torch {model.environment.torch}" if model.environment.torch else ""
    yield "Counted", f"{model.created[:10]}, flopledger {model.flopledger}{torch}"


def _said(tally: Pinned, model: Snapshot) -> tuple[str, str, str]:
    """What a counter reports, what share of the MACs it saw, and at how many places its formulas hold."""
    if tally.total is None:
        return "–", "–", brief(tally.reason or tally.status)
    agree, sites = tally.verified.agree, tally.verified.sites
    macs = model.ledger.get("macs", 0)
    share = percent(Fraction(tally.seen, macs) if macs else None)
    return f"{number(tally.total)} {tally.unit}s", share, f"hold at {number(agree)} of {plural(sites, 'place')}"
