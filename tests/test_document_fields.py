"""Every field of every document, changed by hand: refused by the seal, and without it by what adds up."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from documents import changes, documents, sealed, value_at, with_seal, with_value

from flopledger.reports.documents.baseline import Snapshot, decode
from flopledger.reports.documents.history import History
from flopledger.reports.documents.reading import RunError, digest
from flopledger.reports.documents.run import Run
from flopledger.reports.drift import drift
from flopledger.reports.pages import drift_words, files
from flopledger.reports.pages.files import read
from flopledger.reports.pages.terminal import shown

DOCUMENTS = documents()
KINDS = list(DOCUMENTS)

# What is said once in a document and follows from nothing else there. Only the seal keeps these from a stray edit.
# Statements: they are shown as they stand, and no number depends on them.
STATED = {
    "run": """
        flopledger environment.python environment.torch environment.platform model.spec model.device
        ledger.entries.*.aten ledger.entries.*.inside ledger.entries.*.inside.* ledger.entries.*.base
        ledger.notes ledger.notes.* ledger.source ledger.members..kind ledger.members.a.kind
        tallies.*.distribution tallies.*.claims.*.because tallies.*.claims.*.source
        tallies.*.claims.*.when tallies.*.shims tallies.*.shims.* tallies.*.warnings tallies.*.warnings.*
        tallies.*.failures.*.known
        tallies.*.seconds tallies.*.reason tallies.*.device tallies.*.adapter tallies.*.asides.*.because
    """,
    "history": """
        flopledger environment.python environment.torch environment.platform model.spec model.device distribution unit
        rows.*.reason rows.*.yanked rows.*.shims rows.*.shims.* rows.*.warnings rows.*.warnings.*
        changes.*.reconciliation.lines changes.*.reconciliation.lines.*.elements
        changes.*.reconciliation.lines.*.left_source
        changes.*.reconciliation.lines.*.right_source
        changes.*.reconciliation.residue.*.known
    """,
    "snapshot": """
        flopledger environment.python environment.torch environment.platform model.device source
        tallies.*.distribution tallies.*.version tallies.*.reason tallies.*.lines.*.because tallies.*.lines.*.source
        tallies.*.lines.*.when tallies.*.lines.*.sites tallies.*.adapter tallies.*.warnings tallies.*.warnings.*
    """,
}
# And these: numbers that are known nowhere else, names that decide what is added to what, and whole counters.
SEALED = {
    "run": """
        model.inputs model.inputs.* model.params ledger.entries.*.module ledger.entries.*.leaf ledger.entries.*.api
        ledger.entries.*.params ledger.entries.*.frozen tallies tallies.*.counter tallies.*.version tallies.*.release
        tallies.*.unit tallies.*.params
        tallies.*.claims tallies.*.claims.*.formula tallies.*.uncounted tallies.*.uncounted.aten::roll
        tallies.*.asides.*.name asked asked.* created
        ledger.members ledger.members..params ledger.members..calls ledger.members..output
        ledger.members..output.* ledger.members..shapes ledger.members.a.params
        ledger.members.a.calls ledger.members.a.output ledger.members.a.shapes
        ledger.unpriced.*.inputs ledger.unpriced.*.inputs.* ledger.unpriced.*.inputs.*.*
        ledger.unpriced.*.output ledger.unpriced.*.output.* ledger.unpriced.*.output.*.*
    """,
    "history": """
        created listed model.inputs model.inputs.* model.params unpriced unpriced.mylib.op
        ledger ledger.calls ledger.macs ledger.outputs
        rows rows.*.release rows.*.uploaded rows.*.params
        changes.*.reconciliation.lines.*.op changes.*.reconciliation.lines.*.left_formula
        changes.*.reconciliation.lines.*.right_formula
        changes.*.reconciliation.lines.*.left_because changes.*.reconciliation.lines.*.right_because
        changes.*.reconciliation.lines.*.failing.* changes.*.reconciliation.residue
        changes.*.reconciliation.residue.*.site changes.*.reconciliation.residue.*.op
    """,
    "snapshot": """
        created model.spec model.inputs model.inputs.* model.params unpriced unpriced.mylib.op work modules
        ledger ledger.calls ledger.macs ledger.outputs
        tallies tallies.*.counter
        tallies.*.release tallies.*.unit tallies.*.params tallies.*.lines tallies.*.lines.*.op
        tallies.*.lines.*.formula tallies.*.verified.sites tallies.*.verified.agree tallies.*.seen
    """,
}


def understood(kind: str, data: bytes) -> Run | History | Snapshot:
    return decode(data).models["net"] if kind == "snapshot" else read(data)


def name(path: tuple[str | int, ...]) -> str:
    """Where a change was made, whichever of a list it was: `tallies.*.total`."""
    return ".".join("*" if isinstance(step, int) else step for step in path)


def page(found: Run | History | Snapshot) -> str:
    """All that a person reads of a document, as text."""
    if isinstance(found, Run):
        return files.text(found)
    if isinstance(found, History):
        return files.text(found)
    return shown(drift_words.blocks(drift(understood("snapshot", sealed(OTHER)), found)), width=300)  # type: ignore[arg-type]


OTHER = with_value(DOCUMENTS["snapshot"], ("tallies", 3, "lines", 0, "count"), 1 << 27)
OTHER = with_value(
    OTHER, ("tallies", 3, "total"), sum(line["count"] for line in value_at(OTHER, ("tallies", 3, "lines")))
)


def numbers(text: str, *less: Any) -> Counter[str]:
    """The numbers in a page, without those in texts that were exchanged."""
    plain = text.replace("\\", "")
    for one in less:
        for said in one if isinstance(one, list) else [one]:
            plain = plain.replace(str(said), "") if said not in (None, "") else plain
    return Counter(re.findall(r"[−+]?\d(?:[\d,.]*\d)?", plain))


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_itself_is_read(kind: str) -> None:
    """A test of refusals is empty where everything is refused."""
    assert understood(kind, sealed(DOCUMENTS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_seal_refuses_every_change_of_every_field(kind: str) -> None:
    """A merge that went wrong, an editor's stray key: whatever it hit, nobody must read the result as counted."""
    plain, seal = DOCUMENTS[kind], digest(DOCUMENTS[kind])
    read_so_far: set[str] = set()
    for path, changed in changes(plain):
        assert digest(changed) != seal, path
        if name(path) not in read_so_far:
            read_so_far.add(name(path))
            with pytest.raises(RunError) as caught:
                understood(kind, with_seal(changed, seal))
            assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_seal_whatever_follows_from_the_rest_is_refused(kind: str) -> None:
    """A program of ours that writes wrong sums seals them, too: what is redundant has to fit."""
    expected = set(STATED[kind].split()) | set(SEALED[kind].split())
    accepted: set[str] = set()
    for path, changed in changes(DOCUMENTS[kind]):
        try:
            understood(kind, sealed(changed))
        except RunError as error:
            assert 1 == len(str(error).splitlines()), path
            assert len(str(error)) < 1000, path
        else:
            accepted.add(name(path))
    assert expected == accepted


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_changes_no_number(kind: str) -> None:
    """What can only be sealed is shown as it stands, and nothing is computed from it."""
    plain, stated = DOCUMENTS[kind], set(STATED[kind].split())
    before = page(understood(kind, sealed(plain)))
    seen: Counter[str] = Counter()
    for path, changed in changes(plain):
        where = name(path)
        old, new = value_at(plain, path), value_at(changed, path)
        adds_digits = new == "0" or (isinstance(new, str) and not new.isprintable())
        if where not in stated or seen[where] > 12 or adds_digits:
            continue
        try:
            found = understood(kind, sealed(changed))
        except RunError:
            continue
        seen[where] += 1
        assert numbers(before, new, old) == numbers(page(found), new, old), (path, new)


