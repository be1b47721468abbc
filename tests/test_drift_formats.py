"""What moved, in the formats of pull requests: one rule once, schemas kept, names that cannot break out, limits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import cmarkgfm
import msgspec
import pytest
import typer
from cmarkgfm.cmark import Options
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from lxml import etree
from msgspec.structs import replace
from sample_moves import BROKEN, NORMS, change, drift, eventful_moves, row, sample_moves, touched
from sample_run import HOSTILE

from flopledger.counters import registry
from flopledger.reports.causes import Cause
from flopledger.reports.command.drift import check_files, show_moves
from flopledger.reports.moves import FINE, Amounts, Mark, Moves, Row
from flopledger.reports.pages import findings, junit, moves_words, sarif
from flopledger.reports.pages.annotations import render as to_annotations
from flopledger.reports.pages.moves_files import WRITERS, to_markdown
from flopledger.reports.pages.numbers import number, visible
from flopledger.reports.pages.terminal import shown

HERE = Path(__file__).parent
XSD = etree.XMLSchema(etree.parse(HERE / "vendor" / "junit-10.xsd"))
SARIF = Draft4Validator(json.loads((HERE / "vendor" / "sarif-2.1.0-rtm.5.json").read_text()))
QUIET = replace(sample_moves(), drifts={"vit_b_16": sample_moves().drifts["vit_b_16"]}, changes=[], broken=[])


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a job of GitHub's, files are named from the top of its repository."""
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)


def hostile(text: str, found: Moves | None = None) -> Moves:
    """A project in which every name and reason has a text at both its ends; only our own words stay."""
    ours = {"mark", "cause", "phase", "mode", "what"}

    def changed(value: Any, field: str = "") -> Any:
        if isinstance(value, str):
            return value if field in ours or not value else f"{text}{value}{text}"
        if isinstance(value, (list, tuple)):
            return type(value)(changed(item, field) for item in value)
        if isinstance(value, dict):
            return {k if field == "parts" else changed(k): changed(item, field) for k, item in value.items()}
        if isinstance(value, msgspec.Struct):
            return replace(value, **{name: changed(getattr(value, name), name) for name in value.__struct_fields__})
        return value

    whole: Moves = changed(found or eventful_moves())
    return replace(
        whole, broken=[replace(each, what=f"{each.what}{text if ' ' in each.what else ''}") for each in whole.broken]
    )


def cases(text: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter("testcase"))


def commands(text: str) -> list[tuple[dict[str, str], str]]:
    """The properties and the text of each workflow command, as GitHub's runner takes a line apart."""
    found = []
    for line in text.split("\n")[:-1]:
        head, message = re.fullmatch(r"::error (.*?)::(.*)", line).groups()  # type: ignore[union-attr]
        properties = dict(pair.split("=", 1) for pair in head.split(","))
        for code, sign in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
            properties = {name: value.replace(code, sign) for name, value in properties.items()}
            message = message.replace(code, sign) if code not in ("%2C", "%3A") else message
        found.append((properties, message))
    return found


def test_a_rule_is_named_once_with_the_sums_of_each_model_in_every_format() -> None:
    """One update of thop moves three models; three times the same explanation is none."""
    found = sample_moves()
    sums = {model: [number(2 * n), number(4 * n), f"+{number(2 * n)}"] for model, n in NORMS.items()}
    terminal, page, lines = shown(moves_words.blocks(found), 160), to_markdown(found), to_annotations(found)
    for text in (terminal, page, lines):
        assert 1 == text.count("4·outputs") == text.count("2·outputs"), text
        for model, amounts in sums.items():
            assert re.search(rf"{model}\W.*?" + ".*?".join(map(re.escape, amounts)), text, re.DOTALL), (model, text)
        assert "thop/vision/basic_hooks.py:47 count_bn" in text and "basic_hooks.py:57 count_normalization" in text
    for texts in (
        [ElementTree.tostring(case, "unicode") for case in cases(junit.render(found))],
        [json.dumps(result, ensure_ascii=False) for result in json.loads(sarif.render(found))["runs"][0]["results"]],
    ):
        (named,) = [text for text in texts if "4·outputs" in text]
        assert all(amount in named for amounts in sums.values() for amount in amounts)
        assert all(model in named for model in sums)
    (moved,) = json.loads(WRITERS["json"](found))["changes"]
    assert {model: {"before": 2 * n, "after": 4 * n} for model, n in NORMS.items()} == moved["models"]


