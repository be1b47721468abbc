"""Model specs and shapes: what people type, and the one line they get when it stands for nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flopledger.counters import registry
from flopledger.reference_model.inputs import Input
from flopledger.reference_model.names import SpecError, nearest
from flopledger.reference_model.subject import Spec, split

DTYPES = [
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "complex128",
]
small_shapes = st.lists(st.integers(1, 64), min_size=1, max_size=6).map(tuple)
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


@given(small_shapes, st.sampled_from(DTYPES))
def test_shapes_read_back_as_written(shape: tuple[int, ...], dtype: str) -> None:
    """Shapes stand as text in run documents; reading one must give the same input again."""
    value = Input(shape, dtype)
    assert value == Input.parse(str(value))


@given(small_shapes, st.sampled_from(DTYPES), st.sampled_from(["{}", " {}\n", "\t{}"]))
def test_shapes_do_not_depend_on_case_or_blanks_around(shape: tuple[int, ...], dtype: str, form: str) -> None:
    """Shapes are pasted from papers and shells."""
    text = form.format(f"{'X'.join(map(str, shape))}:{dtype.upper()}")
    assert Input(shape, dtype) == Input.parse(text)


@given(st.text(max_size=12))
def test_any_text_is_a_shape_or_a_spec_error(text: str) -> None:
    """Whatever is typed gives an answer or one line, never another exception."""
    try:
        value = Input.parse(text)
    except SpecError as error:
        one_line(error)
    else:
        assert all(size >= 0 for size in value.shape)


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "1x", "x3", "1xx3", "1,3,224", "1×3", "-1x3", "1.5x3", "axb", "1x3:", ":int64", "1x3:int64:x",
     "1 x 3", "(1, 3)", "1x3x224x224;1", "1e3", "1x3:5"],
)  # fmt: skip
def test_a_shape_that_is_none_says_what_one_looks_like(text: str) -> None:
    """The message must carry an example that can be typed as it stands."""
    with pytest.raises(SpecError) as caught:
        Input.parse(text)
    message = one_line(caught.value)
    assert repr(text) in message
    assert "like 1x3x416x416" in message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1x3:float23", "did you mean float32"),
        ("1x3:int46", "did you mean int64"),
        ("1x3:long", "no dtype 'long'"),
        ("1000000x1000000x1000000", "1,000,000,000,000,000,000 elements"),
    ],
)
def test_a_wrong_size_or_dtype_says_what_would_do(text: str, hint: str) -> None:
    """Each way of being wrong has its own hint."""
    with pytest.raises(SpecError) as caught:
        Input.parse(text)
    assert hint in one_line(caught.value)


@pytest.mark.parametrize("text", ["9" * 5000, "1x" * 5000 + "1", "9" * 4000 + "x" + "9" * 4000])
def test_a_very_long_shape_is_one_short_line(text: str) -> None:
    """Python refuses to convert integers of many digits, with a ValueError of its own."""
    try:
        Input.parse(text)
    except Exception as error:
        assert SpecError is type(error)
        assert "sys.set_int_max_str_digits" not in one_line(error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_have_the_shape_and_dtype_asked_for(dtype: str) -> None:
    """Real inputs are valid for a network of that dtype: noise for floats, index 0 for integers."""
    for device in ("meta", "cpu"):
        tensor = Input((2, 3), dtype).tensor(device)
        known = "cpu" if dtype.startswith(("int", "uint", "bool")) else device
        assert ((2, 3), dtype, known) == (tuple(tensor.shape), str(tensor.dtype)[6:], tensor.device.type)
    if dtype.startswith(("float", "bfloat")):
        assert tensor.unique().numel() > 1
        assert torch.equal(tensor, Input((2, 3), dtype).tensor("cpu"))
    elif not dtype.startswith("complex"):
        assert tensor.sum() == 0


def test_tensor_does_not_touch_the_global_generator() -> None:
    """A caller's random numbers must not depend on whether something was counted before."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Input((4,)).tensor("cpu")
    assert torch.equal(expected, torch.rand(3))


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
    """Wrong names get the nearest ones; errors in the user's own code are quoted, first line only."""
    (here / "broken_model_file.py").write_text("1 / 0\n")
    (here / "syntax_model_file.py").write_text("def make(:\n")
    with pytest.raises(SpecError) as caught:
        Spec.parse(text, ["1x4"]).build("meta")
    assert hint in one_line(caught.value)
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