@pytest.mark.parametrize("kind", KINDS)
def test_blanks_the_order_of_keys_and_line_ends_are_nobodys_business(kind: str) -> None:
    """A baseline goes through git, editors and formatters; none of them changes what it says."""
    data = sealed(DOCUMENTS[kind])
    document = json.loads(data)
    turned = json.dumps(dict(reversed(document.items())), indent=4, ensure_ascii=False).replace("\n", "\r\n")
    assert understood(kind, data) == understood(kind, turned.encode()) == understood(kind, b"\n " + data + b"\t\n")


def test_a_document_without_a_digest_is_an_older_ones(tmp_path: Path) -> None:
    """It is not damaged: whoever has one needs to know that counting again is all."""
    for kind, plain in DOCUMENTS.items():
        with pytest.raises(RunError, match=r"no digest: written by an older flopledger; count again$"):
            understood(kind, with_seal(plain, None))


MESSAGES = [
    ("run", ("tallies", 1, "verified", "agree"), 1, "agrees at 1 of"),
    ("run", ("tallies", 0, "asides", 0, "amount"), -(1 << 20), "do not sum to its total"),
    ("run", ("tallies", 0, "failures", 0, "claimed"), 1, "what no formula explains, do not sum"),
    ("run", ("tallies", 3, "status"), "counted", "is counted and has no total"),
    ("run", ("tallies", 0, "rows"), DOCUMENTS["run"]["tallies"][0]["rows"][:-1], "has 5 rows where the ledger has 6"),
    ("run", ("tallies", 0, "failures", 0, "level"), "op", "macs speaks by site, and fails by op"),
    ("run", ("tallies", 0, "claims", 1), DOCUMENTS["run"]["tallies"][0]["claims"][0], "macs has one rule twice"),
    ("snapshot", ("tallies", 1, "lines", 0, "sites"), 99, "at more sites than the model has calls"),
    ("run", ("tallies", 3, "params"), 5, "gone did not count and has numbers"),
    ("run", ("tallies", 3, "verified", "sites"), 5, "gone did not count and was compared at 5 places"),
    ("run", ("tallies", 0, "claims", 0, "in_macs"), "macs", "macs says MACs"),
    ("history", ("rows", 0, "params"), 5, "0.9 did not count and has numbers"),
    ("snapshot", ("tallies", 0, "params"), 5, "gone did not count and has numbers"),
    ("run", ("model", "inputs", 0), "1x3xbig", "is not a shape"),
    ("run", ("created",), "2026-13-01T00:00:00Z", "is no date"),
    ("run", ("asked", 0), "nobody", "nobody was asked for and has no tally"),
    ("history", ("changes", 0), None, "not a history document"),
    ("history", ("changes",), [], "moved the total and has no change"),
    ("history", ("rows", 1, "uploaded"), "yesterday", "not a history document"),
    ("history", ("rows", 1, "agree"), 99, "agrees at 99 of"),
    ("history", ("rows", 1, "release"), "1.0\n2.0", "not a history document"),
    ("history", ("rows", 3, "uploaded"), "1920-05-06T07:08:09", "not in order of upload"),
    ("history", ("changes", 0, "uploaded"), "2020-05-06T07:08:08", "another date than the release"),
    ("history", ("changes", 0, "before"), "1.1", "between one counted release and the next"),
    ("history", ("changes", 0, "reconciliation", "left"), "thop==2.0", "is between thop==2.0 and"),
    ("history", ("changes", 0, "reconciliation", "difference"), 1, "the difference of the step to 2.0 is not that"),
    ("history", ("changes", 0, "reconciliation", "residual"), 1, "the lines of the step to 2.0 do not add up"),
    ("history", ("changes", 0, "reconciliation", "lines", 0, "left"), 1, "a line of the step to 2.0 does not add up"),
    ("history", ("changes", 0, "reconciliation", "lines", 0, "sites"), 1, "is verified at"),
    ("history", ("changes", 0, "reconciliation", "lines", 0, "left_formula"), "0", "by a formula of 0"),
    (
        "history",
        ("changes", 1, "reconciliation", "residue", 0, "unexplained"),
        1,
        "what is left over of the step to 2.1",
    ),
    ("history", ("changes", 1, "reconciliation", "residue", 0, "reported"), 1, "what was reported and not claimed"),
    ("history", ("changes", 1, "reconciliation", "residue", 0, "counter"), "x", "a counter that is not part of it"),
    ("history", ("rows", 4, "agree"), 1, "2.1 agrees at 1 of"),
    ("history", ("rows", 1, "moved"), 1, "the total of 1.0 and its step do not fit"),
    ("snapshot", ("tallies", 1, "lines", 0, "count"), -7, "do not sum to its total"),
    ("snapshot", ("tallies", 1, "total"), 10**400, "beyond 2**62"),
    ("snapshot", ("tallies", 1, "verified", "agree"), 99, "agrees at 99 of"),
]


