"""Which calls a rule speaks of: data that says itself in words and in JSON, and is checked when it is made."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from flopledger.counters.formula import Case, known, value
from flopledger.reference_model.names import nearest

# The classes of torch.nn, so that a misspelt one is an error without importing torch.
MODULES = frozenset(
    """
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss AdaptiveMaxPool1d
    AdaptiveMaxPool2d AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BCELoss BCEWithLogitsLoss
    BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU CTCLoss ChannelShuffle CircularPad1d CircularPad2d
    CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Container Conv1d Conv2d Conv3d ConvTranspose1d
    ConvTranspose2d ConvTranspose3d CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss CrossMapLRN2d DataParallel
    Dropout Dropout1d Dropout2d Dropout3d ELU Embedding EmbeddingBag FeatureAlphaDropout Flatten Fold
    FractionalMaxPool2d FractionalMaxPool3d GELU GLU GRU GRUCell GaussianNLLLoss GroupNorm Hardshrink Hardsigmoid
    Hardswish Hardtanh HingeEmbeddingLoss HuberLoss Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d KLDivLoss
    L1Loss LPPool1d LPPool2d LPPool3d LSTM LSTMCell LayerNorm LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d
    LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d
    LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear LeakyReLU Linear LinearCrossEntropyLoss LocalResponseNorm
    LogSigmoid LogSoftmax MSELoss MarginRankingLoss MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d
    MaxUnpool3d Mish Module ModuleDict ModuleList MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss
    MultiheadAttention NLLLoss NLLLoss2d NonDynamicallyQuantizableLinear PReLU PairwiseDistance ParameterDict
    ParameterList PixelShuffle PixelUnshuffle PoissonNLLLoss RMSNorm RNN RNNBase RNNCell RNNCellBase RReLU ReLU
    ReLU6 ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d SELU
    Sequential SiLU Sigmoid SmoothL1Loss SoftMarginLoss Softmax Softmax2d Softmin Softplus Softshrink Softsign
    SyncBatchNorm Tanh Tanhshrink Threshold Transformer TransformerDecoder TransformerDecoderLayer
    TransformerEncoder TransformerEncoderLayer TripletMarginLoss TripletMarginWithDistanceLoss Unflatten Unfold
    Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d ZeroPad2d ZeroPad3d _AdaptiveAvgPoolNd
    _AdaptiveMaxPoolNd _AvgPoolNd _BatchNorm _CircularPadNd _ConstantPadNd _ConvNd _ConvTransposeMixin
    _ConvTransposeNd _DropoutNd _InstanceNorm _LPPoolNd _LazyNormBase _Loss _MaxPoolNd _MaxUnpoolNd _NormBase
    _ReflectionPadNd _ReplicationPadNd _WeightedLoss
    """.split()
)


class _Condition(msgspec.Struct, frozen=True, tag_field="is"):
    def holds(self, case: Case) -> bool:
        raise NotImplementedError

    def __str__(self) -> str:
        raise NotImplementedError


class Modules(_Condition, frozen=True, tag="in modules"):
    """At a module whose class is exactly one of `names` (see `Entry.module`), or, if `derived`, one based on it."""

    names: tuple[str, ...]
    derived: bool = False

    def __post_init__(self) -> None:
        for name in self.names:
            if "." not in name and name not in MODULES:
                raise ValueError(f"torch.nn has no class {name!r}{nearest(name, MODULES)}")

    def holds(self, case: Case) -> bool:
        return case.entry.module in self.names or (self.derived and case.entry.base in self.names)

    def __str__(self) -> str:
        return f"in {', '.join(self.names)}" + " or a class that derives from it" * self.derived


class Called(_Condition, frozen=True, tag="called as"):
    """Called through one of these torch functions: as the outermost one or, if `anywhere`, further in as well."""

    apis: tuple[str, ...]
    anywhere: bool = False

    def __post_init__(self) -> None:
        for api in self.apis:
            if not api.startswith("torch."):
                raise ValueError(
                    f"a torch function is named from torch on, like torch.nn.functional.linear, not {api!r}"
                )

    def holds(self, case: Case) -> bool:
        entry = case.entry
        return entry.api in self.apis or (self.anywhere and any(api in self.apis for api in entry.inside))

    def __str__(self) -> str:
        names = ", ".join(api.rpartition("torch.")[2] for api in self.apis)
        return f"called {'by way of' if self.anywhere else 'as'} {names}"


class Reached(_Condition, frozen=True, tag="innermost function"):
    """Where the innermost torch function of the call is one of these: what a jit trace has a node for."""

    apis: tuple[str, ...]

    def holds(self, case: Case) -> bool:
        return [case.entry.api, *case.entry.inside][-1] in self.apis

    def __str__(self) -> str:
        return f"in the end called as {', '.join(api.rpartition('torch.')[2] for api in self.apis)}"


class Device(_Condition, frozen=True, tag="on device"):
    """Where the counter ran on tensors of this kind: `meta`, or `cpu` for real ones."""

    name: str

    def holds(self, case: Case) -> bool:
        return case.ledger.device == self.name

    def __str__(self) -> str:
        return "on real tensors" if self.name == "cpu" else f"on {self.name} tensors"


class Aten(_Condition, frozen=True, tag="dispatched as"):
    """Dispatched as one of these ATen operations, `aten.mm` (see `Entry.aten`)."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if "." not in name:
                raise ValueError(f"an ATen operation is named like aten.mm, not {name!r}")

    def holds(self, case: Case) -> bool:
        return case.entry.aten in self.names

    def __str__(self) -> str:
        return f"as {', '.join(name.removeprefix('aten.') for name in self.names)}"


