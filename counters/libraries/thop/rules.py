"""What thop charges, and what it charged before: one step per change, with the lines of the releases before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import prod

from packaging.version import Version

from flopledger.counters.condition import (
    Condition,
    any_of,
    as_aten,
    at_root,
    both,
    has,
    in_leaf,
    in_modules,
    lacks,
    negated,
)
from flopledger.counters.convention import Rule, Step, in_force, rule, times
from flopledger.counters.formula import Case, Formula, Monomial, quantity, value
from flopledger.counters.hooked import layers, of_one_sample, steps_as_seen

HOOKS, RNN, TABLE = "thop/vision/basic_hooks.py", "thop/rnn_hooks.py", "thop/profile.py"
OLD_HOOKS = "thop/count_hooks.py"
NO_ENTRY = "its table of hooks had no entry for this yet"
CONVS = in_modules("Conv1d", "Conv2d", "Conv3d")
TRANSPOSED = in_modules("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
ADAPTIVE = in_modules("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d")
AVERAGE = in_modules("AvgPool1d", "AvgPool2d", "AvgPool3d")
UPSAMPLES = in_modules("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d")
_BATCH_NORMS = in_modules("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
_MAXIMUM = in_modules(*(f"{adaptive}MaxPool{d}d" for adaptive in ("", "Adaptive") for d in (1, 2, 3)))


def upsamples(mode: str) -> Condition:
    """In upsampling modules that work in `mode`."""
    sides = {"nearest": (1, 2, 3), "linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}[mode]
    return both(UPSAMPLES, as_aten(*(f"upsample_{mode}{d}d" for d in sides)))


@quantity
def channel_macs(case: Case) -> int:
    """Outputs of a convolution times the input channels of a group: its MACs if the kernel were one tap."""
    weight, facts = case.call.facts["weight"], case.call.facts
    return int(prod(facts["out"]) * (weight[0] // facts["groups"] if facts["transposed"] else weight[1]))


@quantity
def averaged_adaptively(case: Case) -> int:
    """Outputs of a pool times (in / out of each side, and 1), in float64 and rounded down, as thop multiplies."""
    facts = case.call.facts
    kernel = prod((i / o for i, o in zip(facts["input"][2:], facts["out"][2:], strict=True)), start=1.0)
    return int((kernel + 1) * prod(facts["out"]))


@quantity
def cut_off(case: Case) -> int:
    """What thop's rounding takes from an adaptive pool: its inputs and outputs, less what it says."""
    facts = case.call.facts
    return int(prod(facts["input"]) + prod(facts["out"]) - averaged_adaptively(case))