@pytest.mark.parametrize(("kind", "path", "value", "said"), MESSAGES, ids=[name(m[1]) for m in MESSAGES])
def test_the_line_says_what_is_wrong(kind: str, path: tuple[str | int, ...], value: Any, said: str) -> None:
    """`its digest does not fit` is all that can be said of most changes; of these there is more to say."""
    with pytest.raises(RunError) as caught:
        understood(kind, sealed(with_value(DOCUMENTS[kind], path, value)))
    assert said in str(caught.value)


def both_sides_up(change: dict[str, Any]) -> None:
    line = change["reconciliation"]["lines"][0]
    line["left"] += 1000
    line["right"] += 1000


def test_a_lines_two_sides_shifted_together_are_refused() -> None:
    """The difference stays, and both amounts on the page are wrong."""
    document = json.loads(sealed(DOCUMENTS["history"]))
    del document["digest"]
    both_sides_up(document["changes"][0])
    with pytest.raises(RunError, match=r"the lines of the step to 2.0 do not sum to the total of 2.0"):
        understood("history", sealed(document))


def test_a_ledger_with_fewer_than_no_operations_is_refused() -> None:
    """Two sites whose amounts were shifted against each other have the same sum."""
    document = json.loads(sealed(DOCUMENTS["run"]))
    del document["digest"]
    calls = [entry["calls"] for entry in document["ledger"]["entries"]]
    calls[0][0]["quantities"]["outputs"] += 100
    calls[2][0]["quantities"]["outputs"] -= 100
    with pytest.raises(RunError, match="the ledger's add at b has no calls, or fewer than none"):
        understood("run", sealed(document))


