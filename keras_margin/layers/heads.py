"""The papers' heads by name: each a MarginHead with its margin's fields as arguments."""

from typing import Any

import keras

from keras_margin import _arguments, margins
from keras_margin.layers.margin_head import PACKAGE, MarginHead


@keras.saving.register_keras_serializable(package=PACKAGE)
class NormSoftmaxHead(MarginHead):
    """Softmax on scaled cosines, no margin: the baseline of every margin.

    target logit / s = cos(theta)

    Args:
        num_classes: Number of classes, >= 2.
        scale: s, > 0. None, each embedding's own norm, makes it SphereFace's "modified softmax".
        **kwargs: As in MarginHead.

    Example:
        >>> head = NormSoftmaxHead(num_classes=10)

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 2; Liu et al., SphereFace, CVPR 2017, eq. 5, for scale=None.
    """

    _spells_out_margin = True

    def __init__(self, num_classes: int, scale: float | None = 64.0, **kwargs: Any):
        if kwargs.pop("margin", 0.0):
            raise ValueError("NormSoftmaxHead has no margin. Use ArcFaceHead or CosFaceHead for one.")
        super().__init__(num_classes, margins.Softmax(), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ArcFaceHead(MarginHead):
    """Additive angular margin.

    target logit / s = cos(theta + m)

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see
            margins.formulas.combined. insightface's current training code is beyond_pi="none" with
            gradient="straight_through".
        **kwargs: As in MarginHead.

    Example:
        >>> head = ArcFaceHead(num_classes=10_575)

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 3.
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        margin: float = 0.5,
        scale: float | None = 64.0,
        *,
        beyond_pi: str = "monotone",
        **kwargs: Any,
    ):
        super().__init__(num_classes, margins.ArcFace(margin, beyond_pi), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CosFaceHead(MarginHead):
    """Additive cosine margin.

    target logit / s = cos(theta) - m

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, cosine, [0, 2].
        scale: s, > 0.
        **kwargs: As in MarginHead.

    Example:
        >>> head = CosFaceHead(num_classes=10)

    Reference: Wang et al., CosFace, CVPR 2018, eq. 4.
    """

    _spells_out_margin = True

    def __init__(self, num_classes: int, margin: float = 0.35, scale: float | None = 64.0, **kwargs: Any):
        super().__init__(num_classes, margins.CosFace(margin), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CombinedMarginHead(MarginHead):
    """The three margins at once.

    target logit / s = cos(m1 theta + m2) - m3

    Published settings (m1, m2, m3): (1, 0.3, 0.2) and (0.9, 0.4, 0.15).

    Args:
        num_classes: Number of classes, >= 2.
        m1: Angle multiplier, [0.05, 16]. SphereFace.
        m2: Added angle, radians, [0, pi). ArcFace.
        m3: Subtracted cosine, [0, 2]. CosFace.
        scale: s, > 0.
        beyond_pi: What follows where m1 theta + m2 passes pi: "monotone", "none" or "linear"; see
            margins.formulas.combined.
        **kwargs: As in MarginHead.

    Example:
        >>> head = CombinedMarginHead(10, m1=0.9, m2=0.4, m3=0.15)

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 4.
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        scale: float | None = 64.0,
        *,
        beyond_pi: str = "monotone",
        **kwargs: Any,
    ):
        _arguments.refuse_options("CombinedMarginHead", kwargs, ["margin"], "has its margins in m1, m2 and m3")
        super().__init__(num_classes, margins.Combined(m1, m2, m3, beyond_pi), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SphereFaceHead(MarginHead):
    """Multiplicative angular margin, annealed (A-Softmax).

    target logit / s = (lambda cos(theta) + psi(theta)) / (1 + lambda)
    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    `step`, the optimiser updates so far, is a saved weight: lambda survives `.keras` files, checkpoints and resumed
    runs. Evaluation and prediction never move it. `margins.SphereFace` says how it counts.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, integer, 1 to 16.
        scale: None, as published: s is the embedding's own norm. Or a fixed s > 0.
        base: lambda at step 0, >= lambda_min. 0, with lambda_min=0: no annealing.
        gamma: Speed of lambda's decay, > 0.
        power: Exponent of lambda's decay, > 0.
        lambda_min: lambda's floor, >= 0. With the defaults it is reached at step 1,659.
        gradient_accumulation_steps: Training batches per optimiser update; EmbeddingModel sets it from its optimiser.
        **kwargs: As in MarginHead.

    Example:
        >>> SphereFaceHead(num_classes=10).annealing_lambda
        1000.0

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 7 and the appendix on annealing; the released training settings.
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        margin: int = 4,
        scale: float | None = None,
        *,
        base: float = 1000.0,
        gamma: float = 0.12,
        power: float = 1.0,
        lambda_min: float = 5.0,
        gradient_accumulation_steps: int = 1,
        **kwargs: Any,
    ):
        annealed = margins.SphereFace(margin, base, gamma, power, lambda_min, gradient_accumulation_steps)
        super().__init__(num_classes, annealed, scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SphereFaceArccosHead(MarginHead):
    """SphereFace as ArcFace's authors re-implemented it: any real multiplier, fixed scale, no annealing.

    target logit / s = cos(m theta)

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, a factor of the angle, [1, 16].
        scale: s, > 0.
        beyond_pi: What follows where m theta passes pi: "monotone" or "none"; see margins.formulas.combined.
        **kwargs: As in MarginHead.

    Example:
        >>> head = SphereFaceArccosHead(num_classes=10)

    Reference: Deng et al., ArcFace, CVPR 2019, section 2.2 and table 2 (m = 1.35).
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        margin: float = 1.35,
        scale: float | None = 64.0,
        *,
        beyond_pi: str = "monotone",
        **kwargs: Any,
    ):
        super().__init__(num_classes, margins.SphereFaceArccos(margin, beyond_pi), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class QAMFaceHead(MarginHead):
    """Quadratic additive angular margin.

    target logit / s = (2 pi - (theta + m))^2
    other logits / s = (2 pi - theta_j)^2

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        **kwargs: As in MarginHead, save gradient="straight_through", which is about cosines: an error here.

    Example:
        >>> head = QAMFaceHead(num_classes=10)

    Reference: Zhao et al., QAMFace, 2020, eq. 4.
    """

    _spells_out_margin = True

    def __init__(self, num_classes: int, margin: float = 0.5, scale: float | None = 6.0, **kwargs: Any):
        super().__init__(num_classes, margins.QAMFace(margin), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AdaFaceHead(MarginHead):
    """Quality-adaptive margin: the embedding's length, relative to the running batch's, stands for the image's quality.

    z = clip((|x| - mean) / (std + 1e-3) * h, -1, 1)
    target logit / s = cos(clip(theta - m z, 1e-3, pi - 1e-3)) - (m z + m)

    `margins.AdaFace` says how mean and std move, and how this differs from the released code.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, [0, pi/2]: radians of the angular part and cosine of the additive one.
        scale: s, > 0.
        h: How much of one standard deviation of the length is one of quality, > 0.
        momentum: Weight of the past in mean and std, [0, 1).
        **kwargs: As in MarginHead.

    Example:
        >>> head = AdaFaceHead(num_classes=10)

    Reference: Kim et al., AdaFace, CVPR 2022, section 3.2.
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        margin: float = 0.4,
        scale: float | None = 64.0,
        *,
        h: float = 0.333,
        momentum: float = 0.99,
        **kwargs: Any,
    ):
        super().__init__(num_classes, margins.AdaFace(margin, h, momentum), scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MagFaceHead(MarginHead):
    """Magnitude-aware margin: longer embeddings get a larger one, and a penalty makes easy ones long.

    a = clip(|x|, l_a, u_a)
    target logit / s = cos(theta + m(a)),  m(a) = (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m
    loss_i = cross-entropy_i + lambda_g * (1 / a + a / u_a^2)

    Args:
        num_classes: Number of classes, >= 2.
        scale: s, > 0.
        lower_norm: l_a, length, > 0.
        upper_norm: u_a, length, > lower_norm.
        lower_margin: l_m, radians, [0, pi).
        upper_margin: u_m, radians, [lower_margin, pi).
        lambda_g: Weight of the penalty, >= 0.
        beyond_pi: What follows where theta + m(a) passes pi: "monotone", "none" or "linear"; see
            margins.formulas.combined.
        **kwargs: As in MarginHead, save margin, which is m(a) here, and gradient="straight_through", which would cut
            the margin off from the length: errors.

    Example:
        >>> head = MagFaceHead(num_classes=10)

    Reference: Meng et al., MagFace, CVPR 2021, section 3.2; the defaults are those of the released run.sh.
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        scale: float | None = 64.0,
        *,
        lower_norm: float = 10.0,
        upper_norm: float = 110.0,
        lower_margin: float = 0.45,
        upper_margin: float = 0.8,
        lambda_g: float = 35.0,
        beyond_pi: str = "monotone",
        **kwargs: Any,
    ):
        why = "has its margin between lower_margin and upper_margin"
        _arguments.refuse_options("MagFaceHead", kwargs, ["margin"], why)
        margin = margins.MagFace(lower_norm, upper_norm, lower_margin, upper_margin, lambda_g, beyond_pi)
        super().__init__(num_classes, margin, scale, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class CurricularFaceHead(MarginHead):
    """ArcFace with a curriculum: hard other classes count little at first and much later.

    target logit / s = cos(theta + m)
    other logits / s = cos_j              where cos_j <= cos(theta + m)
                       cos_j (t + cos_j)  where cos_j > cos(theta + m)
    t = momentum * t + (1 - momentum) * mean of the batch's cos(theta)

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        momentum: Weight of the past in t, [0, 1).
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see
            margins.formulas.combined.
        **kwargs: As in MarginHead.

    Example:
        >>> head = CurricularFaceHead(num_classes=10)

    Reference: Huang et al., CurricularFace, CVPR 2020, section 3.2.
    """

    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        margin: float = 0.5,
        scale: float | None = 64.0,
        *,
        momentum: float = 0.99,
        beyond_pi: str = "monotone",
        **kwargs: Any,
    ):
        super().__init__(num_classes, margins.CurricularFace(margin, momentum, beyond_pi), scale, **kwargs)
