import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_margin import evaluation

few = settings(derandomize=True, database=None, deadline=None, max_examples=60)
vector = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)


@st.composite
def problems(draw):
    """Small whole-number vectors, so that duplicates, parallel vectors and tied cosines are common."""
    gallery = draw(st.lists(st.tuples(vector, st.integers(0, 3)), min_size=1, max_size=8))
    known = sorted({label for _, label in gallery})
    probe = draw(st.lists(st.tuples(vector, st.sampled_from(known)), min_size=1, max_size=6))
    return *map(list, zip(*probe, strict=True)), *map(list, zip(*gallery, strict=True))


def squared_cosine(probe, entry):
    """sign(cos) * cos^2 * |probe|^2, exact: it orders one probe's entries as the cosine does."""
    product = sum(a * b for a, b in zip(probe, entry, strict=True))
    return Fraction(product * abs(product), sum(b * b for b in entry))


def ranks_by_trial(probe, probe_labels, gallery, gallery_labels):
    ranks = []
    for vector, label in zip(probe, probe_labels, strict=True):
        scores = [squared_cosine(vector, entry) for entry in gallery]
        mine = max(score for score, other in zip(scores, gallery_labels, strict=True) if other == label)
        others = [score for score, other in zip(scores, gallery_labels, strict=True) if other != label]
        ranks.append(1 + sum(score >= mine for score in others))
    return ranks


@few
@given(problems(), st.sampled_from([np.float16, np.float32, np.float64, np.int64]))
def test_ranks_equal_those_of_exact_fractions(problem, dtype):
    """Ranks as exact fractions do, with ties counted against the probe."""
    probe, probe_labels, gallery, gallery_labels = problem
    ranks = ranks_by_trial(*problem)
    arrays = np.array(probe, dtype), probe_labels, np.array(gallery, dtype), gallery_labels
    rates = [sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, len(gallery) + 1)]
    assert evaluation.cmc(*arrays, max_rank=len(gallery)).tolist() == rates
    assert [evaluation.rank_k(*arrays, k=k) for k in range(1, len(gallery) + 1)] == rates


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ranks_of_many_blocks_equal_a_sort_of_the_whole_matrix(monkeypatch, dtype):
    """Ranks many blocks as a sort of the whole matrix does."""
    monkeypatch.setattr("keras_margin.evaluation._arrays.BLOCK_BYTES", 700)
    rng = np.random.default_rng(5)
    gallery, gallery_labels = rng.normal(size=(60, 8)), rng.permutation(np.arange(60) % 11)
    probe_labels = rng.integers(0, 11, 45)
    probe = gallery[[np.flatnonzero(gallery_labels == label)[0] for label in probe_labels]]
    probe = (probe + rng.normal(size=probe.shape)).astype(dtype)
    cosines = probe.astype(np.float64) @ gallery.T / np.linalg.norm(gallery, axis=1)
    places = [gallery_labels[np.argsort(-row)] == label for row, label in zip(cosines, probe_labels, strict=True)]
    expected = [float(np.mean([place[:k].any() for place in places])) for k in range(1, 21)]
    assert 0.1 < expected[0] < 0.9
    result = evaluation.cmc(probe, probe_labels, gallery.astype(dtype), gallery_labels, max_rank=20)
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_a_collapsed_embedder_scores_nothing():
    """Gives a collapsed embedder no credit."""
    ones = np.ones((6, 512), np.float32)
    lengths = np.array([[1.0], [3.0], [0.7], [1e4], [1e-4], [2.3]], np.float32)
    assert evaluation.rank_k(ones * lengths, np.arange(6), ones, np.arange(6), k=5) == 0.0
    assert evaluation.rank_k(ones * lengths, np.arange(6), ones, np.arange(6), k=6) == 1.0


def test_copies_of_one_embedding_are_ties_in_high_dimension():
    """Counts copies of one embedding as ties in high dimension."""
    rng = np.random.default_rng(0)
    probe = rng.normal(size=(300, 512)).astype(np.float32)
    gallery = np.concatenate([probe * np.float32(3.7), probe])  # each probe's mate, then a stranger who looks the same
    assert evaluation.rank_k(probe, np.arange(300), gallery, np.arange(600)) == 0.0
    assert evaluation.rank_k(probe, np.arange(300), gallery, np.arange(600), k=2) == 1.0


def test_labels_may_be_names():
    """Accepts names as labels."""
    gallery, probe = np.eye(3), np.array([[0.9, 0.1, 0.2], [0.1, 0.2, 0.9]])
    assert evaluation.rank_k(probe, ["ann", "bob"], gallery, ["ann", "bob", "cy"]) == 0.5


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"probe_labels": [0, 7]}, ValueError, "1 probes without one, of identities such as [7]"),
        ({"probe_labels": ["0", "1"]}, TypeError, "of one type"),
        ({"probe_labels": [0]}, ValueError, "probe_labels must have one entry per embedding. Received: 1 for 2"),
        ({"gallery_labels": [0, 1]}, ValueError, "gallery_labels must have one entry per embedding"),
        ({"gallery_labels": [0.0, 1.0, 2.0]}, TypeError, "gallery_labels must be integers or strings"),
        ({"probe": np.eye(2)}, ValueError, "one embedding size. Received: 2 and 3"),
        ({"probe": np.zeros((2, 3))}, ValueError, "probe must not be zero"),
        ({"gallery": np.array([[1, 0, 0], [0, np.nan, 0], [0, 0, 1]])}, ValueError, "gallery must be finite"),
        ({"k": 0}, ValueError, "k must be in [1, 3]"),
        ({"k": 4}, ValueError, "k must be in [1, 3]"),
        ({"k": 1.5}, TypeError, "k must be an integer"),
    ],
)
def test_bad_input_is_refused(changes, error, words):
    """Refuses invalid input."""
    arguments = {"probe": np.eye(3)[:2], "probe_labels": [0, 1], "gallery": np.eye(3), "gallery_labels": [0, 1, 2]}
    with pytest.raises(error, match=re.escape(words)):
        evaluation.rank_k(**{**arguments, **changes})


def test_cmc_refuses_more_ranks_than_the_gallery_has():
    """Refuses more ranks than the gallery has."""
    with pytest.raises(ValueError, match=re.escape("max_rank must be in [1, 3]. Received: max_rank=10.")):
        evaluation.cmc(np.eye(3), range(3), np.eye(3), range(3))
