"""The command. Anything that imports torch happens in a worker; `--help` needs none of it.

One file per command in this folder; importing it adds the command, in this order.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from typing import Annotated

import typer

# isort: off
from flopledger.reports.command import report, explain, count, counters, ledger, layers, render  # noqa: F401
from flopledger.reports.command import releases, snapshot, drift, conventions, check  # noqa: F401
from flopledger.reports.command import identify, published, table, statement, quotes, badge, card  # noqa: F401

# isort: on
from flopledger.reports.command import streams
from flopledger.reports.command.options import app, note

TRACEBACK = "FLOPLEDGER_TRACEBACK"
_GARBAGE = 50_000, 20, 100  # Python's 700, 10, 10 looks through all ledgers again and again: a fifth of the time


def _version(wanted: bool) -> None:
    if wanted:
        from flopledger.counters import registry

        print(f"flopledger {registry.version_of('flopledger') or 'unknown'}")
        raise typer.Exit()


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run one PyTorch model through many FLOP counters and explain every difference exactly."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def _end_cleanly() -> None:
    """Have the signals that end a program end it as Ctrl-C does: jobs and temporary folders go first."""

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, end)


def _fault(error: Exception) -> str:
    """A fault of ours in one line, with the place."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"a fault of its own, {type(error).__name__}: {' '.join(str(error).split())} "
        f"({at.filename}:{at.lineno}); with {TRACEBACK}=1 all of it is shown"
    )


def main() -> None:
    """Entry point: usage errors are one line and status 2, a closed pipe and Ctrl-C are quiet."""
    gc.set_threshold(*_GARBAGE)
    streams.take_over()
    _end_cleanly()
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except typer.TyperException as error:
        note(error.format_message())
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        print("flopledger: interrupted", file=sys.stderr)
        sys.exit(130)
    except streams.Unwritable as error:
        sys.exit(streams.unwritable(error.__cause__))
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        note(_fault(error))
        sys.exit(2)


if __name__ == "__main__":
    main()
