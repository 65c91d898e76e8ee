"""Formulas of the papers, before scaling: pure functions of the angle to the own class's prototype.

Each falls as the angle grows. The gradient is the backend's autodiff, exact unless a docstring says otherwise.
"""

import math

from keras import ops

from keras_margin._typing import Tensor
from keras_margin.margins._adaptive_formulas import (
    curricular,
    curricular_by_cosine,
    magnitude_margin,
    magnitude_penalty,
    quality_adaptive,
)
from keras_margin.ops import numerics

__all__ = [
    "additive_cosine",
    "annealed",
    "annealing_schedule",
    "combined",
    "curricular",
    "curricular_by_cosine",
    "magnitude_margin",
    "magnitude_penalty",
    "multiplicative",
    "quadratic",
    "quadratic_by_cosine",
    "quality_adaptive",
]


def additive_cosine(cosine: Tensor, margin: float = 0.35) -> Tensor:
    """Computes the target logit of CosFace.

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


def combined(
    theta: Tensor, m1: float = 1.0, m2: Tensor | float = 0.0, m3: float = 0.0, beyond_pi: str = "monotone"
) -> Tensor:
    """Computes the target logit of the combined margin.

    psi(theta) = cos(m1 * theta + m2) - m3

    ArcFace is m1 = 1, m3 = 0; the arccos version of SphereFace m2 = m3 = 0.

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


def multiplicative(theta: Tensor, margin: int = 4) -> Tensor:
    """Computes the target logit of SphereFace (A-Softmax), not yet annealed.

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


def annealed(cosine: Tensor, psi: Tensor, annealing_lambda: Tensor | float) -> Tensor:
    """Computes the target logit on its way from plain softmax (large lambda) to the margin `psi` (lambda 0).

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


def annealing_schedule(
    step: Tensor | int, base: float = 1000.0, gamma: float = 0.12, power: float = 1.0, lambda_min: float = 5.0
) -> Tensor:
    """Computes SphereFace's lambda after `step` optimiser updates.

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


def quadratic(theta: Tensor, margin: float = 0.0) -> Tensor:
    """Computes the logit of QAMFace before scaling: of the target with its margin, of every other class with margin 0.

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


def quadratic_by_cosine(cosine: Tensor) -> tuple[Tensor, Tensor]:
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


def _linear(angle, theta, m2):
    sine = math.sin(m2) if isinstance(m2, (int, float)) else ops.sin(m2)
    return ops.where(angle <= math.pi, ops.cos(angle), ops.cos(theta) - m2 * sine)


CONTINUATIONS = {
    "monotone": lambda angle, theta, m2: numerics.monotone_cos(angle),
    "none": lambda angle, theta, m2: ops.cos(angle),
    "linear": _linear,
}


def check_beyond_pi(beyond_pi: str, m1: float = 1.0) -> None:
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
