"""What each counter saw of the ledger, what it missed, and whose parameters are not the model's, in words."""

from __future__ import annotations

from flopledger.reports.documents.run import Run, TallyRecord
from flopledger.reports.pages.analysis import Missed, macs, missed
from flopledger.reports.pages.numbers import few, giga, listed, number, part, percent, visible
from flopledger.reports.pages.vocabulary import op_word

NAMED = 3  # ops that a sentence names


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
    if not macs(run) or not counted:
        return parameters(run)
    shares: dict[str, list[str]] = {}
    for tally in sorted(counted, key=lambda tally: run.coverage(tally).total.share or 0):
        shares.setdefault(seen(run, tally), []).append(visible(tally.name))
    if list(shares) == ["100 %"]:
        return [f"{'Each' if len(counted) > 1 else 'It'} saw all of the MACs.", *parameters(run)]
    said = [f"{few(names, 4)} {share}" for share, names in shares.items()]
    more = [f"{number(len(said) - NAMED)} other shares"] if len(said) > NAMED + 1 else []
    return [f"Seen of the MACs: {listed([*said[: NAMED + 1], *more])}.", *_what_is_missed(run), *parameters(run)]


def _what_is_missed(run: Run) -> list[str]:
    """A sentence for each op of which counters miss something that shows, largest first."""
    ops: dict[str, dict[str, list[str]]] = {}
    most: dict[str, int] = {}
    of: dict[str, int] = {}
    for tally in run.counted():
        for each in missed(run, tally):
            share = "all" if each.macs == each.of else part(each.macs, each.of)
            ops.setdefault(each.op, {}).setdefault(share, []).append(visible(tally.name))
            most[each.op], of[each.op] = max(most.get(each.op, 0), each.macs), each.of
    shown = [op for op in sorted(ops, key=lambda op: -most[op]) if most[op] * 1000 >= macs(run)][:NAMED]
    found = []
    for op in shown:
        who = [f"{few(names, 5)} {'misses' if len(names) == 1 else 'miss'} {share}" for share, names in ops[op].items()]
        found.append(f"{listed(who)} of {op_word(op)}, which is {part(of[op], macs(run))} of the MACs.")
    return found


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
