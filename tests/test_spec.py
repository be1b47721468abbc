"""Model specs and shapes: what people type, and the one line they get when it stands for nothing."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flopledger.counters import registry
from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.subject import Spec, split

FILE = """
import torch
from torch import nn

def make(width=3, name="a"):
    layer = nn.Linear(4, width)
    layer.label = name
    return layer

class Nested:
    class Net(nn.Module):
        def forward(self, x):
            return x

def raises():
    raise RuntimeError("first line\\nsecond line")

def silent():
    raise KeyError()

def number():
    return 3

def reads_a_value():
    return nn.Linear(4, int(torch.ones(3).sum().item()))

constant = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model file in it, as the current one; imports of it are undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "toy_model_file.py").write_text(FILE)
    yield tmp_path
    sys.modules.pop("toy_model_file", None)


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mobilenet_v2", ("", "mobilenet_v2", {})),
        ("mobilenet_v2?width_mult=0.35&num_classes=7", ("", "mobilenet_v2", {"width_mult": 0.35, "num_classes": 7})),
        ("mobilenet_v2?pooling=mean", ("", "mobilenet_v2", {"pooling": "mean"})),
        ("mobilenet_v2?pooling='mean'", ("", "mobilenet_v2", {"pooling": "mean"})),
        ("mobilenet_v2?", ("", "mobilenet_v2", {})),
        ("mobilenet_v2?a=None&b=True&c=[1,(2,3)]", ("", "mobilenet_v2", {"a": None, "b": True, "c": [1, (2, 3)]})),
        ("mobilenet_v2?a=x=y", ("", "mobilenet_v2", {"a": "x=y"})),
        ("torchvision:resnet50", ("torchvision", "resnet50", {})),
        ("package.module:Outer.Net?depth=3", ("package.module", "Outer.Net", {"depth": 3})),
    ],
)
def test_split_takes_a_spec_apart(text: str, expected: tuple[str, str, dict[str, object]]) -> None:
    """Arguments are Python literals where they can be read as such, and text where not."""
    assert expected == split(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "write a name like mobilenet_v2"),
        ("?width_mult=1", "write a name like mobilenet_v2"),
        (":", "write a name like mobilenet_v2"),
        (":make", "write a name like mobilenet_v2"),
        ("torchvision:", "write a name like mobilenet_v2"),
        ("mobilenet_v3", "did you mean mobilenet_v2"),
        ("mobilenetv2", "did you mean mobilenet_v2"),
        ("qqqq", "there is mobilenet_v2"),
        ("a\nb", "there is mobilenet_v2"),
        ("mobilenet_v2?width", "'width' is not key=value"),
        ("mobilenet_v2?1a=3", "'1a=3' is not key=value"),
        ("mobilenet_v2?a=1&=3", "'=3' is not key=value"),
        ("net.py", "like net.py:make"),
        ("no/such/net.py:make", "no file 'no/such/net.py'"),
    ],
)
def test_a_bad_spec_is_one_line_with_a_hint(text: str, hint: str) -> None:
    """A user who mistypes must read what would be right, without waiting for torch."""
    with pytest.raises(SpecError) as caught:
        Spec.parse(text)
    assert hint in one_line(caught.value)


def test_a_torchvision_name_without_its_prefix_is_suggested_with_it() -> None:
    """`resnet50` alone is the likeliest of all wrong names; the answer is `torchvision:resnet50`."""
    with pytest.raises(SpecError) as caught:
        Spec.parse("resnet50")
    assert "torchvision:resnet50" in one_line(caught.value)


@given(st.text(max_size=20))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    """Whatever is typed gives an answer or one line, never another exception."""
    try:
        Spec.parse(text)
    except SpecError as error:
        one_line(error)


def test_spec_without_inputs_takes_the_default() -> None:
    """`flopledger report` with nothing after it is the main job: 1x3x416x416."""
    assert ("1x3x416x416",) == Spec.parse().inputs
    assert ("1x3x416x416",) == Spec.parse("mobilenet_v2", []).inputs
    assert ("2x3", "5:int64") == Spec.parse("mobilenet_v2", ["2x3", "5:int64"]).inputs


