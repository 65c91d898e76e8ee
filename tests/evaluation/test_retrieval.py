import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few

from keras_margin import evaluation
from keras_margin.evaluation import _streaming

# Entries of unit length or with four equal entries: cosines are multiples of 1/4 without rounding, and ties abound.
EXACT = [*np.eye(4), *(np.array(signs) * 3.0 for signs in itertools.product((-1, 1), repeat=4))]


def average_precision(scores, is_match, k):
    """Precision at each match among the first k, over all there are; wrong entries first among equal scores."""
    ordered = [
        match for _, match in sorted(zip(scores, is_match, strict=True), key=lambda entry: (-entry[0], entry[1]))
    ][:k]
    precisions = [sum(ordered[:rank]) / rank for rank, match in enumerate(ordered, 1) if match]
    return sum(precisions) / sum(is_match)


@few
@given(
    st.lists(st.integers(0, len(EXACT) - 1), min_size=1, max_size=5),
    st.lists(st.integers(0, len(EXACT) - 1), min_size=2, max_size=12),
    st.integers(1, 12),
    st.sampled_from([(512, 2048), (2, 3)]),
)
def test_map_is_the_mean_of_each_list_counted(queries, entries, k, tile):
    """Averages the precision of each list, counted by hand."""
    query, gallery = np.array(EXACT)[queries], np.array(EXACT)[entries]
    query_labels, gallery_labels = [f"p{row % 2}" for row in queries], [f"p{row % 2}" for row in range(len(entries))]
    expected = []
    for x, label in zip(query, query_labels, strict=True):
        scores = [float(x @ y / math.sqrt((x @ x) * (y @ y))) for y in gallery]
        expected.append(average_precision(scores, [label == other for other in gallery_labels], k))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_streaming, "_ROWS", tile[0])
        patch.setattr(_streaming, "_COLUMNS", tile[1])
        patch.setattr(_streaming, "_SPARE_ENTRIES", 2)
        found = evaluation.mean_average_precision(query, query_labels, gallery, gallery_labels, k)
    assert found == pytest.approx(np.mean(expected), abs=1e-12)


def test_map_of_a_full_list_is_scikit_learns_average_precision():
    """Equals scikit-learn's average precision for a full list."""
    from sklearn import metrics

    generator = np.random.default_rng(0)
    query, gallery, labels = generator.normal(size=(1, 8)), generator.normal(size=(50, 8)), np.arange(50) % 3
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    expected = metrics.average_precision_score(labels == 1, unit @ query[0])
    assert evaluation.mean_average_precision(query, [1], gallery, labels) == pytest.approx(expected, abs=1e-12)


def test_more_entries_than_places_keep_map_below_one():
    """Keeps MAP below one where there are more entries than places."""
    gallery = np.concatenate([np.full((30, 2), 1.0), -np.full((5, 2), 1.0)])
    labels = np.repeat([0, 1], [30, 5])
    assert evaluation.mean_average_precision(gallery[:1], [0], gallery, labels, k=10) == pytest.approx(10 / 30)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"query_labels": [0, 7]}, ValueError, "1 without, the first is query 1 of 7"),
        ({"query_labels": ["a", "b"]}, TypeError, "of one type"),
        ({"k": 0}, ValueError, "k must be >= 1"),
        ({"gallery": np.eye(3)}, ValueError, "one embedding size"),
        ({"query": [[0.0, 0.0], [0.0, 1.0]]}, ValueError, "query must not be zero"),
    ],
)
def test_map_refuses(change, error, words):
    """Refuses invalid input."""
    arguments = {"query": np.eye(2), "query_labels": [0, 1], "gallery": np.eye(2), "gallery_labels": [0, 1], "k": 2}
    if len(change.get("gallery", [])) == 3:
        change["gallery_labels"] = [0, 1, 1]
    with pytest.raises(error, match=re.escape(words)):
        evaluation.mean_average_precision(**(arguments | change))
