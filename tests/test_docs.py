"""What the README and the docs show is run here, so that they stay true."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()
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


def test_the_scheduled_job_is_a_job_and_its_command_runs(tmp_path: Path) -> None:
    """People copy it as it stands, and see whether it works a week later."""
    (job,) = blocks(README, "yaml")
    (command,) = re.findall(r"- run: flopledger (releases --new .*) >>", job)
    run(f"{BIN}/flopledger snapshot -c torch -c torchinfo -o baseline.json", tmp_path)
    said = run(f"{BIN}/flopledger {command}", tmp_path)
    assert "newer release" in said or "drifted" in said


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


def test_the_example_adapter_is_whole(tmp_path: Path) -> None:
    """Whoever adds a counter starts from this file; it must satisfy the registry and be counted."""
    (code,) = blocks((TOP / "docs" / "adding-a-counter.md").read_text(), "python")
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mycounter.py").write_text(
        "def count(model, x):\n"
        "    import torch\n"
        "    found = {}\n"
        "    for name, module in model.named_modules():\n"
        "        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):\n"
        "            module.register_forward_hook(lambda m, a, out, name=name: found.update({name: out.numel() *\n"
        "                m.weight[0].numel()}))\n"
        "    model(x)\n"
        "    return type('Result', (), {'by_module': found, 'total': sum(found.values())})\n"
    )
    script = tmp_path / "check.py"
    script.write_text(
        "import mine\n"
        "mine.MyCounter.distribution = ''\n"
        "from flopledger import compare\n"
        "report = compare('mobilenet_v2', '1x3x32x32', counters=['mine:MyCounter', 'torch'])\n"
        "print(report.reconcile('mine:MyCounter', 'torch').residual)\n"
    )
    # Its distribution is not installed, which the report says; the script gives it none.
    unavailable = run([sys.executable, "-c", "from flopledger import compare; "
                       "print(compare('mobilenet_v2', '1x3x32x32', counters=['mine:MyCounter']).run.tallies[0].reason)"], tmp_path)  # fmt: skip
    assert "pip install mycounter" in unavailable
    code = code.replace('distribution = "mycounter"', 'distribution = ""')
    (tmp_path / "mine.py").write_text(code)
    assert "0" == run([sys.executable, str(script)], tmp_path).strip()