def test_a_failure_that_claims_what_its_rows_do_not_charge_is_refused() -> None:
    """Reported and claimed shifted together leave the residual as it was, and both numbers on the page wrong."""
    document = json.loads(sealed(DOCUMENTS["run"]))
    del document["digest"]
    for field in ("reported", "claimed"):
        document["tallies"][0]["failures"][0][field] += 1000
    with pytest.raises(RunError, match=r"what macs claims at .+ is not what its rows charge there"):
        understood("run", sealed(document))


def test_an_aside_that_is_too_large_is_refused_in_every_document() -> None:
    """Whoever calls a million rounding has to be able to show it."""
    more = 1 << 20
    run = json.loads(sealed(DOCUMENTS["run"]))
    run.pop("digest")
    run["tallies"][0]["asides"][0]["amount"] += more
    run["tallies"][0]["total"] += more
    snapshot = json.loads(sealed(DOCUMENTS["snapshot"]))
    snapshot = snapshot["models"]["net"]
    snapshot.pop("digest")
    (line,) = [line for line in snapshot["tallies"][1]["lines"] if line["op"] == "rounding"]
    line["count"] += more
    snapshot["tallies"][1]["total"] += more
    history = json.loads(sealed(DOCUMENTS["history"]))
    history.pop("digest")
    last, step = history["rows"][-1], history["changes"][-1]["reconciliation"]
    (line,) = [line for line in step["lines"] if line["op"] == "rounding"]
    for place, field in ((last, "total"), (last, "moved"), (step, "difference"), (line, "left"), (line, "difference")):
        place[field] += more
    for kind, document in (("run", run), ("snapshot", snapshot), ("history", history)):
        with pytest.raises(RunError, match=r"can be (no )?rounding"):
            understood(kind, sealed(document))
