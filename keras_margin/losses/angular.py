"""The three losses of angles that ArcFace's paper compares itself with: intra, inter, triplet."""

import math
from typing import Any

import keras
from keras import ops

from keras_margin import _arguments
from keras_margin._typing import Tensor
from keras_margin.losses._base import PACKAGE, StatelessLoss
from keras_margin.losses._inputs import neighbors
from keras_margin.ops import numerics
from keras_margin.ops.negatives import is_own_class
from keras_margin.ops.sample import LossInputs


@keras.saving.register_keras_serializable(package=PACKAGE)
class IntraLoss(StatelessLoss):
    """Pulls each sample to its own prototype by the angle itself.

    L_i = theta_iy / pi

    As a Keras loss it takes (labels, cosines), as a head puts them out.

    Args:
        weight: Factor of the loss, >= 0.
        **kwargs: reduction and name, as in keras.losses.Loss.

    Example:
        >>> head = keras_margin.NormSoftmaxHead(10, auxiliary_loss=IntraLoss())

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 5.
    """

    reads = "cosines"

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes theta / pi, (batch,), in [0, 1]."""
        return inputs.sample.theta / math.pi


@keras.saving.register_keras_serializable(package=PACKAGE)
class InterLoss(StatelessLoss):
    """Pushes prototypes apart, each from all others equally.

    L_i = -1 / (pi (n - 1)) sum_{j != y_i} arccos(W_yi . W_j),  W of unit length, n classes

    A function of the prototypes alone; the batch says which of them count, one as often as it has samples. It costs one
    product (batch, size) x (size, n) more. The equation has one prototype a class: a head of several centers a class
    is refused. A zero prototype is at pi/2 from all.

    Args:
        weight: Factor of the loss, >= 0.
        **kwargs: reduction and name, as in keras.losses.Loss.

    Raises:
        ValueError: Where the head has several centers a class.

    Example:
        >>> head = keras_margin.NormSoftmaxHead(10, auxiliary_loss=IntraLoss() + InterLoss())

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 6.
    """

    reads = "prototypes"

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes minus the mean angle to the other prototypes over pi, (batch,), in [-1, 0]."""
        shape = tuple(inputs.prototypes.shape)
        if len(shape) != 2:
            raise ValueError(
                "InterLoss is defined for one prototype a class (ArcFace, eq. 6), and this head has several. "
                f"Received: prototypes of shape {shape}. Leave InterLoss out."
            )
        unit, _ = numerics.unit_normalize(ops.convert_to_tensor(inputs.prototypes))
        theta = numerics.safe_arccos(ops.matmul(ops.take(unit, inputs.sample.labels, axis=0), ops.transpose(unit)))
        own = is_own_class(inputs.sample.labels, shape[0])
        total = ops.sum(ops.where(own, ops.zeros_like(theta), theta), axis=1)
        return -total / (math.pi * (shape[0] - 1))


@keras.saving.register_keras_serializable(package=PACKAGE)
class AngularTripletLoss(StatelessLoss):
    """Triplets by angle: an anchor nearer to its own class than to any other by a margin.

    L_apn = max(0, arccos(x_a . x_p) + m - arccos(x_a . x_n)),  x of unit length

    p runs over the anchor's own class without itself, n over all others, both within the batch (under tf.distribute,
    within a replica's part of it): put several images of each person into a batch. An anchor without positive or
    negative has loss 0. A zero embedding is at pi/2 from all and has no gradient.

    Batch-all sorts each anchor's angles instead of visiting its triplets: no (batch, batch, batch) tensor. A hinge is
    linear where it is active, so counts of active partners are its whole gradient.

    Args:
        margin: m, radians, [0, pi).
        mining: "all": mean over the anchor's triplets. "hard": its farthest positive and nearest negative alone.
        weight: Factor of the loss, >= 0.
        **kwargs: reduction and name, as in keras.losses.Loss.

    Raises:
        ValueError: On a value out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model.compile("sgd", loss=AngularTripletLoss(mining="hard"))

    Reference: Deng et al., ArcFace, CVPR 2019, section 2.3; m = 0.35 in table 2. Mining: Hermans et al., In Defense of
    the Triplet Loss for Person Re-Identification, 2017, its batch-hard and batch-all losses, which it sums.
    """

    reads = "embeddings"

    def __init__(self, margin: float = 0.35, mining: str = "all", weight: float = 1.0, **kwargs: Any):
        super().__init__(weight, **kwargs)
        _arguments.require_radians("AngularTripletLoss", margin)
        _arguments.require_one_of("AngularTripletLoss", "mining", mining, MINING)
        self.margin = float(margin)
        self.mining = mining

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes the loss of each sample as the anchor, (batch,)."""
        unit, _ = numerics.unit_normalize(inputs.sample.embeddings)
        theta = numerics.safe_arccos(ops.matmul(unit, ops.transpose(unit)))
        positive, negative = neighbors(inputs)
        return MINING[self.mining](theta, positive, negative, self.margin)

    def get_config(self) -> dict:
        return {"margin": self.margin, "mining": self.mining, **super().get_config()}


def _all_triplets(theta, positive, negative, margin):
    """Computes the mean over each anchor's triplets, (batch,); theta and both masks are (anchor, other)."""
    positive, negative = ops.cast(positive, theta.dtype), ops.cast(negative, theta.dtype)
    num_positives = ops.sum(positive, axis=1, keepdims=True)
    num_negatives = ops.sum(negative, axis=1, keepdims=True)
    # Against a value that carries the margin if positive, every active pair is one inversion in the sorted row.
    value = theta + margin * positive
    order = ops.argsort(ops.stop_gradient(value), axis=1)
    sorted_positive = ops.take_along_axis(positive, order, axis=1)
    sorted_negative = ops.take_along_axis(negative, order, axis=1)
    negatives_before = ops.cumsum(sorted_negative, axis=1)
    positives_after = num_positives - ops.cumsum(sorted_positive, axis=1)
    slope = sorted_positive * negatives_before - sorted_negative * positives_after
    slope = ops.take_along_axis(slope, ops.argsort(order, axis=1), axis=1)
    # A row's slopes add up to 0, so a constant taken off its values costs nothing and saves their leading digits.
    value = value - ops.stop_gradient(ops.mean(value, axis=1, keepdims=True))
    total = ops.sum(ops.stop_gradient(slope) * value, axis=1)
    return total / ops.maximum(ops.squeeze(num_positives * num_negatives, axis=1), 1.0)


def _hardest_triplet(theta, positive, negative, margin):
    """Computes the hinge of the farthest positive and the nearest negative, (batch,)."""
    farthest = ops.max(ops.where(positive, theta, ops.zeros_like(theta)), axis=1)
    nearest = ops.min(ops.where(negative, theta, ops.full_like(theta, math.pi)), axis=1)
    exists = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
    return ops.where(exists, ops.relu(farthest + margin - nearest), ops.zeros_like(nearest))


MINING = {"all": _all_triplets, "hard": _hardest_triplet}
