"""What goes into a model: how it is written, what it stands for, and how a counter gets it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from flopledger.counters.engine import kept
from flopledger.counters.engine.positional import positional
from flopledger.reference_model import inputs
from flopledger.reference_model.inputs import made, parsed
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.notation import Input, Stored, parse, text_of
from flopledger.reference_model.running import trace
from flopledger.reference_model.subject import Spec
from flopledger.reports import compare as comparing
from flopledger.reports.documents.run import Model, check_model

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
    "uint16",
    "uint32",
    "uint64",
    "float8_e4m3fn",
    "float8_e5m2",
]
small_shapes = st.lists(st.integers(0, 64), max_size=6).map(tuple)


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
    text = form.format(f"{'X'.join(map(str, shape)) or 'Scalar'}:{dtype.upper()}")
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
    again = Input((2, 3), dtype).tensor("cpu")
    values = set(tensor.to(torch.complex64).flatten().tolist())
    assert values == set(again.to(torch.complex64).flatten().tolist())
    assert (values == {0}) == dtype.startswith(("int", "uint", "bool"))


def test_tensor_does_not_touch_the_global_generator() -> None:
    """A caller's random numbers must not depend on whether something was counted before."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Input((4,)).tensor("cpu")
    assert torch.equal(expected, torch.rand(3))


names = st.from_regex(r"[a-z_]\w{0,5}", fullmatch=True).filter(str.isidentifier)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
drawn = st.builds(
    Input,
    small_shapes,
    st.sampled_from(["int64", "int16"]),
    st.tuples(st.integers(-99, 0), st.integers(1, 99)),
)
filled = st.builds(Input, small_shapes, st.just("float64"), st.none(), st.floats(allow_nan=False))
listed = st.lists(st.integers(0, 255), max_size=4).map(lambda n: Input((len(n),), "uint8", None, tuple(n)))
stored = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).map(lambda name: Stored(f"{name}.npy"))
leaves = st.one_of(plain, drawn, filled, listed, stored, st.builds(Input, small_shapes, st.sampled_from(DTYPES)))
nests = st.recursive(
    leaves,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.lists(inside, max_size=3).map(tuple),
        st.dictionaries(names, inside, max_size=3),
    ),
    max_leaves=6,
)


@given(nests)
def test_every_nest_reads_back_as_written(value: Any) -> None:
    """Documents hold texts, and a baseline is counted again from them."""
    assert value == parse(text_of(value), alone=False)


