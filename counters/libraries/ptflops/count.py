"""ptflops, whose two backends are two counters: hooks and patched functions, or dispatched operations."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flopledger.counters.convention import Convention, Rule, both, called_as, has, in_force, in_modules, lacks, rule
from flopledger.counters.libraries.ptflops_history import (
    ATTENTION,
    BOTH_WAYS,
    LINEAR,
    NO_HOOK,
    POOLS,
    asked,
    sourced,
    steps,
    takes_a_tensor,
)
from flopledger.counters.registry import version_of
from flopledger.counters.tally import Count, Part, Unsupported, exact
from flopledger.reference_model.ledger import Entry, Ledger

if TYPE_CHECKING:
    from torch import nn

    from flopledger.reference_model.sites import Sites

ATEN = "ptflops/aten_ops.py"


def _complexity(model: nn.Module, inputs: tuple[Any, ...], backend: str) -> tuple[int, int]:
    """Call the library with these very tensors. It prints its errors and returns None for them."""
    from ptflops import get_model_complexity_info

    options = asked(model, inputs, version_of("ptflops"))
    if "backend" in inspect.signature(get_model_complexity_info).parameters:
        options["backend"] = backend
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        macs, params = get_model_complexity_info(model, print_per_layer_stat=False, as_strings=False, **options)
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
        from flopledger.reference_model.sites import watched

        # Up to 0.6.7 there was one file, up to 0.7 no function was patched.
        split = find_spec("ptflops.pytorch_engine")
        engine = import_module("ptflops.pytorch_engine" if split else "ptflops.flops_counter")
        hooked: list[tuple[str, int]] = []
        called: list[Part] = []
        with watched(model) as sites:
            _observe_hooks(engine, sites, hooked)
            if hasattr(engine, "torch_function_wrapper"):
                _observe_functions(engine.torch_function_wrapper, sites, called)
            total, params = _complexity(model, inputs, "pytorch")
        shape = getattr(inputs[0], "shape", ()) if inputs else ()
        batch = _batch(version_of("ptflops"), len(inputs), shape)
        parts = [Part(site, None, count // batch) for site, count in hooked]
        if rest := total - sum(part.count for part in parts + called):
            parts.append(Part("", "unattributed", rest))  # a hook's count that the batch does not divide
        return Count(total=total, parts=parts + called, params=params)

    def convention(self, version: str | None, ledger: Ledger) -> Convention:
        text = ledger.inputs[0].partition(":")[0] if ledger.inputs else ""
        shape = [int(size) for size in text.split("x")] if text[:1].isdigit() else []
        n, samples = _batch(version, len(ledger.inputs), shape), max(1, shape[0]) if shape else 1
        rules = in_force(version, steps(n, samples, ledger), _rules(n, samples))
        return Convention("ptflops-pytorch", sourced(version, rules))


def _observe_hooks(engine: Any, sites: Sites, found: list[tuple[str, int]]) -> None:
    """Note what every hook has put on its module when the library adds it up."""

    def note(module: Any) -> None:
        if engine.is_supported_instance(module) and module.__flops__:
            found.append((sites.names[id(module)], exact(module.__flops__)))

    if hasattr(engine, "accumulate_flops"):  # walks down the tree and meets a module with two parents twice
        walk = engine.accumulate_flops

        def accumulate(module: Any) -> Any:
            note(module)
            return walk(module)

        engine.accumulate_flops = accumulate
    else:  # up to 0.6.4, each module once
        add_up = engine.compute_average_flops_cost

        def average(model: Any) -> Any:
            for module in model.modules():
                note(module)
            return add_up(model)

        engine.compute_average_flops_cost = average


def _observe_functions(wrapper: Any, sites: Sites, found: list[Part]) -> None:
    """Note what every call of a patched function adds to its list, and where."""
    call = wrapper.__call__

    def observed(self: Any, *args: Any, **kwargs: Any) -> Any:
        index, site = len(self.collector), sites.here
        out = call(self, *args, **kwargs)
        if amount := exact(self.collector[index]):
            found.append(Part(site, None, amount))
        return out

    wrapper.__call__ = observed


def _rules(n: int, samples: int) -> tuple[Rule, ...]:
    """Today's rules, for hooks that are divided by `n`. Their sources are looked up for each release."""
    hook, sample = Fraction(1, n), Fraction(1, samples)
    twice = hook + 1
    mean = " (averaged over the batch)" if n > 1 else ""
    both_ways = "once by the module's hook" + mean + " and once more by the patched function it calls"
    elements, functional = "relu_flops_counter_hook", "_numel_functional_flops_hook"
    unfused = called_as("torch.nn.functional.multi_head_attention_forward")
    mha = "multihead_attention_counter_hook"
    return (
        rule("conv conv_transpose", f"{hook}·macs + {hook}·bias_adds",
             "taps of the kernel, groups respected, and the bias" + mean,
             "conv_flops_counter_hook",
             in_modules(*(f"Conv{t}{d}d" for t in ("", "Transpose") for d in (1, 2, 3)))),
        rule("linear", f"{hook}·macs + {hook}·bias_adds", "products and the bias" + mean,
             "linear_flops_counter_hook", LINEAR),
        rule("batch_norm instance_norm group_norm", f"{2 * hook}·inputs",
             "normalise and scale every element" + mean,
             "bn_flops_counter_hook", both(_affine_norms, has("weights"))),
        rule("batch_norm instance_norm group_norm", f"{hook}·inputs", "normalise every element" + mean,
             "bn_flops_counter_hook", both(_affine_norms, lacks("weights"))),
        rule("layer_norm", f"{hook}·inputs",
             "one per element: its test for weights reads `affine`, which LayerNorm calls otherwise" + mean,
             "bn_flops_counter_hook", in_modules("LayerNorm")),
        rule("activation", f"{hook}·outputs", "one per element" + mean, elements,
             in_modules("ReLU6", "LeakyReLU")),
        rule("activation", f"{twice}·outputs", both_ways, elements, BOTH_WAYS),
        rule("pool", f"{twice}·inputs", both_ways, "pool_flops_counter_hook", POOLS),
        rule("upsample", f"{1 + hook * sample}·outputs",
             both_ways + " (its hook looks at the first sample only)" * (samples > 1),
             "upsample_flops_counter_hook", in_modules("Upsample")),
        *_recurrent(hook, mean),
        rule("linear", f"{hook}·macs + {hook}·bias_adds", "projections of attention" + mean, mha, ATTENTION),
        rule("add", f"{hook}·outputs", "biases of the input projection" + mean, mha, ATTENTION),
        rule("attention", f"{twice}·macs + {hook}·inputs",
             both_ways + "; the hook adds one per score for the softmax and one per query element for scaling,"
             " which are the inputs of the two products", mha, both(ATTENTION, unfused)),
        rule("attention", f"{hook}·macs + {hook}·inputs",
             "both products, one per score for the softmax and one per query element for scaling, which are the"
             " inputs of the two products" + mean, mha, ATTENTION),
        rule("softmax", "outputs", "a patched function, besides what the hook charges with the products",
             functional, both(ATTENTION, unfused)),
        rule("mul softmax", "0", "charged with the attention products, whose inputs they make", mha, ATTENTION),
        rule("activation", "0", "the layer took hold of its activation before that was patched",
             "FUNCTIONAL_MAPPING", in_modules("TransformerEncoderLayer", "TransformerDecoderLayer")),
        rule("activation softmax pool upsample", "inputs", "a patched function, one per input element",
             functional, _patched),
        rule("upsample", "outputs", "a patched function, one per output element",
             "_interpolate_functional_flops_hook",
             called_as("torch.nn.functional.interpolate", "torch.nn.functional.upsample")),
        rule("matmul", "macs", "a patched function, multiply-adds of the product",
             "_matmul_tensor_flops_hook",
             called_as(*(f"torch.{t}{f}" for t in ("", "Tensor.") for f in ("matmul", "mm", "bmm")))),
        rule("matmul", "macs + biases", "a patched function, the product and what is added to it",
             "_addmm_tensor_flops_hook",
             called_as("torch.addmm", "torch.Tensor.addmm", "torch.baddbmm")),
        rule("add mul", "outputs", "a patched function, one per element",
             "_elementwise_tensor_flops_hook",
             called_as("torch.add", "torch.Tensor.add", "torch.mul", "torch.Tensor.mul")),
        rule("activation", "0", "neither a hook nor a patched function for it", NO_HOOK),
        rule("add mul", "0", "an operator like x + y reaches no patched function", "TENSOR_OPS_MAPPING"),
        rule("*", "0", "neither a hook nor a patched function for it", f"FUNCTIONAL_MAPPING {NO_HOOK}"),
    )  # fmt: skip


