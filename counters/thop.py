"""thop (pytorch-OpCounter): forward hooks on module classes that it knows by exact type."""

from __future__ import annotations

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
        from thop import profile

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
        return Count(total=exact(total), parts=parts, params=exact(params, "parameters"))

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
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
