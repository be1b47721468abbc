"""What is kept of earlier counts: found again as long as nothing that it depends on has changed, and no longer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flopledger.counters.engine import kept, sources, supervisor
from flopledger.counters.engine.adapters import about
from flopledger.counters.engine.job import LEDGER, Answer, Job
from flopledger.counters.engine.plan import count_all
from flopledger.counters.tally import Tally
from flopledger.reference_model.subject import Spec

SPEC = Spec.parse("mobilenet_v2", ["1x3x32x32"])
COUNTER = '''"""A counter of {name}."""
from flopledger.counters.convention import Convention, rule
from flopledger.counters.tally import Count, Part, Unsupported

RULES = (rule("conv", "outputs", "one per output", "{name}.py:1"),)


class Counts:
    distribution = "{name}"
    unit = "MAC"
    device = "cpu"
    about = "whatever {name} says"

    def count(self, model, inputs):
        import {name}

        {name}.before()
        return Count(total={name}.EACH * 1, parts=[Part("", None, {name}.EACH)])

    def convention(self, version):
        return Convention("{name}", (*RULES, rule("*", "0", "looks at nothing else", "{name}.py:1")))
'''
MODEL = """
from pathlib import Path
import torch
from beside import WIDTH

def make():
    return torch.nn.Linear(4, WIDTH * int(Path(__file__).with_name("net.cfg").read_text()))
"""


class Workshop:
    """Two installed distributions, `mini` and `other`, and a counter file of each; `asked` are the jobs that ran."""

    def __init__(self, folder: Path):
        self.folder, self.site = folder, folder / "site"
        self.asked: list[str] = []
        for name in ("mini", "other"):
            self.publish(name)
            (folder / f"{name}_counter.py").write_text(COUNTER.format(name=name))

    def publish(self, name: str, before: str = "pass") -> None:
        about = self.site / f"{name}-1.0.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        self.module(name).write_text(f"EACH = 7\n\n\ndef before():\n    {before}\n")
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "RECORD").write_text(f"{name}.py,,\n{about.name}/METADATA,,\n{about.name}/RECORD,,\n")

    def module(self, name: str) -> Path:
        return self.site / f"{name}.py"

    def counter(self, name: str) -> Path:
        return self.folder / f"{name}_counter.py"

    def edit(self, path: Path, before: str, after: str) -> None:
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    def count(self, spec: Spec = SPEC, **options: Any) -> list[Tally]:
        """Both counters' tallies; `asked` says which jobs that took."""
        self.asked.clear()
        _, found = count_all([f"{self.counter(name)}:Counts" for name in ("mini", "other")], spec, **options)
        return found

    @property
    def again(self) -> set[str]:
        """What the last count asked: the ledger, or the counter of a distribution."""
        return {name if name == LEDGER else Path(name).name.partition("_")[0] for name in self.asked}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    found = Workshop(tmp_path)
    monkeypatch.syspath_prepend(found.site)
    genuine = supervisor.run

    def noted(jobs: deque[Job], **options: Any) -> Iterator[tuple[Job, Answer]]:
        for job, answer in genuine(jobs, **options):
            found.asked.append(job.name)
            yield job, answer

    monkeypatch.setattr(supervisor, "run", noted)
    return found


def test_a_second_count_asks_nobody(shop: Workshop) -> None:
    """`explain` after `report` has nothing to count."""
    first = shop.count()
    assert [7, 7] == [tally.total for tally in first]
    assert {LEDGER, "mini", "other"} == shop.again
    assert first == shop.count()
    assert set() == shop.again
    shop.count(Spec.parse("mobilenet_v2", ["1x3x64x64"]))
    assert {LEDGER, "mini", "other"} == shop.again


def test_a_file_of_the_installed_distribution_that_is_edited_is_counted_again(shop: Workshop) -> None:
    """Who edits an installed library must see what it says now, and wait for it alone; time alone changes nothing."""
    shop.count()
    file = shop.module("mini")
    about = file.stat()
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns + 1))  # as a job of CI does that installs it anew
    shop.count()
    assert set() == shop.again
    file.write_text(f"{file.read_text()}\n# edited\n")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    shop.count()
    assert {"mini"} == shop.again


