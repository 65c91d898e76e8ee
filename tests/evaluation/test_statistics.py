import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_margin import evaluation
from keras_margin.evaluation.statistics import AngleStatistics

few = settings(derandomize=True, database=None, deadline=None, max_examples=40)


def unit(vector):
    return [value / math.sqrt(sum(v * v for v in vector)) for value in vector]


def mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))


def degrees(a, b):
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine(a, b)))))


def nearest(vectors):
    others = [[degrees(a, b) for j, b in enumerate(vectors) if j != i] for i, a in enumerate(vectors)]
    return sum(map(min, others)) / len(vectors)


def random_problem(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([[0, 1, 3], rng.choice([0, 1, 3], 9)]))
    embeddings = (rng.normal(size=(12, 4)) + 2 * np.eye(4)[labels]) * rng.uniform(0.1, 10, (12, 1))
    return embeddings.astype(dtype), labels, rng.normal(size=(5, 4)).astype(dtype)


@few
@given(st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]))
def test_angle_statistics_equal_their_definitions(seed, dtype):
    """Computes the angle statistics by their definitions."""
    embeddings, labels, prototypes = random_problem(seed, dtype)
    groups = {
        label: [unit(x) for x, y in zip(embeddings.tolist(), labels, strict=True) if y == label] for label in (0, 1, 3)
    }
    centres = {label: mean(group) for label, group in groups.items()}
    intra = [degrees(x, centres[label]) for label, group in groups.items() for x in group]
    w_ec = [degrees(prototypes[label].tolist(), centre) for label, centre in centres.items()]
    result = evaluation.angle_statistics(embeddings, labels, prototypes)
    # Degrees: arccos of the reference is good to 1e-6 of a degree near 0; float32 rows to 1e-5.
    tolerance = 2e-5 if dtype == np.float64 else 1e-3
    assert result.intra == pytest.approx(sum(intra) / 12, abs=tolerance)
    assert result.inter == pytest.approx(nearest(list(centres.values())), abs=tolerance)
    assert result.w_ec == pytest.approx(sum(w_ec) / 3, abs=tolerance)
    assert result.w_inter == pytest.approx(nearest(prototypes.tolist()), abs=tolerance)


@few
@given(st.integers(0, 10**6))
def test_angular_fisher_score_equals_equation_11(seed):
    """Computes the angular Fisher score by equation 11."""
    embeddings, labels, _ = random_problem(seed)
    rows = embeddings.tolist()
    groups = {label: [x for x, y in zip(rows, labels, strict=True) if y == label] for label in (0, 1, 3)}
    within = sum(1 - cosine(x, mean(group)) for group in groups.values() for x in group)
    between = sum(len(group) * (1 - cosine(mean(group), mean(rows))) for group in groups.values())
    assert evaluation.angular_fisher_score(embeddings, labels) == pytest.approx(within / between, rel=1e-9)


def test_statistics_in_blocks_equal_those_of_one(monkeypatch):
    """Computes in blocks what one block gives."""
    embeddings, labels, prototypes = random_problem(8)
    whole = (
        evaluation.angle_statistics(embeddings, labels, prototypes),
        evaluation.angular_fisher_score(embeddings, labels),
    )
    monkeypatch.setattr("keras_margin.evaluation._arrays.BLOCK_BYTES", 70)
    blocked = (
        evaluation.angle_statistics(embeddings, labels, prototypes),
        evaluation.angular_fisher_score(embeddings, labels),
    )
    for name in ("w_ec", "w_inter", "intra", "inter"):
        assert getattr(blocked[0], name) == pytest.approx(getattr(whole[0], name), rel=1e-12)
    assert blocked[1] == pytest.approx(whole[1], rel=1e-12)


def test_a_tiny_angle_keeps_its_digits():
    """Keeps the digits of a tiny angle."""
    # arccos(cos(1e-9)) is 0 in float64: the cosine rounds to 1.
    embeddings = [[1.0, 1e-9], [1.0, -1e-9], [0.0, 1.0]]
    result = evaluation.angle_statistics(embeddings, [0, 0, 1])
    assert result.intra == pytest.approx(math.degrees(1e-9) * 2 / 3, rel=1e-6)
    assert result.inter == pytest.approx(90)


def test_without_prototypes_their_rows_are_none():
    """Reports None for the rows of prototypes without them; labels may be names."""
    result = evaluation.angle_statistics([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0]], ["a", "b", "b"])
    assert result == AngleStatistics(w_ec=None, w_inter=None, intra=0.0, inter=pytest.approx(90))


def test_length_weighs_in_the_fisher_score_but_not_in_the_angles():
    """Weighs lengths in the Fisher score, but not in the angles."""
    embeddings, labels, _ = random_problem(2)
    lengths = np.linspace(1, 20, 12)[:, None]
    before, after = (evaluation.angle_statistics(x, labels) for x in (embeddings, embeddings * lengths))
    assert before.intra == pytest.approx(after.intra)
    scores = [evaluation.angular_fisher_score(x, labels) for x in (embeddings, embeddings * lengths)]
    assert abs(scores[0] - scores[1]) > 1e-3


