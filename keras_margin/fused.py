"""Engines: how a batch meets all the prototypes.

Every margin loss of this package splits in two. What bends the target is worth a few numbers a sample; what costs
is the log-sum over the other classes. An engine does the second:

    log_negatives_i = log sum_{j != y_i} exp(scale_i * other(cos(x_i, W_j)))

and the head computes the rest by plain autodiff:

    loss_i = softplus(log_negatives_i - target_logit_i) = -log p_i

A margin, a regulariser or an annealed lambda therefore never meets an engine, and an engine never meets them.
"""

import dataclasses
from typing import Any

from keras import ops

from keras_margin import numerics

# Stands for log 0 where a class must not count. Finite, so no engine ever computes inf - inf.
LOG_ZERO = -1e30


@dataclasses.dataclass(frozen=True)
class Negatives:
    """What an engine returns for a batch.

    Attributes:
        log_sum: Float tensor (batch,), log sum over j != y of exp(logit_j).
        best_cosine: Float tensor (batch,), the largest cosine to a class that is not the sample's. No gradient.
    """

    log_sum: Any
    best_cosine: Any


def plain(unit_embeddings, prototypes, labels, scale, other=None):
    """Straightforward engine: the whole (batch, num_classes) matrix of logits, differentiated by the backend.

    Args:
        unit_embeddings: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size), any lengths; or (num_classes, centers, embedding_size), of
            which each class's nearest counts.
        labels: Integer tensor (batch,), in [0, num_classes).
        scale: Float32 scalar or tensor (batch,).
        other: Function from cosines (batch, num_classes) to logits before scaling; None for the cosine itself.

    Returns:
        Negatives.
    """
    return from_cosines(cosines(unit_embeddings, prototypes), labels, scale, other)


def cosines(unit_embeddings, prototypes):
    """Cosine of each embedding to each class, (batch, num_classes); arguments as in `plain`."""
    unit_prototypes, _ = numerics.unit_normalize(prototypes)
    if len(prototypes.shape) == 2:
        return ops.matmul(unit_embeddings, ops.transpose(unit_prototypes))
    num_classes, centers, size = prototypes.shape
    flat = ops.reshape(unit_prototypes, (num_classes * centers, size))
    to_centers = ops.matmul(unit_embeddings, ops.transpose(flat))
    return ops.max(ops.reshape(to_centers, (-1, num_classes, centers)), axis=2)


def own_prototypes(unit_embeddings, prototypes, labels):
    """Each sample's own prototype, not normalised, (batch, embedding_size); of several centres the nearest."""
    own = ops.take(prototypes, labels, axis=0)
    if len(prototypes.shape) == 2:
        return own
    unit_own, _ = numerics.unit_normalize(own)
    nearest = ops.argmax(ops.sum(unit_own * ops.expand_dims(unit_embeddings, 1), axis=2), axis=1)
    nearest = ops.reshape(ops.cast(nearest, "int32"), (-1, 1, 1))
    index = ops.broadcast_to(nearest, (ops.shape(own)[0], 1, own.shape[2]))
    return ops.squeeze(ops.take_along_axis(own, index, axis=1), axis=1)


def from_cosines(cosines, labels, scale, other=None):
    """`plain` from cosines already computed, (batch, num_classes)."""
    own = is_own_class(labels, ops.shape(cosines)[1])
    logits = cosines if other is None else other(cosines)
    logits = ops.reshape(scale, (-1, 1)) * logits
    log_sum = ops.logsumexp(ops.where(own, LOG_ZERO, logits), axis=1)
    best = ops.max(ops.where(own, -2.0, ops.stop_gradient(cosines)), axis=1)
    return Negatives(log_sum=log_sum, best_cosine=best)


def is_own_class(labels, num_classes):
    """Boolean (batch, num_classes): True at each sample's label, all False where the label is outside the classes."""
    return ops.equal(ops.expand_dims(labels, 1), ops.arange(num_classes, dtype=labels.dtype))


ENGINES = {"plain": plain}
