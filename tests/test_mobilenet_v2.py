"""The network itself: parameters as torchvision's, pooling both ways, arguments checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2 as theirs

from flopledger.reference_model.mobilenet_v2 import PAPER_SETTING, MobileNetV2, make_divisible, mobilenet_v2

VARIANTS: list[dict[str, Any]] = [
    {},
    {"width_mult": 0.35, "num_classes": 7},
    {"width_mult": 0.75, "num_classes": 1},
    {"width_mult": 1.4},
    {"width_mult": 0.5, "round_nearest": 4, "num_classes": 21},
    {"width_mult": 0.1, "round_nearest": 1, "num_classes": 3},
    {"inverted_residual_setting": [[1, 16, 1, 1], [6, 24, 2, 2]], "num_classes": 5},
]


def shapes(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_state_dict_has_torchvisions_names_shapes_and_order(options: dict[str, Any]) -> None:
    """Published weights load only if every name and shape is torchvision's; the oracle is torchvision itself."""
    with torch.device("meta"):
        assert shapes(theirs(**options)) == shapes(mobilenet_v2(**options))


@pytest.mark.parametrize("options", VARIANTS[1::2], ids=str)
@pytest.mark.parametrize("pooling", ["module", "mean"])
def test_weights_load_both_ways_and_give_equal_outputs(options: dict[str, Any], pooling: str) -> None:
    """Names alone do not show that blocks are wired alike; equal outputs from loaded weights do."""
    torch.manual_seed(0)
    original, ours, back = theirs(**options), mobilenet_v2(pooling=pooling, **options), theirs(**options)
    for module in original.modules():  # statistics that differ per channel, so that a mix-up shows
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    ours.load_state_dict(original.state_dict(), strict=True)
    back.load_state_dict(ours.state_dict(), strict=True)
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = original.eval()(x)
        torch.testing.assert_close(ours.eval()(x), expected)
        assert torch.equal(expected, back.eval()(x))
    assert expected.std() > 0


def test_pooling_choices_give_the_same_numbers() -> None:
    """The facts page compares counters on both forms, which is fair only if they are one function."""
    module, mean = mobilenet_v2(width_mult=0.35), mobilenet_v2(width_mult=0.35, pooling="mean")
    mean.load_state_dict(module.state_dict(), strict=True)
    x = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x), mean.eval()(x))


def test_pooling_mean_has_no_pooling_module() -> None:
    """An unused AdaptiveAvgPool2d would show in a counter's table and spoil the comparison."""
    kinds = {pooling: [type(m) for m in mobilenet_v2(pooling=pooling).modules()] for pooling in ("module", "mean")}
    assert kinds["module"].count(nn.AdaptiveAvgPool2d) == 1
    assert kinds["mean"].count(nn.AdaptiveAvgPool2d) == 0


def test_parameters_of_the_paper() -> None:
    """3,504,872 is the number that both counters of the 2020 article print."""
    assert sum(p.numel() for p in mobilenet_v2().parameters()) == 3_504_872


def test_strides_of_a_custom_setting_reach_the_feature_map() -> None:
    """A setting's stride, repeats and width must all be used, not only its length."""
    model = MobileNetV2(inverted_residual_setting=[(1, 16, 1, 1), (3, 24, 2, 2), (4, 40, 3, 2)], num_classes=4)
    with torch.no_grad():
        features = model.eval().features(torch.rand(1, 3, 64, 64))
    assert tuple(features.shape) == (1, 1280, 8, 8)
    assert len(model.features) == 1 + 6 + 1
    assert [block.use_res_connect for block in model.features[1:-1]] == [False, False, True, False, True, True]
    assert model.features[2].conv[0][0].out_channels == 3 * 16


def test_default_setting_is_the_papers() -> None:
    """Leaving the setting out and writing Table 2 down must be the same network."""
    with torch.device("meta"):
        written = shapes(mobilenet_v2(inverted_residual_setting=[list(row) for row in PAPER_SETTING]))
        assert written == shapes(mobilenet_v2())


def test_output_has_one_column_per_class() -> None:
    """The smallest legal classifier must work as well as the usual one."""
    with torch.no_grad():
        assert tuple(mobilenet_v2(num_classes=1, width_mult=0.1).eval()(torch.rand(3, 3, 32, 32)).shape) == (3, 1)


@pytest.mark.parametrize("value", [0.3, 1.6, 8, 11.2, 12, 33.6, 100, 319.9])
@pytest.mark.parametrize("divisor", [1, 4, 8, 24])
def test_make_divisible_rounds_as_the_authors_do(value: float, divisor: int) -> None:
    """Channel counts decide every other number; torchvision's own function is the oracle."""
    from torchvision.models._utils import _make_divisible

    assert _make_divisible(value, divisor) == make_divisible(value, divisor)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_classes", 0),
        ("num_classes", -1),
        ("num_classes", 10.0),
        ("num_classes", True),
        ("num_classes", "10"),
        ("num_classes", None),
        ("round_nearest", 0),
        ("round_nearest", 2.5),
        ("round_nearest", False),
        ("width_mult", 0),
        ("width_mult", -0.5),
        ("width_mult", float("nan")),
        ("width_mult", float("inf")),
        ("width_mult", "1.0"),
        ("width_mult", None),
        ("width_mult", 1j),
        ("dropout", -0.1),
        ("dropout", 1),
        ("dropout", float("nan")),
        ("dropout", "0.2"),
        ("pooling", "max"),
        ("pooling", None),
        ("pooling", ["mean"]),
        ("inverted_residual_setting", []),
        ("inverted_residual_setting", [[1, 16, 1]]),
        ("inverted_residual_setting", [[1, 16, 1, 1, 1]]),
        ("inverted_residual_setting", [16]),
        ("inverted_residual_setting", ["1234"]),
        ("inverted_residual_setting", [[1, 16, 1, 1], [6, 24, 0, 2]]),
        ("inverted_residual_setting", [[1, 16, 1, 1.0]]),
        ("inverted_residual_setting", 3),
        ("inverted_residual_setting", "none"),
    ],
    ids=repr,
)
def test_a_bad_argument_is_named_in_one_line(argument: str, value: Any) -> None:
    """A wrong argument must fail at once and say which one, not deep inside a convolution."""
    with pytest.raises(ValueError) as caught:
        mobilenet_v2(**{argument: value})
    text = str(caught.value)
    assert text.startswith(argument)
    assert "\n" not in text
    assert "must" in text


def test_a_bad_row_is_named_with_its_place_and_letter() -> None:
    """In a table of seven rows the reader needs the row and the column, not only the table."""
    with pytest.raises(ValueError, match=r"inverted_residual_setting\[1\], n,") as caught:
        mobilenet_v2(inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 0, 2]])
    assert str(caught.value).endswith("not 0")


@pytest.mark.parametrize("options", [{"width_mult": 1}, {"dropout": 0}, {"dropout": 0.99}, {"num_classes": 1}])
def test_values_on_the_allowed_side_of_a_border_are_accepted(options: dict[str, Any]) -> None:
    """The checks must not refuse what the docstring allows."""
    with torch.device("meta"):
        assert isinstance(mobilenet_v2(**options), MobileNetV2)
