"""What moved as SARIF 2.1.0, the format of code scanning: each kind of finding is a rule, each finding a result."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from flopledger.counters import registry
from flopledger.reports.moves import Moves
from flopledger.reports.pages.findings import KINDS, Finding, findings, place
from flopledger.reports.pages.numbers import visible

HELP = "flopledger drift says what moved; flopledger drift --accept takes what is meant into the baseline."
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(found: Moves) -> str:
    """The log of one run: what is wrong, at the lines of the configuration that name the models."""
    driver = {
        "name": "flopledger",
        "version": registry.version_of("flopledger") or "unknown",
        "rules": [_rule(kind, text) for kind, text in KINDS.items()],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{
        "tool": {"driver": driver},
        "results": [_result(found, each) for each in findings(found)],
    }]}  # fmt: skip
    return f"{json.dumps(log, indent=2)}\n"


def _rule(kind: str, text: str) -> dict[str, Any]:
    """A kind of finding; GitHub asks for all three texts."""
    texts = {"shortDescription": text, "fullDescription": text, "help": f"{text} {HELP}"}
    return {"id": kind, **{name: {"text": said} for name, said in texts.items()}}


def _result(found: Moves, each: Finding) -> dict[str, Any]:
    """One result. GitHub shows the first location; the models that it touches are related ones."""
    touched = [(model, text, found.lines.get(model, 0)) for model, text in each.models.items()]
    related = [
        {"id": i, "message": {"text": f"{visible(model)}: {text}"}, **_location(found, line)}
        for i, (model, text, line) in enumerate(touched, 1)
        if line
    ]
    return {
        "ruleId": each.kind,
        "ruleIndex": list(KINDS).index(each.kind),
        "level": "error",
        "message": {"text": _plain("\n".join((each.title, *each.lines)))},
        "locations": [_location(found, each.line)],
        **({"relatedLocations": related} if len(related) > 1 else {}),
        "partialFingerprints": {"flopledger/v1": _digest(each)},
    }


def _location(found: Moves, line: int) -> dict[str, Any]:
    """A line of the configuration, or the baseline where there is none."""
    where = {"uri": quote(PurePath(place(found)).as_posix())}
    return {"physicalLocation": {"artifactLocation": where, "region": {"startLine": max(1, line)}}}


def _plain(text: str) -> str:
    """Text of a message, in which `[text](1)` would be a link to a location and `{0}` an argument."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("{", "{{").replace("}", "}}")


def _digest(each: Finding) -> str:
    """What it is, without the numbers and lines of today."""
    return hashlib.sha256(json.dumps([each.kind, *each.name]).encode()).hexdigest()
