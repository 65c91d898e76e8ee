"""Tests of evaluation.gallery_thresholds: known distributions, order statistics, and galleries that are searched."""

import numpy as np
import pytest
from scipy.stats import norm

from keras_margin.evaluation import fit_search_thresholds


def unit_rows(count, size, seed):
    rows = np.random.default_rng(seed).normal(size=(count, size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def impostor_scores(rows):
    return (rows @ rows.T)[np.triu_indices(len(rows), 1)]


def test_measured_thresholds_are_order_statistics():
    """Down to 300 exceedances, the share of the scores at or above each cosine is the largest within its FAR."""
    scores = np.random.default_rng(0).normal(0, 0.1, 200_000)
    found = fit_search_thresholds(scores)
    assert found.measured_to == 0.0015
    for far, cosine in zip(found.far, found.cosine, strict=True):
        if far >= found.measured_to:
            assert (scores >= cosine).sum() == int(far * 200_000 + 1e-9)


def test_a_normal_tail_goes_on_where_no_score_was_seen():
    """Of the quantiles of a normal distribution, the threshold of FAR 1e-9, a million times below what was counted."""
    scores = norm.isf((np.arange(200_000) + 0.5) / 200_000, scale=0.1)
    found = fit_search_thresholds(scores)
    threshold = np.interp(9, -np.log10(found.far), found.cosine)
    assert threshold == pytest.approx(norm.isf(1e-9, scale=0.1), rel=0.01)


def test_the_tail_goes_on_where_no_score_was_seen():
    """Of the quantiles of F(t) = 1 - exp(-t / 0.03), the threshold of FAR 1e-9 is 0.03 ln(1e9)."""
    scores = -0.03 * np.log((np.arange(500_000) + 0.5) / 500_000)
    found = fit_search_thresholds(scores)
    threshold = np.interp(9, -np.log10(found.far), found.cosine)
    assert threshold == pytest.approx(0.03 * np.log(1e9), rel=0.01)


def test_no_threshold_is_above_one():
    """Cosines end at 1, whatever the tail says."""
    assert fit_search_thresholds(np.random.default_rng(0).exponential(0.1, 10_000)).cosine.max() == 1.0


@pytest.mark.parametrize("faces", [10, 100, 1000])
@pytest.mark.parametrize("wanted", [0.1, 0.02])
def test_predicted_false_alarms_are_observed(faces, wanted):
    """Strangers searched among 10 to 1,000 people are named as often as predicted, within a factor of 1.5."""
    found = fit_search_thresholds(impostor_scores(unit_rows(700, 24, seed=0)))
    threshold = found.threshold(faces, wanted)
    best = (unit_rows(4000, 24, seed=1) @ unit_rows(faces, 24, seed=2).T).max(axis=1)
    assert wanted / 1.5 <= (best >= threshold).mean() <= wanted * 1.5


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (np.zeros(5000), ValueError, "scores that differ"),
        (np.linspace(0, 1, 999), ValueError, "at least 1,000 impostor scores. Received: 999"),
        (np.append(np.linspace(0, 1, 2000), np.nan), ValueError, "1 NaN or infinite"),
        (np.zeros((50, 50)), TypeError, "shaped"),
        (np.array(["a"] * 2000), TypeError, "numbers"),
    ],
)
def test_scores_that_show_no_tail_are_refused(scores, error, message):
    """Each error names the rule and what came."""
    with pytest.raises(error, match=message):
        fit_search_thresholds(scores)
