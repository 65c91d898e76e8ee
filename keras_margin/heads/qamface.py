"""QAMFace: a parabola of the angle for every class."""

import keras

from keras_margin import engines, margins, numerics
from keras_margin.heads._arguments import refuse_straight_through, require_radians
from keras_margin.heads.base import PACKAGE, MarginHead


@keras.saving.register_keras_serializable(package=PACKAGE)
class QAMFaceHead(MarginHead):
    """Quadratic additive angular margin.

    target logit / s = (2 pi - (theta + m))^2
    other logits / s = (2 pi - theta_j)^2

    Monotone on all of [0, pi], and pulls harder the nearer the sample is. At s = 6 logits reach 237.

    The other classes' angles come from float32 cosines (numerics.safe_arccos): their slope is capped within
    3.5e-4 rad of a foreign prototype.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        **kwargs: As in MarginHead, save gradient="straight_through", which is about cosines: an error here.

    Reference: Zhao et al., QAMFace, 2020, eq. 4.
    """

    bends_others = True

    def __init__(self, num_classes, margin=0.5, scale=6.0, **kwargs):
        require_radians("QAMFaceHead", margin)
        refuse_straight_through("QAMFaceHead", kwargs, "which none of its logits has")
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)

    def bend_target(self, target):
        """(2 pi - (theta + m))^2."""
        return margins.quadratic(target.theta, self.margin)

    def bend_others(self, cosines, target):
        """(2 pi - theta_j)^2."""
        return margins.quadratic(numerics.safe_arccos(cosines))

    def others_bend(self, target):
        """(2 pi - theta_j)^2 and its slope."""
        return engines.Bend(margins.quadratic_by_cosine)