@given(st.lists(st.text(max_size=20), max_size=2))
def test_any_texts_are_inputs_or_a_spec_error(texts: list[str]) -> None:
    """Whatever is typed gives an answer or one line; what is an answer is its own canonical text."""
    try:
        canonical = parsed(texts)
    except SpecError as error:
        one_line(error)
    else:
        assert canonical == parsed(canonical)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("=5", 5),
        ("-5", -5),
        ("true", True),
        ("null", None),
        ("'mean'", "mean"),
        ("='mean'", "mean"),
        ("scalar", Input(())),
        ("0x3", Input((0, 3))),
        ("2:int64=[5,3]", Input((2,), "int64", None, (5, 3))),
        ("1x3:bool=True", Input((1, 3), "bool", None, 1)),
        ("2[-1:1]", Input((2,), "float32", (-1, 1))),
        ("[3x2,3x4:int64[0:9]]", [Input((3, 2)), Input((3, 4), "int64", (0, 9))]),
        ("(1x2, [])", (Input((1, 2)), [])),
        ("(1x2,)", (Input((1, 2)),)),
        ("{image: 3x2, 'a b': =5, c: {}}", {"image": Input((3, 2)), "a b": 5, "c": {}}),
        ("@x.npy", Stored("x.npy")),
        ("@'a b.pt'", Stored("a b.pt")),
    ],
)
def test_what_a_text_stands_for(text: str, expected: object) -> None:
    """The grammar, form by form."""
    assert expected == parse(text)
    assert type(expected) is type(parse(text))


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (["n=5"], "write =5 for the number, 5:float32 for a vector"),
        (["(1, 3, 224, 224)"], "sizes have x between, like 1x3x416x416"),
        (["mode=mean"], "a text goes in quotation marks, like 'mean'"),
        (["1x3:int64[5:5]"], "nothing is in this range"),
        (["1x3:uint8[0:257]"], "257 is no uint8; they go from 0 to 255"),
        (["1x3:uint8=256"], "256 is no uint8; they go from 0 to 255"),
        (["1x3:int64=0.5"], "0.5 is no int64"),
        (["1x3:int64=x"], "'x' is no number"),
        (["1x3[0:inf]"], "'inf' is no number"),
        (["1x3:int64[0:9]=1"], "a range and values"),
        (["2:int64=[1,2,3]"], "has 3 values for 2 elements"),
        (["[1x3, 1x4"], "a ] is missing"),
        (["{1x3}"], "write name: value"),
        (["'abc"], "a quotation that does not end"),
        (["[" * 99 + "]" * 99], "nested too deeply"),
        (["x=1x3", "x=1x4"], "input 'x' is given twice"),
        (["@x.npy"], "no file 'x.npy'"),
        (["@x.csv"], "these are: .json, .toml, .pt"),
        (["x=1x3:float23"], "did you mean float32"),
        (["\udcff"], "is not text"),
    ],
)
def test_what_is_no_input_says_what_would_do(texts: list[str], hint: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Each way of being wrong has its own hint; a number that could be a shape is never taken for one by guessing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        parsed(texts)
    assert hint in one_line(caught.value)


def test_integers_are_drawn_from_their_range() -> None:
    """`ids - 1` fails on zeros; and two jobs must count the same tokens."""
    (), named = made(["ids=4x99:int64[1:7]", "mask=2:bool=1", "lengths=2:int64=[5,3]", "scale=0.5", "n==2"], "cpu")
    assert {1, 2, 3, 4, 5, 6} == set(named["ids"].flatten().tolist())
    assert torch.equal(named["ids"], made(["4x99:int64[1:7]"], "cpu")[0][0])
    assert ([True, True], [5, 3], 0.5, 2) == (*(named[n].tolist() for n in ("mask", "lengths")), *[0.5, named["n"]])


def test_on_meta_integers_have_their_values() -> None:
    """What a model does by a mask or by lengths is known; noise is not worth its memory."""
    args, named = made(["1x3", "[2x2, 2:int64=[5,3]]", "ids=1x4:int64[1:9]", "huge=100000x100000:int64"], "meta")
    assert ["meta", "meta", "cpu", "cpu", "meta"] == [t.device.type for t in inputs.tensors(args, named)]
    assert named["ids"].min() >= 1


def test_tables_hold_all_arguments(tmp_path: Path) -> None:
    """Nested structures are easier to keep in a file than to quote for a shell."""
    np.save(tmp_path / "x.npy", np.ones((2, 3), "float32"))
    table = {"image": ["3x2", "@x.npy"], "n": 5, "none": None, "mode": "'mean'", "deep": {"t": "(1x2, 1x3)"}}
    (tmp_path / "in.json").write_text(json.dumps(table))
    (tmp_path / "in.toml").write_text("image = ['3x2', '@x.npy']\nn = 5\nnone = 'None'\nmode = \"'mean'\"\n"
                                      "[deep]\nt = '(1x2, 1x3)'\n")  # fmt: skip
    expected = (f"image=[3x2, @{tmp_path}/x.npy]", "n==5", "none=None", "mode='mean'", "deep={t: (1x2, 1x3)}")
    assert expected == parsed([f"@{tmp_path}/in.json"]) == parsed([f"@{tmp_path}/in.toml"])
    (tmp_path / "list.json").write_text('["1x3", 5, {"a": "1x4"}]')
    assert ("1x3", "=5", "{a: 1x4}") == parsed([f"@{tmp_path}/list.json"])
    assert ("x=[1x3, =5, {a: 1x4}]",) == parsed([f"x=@{tmp_path}/list.json"])
    for name, text, hint in (("a", "{", "JSONDecodeError"), ("b", '{"x": "mean"}', "like 'mean'"), ("c", "3", "")):
        (tmp_path / f"{name}.json").write_text(text)
        if hint:
            with pytest.raises(SpecError) as caught:
                parsed([f"@{tmp_path}/{name}.json"])
            assert hint in one_line(caught.value)
    (tmp_path / "loop.json").write_text('["@loop.json"]')
    with pytest.raises(SpecError, match="no file of tensors"):
        parsed([f"@{tmp_path}/loop.json"])


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors", "pt"])
def test_tensors_come_from_files(ending: str, tmp_path: Path) -> None:
    """A real batch decides what a model with data in its path does."""
    tensors = {"ids": torch.arange(6).reshape(2, 3), "x": torch.ones(2, 3)}
    path = tmp_path / f"data.{ending}"
    if ending == "npy":
        np.save(path, tensors["ids"].numpy())
    elif ending == "npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif ending == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    texts = parsed([f"@{path}"])
    assert (f"@{path}",) == texts
    assert [str(path)] == inputs.files(texts)
    args, named = made(texts, "cpu")
    found = {"ids": args[0], "x": tensors["x"]} if ending == "npy" else named
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    args, named = made([f"all={texts[0]}", texts[0]], "meta")
    assert ["cpu"] * 2 == [t.device.type for t in inputs.tensors(args, named) if t.dtype == torch.int64]
    assert all(t.is_meta for t in inputs.tensors(args, named) if t.dtype == torch.float32)


class Runs:
    """What runs as soon as it is unpickled."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors", "pt"])
def test_nothing_pickled_in_a_file_of_tensors_runs(ending: str, tmp_path: Path) -> None:
    """Data is not code, whoever sent it."""
    path, ran = tmp_path / f"data.{ending}", tmp_path / "ran"
    if ending.startswith("np"):
        (np.save if ending == "npy" else np.savez)(path, np.array([Runs(ran)], dtype=object))  # type: ignore[operator]
    elif ending == "pt":
        torch.save(Runs(ran), path)
    else:
        path.write_bytes(pickle.dumps(Runs(ran)))
    with pytest.raises(SpecError, match="cannot read tensors from") as caught:
        made([f"@{path}"], "cpu")
    one_line(caught.value)
    assert not ran.exists()


def test_a_document_may_name_files_that_are_not_there() -> None:
    """Reading a document looks at no file that it names."""
    model = Model(spec="net.py:make", inputs=["x=@/no/such/file.npy", "ids=1x3:int64[0:9]"], params=1, device="meta")
    check_model(model)


def test_a_kept_result_is_of_these_inputs(tmp_path: Path) -> None:
    """Another range, another value and another content of a file are another question."""
    path = tmp_path / "x.npy"
    found = set()
    for texts in (["x=1x3:int64"], ["x=1x3:int64[0:9]"], ["x=1x3:int64=1"], ["1x3:int64"], [f"x=@{path}"]):
        np.save(path, np.zeros(3))
        found.add(kept.Keys().ledger(Spec.parse("mobilenet_v2", texts)))
    np.save(path, np.ones(3))
    found.add(kept.Keys().ledger(Spec.parse("mobilenet_v2", [f"x=@{path}"])))
    assert 6 == len(found)


class Named(nn.Module):
    """Takes what it takes by name, and gives a dict back."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 8)
        self.linear = nn.Linear(8, 4)

    def forward(self, *, ids: Any, mask: Any = None, scale: float = 1.0, mode: str = "") -> dict[str, Any]:
        x = self.embedding(ids - 1)
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        return {"logits": self.linear(x) * scale, "n": 3, "hidden": [x, {mode: x}]}


class Images(nn.Module):
    """Takes a list of images of any size, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: list[torch.Tensor], targets: Any = None) -> list[dict[str, torch.Tensor]]:
        return [{"boxes": self.conv(image[None])} for image in images]


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    name: str = "a"


class OfBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, batch: Batch, others: Any = ()) -> Batch:
        assert batch.name == "b"
        return Batch(self.linear(batch.x) + sum(others))


ids, mask = torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.bool)
packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
calls = pytest.mark.parametrize(
    ("model", "args", "kwargs", "names", "macs"),
    [
        (Named(), (), {"ids": ids, "mask": mask, "scale": 2.0, "mode": "a"}, ["ids", "mask"], 2 * 16 * 8 * 4),
        (Images(), ([torch.ones(3, 8, 8), torch.ones(3, 6, 5)],), {}, ["images_0", "images_1"], (36 + 12) * 4 * 27),
        (OfBatch(), (Batch(torch.ones(2, 4), "b"), (torch.ones(3), 1)), {}, ["batch_0", "others_1"], 2 * 4 * 3),
        (nn.Linear(4, 3), (torch.ones(2, 4),), {}, ["input"], 2 * 4 * 3),
        (nn.LSTM(4, 3), (packed,), {}, ["input_0"], 5 * 4 * 3 * (4 + 3)),
    ],
    ids=["by name", "a list of images", "a dataclass", "a tensor", "a packed sequence"],
)


@calls
def test_a_counter_gets_a_model_of_tensors(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str], macs: int
) -> None:
    """A counter's file takes `model(*inputs)` for granted; modules, names and state stay, and a copy is itself."""
    assert macs == trace(model, args, kwargs).total("macs")
    expected = inputs.tensors(model(*args, **kwargs))
    before = [(name, type(module)) for name, module in model.named_modules()], [*model.state_dict()]
    flat, tensors = positional(copy.deepcopy(model), args, kwargs)
    assert before == ([(name, type(module)) for name, module in flat.named_modules()], [*flat.state_dict()])
    assert names == list(inspect.signature(flat.forward).parameters)
    copied = copy.deepcopy(flat)
    for parameter in flat.parameters():
        parameter.data.zero_()
    for out in (copied(*tensors), copied(**dict(zip(names, tensors, strict=True)))):
        assert isinstance(out, torch.Tensor) or all(isinstance(leaf, torch.Tensor) for leaf in out)
        assert all(map(torch.equal, inputs.tensors(out), expected))
    assert len(inputs.tensors(copied(*tensors))) == len(expected)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Named(), {"ids": ids, "mask": mask, "scale": 2.0}),
        (Named(), {"ids": ids}),
        (Images(), ([torch.ones(3, 8, 8), torch.ones(3, 6, 5)],)),
        (Images(), ([torch.ones(3, 8, 8)],)),
    ],
    ids=["by name", "one by name", "a list of images", "a list of one"],
)
def test_every_counter_takes_any_arguments(model: nn.Module, given: Any) -> None:
    """Some bind arguments by position, some by name, one traces with torch.jit: all must take a dict and a list."""
    report = comparing.compare(model, given, keep=False)
    assert {"counted"} == {tally.status for tally in report.run.tallies}, report.frame().reason.to_dict()
    assert not [tally.name for tally in report.run.tallies if tally.failures]