def test_arguments_reach_the_constructor() -> None:
    """A query that were ignored would give the default network's numbers without a word."""
    model, (x,), _ = Spec.parse("mobilenet_v2?width_mult=0.35&num_classes=7&pooling=mean", ["2x3x32x32"]).build("meta")
    assert tuple(model(x).shape) == (2, 7)
    assert model.avgpool is None
    assert model.features[0][0].out_channels == 16
    assert not model.training


def test_meta_build_allocates_nothing() -> None:
    """A specification of a huge model must be traceable on a laptop."""
    model, inputs, _ = Spec.parse("mobilenet_v2", ["64x3x2048x2048"]).build("meta")
    assert {"meta"} == {t.device.type for t in [*model.parameters(), *model.buffers(), *inputs]}


def test_build_is_seeded() -> None:
    """Two jobs build the model in two processes; both must count the same weights."""
    first, second = (Spec.parse("mobilenet_v2?width_mult=0.1").build("cpu")[0].state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mobilenet_v2?width_mult=-1", "width_mult must be a number above 0"),
        ("mobilenet_v2?wdith_mult=1", "wdith_mult"),
        ("torchvision:resnet55", "did you mean"),
        ("torchvision:resnet18?nonsense=1", "nonsense"),
        ("toy_model_file.py:maek", "did you mean make?"),
        ("toy_model_file.py:Nested.Nett", "did you mean Net?"),
        ("toy_model_file.py:constant", "is a int; it must be a function or class"),
        ("toy_model_file.py:number", "gave int, not a torch.nn.Module"),
        ("toy_model_file.py:raises", "RuntimeError: first line"),
        ("toy_model_file.py:silent", "KeyError"),
        ("toy_model_file.py:make?depth=3", "depth"),
        ("toy_module_nowhere:make", "No module named 'toy_module_nowhere'"),
        ("broken_model_file.py:make", "ZeroDivisionError"),
        ("syntax_model_file.py:make", "SyntaxError"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(here: Path, text: str, hint: str) -> None:
    """Wrong names get the nearest ones; errors in the user's own code are quoted, first line only, with their place."""
    (here / "broken_model_file.py").write_text("1 / 0\n")
    (here / "syntax_model_file.py").write_text("def make(:\n")
    with pytest.raises(SpecError) as caught:
        Spec.parse(text, ["1x4"]).build("meta")
    said, *place = str(caught.value).splitlines()
    assert hint in said
    assert place == [] or (len(place) == 1 and re.match(r"\w+_model_file\.py:\d+, in \S+: ", place[0]))
    sys.modules.pop("broken_model_file", None)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("toy_model_file.py:make", "Linear"),
        ("./toy_model_file.py:make?width=9&name=b", "Linear"),
        ("toy_model_file.py:Nested.Net", "Net"),
        ("toy_model_file.py:reads_a_value", "Linear"),
        ("torch.nn:Identity", "Identity"),
    ],
)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_models_from_files_and_packages(here: Path, text: str, kind: str, device: str) -> None:
    """A user's own model is named by its file, with arguments, on either device."""
    model, (x,), _ = Spec.parse(text, ["2x4"]).build(device)
    assert kind == type(model).__name__
    assert {device} <= {t.device.type for t in [x, *model.parameters()]}
    if "width=9" in text:
        assert (model.out_features, model.label) == (9, "b")
    assert isinstance(model, nn.Module)


def test_a_model_file_imports_its_neighbours(here: Path) -> None:
    """A research repository's model file imports the file beside it, from whichever folder it is run."""
    (here / "sub").mkdir()
    (here / "sub" / "neighbour_of_net.py").write_text("WIDTH = 6\n")
    (here / "sub" / "net_with_neighbour.py").write_text(
        "from torch import nn\nfrom neighbour_of_net import WIDTH\ndef make(): return nn.Linear(4, WIDTH)\n"
    )
    model, _, _ = Spec.parse("sub/net_with_neighbour.py:make", ["1x4"]).build("meta")
    assert model.out_features == 6
    for name in ("neighbour_of_net", "net_with_neighbour"):
        sys.modules.pop(name, None)


