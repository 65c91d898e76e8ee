"""Formulas of the papers, before scaling: pure functions of the angle to the own class's prototype.

Each falls as the angle grows. The gradient is the backend's autodiff, exact unless a docstring says otherwise.
"""

import math

from keras import ops

from keras_margin.ops import numerics


def additive_cosine(cosine, margin=0.35):
    """Target logit of CosFace.

    psi(theta) = cos(theta) - m

    Args:
        cosine: Float tensor, any shape; [-1, 1].
        margin: m, subtracted cosine, >= 0.

    Returns:
        Tensor shaped like `cosine`.

    Example:
        >>> round(float(additive_cosine(keras.ops.array(0.9))), 2)
        0.55

    Reference: Wang et al., CosFace, CVPR 2018, eq. 4; IAM loss paper, eq. 5.
    """
    return cosine - margin


def combined(theta, m1=1.0, m2=0.0, m3=0.0, beyond_pi="monotone"):
    """Target logit of the combined margin; of ArcFace with m1 = 1, m3 = 0; of the arccos SphereFace with m2 = m3 = 0.

    psi(theta) = cos(m1 * theta + m2) - m3

    Args:
        theta: Float tensor, any shape; radians in [0, pi].
        m1: Angle multiplier, > 0. SphereFace.
        m2: Added angle, radians, >= 0. ArcFace. A number; or a tensor shaped like `theta`, a margin a sample: MagFace.
        m3: Subtracted cosine, >= 0. CosFace.
        beyond_pi: What takes cos's place where m1 * theta + m2 passes pi and cos would turn back up.
            "monotone": (-1)^k cos(u) - 2k, which keeps falling, with a continuous derivative.
            "none": cos(u), Algorithm 1 of the paper as printed.
            "linear": cos(theta) - m2 sin(m2), the fallback of the released code; m1 must be 1.

    Returns:
        Tensor shaped like `theta`.

    Raises:
        ValueError: On an unknown `beyond_pi`, or "linear" with m1 other than 1.

    Example:
        >>> round(float(combined(keras.ops.array(0.0), m3=0.35)), 2)
        0.65

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 3 and 4.
    """
    check_beyond_pi(beyond_pi, m1)
    angle = theta if isinstance(m1, (int, float)) and m1 == 1.0 else m1 * theta
    angle = angle if isinstance(m2, (int, float)) and m2 == 0 else angle + m2
    return CONTINUATIONS[beyond_pi](angle, theta, m2) - m3


def multiplicative(theta, margin=4):
    """Target logit of SphereFace (A-Softmax), not yet annealed.

    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m],  k in {0, ..., m - 1}

    Args:
        theta: Float tensor, any shape; radians in [0, pi].
        margin: m, integer, >= 1.

    Returns:
        Tensor shaped like `theta`; in [1 - 2m, 1].

    Example:
        >>> round(float(multiplicative(keras.ops.array(math.pi / 4))), 2)  # 4 theta = pi
        -1.0

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 7.
    """
    return numerics.monotone_cos(margin * theta)


def annealed(cosine, psi, annealing_lambda):
    """Target logit on its way from plain softmax (large lambda) to the margin `psi` (lambda 0).

    (lambda cos(theta) + psi(theta)) / (1 + lambda)

    Args:
        cosine: Float tensor (batch,); [-1, 1].
        psi: Float tensor (batch,), the margin's target logit before scaling.
        annealing_lambda: Float scalar or scalar tensor, >= 0.

    Returns:
        Tensor shaped like `cosine`.

    Example:
        >>> float(annealed(keras.ops.array(0.5), keras.ops.array(-1.0), annealing_lambda=2.0))  # (2 * 0.5 - 1) / 3
        0.0

    Reference: Liu et al., SphereFace, CVPR 2017, appendix "Annealing optimization strategy".
    """
    return (annealing_lambda * cosine + psi) / (1.0 + annealing_lambda)


def annealing_schedule(step, base=1000.0, gamma=0.12, power=1.0, lambda_min=5.0):
    """SphereFace's lambda after `step` optimiser updates.

    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    Args:
        step: Integer or float tensor, or a number; updates made so far, >= 0.
        base: lambda at step 0, >= lambda_min.
        gamma: Speed of the decay, > 0.
        power: Exponent of the decay, > 0.
        lambda_min: Floor, >= 0.

    Returns:
        Float32 tensor shaped like `step`. With the defaults it first reaches 5 at step 1,659.

    Example:
        >>> [float(annealing_schedule(step)) for step in (0, 1_658, 1_659)]
        [1000.0, 5.00..., 5.0]

    Reference: the training settings released with SphereFace (its appendix names the strategy, not the numbers).
    """
    progress = 1.0 + gamma * ops.cast(step, "float32")
    return ops.maximum(lambda_min, base * ops.power(progress, -power))


