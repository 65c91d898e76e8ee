"""Accuracy by folds of sets with more pairs of one kind: (TAR + 1 - FAR) / 2, and LFW's own where both are as many."""

import numpy as np
import pytest
from sklearn import metrics

from keras_margin import evaluation


def unbalanced_noise(seed, num_genuine=450, num_impostor=4500, size=64):
    """Embeddings that know nobody, and their pairs in mixed order."""
    generator = np.random.default_rng(seed)
    count = num_genuine + num_impostor
    is_same = generator.permutation(np.arange(count) < num_genuine)
    return generator.normal(size=(2 * count, size)), np.arange(2 * count).reshape(-1, 2), is_same


@pytest.mark.parametrize("search", ["exact", "grid", "sphereface"])
def test_noise_on_unbalanced_pairs_is_at_chance(search):
    """Random embeddings score 0.5 on 450 genuine and 4,500 impostor pairs, where the share judged right is 0.909."""
    embeddings, pairs, is_same = unbalanced_noise(0)
    scores = evaluation.pair_scores(embeddings, pairs)
    results = [evaluation.k_fold_accuracy(scores, is_same, search=search)]
    results.append(evaluation.centered_k_fold_accuracy(embeddings, pairs, is_same, search=search))
    for result in results:
        # Each fold's TAR and FAR are shares of 45 and 450 pairs: a deviation of at most 0.04 of a fold, 0.012 of ten.
        assert abs(result.mean - 0.5) < 0.05 and result.balanced


@pytest.mark.parametrize("search", ["exact", "grid", "sphereface"])
def test_unbalanced_accuracy_is_the_balanced_one_per_fold(search):
    """Every fold's accuracy is scikit-learn's balanced accuracy of the fold's own verdicts."""
    generator = np.random.default_rng(5)
    is_same = np.arange(200) % 5 == 0
    scores = np.clip(generator.normal(0.3 * is_same, 0.2), -1, 1)
    result = evaluation.k_fold_accuracy(scores, is_same, 4, search)
    fold = np.arange(200) // 50
    expected = [
        metrics.balanced_accuracy_score(is_same[fold == test], scores[fold == test] >= result.thresholds[test])
        for test in range(4)
    ]
    np.testing.assert_allclose(result.accuracies, expected, rtol=1e-15)


def test_a_balanced_set_counts_pairs_even_in_skewed_folds():
    """With as many pairs of each kind in the set, a fold's accuracy stays the share of its pairs judged right."""
    scores = np.array([0.9, 0.8, 0.85, 0.1, 0.9, 0.2, 0.15, 0.25])
    is_same = np.array([True, True, True, False, True, False, False, False])
    result = evaluation.k_fold_accuracy(np.where(np.arange(8) == 2, 0.0, scores), is_same, folds=2)
    assert result.accuracies.tolist() == [0.75, 1.0] and not result.balanced
