"""Heads whose margin reads more than the angle: the embedding's length, or how far training has come."""

import keras
from keras import ops

from keras_margin import engines, margins, replicas
from keras_margin.heads import _arguments
from keras_margin.heads.base import PACKAGE, MarginHead


@keras.saving.register_keras_serializable(package=PACKAGE)
class AdaFaceHead(MarginHead):
    """Quality-adaptive margin: the embedding's length, against the running batch's, stands for the image's quality.

    z = clip((|x| - mean) / (std + 1e-3) * h, -1, 1)
    target logit / s = cos(clip(theta - m z, 1e-3, pi - 1e-3)) - (m z + m)
    mean = momentum * mean + (1 - momentum) * mean of the batch's lengths; std alike, unbiased

    Lengths are clipped to [0.001, 100] and pass no gradient. A training batch moves mean and std before its own margin
    is taken; evaluation uses and never moves them. Under tf.distribute they are the global batch's, the same in every
    replica. A batch of one has no std and leaves it as it is. Where the inner clip holds, the target's gradient is
    zero: margins.quality_adaptive says where and why. As released but for one thing: the released code also clips the
    other classes' cosines to 1 - 1e-3, here they are exact.

    Weights: `norm_mean` and `norm_std`, float32 scalars, not trainable, saved; 20 and 100 to begin with.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, [0, pi/2]: radians of the angular part and cosine of the additive one.
        scale: s, > 0.
        h: How much of one standard deviation of the length is one of quality, > 0.
        momentum: Weight of the past in mean and std, [0, 1). The paper's alpha; the released t_alpha is 1 - momentum.
        **kwargs: As in MarginHead.

    Reference: Kim et al., AdaFace, CVPR 2022, section 3.2, "Image Quality Indicator" and "Adaptive Margin Function";
    the clips and initial values are those of the released head.py.
    """

    needs_norm = True
    learns = True

    def __init__(self, num_classes, margin=0.4, scale=64.0, *, h=0.333, momentum=0.99, **kwargs):
        _arguments.require_range("AdaFaceHead", margin, 0, 1.571, "a margin", ", radians of an angle and a cosine")
        if not (_arguments.is_finite_number(h) and h > 0):
            raise ValueError(f"AdaFaceHead needs h > 0. Received: h={h!r}.")
        _require_momentum("AdaFaceHead", momentum)
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)
        self.h = float(h)
        self.momentum = float(momentum)
        self.norm_mean = None
        self.norm_std = None

    def build(self, embeddings_shape):
        """Creates the prototypes and the running statistics."""
        super().build(embeddings_shape)
        self.norm_mean = _statistic(self, "norm_mean", 20.0)
        self.norm_std = _statistic(self, "norm_std", 100.0)

    def observe(self, target):
        """Draws mean and std towards the global batch's."""
        length = self._length(target)
        counts = ops.cast(target.valid, "float32")
        count = replicas.total(ops.sum(counts))
        mean = replicas.total(ops.sum(counts * length)) / ops.maximum(count, 1.0)
        squares = replicas.total(ops.sum(counts * (length - mean) ** 2))
        std = ops.sqrt(squares / ops.maximum(count - 1.0, 1.0))
        _draw(self.norm_mean, mean, self.momentum, count > 0)
        _draw(self.norm_std, std, self.momentum, count > 1)

    def image_quality(self, target):
        """z, (batch,), in [-1, 1], without gradient."""
        mean, std = ops.convert_to_tensor(self.norm_mean), ops.convert_to_tensor(self.norm_std)
        deviation = (self._length(target) - mean) / (std + 1e-3)  # The released code's epsilon.
        return ops.stop_gradient(ops.clip(deviation * self.h, -1.0, 1.0))

    def bend_target(self, target):
        """cos(theta - m z) - (m z + m)."""
        return margins.quality_adaptive(target.theta, self.image_quality(target), self.margin)

    def _length(self, target):
        return ops.stop_gradient(ops.clip(target.norm, 0.001, 100.0))

    def get_config(self):
        """Arguments that build this head again."""
        return {**super().get_config(), "h": self.h, "momentum": self.momentum}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MagFaceHead(MarginHead):
    """Magnitude-aware margin: longer embeddings get a larger one, and a penalty draws easy ones to be long.

    a = clip(|x|, l_a, u_a)
    target logit / s = cos(theta + m(a)),  m(a) = (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m
    loss_i = cross-entropy_i + lambda_g * (1 / a + a / u_a^2)

    The gradient flows through a, both by the margin and by the penalty, and ends where a is clipped: an embedding
    shorter than l_a or longer than u_a keeps its length. The released single-GPU code bends only targets with
    cos(theta) > 0 ("easy margin"); this is the paper's formula at every angle.

    Args:
        num_classes: Number of classes, >= 2.
        scale: s, > 0.
        lower_norm: l_a, length, > 0.
        upper_norm: u_a, length, > lower_norm.
        lower_margin: l_m, radians, [0, pi).
        upper_margin: u_m, radians, [lower_margin, pi).
        lambda_g: Weight of the penalty, >= 0.
        beyond_pi: What follows where theta + m(a) passes pi: "monotone", "none" or "linear"; see margins.combined.
        **kwargs: As in MarginHead, save margin, which is m(a) here, and gradient="straight_through", which would cut
            the margin off from the length: errors.

    Reference: Meng et al., MagFace, CVPR 2021, section 3.2; the defaults are those of the released run.sh.
    """

    needs_norm = True

    def __init__(
        self,
        num_classes,
        scale=64.0,
        *,
        lower_norm=10.0,
        upper_norm=110.0,
        lower_margin=0.45,
        upper_margin=0.8,
        lambda_g=35.0,
        beyond_pi="monotone",
        **kwargs,
    ):
        name = "MagFaceHead"
        _arguments.refuse_options(name, kwargs, ["margin"], "has its margin between lower_margin and upper_margin")
        _arguments.refuse_straight_through(name, kwargs, "which would cut the margin off from the embedding's length")
        numbers = {"lower_norm": lower_norm, "upper_norm": upper_norm, "lambda_g": lambda_g}
        if (
            not all(map(_arguments.is_finite_number, numbers.values()))
            or not 0 < lower_norm < upper_norm
            or lambda_g < 0
        ):
            raise ValueError(f"{name} needs 0 < lower_norm < upper_norm and lambda_g >= 0. Received: {numbers}.")
        _arguments.require_radians(name, lower_margin, "lower_margin")
        _arguments.require_radians(name, upper_margin, "upper_margin")
        if lower_margin > upper_margin:
            raise ValueError(f"{name} needs lower_margin <= upper_margin. Received: {lower_margin=}, {upper_margin=}.")
        margins.check_beyond_pi(beyond_pi)
        super().__init__(num_classes, scale=scale, **kwargs)
        self.norms = (float(lower_norm), float(upper_norm))
        self.margins = (float(lower_margin), float(upper_margin))
        self.lambda_g = float(lambda_g)
        self.beyond_pi = beyond_pi

    def bend_target(self, target):
        """cos(theta + m(a))."""
        margin = margins.magnitude_margin(self._length(target), *self.norms, *self.margins)
        return margins.combined(target.theta, m2=margin, beyond_pi=self.beyond_pi)

    def extra_loss(self, target):
        """lambda_g * g(a)."""
        return self.lambda_g * margins.magnitude_penalty(self._length(target), self.norms[1])

    def _length(self, target):
        return ops.clip(target.norm, *self.norms)

    def get_config(self):
        """Arguments that build this head again."""
        config = super().get_config()
        del config["margin"]
        named = {"lower_norm": self.norms[0], "upper_norm": self.norms[1]}
        named |= {"lower_margin": self.margins[0], "upper_margin": self.margins[1]}
        return {**config, **named, "lambda_g": self.lambda_g, "beyond_pi": self.beyond_pi}


