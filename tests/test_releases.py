"""Published releases in overlays: the article's numbers, and an environment that is never touched."""

from __future__ import annotations

import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest
from records import installed

from flopledger.counters.engine import overlays as releases
from flopledger.counters.engine.overlays import OverlayError, overlay, split
from flopledger.reports.compare import Report, compare

ARTICLE = "thop==0.0.31.post2005241907"
BEFORE, AFTER = "thop==0.0.5.post2110061705", "thop==0.1.1.post2209072238"


def compared(*names: str, model: str = "mobilenet_v2") -> Report:
    report = compare(model, counters=list(names))
    for tally in report.run.tallies:
        if tally.status == "unavailable":
            pytest.skip(f"{tally.name}: {tally.reason}")
        assert (tally.status, tally.reason) == ("counted", None)
    return report


def test_the_articles_number_comes_from_a_function_that_pools() -> None:
    """The founding riddle: no release prints 1,080,294,976 for the network as the article lists it."""
    report = compared(ARTICLE, "torchsummaryX", model="mobilenet_v2?pooling=mean")
    found = report.reconcile(ARTICLE, "torchsummaryX")
    assert [1_080_294_976, 1_034_246_688] == [t.total for t in report.run.tallies]
    assert (46_048_288, 0) == (found.difference, found.residual)
    assert {"batch_norm"} == {line.op for line in found.lines if line.difference}
    with_module = compared(ARTICLE)
    assert 1_080_512_576 == with_module.run.tallies[0].total
    assert ["collections.Iterable is collections.abc.Iterable, as before Python 3.10"] == (
        with_module.run.tallies[0].shims
    )


def test_two_releases_of_one_counter_stand_side_by_side() -> None:
    """thop's batch norm went from two to four operations per element; the lines must say so and add up."""
    report = compared(BEFORE, AFTER, "thop")
    found = report.reconcile(AFTER, BEFORE)
    (line,) = [line for line in found.lines if line.difference]
    assert ("batch_norm", "4·outputs", "2·outputs") == (line.op, line.left_formula, line.right_formula)
    assert (2 * 23_032_672, 0) == (found.difference, found.residual)
    assert all(t.verified.sites == t.verified.agree for t in report.run.tallies)
    assert [t.version for t in report.run.tallies][:2] == ["0.0.5.post2110061705", "0.1.1.post2209072238"]


def test_the_environment_is_not_touched() -> None:
    """An overlay is beside what is installed, or a comparison would change the thing compared."""
    before = {d.name: d.version for d in metadata.distributions()}
    compared(BEFORE)
    assert before == {d.name: d.version for d in metadata.distributions()}


def test_a_release_that_is_not_published_is_one_line() -> None:
    """A typing error in a version must not look like a broken machine."""
    report = compare("mobilenet_v2", "1x3x32x32", counters=["thop==99.9", "torch"])
    tally = report.run.tally("thop==99.9")
    assert tally.status == "unavailable"
    assert "thop==99.9" in str(tally.reason)
    assert "\n" not in str(tally.reason)
    assert report.run.tally("torch").status == "counted"


@pytest.mark.parametrize("name", ["thop==", "thop==abc", "thop==1.0,<2"])
def test_what_is_no_version_is_said(name: str) -> None:
    """pip would take some of these for something else."""
    with pytest.raises(OverlayError, match="is not a version"):
        split(name)


def test_torch_itself_has_no_overlay() -> None:
    """Another torch in a process that has torch loaded would be neither."""
    with pytest.raises(OverlayError, match="no overlays"):
        overlay("torch", "2.0.0")


@pytest.fixture
def installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A cache of its own, and an installer that only notes what it is asked for."""
    asked: list[str] = []

    def install(requirement: str, folder: Path) -> None:
        asked.append(requirement)
        name, _, release = requirement.partition("==")
        installed(folder, name, release, {"package.py": "whole = True\n"})

    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(releases, "install", install)
    return asked


def test_a_release_is_installed_once(installs: list[str], tmp_path: Path) -> None:
    """The second time must work without a network."""
    first, second = overlay("thop", "0.1.0"), overlay("thop", "0.1.0")
    assert first == second == tmp_path / "cache" / "overlays" / "thop-0.1.0"
    assert ["thop==0.1.0"] == installs


def test_an_install_that_dies_leaves_nothing_to_find(
    installs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half a package in the cache would be taken for a release for ever after."""

    def dying(requirement: str, folder: Path) -> None:
        (folder / "half.py").write_text("")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(releases, "install", dying)
        with pytest.raises(KeyboardInterrupt):
            overlay("thop", "0.1.0")
    assert [] == list((tmp_path / "cache" / "overlays").iterdir())
    assert (overlay("thop", "0.1.0") / "package.py").exists()


def test_two_that_want_one_release_at_once_both_get_it(installs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands in two terminals; the later rename finds the earlier one's folder."""
    barrier = threading.Barrier(2, timeout=10)
    plain = releases.install

    def together(requirement: str, folder: Path) -> None:
        plain(requirement, folder)
        barrier.wait()

    monkeypatch.setattr(releases, "install", together)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(overlay("thop", "0.1.0"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 == len(found)
    assert found[0] == found[1]
    assert releases.sound(found[0], "thop", "0.1.0")
    assert [] == [*found[0].parent.glob(".installing-*")]
    assert 2 == len(installs)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or read-only disk must not be a traceback."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "file"))
    with pytest.raises(OverlayError, match="cannot write to"):
        overlay("thop", "0.1.0")


def test_a_package_from_beside_the_overlay_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mini-1.0 and mini-1.0.1 begin alike; a count by the wrong one would be filed under the right one."""
    for version in ("1.0", "1.0.1"):
        installed(tmp_path / f"mini-{version}", "mini", version, {"mini_of_paths.py": ""})
    monkeypatch.syspath_prepend(tmp_path / "mini-1.0.1")
    import mini_of_paths  # type: ignore[import-not-found]  # noqa: F401

    assert releases.came_from(str(tmp_path / "mini-1.0.1"))
    assert not releases.came_from(str(tmp_path / "mini-1.0"))
    monkeypatch.delitem(sys.modules, "mini_of_paths")
    assert not releases.came_from(str(tmp_path / "mini-1.0.1"))
