"""The default inputs of a model, and what says so."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from flopledger.reference_model.names import SpecError


class Defaults(msgspec.Struct, frozen=True):
    """Inputs as they are typed after `-i`, and where they are from: "the transforms of ResNet50_Weights.DEFAULT"."""

    inputs: tuple[str, ...]
    why: str


def shape(*sizes: int | Sequence[int]) -> str:
    """`1x3x224x224` of 1, 3 and (224, 224)."""
    return "x".join(str(n) for size in sizes for n in (size if isinstance(size, Sequence) else [size]))


def unsaid(model: str, names: Sequence[str]) -> SpecError:
    """The error of a model of which nothing says how large these inputs are."""
    given = [f"-i {name}=1x128{':int64' if name.endswith('ids') else ''}" for name in names]
    return SpecError(f"nothing says what goes into {model!r}; name its inputs, like {' '.join(given)}")
