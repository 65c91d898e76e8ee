"""Statistics of a batch for TrainingDiagnostics, and the first tensor that held NaN or infinity."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from keras_margin._typing import Tensor

# Samples measured at a time: enough for a mean, few enough for a million classes.
_SAMPLES = 128
# Classes measured against, at most: of more, a sample of this many, beside which the nearest other is a little farther.
_CLASSES = 20_000
# e^-30 is below what float32 sees beside 1: such a softmax is 0 or 1, and its gradient nothing or all.
_SATURATED = 30.0


@dataclasses.dataclass(frozen=True)
class BatchStatistics:
    """A batch under its head, without the margin's effect on learning.

    Attributes:
        theta: Mean angle to the own prototype, degrees.
        nearest: Mean angle to the nearest other prototype, degrees.
        past_pi: Share of samples whose margin carries the angle past pi.
        length: Mean length of the embeddings.
        saturated: Share of samples whose own logit is over or under all others together by 30.
        dead: Share of the embedding's dimensions that are the same for every sample.
        spread: Mean angle between embeddings of the batch, degrees; near 0 where all fell together.

    Example:
        >>> diagnostics = keras_margin.callbacks.TrainingDiagnostics()
        >>> diagnostics.statistics  # One of these for each look.
        []
    """

    theta: float
    nearest: float
    past_pi: float
    length: float
    saturated: float
    dead: float
    spread: float


def measure(head: Any, embeddings: np.ndarray, labels: np.ndarray) -> BatchStatistics:
    """Returns the BatchStatistics of some rows of a batch.

    Args:
        head: MarginHead, built.
        embeddings: Float array (batch, embedding_size).
        labels: Int array (batch,).
    """
    # float64: of a run that is about to end in inf, the squares would get there first.
    x = np.asarray(embeddings[:_SAMPLES], np.float64)
    labels = np.asarray(labels[:_SAMPLES]).reshape(-1)
    lengths = np.linalg.norm(x, axis=1)
    unit = x / np.maximum(lengths, 1e-12)[:, None]
    met, labels = _met(head.num_classes, labels)
    prototypes = keras.ops.convert_to_numpy(keras.ops.take(head.prototypes, met, axis=0)).astype(np.float64)
    prototypes = prototypes if prototypes.ndim == 3 else prototypes[:, None]
    norms = np.maximum(np.linalg.norm(prototypes, axis=-1), 1e-12)
    cosines = np.einsum("nd,ckd->nck", unit, prototypes, optimize=True) / norms
    cosines = np.clip(cosines.max(axis=-1), -1, 1)
    rows = np.arange(len(x))
    own = cosines[rows, labels]
    cosines[rows, labels] = -np.inf
    theta, best = np.arccos(own), cosines.max(axis=1)
    scale = lengths if head.scale is None else head.scale
    if not (head.has_cosine_logits and head.margin.negatives_are_cosines):
        saturated = np.zeros(len(x))
    else:
        # Others together: the largest, and the logarithm of how many weigh as much.
        weights = np.exp(np.minimum(0.0, np.reshape(scale, (-1, 1)) * (cosines - best[:, None])))
        saturated = np.abs(scale * (own - best) - np.log(weights.sum(axis=1))) > _SATURATED
    between = unit @ unit.T
    angles = np.arccos(np.clip(between[~np.eye(len(x), dtype=bool)], -1, 1)) if len(x) > 1 else np.zeros(1)
    deviation = x.std(axis=0)
    return BatchStatistics(
        theta=float(np.degrees(theta.mean())),
        nearest=float(np.degrees(np.arccos(best).mean())),
        past_pi=float(np.mean(head.margin.target_angle(theta) > math.pi)),
        length=float(lengths.mean()),
        saturated=float(np.mean(saturated)),
        dead=float(np.mean(deviation <= 1e-6 * max(1e-12, deviation.max()))),
        spread=float(np.degrees(angles.mean())),
    )


def _met(num_classes, labels):
    """(classes, the labels' places among them): all of them, or of very many the labels' own and a sample of others."""
    met = np.arange(num_classes)
    if num_classes > _CLASSES:
        met = np.union1d(labels, np.random.default_rng(0).choice(num_classes, _CLASSES, replace=False))
    return met, np.searchsorted(met, labels)


def angle_at_pi(margin: Any) -> float:
    """Returns the angle, degrees, at which a margin's target angle reaches pi; 180 for one that adds nothing."""
    theta = np.linspace(0, math.pi, 1801)
    return float(np.degrees(theta[np.argmax(margin.target_angle(theta) >= math.pi - 1e-9)]))


def first_not_finite(network: keras.Model, images: Tensor) -> str | None:
    """What is first to hold NaN or inf, in words; None where all is finite.

    The images, then the weights, then what the layers make of the images, in the network's order.
    """
    images = np.asarray(images, np.float32)
    if not np.isfinite(images).all():
        return "the images themselves"
    for weight in network.weights:
        if not _finite(weight):
            return f"the weight {weight.path}"
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    try:
        probe = keras.Model(network.input, [layer.output for layer in layers])
    except (AttributeError, ValueError):
        return None  # A network that is no graph of layers.
    for layer, output in zip(layers, probe(images, training=False), strict=True):
        if not _finite(output):
            return f"the output of the layer {layer.name} ({type(layer).__name__}); all before it is finite"
    return None


def _finite(tensor):
    return bool(np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))).all())


def label_agreement(labels, images_of, seed=0, pairs=600):
    """How much more alike two images of one label are than of two, by their pixels alone: the area under the ROC.

    0.5 is no more; about 0.02 either way is chance. Labels of real people are above it, shuffled ones are not.

    Args:
        labels: Int array (n,).
        images_of: Function from sorted indices of images to the images, an array; shorter where one cannot be read.
        seed: Of the pairs that are drawn.
        pairs: Pairs of either kind.

    Returns:
        Float; None where no label has two images.
    """
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    twice = np.flatnonzero(labels[order][1:] == labels[order][:-1])
    if not len(twice) or labels.min() == labels.max():
        return None
    first = rng.choice(twice, pairs)
    genuine = np.stack([order[first], order[first + 1]], axis=1)
    impostor = rng.integers(0, len(labels), (4 * pairs, 2))
    impostor = impostor[labels[impostor[:, 0]] != labels[impostor[:, 1]]][:pairs]
    numbers, places = np.unique(np.concatenate([genuine, impostor]), return_inverse=True)
    images = images_of(numbers)
    if len(images) != len(numbers):
        return None  # Some could not be read; their places are not known.
    # Less what all have in common, or every cosine is near 1.
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    both = places.reshape(-1, 2)
    scores = np.sum(rows[both[:, 0]] * rows[both[:, 1]], axis=1)
    own, other = scores[: len(genuine)], np.sort(scores[len(genuine) :])
    return float(np.searchsorted(other, own).mean() / len(other))