BOTH = [evaluation.angle_statistics, evaluation.angular_fisher_score]


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize(
    ("embeddings", "labels", "error", "words"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], [0, 1], ValueError, "the first is row 1"),
        ([[1.0, 0.0], [0.0, math.nan]], [0, 1], ValueError, "must be finite"),
        ([[1.0, 0.0], [0.0, 1.0]], [4, 4], ValueError, "at least two. Received: only label 4"),
        ([[1.0, 0.0], [0.0, 1.0]], [4], ValueError, "one entry per embedding"),
        ([[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0], TypeError, "integers or strings"),
        ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [4, 4, 2], ValueError, "The embeddings of label 4 cancel out"),
    ],
)
def test_bad_input_is_refused(function, embeddings, labels, error, words):
    """Refuses invalid input."""
    with pytest.raises(error, match=re.escape(words)):
        function(embeddings, labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_three_embeddings_at_120_degrees_cancel_out(dtype):
    """Cancels three embeddings at 120 degrees out in spite of rounding."""
    star = [[math.cos(angle), math.sin(angle)] for angle in (0.3, 0.3 + 2 * math.pi / 3, 0.3 + 4 * math.pi / 3)]
    with pytest.raises(ValueError, match="label 0 cancel out"):
        evaluation.angle_statistics(np.array([*star, [1.0, 0.0]], dtype), [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("labels", "prototypes", "error", "words"),
    [
        ([0, 2], np.eye(2), ValueError, "rows of prototypes, in [0, 2). Received: labels in [0, 2]"),
        ([-1, 1], np.eye(2), ValueError, "Received: labels in [-1, 1]"),
        (["a", "b"], np.eye(2), TypeError, "labels must be integers, rows of prototypes"),
        ([0, 1], np.eye(3), ValueError, "one embedding size. Received: 2 and 3"),
        ([0, 1], np.zeros((2, 2)), ValueError, "prototypes must not be zero"),
        ([0, 0], np.ones((1, 2)), ValueError, "prototypes must hold at least two classes"),
    ],
)
def test_prototypes_that_do_not_fit_are_refused(labels, prototypes, error, words):
    """Refuses prototypes that do not fit."""
    with pytest.raises(error, match=re.escape(words)):
        evaluation.angle_statistics([[1.0, 0.0], [0.0, 1.0]], labels, prototypes)


def test_the_fisher_score_refuses_a_collapsed_embedding():
    """Refuses a collapsed embedding."""
    with pytest.raises(ValueError, match="all of them parallel"):
        evaluation.angular_fisher_score([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], [0, 0, 1])
    with pytest.raises(ValueError, match="all classes together cancel out"):
        evaluation.angular_fisher_score([[1.0, 0.0], [-1.0, 0.0]], [0, 1])


def angle(a, b):
    return math.degrees(math.acos(max(-1.0, min(1.0, a @ b / math.sqrt((a @ a) * (b @ b))))))


def test_angles_hold_genuine_pairs_and_drawn_impostors():
    """Holds every genuine pair and drawn impostors in the angle distributions."""
    embeddings = np.random.default_rng(0).normal(size=(12, 4))
    labels = ["a", "b", "c", "a", "b", "c", "a", "a", "d", "b", "c", "d"]
    couples = [(i, j) for i in range(12) for j in range(i + 1, 12)]
    genuine = [angle(embeddings[i], embeddings[j]) for i, j in couples if labels[i] == labels[j]]
    impostor = [angle(embeddings[i], embeddings[j]) for i, j in couples if labels[i] != labels[j]]
    found = evaluation.angle_distributions(embeddings, labels)
    np.testing.assert_allclose(np.sort(found.genuine), np.sort(genuine), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.impostor), np.sort(impostor), atol=1e-6)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    for x, label, theta in zip(unit, labels, found.centre, strict=True):
        centre = np.mean([other for other, name in zip(unit, labels, strict=True) if name == label], axis=0)
        assert theta == pytest.approx(angle(x, centre), abs=1e-6)
    drawn = evaluation.angle_distributions(embeddings, labels, num_impostor=7, seed=3)
    assert len(drawn.impostor) == 7 and len(drawn.genuine) == len(genuine)
    assert np.abs(drawn.impostor[:, None] - impostor).min(axis=1).max() < 1e-6


def test_pair_angles_keep_their_digits_at_nought():
    """Keeps the digits of pair angles near zero."""
    embeddings = np.array([[1.0, 0.0], [1.0, 1e-9], [-1.0, 1e-9], [0.0, 3.0]])
    expected = [math.degrees(1e-9), 180 - math.degrees(1e-9), 90.0]
    np.testing.assert_allclose(evaluation.pair_angles(embeddings, [[0, 1], [0, 2], [0, 3]]), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 1, 2], "one image of each"), ([0, 0, 0], "at least two"), ([0, 0], "one entry per embedding")],
)
def test_angle_distributions_refuse(labels, words):
    """Refuses invalid input."""
    with pytest.raises(ValueError, match=words):
        evaluation.angle_distributions(np.eye(3), labels)
    with pytest.raises(ValueError, match="num_impostor must be >= 1"):
        evaluation.angle_distributions(np.eye(3), [0, 0, 1], num_impostor=0)
