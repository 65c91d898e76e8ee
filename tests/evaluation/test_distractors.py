import itertools
import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import few

from keras_margin import evaluation
from keras_margin.evaluation import _streaming

# Entries of unit length or with four equal entries: cosines are multiples of 1/4 without rounding, and ties abound.
EXACT = [*np.eye(4), *-np.eye(4), *(np.array(signs) * 3.0 for signs in itertools.product((-1, 1), repeat=4))]


@st.composite
def labelled_sets(draw):
    """(probe, probe labels, gallery, gallery labels), with duplicates, ties and both kinds of score."""
    rows = st.lists(st.sampled_from(range(len(EXACT))), min_size=2, max_size=9)
    probe, gallery = draw(rows), draw(rows)
    people = st.integers(0, 2)
    return (
        np.array([EXACT[row] for row in probe], np.float32),
        [0, 0, *(draw(people) for _ in probe[2:])],
        np.array([EXACT[row] for row in gallery], np.float32),
        [0, 1, *(draw(people) for _ in gallery[2:])],
    )


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def best_tar(genuine, impostor, far):
    """The highest TAR of any threshold that keeps to the FAR, and that FAR."""
    points = []
    for threshold in [math.inf, *genuine, *impostor]:
        rate = sum(score >= threshold for score in impostor) / len(impostor)
        if rate <= far:
            points.append(sum(score >= threshold for score in genuine) / len(genuine))
    return max(points)


def check_verification(result, genuine, impostor, fars):
    assert (result.num_genuine, result.num_impostor) == (len(genuine), len(impostor))
    assert result.tar.tolist() == [best_tar(genuine, impostor, far) for far in fars]
    for far, threshold, tar in zip(fars, result.threshold, result.tar, strict=True):
        assert sum(score >= threshold for score in impostor) / len(impostor) <= far
        assert sum(score >= threshold for score in genuine) / len(genuine) == tar


FARS = [0.04, 0.29, 0.5, 1.0]


@few
@given(labelled_sets(), st.sampled_from([(512, 2048), (2, 3)]))
def test_cross_tar_is_that_of_every_score(sets, tile):
    """Computes the TAR over every score of both sets."""
    probe, probe_labels, gallery, gallery_labels = sets
    genuine, impostor = [], []
    for (a, one), (b, other) in itertools.product(
        zip(probe, probe_labels, strict=True), zip(gallery, gallery_labels, strict=True)
    ):
        (genuine if one == other else impostor).append(cosine(a, b))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(_streaming, "_ROWS", tile[0])
        patch.setattr(_streaming, "_COLUMNS", tile[1])
        patch.setattr(_streaming, "_SPARE_ENTRIES", 4)
        result = evaluation.cross_tar_at_far(probe, probe_labels, gallery, gallery_labels, FARS)
    check_verification(result, genuine, impostor, FARS)


@few
@given(labelled_sets(), st.integers(1, 9), st.sampled_from([(512, 2048), (2, 3)]))
def test_megaface_and_trillion_pairs_count_every_search(sets, max_rank, tile):
    """Counts every search of MegaFace and Trillion Pairs."""
    probe, labels, distractors, _ = sets
    max_rank = min(max_rank, len(distractors))
    best = [[cosine(p, d) for d in distractors] for p in probe]
    searches = [(i, j) for i, j in itertools.permutations(range(len(probe)), 2) if labels[i] == labels[j]]
    ranks = [1 + sum(score >= cosine(probe[i], probe[j]) for score in best[i]) for i, j in searches]
    genuine = [cosine(probe[i], probe[j]) for i, j in searches if i < j]
    impostor = list(itertools.chain(*best))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(_streaming, "_ROWS", tile[0])
        patch.setattr(_streaming, "_COLUMNS", tile[1])
        patch.setattr(_streaming, "_SPARE_ENTRIES", 4)
        result = evaluation.megaface(probe, labels, distractors, max_rank, FARS)
        trillion = evaluation.trillion_pairs(probe, labels, distractors, 0.4, FARS)
    assert result.cmc.tolist() == [sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, max_rank + 1)]
    assert result.num_searches == trillion.num_searches == len(searches)
    check_verification(result.verification, genuine, impostor, FARS)
    check_verification(trillion.verification, genuine, impostor, FARS)
    rates = []
    for threshold in [math.inf, *itertools.chain(*best), *genuine]:
        if sum(max(scores) >= threshold for scores in best) / len(best) <= 0.4:
            scores = [(cosine(probe[i], probe[j]), max(best[i])) for i, j in searches]
            rates.append(sum(mate > first and mate >= threshold for mate, first in scores) / len(scores))
    assert trillion.tpir == max(rates)
    assert sum(max(scores) >= trillion.threshold for scores in best) / len(best) <= 0.4