@pytest.mark.parametrize(
    ("given", "kwargs", "expected"),
    [
        ({"ids": ids}, None, ["ids=2x16:int64"]),
        (UserDict(ids=ids), {"scale": 2.0}, ["ids=2x16:int64", "scale=2.0"]),
        (None, {"ids": ids, "mode": "a"}, ["ids=2x16:int64", "mode='a'"]),
    ],
)
def test_arguments_by_name_from_python(given: Any, kwargs: Any, expected: list[str]) -> None:
    """A tokenizer gives a batch that is a dict in all but name."""
    assert expected == comparing.compare(Named(), given, kwargs, counters=[]).run.model.inputs


def test_texts_from_python() -> None:
    """A spec's inputs are texts, plain values, or lists and dicts of them."""
    args, kwargs = comparing._arguments([["3x2", "3x4"], 5, "1x2"], {"x": "1x3", "n": 2, "d": {"a": "1x4"}})
    assert ["[3x2, 3x4]", "=5", "1x2", "x=1x3", "n==2", "d={a: 1x4}"] == inputs.written(args, kwargs)
    with pytest.raises(SpecError, match="a Tensor is no text of an input"):
        inputs.written([torch.ones(2)], {})


def test_what_goes_in_comes_from_the_model_or_is_asked_for() -> None:
    """resnet50 was counted at 416 by 416 without a word, and so was everybody's own model."""
    spec = Spec.parse("torchvision:resnet50")
    assert spec.inputs is None
    filled, why = spec.filled()
    assert (("1x3x224x224",), True) == (filled.inputs, "ResNet50_Weights" in str(why))
    with pytest.raises(SpecError) as caught:
        Spec.parse("torch.nn:Identity")
    assert "name its inputs, like -i 1x3x224x224" in one_line(caught.value)
