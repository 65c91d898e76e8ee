"""Heads whose margin reads more than the angle: AdaFace, MagFace, CurricularFace."""

from typing import Any

import keras

from keras_margin import _arguments, margins
from keras_margin.layers.margin_head import PACKAGE, MarginHead


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
