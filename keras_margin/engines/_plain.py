"""The plain engine: what every other is compared with."""

from keras_margin import numerics
from keras_margin.engines._cosines import best_of_others, cosines, log_sum_of_others, own_prototypes
from keras_margin.engines._meeting import Meeting


def plain(unit_embeddings, prototypes, labels, scale, bend=None):
    """Straightforward engine: the whole (batch, num_classes) matrix of logits, differentiated by the backend.

    Args:
        unit_embeddings: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size), any lengths; or (num_classes, centers,
            embedding_size), of which each class's nearest counts.
        labels: Integer tensor (batch,), in [0, num_classes).
        scale: Float32 number or tensor (batch,).
        bend: Bend of the other classes' logits, or None where they are scaled cosines.

    Returns:
        Meeting.
    """
    found = cosines(unit_embeddings, prototypes)
    values = found if bend is None else numerics.with_slope(*_at(bend, found))
    return Meeting(
        log_sum=log_sum_of_others(values, labels, scale),
        best_cosine=best_of_others(found, labels),
        own_prototype=own_prototypes(unit_embeddings, prototypes, labels),
    )


def _at(bend, cosines):
    value, slope = bend.function(cosines, *bend.parameters)
    return value, cosines, slope
