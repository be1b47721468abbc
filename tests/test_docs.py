"""What the README and the docs show is run here, so that they stay true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()
ADDING = (TOP / "docs" / "adding-a-counter.md").read_text()
PROJECT = (TOP / "docs" / "project.md").read_text()
INPUTS = (TOP / "docs" / "inputs.md").read_text()
BIN = Path(sysconfig.get_path("scripts"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(command: list[str] | str, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, shell=isinstance(command, str), timeout=300
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_every_command_in_the_readme_works(tmp_path: Path) -> None:
    """A reader's first try is a command copied from here."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("flopledger ")]
    assert len(commands) > 5
    for command in commands:
        run(f"{BIN}/{command}", tmp_path)
    assert (tmp_path / "again" / "report.html").read_bytes() == (tmp_path / "out" / "report.html").read_bytes()


def test_the_quoted_explanation_is_what_the_command_prints(tmp_path: Path) -> None:
    """The founding example is the first thing a reader compares."""
    printed = run(f"{BIN}/flopledger explain thop torchsummaryX", tmp_path).split()
    for line in blocks(README, "text")[0].splitlines():
        words = line.split()
        assert any(words == printed[i : i + len(words)] for i in range(len(printed))), line
    assert "ReLU6" in printed[printed.index("Neither") :] or any("ReLU6" in word for word in printed)


def test_the_quoted_step_is_what_the_command_prints(tmp_path: Path) -> None:
    """The step of June 2022 is the one that most people meet."""
    printed = run(f"{BIN}/flopledger releases thop --since 2022-06", tmp_path).split()
    for line in blocks(README, "text")[1].splitlines():
        words = line.split()
        assert any(words == printed[i : i + len(words)] for i in range(len(printed))), line


def test_the_python_example_runs(tmp_path: Path) -> None:
    """Notebook users copy it as it stands."""
    test, code = blocks(README, "python")
    (tmp_path / "test_cost.py").write_text(test)
    for options in (["--flop-update"], []):
        assert "1 passed" in run([sys.executable, "-m", "pytest", "-q", *options, "test_cost.py"], tmp_path)
    script = tmp_path / "example.py"
    script.write_text(code)
    assert "thop" in run([sys.executable, str(script)], tmp_path)
    assert (tmp_path / "out" / "report.html").exists()


def test_the_two_commands_are_single_lines() -> None:
    """The promise is one line to install and run, one line to install and test; CI runs the second."""
    for marker in ("run", "test"):
        (command,) = re.findall(rf"^<!-- {marker} -->\n```sh\n(.*)\n```$", README, re.MULTILINE)
        assert "pip install" in command


@pytest.mark.parametrize("path", sorted(TOP.glob("docs/*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    """A dead link in the map loses the stranger who is to carry this on."""
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The file of the walk-through, in a folder of somebody's own."""
    pytest.importorskip("torchprofile")
    file = tmp_path / "torchprofile_counter.py"
    file.write_text(blocks(ADDING, "python")[0])
    assert len(file.read_text().splitlines()) <= 80
    return file


@pytest.mark.slow
def test_the_example_counter_holds_on_every_probe(example: Path) -> None:
    """Whoever adds a counter starts from this page; it must be true from the first command on."""
    assert "Its rules hold at all" in run(f"{BIN}/flopledger check {example.name}:Torchprofile", example.parent)


def test_a_rule_that_was_broken_is_found_and_named(example: Path) -> None:
    """A check that cannot fail is worth nothing; the page quotes what it prints."""
    rule = '"batch_norm instance_norm layer_norm group_norm", "outputs"'
    assert rule in example.read_text()
    example.write_text(example.read_text().replace(rule, rule.replace('"outputs', '"2·outputs')))
    command = [f"{BIN}/flopledger", "check", f"{example.name}:Torchprofile"]
    done = subprocess.run(command, cwd=example.parent, capture_output=True, text=True, timeout=300)
    assert 1 == done.returncode
    printed = done.stdout.split()
    for line in blocks(ADDING, "text")[0].splitlines():
        words = line.split()
        assert any(words == printed[i : i + len(words)] for i in range(len(printed))), line
    assert {"RMS", "linear", "convolution"}.isdisjoint(done.stdout.partition("which is")[2].split())


@pytest.mark.parametrize(
    "model",
    ["mobilenet_v2", *(pytest.param(f"torchvision:{n}", marks=pytest.mark.slow) for n in ("resnet50", "vit_b_16"))],
)
def test_the_example_counter_reconciles_with_every_other(example: Path, model: str) -> None:
    """Rules that were found on tiny models must hold on whole networks."""
    if ":" in model:
        pytest.importorskip("torchvision")
    counters = (
        "torchprofile_counter.py:Torchprofile thop fvcore torchinfo torch ptflops-pytorch ptflops-aten torchsummaryX"
    )
    asked = " ".join(f"-c {name}" for name in counters.split())
    said = run(f"{BIN}/flopledger report {model} -i 1x3x224x224 {asked} -o out", example.parent)
    assert "residual 0 in all 28 pairs, and each counter's formulas hold at every place" in " ".join(said.split())


def test_the_other_commands_of_the_walk_through_work(example: Path) -> None:
    """`releases` needs the index, which the tests do not ask; the rest is copied as it stands."""
    commands = [line for block in blocks(ADDING, "sh") for line in block.splitlines()]
    for command in commands:
        if command.startswith("flopledger ") and "check" not in command and "releases" not in command:
            run(f"{BIN}/{command}", example.parent)


def test_the_examples_of_inputs_work(tmp_path: Path) -> None:
    """What goes in is the first thing that a user with a model of their own has to write."""
    (nets,) = blocks(INPUTS, "python")
    (tmp_path / "nets.py").write_text(nets)
    (tmp_path / "images.toml").write_text(blocks(INPUTS, "toml")[0])
    given = [["ids=2x16:int64[1:1000]", "mask=2x16:bool=1"], None, ["images=[3x64x64, 3x48x80]", "threshold=0.5"]]
    for command, expected in zip(blocks(INPUTS, "sh")[0].splitlines(), given, strict=True):
        said = json.loads(run(f"{BIN}/{command} --format json", tmp_path))
        assert said["model"]["inputs"] == expected if expected else all(tally["total"] for tally in said["counters"])


def test_the_commands_of_a_project_work(tmp_path: Path) -> None:
    """The page is what somebody copies into their own pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text(blocks(PROJECT, "toml")[0])
    (tmp_path / "net.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.Conv2d(3, 8, 3)\n")
    for command in [line for block in blocks(PROJECT, "sh") for line in block.splitlines()]:
        if command.startswith("flopledger "):
            run(f"{BIN}/{command}", tmp_path)
    assert ["mine", "narrow"] == [*json.loads((tmp_path / "flops.json").read_text())["models"]]


def test_every_claim_on_security_names_a_test_that_is_there() -> None:
    """A claim without a test is a hope."""
    text = (TOP / "SECURITY.md").read_text()
    named = set(re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text))
    assert len(named) > 25
    for file, test in named:
        source = (TOP / file).read_text()
        assert not test or re.search(rf"^def {test}\(", source, re.MULTILINE), (file, test)
    claims = re.findall(r"^- (?:(?!\n- |\n\n).|\n)*", text.partition("## What is not trusted")[2], re.MULTILINE)
    assert claims
    for claim in claims:
        assert "`tests/" in claim
