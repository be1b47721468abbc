"""Higher-order operators: those that run functions they are given, and what of that is counted.

A scan, a loop, a map, a checkpointed or a compiled region is what its functions do, as often as they run. Of
branches one runs, which may depend on data: the larger counts, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_iter, tree_map, tree_map_only

_BRANCHES = {"cond", "switch"}
# Those that compute nothing beside what their functions do.
_OF_FUNCTIONS = _BRANCHES | set(
    (
        "associative_scan autograd_function_apply custom_function_call dynamo_bypassing_wrapper foreach_map "
        "hints_wrapper invoke_leaf_function invoke_quant invoke_subgraph local_map_hop map_impl "
        "run_and_save_rng_state run_with_rng_state scan strict_mode tag_activation_checkpoint trace_wrapped "
        "while_loop while_loop_stack_output with_effects wrap wrap_activation_checkpoint wrap_with_autocast "
        "wrap_with_set_grad_enabled"
    ).split()
)


def is_body(value: Any) -> bool:
    """Whether an argument is a function to be run."""
    return callable(value) and not isinstance(value, (Tensor, type, OpOverload, OpOverloadPacket))


def of_functions(func: Any, *args: Any) -> bool:
    """Whether a higher-order operator is what the functions do that it is given, and nothing else."""
    return func.name() in _OF_FUNCTIONS and any(is_body(leaf) or isinstance(leaf, type) for leaf in tree_iter(args))


def reseen(modes: tuple[Any, ...]) -> Callable[[Any], Any]:
    """What makes of a function one that runs with `modes` on, and those that are on here.

    Inside an operator they are off.
    """
    wanted = [*_get_current_dispatch_mode_stack(), *_get_current_function_mode_stack(), *modes]

    def wrapped(body: Any) -> Any:
        if not is_body(body):
            return body

        def run(*args: Any, **kwargs: Any) -> Any:
            on = [*_get_current_dispatch_mode_stack(), *_get_current_function_mode_stack()]
            with ExitStack() as stack:
                for mode in wanted:
                    if not any(mode is other for other in on):
                        stack.enter_context(mode)
                return body(*args, **kwargs)

        return run

    return wrapped


def run_bodies(recorder: Any, modes: tuple[Any, ...], func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a higher-order operator with its functions seen by `modes`; they are written down as what they do."""
    seen = reseen(modes)
    if func.name() in _BRANCHES:
        choice, *branches, operands = tree_map(seen, args)
        return larger(recorder, func.name(), choice, list(filter(is_body, tree_iter(branches))), operands)
    arguments, keywords = tree_map(seen, (args, kwargs))
    return func(*arguments, **keywords)


def run_higher(recorder: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a higher-order operator without asking the function modes, which stay on for what it runs.

    Branches and loops are run here, so that autograd sees what is in them, also tensors that they only refer to.
    """
    if func.name() in _BRANCHES and not kwargs:
        choice, *branches, operands = args
        return larger(recorder, func.name(), choice, list(filter(is_body, tree_iter(branches))), operands)
    if func.name() == "while_loop" and not kwargs:
        condition, body, carried, others = args
        while condition(*carried, *others):
            carried = body(*carried, *others)
        return tuple(carried)
    keys = torch._ops._compute_keyset(args, kwargs, func.non_fallthrough_keys)
    return func.dispatch(keys.highestPriorityTypeId(), *args, **kwargs)


def larger(recorder: Any, name: str, choice: Any, branches: list[Any], operands: Any) -> Any:
    """Run every branch and keep what the larger did (the most MACs, then elements); its result where none is chosen."""
    with recorder.below:
        try:
            taken = int(choice) if len(branches) != 2 or name != "cond" else int(not choice)
        except (RuntimeError, NotImplementedError):  # on the meta device nobody knows
            taken = None
    results: dict[int, tuple[Any, Any]] = {}
    for at in sorted(range(len(branches)), key=lambda at: at == taken):  # the one that runs may write to its operands
        with recorder.below:
            given = operands if at == taken else tree_map_only(Tensor, torch.clone, operands)
        with recorder.apart() as done:
            results[at] = branches[at](*given), done
    size = {at: (done.total("macs"), done.total("outputs")) for at, (_, done) in results.items()}
    most = max(size, key=lambda at: size[at])
    recorder.join(results[most][1])
    macs = " and ".join(f"{size[at][0]:,}" for at in sorted(size))
    if len(set(size.values())) > 1:
        where = recorder.site[-1] or "the root"
        recorder.note(f"torch.{name} at {where} runs one of branches of {macs} MACs: the larger is counted")
    return results[most if taken is None else taken][0]


def kernel_name(args: dict[str, Any]) -> str | None:
    """The name of a Triton kernel that an operator launches, None where it launches none."""
    if "kernel_idx" not in args:
        return None
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    kernel: Any = kernel_side_table.get_kernel(args["kernel_idx"])
    while not hasattr(kernel, "__name__") and hasattr(kernel, "fn"):
        kernel = kernel.fn  # an autotuner around it
    return f"triton.{getattr(kernel, '__name__', type(kernel).__name__)}"
