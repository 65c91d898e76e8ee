import itertools
import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_margin import evaluation

few = settings(derandomize=True, database=None, deadline=None, max_examples=60)
rng = np.random.default_rng(3)


@st.composite
def scored_pairs(draw, minimum=1, maximum=12):
    """Scores on a coarse grid, so that ties within and between the kinds are common; shuffled, both kinds present."""
    score = st.integers(-4, 4).map(lambda number: number / 4)
    genuine = draw(st.lists(score, min_size=minimum, max_size=maximum))
    impostor = draw(st.lists(score, min_size=minimum, max_size=maximum))
    order = draw(st.permutations(range(len(genuine) + len(impostor))))
    scores = np.array(genuine + impostor)[order]
    return scores, np.array([True] * len(genuine) + [False] * len(impostor))[order]


def rates(scores, is_same, threshold):
    """FAR and TAR of accepting score >= threshold, counted one by one."""
    accepted = [bool(score >= threshold) for score in scores]
    far = sum(a and not s for a, s in zip(accepted, is_same, strict=True)) / int(np.sum(~is_same))
    tar = sum(a and bool(s) for a, s in zip(accepted, is_same, strict=True)) / int(np.sum(is_same))
    return far, tar


def operating_points(scores, is_same):
    return [rates(scores, is_same, t) for t in [math.inf, *sorted(set(scores.tolist()), reverse=True)]]


# Scores of pairs


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8])
def test_pair_scores_are_cosines_whatever_the_type(dtype):
    embeddings = rng.integers(1, 9, (30, 5)).astype(dtype)
    for pairs in ([(0, 1), (7, 7), (29, 3)], list(itertools.permutations(range(30), 2))):  # few, and nearly all
        a, b = embeddings.astype(np.float64)[np.array(pairs).T]
        expected = np.sum(a * b, axis=1) / np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
        np.testing.assert_allclose(evaluation.pair_scores(embeddings, pairs), expected, atol=5e-7)


def test_pair_scores_stay_in_range_and_do_not_depend_on_length():
    direction = rng.normal(size=7)
    embeddings = (direction * np.array([[1e-30], [1.0], [1e30], [-1e30]])).astype(np.float32)
    scores = evaluation.pair_scores(embeddings, [[0, 1], [0, 2], [1, 2], [1, 3]])
    np.testing.assert_allclose(scores, [1, 1, 1, -1], atol=1e-6)
    assert np.abs(scores).max() <= 1 and scores.dtype == np.float32


def test_pair_scores_of_blocks_equal_those_of_one(monkeypatch):
    embeddings = rng.normal(size=(40, 6))
    dense, sparse = evaluation.all_pairs(np.zeros(40, int))[0], rng.integers(0, 40, (90, 2))
    whole = [evaluation.pair_scores(embeddings, pairs) for pairs in (dense, sparse)]
    monkeypatch.setattr("keras_margin.evaluation._arrays.BLOCK_BYTES", 1000)
    for pairs, expected in zip((dense, sparse), whole, strict=True):
        np.testing.assert_allclose(evaluation.pair_scores(embeddings, pairs), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("embeddings", "error", "words"),
    [
        ([[1.0, 2.0], [0.0, 0.0]], ValueError, "zero rows, the first is row 1"),
        ([[1.0, 2.0], [3.0, math.nan]], ValueError, "the first is row 1"),
        ([[math.inf, 2.0], [3.0, 1.0]], ValueError, "the first is row 0"),
        ([1.0, 2.0], ValueError, "(n, embedding_size)"),
        (np.zeros((0, 3)), ValueError, "(n, embedding_size)"),
        ([["a", "b"]], TypeError, "real numbers"),
    ],
)
def test_bad_embeddings_are_refused_by_row(embeddings, error, words):
    with pytest.raises(error, match=re.escape(words)):
        evaluation.pair_scores(embeddings, [[0, 1]])