def close_sets(spread, dtype, seed=0):
    """Random sets whose scores are as close together as asked, so that float32 cannot part many of them."""
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=20)
    people = centre + spread * generator.normal(size=(7, 20))
    labels = np.repeat(np.arange(7), 6)
    probe = people[labels] + 0.5 * spread * generator.normal(size=(42, 20))
    distractors = centre + spread * generator.normal(size=(900, 20))
    distractors[::5] = probe[np.arange(180) % 42]  # Duplicates of probes, as mislabelled distractors are.
    return probe.astype(dtype), labels, distractors.astype(dtype)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_closer_than_float32_are_ranked_in_float64(spread, dtype, monkeypatch):
    """Ranks scores in float64 that float32 cannot tell apart."""
    probe, labels, distractors = close_sets(spread, dtype)
    monkeypatch.setattr(_streaming, "_SPARE_ENTRIES", 50)
    monkeypatch.setattr(_streaming, "_COLUMNS", 128)
    unit, others = (x.astype(np.float64) for x in (probe, distractors))
    unit, others = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (unit, others))
    scores, own = unit @ others.T, unit @ unit.T
    couples = (labels[:, None] == labels) & ~np.eye(42, dtype=bool)
    # A duplicate's score equals the mate's but for rounding: what lies within it counts as a tie, against the probe.
    ranks = np.array([1 + np.sum(scores[i] >= own[i, j] - 1e-14) for i, j in np.argwhere(couples)])
    fars = [1e-3, 1e-2]
    result = evaluation.megaface(probe, labels, distractors, max_rank=60, far=fars)
    np.testing.assert_allclose(result.cmc, [np.mean(ranks <= k) for k in range(1, 61)], atol=1e-12)
    for far, tar, threshold in zip(fars, result.verification.tar, result.verification.threshold, strict=True):
        refused = np.sort(scores.ravel())[::-1][math.floor(far * scores.size)]
        assert threshold == pytest.approx(refused, abs=1e-14)
        assert tar == np.mean(own[couples] > refused + 1e-14)


def test_a_collapsed_embedder_gets_nothing():
    """Gives a collapsed embedder no credit."""
    probe, distractors = np.full((4, 3), 0.1, np.float32), np.full((50, 3), 0.1, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_streaming, "_SPARE_ENTRIES", 4)
        result = evaluation.megaface(probe, [0, 0, 1, 1], distractors, max_rank=50, far=0.1)
        assert evaluation.trillion_pairs(probe, [0, 0, 1, 1], distractors, fpir=0.5, far=0.1).tpir == 0
    assert result.cmc.max() == 0 and result.verification.tar.tolist() == [0]


def test_memory_holds_a_little_more_than_the_scores_a_far_allows(monkeypatch):
    """Allocates little more than the scores that a FAR allows."""
    probe, labels, distractors = close_sets(1.0, np.float32)
    monkeypatch.setattr(_streaming, "_SPARE_ENTRIES", 100)
    monkeypatch.setattr(_streaming, "_COLUMNS", 64)
    held = []
    sort_out = _streaming.Highest._sort_out
    monkeypatch.setattr(_streaming.Highest, "_sort_out", lambda self: (sort_out(self), held.append(self._held)))
    evaluation.cross_tar_at_far(probe, labels, distractors, np.full(900, 3), far=1e-3)
    assert held and max(held) <= 36 * 900 * 1e-3 + 1 + 100