class Has(_Condition, frozen=True, tag="has"):
    """With more than 0 of a quantity."""

    quantity: str

    def __post_init__(self) -> None:
        known([self.quantity])

    def holds(self, case: Case) -> bool:
        return value(self.quantity, case) > 0

    def __str__(self) -> str:
        return f"with {self.quantity.replace('_', ' ')}"


class Leaf(_Condition, frozen=True, tag="in leaf modules"):
    """In a module that has no children."""

    def holds(self, case: Case) -> bool:
        return case.entry.leaf

    def __str__(self) -> str:
        return "in leaf modules"


class Inside(_Condition, frozen=True, tag="inside modules"):
    """In a module that is called inside one whose class is exactly one of `names`."""

    names: tuple[str, ...]

    def holds(self, case: Case) -> bool:
        site, modules = case.entry.site, case.ledger.modules
        while site:
            site = site.rpartition(".")[0]
            if site in modules and modules[site].kind in self.names:
                return True
        return False

    def __str__(self) -> str:
        return f"inside {', '.join(self.names)}"


class Named(_Condition, frozen=True, tag="class name has"):
    """At a module whose class name has `text` in it."""

    text: str

    def holds(self, case: Case) -> bool:
        return self.text in case.entry.module.rpartition(".")[2]

    def __str__(self) -> str:
        return f"whose class name has {self.text}"


class Foreign(_Condition, frozen=True, tag="in a class of the model's own"):
    """At a module whose class is not one of torch.nn."""

    def holds(self, case: Case) -> bool:
        return "." in case.entry.module

    def __str__(self) -> str:
        return "in a class of the model's own"


class Root(_Condition, frozen=True, tag="at the root"):
    """At the model itself."""

    def holds(self, case: Case) -> bool:
        return not case.entry.site

    def __str__(self) -> str:
        return "at the root"


class Phase(_Condition, frozen=True, tag="in phase"):
    """Of the forward or the backward pass."""

    phase: str

    def __post_init__(self) -> None:
        if self.phase not in ("forward", "backward"):
            raise ValueError(f"no phase {self.phase!r}{nearest(self.phase, ['forward', 'backward'])}")

    def holds(self, case: Case) -> bool:
        return case.entry.phase == self.phase

    def __str__(self) -> str:
        return f"in the {self.phase} pass"