@pytest.mark.parametrize(
    ("pairs", "error", "words"),
    [
        ([[0, 1], [0, 2]], ValueError, "the first is pair 1: [0, 2]"),
        ([[-1, 1]], ValueError, "the first is pair 0: [-1, 1]"),
        ([[0.0, 1.0]], TypeError, "integer"),
        ([0, 1], ValueError, "(n, 2)"),
        (np.zeros((0, 2), int), ValueError, "(n, 2)"),
    ],
)
def test_bad_pairs_are_refused(pairs, error, words):
    with pytest.raises(error, match=re.escape(words)):
        evaluation.pair_scores(np.eye(2), pairs)


# Making pairs


@pytest.mark.parametrize("labels", [[5, 5, 2, 5, 2], ["b", "a", "b"], [1, 2]])
def test_all_pairs_are_the_combinations(labels):
    pairs, is_same = evaluation.all_pairs(labels)
    assert list(map(tuple, pairs.tolist())) == list(itertools.combinations(range(len(labels)), 2))
    assert is_same.tolist() == [labels[i] == labels[j] for i, j in pairs]


@few
@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=9), seed=st.integers(0, 5))
def test_make_pairs_can_draw_every_pair_and_none_twice(labels, seed):
    combinations = list(itertools.combinations(range(len(labels)), 2))
    same = {(i, j) for i, j in combinations if labels[i] == labels[j]}
    pairs, is_same = evaluation.make_pairs(labels, len(same), len(combinations) - len(same), seed)
    drawn = list(map(tuple, pairs.tolist()))
    assert {pair for pair, genuine in zip(drawn, is_same, strict=True) if genuine} == same
    assert sorted(drawn) == combinations


def test_make_pairs_are_distinct_evenly_mixed_and_follow_the_seed():
    labels = np.repeat(np.arange(20), 10)
    pairs, is_same = evaluation.make_pairs(labels, 300, 600, seed=1)
    assert len({tuple(pair) for pair in pairs.tolist()}) == 900
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).tolist() == is_same.tolist()
    assert is_same.reshape(10, 90).sum(axis=1).tolist() == [30] * 10
    np.testing.assert_array_equal(pairs, evaluation.make_pairs(labels, 300, 600, seed=1)[0])
    assert not np.array_equal(pairs, evaluation.make_pairs(labels, 300, 600, seed=2)[0])


def test_make_pairs_are_uniform():
    counts = np.zeros((4, 4), int)
    for seed in range(600):
        (genuine, impostor), _ = evaluation.make_pairs([0, 1, 0, 0], 1, 1, seed)
        counts[tuple(genuine)] += 1
        counts[tuple(impostor)] += 1
    # Six pairs of probability 1/3 each; five standard deviations of a binomial.
    drawn = counts[np.triu_indices(4, 1)]
    assert np.abs(drawn - 200).max() < 5 * math.sqrt(600 * (1 / 3) * (2 / 3))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([0, 0, 1], 2, 1), ValueError, "num_genuine=2 where these labels give 1"),
        (([0, 0, 1], 1, 3), ValueError, "num_impostor=3 where these labels give 2"),
        (([0, 0, 1], -1, 1), ValueError, "num_genuine=-1"),
        (([0, 0, 1], 1.0, 1), TypeError, "num_genuine must be an integer"),
        (([0], 0, 0), ValueError, "at least two images"),
        (([], 0, 0), ValueError, "(n,)"),
        (([[0, 1]], 0, 0), ValueError, "(n,)"),
        (([0.5, 1.0], 0, 1), TypeError, "integers or strings"),
    ],
)
def test_make_pairs_refuses(arguments, error, words):
    with pytest.raises(error, match=re.escape(words)):
        evaluation.make_pairs(*arguments)


# Curves and rates


@few
@given(scored_pairs())
def test_roc_counts_every_threshold_ties_together(data):
    scores, is_same = data
    curve = evaluation.roc(scores, is_same)
    assert curve.thresholds.tolist() == [math.inf, *sorted(set(scores.tolist()), reverse=True)]
    assert list(zip(curve.far, curve.tar, strict=True)) == operating_points(scores, is_same)
    assert (curve.num_genuine, curve.num_impostor) == (is_same.sum(), (~is_same).sum())


