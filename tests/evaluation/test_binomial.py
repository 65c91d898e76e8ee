"""Clopper-Pearson limits against closed forms and scipy's beta distribution."""

import pytest
from scipy import stats

from keras_margin.evaluation._binomial import clopper_pearson


@pytest.mark.parametrize("trials", [1, 2, 10, 300, 1e6])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_limits_at_the_ends_have_closed_forms(trials, level):
    """Without a failure the lower limit is ((1 - level) / 2) ** (1 / n); without a success the upper is 1 less it."""
    limit = ((1 - level) / 2) ** (1 / trials)
    assert clopper_pearson(trials, trials, level) == (pytest.approx(limit, rel=1e-12), 1.0)
    assert clopper_pearson(0, trials, level) == (0.0, pytest.approx(1 - limit, rel=1e-9))


@pytest.mark.parametrize("trials", [2.0, 10, 87.3, 3000, 450_000, 1e7])
@pytest.mark.parametrize("share", [1e-3, 0.1, 0.5, 0.77, 0.99, 0.99999])
def test_limits_are_quantiles_of_the_beta_distribution(trials, share):
    """Both limits equal scipy's quantiles, also of fractional counts."""
    low, high = clopper_pearson(share * trials, trials)
    assert low == pytest.approx(stats.beta.ppf(0.025, share * trials, (1 - share) * trials + 1), abs=1e-10)
    assert high == pytest.approx(stats.beta.ppf(0.975, share * trials + 1, (1 - share) * trials), abs=1e-10)
