import fractions
import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few, scored_pairs

from keras_margin import evaluation

rng = np.random.default_rng(3)


def accuracy_by_trial(accepted, is_same, balanced):
    """Share of pairs judged right, or the mean of both kinds' shares, as an exact fraction."""
    right = {
        kind: [bool(a) == kind for a, s in zip(accepted, is_same, strict=True) if s == kind] for kind in (True, False)
    }
    if balanced:
        return sum(fractions.Fraction(sum(part), len(part)) for part in right.values()) / 2
    return fractions.Fraction(sum(map(sum, right.values())), len(is_same))


def best_by_trial(scores, is_same, accepts, candidates, balanced):
    """The first candidate with the highest accuracy, each tried in turn."""
    found = [accuracy_by_trial(accepts(scores, t), is_same, balanced) for t in candidates]
    return candidates[found.index(max(found))]


def k_fold_by_trial(scores, is_same, fold, search):
    accuracies, thresholds = [], []
    balanced = is_same[fold >= 0].sum() != (~is_same[fold >= 0]).sum()
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

        best = best_by_trial(scores[train], is_same[train], accepts, candidates, balanced)
        accuracies.append(float(accuracy_by_trial(accepts(scores[held_out], best), is_same[held_out], balanced)))
        thresholds.append(best if search == "exact" else 1 - best / 2)
    return accuracies, thresholds


@pytest.mark.slow
@few
@given(st.lists(scored_pairs(maximum=5), min_size=2, max_size=4), st.sampled_from(["exact", "grid"]))
def test_each_fold_has_the_threshold_of_the_others(parts, search):
    """Tests each fold with the threshold of the others in k_fold_accuracy."""
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
def test_folds_by_number_are_those_of_scikit_learn(search):
    """Cuts folds by number into runs of pairs, as scikit-learn's KFold does."""
    is_same = np.arange(47) % 3 == 0
    scores = np.clip(rng.normal(0.5 * is_same, 0.3), -1, 1)
    fold = np.repeat(np.arange(10), [5] * 7 + [4] * 3)  # KFold(10): the first n % k folds are longer by one
    accuracies, _ = k_fold_by_trial(scores, is_same, fold, search)
    assert evaluation.k_fold_accuracy(scores, is_same, search=search).accuracies.tolist() == accuracies


def test_the_search_never_sees_the_fold_it_is_tested_on():
    """Searches the threshold without the tested fold."""
    # Fold 1 would be perfect with its own threshold of 0.9; fold 0 puts it between 0.1 and 0.5.
    scores, is_same = np.array([0.5, 0.1, 0.95, 0.85]), np.array([True, False, True, False])
    result = evaluation.k_fold_accuracy(scores, is_same, folds=2)
    assert result.thresholds.tolist() == pytest.approx([0.9, 0.3])
    assert result.accuracies.tolist() == [0.5, 0.5]


def test_pairs_in_no_fold_do_not_count():
    """Ignores pairs that are in no fold."""
    scores = np.array([0.9, 0.1, 0.8, 0.2, -0.5, 0.95])
    is_same = np.array([True, False, True, False, True, False])
    result = evaluation.k_fold_accuracy(scores, is_same, np.array([0, 0, 1, 1, -1, -1]))
    assert result.mean == 1.0


def test_neighbouring_floats_are_told_apart():
    """Distinguishes neighbouring floats."""
    low = 0.5
    high = math.nextafter(low, 1)
    result = evaluation.k_fold_accuracy([high, low] * 2, [True, False] * 2, folds=2)
    assert result.mean == 1.0


def test_the_grid_takes_a_cosine_that_rounding_pushed_past_one():
    """Accepts a cosine that rounding moved past one."""
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
    """Refuses invalid input."""
    with pytest.raises(error, match=re.escape(words)):
        evaluation.k_fold_accuracy([9.0, 1.0, 8.0, 2.0], [True, False, True, False], **arguments)


def test_folds_by_identity_share_nobody():
    """Shares no person between folds by identity."""
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
    """Holds both kinds in equal number in folds by pair."""
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
    """Refuses invalid input."""
    labels = np.repeat(np.arange(4), 2)
    with pytest.raises(ValueError, match=re.escape(words)):
        evaluation.assign_folds(evaluation.all_pairs(labels)[0], labels, **arguments)


# The published scripts, written out


def insightface_accuracies(first, second, is_same, folds):
    """Squared distances of unit rows, thresholds 0 to 4 by 0.01, less is the same person, first best threshold."""
    distance = np.sum((first - second) ** 2, axis=1)
    thresholds, fold = np.arange(0, 4, 0.01), np.arange(len(is_same)) * folds // len(is_same)
    found = []
    for test in range(folds):
        train = fold != test
        right = [np.mean((distance[train] < threshold) == is_same[train]) for threshold in thresholds]
        best = thresholds[int(np.argmax(right))]
        found.append(np.mean((distance[~train] < best) == is_same[~train]))
    return found


def sphereface_accuracy(scores, is_same, thresholds):
    genuine, impostor = scores[is_same, None], scores[~is_same, None]
    return (np.sum(genuine > thresholds, axis=0) + np.sum(impostor < thresholds, axis=0)) / len(scores)


