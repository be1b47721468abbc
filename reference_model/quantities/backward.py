"""What the gradient of a product costs: again products, one for each gradient that is needed.

What is of elements alone (norms, pools, activations, look-ups) is of the same kind in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from flopledger.reference_model.quantities import attention as kernels
from flopledger.reference_model.quantities import contractions, convolutions, flex  # noqa: F401  (prices it repeats)
from flopledger.reference_model.quantities.registry import (
    COMPLEX,
    FUNCTIONS,
    Priced,
    Pricer,
    arranged,
    aten,
    elements,
    gradient,
    parameters_of,
    real_macs,
    whole_numbers,
)


@aten("convolution_backward", "convolution_backward_overrideable")
def convolution(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
    *_: Any,
    out: Any,
    **__: Any,
) -> Priced:
    """Every product `x·w` of the forward is one `g·w` for the input's gradient and one `g·x` for the weight's.

    So each of the two costs what the forward costs, with groups as there: the pairs of input and weight that never
    met have no gradient. The bias's is a sum of `g`. `output_mask` says which are needed: input, weight, bias.
    """
    spatial = weight.dim() - 2
    inner = input if transposed else grad_output
    each = prod(inner.shape[: inner.dim() - spatial - 1]) * prod(inner.shape[inner.dim() - spatial :]) * weight.numel()
    of_input, of_weight, of_bias = output_mask
    weights = of_weight * real_macs(each, grad_output, input)
    return ("conv_transpose" if transposed else "conv"), {
        "macs": of_input * real_macs(each, grad_output, weight) + weights,
        "weight_gradient_macs": weights,
        "inputs": grad_output.numel(),
        "outputs": input.numel() * of_input,
        "bias_adds": grad_output.numel() * of_bias,
        **parameters_of(grad_output, weight, None),
    }


@aten("_deform_conv2d_backward", "torchvision._deform_conv2d_backward")
def deformable(grad: Tensor, input: Tensor, weight: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """torchvision's kernel: `Wᵀ·g` for the sampled input, and `g·x` for the weight, both whatever is needed."""
    each = grad.numel() * prod(weight.shape[1:])
    return "conv", {"macs": 2 * each, "weight_gradient_macs": each, "inputs": grad.numel(), "outputs": input.numel()}


@aten("linear_backward", "mkldnn_linear_backward")
def linear(input: Tensor, grad_output: Tensor, weight: Tensor, output_mask: Sequence[bool], *, out: Any) -> Priced:
    """`g·W` for the input and `gᵀ·x` for the weight: each as the forward, one MAC per output and input feature."""
    each = grad_output.numel() * weight.shape[-1]
    of_input, of_weight, of_bias = output_mask
    return "linear", {
        "macs": each * (of_input + of_weight),
        "inputs": grad_output.numel(),
        "outputs": input.numel() * of_input,
        "bias_adds": grad_output.numel() * of_bias,
    }


@aten("matmul_backward")
def matmul(grad: Tensor, self: Tensor, other: Tensor, mask: Sequence[bool], *, out: Any) -> Priced:
    """`g·bᵀ` and `aᵀ·g`: each as the forward, the inner length per element of `g`."""
    each = grad.numel() * self.shape[-1]
    return "matmul", {"macs": each * sum(mask), "inputs": grad.numel(), "outputs": self.numel() * mask[0]}


def _attention(forward: Priced, query: Tensor, value: Tensor, q: bool, k: bool, v: bool, mask: bool = False) -> Priced:
    """`dV = Pᵀ·g` and `dP = g·Vᵀ`, scores·values each; `dQ = dS·K` and `dK = dSᵀ·Q`, scores·width each.

    Twice the forward, where all are needed. A kernel that keeps no scores computes `Q·Kᵀ` again (T. Dao et al.,
    FlashAttention, 2022, algorithm 4): `recomputed_macs`. dS is of elements.
    """
    counts, width, values = forward[1], query.shape[-1], value.shape[-1]
    each = values * (v + (q or k or mask)) + width * (q + k)
    return "attention", {
        "macs": counts["scores"] * each,
        "masked_macs": counts["masked_macs"] // (width + values) * each,
        "recomputed_macs": counts["scores"] * width,
        "scores": counts["scores"],
        "inputs": counts["outputs"],
        "outputs": counts["inputs"],
    }


