"""What each counter saw of the ledger, what it missed, and whose parameters are not the model's, in words."""

from __future__ import annotations

from fractions import Fraction

from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages.analysis import Missed, macs, missed
from flopledger.reports.pages.numbers import few, giga, listed, number, part, percent, visible
from flopledger.reports.pages.vocabulary import op_word

ALL = Fraction(99, 100)  # who saw less is named in the first paragraph
NAMED = 3  # counters of which the first paragraph says what they miss, and ops of each


def seen(run: Run, tally: TallyRecord) -> str:
    """The share of the ledger's MACs that a counter saw: `100 %`, `at least 35 %`, `100 % of at least 1.024 k`."""
    found = run.coverage(tally).total
    share = f"{'at least ' if found.unsure else ''}{percent(found.share)}"
    if not found.at_least:
        return share
    return f"{share} of at least {giga(found.of)}" if found.of else "unknown"


def missing(run: Run, tally: TallyRecord) -> str:
    """What a counter missed, largest first; "" where it saw all: `all of attention (4.1 % of the MACs, in …)`."""
    every = missed(run, tally)
    said = [_missed(run, each) for each in every[:NAMED]]
    if len(every) > NAMED:
        said.append(f"{part(sum(each.macs for each in every[NAMED:]), macs(run))} of the MACs in other operations")
    return listed(said)


def _missed(run: Run, found: Missed) -> str:
    share = "all" if found.macs == found.of else part(found.macs, found.of)
    charges = "" if found.macs == found.of else f", charging {listed(list(map(visible, found.formulas)), 'or')}"
    modules = f", in {few([visible(name) for name in found.modules if name], 3)}" if any(found.modules) else ""
    return f"{share} of {op_word(found.op)} ({part(found.macs, macs(run))} of the MACs{modules}{charges})"


def first(run: Run) -> list[str]:
    """For the first paragraph: who saw how much of the MACs, and what they miss; whose parameters are others."""
    counted = run.counted()
    shares = {tally.name: run.coverage(tally).total for tally in counted}
    if not macs(run) or not counted:
        return parameters(run)
    behind: dict[str, list[str]] = {}
    for tally in sorted(counted, key=lambda tally: shares[tally.name].share or 0):
        found = shares[tally.name]
        if found.missed and Fraction(found.macs + found.unsure, found.of) < ALL:
            says = f"saw {seen(run, tally)} of the MACs, missing {missing(run, tally)}"
            behind.setdefault(says, []).append(visible(tally.name))
    said = [f"{listed(names)} {says}." for says, names in list(behind.items())[:NAMED]]
    if rest := [name for names in list(behind.values())[NAMED:] for name in names]:
        said.append(f"{few(rest)} saw less than 99 %, too.")
    if len(rest := [found for found in shares.values() if not found.unsure and (found.share or 0) >= ALL]) > 1:
        least = min(found.share or Fraction(0) for found in rest)
        who = "Each" if len(rest) == len(counted) else f"{number(len(rest))} others"
        said.append(f"{who} saw {'all' if least == 1 else percent(least) + ' or more'} of the MACs.")
    return said + parameters(run)


def parameters(run: Run) -> list[str]:
    """Whose count of parameters is not the model's."""
    found: dict[int, list[str]] = {}
    for tally in run.counted():
        if tally.params not in (None, run.model.params):
            found.setdefault(tally.params or 0, []).append(visible(tally.name))
    return [
        f"{few(names)} {'count' if len(names) > 1 else 'counts'} {number(params)} parameters; "
        f"the model has {number(run.model.params)}."
        for params, names in found.items()
    ]
