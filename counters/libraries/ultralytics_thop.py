"""ultralytics-thop: a fork of thop under the same import name, which counts functions too since 2.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.version import Version

from flopledger.counters.condition import (
    both,
    called_as,
    has,
    in_modules,
    in_own_class,
    lacks,
    like,
    negated,
)
from flopledger.counters.convention import Convention, Step, in_force, of_complex, rule
from flopledger.counters.hooked import DROPS_PADDING, of_one_sample
from flopledger.counters.libraries.thop.count import Thop, counted
from flopledger.counters.libraries.thop.rules import (
    ADAPTIVE,
    CONVS,
    HOOKS,
    NO_ENTRY,
    RNN,
    TABLE,
    recurrent,
    recurrent_otherwise,
    shared,
    upsamples,
)
from flopledger.counters.tally import Count

if TYPE_CHECKING:
    from torch import nn


class UltralyticsThop:
    """thop as Ultralytics keeps it: more layers, subclasses of known layers, and products called as functions."""

    distribution = "ultralytics-thop"
    instead_of = "thop"
    unit = "MAC"
    device = "meta"  # its hooks read shapes only
    script = """import thop
print("ultralytics-thop", int(thop.profile(model, inputs=inputs, verbose=False)[0]))"""
    modes = ("eval",)
    about = "thop's fork: subclasses of known module classes, attention, and products called as functions"
    shims = Thop.shims

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        return counted(model, inputs, self.shims)

    def convention(self, version: str | None) -> Convention:
        rules = in_force(version, STEPS, RULES)
        if version is not None and Version(version) < Version("2.0.22"):
            rules = tuple(shared(rules, walks=True))
        return Convention("ultralytics-thop", of_complex(tuple(of_one_sample(rules))), (DROPS_PADDING,))


_NORMS = like(*(f"{norm}{d}d" for norm in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)),
              "SyncBatchNorm", "LayerNorm", "GroupNorm", "RMSNorm")  # fmt: skip
_NORM = "batch_norm instance_norm layer_norm group_norm rms_norm"
_AVERAGE = in_modules(*(f"{adaptive}AvgPool{d}d" for adaptive in ("", "Adaptive") for d in (1, 2, 3)))
_ATTENTION = in_modules("MultiheadAttention")
_WHOLE = called_as("torch.nn.functional.multi_head_attention_forward")
_MULTI_HEAD = called_as("torch.nn.functional.multi_head_attention_forward",
                        "torch.nn.functional.scaled_dot_product_attention")  # fmt: skip
_LINEAR = called_as("torch.nn.functional.linear")
_PRODUCTS = called_as("torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__", "torch.bmm",
                      "torch.Tensor.bmm", "torch.functional.einsum")  # fmt: skip
_SOFTMAX = "exponential, sum and division of every vector"
RULES = (
    rule("conv", "macs", "one MAC per output and weight tap, groups respected, bias left out",
         f"{HOOKS}:32 count_convNd", like("Conv1d", "Conv2d", "Conv3d")),
    rule("conv_transpose", "macs", "one MAC per input and weight tap, groups respected, bias left out",
         f"{HOOKS}:54 count_convtNd", like("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")),
    rule("linear", "macs", "in_features per output, bias left out", f"{HOOKS}:169 count_linear", like("Linear")),
    rule("attention", "macs + 3·scores - queries", "products of queries, keys and values, and the softmax between",
         f"{HOOKS}:184 count_multihead_attention", both(_ATTENTION, has("scores"))),
    rule("linear attention", "macs", "projections, and the products of queries, keys and values",
         f"{HOOKS}:184 count_multihead_attention", _ATTENTION),
    rule("softmax", "3·outputs - rows", _SOFTMAX, f"{HOOKS}:184 count_multihead_attention", _ATTENTION),
    rule("attention", "macs + 3·scores - queries", "products of queries, keys and values, and the softmax between",
         f"{TABLE}:144 _count_multi_head_attention", both(_WHOLE, has("scores"))),
    rule("attention", "macs", "products of queries, keys and values", f"{TABLE}:138 _count_sdpa", has("scores")),
    rule("linear attention", "macs", "projections, and the products of queries, keys and values",
         f"{TABLE}:144 _count_multi_head_attention", _MULTI_HEAD),
    rule("softmax", "3·outputs - rows", _SOFTMAX, f"{TABLE}:144 _count_multi_head_attention", _MULTI_HEAD),
    rule("linear", "macs", "one MAC per output and contracted element, bias left out", f"{TABLE}:133 _count_matmul",
         _LINEAR),
    rule("matmul", "macs", "one MAC per output and contracted element", f"{TABLE}:133 _count_matmul", _PRODUCTS),
    rule("bilinear", "macs", "both contractions; says so with the two inputs exchanged, so alike if they are",
         f"{HOOKS}:179 count_bilinear", like("Bilinear")),
    rule(_NORM, "4·outputs", "two operations to normalise an element, doubled where there are weights",
         f"{HOOKS}:68 count_normalization", both(_NORMS, has("weights"))),
    rule(_NORM, "2·outputs", "two operations to normalise an element, no weights to apply",
         f"{HOOKS}:68 count_normalization", both(_NORMS, lacks("weights"))),
    rule("pool", "windows + outputs", "adds up what is in each window, and divides",
         f"{HOOKS}:118 count_avgpool", both(_AVERAGE, has("windows"))),
    rule("pool", "inputs + outputs", "adds up what is in each window, and divides; windows that tile the input",
         f"{HOOKS}:133 count_adap_avgpool", _AVERAGE),
    rule("softmax", "3·outputs - rows", _SOFTMAX, f"{HOOKS}:98 count_softmax", in_modules("Softmax", "Softmax2d")),
    rule("softmax", "4·outputs - rows", f"{_SOFTMAX}, and the sign", f"{HOOKS}:98 count_softmax",
         in_modules("Softmin")),
    rule("softmax", "3·outputs", f"{_SOFTMAX}, and a logarithm", f"{HOOKS}:98 count_softmax",
         in_modules("LogSoftmax")),
    rule("activation", "inputs", "one operation per element", f"{HOOKS}:90 count_prelu", in_modules("PReLU")),
    *(rule("upsample", f"{cost}·outputs", f"{cost} per output in this mode", f"{HOOKS}:152 count_upsample",
           upsamples(mode)) for mode, cost in (("linear", 5), ("bilinear", 11), ("bicubic", 259), ("trilinear", 31))),
    *recurrent(f"{RNN}:102 count_rnn", f"{RNN}:128 count_gru", f"{RNN}:154 count_lstm"),
    rule("*", "0", "no hook or function of its tables is called for this, or one that adds nothing",
         f"{TABLE}:42 register_hooks"),
)  # fmt: skip

STEPS = (  # the first release is thop 0.1.1.post2209072238 under another name
    Step("2.0.15", (
        rule("upsample", "0", "an unknown mode", f"{HOOKS}:123 count_upsample", upsamples("trilinear")),
    )),
    Step("2.0.16", (
        rule("conv_transpose", "macs_at_output", "counted like a convolution, over the output positions",
             f"{HOOKS}:23 count_convNd", in_modules("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")),
    )),
    Step("2.1.2", (  # classes by their exact type; LeakyReLU was a zero already
        rule("conv conv_transpose linear layer_norm batch_norm instance_norm", "0", "it knew classes by exact type",
             f"{TABLE}:33 register_hooks", in_own_class),
        rule("group_norm rms_norm", "0", NO_ENTRY, f"{TABLE}:33 register_hooks"),
        rule("pool", "inputs + outputs", "adds every input up and divides every output",
             f"{HOOKS}:119 count_adap_avgpool", both(ADAPTIVE, negated(has("cut_off")))),
        rule("pool", "averaged_adaptively", "adds in / out of each side up for every output, and divides; rounded down",
             f"{HOOKS}:119 count_adap_avgpool", ADAPTIVE),
        rule("upsample", "outputs", "one per output in this mode", f"{HOOKS}:127 count_upsample",
             upsamples("nearest")),
    )),
    Step("2.1.3", (
        *recurrent_otherwise(f"{RNN}:94 count_rnn", f"{RNN}:131 count_gru", f"{RNN}:168 count_lstm"),
        rule("conv", "channels_by_height", "without a batch, the second side is taken for the channels",
             f"{HOOKS}:27 count_convNd", both(CONVS, has("unbatched"))),
        rule("linear attention softmax", "0", NO_ENTRY, f"{TABLE}:32 register_hooks", _ATTENTION),
        rule("softmax", "0", NO_ENTRY, f"{TABLE}:32 register_hooks", in_modules("LogSoftmax", "Softmin", "Softmax2d")),
        rule("pool", "outputs", "one operation per output, whatever the window", f"{HOOKS}:107 count_avgpool",
             in_modules(*(f"AvgPool{d}d" for d in (1, 2, 3)))),
    )),
    Step("2.1.4", (rule("bilinear", "0", NO_ENTRY, f"{TABLE}:38 register_hooks"),)),
    Step("2.1.6", tuple(recurrent_otherwise(f"{RNN}:107 count_rnn", f"{RNN}:136 count_gru", f"{RNN}:165 count_lstm",
                                            unbatched=False))),
    Step("2.2.0", (
        rule("matmul", "0", "it counted modules only", f"{TABLE}:40 register_hooks"),
        rule("attention", "0", "it counted modules only", f"{TABLE}:40 register_hooks",
             both(has("scores"), negated(_ATTENTION))),
    )),
    Step("2.2.2", (
        rule("matmul", "0", NO_ENTRY, f"{TABLE}:144 functional_hooks", called_as("torch.functional.einsum")),
    )),
    Step("2.2.3", (
        rule("linear", "0", NO_ENTRY, f"{TABLE}:167 functional_hooks", both(negated(like("Linear")), _LINEAR)),
        rule("linear attention softmax", "0", NO_ENTRY, f"{TABLE}:167 functional_hooks",
             both(negated(_ATTENTION), _WHOLE)),
    )),
)  # fmt: skip
