"""Runs a workflow, and the composite actions that it uses, as GitHub does. What it does not know is an error.

`run:` steps run for real. Actions of others are stood in for by functions, which `Job.stands_in` names.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TOKEN = re.compile(r"\s*('(?:[^']|'')*'|\d+|[A-Za-z_][\w-]*|\|\||&&|==|!=|[!().,])")
STATUS = re.compile(r"\b(success|failure|always|cancelled)\(\)")


class Unknown(Exception):
    """Something that this runner cannot do as GitHub would."""


def load(file: Path) -> dict[str, Any]:
    """A workflow or an action; its key `on` stays a word, which YAML 1.1 takes for yes."""
    read: dict[Any, Any] = yaml.safe_load(file.read_text())
    return {"on" if key is True else key: value for key, value in read.items()}


def evaluate(text: str, contexts: Mapping[str, Any]) -> Any:
    """The value of an expression: what stands between `${{` and `}}`, or after `if:`."""
    tokens = TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", text):
        raise Unknown(f"expression: {text}")

    def take(*wanted: str) -> str | None:
        return tokens.pop(0) if tokens and (not wanted or tokens[0] in wanted) else None

    def either() -> Any:
        value = both()
        while take("||"):
            other = both()
            value = value or other
        return value

    def both() -> Any:
        value = same()
        while take("&&"):
            other = same()
            value = value and other
        return value

    def same() -> Any:
        value = single()
        while sign := take("==", "!="):
            other = single()
            value = (_plain(value) == _plain(other)) == ("==" == sign)
        return value

    def single() -> Any:
        token = take()
        if token == "!":
            return not single()
        if token == "(":
            value = either()
            if not take(")"):
                raise Unknown(f"expression: {text}")
            return value
        if token and token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token and token.isdigit():
            return int(token)
        if token in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token]
        if not token or token not in contexts:
            raise Unknown(f"{token} in {text}")
        value = contexts[token]
        if take("("):
            given: list[Any] = []
            while not take(")"):
                if given and not take(","):
                    raise Unknown(f"{token}( in {text}")
                given.append(either())
            return value(*given)
        while take("."):
            value = _member(value, take() or "", text)
        return value

    value = either()
    if tokens:
        raise Unknown(f"expression: {text}")
    return value


class Open(dict[str, Any]):
    """A context in which what is not there is null, as in an event or a step's outputs."""


def _member(value: Any, name: str, text: str) -> Any:
    if value is None:
        return None
    if name not in value and not isinstance(value, Open):
        raise Unknown(f"{name} in {text}")
    return value.get(name)


def _plain(value: Any) -> Any:
    """As GitHub compares: texts whatever their case, what is of two kinds as numbers."""
    return value.lower() if isinstance(value, str) else value


def filled(text: Any, contexts: Mapping[str, Any]) -> str:
    """A text of YAML with its expressions evaluated."""

    def shown(found: re.Match[str]) -> str:
        value = evaluate(found[1].strip(), contexts)
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return re.sub(r"\$\{\{(.*?)\}\}", shown, str(text).lower() if isinstance(text, bool) else str(text))


def assigned(file: Path) -> dict[str, str]:
    """What a step has written to GITHUB_OUTPUT or GITHUB_ENV."""
    found: dict[str, str] = {}
    lines: Iterator[str] = iter(file.read_text().splitlines())
    for line in lines:
        if heredoc := re.fullmatch(r"([\w-]+)<<(.+)", line):
            value = []
            while (line := next(lines)) != heredoc[2]:
                value.append(line)
            found[heredoc[1]] = "\n".join(value)
        elif one := re.fullmatch(r"([\w-]+)=(.*)", line):
            found[one[1]] = one[2]
        else:
            raise Unknown(f"an assignment: {line}")
    return found


