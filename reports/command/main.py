"""The command. Anything that imports torch happens in a worker; `--help` needs none of it.

One file per command in this folder; importing it adds the command, in this order.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any, TextIO

import typer

# isort: off
from flopledger.reports.command import report, explain, count, counters, ledger, render  # noqa: F401
from flopledger.reports.command import releases, snapshot, drift, conventions, check  # noqa: F401

# isort: on
from flopledger.reports.command.options import app, note


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


class _Unwritable(Exception):
    """Standard output takes no more. No OSError: rich, typer and our own commands have their own ways with those."""


class _Output(io.FileIO):
    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            raise _Unwritable from error


class _Remarks(io.FileIO):
    """Standard error: where nobody can be told, the work goes on and its status says how it went."""

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _occupied() -> None:
    """A standard stream that the caller has closed leads nowhere; else the next file opened would take its place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _stream(kind: type[io.FileIO], descriptor: int, before: TextIO | None) -> TextIO:
    """A standard stream, what cannot be encoded as an escape: a terminal without `·` is no reason for a traceback."""
    lines = not isinstance(before, io.TextIOWrapper) or before.line_buffering or before.write_through
    raw = io.BufferedWriter(kind(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, before.encoding if before else None, "backslashreplace", line_buffering=lines)


def _streams() -> None:
    _occupied()
    if sys.stdout is sys.__stdout__:  # else somebody reads along in this process, as a test does
        sys.stdout = _stream(_Output, 1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(_Remarks, 2, sys.stderr)


def _unwritable(error: BaseException | None) -> int:
    """The exit status where stdout takes no more: a reader who has left knows why, anyone else is told."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered goes there at exit
    if isinstance(error, BrokenPipeError):
        return 141
    note(f"cannot write to the output: {error.strerror if isinstance(error, OSError) else error}")
    return 2


def main() -> None:
    """Entry point: usage errors are one line and status 2, a closed pipe and Ctrl-C are quiet."""
    _streams()
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
    except _Unwritable as error:
        sys.exit(_unwritable(error.__cause__))


if __name__ == "__main__":
    main()