@keras.saving.register_keras_serializable(package=PACKAGE)
class CurricularFaceHead(MarginHead):
    """ArcFace with a curriculum: hard other classes count little at first and much later.

    target logit / s = cos(theta + m)
    other logits / s = cos_j              where cos_j <= cos(theta + m)
                       cos_j (t + cos_j)  where cos_j > cos(theta + m)
    t = momentum * t + (1 - momentum) * mean of the batch's cos(theta)

    A training batch moves t before it is used; evaluation uses and never moves it. Under tf.distribute t is the global
    batch's, the same in every replica. No gradient passes through t or the choice. A class is hard by the target logit
    as it is used, beyond pi too; the released code compares with cos(theta + m) there, which turns back up.

    Weight: `t`, float32 scalar, not trainable, saved; 0 to begin with.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        momentum: Weight of the past in t, [0, 1).
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see margins.combined.
        **kwargs: As in MarginHead.

    Reference: Huang et al., CurricularFace, CVPR 2020, section 3.2; the released code draws t by 0.01 a batch.
    """

    bends_others = True
    learns = True

    def __init__(self, num_classes, margin=0.5, scale=64.0, *, momentum=0.99, beyond_pi="monotone", **kwargs):
        _arguments.require_radians("CurricularFaceHead", margin)
        _require_momentum("CurricularFaceHead", momentum)
        margins.check_beyond_pi(beyond_pi)
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)
        self.momentum = float(momentum)
        self.beyond_pi = beyond_pi
        self.t = None

    def build(self, embeddings_shape):
        """Creates the prototypes and t."""
        super().build(embeddings_shape)
        self.t = _statistic(self, "t", 0.0)

    def observe(self, target):
        """Draws t towards the global batch's mean cosine."""
        counts = ops.cast(target.valid, "float32")
        count = replicas.total(ops.sum(counts))
        mean = replicas.total(ops.sum(counts * ops.stop_gradient(target.cosine))) / ops.maximum(count, 1.0)
        _draw(self.t, mean, self.momentum, count > 0)

    def bend_target(self, target):
        """cos(theta + m)."""
        return margins.combined(target.theta, m2=self.margin, beyond_pi=self.beyond_pi)

    def bend_others(self, cosines, target):
        """N(t, cos_j)."""
        return margins.curricular(cosines, target.psi, ops.stop_gradient(ops.convert_to_tensor(self.t)))

    def others_bend(self, target):
        """N(t, cos_j) and its slope."""
        return engines.Bend(
            margins.curricular_by_cosine, (ops.expand_dims(target.psi, 1), ops.convert_to_tensor(self.t))
        )

    def get_config(self):
        """Arguments that build this head again."""
        return {**super().get_config(), "momentum": self.momentum, "beyond_pi": self.beyond_pi}


def _require_momentum(owner, momentum):
    if not (_arguments.is_finite_number(momentum) and 0 <= momentum < 1):
        raise ValueError(f"{owner} needs a momentum in [0, 1). Received: momentum={momentum!r}.")


def _statistic(head, name, value):
    """A saved scalar weight that training batches draw along."""
    return head.add_weight(
        name=name,
        shape=(),
        initializer=keras.initializers.Constant(value),
        dtype="float32",
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",  # All replicas compute the same: replicas.total.
    )


def _draw(statistic, value, momentum, holds):
    """statistic <- momentum * statistic + (1 - momentum) * value, where there was something to see."""
    past = ops.convert_to_tensor(statistic)
    statistic.assign(ops.where(holds, momentum * past + (1.0 - momentum) * value, past))