def test_each_part_of_a_key_makes_another(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale number would be explained with today's reasons."""
    mini, other = (about(f"{shop.counter(name)}:Counts") for name in ("mini", "other"))
    larger = Spec.parse("mobilenet_v2", ["1x3x64x64"])
    narrow = Spec.parse("mobilenet_v2?width_mult=0.5", ["1x3x32x32"])
    asked = [(mini, None, SPEC), (other, None, SPEC), (mini, "1.0", SPEC), (mini, "1.1", SPEC), (mini, None, larger),
             (mini, None, narrow)]  # fmt: skip
    keys = [kept.Keys().count(*each) for each in asked]
    assert keys == [kept.Keys().count(*each) for each in asked]
    monkeypatch.setattr(kept, "_here", lambda: ["another torch"])
    keys += [kept.Keys().count(*each) for each in asked]
    assert None not in keys
    assert 12 == len(set(keys))


@pytest.mark.parametrize(("before", "after"), [
    ("one per output", "one for every output"),
    ("looks at nothing else", "ignores the rest"),
    ('"outputs"', '"2·outputs"'),
    ("whatever mini says", "what mini says"),
    ('"""A counter of mini."""', '"""Another sentence."""\n# and a comment'),
])  # fmt: skip
def test_sentences_and_rules_change_nothing_that_is_kept(shop: Workshop, before: str, after: str) -> None:
    """Rules are written by trying: each try must not cost a count."""
    shop.count()
    shop.edit(shop.counter("mini"), before, after)
    shop.count()
    assert set() == shop.again


def test_rules_in_a_file_of_their_own_change_nothing_either(shop: Workshop) -> None:
    """Where a history is long it lies beside the code that counts, as in our own libraries."""
    rules = shop.folder / "mini_rules.py"
    rules.write_text('BECAUSE = "one per output"\n')
    shop.edit(shop.counter("mini"), "from flopledger.counters.tally", "from mini_rules import BECAUSE\n"
              "from flopledger.counters.tally")  # fmt: skip
    shop.count()
    shop.edit(rules, "one per", "one for every")
    shop.count()
    assert set() == shop.again


def test_the_code_that_counts_is_not_a_sentence(shop: Workshop) -> None:
    """A number that another `count` gave would be explained as this one's."""
    shop.count()
    shop.edit(shop.counter("mini"), 'EACH * 1, parts=[Part("", None, mini.EACH)', 'EACH * 2, parts=[Part("", None, 14)')
    assert [14, 7] == [tally.total for tally in shop.count()]
    assert {"mini"} == shop.again


def test_what_count_leans_on_is_part_of_it(shop: Workshop) -> None:
    """A hook that moves to a file beside the counter's must not escape the digest."""
    (shop.folder / "hooks.py").write_text("FACTOR = 1\n")
    shop.edit(shop.counter("mini"), "        mini.before()", "        from hooks import FACTOR\n        mini.before()")
    shop.count()
    shop.edit(shop.folder / "hooks.py", "1", "2")
    shop.count()
    assert {"mini"} == shop.again


@pytest.mark.alone
@pytest.mark.parametrize("trouble", ["raise OSError(28, 'No space left on device')", "raise MemoryError",
                                     "raise ConnectionError('no network')", "import os; os._exit(3)",
                                     "import time; time.sleep(60)"])  # fmt: skip
def test_a_failure_of_the_moment_is_not_kept(shop: Workshop, trouble: str) -> None:
    """A full disk or a busy machine must not brand a counter for ever."""
    shop.publish("mini", trouble)
    shop.count(timeout=4 if "sleep" in trouble else 60)
    shop.count(timeout=4 if "sleep" in trouble else 60)
    assert {"mini"} == shop.again


def test_any_other_failure_is_kept_for_this_set_of_packages(shop: Workshop) -> None:
    """It would fail again, unless it is for want of a package."""
    shop.publish("mini", "raise ValueError('beyond me')")
    first = shop.count()
    assert "failed" == first[0].status and str(first[0].reason).startswith("ValueError: beyond me (mini")
    assert first == shop.count()
    assert set() == shop.again
    (shop.site / "wanted-1.0.dist-info").mkdir()
    shop.count()
    assert {"mini"} == shop.again


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"])
def test_a_failure_holds_for_this_environment_alone(name: str, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failure comes from is not known: another environment, another limit, and it is tried again."""
    shop.publish("mini", "raise KeyError('x')")
    shop.count()
    monkeypatch.setenv(name, "1")
    shop.count()
    assert {"mini"} == shop.again


def test_a_failure_holds_for_these_limits_alone(shop: Workshop) -> None:
    """With too little memory, anything may raise anything."""
    shop.publish("mini", "raise KeyError('x')")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        shop.count()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    shop.count()
    assert {"mini"} == shop.again


def said(tallies: list[Tally]) -> list[Tally]:
    """Without how long it took."""
    return [msgspec.structs.replace(tally, seconds=None) for tally in tallies]


def results(shop: Workshop) -> list[Path]:
    return sorted((shop.folder / "cache" / "results").iterdir())


@pytest.mark.parametrize("change", [
    (b'"total":7', b'"total":8'), (b'"count":7', b'"count":9'), (b'"macs":', b'"mac5":'), (b'"params":', b'"params":1'),
    (b'"status":"counted"', b'"status":"failed"'), (b'"granularity"', b'"granulariti"'), (b"}", b""), (b"{", b"\xff{"),
], ids=str)  # fmt: skip
def test_what_was_changed_in_the_cache_is_counted_again(change: tuple[bytes, bytes], shop: Workshop) -> None:
    """An edited ledger printed wrong MACs, and parts that did not sum were a traceback for ever."""
    before = said(shop.count())
    for place in results(shop):
        place.write_bytes(place.read_bytes().replace(*change, 1))
    assert before == said(shop.count())
    assert shop.again
    assert before == said(shop.count())
    assert set() == shop.again


def test_what_does_not_add_up_is_counted_again_even_with_a_seal(shop: Workshop) -> None:
    """A seal is no secret: sums are checked besides."""
    before = said(shop.count())
    for place in results(shop):
        content = place.read_bytes().partition(b"\n")[2].replace(b'"total":7', b'"total":8')
        place.write_bytes(kept._seal(content).encode() + b"\n" + content)
    assert before == said(shop.count())
    assert {"mini", "other"} == shop.again


def test_answers_that_changed_places_are_not_found(shop: Workshop) -> None:
    """Each is whole, and another counter's."""
    before = said(shop.count())
    mini, other = (next(p for p in results(shop) if f"{name}_counter" in p.name) for name in ("mini", "other"))
    first, second = mini.read_bytes(), other.read_bytes()
    mini.write_bytes(second)
    other.write_bytes(first)
    assert before == said(shop.count())
    assert {"mini", "other"} == shop.again


@pytest.mark.parametrize("odd", ["folder", "fifo", "link", "empty", "unreadable"])
def test_odd_files_in_the_cache_are_no_answers(odd: str, shop: Workshop) -> None:
    """A FIFO in place of a result must not be waited for."""
    before = said(shop.count())
    for place in results(shop):
        place.unlink()
        if odd == "folder":
            place.mkdir()
        elif odd == "fifo":
            os.mkfifo(place)
        elif odd == "link":
            place.symlink_to("/dev/zero")
        else:
            place.touch(0 if odd == "unreadable" else 0o644)
    assert before == said(shop.count())


def test_without_what_is_kept_everything_is_counted_again_and_kept(shop: Workshop) -> None:
    """`--no-cache` is for whoever does not trust this file."""
    shop.count()
    shop.count(keep=False)
    assert {LEDGER, "mini", "other"} == shop.again
    shop.count()
    assert set() == shop.again


def test_an_editable_install_is_never_kept(shop: Workshop) -> None:
    """Its files are anywhere, and whoever has one edits them."""
    (shop.site / "mini-1.0.dist-info" / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "."}')
    shop.count()
    shop.count()
    assert {"mini"} == shop.again


@pytest.mark.parametrize("name", ["net.py", "beside.py", "net.cfg"])
def test_a_model_of_ones_own_depends_on_what_it_is_made_from(shop: Workshop, name: str) -> None:
    """`ledger` of one's own file is quick the second time, and right when a neighbour or a configuration changed."""
    (shop.folder / "net.py").write_text(MODEL)
    (shop.folder / "beside.py").write_text("WIDTH = 3\n")
    (shop.folder / "net.cfg").write_text("2")
    spec = Spec.parse(f"{shop.folder / 'net.py'}:make", ["1x4"])
    shop.count(spec)
    shop.count(spec)
    assert set() == shop.again
    with (shop.folder / name).open("a") as file:
        file.write("\n")
    shop.count(spec)
    assert {LEDGER, "mini", "other"} == shop.again


def test_what_is_kept_is_found_without_torch(shop: Workshop) -> None:
    """Importing it takes longer than all the rest of a command; nor is what would run jobs imported."""
    code = (
        "import sys\n"
        "from flopledger.counters.engine.plan import count_all\n"
        "from flopledger.reference_model.subject import Spec\n"
        "count_all(['torch'], Spec.parse('torchvision:resnet18', ['1x3x64x64']))\n"
        "print('torch' in sys.modules, 'flopledger.counters.engine.supervisor' in sys.modules)\n"
    )
    said = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=shop.folder)
            for _ in range(2)]  # fmt: skip
    assert ["False True\n", "False False\n"] == [each.stdout for each in said]


def test_an_installed_counter_leans_on_its_own_package_only(tmp_path: Path) -> None:
    """In site-packages everybody is everybody's neighbour; torch is no part of a counter that imports it."""
    package = tmp_path / "site-packages" / "theirs"
    package.mkdir(parents=True)
    for name in ("__init__", "helper"):
        (package / f"{name}.py").write_text("")
    (package.parent / "torch.py").write_text("import numpy\n")
    (package.parent / "alone.py").write_text("import torch, theirs\n")
    (package / "counter.py").write_text(
        "import torch, numpy\nimport theirs.helper\nfrom flopledger.counters import tally\n"
    )
    found = {path.name for path in sources._followed(package / "counter.py")}
    assert found == {"__init__.py", "helper.py", "tally.py"}
    assert () == sources._followed(package.parent / "alone.py")


def test_a_file_too_deep_for_a_syntax_tree_is_digested_as_text(tmp_path: Path) -> None:
    """Tables that a program wrote nest a thousand sums; a traceback of six thousand lines helps nobody."""
    path = tmp_path / "table.py"
    path.write_text("X = " + "+".join(["1"] * 3000))
    before = sources._stamped(path)
    path.write_text("X = " + "+".join(["1"] * 3001))
    assert before != sources._stamped(path)
