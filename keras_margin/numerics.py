"""Elementwise and row-wise functions whose naive form is NaN, infinite or wrong somewhere that training goes.

Everything here is `keras.ops`, runs on each backend, and is differentiable by the backend's own autodiff.
"""

import math

import keras
import numpy as np
from keras import ops

# Below the smallest normal number XLA and most accelerators flush to zero, so that is where "zero" begins.
_TINY = float(np.finfo("float32").tiny)
# d arccos/dc is capped at 1/sqrt(eps): float32 cosines cannot tell angles below sqrt(eps) = 3.5e-4 rad apart anyway.
_SINE_FLOOR = math.sqrt(float(np.finfo("float32").eps))
_ARCCOS = (
    -0.0012624911,
    0.0066700901,
    -0.0170881256,
    0.0308918810,
    -0.0501743046,
    0.0889789874,
    -0.2145988016,
    1.5707963050,
)


def with_slope(value, argument, slope):
    """`value` in the forward pass; in the backward pass the derivative by `argument` is `slope`.

    Args:
        value: Float tensor.
        argument: Float tensor, same shape; finite.
        slope: Float tensor, same shape; finite.

    Returns:
        Tensor equal to `value`, whose only gradient is `slope` times the upstream, to `argument`.
    """
    # argument - stop_gradient(argument) is exactly zero, so the value is untouched; only its derivative passes.
    zero = argument - ops.stop_gradient(argument)
    return ops.stop_gradient(value) + zero * ops.stop_gradient(slope)


def unit_normalize(x):
    """Rows scaled to unit length, and their lengths.

    unit = x / |x|

    A zero row gives a zero unit row, length 0 and a zero gradient. Neither 1e-30 nor 1e30 under- or overflows.

    Args:
        x: Float tensor (..., size).

    Returns:
        (unit, norm): shapes (..., size) and (...).

    Example:
        >>> unit, norm = unit_normalize(keras.ops.array([[3.0, 4.0], [0.0, 0.0]]))  # [[.6, .8], [0, 0]], [5, 0]
    """
    # x*x leaves float32's range near 1e-19 and 1e19; dividing by the largest entry first keeps it in. Both results are
    # invariant to that divisor, so treating it as a constant leaves the gradient exact.
    largest = ops.stop_gradient(ops.max(ops.abs(x), axis=-1, keepdims=True))
    nonzero = largest >= _TINY
    largest = ops.where(nonzero, largest, ops.ones_like(largest))
    scaled = ops.where(nonzero, x, ops.zeros_like(x)) / largest
    square = ops.sum(scaled * scaled, axis=-1, keepdims=True)
    # sqrt has an infinite slope at 0, and inf * 0 is NaN: a zero row takes the constant 1 instead.
    length = ops.sqrt(ops.where(nonzero, square, ops.ones_like(square)))
    norm = ops.where(nonzero, length * largest, ops.zeros_like(length))
    return scaled / length, ops.squeeze(norm, axis=-1)


def angle_between(unit_a, unit_b):
    """Cosine and angle of paired unit vectors, exact to rounding at every angle.

    theta = atan2(|b - (a.b) a|, a.b)

    arccos(a.b) is 2 % wrong in float32 at 1e-3 rad; this is 1e-7, in value, at every angle, and its gradient
    is 3e-5 at 1e-3 rad. At exactly 0 and pi the gradient's direction is undefined; it is zero there. A zero
    vector is at pi/2 from everything.

    Args:
        unit_a: Float tensor (batch, size), rows of length 1 or 0.
        unit_b: Float tensor (batch, size), rows of length 1 or 0.

    Returns:
        (cosine, theta): both (batch,); theta in radians, [0, pi].
    """
    cosine = ops.sum(unit_a * unit_b, axis=-1)
    tangent = unit_b - cosine[..., None] * unit_a
    _, sine = unit_normalize(tangent)
    # atan2(0, 0) has a NaN gradient: reached when unit_b is a zero vector.
    undefined = ops.logical_and(ops.equal(sine, 0.0), ops.equal(cosine, 0.0))
    sine = ops.where(undefined, ops.ones_like(sine), sine)
    return cosine, ops.arctan2(sine, cosine)


def safe_arccos(cosine):
    """arccos with a finite slope: for angles of which only the cosine is known.

    The value is exact on [-1, 1] (cosines outside by rounding are clipped). d arccos/dc = -1/sqrt(1 - c^2) is
    infinite at c = +-1; the slope is capped at 1/sqrt(eps) = 2,896 in size, reached at 3.5e-4 rad from either end.

    Args:
        cosine: Float tensor, any shape.

    Returns:
        Tensor of angles in [0, pi], radians, shaped like `cosine`.
    """
    inside = ops.clip(ops.stop_gradient(cosine), -1.0, 1.0)
    return with_slope(ops.arccos(inside), cosine, -1.0 / capped_sine(inside))


def capped_sine(cosine):
    """sin(arccos(c)) for c in [-1, 1], no less than sqrt(eps) = 3.5e-4: what a slope divides by. As `cosine` shaped."""
    # (1 - c)(1 + c) keeps the digits that 1 - c*c cancels near the ends.
    return ops.maximum(ops.sqrt((1.0 - cosine) * (1.0 + cosine)), _SINE_FLOOR)


def fast_arccos(cosine):
    """arccos in the forward pass alone, for a matrix of cosines: wrong by 2e-8 rad, below float32's rounding.

    arccos(c) = sqrt(1 - c) p(c) for c >= 0, pi - arccos(-c) below; p of degree 7. XLA's own arccos costs several times
    as much on a CPU; PyTorch's is one pass, and is used as it is.

    Args:
        cosine: Float32 tensor, any shape; [-1, 1].

    Returns:
        Tensor of angles in [0, pi], radians, shaped like `cosine`. Its gradient is not to be used: see `safe_arccos`.

    Reference: Abramowitz and Stegun, Handbook of Mathematical Functions, 4.4.46.
    """
    if keras.backend.backend() == "torch":
        return ops.arccos(cosine)
    size = ops.abs(cosine)
    polynomial = _ARCCOS[0]
    for coefficient in _ARCCOS[1:]:
        polynomial = polynomial * size + coefficient
    angle = ops.sqrt(1.0 - size) * polynomial
    return ops.where(cosine < 0, math.pi - angle, angle)


def monotone_cos(angle):
    """The cosine, carried on downwards beyond pi.

    monotone_cos(u) = (-1)^k cos(u) - 2k,  k = floor(u / pi)

    Equal to cos on [0, pi], continuous with a continuous derivative, and never rising.

    Args:
        angle: Float tensor, any shape; radians, >= 0.

    Returns:
        Tensor shaped like `angle`.

    Reference: Liu et al., SphereFace, CVPR 2017, the psi of eq. 7 (with u = m theta).
    """
    turns = ops.stop_gradient(ops.floor(angle / math.pi))
    sign = 1.0 - 2.0 * ops.mod(turns, 2.0)
    return sign * ops.cos(angle) - 2.0 * turns
