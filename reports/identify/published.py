"""Numbers that others have published: read from a file and from the installed torchvision, and explained."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from flopledger.counters.engine import kept
from flopledger.counters.engine.plan import Rejected
from flopledger.counters.registry import version_of
from flopledger.reference_model import subject
from flopledger.reference_model.names import SpecError
from flopledger.reference_model.subject import Spec
from flopledger.reports.identify.candidates import Candidate, Departure, candidates, ranked
from flopledger.reports.identify.departures import variants
from flopledger.reports.identify.number import Printed, parse
from flopledger.reports.identify.search import Scales, among

SURE = 3  # what a candidate may assume and still explain three or four digits: more fits anything
SURE_OF_ALL = 8  # and every digit
_FRAMES = 16  # of torchvision's clips: what fits all of its numbers, where it says nothing
_DEPENDS = "the second stage works on what the first one finds: the weights and the image are missing"
_SAYS_NOTHING = "the size of the two images is missing: nothing says what went in"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One number as its source prints it. `form` picks among conventions that print the digits; "" is the first.

    `unexplained` says what is missing where none does; where that decides the number, it is not `counted` here.
    """

    name: str
    spec: str
    input: str
    number: str
    label: str
    source: str
    form: str = ""
    unexplained: str = ""
    counted: bool = True


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is published about one model; `why` is why it contradicts itself."""

    name: str
    claims: list[Claim]
    why: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, the ledger's MACs for it (None: it cannot be built), and what explains it, or why nothing does."""

    claim: Claim
    macs: int | None = None
    best: Candidate | None = None
    reason: str = ""


def collected() -> list[Group]:
    """The rows of `published.toml`."""
    text = resources.files(__package__ or "").joinpath("published.toml").read_text("utf-8")
    found = tomllib.loads(text)
    sources: dict[str, str] = found["sources"]
    groups = []
    for model in found["model"]:
        common = {"name": model["name"], "spec": model["spec"], "input": model["input"]}
        claims = []
        for row in model["claims"]:
            source = "; ".join(_in_full(each, sources) for each in row["source"].split("; "))
            claims.append(Claim(**{**common, **row, "source": source}))
        groups.append(Group(name=model["name"], claims=claims, why=model.get("why", "")))
    return groups


def _in_full(source: str, known: dict[str, str]) -> str:
    """`timm, pt113` with what the file says of timm."""
    short, comma, rest = source.partition(",")
    return f"{known.get(short, short)}{comma}{rest}"


def torchvisions(keep: bool = True) -> list[Group]:
    """What the installed torchvision says of its own models, one group for each; [] where it is not installed."""
    version = version_of("torchvision")
    key = kept.note_key(Spec(), "torchvision", version, kept.stamps(Path(__file__))) if version else None
    if key is None:
        return []
    if keep and (data := kept.note("@published", key)):
        return msgspec.json.decode(data, type=list[Group])
    found = [Group(name=name, claims=claims) for name in _models() if (claims := list(_operations(name, str(version))))]
    kept.keep_note("@published", key, msgspec.json.encode(found))
    return found


def _models() -> list[str]:
    from torchvision import models

    return list(models.list_models())


def _operations(name: str, version: str) -> Iterator[Claim]:
    """One claim for each size and number of its weights."""
    from torchvision import models

    seen = set()
    for weights in models.get_model_weights(name):
        preset, operations = weights.transforms(), weights.meta.get("_ops")
        if operations is None:
            continue
        spec, given, missing = _counted(name, preset)
        if (spec, given, operations) in seen:
            continue
        seen.add((spec, given, operations))
        yield Claim(
            name=name, spec=spec, input=given, number=f"{operations:.3f}G", label="GFLOPS",
            source=f"torchvision {version}, {weights}.meta['_ops']", unexplained=missing,
            counted=not missing,
        )  # fmt: skip