class Fact(_Condition, frozen=True, tag="fact"):
    """With an argument of the call as given (see `Call.facts`): `Fact("padding", "same")`."""

    name: str
    equals: bool | int | str | None

    def holds(self, case: Case) -> bool:
        found = case.call.facts.get(self.name)
        return bool(found == self.equals)

    def __str__(self) -> str:
        return f"with {self.name} {self.equals}"


class AllOf(_Condition, frozen=True, tag="all of"):
    """Where every one of `conditions` holds."""

    conditions: tuple[Condition, ...]

    def holds(self, case: Case) -> bool:
        return all(each.holds(case) for each in self.conditions)

    def __str__(self) -> str:
        return " ".join(map(str, self.conditions))


class AnyOf(_Condition, frozen=True, tag="any of"):
    """Where at least one of `conditions` holds."""

    conditions: tuple[Condition, ...]

    def holds(self, case: Case) -> bool:
        return any(each.holds(case) for each in self.conditions)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.conditions))


class Not(_Condition, frozen=True, tag="not"):
    """Where `condition` does not hold."""

    condition: Condition

    def holds(self, case: Case) -> bool:
        return not self.condition.holds(case)

    def __str__(self) -> str:
        text = str(self.condition)
        first, _, rest = text.partition(" ")
        return f"{ {'in': 'outside', 'with': 'without'}.get(first, f'not {first}') } {rest}"


Condition: TypeAlias = (
    Modules | Called | Reached | Device | Aten | Has | Leaf | Inside | Named | Foreign | Root | Phase | Fact
    | AllOf | AnyOf | Not
)  # fmt: skip

in_leaf = Leaf()
on_real_tensors = Device("cpu")
at_root = Root()
in_own_class = Foreign()


def in_modules(*names: str) -> Condition:
    """At a module whose class is exactly one of `names`: bare for torch.nn's, dotted otherwise."""
    return Modules(names)


def like(*names: str) -> Condition:
    """In the classes `names` of torch.nn, and in those of other packages that derive from them."""
    return Modules(names, derived=True)


def inside_of(*names: str) -> Condition:
    """In a module inside one whose class is exactly one of `names`."""
    return Inside(names)


def called_as(*apis: str) -> Condition:
    """Called through one of the torch functions `apis`, the outermost of the call."""
    return Called(apis)


def by_way_of(*apis: str) -> Condition:
    """Called through one of the torch functions `apis`, outermost or further in."""
    return Called(apis, anywhere=True)


def in_the_end(*apis: str) -> Condition:
    """Called through one of the torch functions `apis`, the innermost of the call."""
    return Reached(apis)


def as_aten(*names: str) -> Condition:
    """Dispatched as one of the ATen operations `names`, with or without `aten.` before them."""
    return Aten(tuple(name if "." in name else f"aten.{name}" for name in names))


def class_named(text: str) -> Condition:
    """At a module whose class name has `text` in it."""
    return Named(text)


def has(quantity: str) -> Condition:
    """With more than 0 of `quantity`."""
    return Has(quantity)


def lacks(quantity: str) -> Condition:
    """With none of `quantity`."""
    return Not(Has(quantity))


def in_phase(phase: str) -> Condition:
    """Of the "forward" or the "backward" pass."""
    return Phase(phase)


def both(*conditions: Condition) -> Condition:
    """Where every one of `conditions` holds."""
    return AllOf(conditions)


def any_of(*conditions: Condition) -> Condition:
    """Where at least one of `conditions` holds."""
    return AnyOf(conditions)


def negated(condition: Condition) -> Condition:
    """Where `condition` does not hold."""
    return Not(condition)


def given(name: str, equals: bool | int | str | None) -> Condition:
    """With the argument `name` as given: `given("padding", "same")`."""
    return Fact(name, equals)


def __getattr__(name: str) -> Any:
    # `from … import in_moduls` is answered with the nearest name, where Python would only say that there is none.
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(f"there is no condition {name!r}{nearest(name, [n for n in globals() if n[0].islower()])}")