@gradient("torch.nn.functional.scaled_dot_product_attention")
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> Priced:
    """The gradients that are needed, whichever kernel a device has; the plain one alone keeps its scores."""
    forward = kernels.attention(query, key, value, attn_mask, dropout_p, is_causal, out=out)
    masked = attn_mask is not None and attn_mask.requires_grad
    return _attention(forward, query, value, query.requires_grad, key.requires_grad, value.requires_grad, masked)


@gradient("higher_order.flex_attention")
def block_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: Any, block_mask: tuple[Any, ...], *_: Any, out: Any, **__: Any
) -> Priced:
    """As fused attention; what the modification of the scores costs is not counted, in the backward either."""
    forward = flex.flex_attention(query, key, value, score_mod, block_mask, out=out)
    counts = {"masked_macs": 0, **forward[1]}
    needed = query.requires_grad, key.requires_grad, value.requires_grad
    return _attention((forward[0], counts), query, value, *needed)


def _of_kernel(forward: Pricer) -> Pricer:
    def priced(query: Tensor, key: Tensor, value: Tensor, *args: Any, grad: Tensor, out: Any, **kwargs: Any) -> Priced:
        """A kernel by itself: it has all three gradients, needed or not."""
        return _attention(forward(query, key, value, *args, out=grad, **kwargs), query, value, True, True, True)

    return priced


@aten("higher_order.flex_attention_backward")
def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    result: Tensor,
    logsumexp: Tensor,
    grad: Tensor,
    grad_logsumexp: Any,
    score_mod: Any,
    gradient_of_it: Any,
    block_mask: tuple[Any, ...],
    *_: Any,
    out: Any,
    **__: Any,
) -> Priced:
    """The same with a block mask: all three gradients, of the full square."""
    forward = flex.flex_attention(query, key, value, score_mod, block_mask, out=(result,))
    return _attention(forward, query, value, True, True, True)


_VARLEN = "cum_seq_q cum_seq_k max_q max_k dropout_p is_causal"
_EFFICIENT = "cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k logsumexp dropout_p seed offset custom_mask_type"
for _name, _forward, _order in (
    ("_scaled_dot_product_flash_attention_backward", kernels.attention, f"result logsumexp {_VARLEN}"),
    ("_scaled_dot_product_flash_attention_for_cpu_backward", kernels.attention, "result logsumexp dropout_p is_causal"),
    ("_scaled_dot_product_efficient_attention_backward", kernels.attention,
     "attn_mask result logsumexp seed offset dropout_p needed is_causal"),
    ("_scaled_dot_product_cudnn_attention_backward", kernels.attention,
     f"result logsumexp seed offset attn_mask {_VARLEN}"),
    ("_scaled_dot_product_fused_attention_overrideable_backward", kernels.attention,
     f"attn_mask needed result logsumexp {_VARLEN}"),
    ("_flash_attention_backward", kernels.flash_attention, f"result logsumexp {_VARLEN}"),
    ("_efficient_attention_backward", kernels.efficient_attention, f"bias result {_EFFICIENT}"),
    ("_cudnn_attention_backward", kernels.cudnn_attention, f"result logsumexp seed offset attn_bias {_VARLEN}"),
    ("torch_attn._varlen_attn_backward", kernels.varlen_attention,
     "result logsumexp cu_seq_q cu_seq_k max_q max_k is_causal state scale window_size"),
):  # fmt: skip
    aten(_name)(arranged(_of_kernel(_forward), f"grad query key value {_order}"))