def test_refined_lists_leave_rows_out():
    """Leaves out the rows of refined lists."""
    probe, labels, distractors = close_sets(1.0, np.float32)
    probes, others = [0, 7, 41], [*range(0, 900, 5), 3]
    expected = evaluation.megaface(
        np.delete(probe, probes, axis=0), np.delete(labels, probes), np.delete(distractors, others, axis=0), 5, 1e-3
    )
    found = evaluation.megaface(probe, labels, distractors, 5, 1e-3, probes, others)
    assert found.cmc.tolist() == expected.cmc.tolist()
    assert found.verification.threshold.tolist() == expected.verification.threshold.tolist()
    assert found.verification.num_impostor == 39 * 719
    assert found.cmc[0] > evaluation.megaface(probe, labels, distractors, 5, 1e-3).cmc[0]


FARS_TOO_LOW = {
    "megaface": lambda *sets: evaluation.megaface(*sets, 5, far=1e-6),
    "trillion_pairs": lambda *sets: evaluation.trillion_pairs(*sets, fpir=0.1),
    "cross_tar_at_far": lambda *sets: evaluation.cross_tar_at_far(*sets, np.full(900, 3), far=1e-6),
}


@pytest.mark.parametrize("name", FARS_TOO_LOW)
def test_a_far_below_the_impostors_warns_at_the_callers_line(name):
    """Warns at the caller's line of a FAR below the impostors' resolution."""
    with pytest.warns(UserWarning, match="impostor pairs cannot show it") as record:
        FARS_TOO_LOW[name](*close_sets(1.0, np.float32))
    assert [warning.filename for warning in record] == [__file__]


EYE = np.eye(3)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"probe": [[1.0, 0, 0], [0, 0, 0], [0, 1.0, 0]]}, ValueError, "probe must not be zero"),
        ({"distractors": EYE * math.nan}, ValueError, "distractors must be finite"),
        ({"distractors": np.eye(4)}, ValueError, "one embedding size. Received: 3 and 4"),
        ({"probe_labels": [0, 0]}, ValueError, "one entry per embedding. Received: 2 for 3"),
        ({"probe_labels": [0, 1, 2]}, ValueError, "no two images of one person"),
        ({"max_rank": 4}, ValueError, "max_rank must be in [1, 3]"),
        ({"far": 0.0}, ValueError, "far must be in (0, 1]"),
        ({"without_probes": [3]}, ValueError, "without_probes must be rows in [0, 3). Received: 3 to 3"),
        ({"without_distractors": [0, 1, 2]}, ValueError, "without_distractors must leave some rows"),
        ({"without_distractors": [True, False, True]}, TypeError, "integers, rows to leave out"),
    ],
)
def test_megaface_refuses(change, error, words):
    """Refuses invalid input."""
    arguments = {"probe": EYE, "probe_labels": [0, 0, 1], "distractors": EYE, "max_rank": 1, "far": 1.0}
    with pytest.raises(error, match=re.escape(words)):
        evaluation.megaface(**(arguments | change))


def test_a_far_beyond_the_memory_is_refused():
    """Refuses a FAR that needs more memory than a machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_streaming, "MOST_KEPT", 5)
        with pytest.raises(ValueError, match=r"needs 6\. So high a FAR is as well told by a sample"):
            evaluation.cross_tar_at_far(np.eye(4), [0, 1, 2, 3], np.eye(4), [0, 1, 2, 3], far=5 / 12)


def test_sets_of_one_person_or_of_strangers_alone_are_refused():
    """Refuses sets of one person or of strangers alone."""
    with pytest.raises(ValueError, match="images of one person alone"):
        evaluation.cross_tar_at_far(EYE, [0, 0, 0], EYE, [0, 0, 0], far=0.5)
    with pytest.raises(ValueError, match="no two images of one person"):
        evaluation.cross_tar_at_far(EYE, [0, 1, 2], EYE, [3, 4, 5], far=0.5)
    with pytest.raises(ValueError, match="fpir must be one number"):
        evaluation.trillion_pairs(EYE, [0, 0, 1], EYE, fpir=[0.1, 0.2])
