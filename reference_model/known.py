"""What is known on the meta device: values of inputs, constants and factories, and what follows from them alone.

A meta tensor has a shape and no data. But a mask, a position or a length is an integer that is given, or made by
`arange`, and models look at those: `if mask.all()`, `x[mask]`, `ids.max().item()`. So a meta storage whose content
is known holds a storage on the CPU of the very same layout. Views need nothing then, and a write is one for all of
them. An operation on known tensors is run on those as well, where that is small; whatever it puts out is known in
turn. All else stays on meta.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter, tree_map_only

_LARGEST = 2**28  # bytes of one result that is worth to be known: a mask of 16,000 tokens squared
_DEEPEST = 50  # results that wait for each other
_CPU, _META = torch.device("cpu"), torch.device("meta")
_aten = torch.ops.aten

# Results that no value decides, and that nothing was written to.
_BLANK = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted", "empty_quantized"}
# Results of constants, in the shape of the first tensor.
_ALIKE = {"ones_like", "zeros_like", "full_like", "new_ones", "new_zeros", "new_full"}
# Writes that leave nothing of what was there.
_OVER = {"fill_", "zero_", "copy_"}
# Writes that change more than the content.
_LAYOUT = {"resize_", "resize_as_", "set_", "_resize_output_"}
# Kernels that write to arguments without a word in their schema: running statistics.
_SILENT = {"native_batch_norm": (3, 4), "_batch_norm_impl_index": (3, 4), "cudnn_batch_norm": (3, 4)}


class _Waiting:
    """An operation on known tensors that nobody has asked for the result of; what it reads must stay as it is."""

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.depth = 0
        self.call: list[Any] | None = [func, *_noted((args, kwargs), self)]
        self.values: list[Tensor] = []

    def results(self) -> list[Tensor]:
        if self.call is not None:
            func, args, kwargs = _real(self.call)
            self.values = _tensors(func(*args, **kwargs))
            self.call = None
        return self.values


class _Content:
    """What is in a meta storage: bytes, or where they will come from.

    They are not ours to write to where they are `lent`: they are those of another tensor then.
    """

    def __init__(self, storage: torch.UntypedStorage | None, source: Callable[[], torch.UntypedStorage] | None = None):
        self.storage, self.source, self.lent = storage, source, False
        self.readers: list[weakref.ref[_Waiting]] = []
        self.depth = 0

    def lend(self) -> _Content:
        """The same for another storage, for as long as nobody writes to that."""
        content = _Content(self.storage, self.read)
        content.lent = True
        return content

    def read(self) -> torch.UntypedStorage:
        if self.storage is None:
            assert self.source is not None
            self.storage = self.source()
        self.source = None
        return self.storage

    def own(self) -> None:
        """Before it is written to: have all that reads it computed, and give back what is lent."""
        for reader in self.readers:
            waiting = reader()
            if waiting is not None:
                waiting.results()
        self.readers.clear()
        if self.lent:
            self.storage, self.lent = self.read().clone(), False


class _Noted:
    """A known tensor as it is now: its place in a content."""

    __slots__ = ("content", "layout")

    def __init__(self, content: _Content, tensor: Tensor):
        self.content = content
        self.layout = (tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride())

    def value(self) -> Tensor:
        dtype, *place = self.layout
        return torch.empty(0, dtype=dtype).set_(self.content.read(), *place)


class _Rule:
    """What an operator's schema says of it, read once."""

    def __init__(self, func: Any):
        self.free = not isinstance(func, OpOverload)  # a higher-order operator sees to its own tensors
        if self.free:
            return
        schema = func._schema
        self.name = schema.name.partition("::")[2]
        written = [i for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
        self.positions = tuple(i for i in written if not schema.arguments[i].kwarg_only)
        self.keywords = tuple(schema.arguments[i].name for i in written if schema.arguments[i].kwarg_only)
        self.positions += _SILENT.get(self.name, ())
        self.writes = bool(written) or self.name in _SILENT
        aliases = any(r.alias_info is not None for r in schema.returns)
        self.free = aliases and not self.writes  # a view: its storage says what is known
        self.random = torch.Tag.nondeterministic_seeded in func.tags
        self.by_data = torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
        self.alike, self.blank = self.name in _ALIKE, self.name in _BLANK
        self.over = self.name in _OVER or bool(self.keywords)
        self.special = _SPECIAL.get(self.name)


_rules: dict[Any, _Rule] = {}


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`func(*args, **kwargs)`, one operator below all modes, with known values kept and made use of."""
    rule = _rules.get(func)
    if rule is None:
        rule = _rules[func] = _Rule(func)
    if rule.free:
        return func(*args, **kwargs)
    with torch._C.DisableTorchFunction():
        meta, known, away = bool(kwargs) and kwargs.get("device") == _META, True, False
        for value in (*args, *kwargs.values()) if kwargs else args:
            kind = type(value)
            if kind is list or kind is tuple:
                tensors = value if value and isinstance(value[-1], (Tensor, NoneType)) else ()
            else:
                tensors = (value,)
            for tensor in tensors:
                if isinstance(tensor, Tensor):
                    if not tensor.is_meta:
                        away = away or tensor.dim() > 0
                    else:
                        meta, known = True, known and _content(tensor) is not None
        if not meta:
            return func(*args, **kwargs)
        if rule.writes:
            return _written(rule, func, args, kwargs, away)
        if rule.special is not None and not known:
            return rule.special(func, args, kwargs)
        if away and not known:
            args, kwargs = tree_map_only(Tensor, on_meta, (args, kwargs))
        if rule.blank or rule.random or not (known or rule.alike):
            return func(*args, **kwargs)
        return _computed(rule, func, args, kwargs, away)


def _computed(rule: _Rule, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], away: bool) -> Any:
    """Run an operator whose result follows from what is known, on meta and for real."""
    if rule.by_data:
        real = func(*_real(args), **_real(kwargs))
        return tree_map_only(Tensor, on_meta, real) if kwargs.get("device") != _CPU else real
    if kwargs.get("device") == _CPU:
        return func(*_real(args), **_real(kwargs))
    moved, named = tree_map_only(Tensor, on_meta, (args, kwargs)) if away else (args, kwargs)
    out = func(*moved, **named)
    results = _tensors(out)
    if not results or sum(t.numel() * t.element_size() for t in results) > _LARGEST:
        return out
    if rule.alike:
        args = (torch.empty(args[0].shape, dtype=args[0].dtype, device=_META), *args[1:])
        _keep(args[0], _Content(torch.UntypedStorage(args[0].untyped_storage().nbytes())))
    waiting = _Waiting(func, args, kwargs)
    if any(not t.is_meta for t in _tensors((args, kwargs))):  # what is really there may be written to
        waiting.results()
    for index, tensor in enumerate(results):
        _learn(tensor, waiting, index)
    return out


def _written(rule: _Rule, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], away: bool) -> Any:
    """Run an operator that writes to some of its arguments: to what is known of them as well, or nothing is known."""
    into = [*(args[i] for i in rule.positions if i < len(args)), *(kwargs.get(name) for name in rule.keywords)]
    into = [t for t in tree_iter(into) if isinstance(t, Tensor)]
    others = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor) and not any(t is w for w in into)]
    known = all(_content(t) is not None for t in others if t.is_meta) and not rule.random
    if any(not t.is_meta for t in into):  # a tensor of the model's that is really there
        return func(*_real(args), **_real(kwargs)) if known else func(*args, **kwargs)
    moved, named = tree_map_only(Tensor, on_meta, (args, kwargs)) if away else (args, kwargs)
    if rule.name in _LAYOUT or rule.name in _SILENT or not known:
        for tensor in into:
            _forget(tensor)
        fills = _FILLS.get(rule.name)
        if fills and fills(*args[1:], **{k: v for k, v in kwargs.items() if k != "generator"}):
            return args[0]  # torch's way to do nothing here takes a third of the time in which a model is built
        return func(*moved, **named)
    out = func(*moved, **named)
    for tensor in into:
        content = _content(tensor)
        if content is None and rule.over and _whole(tensor):
            _keep(tensor, _Content(torch.UntypedStorage(tensor.untyped_storage().nbytes())))
        elif content is not None:
            content.own()
    if all(_content(tensor) is not None for tensor in into):
        func(*_real(args), **_real(kwargs))
    else:
        for tensor in into:
            _forget(tensor)
    return out


# What fills a tensor at random, and when it takes these arguments.
_FILLS: dict[str, Callable[..., bool]] = {
    "normal_": lambda mean=0.0, std=1.0: std >= 0,
    "uniform_": lambda low=0.0, high=1.0: low <= high,
}


def _whole(tensor: Tensor) -> bool:
    """Whether a tensor is all of its storage, and that is small."""
    size = tensor.numel() * tensor.element_size()
    return size <= _LARGEST and size == tensor.untyped_storage().nbytes() and tensor.is_contiguous()


# --- operators that need to know only some of their tensors ----------------------------------------


def _index(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`x[mask]`: the mask alone says how many there are."""
    source, indices, *rest = args
    plain: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8) or not is_known(index):
            plain.append(index)
        else:
            plain.extend(on_meta(column.contiguous()) for column in value_of(index).nonzero().unbind(1))
    moved = [t if t is None else on_meta(t) for t in plain]
    return func(on_meta(source), moved, *rest, **kwargs)


