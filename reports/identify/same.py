"""Another model under the convention that printed a number."""

from __future__ import annotations

from msgspec.structs import replace

from flopledger.reference_model.subject import Spec
from flopledger.reports.identify.candidates import Candidate, Departure, of_form
from flopledger.reports.identify.search import Scales


def same(candidate: Candidate, model: str, scales: Scales) -> list[Candidate]:
    """What `model` has under a candidate's convention, in its unit and mode, at its input.

    More than one where releases that make the same of the candidate's model make different numbers of this: the
    newest first.

    Raises:
        ValueError: the model cannot be built or does not take that input, or the convention has no number for it.
    """
    weighed = scales.asked(Spec.parse(model, candidate.inputs, candidate.mode))
    mine = replace(
        candidate, model=weighed.model, inputs=weighed.inputs, departure=Departure(), measured=None, **of_form(weighed)
    )
    if candidate.form is not None:
        return [replace(mine, value=int(candidate.form.of(weighed) * candidate.factor))]
    assert candidate.total is not None
    counter, ages = candidate.total.counter, {span.at for span in candidate.total.spans}
    found = []
    for total in reversed(weighed.totals):
        spans = [span for span in total.spans if span.at in ages]
        value = total.value * candidate.factor
        if total.counter == counter and spans and value.denominator == 1:
            found.append(replace(mine, value=int(value), total=replace(total, spans=spans), parts=total.shares))
    if not found:
        raise ValueError(f"{counter} has no whole number of operations for {model} at these inputs")
    return sorted(found, key=lambda each: max(span.at for span in each.total.spans) if each.total else 0, reverse=True)
