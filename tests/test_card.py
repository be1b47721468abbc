"""Model cards: the hub's library reads them, an update changes nothing else, names stay text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from sample_run import hostile_run, sample_run, small_run
from typer.testing import CliRunner

from flopledger.reports.command.main import app
from flopledger.reports.documents.baseline import Baseline, encode, snapshot
from flopledger.reports.pages.card import BEGIN, END, CardError, updated

NET = snapshot(sample_run())
OLD = f"{BEGIN}\nold <!-- x -->\n{END}"
CARDS = {
    "no file": "",
    "no metadata": "# Title\n\ntext",
    "metadata": "---\nlicense: mit  # why\ntags:\n- a\n---\n\n# Title\n",
    "ends of lines of Windows": "---\r\nlicense: mit\r\n---\r\n\r\n# Title\r\n",
    "the hub's template": "---\n# For reference\n{}\n---\n\n# Title\n",
    "empty metadata": "---\n---\n# Title\n",
    "an older one of ours": f"---\na: mit\nflopledger:\n  x: 1\n  y:\n    - 2\nlanguage: en\n---\n# A\n\n{OLD}\n\nB\n",
    "marks in code": f"---\na: 1\n---\n```\n{BEGIN}\n```\n",
}


def read(text: str) -> dict[str, Any]:
    """The metadata, as the hub's own library reads them."""
    hub = pytest.importorskip("huggingface_hub")
    found: dict[str, Any] = hub.ModelCard(text).data.to_dict()
    return found


@pytest.mark.parametrize("before", CARDS.values(), ids=CARDS)
def test_a_card_is_put_in_its_place_and_all_else_stays(before: str) -> None:
    """The rest of a card is somebody's work: comments, order and ends of lines are kept byte for byte."""
    after = updated(before, "net", NET)
    assert after == updated(after, "net", NET)
    found = read(after)["flopledger"]
    assert (1_034_229_632, 2_068_459_264, 3_504_872) == (found["macs"], found["flops"], found["parameters"])
    assert {"verified": True, "counted": "2026-01-02", "torch": "2.14.0"}.items() <= found.items()
    mine = {
        "name": "thop",
        "version": "1.2.3",
        "unit": "MAC",
        "total": 1_126_577_920,
        "macs_seen": 1_034_229_632,
        "formulas_hold": True,
    }
    assert mine in found["counters"]
    if before:
        others = {key: value for key, value in read(before).items() if key != "flopledger"}
        assert others == {key: value for key, value in read(after).items() if key != "flopledger"}
    ours = ("flopledger:", "  x: 1", "  y:", "    - 2", "{}")
    rest = iter(after.splitlines(keepends=True))
    for line in before.replace(OLD, "").splitlines(keepends=True):
        assert line.startswith(ours) or any(line.rstrip("\n") == other.rstrip("\n") for other in rest), line
    assert "old <!-- x" not in after
    assert ("\r\n" in before) == ("\r\n" in after)
    assert "\r\n" not in before or "\n" not in after.replace("\r\n", "")


def test_the_table_has_what_a_reader_of_the_number_needs() -> None:
    """Convention and provenance: without them it is one more number."""
    text = updated("", "net", NET)
    for wanted in ("1,034,229,632 (1.034 G)", "one MAC is two FLOPs", "| Input | 1x3x416x416 |", "thop | 1.2.3",
                   "1,126,577,920 MACs | 100 % | hold at 152 of 152 places", "flopledger 0.1.0 with torch 2.14.0",
                   "every operation has a formula"):  # fmt: skip
        assert wanted in text
    assert 2 == MarkdownIt("commonmark").enable("table").render(text.partition("---\n\n## ")[2]).count("<table>")


def test_what_is_not_known_is_no_number() -> None:
    """Who reads `macs` from a card must not be given a lower bound."""
    text = updated("", "part", snapshot(small_run()))
    found = read(text)["flopledger"]
    assert "macs" not in found and 884_736 == found["macs_at_least"]
    assert {"mylib.op": 1} == found["unpriced"] and found["verified"] is False
    assert "at least 884,736" in text and "mylib.op (1 call)" in text


def test_hostile_names_stay_text() -> None:
    """In YAML, in Markdown and in HTML."""
    text = updated("", "a|b <script>x</script> --> `c`", snapshot(hostile_run()))
    assert "<script>" in read(text)["flopledger"]["model"]
    body = text.partition("\n---\n")[2]
    html = MarkdownIt("commonmark").enable("table").render(body)
    assert "<script>" not in html and "<img" not in html
    assert text == updated(text, "a|b <script>x</script> --> `c`", snapshot(hostile_run()))


@pytest.mark.parametrize(
    ("text", "line"),
    [("---\n{license: mit}\n---\n", 1), (f"a\n\n{END}\n", 3), (f"---\na: 1\n---\n\nx\n\n{BEGIN}", 7),
     (f"{BEGIN}\n{END}\n\n{BEGIN}\n{END}\n", 1)],
)  # fmt: skip
def test_a_file_without_a_place_is_refused(text: str, line: int) -> None:
    """To guess where a card belongs is to destroy one."""
    with pytest.raises(CardError) as caught:
        updated(text, "net", NET)
    assert line == caught.value.line


def test_the_command_updates_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in the project's baseline is not counted again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.flopledger]\n")
    (tmp_path / "flopledger.json").write_bytes(encode(Baseline(models={"net": NET})))
    (tmp_path / "README.md").write_text(CARDS["metadata"])
    for _ in range(2):
        assert 0 == CliRunner().invoke(app, ["card", "net", "-o", "README.md"]).exit_code
        assert updated(CARDS["metadata"], "net", NET) == (tmp_path / "README.md").read_text()
    assert updated("", "net", NET) == CliRunner().invoke(app, ["card"]).stdout
    (tmp_path / "README.md").write_text(f"x\n{END}\n")
    done = CliRunner().invoke(app, ["card", "net", "-o", "README.md"])
    assert 2 == done.exit_code and "README.md:2: " in done.output
    assert f"x\n{END}\n" == (tmp_path / "README.md").read_text()