def _masked_select(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    source, mask = args
    if not is_known(mask):
        return func(*args, **kwargs)
    shape = torch.broadcast_shapes(source.shape, mask.shape)
    return source.new_empty(int(value_of(mask).expand(shape).sum()), device=_META)


def _lengths(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Packed sequences: the kernel reads the lengths of the steps, which are on the CPU always."""
    source, lengths, *rest = args
    return func(source, value_of(lengths) if is_known(lengths) else lengths, *rest, **kwargs)


def _stays(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`x.cpu()` of what is not known: stays where it is, for as long as nobody looks at it."""
    if kwargs.get("device") == _CPU:
        kwargs = {**kwargs, "device": _META}
    return func(*args, **kwargs)


def _grouped_mm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Products of groups: on meta torch asks what its CUDA kernel asks, though its own on the CPU takes any numbers."""
    left, right = args[:2]
    groups: Any = args[2] if len(args) > 2 else kwargs.get("offs")
    dtype = args[4] if len(args) > 4 else kwargs.get("out_dtype")
    shape = [left.shape[-2], right.shape[-1]]
    if left.dim() == right.dim():
        shape.insert(0, groups.numel() if left.dim() == 2 else left.shape[0])
    return torch.empty(shape, dtype=dtype or left.dtype, device=_META)


def _not_taken(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a mask lets an encoder drop what is padded: it does so on real tensors alone, whatever the mask."""
    return False


def _passed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What checks alone ask for, those of distributions and `torch._check_tensor_all`: they change no path."""
    return on_meta(torch.ones((), dtype=torch.bool, device=_CPU))


_SPECIAL = {
    "_is_all_true": _passed,
    "_grouped_mm": _grouped_mm,
    "_nested_tensor_from_mask_left_aligned": _not_taken,
    "index": _index,
    "masked_select": _masked_select,
    "_pack_padded_sequence": _lengths,
    "_to_copy": _stays,
}


# --- the values ----------------------------------------------------------------------------------


def is_known(tensor: Tensor) -> bool:
    """Whether there are values: of a meta tensor that follows from known ones, of any other always."""
    return not tensor.is_meta or _content(tensor) is not None


def value_of(tensor: Tensor) -> Tensor:
    """The values of a known tensor, on the CPU; not a copy.

    Raises:
        ValueError: it is on meta, and nothing is known of it.
    """
    if not tensor.is_meta:
        return tensor
    content = _content(tensor)
    if content is None:
        raise ValueError("nothing is known of this tensor")
    with torch._C.DisableTorchFunction():
        return _Noted(content, tensor).value()


def on_meta(tensor: Tensor, values: bool = True) -> Tensor:
    """A tensor's like on meta, in the same layout and of its own; its values stay known, unless `values` is false."""
    if tensor.is_nested and tensor.layout is torch.jagged:
        return _jagged(tensor, values)
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided or tensor.is_quantized:
        return tensor.detach().to("meta")
    if values and tensor.device.type not in ("cpu", "meta"):
        tensor = tensor.detach().cpu()
    with torch._C.DisableTorchFunction():
        content = _content(tensor) if tensor.is_meta else _Content(tensor.untyped_storage())
        if not values or content is None or tensor.is_conj() or tensor.is_neg():
            return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)
        moved = torch.empty(0, dtype=tensor.dtype, device=_META)
        place = (tensor.storage_offset(), tensor.size(), tensor.stride())
        size = tensor.untyped_storage().nbytes()
        moved.set_(torch.UntypedStorage(size, device="meta"), *place)
        _keep(moved, content.lend())
    return moved


def _jagged(tensor: Any, values: bool) -> Tensor:
    """A nested tensor's like on meta; where its samples begin and end is known."""
    lengths = tensor.lengths()
    return torch.nested.nested_tensor_from_jagged(
        on_meta(tensor.values().detach(), values),
        on_meta(tensor.offsets()),
        None if lengths is None else on_meta(lengths),
        tensor._ragged_idx,
    )


def inexact(tensor: Tensor) -> bool:
    """Whether it holds no whole numbers: paths seldom depend on those."""
    return tensor.is_floating_point() or tensor.is_complex()


def held(tensor: Tensor) -> Tensor:
    """A model's own tensor on meta. Integers are known, and tables, but not weights.

    It is a leaf that needs a gradient if that does; by this torch also folds a batched linear, or not.
    """
    if is_lazy(tensor):
        return unmade(tensor, "meta")
    weight = isinstance(tensor, nn.Parameter)
    moved = on_meta(tensor, values=not weight or not inexact(tensor) or tensor.numel() == 1)
    return nn.Parameter(moved, tensor.requires_grad) if weight else moved.requires_grad_(tensor.requires_grad)


def input_on_meta(tensor: Tensor) -> Tensor:
    """An input on meta. Paths depend on integers, and on a single number like a time step: those are known."""
    moved = on_meta(tensor, values=not inexact(tensor) or tensor.numel() == 1)
    return moved.detach().requires_grad_(tensor.requires_grad)


def moved(model: nn.Module) -> nn.Module:
    """A model with all of its tensors on meta: some are made with a device of their own, like torch.FloatTensor(3)."""
    there: dict[int, Tensor] = {}
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is not None and not tensor.is_meta:
                    if id(tensor) not in there:
                        there[id(tensor)] = held(tensor)
                    own[name] = there[id(tensor)]  # type: ignore[assignment]
    return model


def is_lazy(tensor: Tensor) -> bool:
    """Whether it waits for the first run to find its size."""
    return isinstance(tensor, (UninitializedParameter, UninitializedBuffer))


def unmade(tensor: Tensor, device: str) -> Tensor:
    """Another one that waits, so that this one still does afterwards."""
    kind: Any = type(tensor)
    waiting: Tensor = kind(requires_grad=tensor.requires_grad, device=device, dtype=tensor.data.dtype)
    return waiting


def _content(tensor: Tensor) -> _Content | None:
    try:
        return getattr(tensor.untyped_storage(), "_flopledger", None)
    except (RuntimeError, NotImplementedError):  # sparse, nested: no storage of its own
        return None


def _keep(tensor: Tensor, content: _Content | None) -> None:
    tensor.untyped_storage()._flopledger = content  # type: ignore[attr-defined]


def _forget(tensor: Tensor) -> None:
    content = _content(tensor)
    if content is not None:
        content.own()
        _keep(tensor, None)


def _learn(tensor: Tensor, waiting: _Waiting, index: int) -> None:
    """A meta tensor that was just made is a result that somebody may ask for."""
    if not tensor.is_meta or _content(tensor) is not None:
        return
    if tensor.is_conj() or tensor.is_neg() or tensor.storage_offset():
        return
    # Not the tensor itself: torch copies a result that somebody else holds.
    layout = (tensor.size(), tensor.stride())

    def source() -> torch.UntypedStorage:
        value = waiting.results()[index]
        if value.shape != layout[0]:
            raise ValueError(f"a tensor of {tuple(layout[0])} on meta is one of {tuple(value.shape)}")
        if value.storage_offset() or value.stride() != layout[1]:
            value = torch.empty_strided(*layout, dtype=value.dtype).copy_(value)
        return value.untyped_storage()

    content = _Content(None, source)
    content.depth = waiting.depth
    _keep(tensor, content)
    if content.depth > _DEEPEST:
        content.read()
        content.depth = 0


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]


