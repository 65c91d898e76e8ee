"""Tests of evaluation.calibration and evaluation.probabilities: float64 formulas, brute force and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from scored import few, scored_pairs
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from keras_margin import evaluation
from keras_margin.evaluation import Bootstrap, all_pairs, fit_calibration
from keras_margin.evaluation._isotonic import isotonic_llr
from keras_margin.evaluation._logistic import fit_logistic
from keras_margin.evaluation.calibration import _parts

QUICK = Bootstrap(resamples=20)


def gaussian_scores(num_genuine, num_impostor, seed=0, center=0.25, gap=0.15, deviation=0.1):
    """Scores of two normal distributions of one deviation; their log-likelihood ratio is a straight line."""
    rng = np.random.default_rng(seed)
    genuine = rng.normal(center + gap, deviation, num_genuine)
    impostor = rng.normal(center - gap, deviation, num_impostor)
    scores = np.concatenate([genuine, impostor])
    is_same = np.arange(len(scores)) < num_genuine
    mixed = rng.permutation(len(scores))
    return scores[mixed], is_same[mixed]


def peoples_scores(people=40, images=4, seed=0, person=1.0):
    """Scores of every pair of images of people whose own effect makes all their scores differ from others'."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), images)
    pairs, is_same = all_pairs(labels)
    effect = rng.normal(0, 0.05 * person, people)
    noise = rng.normal(0, 0.05, len(pairs))
    scores = np.where(is_same, 0.5, 0.2) + effect[labels[pairs]].sum(axis=1) + noise
    return scores, is_same, labels[pairs]


def test_the_line_is_the_one_that_scikit_learn_fits():
    """Platt's targets as weighted copies of each pair, without regularization, give the same slope and intercept."""
    scores, is_same = gaussian_scores(80, 500)
    up, down = 81 / 82, 1 / 502
    target = np.where(is_same, up, down)
    weight = np.where(is_same, 1 / 160, 1 / 1000)
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(
        np.concatenate([scores, scores])[:, None],
        np.repeat([1, 0], len(scores)),
        1000 * np.concatenate([weight * target, weight * (1 - target)]),
    )
    slope, intercept = fit_logistic(scores, is_same.astype(float), 1.0 - is_same)
    assert slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert intercept == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_the_line_is_where_the_gradient_is_zero():
    """sum w (sigmoid(llr) - target) and the same times the score vanish, in float64."""
    scores, is_same = gaussian_scores(50, 300, seed=3)
    slope, intercept = fit_logistic(scores, is_same.astype(float), 1.0 - is_same)
    target = np.where(is_same, 51 / 52, 1 / 302)
    weight = np.where(is_same, 1 / 100, 1 / 600)
    residual = weight * (1 / (1 + np.exp(-(slope * scores + intercept))) - target)
    assert abs(residual.sum()) < 1e-8
    assert abs(residual @ scores) < 1e-8


def test_scores_that_separate_the_kinds_give_a_finite_slope():
    """Platt's targets stop where plain logistic regression goes to infinity."""
    scores = np.concatenate([np.linspace(0.6, 0.9, 50), np.linspace(-0.2, 0.2, 50)])
    slope, intercept = fit_logistic(scores, (scores > 0.5).astype(float), (scores < 0.5).astype(float))
    assert 0 < slope < 1000 and math.isfinite(intercept)


@few
@given(scored_pairs())
def test_pooled_violators_are_scikit_learns_isotonic(drawn):
    """The likelihood ratio of each pair is that of sklearn's isotonic regression at the prior of the data."""
    scores, is_same = drawn
    share = IsotonicRegression().fit(scores, is_same.astype(float)).predict(scores)
    with np.errstate(divide="ignore"):
        wanted = np.log(share) - np.log(1 - share) - math.log(is_same.sum() / (~is_same).sum())
    np.testing.assert_allclose(isotonic_llr(scores, is_same), wanted, atol=1e-9)


def test_cllr_is_the_mean_cost_in_bits():
    """The formula of Brummer and du Preez, spelt out pair by pair."""
    llr, is_same = [2.0, -1.0, 0.5, -3.0], [True, True, False, False]
    genuine = (math.log2(1 + math.exp(-2.0)) + math.log2(1 + math.exp(1.0))) / 2
    impostor = (math.log2(1 + math.exp(0.5)) + math.log2(1 + math.exp(-3.0))) / 2
    assert evaluation.cllr(llr, is_same) == pytest.approx((genuine + impostor) / 2, rel=1e-12)


