import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few

from keras_margin import evaluation
from keras_margin.evaluation import _arrays

rng = np.random.default_rng(3)


# Scores of pairs


FEW_AND_NEARLY_ALL = {"few": [(0, 1), (7, 7), (29, 3)], "nearly all": list(itertools.permutations(range(30), 2))}


@pytest.mark.parametrize("pairs", FEW_AND_NEARLY_ALL.values(), ids=FEW_AND_NEARLY_ALL)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8])
def test_pair_scores_are_cosines_whatever_the_type(dtype, pairs):
    """Computes cosines, whatever the type."""
    embeddings = rng.integers(1, 9, (30, 5)).astype(dtype)
    a, b = embeddings.astype(np.float64)[np.array(pairs).T]
    expected = np.sum(a * b, axis=1) / np.sqrt(np.sum(a * a, axis=1) * np.sum(b * b, axis=1))
    np.testing.assert_allclose(evaluation.pair_scores(embeddings, pairs), expected, atol=5e-7)


def test_pair_scores_stay_in_range_and_do_not_depend_on_length():
    """Stays in [-1, 1], whatever the lengths."""
    direction = rng.normal(size=7)
    embeddings = (direction * np.array([[1e-30], [1.0], [1e30], [-1e30]])).astype(np.float32)
    scores = evaluation.pair_scores(embeddings, [[0, 1], [0, 2], [1, 2], [1, 3]])
    np.testing.assert_allclose(scores, [1, 1, 1, -1], atol=1e-6)
    assert np.abs(scores).max() <= 1 and scores.dtype == np.float32


def test_pair_scores_of_blocks_equal_those_of_one(monkeypatch):
    """Computes in blocks what one block gives."""
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
    """Names the row of bad embeddings."""
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
    """Refuses bad pairs."""
    with pytest.raises(error, match=re.escape(words)):
        evaluation.pair_scores(np.eye(2), pairs)


# Making pairs


@pytest.mark.parametrize("labels", [[5, 5, 2, 5, 2], ["b", "a", "b"], [1, 2]])
def test_all_pairs_are_the_combinations(labels):
    """Lists the combinations of all images."""
    pairs, is_same = evaluation.all_pairs(labels)
    assert list(map(tuple, pairs.tolist())) == list(itertools.combinations(range(len(labels)), 2))
    assert is_same.tolist() == [labels[i] == labels[j] for i, j in pairs]


@few
@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=9), seed=st.integers(0, 5))
def test_make_pairs_can_draw_every_pair_and_none_twice(labels, seed):
    """Draws every pair, and none twice."""
    combinations = list(itertools.combinations(range(len(labels)), 2))
    same = {(i, j) for i, j in combinations if labels[i] == labels[j]}
    pairs, is_same = evaluation.make_pairs(labels, len(same), len(combinations) - len(same), seed)
    drawn = list(map(tuple, pairs.tolist()))
    assert {pair for pair, genuine in zip(drawn, is_same, strict=True) if genuine} == same
    assert sorted(drawn) == combinations


def test_make_pairs_are_distinct_mixed_and_seeded():
    """Draws distinct pairs, evenly mixed, that follow the seed."""
    labels = np.repeat(np.arange(20), 10)
    pairs, is_same = evaluation.make_pairs(labels, 300, 600, seed=1)
    assert len({tuple(pair) for pair in pairs.tolist()}) == 900
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).tolist() == is_same.tolist()
    assert is_same.reshape(10, 90).sum(axis=1).tolist() == [30] * 10
    np.testing.assert_array_equal(pairs, evaluation.make_pairs(labels, 300, 600, seed=1)[0])
    assert not np.array_equal(pairs, evaluation.make_pairs(labels, 300, 600, seed=2)[0])


def test_make_pairs_are_uniform():
    """Draws pairs uniformly."""
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
    """Refuses invalid input."""
    with pytest.raises(error, match=re.escape(words)):
        evaluation.make_pairs(*arguments)


def test_equal_rows_have_equal_unit_rows():
    """Normalizes equal rows to equal unit rows, whatever other rows there are."""
    ordinary, huge, tiny = rng.normal(size=9).astype(np.float32), np.float32(3e30), np.float32(1e-30)
    beside = np.stack([ordinary, huge * ordinary, tiny * ordinary])
    alone = [_arrays.unit_rows(row[None])[0] for row in beside]
    np.testing.assert_array_equal(_arrays.unit_rows(beside), alone)
    exact = beside.astype(np.float64) / np.linalg.norm(beside.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(alone, exact, atol=3e-7)
