"""Overlays: only what a release's own RECORD lists is imported; what is not sound is installed anew, or not at all."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from records import installed, seal

from flopledger.counters.engine import overlays
from flopledger.counters.engine.overlays import OverlayError, Unreachable, overlay, sound, split

FILES = {"mini/__init__.py": "number = 1\n", "mini/part.py": "", "bin/mini": "#!/bin/sh\n"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOPLEDGER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An installer that needs no network, and notes what it is asked for."""
    asked: list[str] = []

    def install(requirement: str, folder: Path) -> None:
        asked.append(requirement)
        name, _, release = requirement.partition("==")
        installed(folder, name, release, FILES)

    monkeypatch.setattr(overlays, "install", install)
    return asked


# --- damage


def other_release(place: Path) -> None:
    overlays.shutil.rmtree(place)
    installed(place, "mini", "2.0", FILES)


def second_release(place: Path) -> None:
    about = place / "other-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: other\nVersion: 1.0\n")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file is missing": lambda place: (place / "mini/part.py").unlink(),
    "a file is cut": lambda place: (place / "mini/__init__.py").write_text("number"),
    "a file is empty": lambda place: (place / "mini/__init__.py").write_text(""),
    "a file is another, as long": lambda place: (place / "mini/__init__.py").write_text("number = 2\n"),
    "a file more": lambda place: (place / "torch.py").write_text(""),
    "a folder more": lambda place: (place / "torch").mkdir(),
    "a link more": lambda place: (place / "torch").symlink_to(place / "mini"),
    "bytecode beside its source": lambda place: (place / "mini/part.pyc").write_bytes(b"x"),
    "no RECORD": lambda place: next(place.glob("*.dist-info/RECORD")).unlink(),
    "a RECORD of nothing": lambda place: next(place.glob("*.dist-info/RECORD")).write_text(""),
    "a RECORD that is no text": lambda place: next(place.glob("*.dist-info/RECORD")).write_bytes(b"\xff\0\n"),
    "no METADATA": lambda place: (next(place.glob("*.dist-info/METADATA")).unlink(), seal(place)),
    "an empty folder": lambda place: (overlays.shutil.rmtree(place), place.mkdir()),
    "a file in its place": lambda place: (overlays.shutil.rmtree(place), place.write_text("")),
    "a link to nothing": lambda place: (overlays.shutil.rmtree(place), place.symlink_to("nothing")),
    "another release": other_release,
    "two releases": second_release,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_overlay_is_installed_anew(
    damage: Callable[[Path], object], installs: list[str], tmp_path: Path
) -> None:
    """A count by half a library, or by another release, would be filed under this one for ever."""
    place = overlay("mini", "1.0")
    damage(place)
    assert not sound(place, "mini", "1.0")
    assert place == overlay("mini", "1.0")
    assert sound(place, "mini", "1.0")
    assert ["mini==1.0"] * 2 == installs
    assert [".lock", "mini-1.0"] == sorted(path.name for path in place.parent.iterdir())


def test_what_is_sound_is_left_alone(installs: list[str]) -> None:
    """The second time must work without a network; names and versions are compared as PEP 503 and PEP 440 have it."""
    place = overlay("mini", "1.0")
    assert place == overlay("mini", "1.0")
    assert ["mini==1.0"] == installs
    assert sound(place, "Mini", "1.0.0")
    assert not sound(place, "mini", "1.0.1")
    assert not sound(place, "other", "1.0")


def test_pip_moves_scripts_and_leaves_their_names(tmp_path: Path) -> None:
    """`pip install --target` puts into bin/x what it writes into the RECORD as ../../bin/x; higher up is damage."""
    place = installed(tmp_path / "mini", "mini", "1.0", FILES)
    record = place / "mini-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text().replace("bin/mini,", "../../bin/mini,"))
    assert sound(place, "mini", "1.0")
    record.write_text(record.read_text().replace("../../bin/mini,", "../../../bin/mini,"))
    assert not sound(place, "mini", "1.0")


