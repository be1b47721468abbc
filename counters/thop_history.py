"""What thop charged before its newest release: one step per change, oldest first, with the release's own lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from packaging.version import Version

from counters.convention import Formula, Rule, Step, both, has, in_modules, rule
from reference_model.ledger import Entry, Ledger

HOOKS, OLD_HOOKS, TABLE = "thop/vision/basic_hooks.py", "thop/count_hooks.py", "thop/profile.py"
NO_ENTRY = "its table of hooks had no entry for this yet"
CONVS = in_modules("Conv1d", "Conv2d", "Conv3d")
TRANSPOSED = in_modules("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
ADAPTIVE = in_modules("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d")
AVERAGE = in_modules("AvgPool1d", "AvgPool2d", "AvgPool3d")
UPSAMPLES = in_modules("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d")
_BATCH_NORMS = in_modules("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
_MAXIMUM = in_modules(*(f"{adaptive}MaxPool{d}d" for adaptive in ("", "Adaptive") for d in (1, 2, 3)))


def upsamples(mode: str) -> Callable[[Entry], bool]:
    """True for upsampling modules that work in `mode`."""

    def in_mode(entry: Entry) -> bool:
        return entry.aten.startswith(f"aten.upsample_{mode}") and "exact" not in entry.aten

    in_mode.__doc__ = f"mode {mode}"
    return both(UPSAMPLES, in_mode)


def uploaded(version: str) -> int:
    """When a version was uploaded, YYMMDDhhmm: by PEP 440, 0.0.5 comes before 0.0.31, which is older.

    0.0.30.post190806 tells the day alone, and counts as the last of it. Of those that tell nothing,
    0.0.22 (and its .post421392844089) was the first of all; any other is newer than what is known here.
    """
    if found := re.search(r"post(\d{6}(?:\d{4})?)$", version):
        return int(found[1].ljust(10, "9"))
    return 0 if Version(version) < Version("0.0.23") else 10**10


STEPS = (
    Step("0.0.23.post1907171426", (  # max pools were charged; 1907171426 lost the functions, 1907171430 the entries
        rule("pool", "windows_as_written", "one comparison per element of a window, whose side is taken for its size",
             f"{OLD_HOOKS}:111 count_maxpool", _MAXIMUM),
    )),
    Step("0.0.23.post1908021517", (  # average pools were charged, then not for one release, then again
        rule("pool", "windows_as_written + outputs",
             "adds up each window, whose side is taken for its size, and divides", f"{OLD_HOOKS}:128 count_avgpool",
             AVERAGE),
    )),
    Step("0.0.23.post1908021522", (rule("pool", "0", "its table of hooks had lost its entry for this",
                                        f"{TABLE}:12 register_hooks", AVERAGE),)),
    # Rectifiers were charged and a bias multiplied by the input channels. Hooks set a module's count: see `last_call`.
    Step("0.0.23.post1908061459", (
        rule("conv", "macs + channel_macs", "takes the bias for one more tap of the kernel",
             f"{OLD_HOOKS}:12 count_convNd", both(CONVS, has("biases"))),
        rule("conv_transpose", "0", NO_ENTRY, f"{TABLE}:12 register_hooks",
             in_modules("ConvTranspose1d", "ConvTranspose3d")),
        rule("activation", "inputs", "one operation per element", f"{OLD_HOOKS}:92 count_relu",
             in_modules("ReLU", "ReLU6")),
    )),
    Step("0.0.30.post1908281655", (rule("upsample", "0", NO_ENTRY, f"{TABLE}:12 register_hooks"),)),
    Step("0.0.31.post1910280903", (
        rule("upsample", "13·outputs", "six multiplications and seven additions per output",
             f"{OLD_HOOKS}:95 count_upsample", upsamples("bilinear")),
        rule("linear", "2·macs - outputs", "in_features multiplications and one addition less, bias left out",
             f"{OLD_HOOKS}:123 count_linear", in_modules("Linear")),
    )),
    Step("0.0.31.post2001170342", (
        rule("batch_norm", "4·outputs", "subtract, divide, multiply, add, with weights or without",
             f"{OLD_HOOKS}:44 count_bn", in_modules("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")),
        rule("pool", "windows_as_written + outputs",
             "adds up each window, whose side is taken for its size, and divides", f"{OLD_HOOKS}:75 count_avgpool",
             AVERAGE),
    )),
    Step("0.0.31.post2004070130", (
        rule("linear", "2·macs - outputs + bias_adds", "every multiplication and every addition",
             f"{OLD_HOOKS}:127 count_linear", in_modules("Linear")),
    )),
    Step("0.0.31.post2005241907", (
        rule("recurrent", "0", NO_ENTRY, f"{TABLE}:24 register_hooks"),
        rule("batch_norm", "0", NO_ENTRY, f"{TABLE}:24 register_hooks", in_modules("SyncBatchNorm")),
    )),
    Step("0.0.5.post2206100352", (
        rule("layer_norm instance_norm softmax", "0", NO_ENTRY, f"{TABLE}:25 register_hooks"),
        rule("activation", "0", NO_ENTRY, f"{TABLE}:25 register_hooks", in_modules("PReLU")),
    )),
    Step("0.0.5.post2206102148", (
        rule("batch_norm", "2·outputs", "two operations per element, with weights or without",
             f"{HOOKS}:64 count_bn", _BATCH_NORMS),
        rule("layer_norm", "2·outputs", "two operations per element, with weights or without",
             f"{HOOKS}:70 count_ln", in_modules("LayerNorm")),
        rule("instance_norm", "2·outputs", "two operations per element, with weights or without",
             f"{HOOKS}:76 count_in", in_modules(*(f"InstanceNorm{d}d" for d in (1, 2, 3)))),
        rule("conv", "macs + bias_adds", "one MAC per output and weight tap, and one for the bias",
             f"{HOOKS}:33 count_convNd", CONVS),
        rule("conv_transpose", "macs_at_output + bias_adds", "counted like a convolution, over the output positions",
             f"{HOOKS}:33 count_convNd", TRANSPOSED),
        rule("activation", "outputs", "one operation per element", f"{HOOKS}:90 count_relu", in_modules("LeakyReLU")),
        rule("upsample", "0", "nearest copies", f"{HOOKS}:124 count_upsample", upsamples("nearest")),
    )),
    # Where a side of the output divides that of the input, this is inputs + outputs.
    Step("0.1.0.post2207010342", (
        rule("pool", "windows_as_written + outputs", "adds up windows of in // out a side, and divides every output",
             f"{HOOKS}:114 count_adap_avgpool", both(ADAPTIVE, has("windows"))),
    )),
)  # fmt: skip


def at_leaf_root(entry: Entry) -> bool:
    """at a root without modules below it"""
    return entry.leaf and not entry.site


def since(version: str, first: str, end: str) -> bool:
    """Whether `version` was uploaded from `first` on and before `end`."""
    return uploaded(first) <= uploaded(version) < uploaded(end)


def special(version: str, rules: tuple[Rule, ...], ledger: Ledger) -> tuple[Rule, ...]:
    """The rules of a release whose sum goes another way than adding every call of every module."""
    if since(version, "0.0.31.post2004101309", "0.0.4.post2109101449"):
        why = "it sums the modules below the root"
        return (rule("*", "0", why, f"{TABLE}:198 dfs_count", at_leaf_root), *rules)
    if uploaded(version) < uploaded("0.0.23.post1908061459"):
        return tuple(narrower for each in rules for narrower in (*last_call(each, ledger), each))
    return rules


def last_call(every: Rule, ledger: Ledger) -> list[Rule]:
    """Its rules where hooks set a module's count: of n calls the last one's is left, 1/n if they are alike."""
    mine = [entry for entry in ledger.entries if every.formula.terms and every.speaks_of(entry)]
    alike = sorted({entry["calls"] for entry in mine if not unlike(entry)} - {1})
    found = [({name: value * Fraction(1, n) for name, value in every.formula.terms.items()}, called(n)) for n in alike]
    if any(map(unlike, mine)):
        found.append(({f"last_{name}": value for name, value in every.formula.terms.items()}, unlike))
    return [
        Rule(
            every.ops,
            Formula(terms),
            f"{every.because}; only the last call is kept",
            every.source,
            both(*([every.when] if every.when else []), when),
        )
        for terms, when in found
    ]


def unlike(entry: Entry) -> bool:
    """called several times, not always alike"""
    return entry["last_calls"] > 0


def called(times: int) -> Callable[[Entry], bool]:
    """True for entries of modules that ran `times` times, always alike."""

    def condition(entry: Entry) -> bool:
        return entry["calls"] == times and not unlike(entry)

    condition.__doc__ = f"called {times} times"
    return condition