@few
@given(scored_pairs())
def test_min_cllr_is_that_of_scikit_learns_isotonic(drawn):
    """Its likelihood ratios cost the least."""
    scores, is_same = drawn
    share = IsotonicRegression().fit(scores, is_same.astype(float)).predict(scores)
    with np.errstate(divide="ignore"):
        llr = np.log(share) - np.log(1 - share) - math.log(is_same.sum() / (~is_same).sum())
        costs = np.log2(1 + np.exp(-llr[is_same])).mean() + np.log2(1 + np.exp(llr[~is_same])).mean()
    assert evaluation.min_cllr(scores, is_same) == pytest.approx(costs / 2, abs=1e-9)


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_ece_is_the_weighted_gap_of_the_bins(prior):
    """Counted bin by bin, a genuine pair weighing prior / genuine pairs."""
    rng = np.random.default_rng(0)
    probability, is_same = rng.uniform(size=200), rng.uniform(size=200) < 0.3
    found = evaluation.reliability(probability, is_same, prior, bins=10)
    wanted = 0.0
    for low in range(10):
        weights, gaps = 0.0, 0.0
        for said, same in zip(probability, is_same, strict=True):
            if math.floor(said * 10) == low:
                weight = prior / is_same.sum() if same else (1 - prior) / (~is_same).sum()
                weights += weight
                gaps += weight * (said - same)
        wanted += abs(gaps) if weights else 0.0
    assert found.ece == pytest.approx(wanted, rel=1e-9)
    assert found.weight.sum() == pytest.approx(1)


def test_two_normal_distributions_give_their_own_line():
    """llr = 2 gap (cosine - center) / deviation^2 of normal scores, found within five per cent of the slope."""
    scores, is_same = gaussian_scores(20_000, 20_000)
    calibration = fit_calibration(scores, is_same, method="logistic", bootstrap=QUICK).calibration
    wanted = 2 * 0.15 * (np.array([0.1, 0.25, 0.4]) - 0.25) / 0.1**2
    np.testing.assert_allclose(calibration.log_likelihood_ratio([0.1, 0.25, 0.4]), wanted, atol=0.25)


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_probability_never_falls_with_the_cosine(method):
    """Of both methods, the interval contains the estimate."""
    calibration = fit_calibration(*peoples_scores(), method=method, bootstrap=QUICK).calibration
    assert (np.diff(calibration.log_likelihood_ratio(np.linspace(-1, 1, 999))) >= 0).all()
    assert (calibration.low <= calibration.llr).all() and (calibration.llr <= calibration.high).all()


def test_isotonic_is_taken_where_a_line_is_wrong():
    """Of genuine scores with two humps, the line's held-out Cllr is higher and "auto" takes blocks."""
    scores, is_same = gaussian_scores(4000, 8000)
    scores[is_same] = np.where(np.arange(4000) % 3 == 0, 0.95, scores[is_same] * 0.4)
    assert fit_calibration(np.clip(scores, -1, 1), is_same, bootstrap=QUICK).method == "isotonic"


def test_nobody_judged_is_in_the_fit():
    """The pairs of a fold share no person with the pairs that its fit has seen."""
    _, is_same, identities = peoples_scores()
    for fit, judge in _parts(is_same, identities, None):
        assert not set(identities[fit].ravel()) & set(identities[judge].ravel())
        assert judge.any()


def test_held_out_cllr_is_that_of_fits_without_these_people():
    """Fold by fold: a line through the other people's pairs, and its cost on this fold's."""
    scores, is_same, identities = peoples_scores()
    report = fit_calibration(scores, is_same, identities, method="logistic", bootstrap=QUICK)
    llr, truth = [], []
    for fit, judge in _parts(is_same, identities, None):
        slope, intercept = fit_logistic(scores[fit], is_same[fit].astype(float), 1.0 - is_same[fit])
        llr.append(np.clip(slope * scores[judge] + intercept, -math.log(41), math.log(40 * 39 / 2 + 1)))
        truth.append(is_same[judge])
    llr, truth = np.concatenate(llr), np.concatenate(truth)
    wanted = (np.log2(1 + np.exp(-llr[truth])).mean() + np.log2(1 + np.exp(llr[~truth])).mean()) / 2
    assert report.cllr == pytest.approx(wanted, rel=1e-6)


def test_intervals_draw_people():
    """Where people's own effects move their scores, the interval of drawn people is wider than that of drawn pairs."""
    scores, is_same, identities = peoples_scores(person=2.0)
    spread = []
    for who in (identities, None):
        calibration = fit_calibration(scores, is_same, who, method="logistic").calibration
        at = np.searchsorted(calibration.cosine, 0.4)
        spread.append(calibration.high[at] - calibration.low[at])
    assert spread[0] > 1.5 * spread[1]


def test_no_likelihood_ratio_is_larger_than_people_can_show():
    """With 12 people: ln(12 + 1) below, ln(12 * 11 / 2 + 1) above."""
    scores, is_same, identities = peoples_scores(people=12)
    calibration = fit_calibration(scores, is_same, identities, bootstrap=QUICK).calibration
    assert calibration.llr[0] == pytest.approx(-math.log(13), rel=1e-9)
    assert calibration.llr[-1] == pytest.approx(math.log(67), rel=1e-9)


