"""Margins that read more than the angle: the embedding's length, or how far training has come."""

import dataclasses
from typing import ClassVar, NamedTuple

import keras
from keras import ops

from keras_margin import _arguments
from keras_margin._typing import State, Tensor
from keras_margin.margins import formulas
from keras_margin.margins._base import PACKAGE, Margin
from keras_margin.ops import replicas
from keras_margin.ops.sample import Sample


class NormStatistics(NamedTuple):
    """Running statistics of the embeddings' lengths: float32 scalars."""

    norm_mean: Tensor = 20.0
    norm_std: Tensor = 100.0


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class AdaFace(Margin):
    """Quality-adaptive margin: the embedding's length, relative to the running batch's, stands for the image's quality.

    z = clip((|x| - mean) / (std + 1e-3) * h, -1, 1)
    target_logit = cos(clip(theta - m z, 1e-3, pi - 1e-3)) - (m z + m)
    mean = momentum * mean + (1 - momentum) * mean of the batch's lengths; std likewise, unbiased

    Lengths are clipped to [0.001, 100] and pass no gradient. Where the inner clip holds, the target's gradient is zero:
    `formulas.quality_adaptive` says where and why. Mean and std begin at 20 and 100. Under tf.distribute they are the
    global batch's. A batch of one has no std and leaves it as it is.

    Differences from the released head.py: it clips every cosine, the target's too, to 1 - 1e-3 in size, which keeps all
    angles 0.045 rad away from 0 and pi, and here they are exact; its std of a batch of one is NaN; its statistics are
    each replica's own.

    Args:
        margin: m, [0, pi/2]: radians of the angular part and cosine of the additive one.
        h: How much of one standard deviation of the length is one of quality, > 0.
        momentum: Weight of the past in mean and std, [0, 1). The paper's alpha; the released t_alpha is 1 - momentum.

    Example:
        >>> head = keras_margin.MarginHead(10, AdaFace(0.4))

    Reference: Kim et al., AdaFace, CVPR 2022, section 3.2, "Image Quality Indicator" and "Adaptive Margin Function";
    the clips and initial values are those of the released head.py.
    """

    margin: float = 0.4
    h: float = 0.333
    momentum: float = 0.99
    needs_norm: ClassVar[bool] = True
    no_margin: ClassVar[float] = 0.0

    def __post_init__(self):
        _arguments.require_number("AdaFace", "margin", self.margin, 0, 1.571, unit=", radians of an angle and a cosine")
        _arguments.require_number("AdaFace", "h", self.h, above=True)
        _require_momentum("AdaFace", self.momentum)

    def initial_state(self) -> NormStatistics:
        return NormStatistics()

    def update_state(self, state: State, sample: Sample) -> NormStatistics:
        length = _clipped_length(sample)
        counted = ops.cast(sample.valid, "float32")
        count = replicas.total(ops.sum(counted))
        mean = replicas.total(ops.sum(counted * length)) / ops.maximum(count, 1.0)
        squares = replicas.total(ops.sum(counted * (length - mean) ** 2))
        std = ops.sqrt(squares / ops.maximum(count - 1.0, 1.0))
        return NormStatistics(
            _running(state.norm_mean, mean, self.momentum, count > 0),
            _running(state.norm_std, std, self.momentum, count > 1),
        )

    def quality(self, sample: Sample, state: State) -> Tensor:
        """Computes z, (batch,), in [-1, 1], without gradient."""
        deviation = (_clipped_length(sample) - state.norm_mean) / (state.norm_std + 1e-3)  # The released epsilon.
        return ops.stop_gradient(ops.clip(deviation * self.h, -1.0, 1.0))

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.quality_adaptive(sample.theta, self.quality(sample, state), self.margin)


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class MagFace(Margin):
    """Magnitude-aware margin: longer embeddings get a larger one, and a penalty makes easy ones long.

    a = clip(|x|, l_a, u_a)
    target_logit = cos(theta + m(a)),  m(a) = (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m
    extra_loss   = lambda_g * (1 / a + a / u_a^2)

    The gradient flows through a, both by the margin and by the penalty, and ends where a is clipped: an embedding
    shorter than l_a or longer than u_a keeps its length. The released single-GPU code applies the margin only to
    targets with cos(theta) > 0 ("easy margin"); this is the paper's formula at every angle.

    Args:
        lower_norm: l_a, length, > 0.
        upper_norm: u_a, length, > lower_norm.
        lower_margin: l_m, radians, [0, pi).
        upper_margin: u_m, radians, [lower_margin, pi).
        lambda_g: Weight of the penalty, >= 0.
        beyond_pi: What follows where theta + m(a) passes pi: "monotone", "none" or "linear"; see `formulas.combined`.

    Example:
        >>> head = keras_margin.MarginHead(10, MagFace())

    Reference: Meng et al., MagFace, CVPR 2021, section 3.2; the defaults are those of the released run.sh.
    """

    lower_norm: float = 10.0
    upper_norm: float = 110.0
    lower_margin: float = 0.45
    upper_margin: float = 0.8
    lambda_g: float = 35.0
    beyond_pi: str = "monotone"
    needs_norm: ClassVar[bool] = True
    no_straight_through: ClassVar[str] = "which would cut the margin off from the embedding's length"

    def __post_init__(self):
        numbers = {"lower_norm": self.lower_norm, "upper_norm": self.upper_norm, "lambda_g": self.lambda_g}
        finite = all(map(_arguments.is_finite_number, numbers.values()))
        if not finite or not 0 < self.lower_norm < self.upper_norm or self.lambda_g < 0:
            raise ValueError(f"MagFace needs 0 < lower_norm < upper_norm and lambda_g >= 0. Received: {numbers}.")
        lower_margin, upper_margin = self.lower_margin, self.upper_margin
        _arguments.require_radians("MagFace", lower_margin, "lower_margin")
        _arguments.require_radians("MagFace", upper_margin, "upper_margin")
        if not _arguments.is_tensor(lower_margin) and lower_margin > upper_margin:
            raise ValueError(f"MagFace needs lower_margin <= upper_margin. Received: {lower_margin=}, {upper_margin=}.")
        formulas.check_beyond_pi(self.beyond_pi)

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        bounds = self.lower_norm, self.upper_norm, self.lower_margin, self.upper_margin
        margin = formulas.magnitude_margin(self._length(sample), *bounds)
        return formulas.combined(sample.theta, m2=margin, beyond_pi=self.beyond_pi)

    def extra_loss(self, sample: Sample, state: State) -> Tensor:
        return self.lambda_g * formulas.magnitude_penalty(self._length(sample), self.upper_norm)

    def scaled(self, fraction):
        """Returns the margin with both ends at a fraction of their size; the penalty stays."""
        return self.replace(lower_margin=self.lower_margin * fraction, upper_margin=self.upper_margin * fraction)

    def target_angle(self, theta):
        """Returns theta + u_m, the angle of the longest embedding."""
        return theta + self.upper_margin

    def _length(self, sample: Sample) -> Tensor:
        return ops.clip(sample.norm, self.lower_norm, self.upper_norm)


