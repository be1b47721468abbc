"""Hypothesis drives the command: documents, baselines, kept results, specs and index replies that have been through
anything. Always exit 0, 1 or 2 as documented, never a traceback, nothing left behind.

Documents by themselves are in `test_document_faults`, index replies in `test_package_index`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from documents import LEDGER as SMALL
from documents import documents, places, sealed, with_seal, with_value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flopledger.counters import registry
from flopledger.counters.engine import kept
from flopledger.counters.engine.adapters import about
from flopledger.counters.engine.job import LEDGER, Answer
from flopledger.counters.engine.plan import count_all, distinct
from flopledger.counters.tally import Count, Part
from flopledger.reference_model.subject import Spec
from flopledger.reports.command import main as command

SPEC = Spec.parse("mobilenet_v2", ["1x3x32x32"])
DOCUMENTS = documents()
PLACES = {kind: [path for path, _ in places(document)] for kind, document in DOCUMENTS.items()}
KNOWN = [
    "", "-", "--", ".", "/", "~", "\x00", "\x1b[2J", "\udcff", "a\nb", "😀", "٣", "x" * 300, "../../etc", "/dev/zero",
    "@ledger", "thop", "thop==", "==1", "thop==1.*", "thop==" + "9" * 5000, "a:b", ":x", "x.py", "x.py:",
    "mobilenet_v2", "mobilenet_v2?", "mobilenet_v2?a=", "mobilenet_v2?width_mult={[]:1}", "mobilenet_v2?x=" + "[" * 300,
    "torchvision:", "torchvision:x", "1x3x32x32", "0", "1x" * 30 + "1", "1x3:float23", "9" * 400, "1e300", "inf", "nan",
    "-1", "json", "markdown",
]  # fmt: skip
words = st.text(max_size=10) | st.sampled_from(KNOWN)
values = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | words


def calm(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache, a TMPDIR and a working directory of its own, and no process or file more at the end."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("storm")
    for name in ("cache", "tmp", "work"):
        (folder / name).mkdir()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    before = dict(os.environ), tempfile.tempdir
    os.environ.update(FLOPLEDGER_CACHE=str(folder / "cache"), PIP_INDEX_URL="http://127.0.0.1:9/simple")
    count_all(["torch"], SPEC, keep=False)  # the fork server is up, with a folder that goes when this process does
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    tempfile.tempdir = str(folder / "tmp")
    os.chdir(folder / "work")
    yield
    os.chdir(here)
    os.environ.clear()
    os.environ.update(before[0])
    tempfile.tempdir = before[1]
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert [] == [*(folder / "tmp").iterdir()]
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children


def flopledger(*arguments: str) -> tuple[int, str]:
    """The command in this process: its status, and what it says on stderr."""
    said, before = io.StringIO(), sys.argv
    sys.argv = ["flopledger", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            command.main()
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("main() came back")


def ended_well(status: int, said: str) -> None:
    assert status in (0, 1, 2), said
    assert "Traceback" not in said
    assert "a fault of its own" not in said
    assert status != 2 or 1 == len(said.splitlines())


@calm(200)
@given(st.sampled_from(["run", "snapshot", "history"]), st.data())
def test_a_document_through_the_commands(kind: str, data: st.DataObject) -> None:
    """`drift`, `releases --new` and `render` on what somebody has edited, sealed again or not."""
    document = DOCUMENTS[kind]
    path = data.draw(st.sampled_from(PLACES[kind]))
    changed = with_value(document, path, data.draw(values))
    try:
        whole = sealed(changed) if data.draw(st.booleans()) else with_seal(changed, "0")
    except (ValueError, OverflowError, TypeError):  # no JSON at all
        return
    Path("one.json").write_bytes(whole)
    Path("two.json").write_bytes(sealed(DOCUMENTS["snapshot"]))
    arguments = data.draw(st.sampled_from([
        ["drift", "one.json", "two.json"], ["drift", "two.json", "one.json", "--format", "json"],
        ["drift", "one.json", "one.json", "--format", "markdown"], ["drift", "one.json"],
        ["releases", "--new", "--baseline", "one.json"], ["releases", "--new", "--baseline", "one.json", "--trust"],
    ]))  # fmt: skip
    ended_well(*flopledger(*arguments))


@calm(25)
@given(st.sampled_from(["run", "history"]), st.data())
def test_a_document_becomes_pages_or_one_line(kind: str, data: st.DataObject) -> None:
    """Whole commands, charts and all; `test_document_faults` has the many."""
    path = data.draw(st.sampled_from(PLACES[kind]))
    try:
        whole = sealed(with_value(DOCUMENTS[kind], path, data.draw(values)))
    except (ValueError, OverflowError, TypeError):
        return
    Path("one.json").write_bytes(whole)
    ended_well(*flopledger("render", "one.json", "-o", "out", "-q"))
    shutil.rmtree("out", ignore_errors=True)


OPTIONS = ["-i", "-c", "--timeout", "--format", "-j", "--input", "--counter", "-o", "--since", "--last", "--baseline"]
COMMANDS = ["conventions", "explain", "drift", "render", "counters", "releases", "ledger", "check", "snapshot"]


@calm(150)
@given(st.sampled_from(COMMANDS), st.lists(st.tuples(st.sampled_from(OPTIONS), words) | st.tuples(words), max_size=3))
def test_any_arguments(name: str, given_: list[tuple[str, ...]]) -> None:
    """Names, shapes, numbers and paths as people mistype them; nothing that would count for minutes."""
    arguments = [argument for pair in given_ for argument in pair]
    if name in ("ledger", "snapshot", "check", "explain", "releases"):
        arguments += ["nobody:Here"] if name == "check" else ["--timeout", "0"]  # refused before anything is counted
    ended_well(*flopledger(name, *(argument.replace("\x00", "0") for argument in arguments)))


@calm(200)
@given(words, st.lists(words, max_size=2), st.lists(words, max_size=3))
def test_any_spec_and_any_names(model: str, inputs: list[str], counters: list[str]) -> None:
    """Refused in one line by whoever reads them, or what they say."""
    for read in (lambda: Spec.parse(model, inputs), lambda: distinct(counters)):
        try:
            read()
        except ValueError as error:
            assert 1 == len(f"{error!s}x".splitlines())
    for name in counters:
        if ":" not in name and name not in registry.TABLE:
            with pytest.raises(ValueError, match="counter"):
                about(name)


@calm(15)
@given(st.sampled_from([":", ".py:", "."]), st.text(max_size=6), st.text(max_size=6))
def test_any_spec_of_ones_own(between: str, before: str, after: str) -> None:
    """What nobody has is told by the job's process, and the next one is as well as ever."""
    arguments = ["ledger", f"{before}{between}{after}".replace("\x00", "0").lstrip("-"), "-i", "1x4"]
    ended_well(*flopledger(*arguments))


