"""Margins that are a closed formula of the target's angle: none, CosFace, ArcFace, combined, SphereFace by arccos."""

import dataclasses
from typing import ClassVar

import keras

from keras_margin import _arguments
from keras_margin._typing import State, Tensor
from keras_margin.margins import formulas
from keras_margin.margins._base import PACKAGE, Margin
from keras_margin.ops.sample import Sample


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class Softmax(Margin):
    """No margin: softmax on scaled cosines, the baseline of every margin.

    target_logit = cos(theta)

    Example:
        >>> head = keras_margin.MarginHead(10, Softmax())

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 2.
    """

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return sample.cosine


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class CosFace(Margin):
    """Additive cosine margin.

    target_logit = cos(theta) - m

    Args:
        margin: m, cosine, [0, 2].

    Example:
        >>> head = keras_margin.MarginHead(10, CosFace(0.35))

    Reference: Wang et al., CosFace, CVPR 2018, eq. 4.
    """

    margin: float = 0.35
    no_margin: ClassVar[float] = 0.0

    def __post_init__(self):
        _arguments.require_number("CosFace", "margin", self.margin, 0, 2, unit=" of cosine")

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.additive_cosine(sample.cosine, self.margin)


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class ArcFace(Margin):
    """Additive angular margin.

    target_logit = cos(theta + m)

    Args:
        margin: m, radians, [0, pi).
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see `formulas.combined`.

    Example:
        >>> ArcFace(0.5)
        ArcFace(margin=0.5, beyond_pi='monotone')

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 3.
    """

    margin: float = 0.5
    beyond_pi: str = "monotone"
    no_margin: ClassVar[float] = 0.0

    def __post_init__(self):
        _arguments.require_radians(type(self).__name__, self.margin)
        formulas.check_beyond_pi(self.beyond_pi)

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.combined(sample.theta, m2=self.margin, beyond_pi=self.beyond_pi)

    def target_angle(self, theta):
        return theta + self.margin


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class Combined(Margin):
    """The three margins at once.

    target_logit = cos(m1 theta + m2) - m3

    Published settings (m1, m2, m3): (1, 0.3, 0.2) and (0.9, 0.4, 0.15).

    Args:
        m1: Angle multiplier, [0.05, 16]. SphereFace.
        m2: Added angle, radians, [0, pi). ArcFace.
        m3: Subtracted cosine, [0, 2]. CosFace.
        beyond_pi: What follows where m1 theta + m2 passes pi: "monotone", "none" or "linear"; see `formulas.combined`.

    Example:
        >>> head = keras_margin.MarginHead(10, Combined(0.9, 0.4, 0.15))

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 4.
    """

    m1: float = 1.0
    m2: float = 0.3
    m3: float = 0.2
    beyond_pi: str = "monotone"

    def __post_init__(self):
        _arguments.require_number("Combined", "m1", self.m1, 0.05, 16, unit=", a factor of the angle")
        _arguments.require_radians("Combined", self.m2, "m2")
        _arguments.require_number("Combined", "m3", self.m3, 0, 2, unit=" of cosine")
        formulas.check_beyond_pi(self.beyond_pi, self.m1)

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.combined(sample.theta, self.m1, self.m2, self.m3, self.beyond_pi)

    def scaled(self, fraction):
        """Returns the margin with each of its parts at a fraction of the way from none (1, 0, 0)."""
        # beyond_pi="linear" needs m1 to be 1 itself, not a tensor that is.
        m1 = self.m1 if self.m1 == 1.0 else 1.0 + (self.m1 - 1.0) * fraction
        return self.replace(m1=m1, m2=self.m2 * fraction, m3=self.m3 * fraction)

    def target_angle(self, theta):
        return self.m1 * theta + self.m2


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class SphereFaceArccos(Margin):
    """SphereFace as ArcFace's authors re-implemented it: any real multiplier, fixed scale, no annealing.

    target_logit = cos(m theta)

    Args:
        margin: m, a factor of the angle, [1, 16].
        beyond_pi: What follows where m theta passes pi: "monotone" or "none"; see `formulas.combined`.

    Example:
        >>> head = keras_margin.MarginHead(10, SphereFaceArccos(1.35))

    Reference: Deng et al., ArcFace, CVPR 2019, section 2.2 and table 2 (m = 1.35).
    """

    margin: float = 1.35
    beyond_pi: str = "monotone"
    no_margin: ClassVar[float] = 1.0

    def __post_init__(self):
        _arguments.require_number("SphereFaceArccos", "margin", self.margin, 1, 16, unit=", a factor of the angle")
        formulas.check_beyond_pi(self.beyond_pi, self.margin)

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.combined(sample.theta, m1=self.margin, beyond_pi=self.beyond_pi)

    def target_angle(self, theta):
        return self.margin * theta
