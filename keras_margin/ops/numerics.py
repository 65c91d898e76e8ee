"""Elementwise and row-wise functions whose naive form is NaN, infinite or wrong somewhere that training goes.

Everything here is `keras.ops`, runs on each backend, and is differentiable by the backend's own autodiff.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_margin._typing import Tensor

# Stands for log 0 where a class must not count. Finite, so that nothing computes inf - inf.
LOG_ZERO = -3e38
# A row whose largest entry is below this is zero. 1/TINY, times any batch, is still far from float32's largest number,
# so a gradient that divides by a length stays finite.
TINY = 2.0**-110
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


def as_tensor(weight: Tensor) -> Tensor:
    """Returns the present value of a Keras variable, or of what is a tensor already; never a copy."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras's convert_to_tensor hands over the tf.Variable. Gathered from, it would be copied at each later dense
        # read; and as argument of a custom gradient it is an error.
        return tf.convert_to_tensor(weight)
    return ops.convert_to_tensor(weight)


def with_slope(value: Tensor, argument: Tensor, slope: Tensor) -> Tensor:
    """Returns `value`; its derivative by `argument` is `slope`, and it has no other.

    Args:
        value: Float tensor.
        argument: Float tensor, same shape; finite.
        slope: Float tensor, same shape; finite.

    Returns:
        Tensor equal to `value`.

    Example:
        >>> x = keras.ops.array(2.0)
        >>> float(with_slope(x * x, x, slope=keras.ops.array(1.0)))  # x^2, with the derivative 1 instead of 2 x.
        4.0
    """
    # argument - stop_gradient(argument) is exactly zero, so the value is untouched; only its derivative passes.
    zero = argument - ops.stop_gradient(argument)
    return ops.stop_gradient(value) + zero * ops.stop_gradient(slope)


def row_norms(x: Tensor) -> Tensor:
    """Computes the Euclidean length of each row. The library has no other definition of a length, or of zero.

    A row whose largest entry is below 2^-110 = 7.7e-34 has length 0. Lengths from there to 1e37 neither under- nor
    overflow.

    Args:
        x: Float tensor (..., size).

    Returns:
        Float tensor (...).

    Example:
        >>> [float(norm) for norm in row_norms(keras.ops.array([[3.0, 4.0], [0.0, 0.0]]))]
        [5.0, 0.0]
    """
    # x * x leaves float32's range near 1e-19 and 1e19. The divisor is a power of two, so that no digit is lost, and 1
    # for all rows that need none. A factor would not do: XLA takes one out of the sum, squared, which is infinite.
    largest = ops.max(ops.abs(x), axis=-1, keepdims=True, initial=0.0)
    divisor = ops.where(largest < 2.0**-40, 2.0**-80, ops.where(largest > 2.0**40, 2.0**80, 1.0))
    scaled = x / ops.cast(divisor, x.dtype)
    norm = ops.sqrt(ops.sum(scaled * scaled, axis=-1)) * divisor[..., 0]
    return ops.where(largest[..., 0] >= TINY, norm, ops.zeros_like(norm))