@quantity
def windows_as_written(case: Case) -> int:
    """Outputs of a pool times its kernel size as written, 3 or (3, 3); adaptive: times in // out of each side."""
    facts = case.call.facts
    outputs = prod(facts["out"])
    if "kernel_size" in facts:
        size = facts["kernel_size"]
        return int(outputs * (prod(size) if isinstance(size, (list, tuple)) else size))
    return int(outputs * prod(i // o for i, o in zip(facts["input"], facts["out"], strict=True) if o))


@quantity
def channels_by_height(case: Case) -> int:
    """MACs of a convolution that takes the second side of its input, which has no batch, for the channels."""
    facts = case.call.facts
    given = {seen.inputs[0][1] for seen in case.module.seen if seen.inputs and seen.inputs[0]}
    side = given.pop() if len(given) == 1 else facts["x"][2]  # before it is padded by hand, as in a circle
    return int(prod(facts["out"]) * (side // facts["groups"]) * prod(facts["weight"][2:]))


@quantity
def step_by_step(case: Case) -> int:
    """What thop charges a recurrent layer: cells of input_size and hidden_size, no projection, for each step it sees.

    A cell has per gate the two products, one addition per state, and two for biases; GRU adds 4 and LSTM 4 per state.
    """
    return _cells(case) * steps_as_seen(case)


@quantity
def step_by_real_step(case: Case) -> int:
    """The same where the hook knows an input without a batch."""
    steps = steps_as_seen(case) if value("packed", case) else prod(case.call.facts["input"][:-1])
    return _cells(case) * int(steps)


def _cells(case: Case) -> int:
    module = case.module
    hidden, wide = int(module.settings["hidden_size"]), 2 if module.settings.get("bidirectional") else 1
    gates, extra = {"RNN": (1, 0), "GRU": (3, 4), "LSTM": (4, 4)}[module.kind.removesuffix("Cell")]
    into, total = int(module.settings["input_size"]), 0
    for _ in layers(module):
        cell = gates * (hidden * (into + hidden) + hidden + 2 * hidden * bool(module.settings["bias"]))
        total, into = total + wide * (cell + extra * hidden), wide * hidden
    return total


_PADDED = any_of(has("packed"), has("projected"))
_OTHERWISE = any_of(_PADDED, has("unbatched"))


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


def recurrent(rnn: str, gru: str, lstm: str) -> list[Rule]:
    """The rules for recurrent layers, which are the same wherever they are; the lines are not."""
    of_rnn, of_gru, of_lstm = (in_modules(name, f"{name}Cell") for name in ("RNN", "GRU", "LSTM"))
    state = "_count_rnn_cell: per state one addition, two with biases"
    return [
        rule("recurrent", "macs + 3·states", state, rnn, both(of_rnn, has("biases"))),
        rule("recurrent", "macs + states", state, rnn, of_rnn),
        rule("recurrent", "macs + 13·states", "three gates, biases twice, and the hidden state's mix", gru,
             both(of_gru, has("biases"))),
        rule("recurrent", "macs + 7·states", "three gates and the hidden state's mix", gru, of_gru),
        rule("recurrent", "macs + 16·states", "four gates, biases twice, and the cell state", lstm,
             both(of_lstm, has("biases"))),
        rule("recurrent", "macs + 8·states", "four gates and the cell state", lstm, of_lstm),
    ]  # fmt: skip


def recurrent_otherwise(*lines: str, unbatched: bool = True) -> list[Rule]:
    """The rules for recurrent layers whose input or cell is not as their hooks take it to be, `unbatched` or not."""
    because = "cells of its input and hidden size, no projection, for each step and sample that the input's shape shows"
    formula, when = ("step_by_step", _OTHERWISE) if unbatched else ("step_by_real_step", _PADDED)
    return [rule("recurrent", formula, because, line, both(in_modules(name, f"{name}Cell"), when))
            for name, line in zip(("RNN", "GRU", "LSTM"), lines, strict=True)]  # fmt: skip


_NORMS = in_modules(*(f"{norm}{d}d" for norm in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)),
                    "LayerNorm", "SyncBatchNorm")  # fmt: skip
RULES = (
    rule("conv conv_transpose", "channels_by_height", "without a batch, the second side is taken for the channels",
         f"{HOOKS}:22 count_convNd", both(any_of(CONVS, TRANSPOSED), has("unbatched"))),
    rule("conv", "macs", "one MAC per output and weight tap, groups respected, bias left out",
         f"{HOOKS}:22 count_convNd", CONVS),
    rule("conv_transpose", "macs_at_output", "counted like a convolution, over the output positions",
         f"{HOOKS}:22 count_convNd", TRANSPOSED),
    rule("linear", "macs", "in_features per output, bias left out", f"{HOOKS}:140 count_linear", in_modules("Linear")),
    rule("batch_norm layer_norm instance_norm", "4·outputs",
         "two operations to normalise an element, doubled where there are weights",
         f"{HOOKS}:60 count_normalization", both(_NORMS, has("weights"))),
    rule("batch_norm layer_norm instance_norm", "2·outputs",
         "two operations to normalise an element, no weights to apply",
         f"{HOOKS}:60 count_normalization", both(_NORMS, lacks("weights"))),
    rule("pool", "outputs", "one operation per output, whatever the window", f"{HOOKS}:106 count_avgpool", AVERAGE),
    rule("pool", "inputs + outputs", "adds every input up and divides every output",
         f"{HOOKS}:114 count_adap_avgpool", both(ADAPTIVE, negated(has("cut_off")))),
    rule("pool", "averaged_adaptively", "adds in / out of each side up for every output, and divides; rounded down",
         f"{HOOKS}:114 count_adap_avgpool", ADAPTIVE),
    rule("softmax", "3·outputs - rows", "exponential, sum and division of every vector",
         f"{HOOKS}:98 count_softmax", in_modules("Softmax")),
    rule("activation", "inputs", "one operation per element", f"{HOOKS}:82 count_prelu", in_modules("PReLU")),
    *(rule("upsample", f"{cost}·outputs" if cost > 1 else "outputs", f"{cost} per output in this mode",
           f"{HOOKS}:125 count_upsample", upsamples(mode))
      for mode, cost in (("nearest", 1), ("linear", 5), ("bilinear", 11), ("bicubic", 259))),
    *recurrent_otherwise(f"{RNN}:87 count_rnn", f"{RNN}:124 count_gru", f"{RNN}:161 count_lstm"),
    *recurrent(f"{RNN}:87 count_rnn", f"{RNN}:124 count_gru", f"{RNN}:161 count_lstm"),
    rule("activation pool", "0", "listed as a zero op", f"{HOOKS}:18 zero_ops", in_modules(
        "ReLU", "ReLU6", "LeakyReLU", *(f"{a}MaxPool{d}d" for a in ("", "Adaptive") for d in (1, 2, 3)))),
    rule("*", "0", "no hook of its table is called for this", f"{TABLE}:21 register_hooks"),
)  # fmt: skip


WALKS = "0.0.31.post2004101309"  # since then it adds up along the tree


def shared(rules: Iterable[Rule], walks: bool) -> Iterator[Rule]:
    """The rules, each after what it is in modules that more than one way leads to, which have as many hooks.

    A release that `walks` down the tree also reads them as often.
    """
    factor = "paths·paths" if walks else "paths"
    because = "; a module with two parents has two hooks" + ", and is read twice" * walks
    for each in rules:
        if each.formula.terms and each.when is not None:
            yield times(factor, each, has("shared"), because)
        yield each


def of(version: str | None) -> tuple[Rule, ...]:
    """The rules of a release, None for the newest; some releases sum in another way than every call of every module."""
    rules = in_force(version, STEPS, RULES, uploaded)
    rules = tuple(of_one_sample(shared(rules, version is None or uploaded(version) >= uploaded(WALKS))))
    if version is None:
        return rules
    if _since(version, WALKS, "0.0.4.post2109101449"):
        why = "it sums the modules below the root, and this is the root"
        return (rule("*", "0", why, f"{TABLE}:198 dfs_count", both(in_leaf, at_root)), *rules)
    if uploaded(version) < uploaded("0.0.23.post1908061459"):
        return tuple(_last_call(rules))
    return rules


def _since(version: str, first: str, end: str) -> bool:
    """Whether `version` was uploaded from `first` on and before `end`."""
    return uploaded(first) <= uploaded(version) < uploaded(end)


def _last_call(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """The rules where hooks set a module's count instead of adding to it, so that the last call's is left."""
    for each in rules:
        terms = tuple(Monomial(term.coefficient, ("last", *term.over), term.under) for term in each.formula.terms)
        because = f"{each.because}; only the last call is kept" if terms else each.because
        yield Rule(each.ops, Formula(terms), because, each.source, each.when)
