"""Answers as GitHub's `gh api` does, for one repository's comments and issues in a file of JSON (GH_STATE)."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jq

BOT = {"login": "github-actions[bot]", "type": "Bot"}


def main() -> None:
    asked = argparse.ArgumentParser(prog="gh", allow_abbrev=False)
    asked.add_argument("api", choices=["api"])
    asked.add_argument("path")
    asked.add_argument("-X", "--method", default=None)
    asked.add_argument("-F", "--field", action="append", default=[])
    asked.add_argument("-f", "--raw-field", action="append", default=[])
    asked.add_argument("-q", "--jq")
    asked.add_argument("--paginate", action="store_true")
    asked.add_argument("--silent", action="store_true")
    given = asked.parse_args()
    file = Path(os.environ["GH_STATE"])
    state = json.loads(file.read_text())
    if not os.environ.get("GH_TOKEN"):
        sys.exit("gh: To use GitHub CLI in a GitHub Actions workflow, set the GH_TOKEN environment variable.")
    fields = {name: value for name, _, value in (pair.partition("=") for pair in given.raw_field)}
    for name, _, value in (pair.partition("=") for pair in given.field):
        fields[name] = Path(value[1:]).read_text() if value.startswith("@") else value
    method = given.method or ("POST" if fields else "GET")
    state["asked"].append([method, given.path, fields])
    answer = answered(state, method, given.path, fields)
    file.write_text(json.dumps(state))
    if given.jq is not None:
        for value in jq.compile(given.jq).input_value(answer).all():
            print(value if isinstance(value, str) else json.dumps(value))
    elif not given.silent:
        print(json.dumps(answer))


def answered(state: dict[str, Any], method: str, path: str, fields: dict[str, str]) -> Any:
    to = urlsplit(path)
    found = re.fullmatch(r"repos/someone/zoo/issues(?:/(comments/)?(\d+)(/comments)?)?", to.path)
    if not found or set(fields) - {"title", "body", "state"}:
        sys.exit(f"gh: Not Found (HTTP 404): {path} {sorted(fields)}")
    if "GET" != method and "read" == os.environ["GH_TOKEN"]:
        sys.exit("gh: Resource not accessible by integration (HTTP 403)")
    one, number, of = found.groups()
    things = state["comments" if one or of else "issues"]
    if "GET" == method:
        wanted = parse_qs(to.query).get("state", ["open"])[0]
        return [
            thing for thing in things if (of and thing["of"] == int(number)) or (not of and thing["state"] == wanted)
        ]
    if "PATCH" == method:
        (thing,) = [thing for thing in things if thing["id" if one else "number"] == int(number)]
        thing |= fields
        return thing
    identity = 1000 + len(state["asked"])
    things.append({"id": identity, "number": identity, "user": BOT, "state": "open", "of": int(number or 0), **fields})
    return things[-1]


main()