class MeanCosine(NamedTuple):
    """CurricularFace's running mean of the target cosine: a float32 scalar."""

    t: Tensor = 0.0


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class CurricularFace(Margin):
    """ArcFace with a curriculum: hard other classes count little at first and much later.

    target_logit      = cos(theta + m)
    negative_logits_j = cos_j              where cos_j <= cos(theta + m)
                        cos_j (t + cos_j)  where cos_j > cos(theta + m)
    t = momentum * t + (1 - momentum) * mean of the batch's cos(theta)

    t begins at 0. Under tf.distribute it is the global batch's. No gradient passes through t or the choice. A class is
    hard by the target logit as it is used, beyond pi too; the released code compares with cos(theta + m) there, which
    turns back up.

    Args:
        margin: m, radians, [0, pi).
        momentum: Weight of the past in t, [0, 1).
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see `formulas.combined`.

    Example:
        >>> head = keras_margin.MarginHead(10, CurricularFace(0.5))

    Reference: Huang et al., CurricularFace, CVPR 2020, section 3.2; the released code moves t by 0.01 a batch.
    """

    margin: float = 0.5
    momentum: float = 0.99
    beyond_pi: str = "monotone"
    no_margin: ClassVar[float] = 0.0

    def __post_init__(self):
        _arguments.require_radians("CurricularFace", self.margin)
        _require_momentum("CurricularFace", self.momentum)
        formulas.check_beyond_pi(self.beyond_pi)

    def initial_state(self) -> MeanCosine:
        return MeanCosine()

    def update_state(self, state: State, sample: Sample) -> MeanCosine:
        counted = ops.cast(sample.valid, "float32")
        count = replicas.total(ops.sum(counted))
        mean = replicas.total(ops.sum(counted * ops.stop_gradient(sample.cosine))) / ops.maximum(count, 1.0)
        return MeanCosine(_running(state.t, mean, self.momentum, count > 0))

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        return formulas.combined(sample.theta, m2=self.margin, beyond_pi=self.beyond_pi)

    def negative_logits(self, cosines: Tensor, sample: Sample, state: State) -> tuple[Tensor, Tensor]:
        target = ops.expand_dims(self.target_logit(sample, state), 1)
        return formulas.curricular_by_cosine(cosines, target, state.t)

    def target_angle(self, theta):
        return theta + self.margin


def _clipped_length(sample: Sample) -> Tensor:
    return ops.stop_gradient(ops.clip(sample.norm, 0.001, 100.0))


def _require_momentum(owner: str, momentum: float) -> None:
    _arguments.require_number(owner, "momentum", momentum, 0, 1, below=True)


def _running(past: Tensor, value: Tensor, momentum: float, holds: Tensor) -> Tensor:
    """Returns momentum * past + (1 - momentum) * value where `holds`, else the past."""
    return ops.where(holds, momentum * past + (1.0 - momentum) * value, past)
