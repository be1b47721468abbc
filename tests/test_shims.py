"""A shim lets a release run; it must not be able to change what it counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flopledger.counters import registry
from flopledger.counters.engine.plan import count_all
from flopledger.counters.shims import Shim, empty_module, forget, imported
from flopledger.reference_model.subject import Spec

ZOO = Path(__file__).parent / "zoo.py"
SHIMS = [
    (name, number, shim.name)
    for name in registry.names()
    for number, shim in enumerate(getattr(registry.get(name), "shims", ()))
]
# Where not the installed release: a fork runs from an overlay only, and torchsummaryX 1.3 needs its shim always, but
# 1.2 sums its table as well and needs it only where there are lists in it.
RELEASES = {"ultralytics-thop": "2.2.3", "torchsummaryX": "1.2.0"}
MODELS = {"mobilenet_v2": "1x3x64x64", f"{ZOO}:Layers": "2x3x9x9", f"{ZOO}:Recurrent": "3x4x6"}


@pytest.mark.parametrize(("counter", "number", "name"), SHIMS, ids=[f"{c}-{n}" for c, n, _ in SHIMS])
def test_a_shim_changes_no_count(counter: str, number: int, name: str) -> None:
    """Where a release runs with and without it, every part must be the same."""
    release = f"=={RELEASES[counter]}" if counter in RELEASES else ""
    shimmed = f"shimmed:{counter.replace('-', '_')}__{number}"
    checked = 0
    for model, shape in MODELS.items():
        _, (plain, helped) = count_all([counter + release, shimmed + release], Spec.parse(model, [shape]))
        if plain.status == "unavailable":
            pytest.skip(f"{plain.name}: {plain.reason}")
        if name not in plain.shims:
            checked += 1
            assert ("counted", plain.total) == (helped.status, helped.total), helped.reason
            assert plain.parts == helped.parts
            assert plain.params == helped.params
    assert checked


def test_as_few_shims_as_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim that nobody needed would be a lie in the tally."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wants_a_module.py").write_text("import not_there_at_all\nfrom not_there_at_all import anything\n")
    (tmp_path / "wants_nothing.py").write_text("")
    shims = (empty_module("something_else", "no reason"), empty_module("not_there_at_all", "it is never called"))
    assert [] == imported("wants_nothing", shims)
    assert ["not_there_at_all is an empty module: it is never called"] == imported("wants_a_module", shims)
    for name in ("wants_a_module", "wants_nothing", "not_there_at_all"):
        forget(name)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        imported("wants_a_module", shims[:1])


def test_a_shim_that_does_not_help_is_not_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that fails for two reasons must end with the second."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "never_right.py").write_text("raise ImportError('nothing helps')\n")
    useless = Shim("useless", lambda error: True, lambda: None)
    with pytest.raises(ImportError, match="nothing helps"):
        imported("never_right", (useless,))
    assert "never_right" not in sys.modules
