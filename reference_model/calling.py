"""How a torch function was called: its public name, by an operator or by a held reference, and with what as a whole.

Counters that patch functions see some ways of calling one and not others, so the ledger has to tell them apart. What
no argument shows is read off the bytecode of whoever calls.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch
from torch._ops import OpOverload
from torch.overrides import resolve_name

ATTENTION = "torch.nn.functional.multi_head_attention_forward"
EINSUM = "torch.functional.einsum"
_RESAMPLE = "torch.nn.functional.interpolate"
_THROUGH = ("torch/overrides.py", "torch/utils/_device.py")
_opcodes: dict[CodeType, bytes] = {}


def api_name(func: Any) -> str:
    """A torch function's public name, "" where it has none (attribute reads, mostly)."""
    if isinstance(func, OpOverload):
        return str(func.overloadpacket)
    try:
        name = resolve_name(func)
    except Exception:  # a function that torch.overrides does not list
        name = None
    own = str(getattr(func, "__name__", ""))
    if name is not None and not name.endswith(f".{own}") and getattr(torch, own, None) is func:
        name = f"torch.{own}"  # torch.spmm is another name of torch.mm
    if name is None:
        name = f"{getattr(func, '__module__', None) or 'torch'}.{getattr(func, '__name__', '')}"
    return "" if name.endswith(("__get__", "__set__")) else str(name)


def whole_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> dict[str, Any]:
    """Facts of a function that comes apart: what an einsum contracts, what attends to what, how it is to resample."""
    if name == _RESAMPLE:
        asked = {**dict(zip(("size", "scale_factor"), args[1:3], strict=False)), **kwargs}
        sizes = {name: asked[name] for name in ("size", "scale_factor") if asked.get(name) is not None}
        twice = any(caller.f_code.co_name == "upsample" for caller in callers(frame, 4))  # F.upsample has no API name
        return {"resamples": 1 + twice, **{name: _plain(value) for name, value in sizes.items()}}
    if name == ATTENTION:
        weights = [value for value in args[3:] if isinstance(value, torch.Tensor)]
        return {
            "attends": [tuple(tensor.shape) for tensor in args[:3]],
            "to_itself": args[0] is args[1] is args[2],
            "frozen": not any(tensor.requires_grad for tensor in weights),
            "padded": kwargs.get("key_padding_mask") is not None,
        }
    if name == EINSUM and args and isinstance(args[0], str):
        operands = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
        return {"equation": args[0].replace(" ", ""), "operands": [tuple(tensor.shape) for tensor in operands]}
    return {}


def callers(frame: FrameType, at_most: int, module: str = "torch.nn.functional") -> Iterator[FrameType]:
    """The frames of a module's functions among those that called."""
    for _ in range(at_most):
        if frame.f_back is None:
            return
        frame = frame.f_back
        if frame.f_globals.get("__name__") == module:
            yield frame


def _plain(value: Any) -> Any:
    return [*map(_plain, value)] if isinstance(value, (tuple, list)) else value if type(value) is float else int(value)


def is_held(frame: FrameType, name: str) -> bool:
    """Whether a function of torch.nn.functional is called by a name of the model's own (`self.act = F.relu`).

    `frame` is that in which its call is noticed. What is looked up in torch.nn.functional when it is called, also
    by other functions there, is not held.
    """
    module, _, own = name.rpartition(".")
    if module != "torch.nn.functional":
        return False
    caller: FrameType | None = frame
    while caller is not None and caller.f_code.co_filename.endswith(_THROUGH):
        caller = caller.f_back
    while caller is not None and caller.f_code.co_name in (own, f"_{own}", f"{own}_with_indices", "fn"):
        if caller.f_globals.get("__name__") not in ("torch.nn.functional", "torch._jit_internal"):
            break
        caller = caller.f_back
    if caller is None or caller.f_globals.get("__name__") == "torch.nn.functional":
        return False
    base = _called_from(caller.f_code, caller.f_lasti)
    if base == "getattr":
        return False
    here = {**caller.f_globals, **caller.f_locals}
    return own not in caller.f_code.co_names or not isinstance(here.get(base), ModuleType)


@lru_cache(maxsize=4096)
def _called_from(code: CodeType, at: int) -> str:
    """The first name of the function that is called at an instruction: `nn` in `nn.functional.relu(x)`, "" if none."""
    before = [each for each in dis.get_instructions(code) if each.offset <= at]  # `at` may be in the call's cache
    call = before.pop().positions if before else None
    if call is None or call.lineno is None:
        return ""
    starts = [
        each
        for each in before
        if each.positions and each.opname.startswith("LOAD_") and isinstance(each.argval, str)
        and (each.positions.lineno, each.positions.col_offset) == (call.lineno, call.col_offset)
    ]  # fmt: skip
    return str(starts[0].argval) if starts else ""


def is_operator(frame: FrameType, method: str) -> bool:
    """Whether the call in progress in `frame` is an operator (`x + y`) rather than `x.add(y)`.

    torch reports both as `Tensor.add`, but a library that patches the method sees only the second.
    """
    code = frame.f_code
    if method not in code.co_names:  # for example in sum(tensors)
        return True
    opcodes = _opcodes.get(code)
    if opcodes is None:
        opcodes = _opcodes[code] = code.co_code
    return dis.opname[opcodes[frame.f_lasti]].startswith(("BINARY_", "INPLACE_"))
