"""The sum over the other classes, which is where a margin loss costs time and memory, and its reference implementation.

Every margin loss of this package splits in two. The target logit is a few numbers a sample. The expensive part is

    log_sum_i = log sum_{j != y_i} exp(logit_ij),   logit_ij = scale_i * f(cos(x_i, W_j))

with f the identity for most margins. From both, by plain autodiff,

    loss_i = softplus(log_sum_i - target_logit_i) = -log p_i

So no implementation knows about margins, auxiliary losses or an annealed lambda, and none of those about
implementations:

| implementation | memory, without the prototypes and their gradient                   | time, in bare products |
|----------------|---------------------------------------------------------------------|------------------------|
| `reference`    | several (batch, num_classes) tensors; differentiated by the backend | the most               |
| `fused`        | one (batch, num_classes) tensor                                     | the least              |
| `streaming`    | a few megabytes, however many classes                               | in between             |
"""

from typing import Any, NamedTuple

from keras import ops

from keras_margin._typing import State, Tensor
from keras_margin.ops import numerics
from keras_margin.ops.sample import Sample


class NegativeLogSumExp(NamedTuple):
    """What an implementation returns for a batch.

    Attributes:
        log_sum: Float32 tensor (batch,), log sum over j != y of exp(logit_j).
        best_cosine: Float32 tensor (batch,), the largest cosine to a class that is not the sample's. No gradient.
        own_prototype: Float32 tensor (batch, embedding_size), the sample's own prototype, not normalised.
    """

    log_sum: Tensor
    best_cosine: Tensor
    own_prototype: Tensor


class NegativeLogits(NamedTuple):
    """How the logits of the other classes, before scaling, follow from their cosines.

    Attributes:
        margin: Margin whose `negative_logits` says it; None where a logit is the cosine.
        sample: Sample without gradients.
        state: The margin's state.
    """

    margin: Any = None
    sample: Sample | None = None
    state: State = ()

    def at(self, cosines: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the logits and their slope by the cosine; the slope is None where it is 1, or where none is known."""
        if self.margin is None:
            return cosines, None
        found = self.margin.negative_logits(ops.clip(cosines, -1.0, 1.0), self.sample, self.state)
        return found if isinstance(found, tuple) else (found, None)


def reference(
    unit: Tensor, prototypes: Tensor, labels: Tensor, scale: Tensor, negatives: NegativeLogits
) -> NegativeLogSumExp:
    """Computes the whole (batch, num_classes) matrix of logits, differentiated by the backend.

    Args:
        unit: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size), any lengths; or (num_classes, centers,
            embedding_size), of which each class's nearest counts.
        labels: Integer tensor (batch,), in [0, num_classes).
        scale: Float32 tensor (batch,).
        negatives: NegativeLogits.
    """
    cosines = cosine_matrix(unit, prototypes)
    return NegativeLogSumExp(
        log_sum=log_sum_of_negatives(negative_logits(cosines, negatives), labels, scale),
        best_cosine=best_negative(cosines, labels),
        own_prototype=own_prototypes(unit, prototypes, labels),
    )


def negative_logits(cosines: Tensor, negatives: NegativeLogits) -> Tensor:
    """Returns the logits before scaling, (batch, num_classes), with the slope that the margin gives, if any."""
    values, slope = negatives.at(cosines)
    return values if slope is None else numerics.with_slope(values, cosines, slope)


def cosine_matrix(unit: Tensor, prototypes: Tensor) -> Tensor:
    """Computes the cosine of each embedding to each class, (batch, num_classes), float32, in [-1, 1]."""
    unit_prototypes, _ = numerics.unit_normalize(prototypes)
    if len(prototypes.shape) == 2:
        return numerics.clip_cosine(ops.matmul(unit, ops.transpose(unit_prototypes)))
    num_classes, centers, size = prototypes.shape
    flat = ops.reshape(unit_prototypes, (num_classes * centers, size))
    to_centers = ops.matmul(unit, ops.transpose(flat))
    return numerics.clip_cosine(ops.max(ops.reshape(to_centers, (-1, num_classes, centers)), axis=2))


def own_prototypes(unit: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
    """Returns each sample's own prototype, not normalised, (batch, embedding_size); of several centers the nearest."""
    own = ops.take(prototypes, labels, axis=0)
    if len(prototypes.shape) == 2:
        return own
    unit_own, _ = numerics.unit_normalize(own)
    nearest = ops.argmax(ops.sum(unit_own * ops.expand_dims(unit, 1), axis=2), axis=1)
    nearest = ops.reshape(ops.cast(nearest, "int32"), (-1, 1, 1))
    index = ops.broadcast_to(nearest, (ops.shape(own)[0], 1, own.shape[2]))
    return ops.squeeze(ops.take_along_axis(own, index, axis=1), axis=1)


def log_sum_of_negatives(logits: Tensor, labels: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Computes log sum over j != y of exp(scale * logits_j), (batch,), from logits (batch, num_classes)."""
    own = is_own_class(labels, ops.shape(logits)[1])
    scaled = ops.reshape(ops.convert_to_tensor(scale, "float32"), (-1, 1)) * logits
    return ops.logsumexp(ops.where(own, numerics.LOG_ZERO, scaled), axis=1)


def best_negative(cosines: Tensor, labels: Tensor) -> Tensor:
    """Returns the largest cosine to a class that is not the sample's, (batch,); no gradient."""
    own = is_own_class(labels, ops.shape(cosines)[1])
    return ops.max(ops.where(own, -2.0, ops.stop_gradient(cosines)), axis=1)


def is_own_class(labels: Tensor, num_classes: int, first: Tensor | int = 0) -> Tensor:
    """Marks each sample's own class among the `num_classes` from class `first` on: boolean (batch, num_classes)."""
    shifted = labels - ops.cast(first, labels.dtype) if not isinstance(first, int) or first else labels
    return ops.equal(ops.expand_dims(shifted, 1), ops.arange(num_classes, dtype=labels.dtype))