def quadratic(theta, margin=0.0):
    """Logit of QAMFace before scaling: of the target with its margin, of every other class with margin 0.

    f(theta) = (2 pi - (theta + m))^2

    Args:
        theta: Float tensor, any shape; radians in [0, pi].
        margin: m, radians, [0, pi).

    Returns:
        Tensor shaped like `theta`; at most 4 pi^2 = 39.5.

    Example:
        >>> round(float(quadratic(keras.ops.array(math.pi))), 2)  # pi^2
        9.87

    Reference: Zhao et al., QAMFace, 2020, eq. 4.
    """
    distance = 2.0 * math.pi - (theta + margin)
    return distance * distance


def quadratic_by_cosine(cosine):
    """Computes `quadratic` of a class's angle without margin, and its slope, from the cosine.

    value = (2 pi - arccos(cos))^2,  slope = d value / d cos = 2 (2 pi - theta) / sin(theta)

    Args:
        cosine: Float32 tensor, any shape; [-1, 1].

    Returns:
        (value, slope): tensors shaped like `cosine`; the slope capped as numerics.safe_arccos caps it.

    Example:
        >>> value, slope = quadratic_by_cosine(keras.ops.array([0.0]))
        >>> round(float(value[0]), 2), round(float(slope[0]), 2)  # (3 pi / 2)^2, 3 pi
        (22.21, 9.42)

    Reference: Zhao et al., QAMFace, 2020, eq. 4.
    """
    distance = 2.0 * math.pi - numerics.fast_arccos(cosine)
    return distance * distance, 2.0 * distance / numerics.capped_sine(cosine)


def quality_adaptive(theta, quality, margin=0.4):
    """Target logit of AdaFace: an angular margin for poor images, turning into a cosine margin for good ones.

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


def magnitude_margin(length, lower_norm=10.0, upper_norm=110.0, lower_margin=0.45, upper_margin=0.8):
    """The angle that MagFace adds, larger for longer embeddings.

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


def magnitude_penalty(length, upper_norm=110.0):
    """MagFace's pull towards long embeddings; falls up to `upper_norm`, where its slope is zero.

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


def curricular(cosine, target, progress):
    """Logit of CurricularFace's other classes, before scaling: hard ones count more as training goes on.

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


def curricular_by_cosine(cosine, target, progress):
    """Computes `curricular` and its slope by the cosine.

    Args:
        cosine: As in `curricular`.
        target: psi, float tensor (batch, 1).
        progress: As in `curricular`.

    Returns:
        (value, slope): tensors shaped like `cosine`; the slope is 1, or t + 2 cos_j for a hard class.

    Example:
        >>> value, slope = curricular_by_cosine(keras.ops.array([[0.5, 0.1]]), keras.ops.array([[0.3]]), 0.0)
        >>> [float(each) for each in slope[0]]
        [1.0, 1.0]
    """
    hard = cosine > target
    value = ops.where(hard, cosine * (progress + cosine), cosine)
    return value, ops.where(hard, progress + 2.0 * cosine, ops.ones_like(cosine))


def _linear(angle, theta, m2):
    sine = math.sin(m2) if isinstance(m2, (int, float)) else ops.sin(m2)
    return ops.where(angle <= math.pi, ops.cos(angle), ops.cos(theta) - m2 * sine)


CONTINUATIONS = {
    "monotone": lambda angle, theta, m2: numerics.monotone_cos(angle),
    "none": lambda angle, theta, m2: ops.cos(angle),
    "linear": _linear,
}


def check_beyond_pi(beyond_pi, m1=1.0):
    """Raises ValueError unless `beyond_pi` is known and fits the angle multiplier `m1`.

    Example:
        >>> check_beyond_pi("up")
        Traceback (most recent call last):
        ValueError: beyond_pi must be one of 'monotone', 'none', 'linear'. Received: beyond_pi='up'.
    """
    if beyond_pi not in CONTINUATIONS:
        names = ", ".join(repr(name) for name in CONTINUATIONS)
        raise ValueError(f"beyond_pi must be one of {names}. Received: beyond_pi={beyond_pi!r}.")
    if beyond_pi == "linear" and not (isinstance(m1, (int, float)) and m1 == 1.0):
        raise ValueError(
            "beyond_pi='linear' is cos(theta) - m sin(m), defined for an added angle alone (m1 = 1). "
            f"Received: m1={m1}. Use beyond_pi='monotone' or 'none'."
        )
