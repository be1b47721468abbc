"""thop (pytorch-OpCounter): forward hooks on module classes that it knows by exact type."""

from __future__ import annotations

import collections
import collections.abc
import inspect
import re
import sys
import types
from typing import TYPE_CHECKING, Any

from counters.convention import Convention, both, has, in_modules, lacks, rule
from counters.tally import Count, Part, exact
from reference_model.ledger import Entry, Ledger

if TYPE_CHECKING:
    from torch import nn

HOOKS, RNN, TABLE = "thop/vision/basic_hooks.py", "thop/rnn_hooks.py", "thop/profile.py"


class Thop:
    """Counts MACs of contractions, and operations of norms and average pools, in one sum."""

    distribution = "thop"
    unit = "MAC"
    device = "meta"  # its hooks read shapes only
    about = "hooks on known module classes; MACs, plus operations of norms and average pools"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        shims = _let_it_import()
        from thop import profile

        if "ret_layer_info" not in inspect.signature(profile).parameters:
            return _count_by_hook(model, inputs, shims)
        total, params, table = profile(model, inputs=inputs, verbose=False, ret_layer_info=True)
        canonical = {id(module): name for name, module in model.named_modules()}
        sites = {path: canonical[id(m)] for path, m in model.named_modules(remove_duplicate=False)}
        parts: list[Part] = []

        def walk(path: str, ops: float, children: dict[str, Any]) -> None:
            own = exact(ops) - sum(exact(child[0]) for child in children.values())
            if own:
                parts.append(Part(sites[path], None, own))
            for name, (child_ops, _, below) in children.items():
                walk(f"{path}.{name}" if path else name, child_ops, below)

        walk("", total, table)
        return Count(total=exact(total), parts=parts, params=exact(params, "parameters"), shims=shims)

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        if _stamp(version) < OLDEST_KNOWN:
            return Convention("thop", (rule("*", "0", "no convention is written for this release yet", TABLE),))
        if _stamp(version) < FOUR_PER_ELEMENT:
            return Convention("thop", (*_OLDER, *self.convention(None, ledger).rules))
        rnn, cell = in_modules("RNN", "RNNCell"), "_count_rnn_cell: per state one addition, two with biases"
        return Convention("thop", (
            rule("conv", "macs", "one MAC per output and weight tap, groups respected, bias left out",
                 f"{HOOKS}:22 count_convNd", in_modules("Conv1d", "Conv2d", "Conv3d")),
            rule("conv_transpose", "macs_at_output", "counted like a convolution, over the output positions",
                 f"{HOOKS}:22 count_convNd", in_modules(*(f"ConvTranspose{d}d" for d in (1, 2, 3)))),
            rule("linear", "macs", "in_features per output, bias left out",
                 f"{HOOKS}:140 count_linear", in_modules("Linear")),
            rule("batch_norm layer_norm instance_norm", "4·outputs",
                 "two operations to normalise an element, doubled where there are weights",
                 f"{HOOKS}:60 count_normalization", both(_norms, has("weights"))),
            rule("batch_norm layer_norm instance_norm", "2·outputs",
                 "two operations to normalise an element, no weights to apply",
                 f"{HOOKS}:60 count_normalization", both(_norms, lacks("weights"))),
            rule("pool", "outputs", "one operation per output, whatever the window",
                 f"{HOOKS}:106 count_avgpool", in_modules("AvgPool1d", "AvgPool2d", "AvgPool3d")),
            rule("pool", "inputs + outputs", "adds every input up and divides every output",
                 f"{HOOKS}:114 count_adap_avgpool", in_modules(*(f"AdaptiveAvgPool{d}d" for d in (1, 2, 3)))),
            rule("softmax", "3·outputs - rows", "exponential, sum and division of every vector",
                 f"{HOOKS}:98 count_softmax", in_modules("Softmax")),
            rule("activation", "inputs", "one operation per element",
                 f"{HOOKS}:82 count_prelu", in_modules("PReLU")),
            *(rule("upsample", f"{cost}·outputs" if cost > 1 else "outputs", f"{cost} per output in this mode",
                   f"{HOOKS}:125 count_upsample", both(_upsamples, _mode(mode)))
              for mode, cost in (("nearest", 1), ("linear", 5), ("bilinear", 11), ("bicubic", 259))),
            rule("recurrent", "macs + 3·states", cell, f"{RNN}:87 count_rnn", both(rnn, has("biases"))),
            rule("recurrent", "macs + states", cell, f"{RNN}:87 count_rnn", rnn),
            rule("recurrent", "macs + 13·states", "three gates, biases twice, and the hidden state's mix",
                 f"{RNN}:124 count_gru", both(in_modules("GRU", "GRUCell"), has("biases"))),
            rule("recurrent", "macs + 7·states", "three gates and the hidden state's mix",
                 f"{RNN}:124 count_gru", in_modules("GRU", "GRUCell")),
            rule("recurrent", "macs + 16·states", "four gates, biases twice, and the cell state",
                 f"{RNN}:161 count_lstm", both(in_modules("LSTM", "LSTMCell"), has("biases"))),
            rule("recurrent", "macs + 8·states", "four gates and the cell state",
                 f"{RNN}:161 count_lstm", in_modules("LSTM", "LSTMCell")),
            rule("activation pool", "0", "listed as a zero op", f"{HOOKS}:18 zero_ops", in_modules(
                "ReLU", "ReLU6", "LeakyReLU", *(f"{a}MaxPool{d}d" for a in ("", "Adaptive") for d in (1, 2, 3)))),
            rule("*", "0", "its table of hooks has no entry for this", f"{TABLE}:21 register_hooks"),
        ))  # fmt: skip