def test_damage_without_a_network_is_said(installs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a train, too, nothing is counted by what is damaged, and the line says why."""
    place = overlay("mini", "1.0")
    (place / "mini" / "part.py").unlink()

    def offline(requirement: str, folder: Path) -> None:
        raise Unreachable(f"cannot install {requirement}: the package index cannot be reached")

    monkeypatch.setattr(overlays, "install", offline)
    with pytest.raises(Unreachable, match=r"mini-1\.0 is damaged, and cannot install mini==1\.0: the package index"):
        overlay("mini", "1.0")
    assert place.is_dir()


def test_what_was_installed_is_looked_at_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pip that is set up to install elsewhere, or an index that gives another release, leaves nothing to find."""
    monkeypatch.setattr(overlays, "install", lambda requirement, folder: installed(folder, "mini", "1.1", FILES))
    with pytest.raises(Unreachable, match="is not that release"):
        overlay("mini", "1.0")
    assert [] == [*(cache / "overlays").iterdir()]


def test_of_two_that_find_it_damaged_the_later_takes_nothing_away(
    installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier one is importing from what it has put there."""
    place = overlay("mini", "1.0")
    (place / "mini" / "part.py").unlink()
    plain = overlays.install
    mark = place / "mini" / "__init__.py"
    times: list[int] = []

    def overtaken(requirement: str, folder: Path) -> None:
        plain(requirement, folder)
        if not times:
            times.append(0)
            overlay("mini", "1.0")
            times.append(mark.stat().st_ino)

    monkeypatch.setattr(overlays, "install", overtaken)
    overlay("mini", "1.0")
    assert ["mini==1.0"] * 3 == installs
    assert times[1] == mark.stat().st_ino


def test_bytecode_in_an_overlay_is_not_run(installs: list[str], tmp_path: Path) -> None:
    """Python runs a .pyc whose source has the size and time it says; no RECORD has a hash of it."""
    place = overlay("mini", "1.0")
    module = place / "mini" / "__init__.py"
    about = module.stat()
    module.write_text("number = 6\n")
    os.utime(module, ns=(about.st_atime_ns, about.st_mtime_ns))
    py_compile.compile(str(module))
    run = f"import sys; sys.path.insert(0, {str(place)!r}); import mini; print(mini.number)"
    module.write_text("number = 1\n")
    os.utime(module, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert "6\n" == subprocess.run([sys.executable, "-c", run], capture_output=True, text=True).stdout
    overlay("mini", "1.0")
    assert "1\n" == subprocess.run([sys.executable, "-c", run], capture_output=True, text=True).stdout
    assert ["mini==1.0"] == installs


PROCESS = """
import sys
from flopledger.counters.engine import overlays
overlays.put_first({place!r})
import {module}
print(overlays.came_from({place!r}))
"""


@pytest.mark.parametrize(("module", "printed"), [("mini.part", "True\n"), ("mini.extra", "False\n")])
def test_what_was_imported_is_in_the_record(module: str, printed: str, installs: list[str]) -> None:
    """A file that comes between the look and the import is found out; and importing leaves nothing behind."""
    place = overlay("mini", "1.0")
    (place / "mini" / "extra.py").write_text("")
    program = PROCESS.format(place=str(place), module=module)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert printed == done.stdout, done.stderr
    assert [] == [*place.rglob("__pycache__")]


@pytest.mark.alone
def test_looking_costs_milliseconds(tmp_path: Path) -> None:
    """It is done before every job of a release; fvcore has 33 files, 300 kB."""
    files = {f"mini/part{i}.py": "x = 1\n" * 1500 for i in range(33)}
    place = installed(tmp_path / "mini", "mini", "1.0", files)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert sound(place, "mini", "1.0")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


# --- names and places


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("thop", ("thop", None)),
        ("thop==0.1.1-2209072238", ("thop", "0.1.1.post2209072238")),
        ("thop== 1.0", ("thop", "1.0")),
        (" thop == 1.0 ", ("thop", "1.0")),
        ("thop==1!2.0+cpu", ("thop", "1!2.0+cpu")),
    ],
)
def test_a_release_is_named_as_pep_440_has_it(name: str, parts: tuple[str, str | None]) -> None:
    """The spelling of the index and that of a user are one release, with one overlay and one result."""
    assert parts == split(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("thop==", "is not a version"),
        ("==1", "no counter is named"),
        ("thop==1.0==2", "is not a version"),
        ("thop==1.*", "is not a version"),
        ("thop===1.0", "is not a version"),
        ("thop==" + "1" * 5000, "is not a version"),
        ("thop==1." * 2000, "is not a version"),
        ("thop==1.0\x1b[2J\n", "is not a version"),
        ("thop==../../1", "is not a version"),
        ("thop==１.0", "is not a version"),
    ],
)
def test_what_is_no_release_is_one_short_line(name: str, said: str) -> None:
    """packaging raises another error for five thousand digits; a terminal must not get what was typed."""
    with pytest.raises(OverlayError, match=said) as error:
        split(name)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200


@given(st.text() | st.text().map("thop=={}".format) | st.from_regex(r"[a-z]*==[0-9a-z.!+_-]*\s*"))
@example("thop==1" + "0" * 4999)
def test_no_text_makes_it_raise_another_error(name: str) -> None:
    """Names come from command lines, documents and configuration files."""
    try:
        counter, release = split(name)
    except OverlayError as error:
        assert str(error).isprintable()
    else:
        assert release is None or (counter, release) == split(f"{counter}=={release}")


@pytest.mark.parametrize(
    ("distribution", "release"),
    [
        ("../x", "1.0"),
        ("..", "1.0"),
        ("mini", "../../1"),
        ("/etc", "1"),
        ("mini", "1/../../2"),
        ("-r x", "1"),
        ("", "1"),
    ],
)
def test_no_name_leaves_the_folder_of_overlays(distribution: str, release: str, cache: Path) -> None:
    """A counter's author names the distribution; pip must not be sent elsewhere by it, nor be given an option."""
    assert cache / "overlays" == overlays.where(distribution, release).resolve().parent
    with pytest.raises(OverlayError):
        overlay(distribution, release)
    assert not cache.exists()


def test_the_cache_is_one_place_wherever_a_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative FLOPLEDGER_CACHE is against the command's working directory, and ~ is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value, place in (
        ("here", "here"),
        ("~/there", "home/there"),
        ("~no-such-user-of-this-name/x", "~no-such-user-of-this-name/x"),
    ):
        monkeypatch.setenv("FLOPLEDGER_CACHE", value)
        assert tmp_path / place == overlays.cache()