def test_the_zone_keeps_to_both_rates():
    """At most far of the impostors reach its upper end, at most frr of the genuine pairs lie below its lower end."""
    scores, is_same = gaussian_scores(2000, 20_000)
    zone = fit_calibration(scores, is_same, far=1e-3, frr=1e-2, bootstrap=QUICK).calibration.zone
    far, frr = (scores[~is_same] >= zone.same_from).mean(), (scores[is_same] < zone.different_below).mean()
    assert far <= 1e-3 < (scores[~is_same] >= zone.same_from - 2e-3).mean()
    assert frr <= 1e-2 < (scores[is_same] < zone.different_below + 2e-3).mean()
    assert zone.different_below < zone.same_from


def test_scores_that_need_no_zone_get_one_of_no_width():
    """Where one threshold keeps to both rates, nobody is asked."""
    scores, is_same = gaussian_scores(2000, 20_000, gap=0.3, deviation=0.05)
    zone = fit_calibration(scores, is_same, far=1e-3, frr=1e-2, bootstrap=QUICK).calibration.zone
    assert zone.different_below == zone.same_from


def test_too_few_pairs_for_a_rate_are_said():
    """A FAR that lets fewer than ten pairs pass gives no zone, and the reason."""
    report = fit_calibration(*gaussian_scores(2000, 2000), far=1e-3, bootstrap=QUICK)
    assert report.calibration.zone is None
    assert report.no_zone.startswith('No "ask a person" zone: FAR 0.001 on 2,000 impostor pairs')


def test_pairs_in_no_fold_are_not_judged_on():
    """A fold of -1 takes a pair out of the held-out fits and of what they are judged on."""
    scores, is_same = gaussian_scores(200, 200)
    folds = np.arange(400) % 4
    inside = np.arange(400) % 5 != 0
    report = fit_calibration(scores, is_same, folds=np.where(inside, folds, -1), method="logistic", bootstrap=QUICK)
    llr = np.full(400, np.nan)
    for fold in range(4):
        fit, judge = inside & (folds != fold), inside & (folds == fold)
        slope, intercept = fit_logistic(scores[fit], is_same[fit].astype(float), 1.0 - is_same[fit])
        llr[judge] = np.clip(slope * scores[judge] + intercept, -math.log(201), math.log(201))
    genuine, impostor = llr[inside & is_same], llr[inside & ~is_same]
    wanted = (np.log2(1 + np.exp(-genuine)).mean() + np.log2(1 + np.exp(impostor)).mean()) / 2
    assert report.cllr == pytest.approx(wanted, rel=1e-6)


SCORES, IS_SAME, IDENTITIES = peoples_scores()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SCORES, np.ones(len(SCORES), bool)), {}, "no impostor one"),
        ((np.where(IS_SAME, np.nan, SCORES), IS_SAME), {}, "scores must be finite"),
        ((np.full(len(SCORES), 0.3), IS_SAME), {}, "needs scores that differ"),
        ((-SCORES, IS_SAME), {}, "the wrong way round"),
        ((5 * SCORES, IS_SAME), {}, r"needs cosines in \[-1, 1\]"),
        ((*peoples_scores(people=9),), {}, "at least 10 people. Received: 9"),
        ((SCORES, IS_SAME, IDENTITIES), {"method": "spline"}, "method='spline'"),
        ((SCORES, IS_SAME, IDENTITIES), {"prior": 1.0}, "prior=1.0"),
        ((SCORES, IS_SAME, IDENTITIES), {"far": 0.0}, "far=0.0"),
        ((SCORES, IS_SAME, IDENTITIES[::-1]), {}, "must agree"),
        ((SCORES, IS_SAME), {"folds": [1, 2]}, "a fold for each pair"),
        ((SCORES, IS_SAME), {"folds": np.arange(len(SCORES)) % 2 - 1}, "two folds at least"),
        ((SCORES, IS_SAME, IDENTITIES), {"folds": np.arange(len(SCORES)) % 5}, "Leave folds out"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments, options, message):
    """Each error names the rule and what came."""
    with pytest.raises(ValueError, match=message):
        fit_calibration(*arguments, **options, bootstrap=QUICK)


def test_a_report_says_what_it_rests_on():
    """The metadata are plain values, and carry the numbers of pairs and people."""
    metadata = fit_calibration(*peoples_scores(), bootstrap=QUICK).as_metadata()
    assert (metadata["num_genuine"], metadata["num_people"], metadata["resampled"]) == (240, 40, "identity")
    assert 0 < metadata["min_cllr"] <= metadata["cllr"] < 1 and metadata["no_zone"]
