"""The command's standard streams: whatever they lead to, nothing becomes a traceback."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from flopledger.reports.command.options import note


class Unwritable(Exception):
    """Standard output takes no more. No OSError: rich, typer and our own commands have their own ways with those."""


class _Output(io.FileIO):
    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            raise Unwritable from error


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


def take_over() -> None:
    """Have a standard stream that is closed or full be one line at most."""
    _occupied()
    if sys.stdout is sys.__stdout__:  # else somebody reads along in this process, as a test does
        sys.stdout = _stream(_Output, 1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(_Remarks, 2, sys.stderr)


def unwritable(error: BaseException | None) -> int:
    """The exit status where stdout takes no more: a reader who has left knows why, anyone else is told."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered goes there at exit
    if isinstance(error, BrokenPipeError):
        return 141
    note(f"cannot write to the output: {error.strerror if isinstance(error, OSError) else error}")
    return 2
