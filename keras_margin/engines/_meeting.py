"""What goes into an engine beside tensors, and what comes out."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

# Stands for log 0 where a class must not count. Finite, so no engine ever computes inf - inf.
LOG_ZERO = -1e30
# The smallest normal float32: what is below counts as zero.
TINY = float(np.finfo("float32").tiny)


@dataclasses.dataclass(frozen=True)
class Meeting:
    """What an engine returns for a batch.

    Attributes:
        log_sum: Float tensor (batch,), log sum over j != y of exp(logit_j).
        best_cosine: Float tensor (batch,), the largest cosine to a class that is not the sample's. No gradient.
        own_prototype: Float tensor (batch, embedding_size), the sample's own prototype, not normalised.
    """

    log_sum: Any
    best_cosine: Any
    own_prototype: Any


@dataclasses.dataclass(frozen=True)
class Bend:
    """The other classes' logits before scaling as an elementwise function of their cosines.

    Attributes:
        function: (cosine, *parameters) -> (value, slope), tensors shaped like `cosine`; slope is d value / d cosine,
            finite on all of [-1, 1]. A function of a module, not a closure: TensorFlow compiles it once.
        parameters: Float32 tensors (batch, 1) or scalars. No gradient passes through them.
    """

    function: Callable
    parameters: tuple = ()
