"""Pure functions: `margin_softmax`, and the numerics that it stands on.

    out = margin_softmax(embeddings, prototypes, labels, keras_margin.margins.ArcFace(0.5), scale=64.0)
    out.loss, out.correct, out.state

`docs/how-it-works.md` explains the mathematics and when each implementation is chosen; `docs/custom-loops.md` shows
the function in a JAX and in a TensorFlow training loop.

Names are loaded on first use (PEP 562): the estimates in `memory` are plain arithmetic and need no Keras.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_margin.ops._margin_softmax import MarginSoftmax, margin_softmax
    from keras_margin.ops.memory import Memory, peak_bytes, sampled_bytes
    from keras_margin.ops.numerics import (
        angle_between,
        fast_arccos,
        monotone_cos,
        row_norms,
        safe_arccos,
        unit_normalize,
        with_slope,
    )
    from keras_margin.ops.sample import Sample

_HOMES = {
    "MarginSoftmax": "_margin_softmax",
    "Memory": "memory",
    "Sample": "sample",
    "angle_between": "numerics",
    "fast_arccos": "numerics",
    "margin_softmax": "_margin_softmax",
    "monotone_cos": "numerics",
    "peak_bytes": "memory",
    "row_norms": "numerics",
    "safe_arccos": "numerics",
    "sampled_bytes": "memory",
    "unit_normalize": "numerics",
    "with_slope": "numerics",
}

__all__ = [
    "MarginSoftmax",
    "Memory",
    "Sample",
    "angle_between",
    "fast_arccos",
    "margin_softmax",
    "monotone_cos",
    "peak_bytes",
    "row_norms",
    "safe_arccos",
    "sampled_bytes",
    "unit_normalize",
    "with_slope",
]


def _load(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


if not TYPE_CHECKING:  # A checker that sees __getattr__ lets every misspelt name pass.
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted(__all__)