def test_nearest_names_come_best_first_and_not_at_all_when_far() -> None:
    """A far-fetched suggestion is worse than none."""
    assert nearest("resnet5", ["vgg16", "resnet101", "resnet50"]) == "; did you mean resnet50, resnet101?"
    assert nearest("zzz", ["vgg16", "resnet101"]) == ""


def test_a_model_in_a_package_is_a_member_of_it(here: Path) -> None:
    """Research code is a package with relative imports; its files are named from whichever folder one is in."""
    package = here / "toy_pack" / "nets"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package.parent / "sizes.py").write_text("WIDTH = 6\n")
    (package / "net.py").write_text(
        "from torch import nn\nfrom ..sizes import WIDTH\nfrom toy_pack import sizes\n"
        "def make(): return nn.Linear(4, WIDTH if sizes.WIDTH == WIDTH else 0)\n"
    )
    model, _, _ = Spec.parse("toy_pack/nets/net.py:make", ["1x4"]).build("meta")
    assert model.out_features == 6
    for name in ("toy_pack", "toy_pack.nets", "toy_pack.sizes", "toy_pack.nets.net"):
        sys.modules.pop(name)


@pytest.fixture
def repository(here: Path) -> Path:
    """Research code without a single `__init__.py`, in the current folder."""
    for path, text in {
        "models/net.py": "from .blocks import WIDTH\nfrom . import blocks\n",
        "models/blocks.py": "from .deep.head import WIDTH\n",
        "models/deep/head.py": "WIDTH = 6\n",
        "models/deep/up.py": "from ..blocks import WIDTH\n",
        "models/beside.py": "from blocks_beside import WIDTH\nfrom helpers.sizes import SIX\n",
        "models/blocks_beside.py": "WIDTH = 6\n",
        "models/helpers/sizes.py": "SIX = 6\n",
        "models/absolute.py": "from models.deep.head import WIDTH\n",
        "my-nets.v2/net.py": "from .head import WIDTH\n",
        "my-nets.v2/head.py": "WIDTH = 6\n",
        "torch/net.py": "from .head import WIDTH\n",
        "torch/head.py": "WIDTH = 6\n",
    }.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(f"{text}from torch import nn\ndef make(): return nn.Linear(4, WIDTH)\n")
    return here


@pytest.mark.parametrize(
    "path",
    [
        "models/net.py",
        "models/deep/up.py",
        "models/beside.py",
        "models/absolute.py",
        "my-nets.v2/net.py",
        "torch/net.py",
    ],
)
def test_a_file_imports_as_its_author_meant(repository: Path, path: str) -> None:
    """Most repositories have relative imports and no `__init__.py`, and run from their top; names may clash."""
    before = dict(sys.modules)
    try:
        model, _, _ = Spec.parse(f"{path}:make", ["1x4"]).build("meta")
        assert model.out_features == 6
        assert sys.modules["torch"] is torch
    finally:
        for name in sys.modules.keys() - before.keys():
            if str(repository) in str(
                getattr(sys.modules[name], "__path__", getattr(sys.modules[name], "__file__", ""))
            ):
                del sys.modules[name]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["net.pt2", "net.pt", "net.ts"])
