"""Neither takes the other's modules: a project with names like ours, and a folder with names like Python's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("flopledger"))
ROOMS = ("reports", "counters", "reference_model")
MODEL = """
import torch
from counters import WIDTH
from reference_model.deep import DEPTH
from reports import HEADS

def make():
    return torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)), torch.nn.Linear(WIDTH, HEADS))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has packages called like our three rooms."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    for room in ROOMS:
        (folder / room).mkdir(parents=True)
    (folder / "reports" / "__init__.py").write_text("HEADS = 2\n")
    (folder / "counters" / "__init__.py").write_text("WIDTH = 4\n")
    (folder / "reference_model" / "__init__.py").write_text("")
    (folder / "reference_model" / "deep.py").write_text("DEPTH = 3\n")
    (folder / "model.py").write_text(MODEL)
    return folder


def ran(arguments: list[str], folder: Path) -> str:
    """What a command says, run in a folder with nothing of this process's search path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("where", [".", "elsewhere"])
def test_a_project_with_names_like_ours_is_counted(project: Path, where: str) -> None:
    """It was here first."""
    (project / "elsewhere").mkdir()
    said = ran([COMMAND, "count", str(project / "model.py:make"), "-i", "1x4", "-c", "torch", "-q"], project / where)
    assert str(2 * (3 * 4 * 4 + 4 * 2)) in said


def test_a_project_with_names_like_ours_runs_its_tests(project: Path) -> None:
    """An installed plugin that cannot be imported ends pytest for everybody."""
    (project / "test_it.py").write_text(
        "from counters import WIDTH\n"
        "from model import make\n"
        "def test_it(assert_macs):\n"
        "    import torch\n"
        "    assert_macs(make(), torch.zeros(1, WIDTH), at_most=56)\n"
    )
    assert "1 passed" in ran([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], project)


def test_a_folder_with_names_like_pythons_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server is a `python -c`, which looks into the working directory first; so does pip, run as a module."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    for name in ("counters", "torch", "json", "random", "types", "flopledger", "pip", "thop", "signal"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py was taken from the working directory')\n")
    said = ran([COMMAND, "count", "-i", "1x3x32x32", "-c", "thop", "-c", "torch", "-q"], tmp_path)
    assert "thop" in said
    assert "failed" not in said


def test_a_neighbour_called_like_a_library_is_the_models_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`thop.py` is what many call the script in which they tried thop; `random.py` one in which they drew numbers."""
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "thop.py").write_text("raise SystemExit('taken for the library')\n")
    (tmp_path / "random.py").write_text("raise SystemExit('taken for the standard library')\n")
    (tmp_path / "markupsafe.py").write_text("WIDTH = 5\n")  # there is one installed
    (tmp_path / "model.py").write_text(
        "import torch\nfrom markupsafe import WIDTH\ndef make(): return torch.nn.Linear(4, WIDTH)\n"
    )
    said = ran([COMMAND, "count", "model.py:make", "-i", "1x4", "-c", "thop", "-q"], tmp_path)
    assert "20" in said
    assert "failed" not in said
