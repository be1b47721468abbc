"""Other people's code in processes of their own: whatever it does, it is reported and hurts nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from multiprocessing import spawn
from pathlib import Path

import pytest

from flopledger.counters.engine import supervisor
from flopledger.counters.engine.job import Job
from flopledger.counters.engine.plan import Rejected, count_all
from flopledger.counters.tally import Tally
from flopledger.reference_model.subject import Spec

pytestmark = pytest.mark.alone  # its jobs have short time limits
HONEST = "miniatures:Honest"
SPEC = Spec.parse("mobilenet_v2", ["1x3x32x32"])
MISBEHAVING = {
    "Raises": ("failed", "KeyError"),
    "RaisesBaseException": ("failed", "KeyboardInterrupt"),
    "Exits": ("failed", "called sys.exit(0)"),
    "ExitsHard": ("failed", "ended with status 3"),
    "KillsItself": ("failed", "SIGKILL"),
    "Segfaults": ("failed", "SIGSEGV"),
    "DiesOfASignalWithoutAName": ("failed", "signal 40"),
    "ReturnsNan": ("failed", "nan"),
    "ReturnsNegative": ("failed", "negative"),
    "ReturnsAFraction": ("failed", "1.5"),
    "PartsDoNotAddUp": ("failed", "parts sum to"),
    "SleepsForEver": ("timeout", "no answer within"),
    "SaysItCannot": ("unsupported", "beyond me"),
    "IsNotInstalled": ("unavailable", "pip install a-counter-that-nobody-has"),
}
HARMLESS = [
    "PrintsAMegabyte",
    "LeavesTorchPatched",
    "LeavesResidue",
    "ChargesAsItsEnvironmentSays",
    "EndsWhoBuiltItsModel",
]


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    """One run of all miniatures with two real counters among them."""
    names = [f"miniatures:{name}" for name in [*MISBEHAVING, *HARMLESS]]
    _, found = count_all([HONEST, *names[:6], "thop", *names[6:], "torch"], SPEC, timeout=15, keep=False)
    return {tally.counter.removeprefix("miniatures:"): tally for tally in found}


@pytest.fixture(scope="module")
def alone() -> dict[str, int | None]:
    """What the honest ones say with nobody else about."""
    _, found = count_all([HONEST, "thop", "torch"], SPEC, keep=False)
    return {tally.counter.removeprefix("miniatures:"): tally.total for tally in found}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_misbehaviour_is_reported_as_what_it_is(name: str, tallies: dict[str, Tally]) -> None:
    """A reader must learn why a counter has no number, in one line."""
    status, words = MISBEHAVING[name]
    tally = tallies[name]
    assert status == tally.status
    assert tally.total is None
    assert tally.reason is not None
    assert words in tally.reason
    assert "\n" not in tally.reason


@pytest.mark.parametrize("name", HARMLESS)
def test_a_messy_counter_keeps_its_number(name: str, tallies: dict[str, Tally]) -> None:
    """Noise and residue are no reason to throw a right count away."""
    assert tallies["Honest"].total == tallies[name].total


@pytest.mark.parametrize("name", ["Honest", "thop", "torch"])
def test_nobody_elses_number_changes(name: str, tallies: dict[str, Tally], alone: dict[str, int]) -> None:
    """What one counter does to its process must not reach another's."""
    assert alone[name] == tallies[name].total


def test_jobs_share_a_model_only_where_they_would_have_to_wait() -> None:
    """One build for many counters must cost no core its work, and no release or model of somebody's own its order."""
    mine = [Job(counter=str(n), spec=SPEC) for n in range(4)]
    real, old = Job(counter="x", spec=SPEC, device="cpu"), Job(counter="y", spec=SPEC, release="1")
    other = Job(counter="z", spec=Spec("file.py:make", ("1x3",)))
    queue = deque([mine[0], real, mine[1], old, other, mine[2], mine[3]])
    assert [*mine, real] == supervisor._together(queue, set(), None, 1, 8)
    assert [old, other] == [*queue]
    assert [[old], [other]] == [supervisor._together(queue, set(), None, 1, 8) for _ in range(2)]
    assert mine[:2] == supervisor._together(deque([mine[0], real, mine[1]]), set(), None, 1, 2)  # of one device first
    assert [mine[0], real] == supervisor._together(deque([real, mine[0]]), set(), None, 1, 8)  # and meta before all
    assert [mine[:2], mine[2:]] == [
        supervisor._together(q, set(), None, free, 8) for q in [deque(mine)] for free in (3, 1)
    ]
    assert [mine[:2], mine[2:]] == [supervisor._together(q, set(), None, 1, 2) for q in [deque(mine)] for _ in "ab"]
    assert [mine[:1], mine[1:2]] == [
        supervisor._together(q, {mine[0]}, None, 9, 8) for q in [deque(mine)] for _ in "ab"
    ]


