"""No weights come from anywhere: nothing of a count depends on them, and a name in a document must not fetch any."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flopledger.reference_model.names import SpecError

_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def refuse(options: dict[str, Any], *asking: str) -> None:
    """Raise SpecError where one of the options `asking` asks for weights or for somebody's code."""
    for name in asking:
        if options.get(name) not in (None, False):
            raise SpecError(f"models are built with random weights and nothing is downloaded; leave out {name}")


@contextmanager
def nothing_downloaded() -> Iterator[None]:
    """Hugging Face's hub is out of reach meanwhile; whoever called has it as before, afterwards."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))  # for one that is imported meanwhile
    constants = sys.modules.get("huggingface_hub.constants")
    setting = getattr(constants, "HF_HUB_OFFLINE", None)
    if constants:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if constants:
            constants.HF_HUB_OFFLINE = setting  # type: ignore[attr-defined]
        elif (imported := sys.modules.get("huggingface_hub.constants")) is not None:
            imported.HF_HUB_OFFLINE = bool(before["HF_HUB_OFFLINE"])  # type: ignore[attr-defined]