def test_a_saved_program_is_a_model(here: Path, name: str) -> None:
    """What is deployed is an exported program or a script; it needs no code of its author's."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU()).eval()
    if name.endswith(".pt2"):
        torch.export.save(torch.export.export(model, (torch.rand(2, 4),)), here / name)
        spec, why = Spec.parse(name).filled()
        assert (("2x4",), "what it was exported with") == (spec.inputs, why)
    else:
        torch.jit.save(torch.jit.script(model), here / name)
        with pytest.raises(SpecError, match="name its inputs"):
            Spec.parse(name)
    for device in ("meta", "cpu"):
        module, args, _ = Spec.parse(name, ["2x4"]).build(device)
        assert ((2, 6), {device}) == (tuple(module(*args).shape), {p.device.type for p in module.parameters()})


class Runs:
    """What runs as soon as it is unpickled."""

    def __reduce__(self) -> object:
        return (Path.touch, (Path("ran").absolute(),))


@pytest.mark.parametrize("name", ["net.pt2", "net.pt", "net.ts"])
def test_nothing_pickled_in_a_saved_program_runs(here: Path, name: str) -> None:
    """`torch.save(model)` gives such files; what is in them is named by a function instead."""
    torch.save(Runs(), here / name)
    with pytest.raises(SpecError) as caught:
        Spec.parse(name, ["2x4"]).build("cpu")
    one_line(caught.value)
    assert not (here / "ran").exists()


def test_nothing_pickled_in_an_exported_program_runs(here: Path) -> None:
    """torch loads the tensors in it anew as pickles of anything where they are not of tensors alone."""
    torch.export.save(torch.export.export(nn.Linear(4, 6), (torch.rand(2, 4),)), here / "net.pt2")
    hidden = io.BytesIO()
    torch.save(Runs(), hidden)
    with zipfile.ZipFile(here / "net.pt2") as genuine, zipfile.ZipFile(here / "bad.pt2", "w") as bad:
        for entry in genuine.infolist():
            sample = "sample_inputs" in entry.filename
            bad.writestr(entry, hidden.getvalue() if sample else genuine.read(entry))
    with pytest.raises(SpecError):
        Spec.parse("bad.pt2", ["2x4"]).build("cpu")
    assert not (here / "ran").exists()
    with suppress(Exception):  # of a warning that torch writes wrongly
        torch.export.load(here / "bad.pt2")
    assert (here / "ran").exists()  # or this would show nothing


def test_a_package_called_like_one_of_pythons_is_the_users(here: Path) -> None:
    """`test/` and `types.py` are names that people take; a file of such a name is still the one that is meant."""
    for folder, name in ((here / "colorsys_like", "net"), (here, "types")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text("from torch import nn\ndef make(): return nn.Linear(4, 9)\n")
    (here / "colorsys_like").rename(here / "turtledemo")
    (here / "turtledemo" / "__init__.py").write_text("")
    genuine = sys.modules["types"]
    for text in ("turtledemo/net.py:make", "types.py:make"):
        model, _, _ = Spec.parse(text, ["1x4"]).build("meta")
        assert model.out_features == 9
    assert sys.modules["types"] is genuine
    for name in ("turtledemo", "turtledemo.net"):
        sys.modules.pop(name)


def test_a_file_that_was_edited_is_read_again(here: Path) -> None:
    """A notebook lives on while the file beside it is edited."""
    for width in (4, 55):
        (here / "toy_model_file.py").write_text(
            f"from torch import nn\ndef make(): return nn.Linear(4, {width}){' ' * width}\n"
        )
        model, _, _ = Spec.parse("toy_model_file.py:make", ["1x4"]).build("meta")
        assert width == model.out_features


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("toy_counter.py:Mien", "toy_counter.py has no 'Mien'; did you mean Mine?"),
        ("toy_counter.py:number", "is no class with a method `count`"),
        ("toy_counter.py:Needs", "cannot be made: TypeError"),
        ("no_such_counter.py:Mine", "no file 'no_such_counter.py'"),
        ("raising_counter.py:Mine", "RuntimeError: first line"),
        ("leaving_counter.py:Mine", "SystemExit: 3"),
        ("toy_module_nowhere:Mine", "No module named 'toy_module_nowhere'"),
        ("thpo", "did you mean thop?"),
    ],
)
def test_a_counter_that_cannot_be_had_is_one_line(here: Path, text: str, hint: str) -> None:
    """Counters are named as models are, and mistyped as often."""
    (here / "toy_counter.py").write_text(
        "number = 3\nclass Mine:\n    def count(self): ...\n"
        "class Needs:\n    def __init__(self, what): ...\n    def count(self): ...\n"
    )
    (here / "raising_counter.py").write_text("raise RuntimeError('first line\\nsecond')\n")
    (here / "leaving_counter.py").write_text("raise SystemExit(3)\n")
    assert "Mine" == type(registry.get("toy_counter.py:Mine")).__name__
    with pytest.raises(registry.UnknownCounter) as caught:
        registry.get(text)
    assert hint in one_line(caught.value)