def _noted(tree: Any, reader: _Waiting) -> Any:
    """Arguments as they are now: known tensors are remembered by their place."""
    if isinstance(tree, Tensor):
        content = _content(tree) if tree.is_meta else None
        if content is None:
            return tree
        content.readers.append(weakref.ref(reader))
        reader.depth = max(reader.depth, content.depth + 1)
        return _Noted(content, tree)
    if isinstance(tree, (list, tuple)):
        return [_noted(value, reader) for value in tree]
    if isinstance(tree, dict):
        return {name: _noted(value, reader) for name, value in tree.items()}
    return tree


def _real(tree: Any) -> Any:
    """Arguments with the values of known tensors in place of those."""
    if isinstance(tree, Tensor):
        return value_of(tree)
    if isinstance(tree, _Noted):
        return tree.value()
    if isinstance(tree, (list, tuple)):
        return [_real(value) for value in tree]
    if isinstance(tree, dict):
        return {name: _real(value) for name, value in tree.items()}
    return _CPU if tree == _META else tree


# --- the modes -----------------------------------------------------------------------------------


class _Device(DeviceContext):
    """What is made without a device is on meta; constants of Python are known, and what NumPy asks for is answered."""

    def __init__(self) -> None:
        super().__init__(_META)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _READERS and is_known(args[0]):
            args = (args[0].detach(), *args[1:])  # as it does itself
            with _disable_current_modes():
                return func(value_of(args[0]), *args[1:], **kwargs)
        if func in _INDEXED:  # torch makes tensors of lists by itself, and on meta without content
            args = (args[0], _indices(args[1]), *args[2:])
        if func is torch.tensor_split and len(args) > 1 and isinstance(args[1], Tensor) and is_known(args[1]):
            with _disable_current_modes():
                args = (args[0], value_of(args[1]), *args[2:])
        out = super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        if func in _CONSTANTS and isinstance(out, Tensor) and out.is_meta and not is_known(out):
            _read(func, args, kwargs, out)
        return out