def _counted(name: str, preset: Any) -> tuple[str, str, str]:
    """The spec and the input that weights are for, and what is missing where those do not settle the number."""
    kind, spec = type(preset).__name__, f"torchvision:{name}"
    crop: Any = getattr(preset, "crop_size", ())
    if kind == "VideoClassification":
        sides = "x".join(str(side) for side in crop)
        return spec, f"1x3x{_FRAMES}x{sides}", ""
    if kind == "ImageClassification":
        side = crop[0]
        own = f"?image_size={side}" if name.startswith("vit_") and side != 224 else ""
        return spec + own, f"1x3x{side}x{side}", ""
    if kind == "SemanticSegmentation":
        side = preset.resize_size[0]
        return spec, f"1x3x{side}x{side}", ""
    if kind == "ObjectDetection":
        side = 300 if name.startswith("ssd300") else 320 if "320" in name else 800
        return spec, f"[3x{side}x{side}]", _DEPENDS if "rcnn" in name else ""
    return spec, "1x3x520x960,1x3x520x960", _SAYS_NOTHING


def chosen(groups: Iterable[Group], model: str | None) -> list[Group]:
    """The groups of a model, by a spec, a part of a name, or all."""
    if model is None:
        return list(groups)
    plain = re.sub(r"[^a-z0-9]", "", model.partition("?")[0].lower().rpartition(":")[2])
    return [
        group
        for group in groups
        if plain in re.sub(r"[^a-z0-9]", "", group.name.lower())
        or any(subject.split(claim.spec)[1].replace("_", "") == plain for claim in group.claims)
    ]


def together(groups: Sequence[Group]) -> list[Group]:
    """Groups of one model as one: what torchvision says of it beside what others do."""
    by_model: dict[str, Group] = {}
    for group in groups:
        model = group.claims[0].spec.partition("?")[0]
        if model in by_model:
            before = by_model[model]
            by_model[model] = replace(before, claims=[*before.claims, *group.claims], why=before.why or group.why)
        else:
            by_model[model] = group
    return list(by_model.values())


def explained(groups: Sequence[Group], scales: Scales) -> Iterator[tuple[Group, list[Verdict]]]:
    """Each group with what explains its numbers."""
    scales.weigh(
        spec for group in groups for claim in group.claims if claim.counted and (spec := _spec(claim))
    )  # side by side
    for group in groups:
        yield group, [explain(claim, scales) for claim in group.claims]


def _spec(claim: Claim) -> Spec | None:
    try:
        texts = claim.input.split(",") if claim.input.count(",") and "[" not in claim.input else [claim.input]
        return Spec.parse(claim.spec, texts)
    except SpecError:
        return None


def explain(claim: Claim, scales: Scales) -> Verdict:
    """What prints a claim's number, of its model or a variant of that.

    No convention that assumes much is taken for one that explains few digits.
    """
    spec, printed = _spec(claim) if claim.counted else None, parse(claim.number)
    if spec is None:
        return Verdict(claim=claim, reason=claim.unexplained or "the model cannot be built here")
    try:
        given = scales.asked(spec)
    except Rejected as error:
        return Verdict(claim=claim, reason=claim.unexplained or str(error))
    found = candidates(printed, given, Departure())
    if not any(_explains(each, claim, printed) for each in found):
        found += among(printed, given, variants(spec), scales)
    best = next((each for each in ranked(found) if _explains(each, claim, printed)), None)
    reason = "" if best else claim.unexplained or "no convention that is known here prints it"
    return Verdict(claim=claim, macs=given.macs, best=best, reason=reason)


def _explains(candidate: Candidate, claim: Claim, printed: Printed) -> bool:
    if candidate.reading.cut or candidate.reading.thousand == 1024:
        return False
    if claim.form:
        named = (
            candidate.total.counter if candidate.total else ", ".join(candidate.form.switches) if candidate.form else ""
        )
        return named == claim.form
    return candidate.cost <= (SURE_OF_ALL if printed.exact else SURE)