def test_an_honest_number_is_checked_against_hand_arithmetic() -> None:
    """The miniature that all others are compared with must itself be right."""
    ledger, (tally,) = count_all([HONEST], SPEC, keep=False)
    expected = sum(e["outputs"] for e in ledger.entries if e.op in ("conv", "linear"))
    assert expected == tally.total


def test_a_hanging_counter_leaves_no_process_behind() -> None:
    """A counter's own children must go with it, or a CI machine fills up."""
    count_all([HONEST], SPEC, keep=False)  # the server is up
    before = _workers()
    assert before
    start = time.monotonic()
    count_all(["miniatures:SleepsForEver"], SPEC, timeout=5, keep=False)
    assert time.monotonic() - start < 60
    time.sleep(0.2)
    assert before == _workers()


def test_a_model_that_rejects_its_input_says_so_in_its_own_words() -> None:
    """The reader needs the model's message, not ours."""
    with pytest.raises(Rejected, match="to have 3 channels, but got 4 channels"):
        count_all([HONEST], Spec.parse("mobilenet_v2", ["1x4x32x32"]), keep=False)


def test_a_count_does_not_depend_on_the_number_of_cores(tmp_path: Path) -> None:
    """Sums in another order let a detector find one thing more: Mask R-CNN had other totals on one core and on two."""
    path = tmp_path / "eager.py"
    path.write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        for _ in range(torch.get_num_threads()): x = super().forward(x)\n"
        "        return x\n"
        "def make(): return Net(3, 3)\n"
    )
    path.with_name("threads.py").write_text(
        "import torch\nfrom flopledger.counters.tally import Count, Part\nclass Threads:\n"
        "    distribution, unit, device, about = '', 'MAC', 'cpu', 'counts threads'\n"
        "    def count(self, model, inputs):\n"
        "        return Count(total=torch.get_num_threads(), parts=[Part('', None, torch.get_num_threads())])\n"
    )
    for workers in (1, 2):
        spec = Spec.parse(f"{path}:make", ["1x3"])
        ledger, (tally,) = count_all([f"{tmp_path}/threads.py:Threads"], spec, workers=workers, keep=False)
        assert 2 * 9 == ledger.totals()["macs"]
        assert tally.total == 2, tally.reason
    _, (tally,) = count_all([f"{tmp_path}/threads.py:Threads"], SPEC, keep=False)
    assert tally.total == 1  # it runs on meta, so nothing depends on its sums, and jobs share the cores


def test_data_dependent_models_are_counted_on_real_tensors(tmp_path) -> None:
    """A model that looks at its data cannot run on meta; it is counted all the same."""
    path = tmp_path / "dynamic.py"
    path.write_text(
        "import torch\n"
        "class make(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(4, 8)\n"
        "    def forward(self, x):\n"
        "        return self.fc(x[: int((x >= 0).all()) + 1])\n"
    )
    ledger, tallies = count_all(["thop", "torch"], Spec.parse(f"{path}:make", ["5x4"]), keep=False)
    assert ledger.device == "cpu"
    assert "real tensors" in ledger.notes[0]
    assert [tally.total for tally in tallies] == [64, 128]
    assert [tally.device for tally in tallies] == ["cpu", "cpu"]


def test_two_threads_count_at_once_and_leave_nothing_changed() -> None:
    """A notebook and a test runner count from threads; what is stood in for meanwhile must be put back."""
    main, genuine = sys.modules["__main__"], spawn.get_preparation_data
    found: list[int | None] = []

    def count() -> None:
        _, (tally,) = count_all([HONEST], SPEC, keep=False)
        found.append(tally.total)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 == len(found)
    assert 1 == len(set(found))
    assert sys.modules["__main__"] is main
    assert spawn.get_preparation_data is genuine


def test_a_job_does_not_run_the_callers_script_again(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"` would count for ever."""
    script = tmp_path / "script.py"
    script.write_text(
        "from flopledger.counters.engine.plan import count_all\n"
        "from flopledger.reference_model.subject import Spec\n"
        f"with open({str(tmp_path / 'runs')!r}, 'a') as file:\n"
        "    file.write('once\\n')\n"
        "count_all(['torch'], Spec.parse('mobilenet_v2', ['1x3x32x32']), keep=False)\n"
    )
    subprocess.run([sys.executable, str(script)], check=True)
    assert "once\n" == (tmp_path / "runs").read_text()


def _workers() -> set[str]:
    """Process ids of this run's fork server, of what it forked, and of what that forked (all share its name)."""
    mark = f"FLOPLEDGER_TEST_RUN={os.environ['FLOPLEDGER_TEST_RUN']}\0".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = mark in (folder / "environ").read_bytes()
            if mine and b"forkserver" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
        except OSError:
            continue
    return found
