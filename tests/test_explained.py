"""What `explain` says to somebody who has neither the model nor flopledger: complete, and its script runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from msgspec.structs import replace
from packaging.requirements import Requirement
from sample_run import HOSTILE, hostile_run, sample_run

from flopledger.counters import registry
from flopledger.reports.compare import compare
from flopledger.reports.documents.run import Run
from flopledger.reports.pages import latex, markdown, paper
from flopledger.reports.pages.blocks import Code, Link, Point, Table
from flopledger.reports.pages.explained import blocks
from flopledger.reports.pages.script import NoScript, alone


def as_library(run: Run, *names: str) -> Run:
    """The sample's counters under the names and versions of what is installed."""
    known = {"thop": "thop", "torch_flop_counter": "torch", "torchinfo": "torchinfo"}
    tallies = [
        replace(tally, counter=known[tally.counter], distribution=known[tally.counter],
                version=registry.version_of(known[tally.counter]))
        for tally in run.tallies
        if tally.counter in known
    ]  # fmt: skip
    return replace(run, tallies=tallies)


RUN = as_library(sample_run())


def test_two_tables_are_two_tables() -> None:
    """Without a blank line between them they were one, and two columns of what was pasted in an issue vanished."""
    page = markdown.render(blocks(RUN, RUN.between("thop", "torch")))
    drawn = cmarkgfm.github_flavored_markdown_to_html(page, options=Options.CMARK_OPT_UNSAFE)
    found = [block for block in blocks(RUN, RUN.between("thop", "torch")) if isinstance(block, Table)]
    assert len(found) == drawn.count("<table>") == 2
    for table, text in zip(found, drawn.split("<table>")[1:], strict=True):
        cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", text.split("</table>")[0], re.DOTALL)
        plain = [re.sub(r"<[^>]*>", "", cell) for cell in cells]
        assert [c.heading for c in table.columns] + [cell for row in table.rows for cell in row] == plain


def test_a_source_has_an_address_where_its_project_has_a_tag_for_the_version() -> None:
    """A path in somebody's site-packages is no place that the reader of an issue can look at."""
    moved = replace(RUN, tallies=[
        replace(tally, claims=[replace(claim, source="torchinfo/<b>.py:242 macs") for claim in tally.claims])
        for tally in RUN.tallies
    ])  # fmt: skip
    found = blocks(moved, moved.between("thop", "torchinfo"))
    version = registry.version_of("torchinfo")
    address = f"https://github.com/TylerYep/torchinfo/blob/v{version}/torchinfo/%3Cb%3E.py#L242"
    assert {address} == {block.address for block in found if isinstance(block, Link)}
    assert any(isinstance(block, Point) and block.text.startswith("batch norm, thop: ") for block in found)


def test_there_is_no_script_that_would_print_other_totals() -> None:
    """A release that is not installed, a counter that needs help, a model of one's own: no script is better than one
    that says something else."""
    thop, torch = RUN.tally("thop"), RUN.tally("torch")
    assert "make()" in alone(RUN, thop, torch)
    other = replace(RUN.model, spec="mine.py:make")
    for run, left in (
        (RUN, replace(thop, release="0.0.1")),
        (RUN, replace(thop, version="0.0.1")),
        (RUN, replace(thop, shims=["pandas"])),
        (RUN, replace(thop, counter="mine.py:Counter")),
        (replace(RUN, model=other), thop),
        (replace(RUN, model=replace(RUN.model, mode="step")), thop),
        (replace(RUN, model=replace(RUN.model, inputs=["1x128:int64"])), thop),
    ):
        with pytest.raises(NoScript):
            alone(run, left, torch)
    said = blocks(replace(RUN, model=other), RUN.between("thop", "torch"))
    assert not [block for block in said if isinstance(block, Code)]
    assert "There is no script: the model cannot be made in a few lines without flopledger." in said


def test_the_script_calls_what_the_adapter_calls() -> None:
    """Its totals must be the two that `explain` prints; here for a torchvision model, in this environment."""
    run = compare("torchvision:squeezenet1_1", "1x3x64x64", counters=["torchinfo", "torch"]).run
    left, right = run.counted()
    assert printed(alone(run, left, right), {}) == {"torchinfo": left.total, "torch": right.total}


def printed(script: str, environment: dict[str, str], *options: str, folder: Path | None = None) -> dict[str, int]:
    """Counter → the total that the script printed."""
    done = subprocess.run([sys.executable, *options, "-c", script], capture_output=True, text=True,
                          env={**os.environ, **environment}, cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^(\S+) (\d+)$", done.stdout, re.MULTILINE)
    return {name: int(total) for name, total in said}


@pytest.mark.slow
def test_it_runs_where_there_are_torch_and_the_two_libraries_and_nothing_else(tmp_path: Path) -> None:
    """thop against ptflops, in an environment of its own: site-packages are not there, nor is flopledger."""
    run = compare("mobilenet_v2", "1x3x64x64", counters=["thop", "ptflops-pytorch"]).run
    left, right = run.counted()
    target = [f"{tally.distribution}=={registry.version_of(tally.distribution)}" for tally in (left, right)]
    asked = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "two", *target]
    subprocess.run(asked, check=True)
    (tmp_path / "torch").mkdir()
    names = {*_needed("torch"), *(each for tally in (left, right) for each in needs(tally.counter))}
    tops = {top for name in names for top in registry.modules_of(name).values()}
    beside = {top.with_name("torchgen") for top in tops if top.name == "torch"}  # torch's own, too
    for top in tops | beside:
        (tmp_path / "torch" / top.name).symlink_to(top)
    where = {"PYTHONPATH": f"{tmp_path / 'two'}:{tmp_path / 'torch'}"}
    for absent in ("flopledger", "torchvision", "fvcore", "torchinfo"):
        done = subprocess.run([sys.executable, "-S", "-c", f"import {absent}"], env={**os.environ, **where},
                              capture_output=True, cwd=tmp_path)  # fmt: skip
        assert b"ModuleNotFoundError" in done.stderr
    assert printed(alone(run, left, right), where, "-S", folder=tmp_path) == {
        "thop": left.total,
        "ptflops-pytorch": right.total,
    }


def needs(counter: str) -> tuple[str, ...]:
    """What a library imports and does not require, and the script therefore names."""
    return getattr(registry.get(counter), "needs", ())


def _needed(name: str) -> Iterator[str]:
    """A distribution and all that it requires here."""
    yield name
    for text in metadata.requires(name) or []:
        found = Requirement(text)
        if (found.marker is None or found.marker.evaluate({"extra": ""})) and registry.version_of(found.name):
            yield from _needed(found.name)


def test_latex_has_the_cells_of_the_tables_and_no_command_of_others() -> None:
    """An underscore in a module's name breaks the reader's document; a backslash would run there."""
    run = hostile_run()
    left, right = (tally.name for tally in run.counted()[:2])
    text = latex.render(blocks(run, run.between(left, right)))
    assert text.count(r"\toprule") == 2 == text.count(r"\end{tabular}")
    for name in HOSTILE:
        assert not re.search(r"(?<!\\)[%#&_]", re.sub(r" & | \\\\", "", latex.escape(name)).replace("\\\\", ""))
    for line in text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines():
        assert len(re.findall(r"(?<!\\)&", line)) == 4
    assert paper.LATEX_COLUMNS.count("&") == len(re.findall(r"(?<!\\)&", paper.paper_latex(run, run.counted()[0])))
