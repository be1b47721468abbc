"""A plugin that is broken is said to be, and disables nothing and nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flopledger.counters import registry
from flopledger.counters.engine import adapters, supervisor
from flopledger.counters.engine.plan import count_all
from flopledger.counters.registry import UnknownCounter
from flopledger.reference_model.subject import Spec
from flopledger.reports.compare import compare

SPEC = Spec.parse("mobilenet_v2", ["1x3x32x32"])
GOOD = """
from flopledger.counters.convention import Convention, rule
from flopledger.counters.formula import quantity
from flopledger.counters.tally import Count, Part
{top}

class Plugin:
    distribution = ""
    unit = "MAC"
    device = "meta"
    about = "seven, at the root"

    def count(self, model, inputs):
        return Count(total=7, parts=[Part("", None, 7)])

    def convention(self, version):
        {convention}
"""
STATES = 'return Convention("plugin", (rule("*", "0", "looks at nothing", "plugin.py:1"),))'
PLUGINS = {  # name → what is odd about it at the top, in its convention, and what is said of it
    "good": ("", STATES, None),
    "raises": ("raise ValueError('not\\ntoday')", STATES, "could not be loaded: ValueError: not"),
    "raises-base": ("raise KeyboardInterrupt", STATES, "cannot say what it is: KeyboardInterrupt"),
    "exits": ("import sys; sys.exit(0)", STATES, "could not be loaded: SystemExit: 0"),
    "exits-hard": ("import os; os._exit(0)", STATES, "ended with status 0 and no answer"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", STATES, "killed by SIGSEGV"),
    "loops": ("while True: pass", STATES, "gave no answer within"),
    "prints": ("print('hello'); import sys; print('there', file=sys.stderr)", STATES, None),
    "no-unit": ("", STATES, "has no text `unit`"),
    "odd-device": ("", STATES, "it must be"),
    "two words": ("", STATES, "no counter can be called"),
    "thop": ("", STATES, "has the name of a counter that is part of flopledger"),
    "says-nothing": ("", "return None", None),
    "cannot-say": ("", "raise RuntimeError('not\\ntoday')", None),
    "never-says": ("", "while True: pass", None),
    "exits-when-asked": ("", "import os; os._exit(0)", None),
    "rules-of-nothing": ("", 'return Convention("plugin", (None,))', None),
}
BROKEN = {name: said for name, (_, _, said) in PLUGINS.items() if said and name not in ("thop", "two words")}
SILENT = ["says-nothing", "cannot-say", "never-says", "exits-when-asked", "rules-of-nothing"]
OTHERS = [name for name in PLUGINS if name not in ("thop", "two words", *BROKEN)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, each with a plugin."""
    folder = tmp_path_factory.mktemp("site")
    for number, (name, (top, convention, _)) in enumerate(PLUGINS.items()):
        about = folder / f"plugin{number}-1.0.dist-info"
        about.mkdir()
        text = GOOD.format(top=top, convention=convention)
        if name == "no-unit":
            text = text.replace('unit = "MAC"', "")
        if name == "odd-device":
            text = text.replace('"meta"', '"quantum"')
        (folder / f"plugin{number}.py").write_text(text)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin{number}\nVersion: 1.0\n")
        (about / "RECORD").write_text(f"plugin{number}.py,,\n")
        (about / "entry_points.txt").write_text(f"[flopledger.counters]\n{name} = plugin{number}:Plugin\n")
    for twin in ("left", "right"):
        about = folder / f"{twin}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {twin}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[flopledger.counters]\ntwin = {twin}:Plugin\n")
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.setattr(supervisor, "LIMIT", 3.0)
    _forget()
    yield site
    _forget()


def _forget() -> None:
    for cached in (registry.table, registry.left_out, adapters._said):
        cached.cache_clear()


def test_every_plugin_is_listed_and_the_broken_ones_say_why(installed: Path) -> None:
    """One that raised at import ended every command, and another counter was blamed."""
    found = {name: adapters.about(name) for name in registry.names()}
    assert {*registry.TABLE, *BROKEN, *OTHERS} == found.keys()
    for name, said in BROKEN.items():
        assert said in found[name].trouble
        assert "\n" not in found[name].trouble
    assert not any(found[name].trouble for name in [*OTHERS, *registry.TABLE])


