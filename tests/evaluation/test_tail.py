"""Tests of evaluation._tail: distributions whose quantiles are known, in closed form or by the standard library."""

import statistics

import numpy as np
import pytest

from keras_margin.evaluation._tail import _loss, fit_tail, tail_value

SHARE = 0.01
SHARES = SHARE * (np.arange(20_000) + 0.5) / 20_000


def fitted(quantile):
    """Returns (scale, power) and u of a distribution's values that `SHARE` of all exceed."""
    level = quantile(SHARE)
    return fit_tail(np.array([quantile(each) for each in SHARES]) - level, SHARE), level


def test_an_exponential_tail_has_power_one():
    """Of t = -0.03 ln(p): power 1 and scale 0.03 y_u."""
    (scale, power), _ = fitted(lambda share: -0.03 * np.log(share))
    assert power == pytest.approx(1, abs=0.01)
    assert scale == pytest.approx(-0.03 * np.log(SHARE), rel=0.01)


def test_a_normal_tail_is_followed_far_beyond_the_values():
    """Fitted on the highest hundredth, the value exceeded once in 10^9 is that of the normal distribution."""
    normal = statistics.NormalDist(0.0, 0.1)
    (scale, power), level = fitted(lambda share: normal.inv_cdf(1 - share))
    assert level + tail_value(1e-9, SHARE, scale, power) == pytest.approx(-normal.inv_cdf(1e-9), rel=0.01)


def test_a_logarithm_has_power_zero():
    """Of t = 0.1 ln(-ln(p)): power 0, at which the formula is a limit."""
    (scale, power), level = fitted(lambda share: 0.1 * np.log(-np.log(share)))
    assert power == pytest.approx(0, abs=0.01)
    assert level + tail_value(1e-9, SHARE, scale, power) == pytest.approx(0.1 * np.log(-np.log(1e-9)), rel=1e-3)


@pytest.mark.parametrize("power", [-0.3, 0.4, 1.3])
def test_the_gradient_is_that_of_the_loss(power):
    """By central differences in float64, for both parameters."""
    x, value, step = np.linspace(0, 2, 50), np.array([0.7, power]), 1e-6
    gradient = _loss(value, x, 4.6)[1].mean(axis=1)
    for at in range(2):
        ahead, behind = value.copy(), value.copy()
        ahead[at] += step
        behind[at] -= step
        slope = (_loss(ahead, x, 4.6)[0] - _loss(behind, x, 4.6)[0]) / (2 * step)
        assert gradient[at] == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_values_without_a_tail_have_scale_zero():
    """Excesses that are all 0 say that nothing lies above."""
    assert fit_tail(np.zeros(100), SHARE)[0] == 0.0