@few
@given(scored_pairs())
def test_auc_is_the_chance_that_a_genuine_pair_scores_higher(data):
    scores, is_same = data
    couples = list(itertools.product(scores[is_same], scores[~is_same]))
    expected = sum((g > i) + (g == i) / 2 for g, i in couples) / len(couples)
    assert evaluation.auc(scores, is_same) == pytest.approx(expected, abs=1e-12)


@few
@given(scored_pairs())
def test_eer_is_where_the_interpolated_roc_meets_the_diagonal(data):
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
    is_same = [True] * len(genuine) + [False] * len(impostor)
    assert evaluation.eer(genuine + impostor, is_same) == pytest.approx(expected, abs=1e-12)


@few
@given(scored_pairs(), st.sampled_from([0.01, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.7, 0.99, 1.0]))
def test_tar_and_threshold_at_far_are_the_best_that_keep_to_it(data, far):
    scores, is_same = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tar, threshold = evaluation.tar_at_far(scores, is_same, far), evaluation.threshold_at_far(scores, is_same, far)
    allowed = [point for point in operating_points(scores, is_same) if point[0] <= far]
    assert tar == max(point[1] for point in allowed)
    assert rates(scores, is_same, threshold) == allowed[-1]
    assert math.isfinite(threshold) and (threshold in scores or threshold == math.nextafter(scores.max(), 2))


def test_far_of_a_whole_number_of_impostors_is_not_lost_to_rounding():
    # 0.29 * 100 is 28.999999999999996, yet 29 of 100 impostors are a FAR of 0.29.
    scores = np.concatenate([np.arange(100) / 100, [0.705]])
    is_same = np.arange(101) == 100
    assert evaluation.threshold_at_far(scores, is_same, 0.29) == 0.705
    for count in range(1, 101):
        threshold = evaluation.threshold_at_far(np.arange(101.0), is_same, count / 100)
        assert threshold == 100 - count


def test_tar_at_far_of_an_array_is_that_of_each():
    scores, is_same = rng.normal(size=200), np.arange(200) % 2 == 0
    fars = np.array([[0.02, 0.1], [0.5, 1.0]])
    for function in (evaluation.tar_at_far, evaluation.threshold_at_far):
        expected = [[function(scores, is_same, far) for far in row] for row in fars.tolist()]
        assert function(scores, is_same, fars).tolist() == expected


@pytest.mark.parametrize("function", [evaluation.tar_at_far, evaluation.threshold_at_far])
def test_far_below_the_impostors_resolution_warns_at_the_callers_line(function):
    scores, is_same = [0.9, 0.6, 0.5, 0.1, 0.2], [True, True, False, False, False]
    with pytest.warns(UserWarning, match=r"FAR=0\.1 is below 1 / impostors = 0\.333333: 3 impostor") as record:
        assert function(scores, is_same, 0.1) == {"tar_at_far": 1.0, "threshold_at_far": 0.6}[function.__name__]
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(scores, is_same, 1 / 3)


@pytest.mark.parametrize("far", [0.0, -0.1, 1.1, math.nan, [0.1, 2.0]])
def test_far_outside_its_range_is_refused(far):
    with pytest.raises(ValueError, match=r"far must be in \(0, 1\]"):
        evaluation.tar_at_far([0.1, 0.2], [True, False], far)


def test_float32_scores_give_the_same_as_their_float64_values():
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
    with pytest.raises(error, match=re.escape(words)):
        METRICS[name](scores, is_same)


def test_truth_may_be_zeros_and_ones():
    scores, is_same = rng.normal(size=20), rng.random(20) < 0.5
    for numbers in (is_same.astype(int), is_same.astype(np.float32), is_same.tolist()):
        assert evaluation.auc(scores, numbers) == evaluation.auc(scores, is_same)


# Folds


