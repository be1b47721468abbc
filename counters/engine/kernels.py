"""Torch's meta kernels, loaded before jobs are forked, so that not each of them does it again."""

from __future__ import annotations

import warnings
from functools import cache


@cache
def load() -> None:
    """Make torch import what it needs for a normalisation on the meta device.

    Its Python decompositions and torch._dynamo with them are some nine hundred modules, 1.4 s.
    """
    import torch

    with warnings.catch_warnings(), torch.device("meta"), torch.no_grad():
        warnings.simplefilter("ignore")
        x = torch.zeros(1, 2, 4, 4)
        x = torch.nn.functional.conv2d(x, torch.zeros(2, 2, 1, 1))
        x = torch.nn.functional.batch_norm(x, torch.zeros(2), torch.zeros(2))
        torch.nn.functional.linear(x, torch.zeros(4, 4), torch.zeros(4))
