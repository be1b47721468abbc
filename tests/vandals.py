"""Counters that do to processes, files and numbers what no counter should; named like `miniatures`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from miniatures import Honest

from flopledger.counters.tally import Count, Part

MARK = "flopledger-test-orphan"  # in the command line of a child that must not survive


def __getattr__(name: str) -> type[Honest]:
    """`GetsSignal15` sends itself signal 15, and counts honestly if that did nothing."""
    if not name.startswith("GetsSignal"):
        raise AttributeError(name)
    number = int(name.removeprefix("GetsSignal"))

    class GetsSignal(Honest):
        def count(self, model, inputs):
            os.kill(os.getpid(), number)
            return super().count(model, inputs)

    return GetsSignal


def _orphan(seconds: str = "600") -> None:
    """A grandchild in a session of its own, that keeps whatever files it was given open."""
    code = f"import time; time.sleep({seconds})  # {MARK} {os.environ.get('FLOPLEDGER_TEST_RUN')}"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True, close_fds=False)


class LeavesAChildInASessionOfItsOwn(Honest):
    """Counts honestly, and leaves a daemon behind."""

    def count(self, model, inputs):
        _orphan()
        return super().count(model, inputs)


class LeavesAnOrphanAndDies(Honest):
    """The orphan's parent ends before anybody looks."""

    def count(self, model, inputs):
        if os.fork() == 0:
            os.setsid()
            _orphan()
            os._exit(0)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)


class LeavesAnOrphanAndHangs(Honest):
    """Ignores what can be ignored."""

    def count(self, model, inputs):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            _orphan()
            os._exit(0)
        time.sleep(600)


class KillsItsParent(Honest):
    def count(self, model, inputs):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)


class KillsItsGroup(Honest):
    def count(self, model, inputs):
        os.killpg(0, signal.SIGKILL)


class StopsItsParent(Honest):
    """A stopped guard can end nothing."""

    def count(self, model, inputs):
        os.kill(os.getppid(), signal.SIGSTOP)
        time.sleep(600)


class PutsFifosWhereFilesWere(Honest):
    """Whoever opens one waits for ever."""

    def count(self, model, inputs):
        mine = Path(os.environ["TMPDIR"])
        for name in ("answer.json", "answer.part", "output"):
            with contextlib.suppress(OSError):
                (mine / name).unlink(missing_ok=True)
                os.mkfifo(mine / name)
        return super().count(model, inputs)


class ClosesEveryFile(Honest):
    def count(self, model, inputs):
        os.closerange(3, 4096)
        return super().count(model, inputs)


class TakesItsFolderAway(Honest):
    def count(self, model, inputs):
        os.chdir(os.environ["TMPDIR"])
        Path(os.environ["TMPDIR"]).rmdir()
        return super().count(model, inputs)


class CountsInNumpy(Honest):
    def count(self, model, inputs):
        import numpy

        count = super().count(model, inputs)
        parts = [Part(part.site, None, numpy.int64(part.count)) for part in count.parts]
        return Count(total=numpy.float64(count.total), parts=parts, params=numpy.int32(3))


class CountsInTensors(Honest):
    def count(self, model, inputs):
        import torch

        count = super().count(model, inputs)
        parts = [Part(part.site, None, torch.tensor(part.count)) for part in count.parts]
        return Count(total=torch.tensor(float(count.total), dtype=torch.float64), parts=parts)


class HasALoneSurrogateInAWarning(Honest):
    def count(self, model, inputs):
        count = super().count(model, inputs)
        return Count(total=count.total, parts=count.parts, warnings=["\ud800 is half a character"])


class NamesASiteWithALoneSurrogate(Honest):
    def count(self, model, inputs):
        count = super().count(model, inputs)
        return Count(total=count.total + 5, parts=[*count.parts, Part("\udcff", None, 5)])


class RaisesWhatCannotSayItself(Honest):
    def count(self, model, inputs):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        raise Mute


class ReturnsNothing(Honest):
    def count(self, model, inputs):
        return None


class CountsMoreThanThereIs(Honest):
    def count(self, model, inputs):
        return Count(total=10**400, parts=[Part("", None, 10**400)])


class CountsATensorOfMany(Honest):
    def count(self, model, inputs):
        import torch

        return Count(total=torch.ones(3), parts=[])