def best_by_trial(scores, is_same, accepts, candidates):
    """The first candidate with the most pairs judged right, each tried in turn."""
    right = [sum(bool(a) == bool(s) for a, s in zip(accepts(scores, t), is_same, strict=True)) for t in candidates]
    return candidates[right.index(max(right))]


def k_fold_by_trial(scores, is_same, fold, search):
    accuracies, thresholds = [], []
    for test in range(int(max(fold)) + 1):
        train, held_out = (fold != test) & (fold >= 0), fold == test
        if search == "exact":
            levels = sorted(set(scores[train].tolist()), reverse=True)
            candidates = [math.nextafter(levels[0], math.inf)]
            candidates += [(a + b) / 2 for a, b in itertools.pairwise(levels)] + [levels[-1]]

            def accepts(values, threshold):
                return values >= threshold
        else:
            candidates = [0.01 * step for step in range(400)]

            def accepts(values, threshold):
                return 2 - 2 * values < threshold

        best = best_by_trial(scores[train], is_same[train], accepts, candidates)
        judged = accepts(scores[held_out], best) == is_same[held_out]
        accuracies.append(sum(map(bool, judged)) / len(judged))
        thresholds.append(best if search == "exact" else 1 - best / 2)
    return accuracies, thresholds


@few
@given(st.lists(scored_pairs(maximum=5), min_size=2, max_size=4), st.sampled_from(["exact", "grid"]))
def test_k_fold_accuracy_tests_each_fold_with_the_threshold_of_the_others(parts, search):
    scores = np.concatenate([part[0] for part in parts])
    is_same = np.concatenate([part[1] for part in parts])
    fold = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    result = evaluation.k_fold_accuracy(scores, is_same, fold, search)
    accuracies, thresholds = k_fold_by_trial(scores, is_same, fold, search)
    assert result.accuracies.tolist() == pytest.approx(accuracies, abs=1e-12)
    assert result.thresholds.tolist() == pytest.approx(thresholds, abs=1e-12)
    assert result.mean == pytest.approx(sum(accuracies) / len(accuracies), abs=1e-12)
    assert result.std**2 == pytest.approx(sum((a - result.mean) ** 2 for a in accuracies) / len(accuracies), abs=1e-9)


@pytest.mark.parametrize("search", ["exact", "grid"])
def test_folds_by_number_are_runs_of_pairs_as_scikit_learns_kfold_cuts_them(search):
    is_same = np.arange(47) % 3 == 0
    scores = np.clip(rng.normal(0.5 * is_same, 0.3), -1, 1)
    fold = np.repeat(np.arange(10), [5] * 7 + [4] * 3)  # KFold(10): the first n % k folds are longer by one
    accuracies, _ = k_fold_by_trial(scores, is_same, fold, search)
    assert evaluation.k_fold_accuracy(scores, is_same, search=search).accuracies.tolist() == accuracies


def test_the_search_never_sees_the_fold_it_is_tested_on():
    # Fold 1 would be perfect with its own threshold of 0.9; fold 0 puts it between 0.1 and 0.5.
    scores, is_same = np.array([0.5, 0.1, 0.95, 0.85]), np.array([True, False, True, False])
    result = evaluation.k_fold_accuracy(scores, is_same, folds=2)
    assert result.thresholds.tolist() == pytest.approx([0.9, 0.3])
    assert result.accuracies.tolist() == [0.5, 0.5]


def test_pairs_in_no_fold_do_not_count():
    scores = np.array([0.9, 0.1, 0.8, 0.2, -0.5, 0.95])
    is_same = np.array([True, False, True, False, True, False])
    result = evaluation.k_fold_accuracy(scores, is_same, np.array([0, 0, 1, 1, -1, -1]))
    assert result.mean == 1.0


def test_neighbouring_floats_are_told_apart():
    low = 0.5
    high = math.nextafter(low, 1)
    result = evaluation.k_fold_accuracy([high, low] * 2, [True, False] * 2, folds=2)
    assert result.mean == 1.0


