"""A project's drift made by hand: rules that moved for many models, a model that changed, budgets, what is missing."""

from __future__ import annotations

from flopledger.reports.moves import Amounts, Broken, Change, Drift, Moved, Moves, Row

OLD, NEW = "0.0.5.post2110061705", "0.1.1.post2209072238"
NORMS = {"resnet50": 11_113_984, "mobilenet": 6_677_552, "vgg": 13_546_496}  # elements of their batch norms


def change(models: dict[str, int] | None = None, counter: str = "thop") -> Change:
    """The rule of thop that moved: twice the outputs before, four times after."""
    return Change(
        counter=counter, cause="release", before_version=OLD, after_version=NEW, unit="MAC", phase="forward",
        op="batch_norm", before_formula="2·outputs", after_formula="4·outputs", before_because="a scale and a shift",
        after_because="subtract, divide, scale and shift each element",
        before_source="thop/vision/basic_hooks.py:47 count_bn",
        after_source="thop/vision/basic_hooks.py:57 count_normalization",
        models={model: Amounts(before=2 * n, after=4 * n) for model, n in (models or NORMS).items()},
    )  # fmt: skip


def row(
    counter: str, amounts: dict[str, tuple[int, int]], version: tuple[str, str] = ("1", "1"), **more: object
) -> Row:
    """A counter whose total is these operations, then and now."""
    lines = [
        Moved(op=op, before_formula="macs", after_formula="macs", before=a, after=b, difference=b - a)
        for op, (a, b) in amounts.items()
        if a != b
    ]
    before, after = (sum(pair[i] for pair in amounts.values()) for i in (0, 1))
    return Row(counter=counter, mark="moved" if lines else "same", before_version=version[0], after_version=version[1],
               unit="MAC", before=before, after=after, difference=after - before, lines=lines,
               **more)  # type: ignore[arg-type] # fmt: skip


def drift(model: str, *rows: Row, **more: object) -> Drift:
    return Drift(model=f"torchvision:{model}", inputs=["1x3x224x224"], rows=list(rows), **more)  # type: ignore[arg-type]


def touched(model: str, n: int, macs: int = 4_089_184_256) -> Drift:
    """A model of which only thop's number moved, by its rule for batch norms."""
    return drift(
        model,
        row("thop", {"conv": (macs, macs), "batch_norm": (2 * n, 4 * n)}, (OLD, NEW), cause="release",
            parts={"release": 2 * n}),
        row("fvcore", {"conv": (macs, macs)}),
        row("torch", {"conv": (2 * macs, 2 * macs)}),
    )  # fmt: skip


HEAVIEST = [("layer4.0.conv2", "conv", 115_605_504), ("layer4.1.conv2", "conv", 115_605_504)]
BROKEN = Broken(model="resnet50", what="site layer4", limit=800_000_000, value=811_663_360, line=14, heaviest=HEAVIEST)


def sample_moves() -> Moves:
    """Four models of which three have batch norms, one budget that is broken, nothing else."""
    still = drift("vit_b_16", *(row(name, {"linear": (11, 11)}) for name in ("thop", "fvcore", "torch")))
    return Moves(
        project="pyproject.toml",
        baseline="flops.json",
        drifts={"vit_b_16": still, **{model: touched(model, n) for model, n in NORMS.items()}},
        changes=[change()],
        broken=[BROKEN],
        lines={"resnet50": 9, "mobilenet": 20, "vgg": 24, "vit_b_16": 28},
        budgets={"resnet50": ["macs", "site layer4"]},
    )


def eventful_moves() -> Moves:
    """All that can be: a model that changed, several causes, a residual, marks of every kind, notes, an unpriced op."""
    grown = drift(
        "grown",
        row("thop", {"conv": (100, 150), "linear": (7, 7)}, cause="model", parts={"model": 50}),
        row("fvcore", {"conv": (100, 150)}, cause="model", parts={"model": 50}),
        notes=["the model itself does other work than in the baseline: macs 107 then, 157 now"],
    )
    both = drift(
        "both",
        row("thop", {"conv": (100, 150), "batch_norm": (8, 24)}, (OLD, NEW), cause="several",
            parts={"model": 58, "release": 8}),
        Row(counter="fvcore", mark="moved", before_version="1", after_version="2", unit="FLOP", before=10, after=19,
            difference=9, residual=9),
    )  # fmt: skip
    odd = drift(
        "odd",
        Row(
            counter="thop",
            mark="newly failing",
            before_version=OLD,
            after_version=NEW,
            before=5,
            reason="KeyError: 'x'",
        ),
        Row(counter="fvcore", mark="newly counting", after_version="1", after=7),
        Row(counter="torch", mark="not comparable", before=5, after=9, reason="another model or input", cause="input"),
        Row(counter="ptflops", mark="gone", before=5, reason="it was not run"),
        Row(counter="torchinfo", mark="new", after=5, reason="it is not in the baseline"),
        Row(counter="calflops", mark="same", reason="not installed"),
        Row(
            counter="other", mark="new release, same numbers", before_version="1", after_version="2", before=3, after=3
        ),
        unpriced={"mylib.op": 2, "mylib.old": 1},
        unpriced_before={"mylib.old": 1},
    )
    params = Broken(model="grown", what="params", limit=0, value=5, line=7)
    untold = Broken(model="odd", what="macs", limit=9, value=5, at_least=True, unpriced={"mylib.op": 2}, line=8)
    op = Broken(model="odd", what="op conv", limit=2, value=5, at_least=False, heaviest=[("", "conv", 5)], line=8)
    same = change({"grown": 0})
    moves = sample_moves()
    return Moves(
        project="sub dir/flopledger.toml",
        baseline="flops.json",
        drifts={**moves.drifts, "grown": grown, "both": both, "odd": odd},
        new=["newcomer"],
        gone=["leaver"],
        failed={"broken": "no module named 'x'"},
        changes=[change({**NORMS, "both": 4}), same],
        broken=[BROKEN, params, untold, op],
        notes=["2 entries are of tests, and are not counted again here"],
        lines={**moves.lines, "grown": 40, "both": 44, "odd": 48},
    )
