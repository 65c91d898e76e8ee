"""What a margin and an auxiliary loss may read of a batch."""

from typing import NamedTuple

from keras import ops

from keras_margin._typing import Tensor
from keras_margin.ops import numerics


class Sample(NamedTuple):
    """The samples of a batch and their own classes.

    Attributes:
        theta: Float32 tensor (batch,), the angle between embedding and own prototype; radians, [0, pi].
        cosine: Float32 tensor (batch,), its cosine.
        norm: Float32 tensor (batch,), the embedding's length; None where only cosines are known.
        labels: Integer tensor (batch,), in [0, num_classes).
        valid: Boolean tensor (batch,). False for a bad label or embedding where no error can be raised; such a sample's
            loss is replaced afterwards, and it must not change a margin's state.
        embeddings: Float32 tensor (batch, embedding_size), not normalised; None where only cosines are known.
    """

    theta: Tensor
    cosine: Tensor
    norm: Tensor
    labels: Tensor
    valid: Tensor
    embeddings: Tensor = None


class LossInputs(NamedTuple):
    """What an auxiliary loss may read of a batch.

    Attributes:
        sample: Sample.
        num_classes: Python int; None where nothing but embeddings is known.
        target_logit: Float32 tensor (batch,), scaled, with the margin; None where there are no logits.
        negative_logsumexp: Float32 tensor (batch,), log sum over j != y of exp(logit_j); None likewise.
        prototypes: Float32 tensor (num_classes, embedding_size) or (num_classes, centers, embedding_size), or None.
        training: Whether this is a training batch, by which a loss with weights may update them.
    """

    sample: Sample
    num_classes: int | None = None
    target_logit: Tensor = None
    negative_logsumexp: Tensor = None
    prototypes: Tensor = None
    training: bool = False


def sample_from_prototypes(
    unit: Tensor, norm: Tensor, own_prototypes: Tensor, labels: Tensor, valid: Tensor, embeddings: Tensor = None
) -> Sample:
    """Returns the Sample of unit embeddings and their own prototypes, its angle exact at every size.

    Args:
        unit: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        norm: Float32 tensor (batch,).
        own_prototypes: Float32 tensor (batch, embedding_size), any length.
        labels: Integer tensor (batch,).
        valid: Boolean tensor (batch,).
        embeddings: Float32 tensor (batch, embedding_size), or None.
    """
    cosine, theta = numerics.angle_between(unit, numerics.unit_normalize(own_prototypes)[0])
    return Sample(theta, cosine, norm, labels, valid, embeddings)


def without_gradient(sample: Sample) -> Sample:
    """Returns the sample's angles and length as constants, without its embeddings."""
    theta, cosine, norm = (None if each is None else ops.stop_gradient(each) for each in sample[:3])
    return Sample(theta, cosine, norm, sample.labels, sample.valid)
