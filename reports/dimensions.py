"""The dimensions of inputs that people speak of (samples, tokens, pixels), and inputs of another size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import msgspec

from flopledger.reference_model.names import nearest
from flopledger.reference_model.notation import Input, name_of, parse, text_of

MOST = 1000  # values of a sweep
NAMED = ("resolution", "length", "batch")


class Leaf(NamedTuple):
    """A tensor among the inputs: the name of its argument, or its position, and of how many in a list it is one."""

    name: str
    input: Input
    listed: int

    @property
    def is_image(self) -> bool:
        """Channels, height and width: of a batch, of the frames of a clip, or one of a list of images."""
        size = len(self.input.shape)
        return self.input.dtype.startswith(("float", "bfloat")) and (size >= 4 or (size == 3 and self.listed > 0))

    @property
    def is_text(self) -> bool:
        """Whole numbers, batch × length: the numbers of tokens."""
        return len(self.input.shape) == 2 and self.input.dtype.startswith(("int", "uint"))


def leaves(inputs: Sequence[str]) -> list[Leaf]:
    """The tensors of inputs as `flopledger.reference_model.inputs` writes them; those of files are not known."""
    return [leaf for at, text in enumerate(inputs) for leaf in _leaves(*_read(at, text))]


def _read(at: int, text: str) -> tuple[str, Any]:
    name, rest = name_of(text)
    return name or str(at), parse(rest, alone=name is None)


def _leaves(name: str, value: Any, listed: int = 0) -> Iterator[Leaf]:
    if isinstance(value, Input):
        yield Leaf(name, value, listed)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(f"{name}.{key}", each, listed)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(name, each, len(value))


def samples(inputs: Sequence[str]) -> int | None:
    """The batch: the first dimension of the first tensor that has one, or how many images are in its list."""
    first = next((leaf for leaf in leaves(inputs) if leaf.input.shape), None)
    if first is None:
        return None
    return first.listed if first.is_image and len(first.input.shape) == 3 else first.input.shape[0]


def tokens(inputs: Sequence[str]) -> int | None:
    """Batch × length of the first input of token numbers; None where there is none."""
    return next((prod(leaf.input.shape) for leaf in leaves(inputs) if leaf.is_text), None)


def pixels(inputs: Sequence[str]) -> int | None:
    """Positions of the first image, over its batch (and its frames); over a list of images, of all of them."""
    images = [leaf for leaf in leaves(inputs) if leaf.is_image]
    if not images:
        return None
    if len(images[0].input.shape) == 3:
        return sum(prod(leaf.input.shape[1:]) for leaf in images if leaf.name == images[0].name)
    return images[0].input.shape[0] * prod(images[0].input.shape[2:])


class Sweep(msgspec.Struct, frozen=True):
    """Sizes of one dimension: `resolution`, `length`, `batch`, NAME.AXIS, or "" for the one that inputs have (`of`)."""

    dimension: str
    values: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """Read `160,192,224`, `length=128..2048*2` or `x.3=64..512+64`. Raises ValueError."""
        name, equals, rest = text.rpartition("=")
        if equals and not name:
            raise ValueError(f"{text!r} names no dimension; write resolution=160,192 or input_ids.1=128..1024*2")
        if name and name not in NAMED and not re.fullmatch(r"[\w.]+\.\d+", name):
            raise ValueError(
                f"{name!r} is no dimension{nearest(name, NAMED)}; there is {', '.join(NAMED)}, and NAME.AXIS of an "
                "input, like input_ids.1 or 0.2"
            )
        values = [value for item in rest.split(",") for value in _values(item.strip(), text)]
        if len(values) > MOST:
            raise ValueError(f"{text!r} has more than {MOST:,} sizes")
        return cls(name, tuple(dict.fromkeys(values)))

    def of(self, inputs: Sequence[str]) -> str:
        """The dimension that is meant for these inputs. Raises ValueError where that cannot be told."""
        if self.dimension:
            return self.dimension
        found = leaves(inputs)
        text, image = (next((leaf.name for leaf in found if kind(leaf)), None) for kind in (_is_text, _is_image))
        if text is not None and image is not None:
            raise ValueError(f"it takes tokens ({text}) and an image ({image}); say length=… or resolution=…")
        if text is None and image is None:
            known = ", ".join(f"{leaf.name}.{axis}" for leaf in found for axis in range(len(leaf.input.shape)))
            raise ValueError(f"it takes no image and no tokens; name a dimension of its inputs ({known or 'none'})")
        return "length" if text is not None else "resolution"


def _is_text(leaf: Leaf) -> bool:
    return leaf.is_text


def _is_image(leaf: Leaf) -> bool:
    return leaf.is_image


_RANGE = re.compile(r"(\d{1,12})\.\.(\d{1,12})([*+])(\d{1,12})")


def _values(item: str, text: str) -> list[int]:
    if re.fullmatch(r"\d{1,12}", item):
        found = [int(item)]
    elif match := _RANGE.fullmatch(item):
        low, high, by = int(match[1]), int(match[2]), int(match[4])
        if by < (2 if match[3] == "*" else 1) or not 0 < low <= high:
            raise ValueError(f"{item!r} goes nowhere; a range is like 128..2048*2 or 64..512+64")
        found, at = [], low
        while at <= high and len(found) <= MOST:
            found.append(at)
            at = at * by if match[3] == "*" else at + by
    else:
        raise ValueError(f"{text!r}: {item!r} is no size; sizes are like 160,192,224 or 128..2048*2 or 64..512+64")
    if 0 in found:
        raise ValueError(f"{text!r}: a size of 0 leaves nothing to count")
    return found


def resized(inputs: Sequence[str], dimension: str, size: int) -> tuple[tuple[str, ...], str]:
    """The inputs with another size of one dimension, and which axes of which inputs that is.

    `resolution` is height and width of all images of one size (a longer side keeps its ratio), `length` the second
    axis of all that are as long as the tokens, `batch` the first axis of all that are as many.

    Raises:
        ValueError: there is no such dimension, or it cannot have this size.
    """
    found = leaves(inputs)
    change, said = _change(found, dimension, size)
    changed: list[str] = []
    touched: list[str] = []
    for at, text in enumerate(inputs):
        name, _ = name_of(text)
        label, value = _read(at, text)
        value = _mapped(label, value, change, touched)
        changed.append(text_of(value) if name is None else f"{name}={text_of(value)}")
    return tuple(changed), f"{said} of {', '.join(dict.fromkeys(touched))}"


Change = Callable[[str, Input], Input | None]


def _mapped(name: str, value: Any, change: Change, touched: list[str]) -> Any:
    if isinstance(value, Input):
        new = change(name, value)
        if new is None:
            return value
        if isinstance(value.values, tuple):
            raise ValueError(f"the values of {name} are written out, so it has no other size")
        touched.append(name)
        return new
    if isinstance(value, dict):
        return {key: _mapped(f"{name}.{key}", each, change, touched) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(name, each, change, touched) for each in value)
    return value


def _change(found: list[Leaf], dimension: str, size: int) -> tuple[Change, str]:
    if dimension == "resolution":
        return _resolution(found, size)
    if dimension == "length":
        first = next((leaf.input for leaf in found if leaf.is_text), None)
        if first is None:
            raise ValueError("it takes no tokens (whole numbers, batch × length), so it has no length")
        return _axis(lambda name, given: len(given.shape) == 2 and given.shape[1] == first.shape[1], 1, size), "axis 1"
    if dimension == "batch":
        whole = next((leaf.input for leaf in found if leaf.input.shape), None)
        if whole is None or any(leaf.listed for leaf in found):
            raise ValueError("its inputs have no axis of samples")
        return _axis(lambda name, given: given.shape[:1] == whole.shape[:1], 0, size), "axis 0"
    target, _, axis = dimension.rpartition(".")
    mine = [leaf.input for leaf in found if leaf.name == target]
    if not mine or any(int(axis) >= len(given.shape) for given in mine):
        known = [f"{leaf.name}.{at}" for leaf in found for at in range(len(leaf.input.shape))]
        raise ValueError(f"its inputs have no dimension {dimension}; there is {', '.join(known) or 'none'}")
    return _axis(lambda name, given: name == target, int(axis), size), f"axis {axis}"


def _axis(which: Callable[[str, Input], bool], axis: int, size: int) -> Change:
    def change(name: str, given: Input) -> Input | None:
        shape = (*given.shape[:axis], size, *given.shape[axis + 1 :])
        return msgspec.structs.replace(given, shape=shape) if which(name, given) else None

    return change


def _resolution(found: list[Leaf], size: int) -> tuple[Change, str]:
    image = next((leaf.input for leaf in found if leaf.is_image), None)
    if image is None:
        raise ValueError("it takes no image, so it has no resolution")
    sides = image.shape[-2:]
    short = min(sides)
    if any(side * size % short for side in sides):
        raise ValueError(f"an image of {sides[0]}×{sides[1]} has no whole size of that ratio with a side of {size}")
    now = tuple(side * size // short for side in sides)

    def change(name: str, given: Input) -> Input | None:
        if len(given.shape) < 3 or given.shape[-2:] != sides:
            return None
        return msgspec.structs.replace(given, shape=(*given.shape[:-2], *now))

    return change, "height and width"
