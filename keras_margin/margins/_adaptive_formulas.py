"""Formulas of AdaFace, MagFace and CurricularFace; `formulas` has them all."""

import math

from keras import ops

from keras_margin._typing import Tensor


def quality_adaptive(theta: Tensor, quality: Tensor, margin: float = 0.4) -> Tensor:
    """Computes the target logit of AdaFace: angular for poor images, turning into a cosine margin for good ones.

    psi(theta) = cos(clip(theta - m z, eps, pi - eps)) - (m z + m),  z = quality,  eps = 1e-3

    Where the clip holds, psi is flat and its gradient zero, as in the released code: at a small angle of a good image
    (theta < m z + eps), which is what "near enough" means here; and at an angle near pi of a poor one
    (theta > pi - m |z| - eps), the very samples that AdaFace wants to forget.

    Args:
        theta: Float tensor, any shape; radians in [0, pi].
        quality: z, float tensor shaped like `theta`; [-1, 1], high for a good image. Give it without gradient.
        margin: m, > 0: radians of the angular part and cosine of the additive one.

    Returns:
        Tensor shaped like `theta`.

    Example:
        >>> right_angle, best = keras.ops.array(math.pi / 2), keras.ops.array(1.0)
        >>> round(float(quality_adaptive(right_angle, best, margin=0.4)), 4)  # cos(pi/2 - 0.4) - 0.8
        -0.4106

    Reference: Kim et al., AdaFace, CVPR 2022, section 3.2, "Adaptive Margin Function": g_angle = -m z, g_add = m z + m;
    the clip is that of the released head.py.
    """
    eps = 1e-3  # The released code's, which it needs in half precision; kept, as it decides where gradients end.
    angle = ops.clip(theta - margin * quality, eps, math.pi - eps)
    return ops.cos(angle) - (margin * quality + margin)


def magnitude_margin(
    length: Tensor,
    lower_norm: float = 10.0,
    upper_norm: float = 110.0,
    lower_margin: float = 0.45,
    upper_margin: float = 0.8,
) -> Tensor:
    """Computes the angle that MagFace adds, larger for longer embeddings.

    m(a) = (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m

    Args:
        length: a, float tensor, any shape; the embedding's length, in [lower_norm, upper_norm].
        lower_norm: l_a, length.
        upper_norm: u_a, length.
        lower_margin: l_m, radians.
        upper_margin: u_m, radians.

    Returns:
        Tensor shaped like `length`; radians.

    Example:
        >>> round(float(magnitude_margin(keras.ops.array(60.0))), 3)  # Half way from 0.45 to 0.8.
        0.625

    Reference: Meng et al., MagFace, CVPR 2021, section 3.2, with the linear m of its experiments.
    """
    slope = (upper_margin - lower_margin) / (upper_norm - lower_norm)
    return slope * (length - lower_norm) + lower_margin


def magnitude_penalty(length: Tensor, upper_norm: float = 110.0) -> Tensor:
    """Computes MagFace's pull towards long embeddings; falls up to `upper_norm`, where its slope is zero.

    g(a) = 1 / a + a / u_a^2

    Args:
        length: a, float tensor, any shape; the embedding's length, > 0.
        upper_norm: u_a, length.

    Returns:
        Tensor shaped like `length`.

    Example:
        >>> round(float(magnitude_penalty(keras.ops.array(100.0), upper_norm=100.0)), 3)
        0.02

    Reference: Meng et al., MagFace, CVPR 2021, section 3.2, with the hyperbola g of its experiments.
    """
    return 1.0 / length + length / upper_norm**2


def curricular(cosine: Tensor, target: Tensor, progress: Tensor | float) -> Tensor:
    """Computes the logit of CurricularFace's other classes, before scaling: hard ones count more as training goes on.

    N(t, cos_j) = cos_j             where cos_j <= psi, the target's logit
                  cos_j (t + cos_j) where cos_j > psi

    Args:
        cosine: cos_j, float tensor (batch, num_classes); [-1, 1].
        target: psi, float tensor (batch,); it decides alone, and gets no gradient.
        progress: t, float scalar in [-1, 1], without gradient.

    Returns:
        Tensor shaped like `cosine`. It jumps where a class becomes hard.

    Example:
        >>> logits = curricular(keras.ops.array([[0.5, 0.1]]), keras.ops.array([0.3]), progress=0.0)
        >>> [round(float(logit), 2) for logit in logits[0]]  # The first class is hard: 0.5 * (0 + 0.5).
        [0.25, 0.1]

    Reference: Huang et al., CurricularFace, CVPR 2020, section 3.2, the definition of N(t, cos theta_j).
    """
    hard = cosine > ops.expand_dims(target, 1)
    return ops.where(hard, cosine * (progress + cosine), cosine)


def curricular_by_cosine(cosine: Tensor, target: Tensor, progress: Tensor | float) -> tuple[Tensor, Tensor]:
    """Computes `curricular` and its slope by the cosine.

    Args:
        cosine: As in `curricular`.
        target: psi, float tensor (batch, 1).
        progress: As in `curricular`.

    Returns:
        (value, slope): tensors shaped like `cosine`; the slope is 1, or t + 2 cos_j for a hard class.

    Example:
        >>> value, slope = curricular_by_cosine(keras.ops.array([[0.5, 0.1]]), keras.ops.array([[0.3]]), 0.2)
        >>> [round(float(each), 2) for each in slope[0]]
        [1.2, 1.0]
    """
    hard = cosine > target
    value = ops.where(hard, cosine * (progress + cosine), cosine)
    return value, ops.where(hard, progress + 2.0 * cosine, ops.ones_like(cosine))