ANSWERS = {
    "torch": Answer(
        status="counted",
        count=Count(total=7, parts=[Part("a", "conv", 3), Part("", None, 4)], params=3, warnings=["w"]),
        version="1.0", seconds=0.5,
    ),
    "thop": Answer(status="failed", reason="it says so"),
}  # fmt: skip


@calm(300)
@given(st.sampled_from(["torch", "thop"]), st.data())
def test_a_kept_result_with_any_bytes_anywhere(name: str, data: st.DataObject) -> None:
    """What was filed, or nothing: never something else, never an error."""
    assert kept.file(name, "key", "meta", ANSWERS[name]) is None
    filed = kept.find(name, "key")
    assert filed is not None
    place = kept._place(name, "key")
    whole = place.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 12)) | st.just(len(whole)))
    place.write_bytes(whole[:start] + data.draw(st.binary(max_size=6)) + whole[end:])
    assert kept.find(name, "key") in (None, filed)
    assert whole == place.read_bytes() or kept.find(name, "key") is None


@calm(200)
@given(st.sampled_from(["torch", LEDGER]), st.data())
def test_a_kept_result_that_was_sealed_again(name: str, data: st.DataObject) -> None:
    """A seal is no secret: what is found is at least of the right shape, and adds up."""
    place = kept._place(name, "key")
    answer = Answer(status="counted", ledger=SMALL) if name == LEDGER else ANSWERS["torch"]
    kept.file(name, "key", "meta", answer)
    plain = json.loads(place.read_bytes().partition(b"\n")[2])
    path = data.draw(st.sampled_from([path for path, _ in places(plain)]))
    try:
        content = msgspec.json.encode(with_value(plain, path, data.draw(values)))
    except (ValueError, OverflowError):
        return
    place.write_bytes(kept._seal(content).encode() + b"\n" + content)
    found = kept.find(name, "key")
    if found and found.answer.count:
        parts = sum(part.count for part in found.answer.count.parts)
        assert found.answer.count.total == parts + sum(aside.amount for aside in found.answer.count.asides)
    if found and found.answer.ledger:
        assert all(value >= 0 for value in found.answer.ledger.totals().values())


def test_the_job_after_all_of_this_is_as_well_as_ever() -> None:
    """The fork server has seen nothing of it."""
    ledger, (tally,) = count_all(["torch"], SPEC, keep=False)
    assert 2 * ledger.total("macs") == tally.total