def test_the_first_paragraph_says_what_changed_and_who_caused_it() -> None:
    """It is all that most people read of a comment."""
    first, *_ = to_markdown(sample_moves()).split("\n\n")
    assert (
        "thop 0.0.5.post2110061705 → 0.1.1.post2209072238 charges batch norm differently: +62,676,064 MACs in 3 "
        "models (resnet50, mobilenet and vgg). **1 budget is broken: layer4 of resnet50 by 11,663,360 MACs (1.4 %).**"
    ) == first
    assert "Nothing has drifted: 1 model, 3 counters, the numbers of flops.json." == moves_words.opening(QUIET).text
    said = moves_words.opening(eventful_moves()).text
    for part in (                 "2 models do other work than in the baseline themselves: grown and both.",
                 "+9 that no formula explains",
                 "torch of odd cannot be compared with the baseline: another model or input.",
                 "NO NUMBER where there was one: thop of odd (KeyError: 'x') and ptflops of odd",
                 "NO NUMBER: broken (no module named 'x').", "UNPRICED in odd: mylib.op (2 calls)",
                 "New: newcomer. Gone: leaver."):  # fmt: skip
        assert part in said, said
    one = replace(eventful_moves(), drifts={"grown": eventful_moves().drifts["grown"]})
    said = moves_words.opening(one).text
    assert "grown itself does other work than in the baseline (macs 107 then, 157 now), which moves 2 numbers." in said
    assert "thop: +66, by the model itself +58 and the counter's release +8" in shown(
        moves_words.blocks(eventful_moves())
    )
    nothing = replace(QUIET.drifts["vit_b_16"], rows=[Row(counter="thop", mark="same")])
    said = moves_words.opening(replace(QUIET, drifts={"a": nothing})).text
    assert "NOTHING TO COMPARE for a: no counter has a number both then and now." == said
    assert ["no-model"] == [one.kind for one in findings.findings(replace(QUIET, drifts={"a": nothing}))]
    ours = replace(change(), cause="ours", before_version="1", after_version="1")
    torch = replace(change({"vgg": 3}, "torch"), cause="torch")
    said = moves_words.opening(replace(sample_moves(), changes=[ours, torch], broken=[])).text
    assert "thop charges batch norm differently, by our own rules: +62,676,064 MACs in 3 models" in said
    assert "torch charges batch norm differently, by another torch: +6 MACs in vgg." in said


def test_both_lines_of_source_are_links_where_a_library_has_a_tag_for_its_release() -> None:
    """Whoever doubts a formula wants to see the line, of the release that was counted with."""
    sources = {"before_source": "torch/utils/flop_counter.py:5 x", "after_source": "torch/utils/flop_counter.py:9 y"}
    moved = replace(change({"vgg": 3}, "torch"), before_version="2.13.0", after_version="2.14.1+cpu", **sources)
    page = to_markdown(replace(sample_moves(), changes=[moved]))
    base = "https://github.com/pytorch/pytorch/blob"
    for when, line in (("v2.13.0", 5), ("v2.14.1", 9)):
        assert f"([source]({base}/{when}/torch/utils/flop_counter.py#L{line}))" in page


def test_nothing_wrong_is_nothing_to_say() -> None:
    """A check that passes makes no annotation, no alert and no failure."""
    assert "" == to_annotations(QUIET)
    assert [] == json.loads(sarif.render(QUIET))["runs"][0]["results"] == findings.findings(QUIET)
    assert [] == [case for case in cases(junit.render(QUIET)) if case.find("failure") is not None]
    accepted = replace(sample_moves(), accepted=list(NORMS), broken=[])
    assert "" == to_annotations(accepted)
    assert 0 == sum(case.find("failure") is not None for case in cases(junit.render(accepted)))
    assert "Accepted into flops.json: resnet50, mobilenet and vgg." in to_markdown(accepted)
    assert "--accept" not in to_markdown(accepted)


def test_the_next_step_is_the_last_thing_said() -> None:
    """`Something has drifted.` leaves one alone with it."""
    end = to_markdown(sample_moves()).rpartition("## ")[2]
    assert "it is kept, or changed where it stands: pyproject.toml:14.\n\n" in end
    assert end.rstrip().endswith("```sh\nflopledger drift --accept mobilenet resnet50 vgg\n```")


