"""Losses of lengths and distances, of the softmax era: center, ring, contrastive."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_margin import _arguments
from keras_margin._typing import Shape, Tensor
from keras_margin.losses._base import PACKAGE, StatelessLoss, WeightedLoss
from keras_margin.losses._inputs import neighbors
from keras_margin.ops import numerics, replicas
from keras_margin.ops.sample import LossInputs


@keras.saving.register_keras_serializable(package=PACKAGE)
class CenterLoss(WeightedLoss):
    """Pulls each embedding to a running center of its class.

    L_i = 1/2 |x_i - c_yi|^2
    delta c_j = sum_{i: y_i = j} (c_j - x_i) / (1 + n_j),  c_j <- c_j - alpha delta c_j,  n_j the batch's samples of j

    x is the embedding as it is, not normalised. The loss takes the centers before the batch moves them. Only training
    batches move them, and no gradient does; under tf.distribute the global batch does, and all replicas keep the same
    centers. Moving them costs two tensors of the centers' size.

    Weight: `centers`, (num_classes, embedding_size), float32, not trainable, saved with the head.

    Args:
        weight: lambda, factor of the loss, >= 0.
        alpha: Step of the centers, [0, 1].
        num_classes: Number of classes; a head brings its own, so only a CenterLoss outside of a head needs it.
        centers_initializer: Keras initializer.
        **kwargs: name, as in keras.layers.Layer.

    Raises:
        ValueError: On a value out of range, or a `num_classes` that is not the head's.

    Example:
        >>> head = keras_margin.NormSoftmaxHead(10, auxiliary_loss=CenterLoss())

    Reference: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, eq. 2 to 4,
    and algorithm 1; lambda = 0.003 and alpha = 0.5 are its settings for faces.
    """

    reads = "embeddings"

    def __init__(
        self,
        weight: float = 0.003,
        alpha: float = 0.5,
        num_classes: int | None = None,
        centers_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(weight, **kwargs)
        _arguments.require_number("CenterLoss", "alpha", alpha, 0, 1)
        if num_classes is not None:
            _arguments.require_integer("CenterLoss", num_classes, 1, math.inf, "num_classes", " or None")
        self.alpha = float(alpha)
        self.num_classes = None if num_classes is None else int(num_classes)
        self.centers_initializer = keras.initializers.get(centers_initializer)
        self.centers: Tensor = None
        self._head_classes: int | None = None

    def build_for(self, num_classes: int, embedding_size: int) -> None:
        """Creates the centers for a head's classes."""
        if self.num_classes not in (None, num_classes):
            raise ValueError(
                f"CenterLoss(num_classes={self.num_classes}) is in a head of {num_classes} classes. "
                "In a head leave num_classes out."
            )
        self._head_classes = num_classes
        super().build_for(num_classes, embedding_size)

    def build(self, embeddings_shape: Shape) -> None:
        """Creates the centers for embeddings of `embeddings_shape`, (batch, embedding_size)."""
        num_classes, size = self.num_classes or self._head_classes, embeddings_shape[-1]
        if num_classes is None:
            raise ValueError("CenterLoss outside of a head needs num_classes=, the number of centers to keep.")
        self.centers = self.add_weight(
            name="centers",
            shape=(num_classes, size),
            initializer=self.centers_initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes 1/2 |x - c|^2, (batch,); moves the centers if this is a training batch."""
        centers = ops.stop_gradient(ops.convert_to_tensor(self.centers))
        away = inputs.sample.embeddings - ops.take(centers, inputs.sample.labels, axis=0)
        if inputs.training:
            self._move(centers, ops.stop_gradient(away), inputs)
        return 0.5 * ops.sum(away * away, axis=1)

    def _move(self, centers, away, inputs):
        """Makes the update of equation 4 by the global batch; `away` is x - c, (batch, embedding_size)."""
        counted = ops.cast(_valid(inputs, away[:, 0]), away.dtype)[:, None]
        labels = ops.cast(inputs.sample.labels, "int32")
        count = replicas.total(ops.segment_sum(counted, labels, self.centers.shape[0]))
        total = replicas.total(ops.segment_sum(counted * away, labels, self.centers.shape[0]))
        self.centers.assign(centers + self.alpha * total / (1.0 + count))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            # In a head the head brings them: a copy in a head of more classes must not ask for these.
            "num_classes": self.num_classes if self._head_classes is None else None,
            "centers_initializer": keras.initializers.serialize(self.centers_initializer),
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class RingLoss(WeightedLoss):
    """Pulls the embeddings' lengths to one radius, which is learnt with them.

    L_i = 1/2 (|x_i| - R)^2

    For losses that use the lengths: a softmax with scale=None, or MagFace. A head of fixed scale ignores them, and
    RingLoss then only keeps them in bounds. A zero embedding has no gradient.

    Weights, float32: `start`, where R began, not trainable; `offset`, what R has learnt since, trainable. R = start +
    offset: a weight decay pulls R to where it began, not to 0.

    Args:
        weight: lambda, factor of the loss, >= 0.
        radius: R to begin with, > 0. None, as released: the mean length of the first training batch.
        **kwargs: name, as in keras.layers.Layer.

    Raises:
        ValueError: On a value out of range.

    Example:
        >>> head = keras_margin.NormSoftmaxHead(10, scale=None, auxiliary_loss=RingLoss())

    Reference: Zheng et al., Ring loss, CVPR 2018, section 3, the definition of L_R; lambda = 0.01 is its best setting,
    and the first batch's mean is how the released code begins.
    """

    reads = "embeddings"

    def __init__(self, weight: float = 0.01, radius: float | None = None, **kwargs: Any):
        super().__init__(weight, **kwargs)
        if radius is not None:
            _arguments.require_number("RingLoss", "radius", radius, above=True, unit=", or None")
        self.initial_radius = None if radius is None else float(radius)
        self.start: Tensor = None
        self.offset: Tensor = None

    def build(self, embeddings_shape: Shape) -> None:
        """Creates the radius."""
        # A length is never negative: -1 stands for "no batch yet".
        first = keras.initializers.Constant(-1.0 if self.initial_radius is None else self.initial_radius)
        kind = {"shape": (), "dtype": "float32", "autocast": False}
        self.start = self.add_weight(name="start", initializer=first, trainable=False, **kind)
        self.offset = self.add_weight(name="offset", initializer="zeros", **kind)

    @property
    def radius(self) -> float | None:
        """The present R; None before the first training batch, where that sets it."""
        if not self.built:
            return self.initial_radius
        start = float(ops.convert_to_numpy(self.start))
        return None if start < 0 else start + float(ops.convert_to_numpy(self.offset))

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes 1/2 (|x| - R)^2, (batch,)."""
        _, norm = numerics.unit_normalize(inputs.sample.embeddings)
        start = ops.convert_to_tensor(self.start)
        if self.initial_radius is None:
            start = ops.where(start < 0, _mean_length(norm, inputs), start)
            if inputs.training:
                self.start.assign(start)
        away = norm - (ops.stop_gradient(start) + self.offset)
        return 0.5 * away * away

    def get_config(self) -> dict:
        return {**super().get_config(), "radius": self.initial_radius}


def _mean_length(norm, inputs):
    """Computes the mean of the valid samples' lengths over the global batch, a scalar without gradient."""
    norm = ops.stop_gradient(norm)
    counted = ops.cast(_valid(inputs, norm), norm.dtype)
    total, count = ops.unstack(replicas.total(ops.stack([ops.sum(counted * norm), ops.sum(counted)])), 2)
    return total / ops.maximum(count, 1.0)


def _valid(inputs, like):
    """Returns which samples are valid, all where that is not known; shaped like `like`, (batch,)."""
    valid = inputs.sample.valid
    return ops.ones_like(like, dtype="bool") if valid is None else valid


@keras.saving.register_keras_serializable(package=PACKAGE)
class ContrastiveLoss(StatelessLoss):
    """Pairs by distance: one class together, two classes apart by a margin.

    L_ij = 1/2 d_ij^2 if y_i = y_j, else 1/2 max(0, m - d_ij)^2,  d_ij = |x_i - x_j|

    A sample's loss is the mean over its pairs with all others of the batch (under tf.distribute, of a replica's part of
    it), so the batch's is the mean over all pairs. Alone in its batch it has loss 0. Two embeddings in one place have
    distance 0 and no direction to part in: a finite gradient, near zero.

    Args:
        margin: m, a distance, > 0; at most 2 if normalised: 1 is then 60 degrees.
        normalize: Whether distances are between unit vectors. The paper's are not.
        weight: Factor of the loss, >= 0.
        **kwargs: reduction and name, as in keras.losses.Loss.

    Raises:
        ValueError: On a value out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model.compile("sgd", loss=ContrastiveLoss(margin=1.0))

    Reference: Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006, eq. 4.
    """

    reads = "embeddings"

    def __init__(self, margin: float = 1.0, normalize: bool = True, weight: float = 1.0, **kwargs: Any):
        super().__init__(weight, **kwargs)
        if normalize:
            unit = ", a distance of unit vectors"
            _arguments.require_number("ContrastiveLoss", "margin", margin, 0, 2, above=True, unit=unit)
        else:
            _arguments.require_number("ContrastiveLoss", "margin", margin, above=True)
        self.margin = float(margin)
        self.normalize = bool(normalize)

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes the mean over each sample's pairs, (batch,)."""
        embeddings = inputs.sample.embeddings
        squared, distance = _distances(numerics.unit_normalize(embeddings)[0] if self.normalize else embeddings)
        same, different = neighbors(inputs)
        apart = ops.relu(self.margin - distance)
        zero = ops.zeros_like(squared)
        loss = 0.5 * (ops.where(same, squared, zero) + ops.where(different, apart * apart, zero))
        pairs = ops.sum(ops.cast(ops.logical_or(same, different), loss.dtype), axis=1)
        return ops.sum(loss, axis=1) / ops.maximum(pairs, 1.0)

    def get_config(self) -> dict:
        return {"margin": self.margin, "normalize": self.normalize, **super().get_config()}


# Float32 cannot tell squared distances below eps times the squared lengths from 0.
_DISTANCE_FLOOR = math.sqrt(float(np.finfo("float32").eps))


def _distances(embeddings):
    """Computes squared distances and distances of all pairs of rows, (batch, batch) each."""
    # |a|^2 + |b|^2 - 2 a.b cancels where rows are long and close; about their mean they are as short as can be.
    rows = embeddings - ops.stop_gradient(ops.mean(embeddings, axis=0, keepdims=True))
    square = ops.sum(rows * rows, axis=1)
    squared = ops.expand_dims(square, 1) + ops.expand_dims(square, 0) - 2.0 * ops.matmul(rows, ops.transpose(rows))
    squared = ops.maximum(squared, 0.0)
    # d sqrt(s)/ds = 1/(2 sqrt(s)) is infinite at 0; it is capped where the distance is rounding noise anyway.
    longest = ops.sqrt(ops.max(ops.stop_gradient(square)))
    floor = ops.where(longest > 0, _DISTANCE_FLOOR * longest, ops.ones_like(longest))
    distance = ops.sqrt(ops.stop_gradient(squared))
    return squared, numerics.with_slope(distance, squared, 0.5 / ops.maximum(distance, floor))
