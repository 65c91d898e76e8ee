"""Heads whose margin is a closed formula of the target's angle: NormSoftmax, CosFace, ArcFace, combined."""

import keras

from keras_margin import margins
from keras_margin.heads._arguments import refuse_options, require_radians, require_range
from keras_margin.heads.base import PACKAGE, MarginHead


@keras.saving.register_keras_serializable(package=PACKAGE)
class NormSoftmaxHead(MarginHead):
    """Softmax on scaled cosines, no margin: the baseline of every margin.

    target logit / s = cos(theta)

    Args:
        num_classes: Number of classes, >= 2.
        scale: s, > 0. None, each embedding's own norm, makes it SphereFace's "modified softmax".
        **kwargs: As in MarginHead.

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 2; Liu et al., SphereFace, CVPR 2017, eq. 5, for scale=None.
    """

    def __init__(self, num_classes, scale=64.0, **kwargs):
        if kwargs.pop("margin", 0.0):
            raise ValueError("NormSoftmaxHead has no margin. Use ArcFaceHead or CosFaceHead for one.")
        super().__init__(num_classes, margin=0.0, scale=scale, **kwargs)

    def bend_target(self, target):
        """cos(theta)."""
        return target.cosine


@keras.saving.register_keras_serializable(package=PACKAGE)
class CosFaceHead(MarginHead):
    """Additive cosine margin.

    target logit / s = cos(theta) - m

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, cosine, [0, 2].
        scale: s, > 0.
        **kwargs: As in MarginHead.

    Reference: Wang et al., CosFace, CVPR 2018, eq. 4.
    """

    def __init__(self, num_classes, margin=0.35, scale=64.0, **kwargs):
        require_range("CosFaceHead", margin, 0, 2, "a margin", " of cosine")
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)

    def bend_target(self, target):
        """cos(theta) - m."""
        return margins.additive_cosine(target.cosine, self.margin)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CombinedMarginHead(MarginHead):
    """The three margins at once.

    target logit / s = cos(m1 theta + m2) - m3

    Published settings (m1, m2, m3): (1, 0.3, 0.2) and (0.9, 0.4, 0.15).

    Args:
        num_classes: Number of classes, >= 2.
        m1: Angle multiplier, > 0. SphereFace.
        m2: Added angle, radians, [0, pi). ArcFace.
        m3: Subtracted cosine, [0, 2]. CosFace.
        scale: s, > 0.
        beyond_pi: What follows where m1 theta + m2 passes pi: "monotone", "none" or "linear"; see margins.combined.
        **kwargs: As in MarginHead.

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 4.
    """

    def __init__(self, num_classes, m1=1.0, m2=0.3, m3=0.2, scale=64.0, *, beyond_pi="monotone", **kwargs):
        name = type(self).__name__
        refuse_options(name, kwargs, ["margin"], "has its margins in m1, m2 and m3")
        require_range(name, m1, 0.05, 16, "m1", ", a factor of the angle")
        require_radians(name, m2, "m2")
        require_range(name, m3, 0, 2, "m3", " of cosine")
        margins.check_beyond_pi(beyond_pi, m1)
        super().__init__(num_classes, margin=0.0, scale=scale, **kwargs)
        self.m1, self.m2, self.m3, self.beyond_pi = float(m1), float(m2), float(m3), beyond_pi

    def bend_target(self, target):
        """cos(m1 theta + m2) - m3."""
        return margins.combined(target.theta, self.m1, self.m2, self.m3, self.beyond_pi)

    def get_config(self):
        """Arguments that build this head again."""
        config = super().get_config()
        del config["margin"]
        return {**config, "m1": self.m1, "m2": self.m2, "m3": self.m3, "beyond_pi": self.beyond_pi}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ArcFaceHead(MarginHead):
    """Additive angular margin.

    target logit / s = cos(theta + m)

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see margins.combined.
            insightface's current training code is beyond_pi="none" with gradient="straight_through".
        **kwargs: As in MarginHead.

    Example:
        >>> head = ArcFaceHead(num_classes=10_575)
        >>> model.add(head); model.compile("sgd", loss=head.loss)

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 3.
    """

    def __init__(self, num_classes, margin=0.5, scale=64.0, *, beyond_pi="monotone", **kwargs):
        require_radians("ArcFaceHead", margin)
        margins.check_beyond_pi(beyond_pi)
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)
        self.beyond_pi = beyond_pi

    def bend_target(self, target):
        """cos(theta + m)."""
        return margins.combined(target.theta, m2=self.margin, beyond_pi=self.beyond_pi)

    def get_config(self):
        """Arguments that build this head again."""
        return {**super().get_config(), "beyond_pi": self.beyond_pi}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SphereFaceArccosHead(MarginHead):
    """SphereFace as ArcFace's authors re-implemented it: any real multiplier, fixed scale, no annealing.

    target logit / s = cos(m theta)

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, a factor of the angle, [1, 16].
        scale: s, > 0.
        beyond_pi: What follows where m theta passes pi: "monotone" or "none"; see margins.combined.
        **kwargs: As in MarginHead.

    Reference: Deng et al., ArcFace, CVPR 2019, section 2.2 and table 2 (m = 1.35).
    """

    def __init__(self, num_classes, margin=1.35, scale=64.0, *, beyond_pi="monotone", **kwargs):
        require_range("SphereFaceArccosHead", margin, 1, 16, "a margin", ", a factor of the angle")
        margins.check_beyond_pi(beyond_pi, margin)
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)
        self.beyond_pi = beyond_pi

    def bend_target(self, target):
        """cos(m theta)."""
        return margins.combined(target.theta, m1=self.margin, beyond_pi=self.beyond_pi)

    def get_config(self):
        """Arguments that build this head again."""
        return {**super().get_config(), "beyond_pi": self.beyond_pi}