@dataclass
class Job:
    """One run of a workflow's job."""

    workspace: Path
    temp: Path
    github: dict[str, Any]
    environment: dict[str, str]
    stands_in: dict[str, Callable[[Job, dict[str, str]], dict[str, str]]]
    own: dict[str, Path]  # what `uses:` names of ours → the folder of its action.yml
    paths: list[str] = field(default_factory=list)
    log: str = ""
    summary: str = ""
    ran: set[str] = field(default_factory=set)
    status: str = "success"

    def run(self, workflow: Path) -> Job:
        """All steps of the workflow's only job."""
        read = load(workflow)
        if self.github["event_name"] not in read["on"]:
            raise Unknown(f"{workflow.name} does not run on {self.github['event_name']}")
        (job,) = read["jobs"].values()
        contexts = self._contexts() | {"inputs": Open()}
        env = {**read.get("env", {}), **job.get("env", {})}
        self.environment |= {name: filled(value, contexts) for name, value in env.items()}
        self.status, _ = self.steps(job["steps"], contexts, workflow.name, {})
        return self

    def _contexts(self) -> dict[str, Any]:
        return {
            "github": self.github,
            "runner": {"os": "Linux", "temp": str(self.temp)},
            "hashFiles": self._digest,
        }

    def _digest(self, *patterns: str) -> str:
        files = sorted({path for pattern in patterns for path in self.workspace.glob(pattern) if path.is_file()})
        return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()

    def steps(
        self, steps: list[dict[str, Any]], contexts: dict[str, Any], where: str, extra: dict[str, str]
    ) -> tuple[str, dict[str, Any]]:
        """Status and the `steps` context of a job's steps, or of a composite action's."""
        known: dict[str, Any] = {}
        status = "success"
        for index, step in enumerate(steps):
            unknown = set(step) - {"name", "id", "if", "uses", "with", "run", "shell", "env"}
            if unknown:
                raise Unknown(f"{where}: {unknown}")
            now = contexts | {
                "steps": known,
                "env": Open(self.environment),
                "success": lambda now=status: "success" == now,
                "failure": lambda now=status: "failure" == now,
                "cancelled": lambda: False,
                "always": lambda: True,
            }
            condition = re.sub(r"^\$\{\{(.*)\}\}$", r"\1", str(step.get("if", "success()")).strip())
            if not STATUS.search(condition):
                condition = f"success() && ({condition})"
            outcome, outputs = "skipped", {}
            if evaluate(condition, now):
                self.ran.add(f"{where}: {step.get('name') or step.get('uses') or index}")
                outcome, outputs = self.step(step, now, extra)
            if "failure" == outcome:
                status = "failure"
            if "id" in step:
                known[step["id"]] = {"outcome": outcome, "conclusion": outcome, "outputs": Open(outputs)}
        return status, known

    def step(self, step: dict[str, Any], contexts: dict[str, Any], extra: dict[str, str]) -> tuple[str, dict[str, str]]:
        own = {name: filled(value, contexts) for name, value in step.get("env", {}).items()}
        given = {name: filled(value, contexts) for name, value in step.get("with", {}).items()}
        if "run" in step:
            return self.shell(step, extra | own)
        uses = step["uses"]
        if uses in self.own:
            return self.composite(self.own[uses], given)
        name, _, version = uses.partition("@")
        if name not in self.stands_in or not re.fullmatch(r"v\d+", version):
            raise Unknown(uses)
        return "success", self.stands_in[name](self, given)

    def composite(self, folder: Path, given: dict[str, str]) -> tuple[str, dict[str, str]]:
        action = load(folder / "action.yml")
        if strange := set(given) - set(action["inputs"]):
            raise Unknown(f"inputs {strange}")
        contexts = self._contexts()
        inputs = {name: filled(about.get("default", ""), contexts) for name, about in action["inputs"].items()} | given
        contexts["inputs"] = inputs
        status, known = self.steps(action["runs"]["steps"], contexts, "action.yml", {"GITHUB_ACTION_PATH": str(folder)})
        contexts["steps"] = known
        return status, {name: filled(about["value"], contexts) for name, about in action["outputs"].items()}

    def shell(self, step: dict[str, Any], own: dict[str, str]) -> tuple[str, dict[str, str]]:
        """A `run:` step, under the shell and with the files that GitHub gives it."""
        script = self.temp / "step.sh"
        script.write_text(step["run"])
        files = {
            name: self.temp / name for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        }
        for file in files.values():
            file.write_text("")
        environment = self.environment | own | {name: str(file) for name, file in files.items()}
        environment["PATH"] = ":".join([*reversed(self.paths), environment["PATH"]])
        shells = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], None: ["bash", "-e"]}
        command = [*shells[step.get("shell")], script]
        done = subprocess.run(
            command, cwd=self.workspace, env=environment, text=True, timeout=300,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.log += done.stdout
        self.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        self.environment |= assigned(files["GITHUB_ENV"])
        self.paths += files["GITHUB_PATH"].read_text().splitlines()
        return "failure" if done.returncode else "success", assigned(files["GITHUB_OUTPUT"])
