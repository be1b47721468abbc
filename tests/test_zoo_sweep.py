"""Every model of the zoos by name with its default input: twice the ledger is what torch's own counter says.

Slow (`pytest -m slow tests/test_zoo_sweep.py -s`), on two processes, on the meta device wherever a model runs there.
What is known is kept in pytest's cache, under the digest of the code that makes ledgers: an interrupted sweep goes on.

torch's counter is another implementation with the same reference: MACs twice, whatever calls them. Where both differ,
the difference is what `UNSEEN` names, exactly; nothing else is let pass.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flopledger.counters.engine.sources import reference
from flopledger.counters.registry import version_of
from flopledger.reference_model import zoo
from flopledger.reference_model.names import SpecError, said
from flopledger.reference_model.running import ModelError, trace
from flopledger.reference_model.subject import Spec

pytestmark = pytest.mark.slow
SECONDS = 300  # of work, for one model
PROCESSES = int(os.environ.get("SWEEP_PROCESSES", "2"))
REAL = 200_000_000  # parameters up to which a model that cannot run on meta, as detectors, runs on real tensors

# What torch's counter has no formula for, so that it says 0 where the ledger has MACs; the ledger is right each time.
UNSEEN = {
    "aten.mv": "a matrix times a vector is no mm",
    "aten.dot": "a vector times a vector is no mm",
    "aten.mul": "an outer product, as einsum makes it: nothing is summed up, so it is no bmm",
    "aten.outer": "the same as a function",
    "aten.cdist": "distances by a kernel, or by products that it hides",
    "aten._grouped_mm": "an operator without a formula: transformers' mixtures of experts",
    "torchvision.deform_conv2d": "an operator of torchvision's own",
}


def measured(model: str) -> dict[str, Any]:
    """The MACs of the ledger by operator, what torch's counter says of the very same run, and on which device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    found: dict[str, Any] = {"model": model}

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        spec, why = Spec.parse(model).filled()
        found |= {"inputs": spec.inputs, "why": why}
        module, args, kwargs = spec.build("meta")
        try:
            found |= _counted(module, args, kwargs, FlopCounterMode(display=False), "meta")
        except ModelError as error:
            if sum(parameter.numel() for parameter in module.parameters()) > REAL:
                raise
            found["off_meta"] = str(error)
            found |= _counted(*spec.build("cpu"), FlopCounterMode(display=False), "cpu")
    except SpecError as error:
        found["unbuilt"] = str(error)
    except ModelError as error:
        found["off_meta"] = str(error)
    except Exception as error:
        found["error"] = said(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {**found, "seconds": round(time.process_time() - start, 2)}


def _counted(module: Any, args: Any, kwargs: Any, counter: Any, device: str) -> dict[str, Any]:
    # Where no gradients are kept, torch's counter fails on a module that is given a parameter: cait's class token.
    module.requires_grad_(False)
    with counter:
        ledger = trace(module, args, kwargs, device=device)
    macs: Counter[str] = Counter()
    for entry in ledger.entries:
        macs[entry.aten] += entry["macs"]
    unpriced = sorted({entry.aten for entry in ledger.unpriced()})
    return {"device": device, "torch": counter.get_total_flops(), "macs": +macs, "unpriced": unpriced}


def unexplained(found: dict[str, Any]) -> int:
    """What torch's counter says, less twice the ledger without what it has no formula for."""
    return int(found["torch"] - 2 * sum(macs for aten, macs in found["macs"].items() if aten not in UNSEEN))


def swept(models: list[str], cache: Path) -> Iterator[dict[str, Any]]:
    """What is measured of each model, as kept or anew, in the order in which it is known."""
    versions = [version_of(name) for name in ("torch", *zoo.ZOOS)]
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{reference()}-{'-'.join(map(str, versions))}.jsonl"
    known = {each["model"]: each for each in map(json.loads, kept.read_text().splitlines())} if kept.exists() else {}
    yield from (known[model] for model in models if model in known)
    left = [model for model in models if model not in known]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool, kept.open("a") as lines:
        for found in pool.imap_unordered(measured, left):
            print(json.dumps(found), file=lines, flush=True)
            yield found


def summary(title: str, results: list[dict[str, Any]]) -> str:
    """The figures of a sweep in one line."""
    counted = [each for each in results if "torch" in each]
    kinds = Counter(
        key for each in results if "torch" not in each for key in ("unbuilt", "off_meta", "error") if key in each
    )
    seconds = sum(each["seconds"] for each in results)
    return (
        f"{title}: {len(results)} models, {len(counted)} counted ({sum(each['device'] == 'meta' for each in counted)} "
        f"on meta), {sum(unexplained(each) == 0 for each in counted)} equal, "
        f"{sum(bool(UNSEEN.keys() & each['macs'].keys()) for each in counted)} but for what torch has no formula for, "
        f"{sum(bool(each['unpriced']) for each in counted)} with unpriced calls; {dict(kinds)}; {seconds:.0f} s of work"
    )


def cache_of(config: pytest.Config, name: str) -> Path:
    """Where a sweep keeps what it knows."""
    assert config.cache is not None
    return Path(config.cache.mkdir("zoo_sweep"), name)


def swept_and_told(config: pytest.Config, title: str, models: list[str]) -> list[dict[str, Any]]:
    """A sweep whose figures are printed, and what it could not explain."""
    start = time.monotonic()
    results = [*swept(models, cache_of(config, title))]
    print(f"\n{summary(title, results)}, {time.monotonic() - start:.0f} s by the clock")
    for each in results:
        if why := "" if "torch" in each else each.get("unbuilt") or each.get("off_meta") or each.get("error"):
            print(f"  {each['model']}: {' '.join(why.split())[:300]}")
    wrong = {each["model"]: unexplained(each) for each in results if "torch" in each and unexplained(each)}
    assert not wrong, wrong
    return results


def test_every_architecture_of_timm(pytestconfig: pytest.Config) -> None:
    """A formula that is wrong for one block of one network is wrong in somebody's paper."""
    results = swept_and_told(pytestconfig, "timm", [f"timm:{name}" for name in zoo.names("timm")])
    assert {each["model"]: each for each in results if "torch" not in each} == {}


def test_every_model_of_torchvision(pytestconfig: pytest.Config) -> None:
    """Detection, segmentation, video, optical flow and quantized models, too."""
    results = swept_and_told(pytestconfig, "torchvision", [f"torchvision:{name}" for name in zoo.names("torchvision")])
    assert {each["model"]: each for each in results if "torch" not in each} == {}


def test_the_architectures_of_transformers(pytestconfig: pytest.Config) -> None:
    """Each model type that AutoModel knows, with the defaults of its configuration."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    results = swept_and_told(pytestconfig, "transformers", [f"transformers:{name}" for name in MODEL_MAPPING_NAMES])
    assert sum("torch" in each for each in results) >= 400  # of 622; the rest is printed, each with its reason


def test_the_networks_of_diffusers(pytestconfig: pytest.Config) -> None:
    """Those whose configuration's defaults say how large their input is."""
    results = swept_and_told(pytestconfig, "diffusers", [f"diffusers:{name}" for name in zoo.names("diffusers")])
    assert sum("torch" in each for each in results) >= 8
