import math

import numpy as np
import pytest
from gradients import value_and_gradients
from keras import ops

from keras_margin.margins import formulas as margins

ANGLES = np.linspace(0.001, math.pi - 0.001, 500)


def psi_of_sphereface(theta, m):
    k = min(int(theta * m / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def monotone(u):
    k = math.floor(u / math.pi)
    return (-1) ** k * math.cos(u) - 2 * k


FORMULAS = {
    "cosface": (lambda t: margins.additive_cosine(ops.cos(t), 0.35), lambda t: math.cos(t) - 0.35),
    "arcface": (lambda t: margins.combined(t, m2=0.5), lambda t: monotone(t + 0.5)),
    "arcface as printed": (lambda t: margins.combined(t, m2=0.5, beyond_pi="none"), lambda t: math.cos(t + 0.5)),
    "arcface as released": (
        lambda t: margins.combined(t, m2=0.5, beyond_pi="linear"),
        lambda t: math.cos(t + 0.5) if t + 0.5 <= math.pi else math.cos(t) - 0.5 * math.sin(0.5),
    ),
    "combined 1": (lambda t: margins.combined(t, 1.0, 0.3, 0.2), lambda t: monotone(t + 0.3) - 0.2),
    "combined 2": (lambda t: margins.combined(t, 0.9, 0.4, 0.15), lambda t: monotone(0.9 * t + 0.4) - 0.15),
    "sphereface arccos": (lambda t: margins.combined(t, 1.35), lambda t: monotone(1.35 * t)),
    "sphereface 1": (lambda t: margins.multiplicative(t, 1), lambda t: psi_of_sphereface(t, 1)),
    "sphereface 2": (lambda t: margins.multiplicative(t, 2), lambda t: psi_of_sphereface(t, 2)),
    "sphereface 3": (lambda t: margins.multiplicative(t, 3), lambda t: psi_of_sphereface(t, 3)),
    "sphereface 4": (lambda t: margins.multiplicative(t, 4), lambda t: psi_of_sphereface(t, 4)),
    "qamface": (lambda t: margins.quadratic(t, 0.5), lambda t: (2 * math.pi - (t + 0.5)) ** 2),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_target_logit_is_its_papers_formula(name):
    """Computes each target logit by its paper's formula, in value and slope."""
    function, formula = FORMULAS[name]
    angles = ANGLES.astype("float32")
    value, (slope,) = value_and_gradients(function, angles)
    exact = angles.astype("float64")
    wanted = np.array([formula(t) for t in exact])
    np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-6)
    step = 1e-6
    wanted_slope = np.array([(formula(t + step) - formula(t - step)) / (2 * step) for t in exact])
    # The released fallback jumps where it sets in; no slope is right across the jump.
    smooth = np.abs(wanted_slope) < 50
    assert np.sum(~smooth) <= (1 if name == "arcface as released" else 0)
    np.testing.assert_allclose(slope[smooth], wanted_slope[smooth], rtol=1e-5, atol=4e-6)


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "arcface as printed"])
def test_each_target_logit_falls_as_the_angle_grows(name):
    """Falls with the angle in each target logit."""
    function, _ = FORMULAS[name]
    value = ops.convert_to_numpy(function(ops.array(np.linspace(0, math.pi, 400), "float32")))
    assert np.all(np.diff(value) < 2e-6)
    assert value[0] - value[-1] > 1.5


def test_the_printed_arcface_turns_back_up_beyond_pi():
    """Rises again beyond pi in ArcFace as printed."""
    value = ops.convert_to_numpy(margins.combined(ops.array([math.pi - 0.5, math.pi]), m2=0.5, beyond_pi="none"))
    assert value[1] > value[0]


@pytest.mark.parametrize("step", [0, 1, 100, 1000, 1658, 1659, 5000])
def test_lambda_follows_the_released_schedule(step):
    """Follows the released schedule of lambda, 1000 / (1 + 0.12 step), at least 5."""
    wanted = max(5.0, 1000.0 / (1 + 0.12 * step))
    assert float(margins.annealing_schedule(step)) == pytest.approx(wanted, rel=1e-6)


def test_lambda_first_reaches_five_at_step_1659():
    """Is above five at step 1658, and five at step 1659."""
    assert float(margins.annealing_schedule(1658)) > 5.0
    assert float(margins.annealing_schedule(1659)) == 5.0


def test_annealing_weighs_cosine_and_margin():
    """Weighs cosine and margin by lambda."""
    found = float(margins.annealed(ops.array(0.7), ops.array(-1.2), 5.0))
    assert found == pytest.approx((5 * 0.7 - 1.2) / 6, rel=1e-6)


def test_an_unknown_continuation_is_refused_by_name():
    """Names an unknown continuation."""
    with pytest.raises(ValueError, match="beyond_pi must be one of 'monotone', 'none', 'linear'.*'steep'"):
        margins.combined(ops.array(1.0), beyond_pi="steep")


def test_the_linear_fallback_excludes_an_angle_multiplier():
    """Refuses the linear fallback together with an angle multiplier."""
    with pytest.raises(ValueError, match="m1 = 1.*m1=1.35"):
        margins.combined(ops.array(1.0), m1=1.35, beyond_pi="linear")
