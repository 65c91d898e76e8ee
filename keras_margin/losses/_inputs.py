"""From an output of a model to the LossInputs of an auxiliary loss: checks, and what each kind of output tells."""

from typing import Any

from keras import ops

from keras_margin._cosine_source import source_of
from keras_margin._typing import Tensor
from keras_margin.ops import numerics, validation
from keras_margin.ops.negatives import is_own_class, log_sum_of_negatives
from keras_margin.ops.sample import LossInputs, Sample


def checked_outputs(
    outputs: Tensor, labels: Tensor, reads: str, owner: str, num_classes: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (outputs, labels, valid): float32 outputs, labels (batch,), harmless values where `valid` is False.

    Args:
        outputs: Float tensor (batch, size).
        labels: Integer tensor (batch,) or (batch, 1).
        reads: What the outputs are, a key of INPUTS.
        owner: Name of the loss, for messages.
        num_classes: Number of classes that labels among embeddings must be of; None for any integer.
    """
    labels = validation.labels_as_indices(labels, owner)
    if reads == "cosines":
        source = source_of(outputs)
        outputs = outputs if source is None or source.cosines is None else source.cosines
    outputs = ops.cast(outputs, "float32")
    if reads != "embeddings":
        num_classes = int(outputs.shape[1])
    # Any integer names a class among embeddings, unless the loss keeps something for each.
    known = labels if num_classes else ops.zeros_like(labels)
    valid = validation.valid_rows(outputs, known, num_classes or 1, owner)
    labels = ops.where(valid, labels, ops.zeros_like(labels))
    return ops.where(ops.expand_dims(valid, 1), outputs, ops.zeros_like(outputs)), labels, valid


def without_unweighted(values: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns values (batch,) twice, 0 where the weight is 0: a bad sample of no weight is inf, and inf * 0 is NaN.

    Example:
        >>> values, _ = without_unweighted(keras.ops.array([1.0, math.inf]), keras.ops.array([1.0, 0.0]))
        >>> [float(value) for value in values]
        [1.0, 0.0]
    """
    if sample_weight is not None:
        weights = ops.reshape(ops.convert_to_tensor(sample_weight), (-1,))
        values = ops.where(ops.equal(weights, 0), ops.zeros_like(values), values)
    return values, values


def neighbors(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Tells which others of the batch are of the anchor's class, and which of another.

    Returns:
        (same, different): boolean tensors (anchor, other); both False at the anchor itself and at invalid others.
    """
    labels, valid = inputs.sample.labels, inputs.sample.valid
    index = ops.arange(ops.shape(labels)[0], dtype="int32")
    other = ops.not_equal(ops.expand_dims(index, 1), index)
    if valid is not None:
        other = ops.logical_and(other, valid)
    equal = ops.equal(ops.expand_dims(labels, 1), labels)
    return ops.logical_and(other, equal), ops.logical_and(other, ops.logical_not(equal))


def inputs_of_embeddings(labels: Tensor, embeddings: Tensor, valid: Tensor) -> LossInputs:
    """Returns what embeddings (batch, embedding_size) tell."""
    norm = numerics.unit_normalize(embeddings)[1]
    return LossInputs(Sample(None, None, norm, labels, valid, embeddings))


def inputs_of_logits(labels: Tensor, logits: Tensor, valid: Tensor) -> LossInputs:
    """Returns what logits (batch, num_classes) tell."""
    own = is_own_class(labels, logits.shape[1])
    return LossInputs(
        Sample(None, None, None, labels, valid),
        num_classes=int(logits.shape[1]),
        target_logit=ops.sum(ops.where(own, logits, 0.0), axis=1),
        negative_logsumexp=log_sum_of_negatives(logits, labels),
    )


def inputs_of_cosines(labels: Tensor, cosines: Tensor, valid: Tensor) -> LossInputs:
    """Returns what cosines (batch, num_classes) tell."""
    cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
    sample = Sample(numerics.safe_arccos(cosine), cosine, None, labels, valid)
    return LossInputs(sample, num_classes=int(cosines.shape[1]))


# What each kind of output tells.
INPUTS = {"embeddings": inputs_of_embeddings, "logits": inputs_of_logits, "cosines": inputs_of_cosines}


def why_no_keras_loss(loss: Any) -> str:
    """Returns why this auxiliary loss cannot be computed from one output."""
    name = type(loss).__name__
    if loss.reads == "prototypes":
        return f"{name} reads the head's prototypes, which no output carries. Give it to a head: auxiliary_loss=."
    return (
        f"{name} reads {loss.reads}; a Keras loss sees one output. Use one loss an output, or a head's auxiliary_loss=."
    )