class PtflopsAten:
    """Formulas on dispatched operations: products, convolutions and the biases that go with them."""

    distribution = "ptflops"
    unit = "MAC"
    device = "meta"
    about = "formulas on dispatched operations; MACs and bias additions of convolutions and products"

    def count(self, model: nn.Module, inputs: tuple[Any, ...]) -> Count:
        from flopledger.reference_model.sites import watched

        if not find_spec("ptflops.aten_ops"):
            raise Unsupported(f"ptflops {version_of('ptflops')} counts as ptflops-pytorch does; aten came with 0.7.3")
        table = import_module("ptflops.aten_ops").ATEN_OPS_MAPPING
        parts: list[Part] = []

        def placed(formula: Callable[..., int]) -> Callable[..., int]:
            def counted(args: Any, out: Any) -> int:
                amount = formula(args, out)
                parts.append(Part(sites.here, None, exact(amount)))
                return amount

            return counted

        table.update({op: placed(formula) for op, formula in table.items()})  # 0.7.3 takes no formulas of others
        with watched(model) as sites:
            total, params = _complexity(model, inputs, "aten")
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


def _batch(version: str | None, inputs: int, shape: Sequence[int]) -> int:
    """What the pytorch backend divides by: the length of a single tensor. By name it sees no batch."""
    return max(1, shape[0]) if inputs == 1 and len(shape) and takes_a_tensor(version) else 1


def _recurrent(hook: Fraction, mean: str) -> Any:
    because = "products, biases twice, and the gates' element-wise work" + mean
    for kinds, with_biases, without in ((("RNN", "RNNCell"), 3, 1), (("GRU", "GRUCell"), 13, 7),
                                        (("LSTM", "LSTMCell"), 18, 10)):  # fmt: skip
        for states, condition in ((with_biases, has("biases")), (without, lacks("biases"))):
            yield rule("recurrent", f"{hook}·macs + {hook * states}·states", because,
                       "rnn_flops_counter_hook", both(in_modules(*kinds), condition))  # fmt: skip


_affine_norms = in_modules(*(f"{norm}{d}d" for norm in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)), "GroupNorm")
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