_upsamples = in_modules("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d")
_norms = in_modules(*(f"{norm}{d}d" for norm in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)),
                    "LayerNorm", "SyncBatchNorm")  # fmt: skip


def _mode(mode: str) -> Any:
    def condition(entry: Entry) -> bool:
        return entry.aten.startswith(f"aten.upsample_{mode}") and "exact" not in entry.aten

    condition.__doc__ = f"mode {mode}"
    return condition


OLDEST_KNOWN = 2004101309
FOUR_PER_ELEMENT = 2206102148  # the stamp of 0.0.5.post2206102148, the first release with today's norms


def _stamp(version: str | None) -> int:
    """The upload time in a version, YYMMDDhhmm: by PEP 440, 0.0.5 comes before 0.0.31, which is older."""
    found = re.search(r"post(\d{10})$", version or "")
    return int(found[1]) if found else (0 if version else FOUR_PER_ELEMENT)


def _let_it_import() -> list[str]:
    """Give old releases what they import on today's Python and use in no count of a PyTorch model."""
    shims: list[str] = []
    while True:
        try:
            import thop  # noqa: F401

            return shims
        except ImportError as error:
            if "'Iterable'" in str(error) and not hasattr(collections, "Iterable"):
                collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
                shims.append("collections.Iterable is collections.abc.Iterable, as before Python 3.10")
            elif isinstance(error, ModuleNotFoundError) and error.name == "onnx":
                sys.modules["onnx"] = _Empty("onnx")
                shims.append("onnx is an empty module: it is imported for ONNX models only")
            else:
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "thop"]:
                del sys.modules[name]


class _Empty(types.ModuleType):
    """A module in which every name is there and none is of use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def _count_by_hook(model: nn.Module, inputs: tuple[Any, ...], shims: list[str]) -> Count:
    """Releases that return totals only: what each of their hooks adds is noted as it is added."""
    from thop import profile as package_profile
    from thop.profile import register_hooks

    canonical = {id(module): name for name, module in model.named_modules()}
    parts: list[Part] = []

    def noting(hook: Any) -> Any:
        def noted(module: Any, x: Any, y: Any) -> None:
            before = module.total_ops.item()
            hook(module, x, y)
            if added := exact(module.total_ops.item() - before):
                parts.append(Part(canonical[id(module)], None, added))

        noted.__qualname__ = hook.__qualname__  # it prints this
        return noted

    for kind, hook in list(register_hooks.items()):
        if hook is not None:
            register_hooks[kind] = noting(hook)
    total, params = package_profile(model, inputs=inputs, verbose=False)
    warnings = []
    if lost := exact(total) - sum(part.count for part in parts):
        parts.append(Part("", "unattributed", lost))
        warnings.append(f"it adds up in float32; exactly, its hooks count {exact(total) - lost:,}")
    return Count(total=exact(total), parts=parts, params=exact(params, "parameters"), shims=shims, warnings=warnings)


_batch_norms = in_modules("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
# Up to 0.0.5.post2206100352; everything they do not say is as it is today.
_OLDER = (
    rule("batch_norm", "2·outputs", "two operations per element, with weights or without",
         f"{HOOKS}:48 count_bn", _batch_norms),
    rule("layer_norm instance_norm softmax", "0", "its table of hooks had no entry for this yet", TABLE),
    rule("conv", "macs + bias_adds", "one MAC per output and weight tap, and one for the bias",
         f"{HOOKS}:22 count_convNd", in_modules("Conv1d", "Conv2d", "Conv3d")),
    rule("conv_transpose", "macs_at_output + bias_adds", "counted like a convolution, over the output positions",
         f"{HOOKS}:22 count_convNd", in_modules(*(f"ConvTranspose{d}d" for d in (1, 2, 3)))),
    rule("activation", "outputs", "one operation per element", f"{HOOKS}:59 count_relu", in_modules("LeakyReLU")),
    rule("activation", "0", "its table of hooks had no entry for this yet", TABLE, in_modules("PReLU")),
    rule("upsample", "0", "nearest copies", f"{HOOKS}:103 count_upsample", both(_upsamples, _mode("nearest"))),
)  # fmt: skip