def test_a_file_that_no_format_has_is_refused_before_the_counting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes of counting for an ending that is spelt wrong."""
    monkeypatch.chdir(tmp_path)
    for path, said in ((Path("a.txt"), "ends in one of .md, .json, .xml, .sarif"), (tmp_path / "no" / "a.md", "")):
        if said:
            with pytest.raises(typer.Exit) as caught:
                check_files([path])
            assert 2 == caught.value.exit_code and said in capsys.readouterr().err
        else:
            check_files([path])
    out = [tmp_path / "no" / name for name in ("a.md", "a.json", "a.xml", "a.sarif")]
    show_moves(sample_moves(), "github", out)
    assert capsys.readouterr().out == to_annotations(sample_moves())
    written = [path.read_text() for path in out]
    assert [WRITERS[name](sample_moves()) for name in ("markdown", "json", "junit", "sarif")] == written


TEXTS = st.text(max_size=12) | st.sampled_from(
    [*HOSTILE, "]]>", "::error::", "%0A::error::x", "%", "a,b:c", "\x00\x08\x0b\x1b\ufffe\uffff", "\ud800", "&#0;",
     "{0}", "[x](1)", "</details>", "\r\n\r\n# x", "##[error]x", "::stop-commands::x"]
)  # fmt: skip
often = settings(max_examples=40, deadline=None, derandomize=bool(os.environ.get("CI")))
SEVERAL = [sample_moves(), eventful_moves(), QUIET, Moves(baseline="b"), replace(eventful_moves(), project=None)]


@pytest.mark.parametrize("found", SEVERAL, ids=["sample", "eventful", "quiet", "empty", "no project"])
def test_junit_and_sarif_keep_to_their_schemas(found: Moves) -> None:
    """A tool that refuses the file says less than no file."""
    check(found)


@often
@given(TEXTS)
def test_a_name_is_never_more_than_text_to_junit_sarif_and_the_runner(text: str) -> None:
    """Names come from models, libraries and files: none may end a document, or give the runner a command."""
    check(hostile(text), eventful_moves())


def check(found: Moves, like: Moves | None = None) -> None:
    """The documents are valid, count right, and have as many parts as those of a project with other names."""
    like = like or found
    document = junit.render(found)
    XSD.assertValid(etree.fromstring(document.encode()))
    root = ElementTree.fromstring(document)
    for each in (root, *root.iter("testsuite")):
        said = Counter(child.tag for case in each.iter("testcase") for child in case)
        assert str(len(list(each.iter("testcase")))) == each.get("tests")
        assert (str(said["failure"]), str(said["error"])) == (each.get("failures"), each.get("errors"))
    assert len(cases(junit.render(like))) == len(cases(document))
    log = json.loads(sarif.render(found))
    SARIF.validate(log)
    results = log["runs"][0]["results"]
    assert len(findings.findings(like)) == len(results)
    assert len(results) == len({result["partialFingerprints"]["flopledger/v1"] for result in results})
    alerts = commands(to_annotations(found))
    assert len(commands(to_annotations(like))) == len(alerts)
    for (properties, message), one in zip(alerts, findings.findings(found), strict=False):
        if "more" not in properties["title"]:
            assert visible(found.project or found.baseline) == properties["file"] and one.line == int(
                properties["line"]
            )
            assert message.startswith("\n".join((one.title, *one.lines))[:1000])


AMOUNTS = st.integers(-9, 9)
PARTS = st.dictionaries(st.sampled_from(["model", "release", "ours", "input"]), AMOUNTS, max_size=3)
ROWS = st.builds(
    lambda mark, amounts, residual, cause, parts: replace(
        row("thop", {op: (10, 10 + n) for op, n in amounts.items()}),
        mark=mark,
        residual=residual,
        cause=cause,
        parts=parts,
    ),
    st.sampled_from(get_args(Mark)),
    st.dictionaries(st.sampled_from(["conv", "batch_norm"]), AMOUNTS),
    st.sampled_from([0, 0, 5]),
    st.sampled_from([*get_args(Cause), None]),
    PARTS,
)


@often
@given(st.dictionaries(st.sampled_from("abc"), ROWS), st.dictionaries(st.sampled_from("abc"), AMOUNTS))
def test_whatever_is_wrong_is_a_finding_and_nothing_else_is(rows: dict[str, Row], rule: dict[str, int]) -> None:
    """Exit 1 beside an empty list of alerts would send everybody looking for what there is."""
    moved = replace(change(), models={m: Amounts(before=0, after=n) for m, n in rule.items() if m in rows and n})
    drifts = {model: drift(model, each) for model, each in rows.items()}
    found = Moves(baseline="b.json", drifts=drifts, changes=[moved] if moved.models else [])
    said = findings.findings(found)
    assert (found.wrong or bool(moved.models)) == bool(said)
    for model, each in rows.items():
        assert (each.mark in FINE) or any(model in one.models for one in said), each
        if each.mark == "moved" and each.residual:
            assert any(one.kind == "number" and model in one.models for one in said)
    failing = sum(
        case.find("failure") is not None or case.find("error") is not None for case in cases(junit.render(found))
    )
    assert bool(said) == bool(failing)


@pytest.mark.parametrize("text", [*HOSTILE, "::error::x", "##[error]x", "\ud800\x9b31m"])
def test_a_name_is_only_text_on_a_terminal_and_in_a_log(text: str) -> None:
    """The table goes to a job's log, where a line that begins with two colons is a command."""
    for line in shown(moves_words.blocks(hostile(text))).splitlines():
        assert line.isprintable() and not line.lstrip().startswith("::") and "##[" not in line


