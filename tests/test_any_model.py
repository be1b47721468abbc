"""Any model, as people have it, is traced as it is: on meta while what is looked at is known, and left as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.running import trace


class Calls(nn.Module):
    """A model that is one function of itself and its inputs, with an integer buffer and constants as attributes."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function
        self.register_buffer("positions", torch.arange(6))
        self.sizes = torch.tensor([1, 2, 3])
        self.scales = torch.tensor([0.0, 1.0])

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def rows(ledger: Ledger) -> list[Any]:
    return [(e.site, e.op, e.aten, e.api, e.inside, e.module, e.calls) for e in ledger]


IDS, MASK = torch.tensor([[3, 0, 7, 1, 2], [5, 5, 8, 0, 1]]), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]) > 0

# Each looks at values that are known: of integers given, of buffers, attributes, constants, and what follows from them.
LOOKS: dict[str, Callable[..., Any]] = {
    "item": lambda s, x, ids, mask: x * ids.max().item(),
    "if": lambda s, x, ids, mask: x if mask.all() else x * 2,
    "x[mask]": lambda s, x, ids, mask: x.unsqueeze(1).expand(2, 5, 6)[mask] @ x.t(),
    "ids[mask]": lambda s, x, ids, mask: ids[mask] * 2,
    "masked_select": lambda s, x, ids, mask: x[:, :5].masked_select(mask).reshape(-1, 1) @ x[:1],
    "nonzero": lambda s, x, ids, mask: x[0][mask.nonzero()[:, 1]] * 2,
    "where": lambda s, x, ids, mask: torch.where(mask)[0] + x.sum(),
    "unique": lambda s, x, ids, mask: torch.unique(ids) + x.sum(),
    "tolist": lambda s, x, ids, mask: x.repeat(ids.clamp(1, 2)[0].tolist()),
    "numpy": lambda s, x, ids, mask: x * float(ids.numpy().max()),
    "index": lambda s, x, ids, mask: x[:, : [2, 3, 4, 5][ids[0, 1]]] * 2,
    "split": lambda s, x, ids, mask: torch.tensor_split(x, torch.tensor([1, 3], device="cpu"), 1)[1] * 2,
    "repeat": lambda s, x, ids, mask: x.repeat_interleave(torch.tensor([2, 3]), dim=0) * 2,
    "equal": lambda s, x, ids, mask: x if torch.equal(mask, mask) else x * 2,
    "buffer": lambda s, x, ids, mask: x[:, s.positions[s.positions > 2]] * 2,
    "attribute": lambda s, x, ids, mask: x[:, :3] * s.sizes + s.scales.max().item(),
    "constant": lambda s, x, ids, mask: x.view(torch.tensor([3, 4]).tolist()) * 2,
    "of tensors": lambda s, x, ids, mask: torch.tensor([ids.max(), 1]).max().item() * x,
    "in place": lambda s, x, ids, mask: (s.positions.add_(1), x[:, : s.positions.max() - 3] * 2)[1],
    "filled": lambda s, x, ids, mask: x * torch.empty(3, 3).fill_(-1).triu_(1).sum().item(),
    "view": lambda s, x, ids, mask: (ids[0].fill_(2), x[:, : ids.view(-1)[4]] * 2)[1],
    "float mask": lambda s, x, ids, mask: x * ((1 - mask.float()) * -1e9).min().item(),
    "to the CPU": lambda s, x, ids, mask: x.cpu() * 2,
    "packed": lambda s, x, ids, mask: nn.utils.rnn.pack_padded_sequence(
        x.unsqueeze(2).expand(2, 6, 3), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
    ).data * 2,
}  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
def test_known_values_keep_a_model_on_meta(look: str) -> None:
    """Most language models look at their mask; the ledger must be that of the run on real tensors all the same."""
    model, inputs = Calls(LOOKS[look]), (torch.rand(2, 6), IDS.clone(), MASK.clone())
    meta, real = (trace(model, inputs, device=device) for device in ("meta", "cpu"))
    assert rows(real) == rows(meta)
    assert "meta" == trace(model, inputs).device
    assert torch.equal(torch.arange(6), model.positions) and torch.equal(IDS, inputs[1])


# What is not known must never be answered with what was there before.
UNKNOWN: dict[str, Callable[..., Any]] = {
    "input": lambda s, x, ids, mask: x if x.sum() > 0 else x * 2,
    "written": lambda s, x, ids, mask: (ids.copy_(x[:, :5]), x * ids.max().item())[1],
    "written through a view": lambda s, x, ids, mask: (ids[0].copy_(x[0, :5]), x * ids.max().item())[1],
    "partly written": lambda s, x, ids, mask: (torch.zeros(4).index_put_((ids[0, :2],), x[0, :2]), x)[0].max().item(),
    "random": lambda s, x, ids, mask: x if torch.rand(1) > 0.5 else x * 2,
    "randomly written": lambda s, x, ids, mask: x if torch.zeros(1).uniform_() > 0.5 else x * 2,
}


@pytest.mark.parametrize("look", UNKNOWN)
def test_what_depends_on_data_is_run_on_real_tensors(look: str) -> None:
    """A value that was written over, or that is random, is not known: a wrong path would be a wrong ledger."""
    ledger = trace(Calls(UNKNOWN[look]), (torch.rand(2, 6), IDS.clamp(max=3), MASK.clone()))
    assert "cpu" == ledger.device and "traced on real tensors" in ledger.notes[0]


def test_what_was_read_before_a_write_keeps_its_value() -> None:
    """Values are computed when somebody looks; a write in between must not reach them."""

    def late(model: Any, x: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        before = ids.max() - 6
        ids.zero_()
        return x[:, :before] @ x[:, :before].t() + ids.max()

    inputs = (torch.rand(2, 6), IDS.clone(), MASK)
    assert 2 * 2 * 2 == trace(Calls(late), inputs, device="meta").total("macs")
    assert torch.equal(IDS, inputs[1])
