"""Miniature counters, each named for what it does, so that the comparer is proven without any library.

Named on a command line or in a list of counters as `miniatures:Honest`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil

from flopledger.counters.convention import Convention, rule
from flopledger.counters.tally import Aside, Count, Part, Unsupported


class Honest:
    """Charges one per output of every conv and linear layer, and says so."""

    distribution = ""
    unit = "MAC"
    device = "meta"
    about = "outputs of convolutions and linear layers"

    def count(self, model, inputs):
        import torch
        from torch import nn

        found = []

        def hook(name):
            return lambda module, args, out: found.append(Part(name, None, out.numel()))

        handles = [
            module.register_forward_hook(hook(name))
            for name, module in model.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear))
        ]
        with torch.no_grad():
            model(*inputs)
        for handle in handles:
            handle.remove()
        return Count(total=sum(part.count for part in found), parts=found)

    def convention(self, version):
        return Convention(
            "miniatures:Honest",
            (
                rule("conv linear", "outputs", "one per output", "tests/miniatures.py:25 count"),
                rule("*", "0", "looks at nothing else", "tests/miniatures.py:25 count"),
            ),
        )


class LiesAtOneSite(Honest):
    """Reports 5 more than its convention says, at the first site."""

    def count(self, model, inputs):
        count = super().count(model, inputs)
        first, *rest = count.parts
        return Count(total=count.total + 5, parts=[Part(first.site, None, first.count + 5), *rest])


class AddsWithoutSayingWhere(Honest):
    """Has 7 in its total that it places nowhere."""

    def count(self, model, inputs):
        count = super().count(model, inputs)
        return Count(total=count.total + 7, parts=[*count.parts, Part("", "unattributed", 7)])


class CallsItRounding(Honest):
    """Has a million in its total that it calls rounding."""

    def count(self, model, inputs):
        count = super().count(model, inputs)
        return Count(
            total=count.total + 10**6, parts=count.parts, asides=[Aside("rounding", 10**6, "float32, it says")]
        )


class Raises(Honest):
    """Raises an error with several lines."""

    def count(self, model, inputs):
        raise KeyError("first line\nsecond line")


class RaisesBaseException(Honest):
    """Raises what `except Exception` does not catch."""

    def count(self, model, inputs):
        raise KeyboardInterrupt


class Exits(Honest):
    """Calls sys.exit(0), as if all were well."""

    def count(self, model, inputs):
        sys.exit(0)


class ExitsHard(Honest):
    """Ends its process without Python noticing."""

    def count(self, model, inputs):
        os._exit(3)


class KillsItself(Honest):
    """Is killed by a signal."""

    def count(self, model, inputs):
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Honest):
    """Dies as a broken C extension does."""

    def count(self, model, inputs):
        os.kill(os.getpid(), signal.SIGSEGV)


class DiesOfASignalWithoutAName(Honest):
    """Is killed by a real-time signal, which Python knows by number only."""

    def count(self, model, inputs):
        os.kill(os.getpid(), 40)


class PrintsAMegabyte(Honest):
    """Counts honestly and is very loud about it."""

    def count(self, model, inputs):
        print("x" * (1 << 20))
        print("y" * (1 << 20), file=sys.stderr)
        os.write(1, b"z" * (1 << 20))
        return super().count(model, inputs)


class LeavesTorchPatched(Honest):
    """Breaks torch for the whole process and leaves it so."""

    def count(self, model, inputs):
        import torch
        from torch import nn

        count = super().count(model, inputs)
        nn.Conv2d.forward = nn.Linear.forward = nn.Module.__call__ = None
        torch.nn.functional.conv2d = torch.Tensor.numel = None
        return count


class LeavesResidue(Honest):
    """Leaves buffers, hooks and a training flag on the model."""

    def count(self, model, inputs):
        import torch

        count = super().count(model, inputs)
        for module in model.modules():
            module.register_buffer("total_ops", torch.zeros(1))
            module.register_forward_hook(lambda *args: None)
        model.train()
        return count


class ReturnsNan(Honest):
    """Has no number."""

    def count(self, model, inputs):
        return Count(total=float("nan"), parts=[])


class ReturnsNegative(Honest):
    """Counts backwards."""

    def count(self, model, inputs):
        return Count(total=-1, parts=[Part("", None, -1)])


class ReturnsAFraction(Honest):
    """Has half an operation."""

    def count(self, model, inputs):
        return Count(total=1.5, parts=[Part("", None, 1.5)])


class PartsDoNotAddUp(Honest):
    """Has a total that is not the sum of its parts."""

    def count(self, model, inputs):
        count = super().count(model, inputs)
        return Count(total=count.total + 1, parts=count.parts)


class SleepsForEver(Honest):
    """Never answers, and has a child that does not either."""

    def count(self, model, inputs):
        if os.fork() == 0:
            time.sleep(3600)
        time.sleep(3600)


class SaysItCannot(Honest):
    """Says that it cannot count this."""

    def count(self, model, inputs):
        raise Unsupported("complex models are beyond me")


class IsNotInstalled(Honest):
    """Needs a package that nobody has."""

    distribution = "a-counter-that-nobody-has"


class ChargesAsItsEnvironmentSays(Honest):
    """Counts what another process may have left in the environment; it must find nothing there."""

    def count(self, model, inputs):
        if os.environ.get("MINIATURE_WAS_HERE"):
            raise RuntimeError("somebody else's process is mine")
        os.environ["MINIATURE_WAS_HERE"] = "1"
        return super().count(model, inputs)


class EndsWhoBuiltItsModel(Honest):
    """Where other jobs on its model wait in the process that it was forked from, it ends that."""

    def count(self, model, inputs):
        if not Path(os.environ["TMPDIR"]).parent.name.startswith("flopledger-"):
            psutil.Process().parent().parent().kill()
            time.sleep(60)
        return super().count(model, inputs)


class Published(Honest):
    """Counts what its library's release says per output; `mini` is a package that only tests publish."""

    distribution = "mini"

    def count(self, model, inputs):
        import mini

        mini.before_counting()
        count = super().count(model, inputs)
        parts = [Part(part.site, None, part.count * mini.PER_OUTPUT) for part in count.parts]
        return Count(total=sum(part.count for part in parts), parts=parts, params=mini.PARAMS)

    def convention(self, version):
        each = "2·outputs" if version and version >= "2" else "outputs"
        because = "two per output since 2.0" if version and version >= "2" else "one per output"
        return Convention("miniatures:Published", (
            rule("conv linear", each, because, "mini.py:1 PER_OUTPUT"),
            rule("*", "0", "looks at nothing else", "mini.py:1"),
        ))  # fmt: skip
