"""What "something is wrong" means: for the exit status of every command and the first paragraph of every page.

- A **run** (`report`, `explain`, `count`, `snapshot`, `render`; report.md and report.html) is wrong if a counter's
  stated formulas fail anywhere. Every residual comes from such a failure, and so do failures that cancel.
- It is also wrong if the ledger has an operation without a formula (`unpriced`): what that takes is unknown, so the
  ledger's total is "at least", and a counter's may be too small. `ledger` and a budget (`assert_macs`) ask no counter
  and are wrong then, too.
- It is also wrong if there is no number where one was asked for: from a counter that was asked for by name
  (`-c NAME`, `explain A B`, `counters=[…]`), or from any counter at all where none was named. A counter that
  is not installed, cannot count the model, crashes or is too slow in a run that names nobody is said, and wrong
  only if no other counted either.
- Nor is there a number where no counter was at hand to be asked. Who asks for none by intent (`ledger`, a budget,
  `counters=[]`) misses none.
- A **history** (`releases`, `render`) is wrong if a step leaves a residual, if formulas fail at any release, if no
  release has a number, or if the model has an operation without a formula.
- A **drift** (`drift`, `releases --new`, the pytest plugin) of many models is wrong if that of any is, if a model is
  new or gone or cannot be counted, or if a budget is broken. That of one is wrong if anything moved, failed or began
  to count, if an operation has no formula that was not there in the baseline, or not so often, and if there is nothing
  to compare: no counter has a number on both sides. What was wrong in the baseline and is wrong alike now has not
  drifted; what is unpriced is said nevertheless.

Each command that finds something wrong exits with status 1.
"""

from __future__ import annotations

from flopledger.reports.documents.history import Change, History, Row
from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.moves import Drift, Moves


def wrong(found: Run | History | Drift | Moves) -> bool:
    """Whether something is wrong, as this module's text defines it."""
    if isinstance(found, Run):
        return bool(found.ledger.unpriced or failing(found) or without_number(found) or nobody(found))
    if isinstance(found, History):
        return bool(found.unpriced or unexplained(found) or failing_releases(found) or not found.counted)
    if isinstance(found, Moves):
        return found.wrong
    return found.drifted or not found.compared


def failing(run: Run) -> list[TallyRecord]:
    """The counters whose formulas do not give what they reported, somewhere."""
    return [t for t in run.counted() if t.failures or t.verified.agree < t.verified.sites]


def without_number(run: Run) -> list[TallyRecord]:
    """The counters that have no number although they were asked for."""
    missing = [tally for tally in run.tallies if tally.status != "counted"]
    if run.asked is not None:
        return [tally for tally in missing if tally.name in run.asked]
    return [] if run.counted() else missing


def nobody(run: Run) -> bool:
    """Whether there was no counter at all, though it was up to us to find some."""
    return run.asked is None and not run.tallies


def unexplained(found: History) -> list[Change]:
    """The steps that leave a residual."""
    return [change for change in found.changes if change.reconciliation.residual]


def failing_releases(found: History) -> list[Row]:
    """The releases whose formulas fail somewhere."""
    return [row for row in found.counted if row.agree != row.sites]