def test_the_grid_takes_a_cosine_that_rounding_pushed_past_one():
    result = evaluation.k_fold_accuracy(np.float32([1.0000002, 0.1] * 2), [True, False] * 2, folds=2, search="grid")
    assert result.mean == 1.0 and result.thresholds.tolist() == [1 - 0.01 / 2] * 2


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"folds": 1}, ValueError, "folds must be >= 2"),
        ({"folds": 2.0}, TypeError, "folds must be an integer"),
        ({"folds": [0, 0, 1]}, ValueError, "one fold per pair"),
        ({"folds": [0.0, 0.0, 1.0, 1.0]}, TypeError, "integers, one per pair"),
        ({"folds": [0, 0, 0, 0]}, ValueError, "at least two of them"),
        ({"folds": [-2, 0, 1, 1]}, ValueError, "numbers in [-2, 1]"),
        ({"folds": [0, 0, 1, 9]}, ValueError, "numbers in [0, 9]"),
        ({"folds": [0, 0, 2, 2]}, ValueError, "no genuine pair in fold 1 of 3"),
        ({"folds": [0, 1, 0, 1]}, ValueError, "no genuine pair in fold 1 of 2"),
        ({"folds": [1, 0, 1, 0]}, ValueError, "no genuine pair in fold 0 of 2"),
        ({"folds": 4}, ValueError, "no genuine pair in fold 1 of 4"),
        ({"folds": 5}, ValueError, "in fold 1 of 5"),
        ({"folds": 2, "search": "fine"}, ValueError, "search='fine'"),
        ({"folds": 2, "search": "grid"}, ValueError, "scores in [1, 9]"),
    ],
)
def test_k_fold_accuracy_refuses(arguments, error, words):
    with pytest.raises(error, match=re.escape(words)):
        evaluation.k_fold_accuracy([9.0, 1.0, 8.0, 2.0], [True, False, True, False], **arguments)


def test_folds_by_identity_share_nobody():
    labels = np.repeat(np.arange(23), 4)
    pairs, is_same = evaluation.all_pairs(labels)
    fold = evaluation.assign_folds(pairs, labels, folds=5, seed=4)
    people = [set(labels[pairs[fold == number]].ravel().tolist()) for number in range(5)]
    assert sorted(itertools.chain(*people)) == list(range(23))
    assert sorted(map(len, people)) == [4, 4, 5, 5, 5]
    of_person = {person: number for number in range(5) for person in people[number]}
    expected = [
        of_person[a] if of_person[a] == of_person[b] else -1 for a, b in zip(*labels[pairs].T.tolist(), strict=True)
    ]
    assert fold.tolist() == expected
    assert (fold[is_same] >= 0).all()
    assert fold.tolist() == evaluation.assign_folds(pairs, labels, folds=5, seed=4).tolist()
    assert fold.tolist() != evaluation.assign_folds(pairs, labels, folds=5, seed=5).tolist()


def test_folds_by_pair_hold_both_kinds_in_equal_number():
    labels = np.repeat(np.arange(3), 5)
    pairs, is_same = evaluation.all_pairs(labels)
    fold = evaluation.assign_folds(pairs, labels, folds=10, by="pair")
    assert np.bincount(fold[is_same]).tolist() == [3] * 10
    assert sorted(np.bincount(fold[~is_same]).tolist()) == [7] * 5 + [8] * 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"folds": 3}, "no impostor pair in fold"),  # four people: some fold has one only
        ({"folds": 5}, "no genuine pair in fold"),
        ({"by": "person"}, "Received: by='person'"),
        ({"folds": 1}, "folds must be >= 2"),
        ({"folds": 20, "by": "pair"}, "no genuine pair in fold"),
    ],
)
def test_assign_folds_refuses(arguments, words):
    labels = np.repeat(np.arange(4), 2)
    with pytest.raises(ValueError, match=re.escape(words)):
        evaluation.assign_folds(evaluation.all_pairs(labels)[0], labels, **arguments)
