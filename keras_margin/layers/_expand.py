"""expand: a head of more classes from a trained one."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_margin import _arguments
from keras_margin.ops import validation


def expand(head: Any, num_classes: int, embeddings: Any = None, labels: Any = None) -> Any:
    """Builds a head of more classes, to go on training with new people: the old rows and all state are kept.

    New prototypes come from the initializer; where `embeddings` of a new class are given, from their mean direction, as
    long as the old prototypes are on average. Another weight with a row a class, such as a bias, gets initial rows too;
    every other, such as lambda's step or running statistics, is kept as it is.

    Args:
        head: MarginHead, built.
        num_classes: Number of classes of the new head, > the head's.
        embeddings: Float array (n, embedding_size) of samples of new classes, or None.
        labels: Integer array (n,), their classes, in [head.num_classes, num_classes).

    Returns:
        MarginHead of the same type and settings, built.

    Raises:
        ValueError: Not more classes, a head not built, embeddings without labels, or either out of range.

    Example:
        >>> head = keras_margin.ArcFaceHead(10)
        >>> head.build((None, 4))
        >>> tuple(expand(head, 12).prototypes.shape)
        (12, 4)
    """
    owner = f"{type(head).__name__}.expand"
    if not head.built:
        raise ValueError(f"{owner} needs a head that is built: call it, train it or load its weights first.")
    more = ": more than the head has"
    _arguments.require_integer(owner, num_classes, head.num_classes + 1, math.inf, "num_classes", more)
    directions = _class_directions(owner, head, num_classes, embeddings, labels)
    bigger = type(head).from_config({**head.get_config(), "num_classes": int(num_classes)})
    bigger.build((None, head.prototypes.shape[-1]))
    for old, new in zip(head.weights, bigger.weights, strict=True):
        new.assign(_first_rows_from(old, new))
    if directions:
        prototypes = np.array(ops.convert_to_numpy(bigger.prototypes))
        old_rows = prototypes[: head.num_classes]
        # The length of a row sets its pace, not its cosine: new rows turn as fast as the old ones.
        length = np.mean(np.linalg.norm(old_rows, axis=-1))
        for label, direction in directions.items():
            # Of several centres the first; equal ones would all be nearest at once and never part.
            row = prototypes[label] if prototypes.ndim == 2 else prototypes[label, 0]
            row[:] = length * direction
        bigger.prototypes.assign(prototypes)
    return bigger


def _first_rows_from(old, new):
    values = ops.convert_to_numpy(old)
    if tuple(old.shape) == tuple(new.shape):
        return values
    grown = np.array(ops.convert_to_numpy(new))
    grown[: len(values)] = values
    return grown


def _class_directions(owner, head, num_classes, embeddings, labels):
    """Dict from each label given to the unit mean of its unit embeddings; without those that cancel out."""
    if (embeddings is None) != (labels is None):
        raise ValueError(f"{owner} takes embeddings and their labels together. Received only one of them.")
    if embeddings is None:
        return {}
    embeddings = np.asarray(ops.convert_to_numpy(embeddings), "float64")
    labels = ops.convert_to_numpy(validation.labels_as_indices(labels, owner))
    size = head.prototypes.shape[-1]
    if embeddings.ndim != 2 or embeddings.shape[1] != size or len(embeddings) != len(labels):
        raise ValueError(
            f"{owner} needs embeddings (n, {size}) and labels (n,). Received: {embeddings.shape} and {labels.shape}."
        )
    outside = (labels < head.num_classes) | (labels >= num_classes)
    if np.any(outside):
        raise ValueError(
            f"{owner} initialises new classes: labels must be in [{head.num_classes}, {num_classes - 1}]. "
            f"Received: {labels[outside][0]} at sample {int(np.argmax(outside))}."
        )
    if not np.all(np.isfinite(embeddings)):
        raise ValueError(f"{owner} needs finite embeddings. Received: NaN or inf.")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.where(lengths > 0, lengths, 1.0)
    means = {label: unit[labels == label].mean(axis=0) for label in np.unique(labels)}
    lengths = {label: np.linalg.norm(mean) for label, mean in means.items()}
    return {label: means[label] / lengths[label] for label in means if lengths[label] > np.finfo("float32").eps}