def test_names_that_cannot_be_are_left_out_and_said(installed: Path) -> None:
    """A plugin called `thop` must not become thop, and of two twins neither is the one that was meant."""
    reasons = registry.left_out()
    assert {"thop", "twin", "two words"} == reasons.keys()
    assert registry.TABLE["thop"] == registry.table()["thop"]
    with pytest.raises(UnknownCounter, match="more than one counter is called 'twin': left:Plugin, right:Plugin"):
        adapters.about("twin")


def test_a_run_that_names_nobody_has_everybodys_numbers(installed: Path) -> None:
    """A broken plugin costs its own number."""
    run = compare("mobilenet_v2", "1x3x32x32").run
    statuses = {tally.name: tally.status for tally in run.tallies}
    assert {"failed"} == {statuses[name] for name in BROKEN}
    assert {"counted"} == {statuses[name] for name in [*OTHERS, "thop", "torch", "fvcore"]}
    assert 7 == run.tally("good").total
    for name in SILENT:  # they count, and what they claim is nothing: all of it is left over
        assert (7, 7) == (run.tally(name).total, run.tally(name).unexplained)
        assert f"counter {name!r}" in run.tally(name).warnings[-1]


def test_who_names_a_counter_waits_for_no_plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that loops would hold up every command by its time limit."""
    monkeypatch.setattr(supervisor, "apart", lambda *_: pytest.fail("a plugin was asked"))
    assert 7_939_840 == compare("mobilenet_v2", "1x3x32x32", counters=["thop"]).run.tallies[0].total


def test_a_broken_plugin_that_is_asked_for_has_no_number(installed: Path) -> None:
    """Asked for by name, it fails; a name that nobody registered is a usage error."""
    _, tallies = count_all(["raises", "thop"], SPEC)
    assert ["failed", "counted"] == [tally.status for tally in tallies]
    with pytest.raises(UnknownCounter, match="no counter 'raisin'"):
        count_all(["raisin"], SPEC)


def test_no_command_of_a_broken_house_is_a_traceback(installed: Path) -> None:
    """`counters` and `conventions` ask everybody; so does `count`."""
    for status, arguments in (
        (0, ["counters", "--format", "json"]),
        (0, ["conventions", "thop"]),
        (1, ["count", "-i", "1x3x32x32"]),  # what a convention that says nothing does not explain is a residual
        (0, ["count", "-i", "1x3x32x32", "-c", "thop"]),
        (2, ["check", "raises"]),
        (2, ["conventions", "cannot-say"]),
        (2, ["explain", "thop", "twin"]),
    ):
        code = (
            "from flopledger.counters.engine import supervisor; supervisor.LIMIT = 3.0\n"
            "from flopledger.reports.command.main import main; main()"
        )
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=180)
        assert "Traceback" not in done.stderr
        assert status == done.returncode, done.stderr
        assert status != 2 or 1 == len(done.stderr.splitlines())
        if arguments[0] == "counters":
            listed = {each["counter"]: each for each in json.loads(done.stdout)}
            assert "not" in listed["raises"]["trouble"]
            assert "twin is left out: more than one counter" in done.stderr


def test_a_quantity_of_a_plugins_own_is_computed_where_it_runs(tmp_path: Path) -> None:
    """Its code does not run in the command's process, not even to price a call."""
    path = tmp_path / "own.py"
    mark = "import os\n\n@quantity\ndef pairs_here(case):\n    '''Twice the outputs.'''\n    return 2 * case.call.quantities.get('outputs', 0)\n"  # noqa: E501
    states = 'return Convention("own", (rule("linear", "pairs_here", "two per output", "own.py:1"),))'
    text = GOOD.format(top=mark, convention=states).replace("7", "16")
    path.write_text(text)
    (tmp_path / "model.py").write_text("import torch\n\ndef make():\n    return torch.nn.Linear(4, 8)\n")
    run = compare(f"{tmp_path}/model.py:make", "1x4", counters=[f"{path}:Plugin"]).run
    (tally,) = run.tallies
    assert (16, 1, 1) == (tally.total, tally.verified.sites, tally.verified.agree)
    assert ["pairs_here"] == [line.formula for line in run.convention(tally) if line.count]
    assert "own" not in sys.modules
