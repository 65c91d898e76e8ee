import itertools
import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few, operating_points, rates, scored_pairs
from sklearn import metrics

from keras_margin import evaluation

rng = np.random.default_rng(3)


@few
@given(scored_pairs())
def test_roc_counts_every_threshold_ties_together(data):
    """Counts every threshold, with ties together."""
    scores, is_same = data
    curve = evaluation.roc(scores, is_same)
    assert curve.thresholds.tolist() == [math.inf, *sorted(set(scores.tolist()), reverse=True)]
    assert list(zip(curve.far, curve.tar, strict=True)) == operating_points(scores, is_same)
    assert (curve.num_genuine, curve.num_impostor) == (is_same.sum(), (~is_same).sum())


@few
@given(scored_pairs())
def test_auc_is_the_chance_that_a_genuine_pair_scores_higher(data):
    """Computes the AUC as the chance that a genuine pair scores higher."""
    scores, is_same = data
    couples = list(itertools.product(scores[is_same], scores[~is_same]))
    expected = sum((g > i) + (g == i) / 2 for g, i in couples) / len(couples)
    assert evaluation.auc(scores, is_same) == pytest.approx(expected, abs=1e-12)


@few
@given(scored_pairs())
def test_eer_is_where_the_interpolated_roc_meets_the_diagonal(data):
    """Finds the EER where the interpolated ROC crosses the diagonal."""
    scores, is_same = data
    points = operating_points(scores, is_same)
    crossings = []
    for (far0, tar0), (far1, tar1) in itertools.pairwise(points):
        before, after = far0 + tar0 - 1, far1 + tar1 - 1
        if before < 1e-12 and after > -1e-12:
            share = 0 if abs(after - before) < 1e-12 else -before / (after - before)
            crossings.append(far0 + share * (far1 - far0))
    value = evaluation.eer(scores, is_same)
    assert value == pytest.approx(crossings[0], abs=1e-9)
    assert max(crossings) - min(crossings) < 1e-9


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.9, 0.8], 1.0),
        ([0.5], [0.5], 0.5),
        ([0.9, 0.8, 0.7, 0.2], [0.1, 0.3, 0.4, 0.75], 0.25),
        ([0.9, 0.2], [0.1, 0.15, 0.3], 1 / 3),  # (1/3, 1/2) is joined to (1/3, 0): the crossing keeps FAR = 1/3
    ],
)
def test_eer_of_cases_counted_by_hand(genuine, impostor, expected):
    """Computes the EER of cases counted by hand."""
    is_same = [True] * len(genuine) + [False] * len(impostor)
    assert evaluation.eer(genuine + impostor, is_same) == pytest.approx(expected, abs=1e-12)


@few
@given(scored_pairs(), st.sampled_from([0.01, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.7, 0.99, 1.0]))
def test_tar_and_threshold_at_far_are_the_best_that_keep_to_it(data, far):
    """Finds the best TAR and threshold whose FAR is at most the given one."""
    scores, is_same = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tar, threshold = evaluation.tar_at_far(scores, is_same, far), evaluation.threshold_at_far(scores, is_same, far)
    allowed = [point for point in operating_points(scores, is_same) if point[0] <= far]
    assert tar == max(point[1] for point in allowed)
    assert rates(scores, is_same, threshold) == allowed[-1]
    assert math.isfinite(threshold) and (threshold in scores or threshold == math.nextafter(scores.max(), 2))


def test_a_far_of_whole_impostors_survives_rounding():
    """Keeps a FAR of a whole number of impostors in spite of rounding."""
    # 0.29 * 100 is 28.999999999999996, yet 29 of 100 impostors are a FAR of 0.29.
    scores = np.concatenate([np.arange(100) / 100, [0.705]])
    is_same = np.arange(101) == 100
    assert evaluation.threshold_at_far(scores, is_same, 0.29) == 0.705
    for count in range(1, 101):
        threshold = evaluation.threshold_at_far(np.arange(101.0), is_same, count / 100)
        assert threshold == 100 - count


@pytest.mark.parametrize("function", [evaluation.tar_at_far, evaluation.threshold_at_far])
def test_tar_at_far_of_an_array_is_that_of_each(function):
    """Computes the TAR, or the threshold, of each FAR of an array."""
    scores, is_same = rng.normal(size=200), np.arange(200) % 2 == 0
    fars = np.array([[0.02, 0.1], [0.5, 1.0]])
    expected = [[function(scores, is_same, far) for far in row] for row in fars.tolist()]
    assert function(scores, is_same, fars).tolist() == expected


