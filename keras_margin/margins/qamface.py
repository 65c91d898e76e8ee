"""QAMFace: a parabola of the angle for every class."""

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
class QAMFace(Margin):
    """Quadratic additive angular margin.

    target_logit      = (2 pi - (theta + m))^2
    negative_logits_j = (2 pi - theta_j)^2

    Monotone on all of [0, pi], and pulls harder the nearer the sample is. At scale 6 logits reach 237.

    The other classes' angles come from float32 cosines: their slope is capped within 3.5e-4 rad of a foreign prototype
    (`ops.numerics.capped_sine`).

    Args:
        margin: m, radians, [0, pi).

    Example:
        >>> head = keras_margin.MarginHead(10, QAMFace(0.5), scale=6.0)

    Reference: Zhao et al., QAMFace, 2020, eq. 4.
    """

    margin: float = 0.5
    no_margin: ClassVar[float] = 0.0
    no_straight_through: ClassVar[str] = "which none of QAMFace's logits has"

    def __post_init__(self):
        _arguments.require_radians("QAMFace", self.margin)

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.quadratic(sample.theta, self.margin)

    def negative_logits(self, cosines: Tensor, sample: Sample, state: State) -> tuple[Tensor, Tensor]:
        return formulas.quadratic_by_cosine(cosines)
