"""Four models' ledgers as they were once traced, with counters of our own making: no version changes what they say.

`python tests/golden_models.py` traces them anew, which only a change of the ledger's format makes needful.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace
from sample_run import CONVENTIONS, assembled, missing, tally_of

from flopledger.counters.convention import Convention, rule
from flopledger.reference_model.ledger import Call, Ledger
from flopledger.reports.documents.run import Run

FOLDER = Path(__file__).parent / "golden"
MODELS = ("mobilenet_v2", "resnet50", "vit_b_16", "llama")
ATTENTIVE = Convention(
    "attentive-counter",
    (
        rule("conv linear matmul attention", "macs", "every product, attention's too", "attentive/counter.py:7"),
        rule("layer_norm rms_norm batch_norm", "outputs", "one per element", "attentive/counter.py:19"),
    ),
)  # fmt: skip


def golden_run(model: str) -> Run:
    """The run of one of `MODELS`: five counters with a number, one without."""
    ledger = msgspec.json.decode((FOLDER / f"{model}.json").read_bytes(), type=Ledger)
    tallies = [(tally_of(convention, ledger), convention) for convention in (*CONVENTIONS, ATTENTIVE)]
    reason = "RuntimeError: it does not know what to do with this (crashing/library/counting.py:123)"
    crashing = (missing("crashing", "failed", reason), Convention("crashing", ()))
    return assembled(ledger, [*tallies, crashing])


def _traced() -> dict[str, Ledger]:
    import torch
    import torchvision
    import transformers

    from flopledger.reference_model.mobilenet_v2 import mobilenet_v2
    from flopledger.reference_model.running import trace

    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8,
             "num_key_value_heads": 2, "vocab_size": 32_000}  # fmt: skip
    with torch.device("meta"):
        image, ids = torch.rand(1, 3, 224, 224), torch.zeros(1, 128, dtype=torch.int64)
        llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
        return {
            "mobilenet_v2": trace(mobilenet_v2(), (torch.rand(1, 3, 416, 416),), name="mobilenet_v2"),
            "resnet50": trace(torchvision.models.resnet50(), (image,), name="torchvision:resnet50"),
            "vit_b_16": trace(torchvision.models.vit_b_16(), (image,), name="torchvision:vit_b_16"),
            "llama": trace(llama, (ids,), name="llama.py:make"),
        }


def _small(ledger: Ledger) -> Ledger:
    """Without the facts from which the quantities were computed, and without views, of which there are many."""
    entries = [
        replace(entry, calls=[Call(quantities=call.quantities, times=call.times) for call in entry.calls])
        for entry in ledger.entries
        if entry.op not in ("view", "move")
    ]
    return replace(ledger, entries=entries, modules={}, notes=["a note of this model"])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, ledger in _traced().items():
        (FOLDER / f"{name}.json").write_bytes(msgspec.json.encode(_small(ledger)))
