"""Documents that have been through anything: one line that says so, or pages; never another error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from documents import LEDGER, MACS, baseline, documents, places, sealed, with_value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_run import assembled, calls, missing, tally_of

from flopledger.counters.convention import Convention
from flopledger.counters.engine.plan import Answered, Asked, tally
from flopledger.counters.engine.supervisor import _answer
from flopledger.counters.tally import LARGEST, Part
from flopledger.reference_model.ledger import Entry, Ledger
from flopledger.reference_model.subject import Spec
from flopledger.reports.documents.baseline import decode, snapshot
from flopledger.reports.documents.reading import RunError, encode
from flopledger.reports.drift import drift
from flopledger.reports.pages import charts, drift_words, files, html
from flopledger.reports.pages.terminal import shown

DOCUMENTS = documents()
KEPT = ("created", "listed", "uploaded", "release", "version", "status", "kind", "flopledger", "granularity", "level",
        "phase", "python", "torch", "before", "after", "left", "right", "counter")  # fmt: skip
PLACES = {kind: [path for path, _ in places(document)] for kind, document in DOCUMENTS.items()}
TEXTS = {
    kind: [path for path, value in places(document) if isinstance(value, str) and path[-1] not in KEPT]
    for kind, document in DOCUMENTS.items()
}
WHOLE = sealed(DOCUMENTS["run"])
BASE = decode(sealed(DOCUMENTS["snapshot"])).models["net"]

KNOWN = ["", "0", "conv", "a\nb", "\x00", "😀", "FLOP", "counted", "</script>"]
texts = st.text(max_size=8) | st.sampled_from(KNOWN)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), texts,
    st.sampled_from([0, 1, -1, LARGEST, LARGEST + 1, 2**53, 10**400, 1e308]),
)  # fmt: skip
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
often = settings(
    max_examples=500, deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=list(HealthCheck)
)


def attempt(data: bytes) -> None:
    """Everything that a command does with a file: it is refused in one line, or all that is made of it can be made."""
    try:
        found = files.read(data)
    except RunError as error:
        assert 1 == len(str(error).splitlines())
    else:
        drawn(found)
        assert files.verdict(found)
    try:
        baseline = decode(data)
    except RunError as error:
        assert 1 == len(str(error).splitlines())
    else:
        for found in baseline.models.values():
            for one, other in ((BASE, found), (found, BASE), (found, found)):
                assert shown(drift_words.blocks(drift(one, other)))


def drawn(found: Any) -> None:
    """The pages; of the charts what they are drawn from, which is where a number could be one too many."""
    if hasattr(found, "changes"):
        files.text(found)
        html.history(found)
        if found.counted:
            json.dumps(charts.history_spec(found), allow_nan=False)
        return
    files.text(found)
    html.render(found)
    json.dumps(charts.totals_spec(found), allow_nan=False)
    for pair in found.pairs():
        json.dumps(charts.waterfall_spec(pair, found.tally(pair.right).total), allow_nan=False)


@often
@given(st.sampled_from(list(DOCUMENTS)), st.data())
def test_a_document_with_anything_anywhere(kind: str, data: st.DataObject) -> None:
    """Sealed again, so that it gets as far as it can: through the types, the sums, the words and the charts."""
    document: Any = DOCUMENTS[kind]
    only_texts = data.draw(st.sampled_from([True, *[False] * 5]))  # of the others hardly any gets through
    where, what = (TEXTS[kind], texts) if only_texts else (PLACES[kind], values)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(where))
        try:
            document = with_value(document, path, data.draw(what))
        except (LookupError, TypeError, AttributeError):  # an earlier change took the place away
            continue
    try:
        encoded = sealed(document)
    except (ValueError, OverflowError, UnicodeEncodeError, TypeError):  # no JSON at all: a NaN, half a character
        return
    attempt(encoded)


@often
@given(st.sampled_from(list(DOCUMENTS)), st.data())
def test_a_file_with_any_bytes_anywhere(kind: str, data: st.DataObject) -> None:
    """A disk, a merge and an editor know nothing of JSON."""
    whole = sealed(DOCUMENTS[kind])
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)) | st.just(len(whole)))
    between = data.draw(st.binary(max_size=12) | st.sampled_from([b'"', b"{", b"1e999", b"\\ud800"]))
    attempt(whole[:start] + between + whole[end:])


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b" " * 100_000_000, b"null", b"[" * 500 + b"]" * 500, b'{"format":' * 900 + b"1" + b"}" * 900,
        b'{"format": NaN}', b'{"format": 1e999}', b'{"format": ' + b"9" * 5000 + b"}", b'{"format": "\\ud800"}',
        b'{"\\udfff": 2}', b"\xef\xbb\xbf" + WHOLE, WHOLE.decode().encode("utf-16"),
        WHOLE.replace(b"{", b'{"format": 4, ', 1),
        b'{"format": 3, "kind": "' + b"x" * 10**6 + b'"}', b'{"format": "' + b"x" * 10**6 + b'"}',
        b'{"format": 3, "digest": 3, "x": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=["empty", "blank", "100 MB of blanks", "null", "deep lists", "deep objects", "NaN", "infinity", "5000 digits",
         "half a character", "half a key", "a byte order mark", "UTF-16", "a key twice", "a long kind", "a long format",
         "deep inside"],
)  # fmt: skip
def test_what_files_are_found_in_the_wild(data: bytes) -> None:
    """Each of these has ended some program's reading in a traceback."""
    attempt(data)


