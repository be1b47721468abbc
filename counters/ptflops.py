"""ptflops, whose two backends are two counters: hooks and patched functions, or dispatched operations."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from counters.convention import Convention, both, called_as, has, in_modules, lacks, rule
from counters.tally import Count, Part, Unsupported, exact
from reference_model.ledger import Entry, Ledger

if TYPE_CHECKING:
    from torch import nn

ENGINE, OPS, ATEN = "ptflops/pytorch_engine.py", "ptflops/pytorch_ops.py", "ptflops/aten_ops.py"


def _complexity(model: nn.Module, inputs: tuple[Any, ...], backend: str, **options: Any) -> tuple[int, int]:
    """Call the library with these very tensors. It prints its errors and returns None for them."""
    from ptflops import get_model_complexity_info

    if len(inputs) == 1:
        batch: Any = inputs[0]
    else:  # several inputs have to go in by name
        parameters = list(inspect.signature(model.forward).parameters.values())
        if len(parameters) < len(inputs) or any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in
                                                parameters[: len(inputs)]):  # fmt: skip
            raise Unsupported("takes several inputs by name only, and this forward() does not name them")
        batch = {p.name: value for p, value in zip(parameters, inputs, strict=False)}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        macs, params = get_model_complexity_info(
            model, (1,), input_constructor=lambda _: batch, backend=backend,
            print_per_layer_stat=False, as_strings=False, **options,
        )  # fmt: skip
    if macs is None or params is None:
        said = [line for line in printed.getvalue().splitlines() if line.strip()]
        raise RuntimeError(said[-1] if said else "the library returned None")
    return exact(macs), exact(params, "parameters")


class PtflopsPytorch:
    """Hooks on module classes, averaged over the batch, plus patched functions, which are not averaged."""

    distribution = "ptflops"
    unit = "MAC"
    device = "cpu"  # on meta, torch's own Python kernels call the functions that it patches
    about = "hooks on module classes and patched functions; MACs, plus elements of norms, ReLUs, pools"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from ptflops import pytorch_engine as engine

        from counters.sites import watched

        hooked: list[tuple[str, int]] = []
        called: list[Part] = []
        averaged = engine.accumulate_flops
        wrapper = engine.torch_function_wrapper
        call = wrapper.__call__

        def accumulate(module: Any) -> Any:
            value = averaged(module)
            if engine.is_supported_instance(module) and value:
                hooked.append((sites.names[id(module)], exact(value)))
            return value

        def observed(self: Any, *args: Any, **kwargs: Any) -> Any:
            index, site = len(self.collector), sites.here
            out = call(self, *args, **kwargs)
            if amount := exact(self.collector[index]):
                called.append(Part(site, None, amount))
            return out

        engine.accumulate_flops, wrapper.__call__ = accumulate, observed
        with watched(model) as sites:
            total, params = _complexity(model, inputs, "pytorch")
        parts, batch = [], _batch(len(inputs), inputs[0].shape if len(inputs) == 1 else ())
        for site, count in hooked:
            parts.append(Part(site, None, count // batch))
        if rest := total - sum(part.count for part in parts + called):
            parts.append(Part("", "unattributed", rest))  # a hook's count that the batch does not divide
        return Count(total=total, parts=parts + called, params=params)

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        shape = ledger.inputs[0].partition(":")[0] if len(ledger.inputs) == 1 else ""
        n = _batch(len(ledger.inputs), tuple(map(int, shape.split("x"))) if shape[:1].isdigit() else ())
        hook, twice = Fraction(1, n), Fraction(1, n) + 1
        mean = " (averaged over the batch)" if n > 1 else ""
        both_ways = "once by the module's hook" + mean + " and once more by the patched function it calls"
        elements, functional = f"{OPS}:30 relu_flops_counter_hook", f"{OPS}:347 _numel_functional_flops_hook"
        attention = in_modules("MultiheadAttention")
        unfused = called_as("torch.nn.functional.multi_head_attention_forward")
        mha = f"{OPS}:180 multihead_attention_counter_hook"
        return Convention("ptflops-pytorch", (
            rule("conv conv_transpose", f"{hook}·macs + {hook}·bias_adds",
                 "taps of the kernel, groups respected, and the bias" + mean,
                 f"{OPS}:60 conv_flops_counter_hook",
                 in_modules(*(f"Conv{t}{d}d" for t in ("", "Transpose") for d in (1, 2, 3)))),
            rule("linear", f"{hook}·macs + {hook}·bias_adds", "products and the bias" + mean,
                 f"{OPS}:35 linear_flops_counter_hook", in_modules("Linear")),
            rule("batch_norm instance_norm group_norm", f"{2 * hook}·inputs",
                 "normalise and scale every element" + mean,
                 f"{OPS}:51 bn_flops_counter_hook", both(_affine_norms, has("weights"))),
            rule("batch_norm instance_norm group_norm", f"{hook}·inputs", "normalise every element" + mean,
                 f"{OPS}:51 bn_flops_counter_hook", both(_affine_norms, lacks("weights"))),
            rule("layer_norm", f"{hook}·inputs",
                 "one per element: its test for weights reads `affine`, which LayerNorm calls otherwise" + mean,
                 f"{OPS}:51 bn_flops_counter_hook", in_modules("LayerNorm")),
            rule("activation", f"{hook}·outputs", "one per element" + mean, elements,
                 in_modules("ReLU6", "LeakyReLU")),
            rule("activation", f"{twice}·outputs", both_ways, elements,
                 in_modules("ReLU", "PReLU", "ELU", "GELU")),
            rule("pool", f"{twice}·inputs", both_ways, f"{OPS}:46 pool_flops_counter_hook", _pools),
            rule("upsample", f"{twice if n == 1 else 1 + hook * hook}·outputs",
                 both_ways + " (its hook looks at the first sample only)" * (n > 1),
                 f"{OPS}:21 upsample_flops_counter_hook", in_modules("Upsample")),
            *_recurrent(hook, mean),
            rule("linear", f"{hook}·macs + {hook}·bias_adds", "projections of attention" + mean, mha, attention),
            rule("add", f"{hook}·outputs", "biases of the input projection" + mean, mha, attention),
            rule("attention", f"{twice}·macs + {hook}·inputs",
                 both_ways + "; the hook adds one per score for the softmax and one per query element for scaling,"
                 " which are the inputs of the two products", mha, both(attention, unfused)),
            rule("attention", f"{hook}·macs + {hook}·inputs",
                 "both products, one per score for the softmax and one per query element for scaling, which are the"
                 " inputs of the two products" + mean, mha, attention),
            rule("softmax", "outputs", "a patched function, besides what the hook charges with the products",
                 functional, both(attention, unfused)),
            rule("mul softmax", "0", "charged with the attention products, whose inputs they make", mha, attention),
            rule("activation", "0", "the layer took hold of its activation before that was patched",
                 f"{OPS}:422 FUNCTIONAL_MAPPING", in_modules("TransformerEncoderLayer", "TransformerDecoderLayer")),
            rule("activation softmax pool upsample", "inputs", "a patched function, one per input element",
                 functional, _patched),
            rule("upsample", "outputs", "a patched function, one per output element",
                 f"{OPS}:351 _interpolate_functional_flops_hook",
                 called_as("torch.nn.functional.interpolate", "torch.nn.functional.upsample")),
            rule("matmul", "macs", "a patched function, multiply-adds of the product",
                 f"{OPS}:385 _matmul_tensor_flops_hook",
                 called_as(*(f"torch.{t}{f}" for t in ("", "Tensor.") for f in ("matmul", "mm", "bmm")))),
            rule("matmul", "macs + biases", "a patched function, the product and what is added to it",
                 f"{OPS}:390 _addmm_tensor_flops_hook",
                 called_as("torch.addmm", "torch.Tensor.addmm", "torch.baddbmm")),
            rule("add mul", "outputs", "a patched function, one per element",
                 f"{OPS}:397 _elementwise_tensor_flops_hook",
                 called_as("torch.add", "torch.Tensor.add", "torch.mul", "torch.Tensor.mul")),
            rule("activation", "0", "neither a hook nor a patched function for it", f"{OPS}:271 MODULES_MAPPING"),
            rule("add mul", "0", "an operator like x + y reaches no patched function",
                 f"{OPS}:453 TENSOR_OPS_MAPPING"),
            rule("*", "0", "neither a hook nor a patched function for it", f"{OPS}:422 FUNCTIONAL_MAPPING"),
        ))  # fmt: skip


class PtflopsAten:
    """Formulas on dispatched operations: products, convolutions and the biases that go with them."""

    distribution = "ptflops"
    unit = "MAC"
    device = "meta"
    about = "formulas on dispatched operations; MACs and bias additions of convolutions and products"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from ptflops.aten_ops import ATEN_OPS_MAPPING

        from counters.sites import watched

        parts: list[Part] = []

        def placed(formula: Callable[..., int]) -> Callable[..., int]:
            def counted(args: Any, out: Any) -> int:
                amount = formula(args, out)
                parts.append(Part(sites.here, None, exact(amount)))
                return amount

            return counted

        hooks = {op: placed(formula) for op, formula in ATEN_OPS_MAPPING.items()}
        with watched(model) as sites:
            total, params = _complexity(model, inputs, "aten", custom_modules_hooks=hooks)
        return Count(total=total, parts=parts, params=params)

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        added = "an addmm carries its bias"
        return Convention("ptflops-aten", (
            rule("conv conv_transpose", "macs + bias_adds", "taps of the kernel, and the bias",
                 f"{ATEN}:71 conv_flop_count"),
            rule("linear", "macs + addmm_adds", "products, and the bias where it is part of the product",
                 f"{ATEN}:36 addmm_flop"),
            rule("matmul", "0", "no formula is registered for it", f"{ATEN}:109 ATEN_OPS_MAPPING", _unregistered),
            rule("matmul", "macs + bias_adds", added, f"{ATEN}:36 addmm_flop"),
            rule("attention", "macs", "fused attention comes apart into products on the meta device",
                 f"{ATEN}:57 bmm_flop"),
            rule("recurrent", "macs + bias_adds", "comes apart into addmm on the meta device",
                 f"{ATEN}:36 addmm_flop"),
            rule("*", "0", "no formula is registered for it", f"{ATEN}:109 ATEN_OPS_MAPPING"),
        ))  # fmt: skip


def _batch(inputs: int, shape: Any) -> int:
    """What the pytorch backend divides by: the length of a single input. By name it sees no batch."""
    return max(1, shape[0]) if inputs == 1 and len(shape) else 1


def _recurrent(hook: Fraction, mean: str) -> Any:
    because = "products, biases twice, and the gates' element-wise work" + mean
    for kinds, with_biases, without in ((("RNN", "RNNCell"), 3, 1), (("GRU", "GRUCell"), 13, 7),
                                        (("LSTM", "LSTMCell"), 18, 10)):  # fmt: skip
        for states, condition in ((with_biases, has("biases")), (without, lacks("biases"))):
            yield rule("recurrent", f"{hook}·macs + {hook * states}·states", because,
                       f"{OPS}:130 rnn_flops_counter_hook", both(in_modules(*kinds), condition))  # fmt: skip


_affine_norms = in_modules(*(f"{norm}{d}d" for norm in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)), "GroupNorm")
_pools = in_modules(*(f"{kind}Pool{d}d" for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg") for d in (1, 2, 3)))
_FUNCTIONS = frozenset(
    f"torch.nn.functional.{name}"
    for name in (
        *["relu", "prelu", "elu", "relu6", "gelu", "silu", "softmax"],
        *(f"{a}{kind}_pool{d}d" for a in ("", "adaptive_") for kind in ("avg", "max") for d in (1, 2, 3)),
    )
)


def _patched(entry: Entry) -> bool:
    """called as one of the patched functions"""
    return entry.api in _FUNCTIONS


def _unregistered(entry: Entry) -> bool:
    """as baddbmm, mv or dot"""
    return entry.aten in ("aten.baddbmm", "aten.mv", "aten.dot", "aten.vdot", "aten.addmv", "aten.addbmm")
