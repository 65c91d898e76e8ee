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