def test_a_message_never_repeats_a_megabyte() -> None:
    """One line is no line where it fills a terminal."""
    for data in (b'{"format": "%b"}', b'{"format": 3, "kind": "%b"}', b'{"format": 3, "digest": "", "created": "%b"}'):
        with pytest.raises(RunError) as caught:
            files.read(data % (b"x" * 10**6))
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("status", ["counted", "rejected", "failed", "timeout", "a word", "", "\n", "unsupported"])
def test_whatever_a_worker_answers_the_document_can_be_read(status: str, tmp_path: Path) -> None:
    """A model that failed on meta and on real tensors alike left a status that `render` and `drift` did not know."""
    with (tmp_path / "paper").open("w+b") as paper:
        paper.write(msgspec.json.encode({"status": status, "reason": "it says so"}))
        paper.flush()
        answer = _answer(None, paper, None)
    spec = Spec.parse("mobilenet_v2", ["1x3x8x8"])
    found = tally(Asked.parse("torch"), Answered(spec=spec, name="torch", answer=answer, device="cpu"))
    run = assembled(LEDGER, [(found, MACS)])
    assert files.read(encode(run)) == run
    assert decode(baseline(snapshot(run))).models == {"net": snapshot(run)}
    assert "counted" != found.status


def extreme(each: int, *parts: Part) -> Any:
    """A run in which every operation has this many MACs."""
    entries = [Entry(site=site, op="conv", aten="aten.c", calls=calls(macs=each)) for site in "abc"]
    ledger = Ledger(model="mobilenet_v2", inputs=["1x3"], params=0, entries=entries)
    other = Convention("other", ())
    return assembled(ledger, [(tally_of(MACS, ledger, parts), MACS), (tally_of(other, ledger), other)])


@pytest.mark.parametrize(
    "run",
    [
        extreme(LARGEST // 4), extreme(0), extreme(1), extreme(5, Part("", "unattributed", -15)),
        extreme(5, Part("a", None, LARGEST // 2)), assembled(replace(LEDGER, entries=[]), []),
        assembled(replace(LEDGER, entries=[]), [(tally_of(MACS, replace(LEDGER, entries=[])), MACS)]),
        assembled(LEDGER, [(missing("gone", "timeout", ""), MACS)]),
    ],
    ids=["huge", "nothing", "little", "a total of 0", "a huge residual", "no counter", "no operation", "no number"],
)  # fmt: skip
def test_the_pages_of_extremes_are_drawn(run: Any) -> None:
    """Whatever can be read can be shown: with nothing in it, with less than nothing left over, with the most."""
    assert files.rendered(files.read(encode(run)))
    assert decode(baseline(snapshot(run))).models == {"net": snapshot(run)}
