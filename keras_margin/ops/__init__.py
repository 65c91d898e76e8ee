"""Pure functions: `margin_softmax`, and what a margin of your own needs next to `keras.ops`.

    out = margin_softmax(embeddings, prototypes, labels, keras_margin.margins.ArcFace(0.5), scale=64.0)
    out.loss, out.correct, out.state

`docs/how-it-works.md` explains the mathematics and when each implementation is chosen; `docs/custom-loops.md` shows
the function in a JAX and in a TensorFlow training loop.

Names are loaded on first use (PEP 562): the estimates in `memory` are plain arithmetic and need no Keras.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy

if TYPE_CHECKING:
    from keras_margin.ops import replicas
    from keras_margin.ops._margin_softmax import margin_softmax
    from keras_margin.ops.numerics import monotone_cos

__all__ = ["margin_softmax", "monotone_cos", "replicas"]

_HOMES = {"margin_softmax": "_margin_softmax", "monotone_cos": "numerics", "replicas": "replicas"}

if not TYPE_CHECKING:  # A checker that sees __getattr__ lets every misspelt name pass.
    __getattr__ = _lazy.loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
