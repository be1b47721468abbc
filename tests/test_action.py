"""action.yml and both workflows: every step is run, in fresh clones of a project that somebody might have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from workflows import Job, Open, Unknown, evaluate, load

from flopledger.reports.documents import baseline
from flopledger.reports.moves import Moves
from flopledger.reports.pages import annotations, sarif
from flopledger.reports.project import project

TOP = Path(__file__).parent.parent
FLOPS, WEEKLY = (TOP / ".github" / "workflows" / name for name in ("flops.yml", "flops-weekly.yml"))
FILES = (TOP / "action.yml", FLOPS, WEEKLY)
OURS = "someone/flopledger@main"

NET = """
import torch


def make():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
"""
PYPROJECT = """
[build-system]
requires = ["flit_core>=3.11"]
build-backend = "flit_core.buildapi"

[project]
name = "net"
version = "1"
description = "A model."

[tool.flopledger]
baseline = "flops.json"
counters = ["thop", "torch"]

[[tool.flopledger.models]]
name = "net"
model = "net.py:make"
inputs = ["1x3x16x16"]
"""


@dataclass
class Hub:
    """A project's repository where it is hosted, with what runs there and what is kept there."""

    top: Path
    caches: dict[str, Path] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.project, self.venv, self.action, self.gh = (
            self.top / name for name in ("project", "venv", "action", "gh.json")
        )
        self.gh.write_text(json.dumps({"asked": [], "comments": [], "issues": []}))
        gh = self.top / "bin" / "gh"
        gh.parent.mkdir()
        gh.write_text(f'#!/bin/sh\nexec {sys.executable} {TOP / "tests" / "gh.py"} "$@"\n')
        gh.chmod(0o755)
        self.project.mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit({"net.py": NET, "pyproject.toml": PYPROJECT})

    def equip(self) -> None:
        """Make the Python that `setup-python` gives, and check out the action: the files that git has."""
        venv.create(self.venv, symlinks=True)
        (folder,) = self.venv.glob("lib/*/site-packages")
        (folder / "tests.pth").write_text(sysconfig.get_path("purelib"))  # torch, the counters and pip
        # What both builds ask for, once; each in an environment of its own would fetch it anew.
        command = [self.venv / "bin" / "python", "-m", "pip", "install", "--quiet", "setuptools>=77", "flit_core>=3.11"]
        subprocess.run(command, check=True, capture_output=True)
        for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=TOP, text=True).split("\0")[:-1]:
            (self.action / name).parent.mkdir(parents=True, exist_ok=True)
            if (TOP / name).exists():
                shutil.copy(TOP / name, self.action / name, follow_symlinks=False)

    def git(self, *command: str) -> None:
        who = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"]
        subprocess.run(["git", *who, *command], cwd=self.project, check=True, capture_output=True)

    def commit(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.project / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    @property
    def environment(self) -> dict[str, str]:
        """A runner's: nothing of this test run's, but how pip is set up here."""
        ours = ("PYTHONPATH", "VIRTUAL_ENV", "COLUMNS")
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "FLOPLEDGER_")) and k not in ours},
            "PATH": f"{self.top / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "GH_STATE": str(self.gh),
            "PIP_NO_BUILD_ISOLATION": "0",  # which is pip's way to say that there is none
            "PIP_NO_DEPS": "1",  # they are here
            "PIP_NO_COMPILE": "1",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "someone/zoo",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "77",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self.top / "temp"),
        }

    def run(self, workflow: Path, event_name: str, event: dict[str, Any], token: str = "write") -> Job:
        """A workflow of the project, run in a fresh clone of it."""
        workspace, temp = self.top / "work", self.top / "temp"  # the same ones every time, as there
        for folder in (workspace, temp):
            shutil.rmtree(folder, ignore_errors=True)
        temp.mkdir()
        self.files = set()
        github = {
            "event_name": event_name, "event": Open(event), "token": token, "ref": "refs/pull/7/merge",
            "repository": "someone/zoo", "workspace": str(workspace),
        }  # fmt: skip
        stands_in = {
            "actions/checkout": self.checkout,
            "actions/setup-python": self.setup_python,
            "actions/cache/restore": self.restore,
            "actions/cache/save": self.save,
            "actions/upload-artifact": self.upload,
        }
        environment = self.environment | {"GITHUB_WORKSPACE": str(workspace), "GITHUB_EVENT_NAME": event_name}
        job = Job(workspace, temp, github, environment, stands_in, own={OURS: self.action})
        copied = self.top / workflow.name
        copied.write_text(workflow.read_text().replace("uses: ./\n", f"uses: {OURS}\n"))  # as its first line asks
        job.run(copied)
        self.ran |= job.ran
        return job

    def checkout(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        subprocess.run(["git", "clone", "-q", self.project, job.workspace], check=True)
        return {}

    def setup_python(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        assert re.fullmatch(r"3\.\d+", given["python-version"])
        job.paths.append(str(self.venv / "bin"))
        return {}

    def restore(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        for key in [given["key"], *reversed(self.caches)]:
            if key in self.caches and key.startswith((given["key"], given["restore-keys"])):
                shutil.copytree(self.caches[key], given["path"], symlinks=True)
                return {"cache-primary-key": given["key"], "cache-hit": str(key == given["key"]).lower()}
        return {"cache-primary-key": given["key"]}

    def save(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        assert given["key"] not in self.caches, "GitHub saves a key once, and warns the second time"
        kept = self.top / f"cache{len(self.caches)}"
        shutil.copytree(given["path"], kept, symlinks=True)
        self.caches[given["key"]] = kept
        return {}

    def upload(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        self.files = {path.name for path in Path(given["path"]).iterdir()}
        return {}

    def snapshot(self) -> None:
        """What the project's author did at first, and what a run of the main branch has left in the cache."""
        cache = self.caches["flopledger-Linux-first"] = self.top / "first"
        environment = self.environment | {"FLOPLEDGER_CACHE": str(cache)}
        command = [Path(sysconfig.get_path("scripts")) / "flopledger", "snapshot"]
        subprocess.run(command, cwd=self.project, env=environment, check=True)
        self.commit({})

    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.gh.read_text())
        return said

    def pull_request(self, number: int, fork: bool = False) -> Job:
        head = {"repo": {"full_name": "stranger/zoo" if fork else "someone/zoo"}}
        event = {"pull_request": {"number": number, "head": head}}
        return self.run(FLOPS, "pull_request", event, "read" if fork else "write")

    def weekly(self) -> Job:
        return self.run(WEEKLY, "schedule", {})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_is_what_github_takes(file: Path) -> None:
    """A key that GitHub does not know is found out when the first stranger copies it."""
    schema = "vendor.github-actions" if file.name == "action.yml" else "vendor.github-workflows"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout


def steps(file: Path) -> list[dict[str, Any]]:
    read = load(file)
    return read["runs"]["steps"] if "runs" in read else next(iter(read["jobs"].values()))["steps"]  # type: ignore[no-any-return]


def names(file: Path) -> set[str]:
    found = [f"{file.name}: {step.get('name') or step['uses']}" for step in steps(file)]
    assert len(found) == len(set(found)) > 3
    return set(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_from_outside_is_made_part_of_a_script(file: Path) -> None:
    """A branch named `$(…)` would run with the job's token; what comes from outside comes in variables."""
    scripts = [step["run"] for step in steps(file) if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]
    for word in ("pull_request_target", "secrets.", "write-all"):
        assert word not in file.read_text()


def test_a_workflow_may_do_what_it_needs_and_no_more() -> None:
    """Whoever copies it trusts it with a token."""
    assert {"contents": "read", "pull-requests": "write"} == load(FLOPS)["permissions"]
    assert {"contents": "read", "issues": "write"} == load(WEEKLY)["permissions"]
    for file in (FLOPS, WEEKLY):
        assert not [job for job in load(file)["jobs"].values() if "permissions" in job]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b == 'Yes' && !c.d", True),
        ("a.b != 'yes' || c.d", None),
        ("(a.b == 'no' || a.b == 'yes') && 'it''s'", "it's"),
        ("always() && a.b", "yes"),
    ],
)
def test_expressions_are_worth_what_github_says(text: str, value: Any) -> None:
    """The runner decides by them which steps run, so a mistake in it would hide one in a step."""
    contexts = {"a": {"b": "yes"}, "c": Open(), "always": lambda: True}
    assert value == evaluate(text, contexts)


@pytest.mark.parametrize("text", ["a.c", "x", "a.b =! 'yes'", "a.b == 'yes", "other(a.b, 'e')", "a.b a.b", "c(", ""])
def test_an_expression_that_the_runner_does_not_know_is_an_error(text: str) -> None:
    """One that was taken for false would skip a step in silence."""
    with pytest.raises(Unknown):
        evaluate(text, {"a": {"b": "yes"}, "c": Open()})


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


MORE = NET.replace("torch.nn.ReLU()", "torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 1)")
PINNED = PYPROJECT.replace('"thop"', '"thop==0.0.5.post2110061705"')


def test_a_finding_of_a_folder_is_at_its_file_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub takes a path as from the top, and drops an annotation of a file that is not there."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    found = Moves(baseline="flops.json", project="pyproject.toml", gone=["net"])
    for workspace, file in ((None, "pyproject.toml"), (tmp_path, "models/pyproject.toml"), ("/else", "pyproject.toml")):
        if workspace:
            monkeypatch.setenv("GITHUB_WORKSPACE", str(workspace))
        assert f"::error file={file},line=" in annotations.render(found)
        assert f'"uri": "{file}"' in sarif.render(found)


def test_a_token_that_may_not_write_is_one_line(hub: Hub) -> None:
    """Dependabot's is such a one, in the repository itself; the job is then about the drift, and not about that."""
    (step,) = [step for step in steps(FILES[0]) if "gh api" in step.get("run", "")]
    (hub.top / "temp").mkdir()
    (hub.top / "temp" / "flops.md").write_text("moved\n")
    given = {"MOVED": "true", "FILES": str(hub.top / "temp"), "MARK": "<!-- a mark -->", "GH_TOKEN": "read"}
    for check, more, outcome in (
        ("drift", {"FROM": "someone/zoo", "NUMBER": "7"}, "success"),
        ("releases", {}, "failure"),
    ):
        job = Job(hub.project, hub.top / "temp", {}, hub.environment, {}, {})
        assert outcome == job.shell(step, given | more | {"CHECK": check})[0]
        assert "Resource not accessible by integration (HTTP 403)" in job.log
        assert (outcome == "success") == ("No comment: the token may not write one" in job.log)


def test_what_cannot_be_compared_ends_the_job_with_its_line(hub: Hub) -> None:
    """A job that was green because its configuration has a typing error would guard nothing."""
    (step,) = [step for step in steps(FILES[0]) if "compare" == step.get("id")]
    (hub.top / "temp").mkdir()
    (hub.project / "pyproject.toml").write_text(PYPROJECT.replace("counters", "conters"))
    given = {"FOLDER": ".", "FLOPLEDGER_CACHE": str(hub.top / "temp" / "cache")}
    for check, said in (("drift", "pyproject.toml:13: "), ("weekly", "check is drift or releases, not weekly")):
        job = Job(hub.project, hub.top / "temp", {}, hub.environment, {}, {}, [sysconfig.get_path("scripts")])
        assert ("failure", {}) == job.shell(step, given | {"CHECK": check})
        assert said in job.log
        assert "" == job.summary


def test_every_step_of_the_action_and_of_both_workflows_works_in_a_fresh_clone(hub: Hub) -> None:
    """Nobody tries a workflow before it has failed in somebody's repository."""
    hub.equip()
    hub.snapshot()
    calm = hub.pull_request(6)
    assert "success" == calm.status, calm.log
    assert "Nothing has drifted" in calm.summary
    assert "::error" not in calm.log
    assert {"GET"} == {method for method, *_ in hub.said()["asked"]}  # nobody is told that there is nothing to tell

    hub.commit({"net.py": MORE})
    stranger = hub.pull_request(7, fork=True)
    assert "failure" == stranger.status
    assert 1 == stranger.log.count("a pull request from a fork has no token")
    assert not hub.said()["comments"]
    moved = hub.pull_request(8)
    assert "failure" == moved.status
    assert moved.summary == stranger.summary
    assert "12,544" in moved.summary  # a convolution of 8 × 8 channels at 14 × 14
    assert re.search(r"^::error file=pyproject\.toml,line=\d+,title=", moved.log, re.MULTILINE)
    assert {"flops.md", "flops.json", "flops.xml", "flops.sarif"} == hub.files
    (comment,) = hub.said()["comments"]
    assert 8 == comment["of"]
    assert moved.summary.strip() in comment["body"]
    hub.commit({"net.py": NET})
    back = hub.pull_request(8)
    assert "success" == back.status
    (updated,) = hub.said()["comments"]
    assert comment["id"] == updated["id"]
    assert "Nothing has drifted" in updated["body"]

    hub.commit({"pyproject.toml": PINNED})
    hub.snapshot()
    news = hub.weekly()
    assert "success" == news.status, news.log
    (issue,) = hub.said()["issues"]
    assert "open" == issue["state"]
    assert {"2·outputs", "4·outputs"} <= set(issue["body"].split())  # batch norm, before and since June 2022
    hub.commit({"pyproject.toml": PYPROJECT})
    hub.snapshot()
    quiet = hub.weekly()
    assert "success" == quiet.status, quiet.log
    (closed,) = hub.said()["issues"]
    assert (issue["id"], "closed") == (closed["id"], closed["state"])

    assert hub.ran == {name for file in FILES for name in names(file)}


def test_what_this_repository_guards_is_in_its_baseline() -> None:
    """Its own pull requests are told what moved by the workflow that others copy, which needs a baseline here."""
    configured = project(TOP)
    assert configured is not None
    assert {each.name for each in configured.models} == set(baseline.read(configured.baseline).models)


def test_the_documentation_of_the_action_is_what_it_says_itself() -> None:
    """A table of inputs that nobody holds against the action is wrong within a month."""
    said = " ".join((TOP / "docs" / "project.md").read_text().partition("\n## In CI\n")[2].split())
    action = load(TOP / "action.yml")
    for name, about in action["inputs"].items():
        default = f"`{about['default']}`" if about["default"] else ""
        assert " ".join(f"| `{name}` | {default} | {about['description']} |".split()) in said, name
    assert all(f"`{name}`" in said for name in action["outputs"])
    assert f"uses: {OURS.replace('someone', 'OWNER')}" in (TOP / "README.md").read_text()