@gradient("torch.lstm")
def lstm(input: Tensor, second: Any, third: Any, *rest: Any, out: Any, **_: Any) -> Priced:
    """Each matrix at all steps: its gradient, and that of what it met, as far as they are needed.

    What goes back into a first state needs a gradient only if that does: of packed sequences, those at the first step
    that runs. On a CPU this is one kernel for each layer, which has all of it.
    """
    packed = isinstance(second, Tensor)
    states, params, (biased, layers, *_, both) = (third, *rest[:1], rest[1:6]) if packed else (second, third, rest[:5])
    steps = input.numel() // max(1, input.shape[-1])
    firsts = [states[0].shape[1]] * 2
    if packed:
        sizes = whole_numbers(second)
        firsts = [sizes[0], sizes[-1]]
    each = len(params) // (layers * (1 + both))
    below, macs = input.requires_grad, 0
    for layer in range(layers):
        above = False
        for side in range(1 + both):
            first = (layer * (1 + both) + side) * each
            own = params[first : first + each]
            w_ih, w_hh = own[:2]
            if not (below or any(tensor.requires_grad for tensor in (*own, *states))):
                continue
            above = True
            macs += steps * w_ih.numel() * (below + w_ih.requires_grad)
            macs += steps * w_hh.numel() * (1 + w_hh.requires_grad)
            macs -= firsts[side] * w_hh.numel() * (not states[0].requires_grad)
            if len(own) > 2 + 2 * biased:  # projections
                macs += steps * own[-1].numel() * (1 + own[-1].requires_grad)
        below = above
    return "recurrent", {"macs": macs, "inputs": elements(out), "outputs": input.numel(), "steps": steps}


@aten("mkldnn_rnn_layer_backward")
def recurrent_layer(input: Tensor, weight1: Tensor, weight2: Tensor, *_: Any, out: Any, **__: Any) -> Priced:
    """One layer in one direction by oneDNN: for each matrix its gradient and that of what it met, all steps."""
    steps = input.numel() // max(1, input.shape[-1])
    return "recurrent", {"macs": 2 * steps * (weight1.numel() + weight2.numel()), "steps": steps}


@aten("_cudnn_rnn_backward", "miopen_rnn_backward")
def recurrent_layers(input: Tensor, weight: Sequence[Tensor], *args: Any, out: Any, **__: Any) -> Priced:
    """All layers: what each matrix met at all steps, whatever is needed, and the matrices as `output_mask` says."""
    matrices = sum(each.numel() for each in weight if each.dim() == 2)
    steps = input.numel() // max(1, input.shape[-1])
    return "recurrent", {"macs": steps * matrices * (1 + args[-1][3]), "steps": steps}


@aten("_embedding_bag_per_sample_weights_backward")
def sample_weights(grad: Tensor, weight: Tensor, indices: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """The gradient of each sample's weight is its row of the table times that of its bag: one MAC per element."""
    return "embedding", {"macs": indices.numel() * weight.shape[-1], "inputs": grad.numel(), "outputs": out.numel()}


@aten("_cdist_backward")
def distances(grad: Tensor, x1: Tensor, x2: Tensor, *_: Any, out: Tensor, **__: Any) -> Priced:
    """For one of the two sets: each pair's difference, weighted by the gradient of its distance and added up."""
    return "matmul", {"macs": grad.numel() * x1.shape[-1], "inputs": grad.numel(), "outputs": out.numel()}


def _each(forward: Pricer) -> Pricer:
    def priced(a: Tensor, b: Tensor, *args: Any, out: Tensor, **options: Any) -> Priced:
        """Each of the two gradients, if it is needed, costs what the forward costs: every product is met again."""
        op, quantities = forward(a, b, *args, out=out, **options)
        macs = quantities["macs"]
        return op, {
            "macs": macs * (a.requires_grad + b.requires_grad),
            "weight_gradient_macs": macs * b.requires_grad if op.startswith("conv") else 0,
            "inputs": out.numel(),
            "outputs": a.numel() * a.requires_grad,
        }

    return priced


# Convolutions of complex numbers, of which torch runs three real ones for four, and products whose kernels are of
# elements and sums.
for _name, _forward in COMPLEX.items():
    gradient(_name)(_each(_forward))
for _name in ("outer", "ger", "kron"):
    gradient(f"torch.{_name}", f"torch.Tensor.{_name}")(_each(FUNCTIONS[f"torch.{_name}"]))
gradient("torch.linalg.vecdot")(_each(FUNCTIONS["torch.linalg.vecdot"]))
