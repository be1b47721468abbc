"""What crosses between the command and a job's process: the job, and its answer. Both are JSON on the way."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flopledger.counters.tally import Count, Status
from flopledger.reference_model.ledger import Ledger
from flopledger.reference_model.subject import Spec

LEDGER = "@ledger"  # the job that traces the reference; no counter can have this name
TIMEOUT = 300.0
LONGEST = 7 * 86400.0  # seconds that a time limit may have; the system's own timers take no more than a few weeks


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One counter (or the ledger) on one model. `real` is whether a ledger may be had from real tensors at need."""

    counter: str
    spec: Spec
    device: str = "meta"
    release: str | None = None
    distribution: str = ""
    real: bool = True

    @property
    def name(self) -> str:
        return f"{self.counter}=={self.release}" if self.release else self.counter


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's process leaves behind.

    `sources` are the files that the model was made from, where a version does not tell; `passing` marks a
    failure of the moment, which need not be the same the next time. `rejected` is a model that cannot be had at all.
    """

    status: Status | Literal["rejected"]
    count: Count | None = None
    ledger: Ledger | None = None
    version: str | None = None
    reason: str | None = None
    seconds: float | None = None
    passing: bool = False
    sources: list[str] = []


class Live(msgspec.Struct, frozen=True):
    """A model and inputs that exist only in this process's memory."""

    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    label: str
