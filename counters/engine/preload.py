"""What the fork server has done before the first job: torch imported, and its meta kernels too.

So no job pays for them again. No counter library is touched, but packages may be that many jobs are going to import:
models come from them, or counters lean on them.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import sys
import warnings

gc.disable()  # it would look through all that is imported again and again: a fifth of the time
PATH = [entry for entry in sys.path if entry]  # as Python made it: nothing of a caller's, or of a job's


def _let_go_of_the_terminal() -> None:
    """Close the caller's stdout and stderr, so that a pipe ends with the command, and end at once.

    Tearing torch down takes a second, during which `flopledger count | jq` would wait.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    atexit.register(os._exit, 0)


def _all() -> None:
    import torch

    from flopledger.counters.engine import kernels, postponed, worker  # noqa: F401  (forked jobs find them loaded)
    from flopledger.reference_model import mobilenet_v2, running  # noqa: F401

    torch.set_num_threads(1)  # a pool of threads would not be in forks, which would wait for it
    postponed.postpone()
    if os.environ.pop("FLOPLEDGER_ON_META", "yes"):
        kernels.load()


with contextlib.suppress(Exception):  # of a torch that cannot be imported every job says why
    _all()
for package in os.environ.pop("FLOPLEDGER_PRELOADS", "").split():
    with contextlib.suppress(Exception, SystemExit), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(package)
gc.freeze()  # nor shall jobs look through what they share
gc.enable()
if os.environ.get("FLOPLEDGER_FORKS_FOR") == str(os.getppid()):  # we are that server, and nobody's import
    _let_go_of_the_terminal()
