"""Target logits of the papers, before scaling: pure functions of the angle to the own class's prototype.

Each falls as the angle grows. The gradient is the backend's autodiff, exact unless a docstring says otherwise.
"""

import math

from keras import ops

from keras_margin import numerics


def additive_cosine(cosine, margin=0.35):
    """Target logit of CosFace.

    psi(theta) = cos(theta) - m

    Args:
        cosine: Float tensor, any shape; [-1, 1].
        margin: m, subtracted cosine, >= 0.

    Returns:
        Tensor shaped like `cosine`.

    Reference: Wang et al., CosFace, CVPR 2018, eq. 4; IAM loss paper, eq. 5.
    """
    return cosine - margin


def combined(theta, m1=1.0, m2=0.0, m3=0.0, beyond_pi="monotone"):
    """Target logit of the combined margin; of ArcFace with m1 = 1, m3 = 0; of the arccos SphereFace with m2 = m3 = 0.

    psi(theta) = cos(m1 * theta + m2) - m3

    Args:
        theta: Float tensor, any shape; radians in [0, pi].
        m1: Angle multiplier, > 0. SphereFace.
        m2: Added angle, radians, >= 0. ArcFace.
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
        >>> float(combined(keras.ops.array(0.0), m3=0.35))  # approx. 0.65

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 3 and 4.
    """
    check_beyond_pi(beyond_pi, m1)
    angle = theta if m1 == 1.0 else m1 * theta
    angle = angle + m2 if m2 else angle
    return CONTINUATIONS[beyond_pi](angle, theta, m2) - m3


def multiplicative(theta, margin=4):
    """Target logit of SphereFace (A-Softmax), not yet annealed.

    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m],  k in {0, ..., m - 1}

    Args:
        theta: Float tensor, any shape; radians in [0, pi].
        margin: m, integer, >= 1.

    Returns:
        Tensor shaped like `theta`; in [1 - 2m, 1].

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

    Reference: Zhao et al., QAMFace, 2020, eq. 4.
    """
    distance = 2.0 * math.pi - (theta + margin)
    return distance * distance


def _linear(angle, theta, m2):
    return ops.where(angle <= math.pi, ops.cos(angle), ops.cos(theta) - m2 * math.sin(m2))


CONTINUATIONS = {
    "monotone": lambda angle, theta, m2: numerics.monotone_cos(angle),
    "none": lambda angle, theta, m2: ops.cos(angle),
    "linear": _linear,
}


def check_beyond_pi(beyond_pi, m1=1.0):
    """Raises ValueError unless `beyond_pi` is known and fits the angle multiplier `m1`."""
    if beyond_pi not in CONTINUATIONS:
        names = ", ".join(repr(name) for name in CONTINUATIONS)
        raise ValueError(f"beyond_pi must be one of {names}. Received: beyond_pi={beyond_pi!r}.")
    if beyond_pi == "linear" and m1 != 1.0:
        raise ValueError(
            "beyond_pi='linear' is cos(theta) - m sin(m), defined for an added angle alone (m1 = 1). "
            f"Received: m1={m1}. Use beyond_pi='monotone' or 'none'."
        )
