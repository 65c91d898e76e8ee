"""Tests of evaluation.clustering: pair by pair, face by face, and against scikit-learn."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few
from sklearn.metrics.cluster import pair_confusion_matrix

from keras_margin.evaluation import bcubed_score, chinese_whispers, pairwise_score

labelings = st.integers(1, 12).flatmap(
    lambda size: st.tuples(*(st.lists(st.integers(0, 3), min_size=size, max_size=size) for _ in range(2)))
)


@few
@given(labelings)
def test_pairs_are_counted_as_scikit_learn_counts_them(drawn):
    """Pairs together in both, in the clusters, in the truth."""
    clusters, labels = drawn
    score = pairwise_score(clusters, labels)
    (_, wrong), (missed, together) = pair_confusion_matrix(labels, clusters) / 2
    assert score.precision == pytest.approx(together / (together + wrong) if together + wrong else 1)
    assert score.recall == pytest.approx(together / (together + missed) if together + missed else 1)


@few
@given(labelings)
def test_bcubed_is_the_mean_over_faces(drawn):
    """Of each face, counted one by one."""
    clusters, labels = drawn
    shares = []
    for cluster, label in zip(clusters, labels, strict=True):
        both = sum(c == cluster and p == label for c, p in zip(clusters, labels, strict=True))
        shares.append((both / clusters.count(cluster), both / labels.count(label)))
    precision, recall = np.mean(shares, axis=0)
    score = bcubed_score(clusters, labels)
    assert (score.precision, score.recall) == (pytest.approx(precision), pytest.approx(recall))
    assert score.f == pytest.approx(2 * precision * recall / (precision + recall))


def test_people_far_apart_are_found_whole():
    """Each person a cluster, the largest first, whatever the order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(6), [9, 8, 7, 6, 5, 1]))
    rows = np.eye(8)[labels] + 0.05 * rng.normal(size=(36, 8))
    clusters = chinese_whispers(rows, threshold=0.5)
    assert clusters.tolist() == labels.tolist()


def test_nobody_is_alike_above_the_highest_cosine():
    """Without a neighbor each face is a cluster of its own."""
    clusters = chinese_whispers(np.eye(5), threshold=0.5)
    assert sorted(clusters) == list(range(5))


def test_no_edge_crosses_the_threshold():
    """Connected components of the graph are never joined."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    clusters, component = chinese_whispers(rows, threshold=0.9), np.arange(60)
    for one, other in itertools.combinations(range(60), 2):
        if unit[one] @ unit[other] >= 0.9:
            component[component == component[other]] = component[one]
    for cluster in np.unique(clusters):
        assert len(set(component[clusters == cluster])) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chinese_whispers(np.eye(3), 0.0), "threshold=0.0"),
        (lambda: chinese_whispers(np.zeros((3, 2)), 0.5), "zero"),
        (lambda: chinese_whispers(np.full((3, 2), np.nan), 0.5), "finite"),
        (lambda: chinese_whispers(np.eye(3), 0.5, iterations=0), "iterations"),
        (lambda: pairwise_score([0, 1], [0]), "one entry per embedding"),
    ],
)
def test_what_cannot_be_clustered_is_refused(call, message):
    """Each error names the rule and what came."""
    with pytest.raises(ValueError, match=message):
        call()
