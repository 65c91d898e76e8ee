"""The whole matrix of cosines, and what heads and the plain engine read off it."""

from keras import ops

from keras_margin import numerics
from keras_margin.engines._meeting import LOG_ZERO


def cosines(unit_embeddings, prototypes):
    """Cosine of each embedding to each class.

    Args:
        unit_embeddings: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size), any lengths; or (num_classes, centers,
            embedding_size), of which each class's nearest counts.

    Returns:
        Float32 tensor (batch, num_classes).
    """
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


def log_sum_of_others(logits, labels, scale=1.0):
    """log sum over j != y of exp(scale * logits_j), (batch,), from logits or cosines (batch, num_classes)."""
    own = is_own_class(labels, ops.shape(logits)[1])
    scaled = ops.reshape(ops.convert_to_tensor(scale, "float32"), (-1, 1)) * logits
    return ops.logsumexp(ops.where(own, LOG_ZERO, scaled), axis=1)


def best_of_others(cosines, labels):
    """Largest cosine to a class that is not the sample's, (batch,); no gradient."""
    own = is_own_class(labels, ops.shape(cosines)[1])
    return ops.max(ops.where(own, -2.0, ops.stop_gradient(cosines)), axis=1)


def is_own_class(labels, num_classes):
    """Boolean (batch, num_classes): True at each sample's label, all False where the label is outside the classes."""
    return ops.equal(ops.expand_dims(labels, 1), ops.arange(num_classes, dtype=labels.dtype))