def sphereface_accuracies(first, second, is_same, folds, centre=True):
    """Each fold's pairs less the mean of all other folds' images, cosines, mean of the best of 20,001 thresholds."""
    fold, found = np.arange(len(is_same)) * folds // len(is_same), []
    for test in range(folds):
        train = fold != test
        mean = np.concatenate([first[train], second[train]]).mean(axis=0) if centre else 0
        a, b = first - mean, second - mean
        scores = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        thresholds = np.arange(-10_000, 10_001) / 10_000
        right = sphereface_accuracy(scores[train], is_same[train], thresholds)
        best = thresholds[right == right.max()].mean()
        found.append(sphereface_accuracy(scores[~train], is_same[~train], best).item())
    return found


def noisy_pairs(seed, count=60, size=6, noise=0.6, offset=1.5):
    """Embeddings (2 count, size) around an offset, their pairs, and which pairs share a direction."""
    generator = np.random.default_rng(seed)
    is_same = np.arange(count) % 2 == 0
    first = generator.normal(size=(count, size))
    second = np.where(is_same[:, None], first, generator.normal(size=(count, size)))
    second = second + noise * generator.normal(size=(count, size))
    return np.concatenate([first, second]) + offset, np.arange(2 * count).reshape(2, count).T, is_same


@pytest.mark.parametrize("seed", range(4))
def test_the_grid_gives_the_numbers_of_insightfaces_script(seed):
    """Computes the numbers of insightface's script on its grid."""
    embeddings, pairs, is_same = noisy_pairs(seed)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    result = evaluation.k_fold_accuracy(evaluation.pair_scores(embeddings, pairs), is_same, search="grid")
    assert result.accuracies.tolist() == insightface_accuracies(*unit[pairs.T], is_same, 10)


@pytest.mark.parametrize("seed", range(3))
def test_centering_gives_the_numbers_of_spherefaces_script(seed):
    """Computes the centered variant's numbers as SphereFace's script does."""
    embeddings, pairs, is_same = noisy_pairs(seed)
    result = evaluation.centered_k_fold_accuracy(embeddings, pairs, is_same, folds=5)
    assert result.accuracies.tolist() == sphereface_accuracies(*embeddings[pairs.T], is_same, 5)
    plain = evaluation.k_fold_accuracy(evaluation.pair_scores(embeddings, pairs), is_same, 5, "sphereface")
    assert plain.accuracies.tolist() == sphereface_accuracies(*embeddings[pairs.T], is_same, 5, centre=False)


def test_centering_counts_images_per_pair_outside_the_fold():
    """Counts an image once per pair in the mean, and never its own fold."""
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [4.0, 1.0], [5.0, 7.0]])
    pairs, is_same = [[0, 1], [0, 2], [3, 2], [3, 1]], [True, False, True, False]
    result = evaluation.centered_k_fold_accuracy(embeddings, pairs, is_same, folds=2, search="exact")
    expected = []
    for train in ([3, 2, 3, 1], [0, 1, 0, 2]):  # the images of the other fold
        centered = embeddings - embeddings[train].mean(axis=0)
        unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
        scores = [unit[a] @ unit[b] for a, b in pairs]
        own = scores[2:] if train == [3, 2, 3, 1] else scores[:2]
        # The threshold that parts two training scores, where it can, lies midway; else above both.
        expected.append((own[0] + own[1]) / 2 if own[0] > own[1] else math.nextafter(max(own), 2))
    assert result.thresholds.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("embeddings", "pairs", "is_same", "words"),
    [
        (np.ones((4, 3)) * 0.1, [[0, 1], [2, 3]] * 2, [True, False] * 2, "less the mean outside fold 0, must not be"),
        (np.eye(4), [[0, 1], [2, 4]] * 2, [True, False] * 2, "the first is pair 1: [2, 4]"),
        (np.eye(4), [[0, 1], [2, 3]] * 2, [True, False], "shape=(2,) for 4 pairs"),
        (np.eye(4), [[0, 1], [2, 3]] * 2, [True] * 4, "no impostor one"),
        (np.zeros((4, 4)), [[0, 1], [2, 3]] * 2, [True, False] * 2, "zero rows, the first is row 0"),
    ],
)
def test_the_centered_variant_refuses(embeddings, pairs, is_same, words):
    """Refuses invalid input of the centered variant."""
    with pytest.raises(ValueError, match=re.escape(words)):
        evaluation.centered_k_fold_accuracy(embeddings, pairs, is_same, folds=2)


@pytest.mark.parametrize("search", ["grid", "sphereface"])
def test_searches_over_a_grid_need_cosines(search):
    """Requires cosines for searches over a grid."""
    with pytest.raises(ValueError, match=rf'search="{search}" needs cosines'):
        evaluation.k_fold_accuracy([9.0, 1.0, 8.0, 2.0], [True, False] * 2, folds=2, search=search)


def test_the_centered_variant_keeps_its_former_name():
    """Code that was written for 0.1 calls it by the British spelling."""
    assert evaluation.centred_k_fold_accuracy is evaluation.centered_k_fold_accuracy
