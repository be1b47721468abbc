"""The command, as a user runs it: one clear line and status 2 for bad input, never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sample_run import sample_run

from flopledger.reports.documents.reading import encode

COMMAND = Path(sys.executable).with_name("flopledger")
# Run by the interpreter itself: an import of torch fails, as on a machine that has none.
WITHOUT_TORCH = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "thop", "fvcore", "ptflops", "torchinfo"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
from flopledger.reports.command.main import main
sys.argv = ["flopledger", *sys.argv[1:]]
main()
"""


def flopledger(*arguments: object, cwd: Path | None = None, torch: bool = True) -> subprocess.CompletedProcess[str]:
    start = [str(COMMAND)] if torch else [sys.executable, "-c", WITHOUT_TORCH]
    return subprocess.run(
        [*start, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "400", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def refused(*arguments: object, cwd: Path | None = None) -> str:
    """The one line on stderr of a command that must be refused."""
    done = flopledger(*arguments, cwd=cwd)
    assert (2, "") == (done.returncode, done.stdout), done.stderr
    lines = done.stderr.splitlines()
    assert 1 == len(lines), done.stderr
    assert lines[0].startswith("flopledger: ")
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.json"
    path.write_bytes(encode(sample_run(64)))
    return path


# --- without torch --------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["report", "--help"], ["--version"], []], ids=" ".join)
def test_help_and_version_need_no_torch(arguments: list[str]) -> None:
    """Torch takes seconds to import; asking how to call a command must not."""
    code = (
        "import sys\nfrom flopledger.reports.command.main import app\n"
        f"try: app({arguments!r}, prog_name='flopledger', standalone_mode=False)\nexcept SystemExit: pass\n"
        "found = [n for n in ('torch', 'pandas', 'jinja2', 'vl_convert') if n in sys.modules]\n"
        "print(found, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "[]" == done.stderr.strip()
    assert "flopledger" in done.stdout


def test_help_names_every_command_and_what_it_does() -> None:
    """The help is the first page of the manual."""
    done = flopledger("--help")
    assert (0, "") == (done.returncode, done.stderr)
    for name in ("report", "explain", "count", "counters", "ledger", "render"):
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3


def test_version_is_the_distributions() -> None:
    """A bug report starts with it."""
    from importlib.metadata import version

    done = flopledger("--version")
    assert (0, f"flopledger {version('flopledger')}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_render_without_torch_is_byte_identical(document: Path, tmp_path: Path) -> None:
    """Pages of a run can be made anywhere and any time, and a diff of two means something."""
    for folder, torch in (("a", True), ("b", False)):
        done = flopledger("render", document, "-o", tmp_path / folder, torch=torch)
        assert (0, "") == (done.returncode, done.stderr)
    first, second = (
        {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("a", "b")
    )  # fmt: skip
    assert {"report.md", "report.html", "run.json"} <= first.keys()
    assert first == second
    assert document.read_bytes() == first["run.json"]


def test_render_of_its_own_output_changes_nothing(document: Path, tmp_path: Path) -> None:
    """Rendering into the folder of the run itself is what people will do."""
    flopledger("render", document, "-o", tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert 0 == flopledger("render", "run.json", cwd=tmp_path).returncode
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def test_render_prints_what_it_wrote_unless_told_not_to(document: Path, tmp_path: Path) -> None:
    """A script reads the paths; `-q` is quiet."""
    done = flopledger("render", document, "-o", tmp_path)
    assert [f"wrote {p}" for p in sorted(tmp_path.iterdir())] == sorted(done.stdout.splitlines())
    assert "" == flopledger("render", document, "-o", tmp_path, "-q").stdout


def test_counters_lists_everyone_as_json() -> None:
    """Which counters there are, in which version and unit, for a program to read."""
    done = flopledger("counters", "--format", "json")
    assert (0, "") == (done.returncode, done.stderr)
    units = {found["counter"]: found["unit"] for found in json.loads(done.stdout)}
    assert {"thop", "torchsummaryX", "fvcore", "torchinfo"} <= units.keys()
    assert {"MAC", "FLOP"} >= {unit for name, unit in units.items() if name in ("thop", "torchsummaryX")}


def test_conventions_need_neither_a_model_nor_torch() -> None:
    """What a counter claims is known before anything is counted; with a model's shapes in it, it would not be."""
    done = flopledger("conventions", "thop", "ptflops-pytorch==0.6.9", torch=False)
    assert (0, "") == (done.returncode, done.stderr)
    for fact in ("4·outputs", "macs + scores + inputs", "thop/vision/basic_hooks.py:60", "two operations to normalise"):
        assert fact in done.stdout
    found = json.loads(flopledger("conventions", "--format", "json", torch=False).stdout)
    assert {"thop", "torchsummaryX", "ptflops-pytorch", "fvcore", "torchinfo", "torch"} <= {c["counter"] for c in found}
    for claim in (claim for counter in found for claim in counter["rules"]):
        assert claim["because"] and claim["source"]
        numbers = [
            int(n) for n in re.findall(r"(?<![a-z_])\d+", f"{claim['formula']} {json.dumps(claim['condition'])}")
        ]
        assert max(numbers, default=0) <= 259, claim  # thop's price of a bicubic output is the largest number


def test_two_releases_side_by_side_show_what_changed() -> None:
    """What came and what went is the question; forty rules twice are not the answer."""
    done = flopledger("conventions", "thop==0.0.5.post2206100352", "thop==0.1.0", "--format", "markdown", torch=False)
    assert (0, "") == (done.returncode, done.stderr)
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| − |", "| + |"))]
    assert rows
    assert any("batch norm" in row and "2·outputs" in row for row in rows)
    same = flopledger("conventions", "thop==0.1.0", "thop==0.1.0", torch=False).stdout
    assert "charge alike" in same


@pytest.mark.slow
def test_check_finds_the_place_where_a_rule_is_broken(tmp_path: Path) -> None:
    """Whoever writes a convention asks this first; a check that cannot fail would send them on with a wrong one."""
    for exponent, status in ((1, 0), (2, 1)):
        (tmp_path / "mine.py").write_text(COUNTER.replace("RULE", f'"{exponent}·macs"'))
        done = flopledger("check", "mine.py:Mine", "--format", "json", "-q", cwd=tmp_path)
        assert (status, "") == (done.returncode, done.stderr), done.stdout
        findings = json.loads(done.stdout)["findings"]
        assert len(findings) > 90
        broken = [found for found in findings if not found["holds"]]
        assert bool(status) == bool(broken)
        assert {op for found in broken for op in found["ops"]} <= {"linear"}
        assert all("macs" in found["reads"] for found in broken)
        (idle,) = json.loads(done.stdout)["idle"]
        assert "called as nn.functional.lineer" == idle["when"]


def test_a_counter_that_cannot_state_its_convention_changes_nobody_elses(tmp_path: Path) -> None:
    """A broken file of one author must not take the others' numbers away, nor look like a crash of ours."""
    (tmp_path / "mine.py").write_text(COUNTER.replace("convention(self, version)", "convention(self, version, ledger)"))
    line = refused("check", "mine.py:Mine", "-q", cwd=tmp_path)
    assert "cannot state its convention: TypeError" in line
    assert line == refused("conventions", "mine.py:Mine", cwd=tmp_path)
    asked = ["-c", "mine.py:Mine", "-c", "torch", "-o", "out", "-q"]
    done = flopledger("report", "mobilenet_v2?width_mult=0.1", "-i", "1x3x32x32", *asked, cwd=tmp_path)
    assert (1, "") == (done.returncode, done.stderr)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    mine, torch = run["tallies"]
    assert ["counted", "counted"] == [mine["status"], torch["status"]]
    assert "cannot state its convention" in mine["warnings"][0]
    assert not torch["warnings"]


COUNTER = """
from flopledger.counters.convention import Convention, rule
from flopledger.counters.tally import Count, Part

class Mine:
    distribution, unit, device, about = "", "MAC", "meta", "linear layers"

    def count(self, model, inputs):
        from torch.nn import Linear
        from torch.nn.modules.module import register_module_forward_hook

        parts, names = [], {module: name for name, module in model.named_modules()}
        def hook(module, args, out):
            if type(module) is Linear and module in names:
                parts.append(Part(names[module], None, out.numel() * module.in_features))
        handle = register_module_forward_hook(hook)
        model(*inputs)
        handle.remove()
        return Count(total=sum(part.count for part in parts), parts=parts)

    def convention(self, version):
        from flopledger.counters.condition import called_as, in_modules

        return Convention("mine", (
            rule("linear", "5·macs", "a typing error", "mine.py:1 Mine", called_as("torch.nn.functional.lineer")),
            rule("linear", RULE, "it says so", "mine.py:1 Mine", in_modules("Linear")),
        ))
"""


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["count", "-c", "thopp"], "did you mean thop"),
        (["count", "-c", "torchsumaryx"], "did you mean torchsummaryX"),
        (["report", "-c", "FVCORE2"], "did you mean fvcore"),
        (["explain", "thop", "torchinf"], "did you mean torchinfo"),
        (["explain", "thop", "thop"], "name two"),
        (["count", "-c", "nowhere:Counter"], "could not be loaded"),
        (["count", "mobilenet_v3"], "did you mean mobilenet_v2"),
        (["count", "resnet50"], "torchvision:resnet50"),
        (["count", "net.py:make"], "no file 'net.py'"),
        (["count", "-i", "1x3xbig"], "is not a shape"),
        (["count", "-i", "n=5"], "write =5 for the number"),
        (["ledger", "-i", "1x3:float23"], "did you mean float32"),
        (["report", "--nonsense"], "--nonsense"),
        (["reprot"], "reprot"),
        (["explain", "thop"], "right"),
        (["render"], "RUN.json"),
        (["count", "--format", "xml"], "xml"),
        (["count", "--timeout", "soon"], "--timeout"),
        (["count", "--timeout", "0"], "0.1"),
        (["count", "--timeout", "inf"], "not between 0.1 and 604800 seconds"),
        (["count", "--timeout", "nan"], "not between 0.1 and 604800 seconds"),
        (["count", "--timeout", "1e300"], "not between 0.1 and 604800 seconds"),
        (["count", "--jobs", "0"], "1"),
        (["explain", "torchinfo==1.8.0", "torchinfo==v1.8.00"], "are one counter"),
        (["explain", "thop==0.1.1-2209072238", "thop==0.1.1.post2209072238"], "are one counter"),
        (["count", "x" * 300 + ".py:make"], "no file"),
        (["count", "\udcff.py:make"], "is not text"),
        (["count", "mobilenet_v2?width_mult={[]:1}", "-i", "1x3x32x32"], "could not be built"),
        (["count", "mobilenet_v2?width_mult=" + "(" * 200, "-i", "1x3x32x32"], "could not be built"),
        (["count", "torchvision:resnet18?weights='DEFAULT'", "-i", "1x3x32x32"], "nothing is downloaded"),
        (["count", "a", "b"], "b"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_one_line_and_status_2(arguments: list[str], hint: str, tmp_path: Path) -> None:
    """What is wrong, what would be right, and nothing that looks like a crash."""
    assert hint in refused(*arguments, cwd=tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_output_that_cannot_be_written_is_refused_before_counting(tmp_path: Path) -> None:
    """Minutes of counting must not end in an error that was visible at the start."""
    (tmp_path / "file").write_text("in the way")
    for out in ("file", "file/below"):
        line = refused("report", "-o", out, cwd=tmp_path)
        assert f"cannot write to {out}" in line
    assert "in the way" == (tmp_path / "file").read_text()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot write to")
def test_output_in_a_folder_that_nobody_may_write(document: Path) -> None:
    """The tests may run as root, whom permissions do not stop; /proc does."""
    for arguments in (["report", "-o", "/proc/out"], ["render", document, "-o", "/proc"]):
        assert "cannot write to /proc" in refused(*arguments)


def test_a_folder_in_the_way_of_a_page_leaves_the_others_alone(document: Path, tmp_path: Path) -> None:
    """A report is written whole or not at all."""
    (tmp_path / "report.html").mkdir()
    (tmp_path / "report.md").write_text("old")
    assert f"cannot write to {tmp_path}" in refused("render", document, "-o", tmp_path)
    assert ["report.html", "report.md"] == sorted(p.name for p in tmp_path.iterdir())
    assert "old" == (tmp_path / "report.md").read_text()


def test_documents_that_cannot_be_read_are_one_line(document: Path, tmp_path: Path) -> None:
    """Cut off, another format, something else, missing, a folder: each is told apart, nothing is written."""
    data = document.read_bytes()
    bad = {
        "cut.json": (data[: len(data) // 2], "not whole JSON"),
        "empty.json": (b"", "not whole JSON"),
        "binary.json": (bytes(range(256)), "not whole JSON"),
        "other.json": (data.replace(b'"format": 3', b'"format": 4', 1), "format 4"),
        "older.json": (data.replace(b'"format": 3', b'"format": 1', 1), "count again"),
        "package.json": (b'{"name": "left-pad"}', "not a run or history document"),
        "shape.json": (b'{"format": 3}', "format 3"),
    }
    for name, (content, hint) in bad.items():
        (tmp_path / name).write_bytes(content)
        line = refused("render", name, "-o", "out", cwd=tmp_path)
        assert hint in line
        assert f"cannot read {name}" in line
    assert "No such file" in refused("render", "missing.json", "-o", "out", cwd=tmp_path)
    (tmp_path / "folder").mkdir()
    assert "directory" in refused("render", "folder", "-o", "out", cwd=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["render"], ["drift"], ["releases", "--new", "--baseline"]], ids=" ".join)
def test_a_device_that_never_ends_is_no_document(command: list[str], tmp_path: Path) -> None:
    """Reading it to its end would take all memory."""
    assert "longer than 256 MB" in refused(*command, "/dev/zero", cwd=tmp_path)
    assert "Is a directory" in refused(*command, "/dev", cwd=tmp_path)


def test_a_closed_pipe_is_no_traceback(document: Path) -> None:
    """`flopledger counters | head -1` is an everyday command line."""
    done = subprocess.run(
        f"'{COMMAND}' counters | true", shell=True, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert "" == done.stderr


# --- three that trace or count --------------------------------------------------------------------


def test_a_shape_that_the_model_rejects_is_told_in_the_models_words(tmp_path: Path) -> None:
    """Which layer wanted which channels is what the user needs; nothing is written."""
    done = flopledger("report", "mobilenet_v2?width_mult=0.1", "-i", "1x4x32x32", "-o", "out", cwd=tmp_path)
    line, got = done.stderr.splitlines()
    assert (2, "") == (done.returncode, done.stdout)
    assert "rejects input 1x4x32x32 in features.0.0 (Conv2d): " in line
    assert "to have 3 channels, but got 4 channels instead" in line
    assert "  conv2d got input 1×4×32×32, weight 8×3×3×3" == got
    assert not (tmp_path / "out").exists()


def test_ledger_as_json_needs_no_counter() -> None:
    """The reference itself, for a program to read; its numbers are those of the design's shapes."""
    done = flopledger("ledger", "mobilenet_v2?width_mult=0.1", "-i", "2x3x32x32", "--format", "json")
    assert (0, "") == (done.returncode, done.stderr)
    ledger = json.loads(done.stdout)
    first = next(entry for entry in ledger["entries"] if entry["op"] == "conv")
    assert ("features.0.0", 2 * 8 * 16 * 16 * 27) == (first["site"], first["calls"][0]["quantities"]["macs"])
    assert ["2x3x32x32"] == ledger["model"]["inputs"]


def test_count_prints_one_counters_total() -> None:
    """Standard output is the answer and nothing else; torch's own counter is always there."""
    name = "torch"
    done = flopledger("count", "torch.nn:Identity", "-i", "2x3", "-c", name, "--format", "json")
    assert (0, "") == (done.returncode, done.stderr)
    answer = json.loads(done.stdout)
    assert {"macs": 0, "unpriced": []} == answer["ledger"]
    (found,) = answer["counters"]
    assert (name, "counted", 0, None) == (found["counter"], found["status"], found["total"], found["params"])