@pytest.mark.parametrize("function", [evaluation.tar_at_far, evaluation.threshold_at_far])
def test_a_far_too_low_warns_at_the_callers_line(function):
    """Warns at the caller's line of a FAR below the impostors' resolution."""
    scores, is_same = [0.9, 0.6, 0.5, 0.1, 0.2], [True, True, False, False, False]
    with pytest.warns(UserWarning, match=r"FAR=0\.1 is below 1 / 3 = 0\.333333: 3 impostor") as record:
        assert function(scores, is_same, 0.1) == {"tar_at_far": 1.0, "threshold_at_far": 0.6}[function.__name__]
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(scores, is_same, 1 / 3)


@pytest.mark.parametrize("far", [0.0, -0.1, 1.1, math.nan, [0.1, 2.0]])
def test_far_outside_its_range_is_refused(far):
    """Refuses a FAR outside its range."""
    with pytest.raises(ValueError, match=r"far must be in \(0, 1\]"):
        evaluation.tar_at_far([0.1, 0.2], [True, False], far)


def test_float32_scores_give_the_same_as_their_float64_values():
    """Computes the same for float32 scores and their float64 values."""
    scores, is_same = rng.normal(size=300).astype(np.float32), rng.random(300) < 0.3
    wide = scores.astype(np.float64)
    assert evaluation.eer(scores, is_same) == evaluation.eer(wide, is_same)
    threshold = evaluation.threshold_at_far(scores, is_same, 0.05)
    assert threshold == evaluation.threshold_at_far(wide, is_same, 0.05)
    assert rates(scores, is_same, threshold)[0] <= 0.05


METRICS = {
    "roc": evaluation.roc,
    "auc": evaluation.auc,
    "eer": evaluation.eer,
    "tar_at_far": lambda scores, is_same: evaluation.tar_at_far(scores, is_same, 0.5),
    "threshold_at_far": lambda scores, is_same: evaluation.threshold_at_far(scores, is_same, 0.5),
    "k_fold_accuracy": lambda scores, is_same: evaluation.k_fold_accuracy(scores, is_same, folds=2),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("scores", "is_same", "error", "words"),
    [
        ([0.1, 0.2, 0.3, 0.4], [True] * 4, ValueError, "no impostor one (is_same=False)"),
        ([0.1, 0.2, 0.3, 0.4], [False] * 4, ValueError, "no genuine one (is_same=True)"),
        ([], [], ValueError, "no genuine one"),
        ([0.1, math.nan, 0.3, 0.4], [True, False] * 2, ValueError, "1 NaN or infinite, the first is score 1"),
        ([0.1, 0.2, 0.3, -math.inf], [True, False] * 2, ValueError, "the first is score 3"),
        ([0.1, 0.2, 0.3], [True, False], ValueError, "(3,) and (2,)"),
        ([[0.1], [0.2]], [[True], [False]], ValueError, "one entry per pair"),
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 1, 2], ValueError, "all 0 or 1. Received: dtype=int64, values such as [1, 2]"),
        ([0.1, 0.2, 0.3, 0.4], [1, -1, 1, -1], ValueError, "values such as [-1, 1]"),
        ([0.1, 0.2, 0.3, 0.4], ["1", "0", "1", "0"], ValueError, "bool, or numbers"),
        ([True, False] * 2, [0.1, 0.2, 0.3, 0.4], TypeError, "The order is (scores, is_same)"),
    ],
)
def test_degenerate_scores_are_refused_by_every_metric(name, scores, is_same, error, words):
    """Refuses degenerate scores in every metric."""
    with pytest.raises(error, match=re.escape(words)):
        METRICS[name](scores, is_same)


@pytest.mark.parametrize("kind", [int, np.float32, list])
def test_truth_may_be_zeros_and_ones(kind):
    """Accepts zeros and ones as truth, and a list."""
    scores, is_same = rng.normal(size=20), rng.random(20) < 0.5
    numbers = is_same.tolist() if kind is list else is_same.astype(kind)
    assert evaluation.auc(scores, numbers) == evaluation.auc(scores, is_same)


# scikit-learn's, where it has one


@few
@given(scored_pairs())
def test_roc_and_auc_are_scikit_learns(data):
    """Equals scikit-learn's ROC and AUC."""
    scores, is_same = data
    curve = evaluation.roc(scores, is_same)
    far, tar, thresholds = metrics.roc_curve(is_same, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.far, far)
    np.testing.assert_array_equal(curve.tar, tar)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert evaluation.auc(scores, is_same) == pytest.approx(metrics.roc_auc_score(is_same, scores), abs=1e-12)