def unit_normalize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scales rows to unit length; returns them and their lengths.

    unit = x / |x|

    A zero row (see `row_norms`) gives a zero unit row, length 0 and a zero gradient.

    Args:
        x: Float tensor (..., size).

    Returns:
        (unit, norm): float tensors (..., size) and (...).

    Example:
        >>> unit, norm = unit_normalize(keras.ops.array([[3.0, 4.0]]))
        >>> [round(float(entry), 1) for entry in unit[0]], float(norm[0])
        ([0.6, 0.8], 5.0)
    """
    # Both results are invariant to the divisor, so treating it as a constant leaves the gradient exact.
    largest = ops.max(ops.abs(ops.stop_gradient(x)), axis=-1, keepdims=True, initial=0.0)
    nonzero = largest >= TINY
    divisor = ops.where(nonzero, largest, ops.ones_like(largest))
    kept = ops.where(nonzero, x, ops.zeros_like(x))
    scaled = kept / divisor
    square = ops.sum(scaled * scaled, axis=-1, keepdims=True)
    # sqrt has an infinite slope at 0, and inf * 0 is NaN: a zero row takes the constant 1 instead.
    length = ops.sqrt(ops.where(nonzero, square, ops.ones_like(square)))
    unit = scaled / length
    norm = ops.stop_gradient(ops.where(nonzero, length * divisor, ops.zeros_like(length)))
    # d |x| / dx = x / |x|. Through the divisor an upstream gradient of 1e18 would overflow on its way.
    slope = ops.sum(ops.stop_gradient(unit) * (kept - ops.stop_gradient(kept)), axis=-1)
    return unit, ops.squeeze(norm, axis=-1) + slope


def angle_between(unit_a: Tensor, unit_b: Tensor) -> tuple[Tensor, Tensor]:
    """Computes cosine and angle of paired unit vectors, without the digits that arccos loses at both ends.

    theta = atan2(|b - (a.b) a|, a.b)

    In float32 arccos(a.b) is 2 % wrong at 1e-3 rad. Here the error is that of the rows' own rounding, 3e-7 rad at the
    most, at every angle. At exactly 0 and pi the gradient's direction is undefined; it is zero there. A zero vector is
    at pi/2 from everything.

    Args:
        unit_a: Float tensor (batch, size), rows of length 1 or 0.
        unit_b: Float tensor (batch, size), rows of length 1 or 0.

    Returns:
        (cosine, theta): float tensors (batch,); theta in radians, [0, pi].

    Example:
        >>> a, b = keras.ops.array([[1.0, 0.0]]), keras.ops.array([[0.0, 1.0]])
        >>> cosine, theta = angle_between(a, b)
        >>> float(cosine[0]), round(float(theta[0]), 4)
        (0.0, 1.5708)
    """
    cosine = ops.sum(unit_a * unit_b, axis=-1)
    tangent = unit_b - cosine[..., None] * unit_a
    _, sine = unit_normalize(tangent)
    # atan2(0, 0) has a NaN gradient: reached when unit_b is a zero vector.
    undefined = ops.logical_and(ops.equal(sine, 0.0), ops.equal(cosine, 0.0))
    sine = ops.where(undefined, ops.ones_like(sine), sine)
    return cosine, ops.arctan2(sine, cosine)


def clip_cosine(cosine: Tensor) -> Tensor:
    """Clips to [-1, 1] a cosine that rounding carried past it; the gradient passes as if it had not been clipped."""
    return cosine + ops.stop_gradient(ops.clip(cosine, -1.0, 1.0) - cosine)


def safe_arccos(cosine: Tensor) -> Tensor:
    """Computes arccos with a finite slope, for angles of which only the cosine is known.

    The value is exact on [-1, 1] (cosines outside by rounding are clipped). d arccos/dc = -1/sqrt(1 - c^2) is
    infinite at c = +-1; the slope is capped at 1/sqrt(eps) = 2,896 in size, reached at 3.5e-4 rad from either end.

    Args:
        cosine: Float tensor, any shape.

    Returns:
        Tensor of angles in [0, pi], radians, shaped like `cosine`.

    Example:
        >>> [round(float(angle), 4) for angle in safe_arccos(keras.ops.array([1.0, 0.0, -1.0]))]
        [0.0, 1.5708, 3.1416]
    """
    inside = ops.clip(ops.stop_gradient(cosine), -1.0, 1.0)
    return with_slope(ops.arccos(inside), cosine, -1.0 / capped_sine(inside))


def capped_sine(cosine: Tensor) -> Tensor:
    """Computes sin(arccos(c)) for c in [-1, 1], no less than sqrt(eps) = 3.5e-4: what a slope divides by."""
    # (1 - c)(1 + c) keeps the digits that 1 - c*c cancels near the ends.
    return ops.maximum(ops.sqrt((1.0 - cosine) * (1.0 + cosine)), _SINE_FLOOR)


def fast_arccos(cosine: Tensor) -> Tensor:
    """Computes arccos of a matrix of cosines for a forward pass alone, to 5e-7 rad in float32.

    arccos(c) = sqrt(1 - c) p(c) for c >= 0, pi - arccos(-c) below; p of degree 7. The polynomial is wrong by 2e-8; the
    rest is rounding. XLA's own arccos costs several times as much on a CPU; PyTorch's is one pass, and is used as it
    is.

    Args:
        cosine: Float32 tensor, any shape; [-1, 1].

    Returns:
        Tensor of angles in [0, pi], radians, shaped like `cosine`. Its gradient is not to be used: see `safe_arccos`.

    Example:
        >>> round(float(fast_arccos(keras.ops.array(0.5))), 4)  # pi / 3
        1.0472

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


def monotone_cos(angle: Tensor) -> Tensor:
    """Computes the cosine, continued downwards beyond pi.

    monotone_cos(u) = (-1)^k cos(u) - 2k,  k = floor(u / pi)

    Equal to cos on [0, pi], continuous with a continuous derivative, and never rising.

    Args:
        angle: Float tensor, any shape; radians, >= 0.

    Returns:
        Tensor shaped like `angle`.

    Example:
        >>> float(monotone_cos(keras.ops.array(2 * math.pi)))  # One step beyond cos's lowest point at pi.
        -3.0

    Reference: Liu et al., SphereFace, CVPR 2017, the psi of eq. 7 (with u = m theta).
    """
    turns = ops.stop_gradient(ops.floor(angle / math.pi))
    sign = 1.0 - 2.0 * ops.mod(turns, 2.0)
    return sign * ops.cos(angle) - 2.0 * turns
