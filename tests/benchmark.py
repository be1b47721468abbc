"""Wall times, in one run on one machine; a script, not a test.

    python tests/benchmark.py [RUNS]

A is `flopledger count` over the seven counters, B a plain script that calls the same libraries one
after another in one process; A and B alternate. Then the ledger's trace beside FlopCounterMode on the
same model on the meta device, and `flopledger --help`. Quote the ratios: the machine's speed drifts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

PLAIN = """
import contextlib, io, torch
from flopledger import MobileNetV2
import pandas as pd
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    from thop import profile
    from torchsummaryX import summary as summary_x
    from ptflops import get_model_complexity_info
    from fvcore.nn import FlopCountAnalysis
    from torchinfo import summary
    from torch.utils.flop_counter import FlopCounterMode
    x = torch.rand(1, 3, 416, 416)
    def fresh():
        return MobileNetV2().eval()
    totals = [profile(fresh(), (x,), verbose=False)[0]]
    try:
        summary_x(fresh(), x)
    except TypeError:  # pandas 2, after all counting is done
        pass
    for backend in ("pytorch", "aten"):
        totals.append(get_model_complexity_info(fresh(), (3, 416, 416), as_strings=False,
                      print_per_layer_stat=False, backend=backend)[0])
    totals.append(FlopCountAnalysis(fresh(), x).total())
    totals.append(summary(fresh(), input_data=x, verbose=0).total_mult_adds)
    with FlopCounterMode(display=False) as counter:
        fresh()(x)
    totals.append(counter.get_total_flops())
print(totals)
"""


def wall(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def said(name: str, values: list[float], unit: str = "s") -> None:
    low, high = min(values), max(values)
    print(f"{name:<46} median {statistics.median(values):8.3f} {unit}  ({low:.3f} to {high:.3f})")


def traces(runs: int) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from flopledger.reference_model.mobilenet_v2 import MobileNetV2
    from flopledger.reference_model.running import trace

    with torch.device("meta"):
        model, x = MobileNetV2().eval(), torch.zeros(1, 3, 416, 416)

    def counted() -> None:
        with torch.no_grad(), FlopCounterMode(display=False):
            model(x)

    ours: list[float] = []
    theirs: list[float] = []
    for i in range(2 * runs + 4):
        for function, into in ((lambda: trace(model, (x,)), ours), (counted, theirs)):
            start = time.perf_counter()
            function()
            if i >= 4:
                into.append((time.perf_counter() - start) * 1000)
    said("ledger trace", ours, "ms")
    said("FlopCounterMode", theirs, "ms")
    said("  ratio, pair by pair", [a / b for a, b in zip(ours, theirs, strict=True)], " ")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    command = str(Path(sysconfig.get_path("scripts"), "flopledger"))
    a, b = [], []
    for i in range(runs + 1):
        pair = wall([command, "count", "-q", "--no-cache"]), wall([sys.executable, "-c", PLAIN])
        if i:  # the first pair warms the file cache
            a.append(pair[0])
            b.append(pair[1])
    said("flopledger count, seven counters", a)
    said("plain script, seven libraries", b)
    said("  ratio, pair by pair", [x / y for x, y in zip(a, b, strict=True)], " ")
    said("flopledger --help", [wall([command, "--help"]) for _ in range(runs + 1)][1:])
    traces(runs)


if __name__ == "__main__":
    main()