@pytest.mark.parametrize("text", [*HOSTILE, "</details>", "## x\n\n- y", "@someone #1 GH-2 http://x.invalid/"])
def test_a_name_is_never_markdown(text: str) -> None:
    """A model's name that closes the fold or becomes a heading speaks in the page's own voice."""

    def tags(found: Moves) -> list[str]:
        html = cmarkgfm.github_flavored_markdown_to_html(to_markdown(found), options=Options.CMARK_OPT_UNSAFE)
        return [tag for tag in re.findall(r"</?(\w+)", html) if tag != "code"]

    assert tags(eventful_moves()) == tags(hostile(text))


def test_fingerprints_are_of_what_it_is_and_not_of_todays_numbers() -> None:
    """An alert that is new at every push cannot be dismissed."""

    def prints(found: Moves) -> list[str]:
        return [result["partialFingerprints"]["flopledger/v1"] for result in
                json.loads(sarif.render(found))["runs"][0]["results"]]  # fmt: skip

    drifts = {model: touched(model, n + 1) for model, n in NORMS.items()}
    changes = [change({model: n + 1 for model, n in NORMS.items()})]
    broken = [replace(BROKEN, value=9**9, line=99)]
    later = replace(sample_moves(), drifts=drifts, changes=changes, broken=broken, lines={})
    assert prints(sample_moves()) == prints(later)
    other = replace(sample_moves(), changes=[replace(change(), after_formula="5·outputs")])
    assert prints(sample_moves())[0] != prints(other)[0]


def test_alerts_stand_at_the_lines_of_the_models() -> None:
    """The first location is what GitHub shows; the other models are beside it."""
    ((rule, budget),) = [json.loads(sarif.render(sample_moves()))["runs"][0]["results"]]

    def lines(places: list[Any]) -> list[int]:
        return [place["physicalLocation"]["region"]["startLine"] for place in places]

    assert [9] == lines(rule["locations"]) and [9, 20, 24] == lines(rule["relatedLocations"])
    assert [14] == lines(budget["locations"]) and "relatedLocations" not in budget
    assert ["9", "14"] == [properties["line"] for properties, _ in commands(to_annotations(sample_moves()))]


def many(models: int, more: str = "") -> Moves:
    """A project of so many models, all of which one rule touches."""
    norms = {f"model_{i:03}{more}": 1000 + i for i in range(models)}
    lines = {name: i for i, name in enumerate(norms, 1)}
    return replace(sample_moves(), drifts={m: touched(m, n) for m, n in norms.items()}, changes=[change(norms)],
                   broken=[], lines=lines)  # fmt: skip


def test_twenty_models_are_folded() -> None:
    """A comment of three screens is scrolled past: what is long is behind a line."""
    page = to_markdown(many(20))
    open_parts = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert 20 < page.count("model_") and len(open_parts) < 1500, open_parts
    assert "in 20 models (model_000, model_001, model_002 and 17 more)." in open_parts
    assert page.count("<details>") == page.count("</details>") == 2


def test_what_a_comment_has_no_room_for_is_left_out_and_said() -> None:
    """GitHub refuses a comment of more than 65,536 characters, and with it the first paragraph."""
    page = to_markdown(many(500, "_with_a_name_that_is_rather_long"))
    assert 20_000 < len(page) < 65_536
    assert (
        "Left out here, as a comment has 65,536 characters: numbers that moved; flopledger drift prints it all." in page
    )
    assert page.startswith("thop 0.0.5") and page.rstrip().endswith("flopledger drift --accept\n```")
    assert "| **sum** |" in page
    large = replace(many(3), failed={f"{i}": "x" * 10_000 for i in range(900)}, changes=[change({"x" * 9000: 1})] * 40)
    assert len(to_markdown(large)) < 65_536


