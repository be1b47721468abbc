"""What moved as annotations of a pull request: commands that GitHub's runner reads from a job's output.

A step may make ten of a level (https://docs.github.com/actions/reference/workflow-commands-for-github-actions), so of
more the tenth says how many there are.
"""

from __future__ import annotations

from flopledger.reports.moves import Moves
from flopledger.reports.pages.findings import KINDS, Finding, findings, place
from flopledger.reports.pages.numbers import plural

MOST = 10
LONGEST = 4000  # characters of one message; GitHub keeps 64 kB of one


def render(found: Moves) -> str:
    """A line for each finding, errors in the configuration's file; nothing where nothing is wrong."""
    said = findings(found)
    shown = said if len(said) <= MOST else said[: MOST - 1]
    lines = [_command(place(found), each) for each in shown]
    if more := said[len(shown) :]:
        kinds = {kind: sum(each.kind == kind for each in more) for kind in KINDS}
        of = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
        text = f"{plural(len(more), 'more finding')} ({of}): flopledger drift prints them all"
        lines.append(f"::error title={_property(f'flopledger: {len(more)} more')}::{_data(text)}")
    return "".join(f"{line}\n" for line in lines)


def _command(path: str, found: Finding) -> str:
    """One annotation; its title is what it is, its text what there is to say of it."""
    text = "\n".join((found.title, *found.lines))
    if len(text) > LONGEST:
        text = f"{text[:LONGEST].rpartition(chr(10))[0] or text[:LONGEST]}\n… flopledger drift prints the rest"
    title = f"flopledger: {KINDS[found.kind].rstrip('.')}"
    return f"::error file={_property(path)},line={found.line},title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
