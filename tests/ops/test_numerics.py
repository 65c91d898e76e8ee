import math

import numpy as np
import pytest
from gradients import relative_error, value_and_gradients
from keras import ops

from keras_margin.ops import numerics


def as_array(tensor):
    return ops.convert_to_numpy(tensor).astype("float64")


@pytest.mark.parametrize("length", [1e-30, 1e-8, 1.0, 1e8, 1e30])
def test_unit_normalize_divides_by_the_length(length):
    """Divides by the length over the whole range of float32."""
    direction = np.array([3.0, -4.0, 12.0]) / 13
    unit, norm = numerics.unit_normalize(ops.array(13 * length * direction[None], "float32"))
    np.testing.assert_allclose(as_array(unit)[0], direction, rtol=3e-7)
    np.testing.assert_allclose(as_array(norm)[0], 13 * length, rtol=3e-7)


def test_unit_normalize_has_the_projected_gradient():
    """Projects the gradient of unit_normalize."""
    x = np.array([[0.3, -1.2, 0.7], [2.0, 0.1, -0.4]])
    weight = np.array([[1.0, 2.0, -1.0], [0.5, -0.3, 0.8]])
    _, (gradient,) = value_and_gradients(lambda t: numerics.unit_normalize(t)[0] * ops.array(weight, "float32"), x)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / length
    wanted = (weight - unit * np.sum(weight * unit, axis=1, keepdims=True)) / length
    assert relative_error(gradient, wanted) < 1e-6
    _, (gradient,) = value_and_gradients(lambda t: numerics.unit_normalize(t)[1], x)
    assert relative_error(gradient, unit) < 1e-6


def test_a_zero_row_normalizes_to_zero_with_a_zero_gradient():
    """Normalizes a zero row to zero, with a zero gradient."""
    value, (gradient,) = value_and_gradients(lambda t: numerics.unit_normalize(t)[0] * 7.0, np.zeros((2, 4)))
    assert np.all(value == 0) and np.all(gradient == 0)
    value, (gradient,) = value_and_gradients(lambda t: numerics.unit_normalize(t)[1] * 7.0, np.zeros((2, 4)))
    assert np.all(value == 0) and np.all(gradient == 0)


def unit_pairs(angles):
    """Unit rows a and b at the given angles, in a plane that is not a coordinate plane."""
    u = np.array([2.0, 1.0, -2.0]) / 3
    v = np.array([1.0, 2.0, 2.0]) / 3
    return np.tile(u, (len(angles), 1)), np.outer(np.cos(angles), u) + np.outer(np.sin(angles), v)


def test_angle_between_is_exact_from_zero_to_pi():
    """Computes the angle from nearly zero to nearly pi."""
    angles = np.concatenate([[1e-3, 1e-2], np.linspace(0.05, 3.1, 60), [math.pi - 1e-2, math.pi - 1e-3]])
    a, b = (rows.astype("float32") for rows in unit_pairs(angles))
    # The rows are rounded to float32, so the angle they really make is taken from them, in float64.
    a64, b64 = a.astype("float64"), b.astype("float64")
    cross = np.linalg.norm(np.cross(a64, b64), axis=1)
    wanted = np.arctan2(cross, np.sum(a64 * b64, axis=1))
    _, theta = numerics.angle_between(ops.array(a), ops.array(b))
    np.testing.assert_allclose(as_array(theta), wanted, atol=2.5e-7)


def test_angle_between_has_slope_one():
    """Moves one radian per radian at every angle."""
    angles = np.concatenate([[3e-3], np.linspace(0.02, 3.12, 80), [math.pi - 3e-3]])
    a, b = unit_pairs(angles)

    def theta(x):
        return numerics.angle_between(numerics.unit_normalize(x)[0], ops.array(b, "float32"))[1]

    _, (gradient,) = value_and_gradients(theta, a)
    u, v = np.array([2.0, 1.0, -2.0]) / 3, np.array([1.0, 2.0, 2.0]) / 3
    wanted = np.tile(-v, (len(angles), 1)) + 0 * u
    assert np.max(np.abs(gradient - wanted)[1:-1]) < 1e-5
    assert np.max(np.abs(gradient - wanted)) < 6e-5


def test_angle_between_is_finite_at_its_ends():
    """Stays finite at zero, at pi and for zero vectors."""
    a = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    b = np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    theta, gradients = value_and_gradients(lambda x, y: numerics.angle_between(x, y)[1], a, b)
    np.testing.assert_allclose(theta, [0, math.pi, math.pi / 2, math.pi / 2, math.pi / 2], atol=1e-6)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


def test_safe_arccos_is_arccos_with_its_slope_capped_at_the_ends():
    """Caps the slope of arccos at the ends, and keeps its value."""
    cosines = np.concatenate([[-1.0, 1.0], np.linspace(-0.999, 0.999, 41)]).astype("float32")
    value, (slope,) = value_and_gradients(numerics.safe_arccos, cosines)
    c = cosines.astype("float64")
    np.testing.assert_allclose(value, np.arccos(c), atol=5e-7)
    np.testing.assert_allclose(slope[2:], -1 / np.sqrt(1 - c[2:] ** 2), rtol=2e-5)
    np.testing.assert_allclose(slope[:2], -1 / math.sqrt(np.finfo("float32").eps), rtol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.57, 3.0, 3.3, 4.7, 6.2, 6.4, 9.0, 12.5])
def test_monotone_cos_is_sphereface_s_psi_piece_by_piece(angle):
    """Equals SphereFace's psi piece by piece."""
    k = math.floor(angle / math.pi)
    value, (slope,) = value_and_gradients(numerics.monotone_cos, np.array([angle]))
    assert value[0] == pytest.approx((-1) ** k * math.cos(angle) - 2 * k, abs=2e-6)
    assert slope[0] == pytest.approx(-((-1) ** k) * math.sin(angle), abs=2e-6)


def test_with_slope_keeps_the_value_and_takes_the_given_slope():
    """Keeps the value of with_slope, and takes the given slope."""
    x = np.array([1.5, -2.0])
    value, (slope,) = value_and_gradients(lambda t: numerics.with_slope(t * t, t, ops.array([10.0, 20.0])), x)
    np.testing.assert_allclose(value, [2.25, 4.0])
    np.testing.assert_allclose(slope, [10.0, 20.0])