def test_a_step_makes_ten_annotations_and_the_last_says_how_many_more() -> None:
    """GitHub drops the eleventh without a word."""
    found = replace(sample_moves(), broken=[replace(BROKEN, what=f"site layer{i}") for i in range(12)])
    *shown_ones, (properties, message) = commands(to_annotations(found))
    assert 9 == len(shown_ones) and "flopledger: 4 more" == properties["title"]
    assert "4 more findings (4 budget): flopledger drift prints them all" == message
    assert 10 == len(commands(to_annotations(replace(found, broken=found.broken[:9]))))
    long = many(400)
    ((_, message),) = commands(to_annotations(long))
    assert len(message) < 4100 and message.endswith("\n… flopledger drift prints the rest")


def test_json_is_all_of_it() -> None:
    """For programs: the type as it is, read back by the type."""
    for found in SEVERAL:
        assert found == msgspec.json.decode(WRITERS["json"](found), type=Moves)


@pytest.mark.parametrize("name", ["table", *WRITERS])
def test_each_format_says_what_it_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a sentence sees what that does in a comment, an alert and a report."""
    monkeypatch.setattr(registry, "version_of", lambda name: "1.2.3")
    now = shown(moves_words.blocks(eventful_moves()), 100) if name == "table" else WRITERS[name](eventful_moves())
    kept = HERE / "golden" / f"drift-{name}.txt"
    if os.environ.get("FLOPLEDGER_GOLDEN") == "write":
        kept.write_text(now)
    assert kept.read_text() == now, (
        "if this is meant: FLOPLEDGER_GOLDEN=write python -m pytest tests/test_drift_formats.py"
    )


PROJECT = """
counters = [THOP, "fvcore", "torch"]
[[models]]
name = "narrow"
model = "mobilenet_v2?width_mult=0.35"
inputs = "1x3x64x64"
budget = { sites = { "features.18" = 500_000 } }
[[models]]
name = "wide"
model = "mobilenet_v2"
inputs = "1x3x64x64"
[[models]]
name = "net"
model = "net.py:make"
inputs = "1x3x16x16"
[[models]]
name = "plain"
model = "torch.nn:Linear?in_features=4&out_features=8"
inputs = "1x4"
"""
NET = "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))\n"


@pytest.mark.slow
def test_an_update_of_thop_is_named_once_for_every_model(tmp_path: Path) -> None:
    """The whole of it: four models, three counters, a budget; thop doubled batch norms on 2022-06-10 (formulas.md)."""
    (tmp_path / "net.py").write_text(NET)
    config = tmp_path / "flopledger.toml"

    def flopledger(*arguments: str, thop: str) -> subprocess.CompletedProcess[str]:
        config.write_text(PROJECT.replace("THOP", json.dumps(thop)))
        command = str(Path(sys.executable).with_name("flopledger"))
        return subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=500)

    done = flopledger("snapshot", thop="thop==0.0.5.post2110061705")
    assert 0 == done.returncode, done.stderr
    names = ("a.md", "a.json", "a.xml", "a.sarif")
    new = "thop==0.1.1.post2209072238"
    done = flopledger("drift", "--format", "github", *(word for name in names for word in ("-o", name)), thop=new)
    assert 1 == done.returncode, done.stderr
    page, document, report, log = ((tmp_path / name).read_text() for name in names)
    found = msgspec.json.decode(document, type=Moves)
    (norms,) = [each for each in found.changes if each.op == "batch_norm"]
    assert ("release", "2·outputs", "4·outputs") == (norms.cause, norms.before_formula, norms.after_formula)
    assert {"narrow", "wide", "net"} == set(norms.models) and 2 * 8 * 14 * 14 == norms.models["net"].before
    sums = [f"{number(each.after)}" for each in norms.models.values()]
    assert 1 == page.count("Now: 4·outputs") and all(amount in page for amount in sums)
    (alert,) = [message for _, message in commands(done.stdout) if "batch norm is 4·outputs now" in message]
    assert all(amount in alert for amount in sums)
    XSD.assertValid(etree.fromstring(report.encode()))
    (case,) = [case for case in cases(report) if case.get("name") == "batch norm: 2·outputs → 4·outputs"]
    assert all(amount in case[0].text for amount in sums)  # type: ignore[operator]
    SARIF.validate(json.loads(log))
    results = json.loads(log)["runs"][0]["results"]
    assert 1 == sum("batch norm is 4·outputs now" in each["message"]["text"] for each in results)
    (broken,) = found.broken
    assert ("narrow", "site features.18", 500_000, 7) == (broken.model, broken.what, broken.limit, broken.line)
    assert broken.value > 500_000 and "features.18.0" == broken.heaviest[0][0]
