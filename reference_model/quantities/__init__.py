"""What each operation offers to be charged for: small pure functions of shapes, one file per family.

One can review a formula here without knowing the tracer. `registry` says how one is added, from here or from
another package.
"""

from flopledger.reference_model.quantities import (
    attention,
    backward,
    contractions,
    convolutions,
    flex,
    linalg,
    long_tail,
    norms,
    pooling,
    quantized,
    recurrent,
    spectra,
)
from flopledger.reference_model.quantities.registry import ATEN, FUNCTIONS

__all__ = [
    "ATEN", "FUNCTIONS", "attention", "backward", "contractions", "convolutions", "flex", "linalg", "long_tail",
    "norms", "pooling", "quantized", "recurrent", "spectra",
]  # fmt: skip
