"""What a document names is data: nothing of it runs on a document's word alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from documents import baseline as named
from sample_run import sample_run

from flopledger.reports.documents.baseline import snapshot

NAMED = "--baseline", "baseline.json"
RUNS = "os:system?command=touch ran"


def flopledger(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "flopledger.reports.command.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def baseline(folder: Path, spec: str, counter: str = "thop", given: str = "1x4") -> Path:
    """A baseline that names this model and this counter, as if it had been taken of them."""
    found = snapshot(sample_run())
    tally = next(t for t in found.tallies if t.status == "counted")
    found = msgspec.structs.replace(
        found,
        model=msgspec.structs.replace(found.model, spec=spec, inputs=[given]),
        tallies=[msgspec.structs.replace(tally, counter=counter, distribution="", version="0.1")],
    )
    place = folder / "baseline.json"
    place.write_bytes(named(mine=found))
    return place


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A model file and a counter file that leave a trace when they are run."""
    trace = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (tmp_path / "mine.py").write_text(f"{trace}import torch\n\ndef make():\n    return torch.nn.Linear(4, 8)\n")
    (tmp_path / "counter.py").write_text(f"{trace}from miniatures import Honest\n")
    return tmp_path


@pytest.mark.parametrize(
    "command", [["drift", "baseline.json"], ["releases", "--new", "--baseline", "baseline.json"]], ids=" ".join
)
@pytest.mark.parametrize(
    ("spec", "counter"),
    [
        (RUNS, "thop"),
        ("subprocess:run?args='touch ran'", "thop"),
        ("mine.py:make", "thop"),
        ("mine:make", "thop"),
        ("mobilenet_v2", "counter:Honest"),
        ("mobilenet_v2", "counter.py:Honest"),
    ],
)
def test_what_only_a_baseline_names_does_not_run(command: list[str], spec: str, counter: str, mine: Path) -> None:
    """`drift` on a file out of a pull request ran whatever the file said."""
    baseline(mine, spec, counter)
    done = flopledger(*command, cwd=mine)
    assert 2 == done.returncode
    assert "names code that is not part of flopledger" in done.stderr
    assert "--trust" in done.stderr
    assert 1 == len(done.stderr.splitlines())
    assert not (mine / "ran").exists()


@pytest.mark.parametrize("command", ["drift", "releases --new"])
def test_a_counter_that_only_a_projects_baseline_names_does_not_run(
    command: str, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull request that changes numbers only must not bring code along."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    baseline(mine, "torch.nn:Identity", "counter.py:Honest")
    configured = 'baseline = "baseline.json"\n[[models]]\nname = "mine"\nmodel = "torch.nn:Identity"\ninputs = "1x4"\n'
    (mine / "flopledger.toml").write_text(configured)
    flopledger(*command.split(), cwd=mine)
    assert not (mine / "ran").exists()


@pytest.mark.parametrize("program", ["mine.pt2", "mine.ts"])
def test_a_saved_program_that_only_a_baseline_names_does_not_run(program: str, mine: Path) -> None:
    """It is as good as code."""
    (mine / program).write_bytes(b"")
    baseline(mine, program)
    done = flopledger("drift", "baseline.json", cwd=mine)
    assert (2, True) == (done.returncode, "--trust" in done.stderr)


def test_files_that_only_a_baseline_names_are_not_read(mine: Path) -> None:
    """A document that somebody sends must not say which files of mine are looked at."""
    baseline(mine, "mobilenet_v2", given=f"@{mine}/x.npy")
    np.save(mine / "x.npy", np.zeros((1, 3, 8, 8), "float32"))
    done = flopledger("drift", "baseline.json", cwd=mine)
    assert 2 == done.returncode
    assert "has inputs in files" in done.stderr
    assert "--trust" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_it_runs_on_the_word_of_whoever_is_at_the_keyboard(mine: Path) -> None:
    """A project's own baseline of its own model is what baselines are for."""
    baseline(mine, "mine.py:make")
    done = flopledger("drift", "baseline.json", "--trust", cwd=mine)
    assert 1 == done.returncode, done.stderr
    assert (mine / "ran").exists()


def test_what_is_named_on_the_command_line_too_runs(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`releases --new COUNTER MODEL` says it as clearly as --trust."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    baseline(mine, "mine.py:make", "counter.py:Honest")
    done = flopledger("releases", "--new", "counter.py:Honest", "mine.py:make", *NAMED, cwd=mine)
    assert "No counter has a newer release" in done.stdout
    assert 2 == flopledger("releases", "--new", "thop", "mine.py:make", *NAMED, cwd=mine).returncode


def test_two_documents_are_compared_without_running_anything(mine: Path) -> None:
    """Comparing what is written needs no word from anybody."""
    place = baseline(mine, "mine.py:make", "counter.py:Honest")
    assert 0 == flopledger("drift", str(place), str(place), cwd=mine).returncode
    assert not (mine / "ran").exists()


def test_no_weights_are_downloaded_because_a_spec_says_so(tmp_path: Path) -> None:
    """A spec is data too, and a download is more than counting."""
    done = flopledger("ledger", "torchvision:resnet18?weights=DEFAULT", "-i", "1x3x64x64", cwd=tmp_path)
    assert (2, True) == (done.returncode, "nothing is downloaded" in done.stderr)