_READERS: set[Any] = {torch.Tensor.numpy, torch.Tensor.__array__}
_INDEXED: set[Any] = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
_CONSTANTS: set[Any] = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}


def _indices(index: Any) -> Any:
    """What a tensor is indexed with, its lists of numbers as tensors."""
    if isinstance(index, tuple):
        return tuple(torch.tensor(each, device=_CPU) if _numbers(each) else each for each in index)
    return torch.tensor(index, device=_CPU) if _numbers(index) else index


def _numbers(index: Any) -> bool:
    """Whether it is a list of numbers or of truth values, or a nest of such."""
    return isinstance(index, list) and len(index) > 0 and all(type(at) in (int, bool) or _numbers(at) for at in index)


def _read(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
    """Learn the values of a tensor made of Python's or NumPy's numbers."""
    data = args[1] if func is torch.Tensor.new_tensor else args[0] if args else kwargs["data"]
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        if out.numel() * out.element_size() <= _LARGEST:
            tensors = [t for t in tree_iter(data) if isinstance(t, Tensor)]
            if all(map(is_known, tensors)):
                data = tree_map_only(Tensor, lambda t: value_of(t).tolist(), data)
                real = torch.tensor(data, dtype=out.dtype, device=_CPU)
                if real.shape == out.shape:
                    _keep(out, _Content(real.untyped_storage()))


@cache
def composite(func: Any) -> bool:
    """Whether torch has no kernel of an operator, only other operators that it is made of."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return isinstance(func, OpOverload) and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)


class _Operators(TorchDispatchMode):
    """Keeps known values where nobody else watches the operators."""

    supports_higher_order_operators = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(kind.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl for kind in types):
            return NotImplemented  # of a class of its own, nested for one: what that runs comes here
        if composite(func):  # torch takes it apart below us where a class of its own runs it
            with self:
                return func.decompose(*args, **(kwargs or {}))
        return run(func, args, kwargs or {})


@contextmanager
def knowing() -> Iterator[None]:
    """Make tensors on meta meanwhile, and keep known what is."""
    with _Device(), _Operators():  # type: ignore[no-untyped-call]
        yield


def knowing_of(tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
    """The same, if one of these tensors is on meta."""
    return knowing() if any(tensor.is_meta for tensor in tensors) else nullcontext()
