"""Tests of evaluation.quality: every step of the curve by brute force."""

import numpy as np
import pytest

from keras_margin.evaluation import all_pairs, error_versus_discard, rejection_threshold


def blurred(seed=0, people=30, images=4):
    """(scores, is_same, pairs, quality): genuine scores fall with the worse image's quality, and noise."""
    rng = np.random.default_rng(seed)
    pairs, is_same = all_pairs(np.repeat(np.arange(people), images))
    quality = rng.uniform(size=people * images).round(2)
    scores = np.where(is_same, 0.3 + 0.5 * quality[pairs].min(axis=1), 0.1) + rng.normal(0, 0.1, len(pairs))
    return scores, is_same, pairs, quality


def test_each_step_is_what_is_left_without_the_worst_images():
    """FNMR of the genuine pairs between kept images, for every number of discarded ones."""
    scores, is_same, pairs, quality = blurred()
    found = error_versus_discard(scores, is_same, pairs, quality, threshold=0.4)
    order = np.argsort(quality, kind="stable")
    for count, (share, fnmr) in enumerate(zip(found.discarded, found.fnmr, strict=True)):
        kept = ~np.isin(pairs, order[:count]).any(axis=1) & is_same
        assert share == pytest.approx(count / 120)
        assert fnmr == pytest.approx((scores[kept] < 0.4).mean())
    assert len(found.fnmr) == 37


def test_a_quality_that_tells_has_a_smaller_area():
    """The quality that made the scores beats its own shuffle, which stays near the FNMR of all."""
    scores, is_same, pairs, quality = blurred(people=100)
    told = error_versus_discard(scores, is_same, pairs, quality, 0.4)
    shuffled = error_versus_discard(scores, is_same, pairs, np.random.default_rng(1).permutation(quality), 0.4)
    assert told.area < 0.6 * told.random
    assert shuffled.area == pytest.approx(shuffled.random, rel=0.15)


def test_the_area_is_the_mean_of_the_curve():
    """By the trapezoidal rule over its range."""
    found = error_versus_discard(*blurred(), threshold=0.4)
    assert found.area == pytest.approx(np.trapezoid(found.fnmr, found.discarded) / found.discarded[-1])


def test_the_curve_ends_before_the_last_genuine_pair():
    """No share of nothing is drawn."""
    found = error_versus_discard([0.9, 0.1], [True, False], [[0, 1], [2, 3]], [1.0, 2.0, 3.0, 4.0], 0.5, most=0.9)
    assert found.discarded.tolist() == [0.0]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_rejection_threshold_keeps_to_its_share(share):
    """At most that share lies below it, and more below the next quality up."""
    quality = np.random.default_rng(0).normal(size=1000)
    threshold = rejection_threshold(quality, share)
    assert (quality < threshold).mean() <= share < (quality <= threshold).mean()


SCORES, IS_SAME, PAIRS, QUALITY = blurred()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": np.ones(120)}, "must differ between images"),
        ({"quality": np.where(QUALITY > 0.5, np.nan, QUALITY)}, "must be finite"),
        ({"quality": QUALITY[:50]}, "out of range"),
        ({"most": 1.0}, "most=1.0"),
        ({"is_same": np.zeros(len(SCORES), bool)}, "no genuine one"),
        ({"pairs": PAIRS[:5]}, "as many as scores"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes, message):
    """Each error names the rule and what came."""
    arguments = {"scores": SCORES, "is_same": IS_SAME, "pairs": PAIRS, "quality": QUALITY, "threshold": 0.4}
    with pytest.raises(ValueError, match=message):
        error_versus_discard(**arguments | changes)
