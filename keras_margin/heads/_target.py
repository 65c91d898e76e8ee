"""What travels between a head's steps: Target, to its margin; Note, beside its output."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Target:
    """What a head knows of each sample and its own class.

    Attributes:
        cosine: Float32 tensor (batch,), to the own prototype.
        theta: Float32 tensor (batch,), the angle to it, radians, [0, pi].
        labels: Integer tensor (batch,), in [0, num_classes).
        valid: Boolean tensor (batch,): False for a bad label or embedding where no error can be raised. Such a sample's
            loss is replaced afterwards; it must not teach what a head observes.
        embeddings: Float32 tensor (batch, embedding_size), not normalised; None where only cosines are known.
        norm: Float32 tensor (batch,), the embedding's length; None likewise.
        psi: Float32 tensor (batch,), the own class's logit before scaling; None until `bend_target` has answered.
    """

    cosine: Any
    theta: Any
    labels: Any
    valid: Any
    embeddings: Any = None
    norm: Any = None
    psi: Any = None


@dataclasses.dataclass(frozen=True)
class Note:
    """What a head's output cannot carry: see notes.

    Attributes:
        embeddings: The embeddings it was made from, (batch, embedding_size); None where they are unknown.
        training: Whether of a training batch.
        has_margin: Whether it is logits, no longer cosines.
    """

    embeddings: Any = None
    training: bool = False
    has_margin: bool = False
