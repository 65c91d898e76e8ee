"""Pure functions: `margin_softmax`, and the numerics that it stands on.

    out = margin_softmax(embeddings, prototypes, labels, keras_margin.margins.ArcFace(0.5), scale=64.0)
    out.loss, out.correct, out.state

`docs/how-it-works.md` explains the mathematics and when each implementation is chosen; `docs/custom-loops.md` shows
the function in a JAX and in a TensorFlow training loop.
"""

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
