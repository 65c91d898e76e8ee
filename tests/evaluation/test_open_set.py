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

# Entries of unit length or with four equal entries: cosines are multiples of 1/4 without rounding, and ties abound.
EXACT = np.array([*np.eye(4), *(np.array(signs) * 3.0 for signs in itertools.product((-1, 1), repeat=4))])


def cosine(a, b):
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def searches(probe, probe_labels, gallery, gallery_labels):
    """(best mate's score or None, all scores of other people) of each probe."""
    found = []
    for x, label in zip(probe, probe_labels, strict=True):
        scores = [(cosine(x, y), other == label) for y, other in zip(gallery, gallery_labels, strict=True)]
        mates = [score for score, is_mate in scores if is_mate]
        found.append((max(mates) if mates else None, [score for score, is_mate in scores if not is_mate]))
    return found


def count_by_trial(found, fpir, within_rank):
    """The best TPIR of any threshold that keeps to the FPIR, and the ranks of the mated searches."""
    nonmated = [max(others) for mate, others in found if mate is None]
    mated = [(mate, 1 + sum(score >= mate for score in others)) for mate, others in found if mate is not None]
    rates = []
    for threshold in [math.inf, *nonmated, *(mate for mate, _ in mated), -2]:
        if sum(score >= threshold for score in nonmated) / len(nonmated) <= fpir:
            rates.append(sum(mate >= threshold and rank <= within_rank for mate, rank in mated) / len(mated))
    return max(rates), [rank for _, rank in mated]


rows = st.lists(st.integers(0, len(EXACT) - 1), min_size=2, max_size=9)


@few
@given(rows, rows, st.integers(1, 3), st.sampled_from([0.3, 0.5, 1.0]), st.integers(0, 9))
def test_rates_are_those_of_every_search_counted(probes, entries, within_rank, fpir, seed):
    """Computes the rates that counting every search gives."""
    generator = np.random.default_rng(seed)
    probe, gallery = EXACT[probes], EXACT[entries]
    # Person 0 is in the gallery and among the probes, person 9 among the probes alone.
    probe_labels = [0, 9, *generator.integers(0, 4, len(probes) - 2).tolist()]
    gallery_labels = [0, *generator.integers(0, 3, len(entries) - 1).tolist()]
    within_rank = min(within_rank, len(gallery))
    expected, ranks = count_by_trial(searches(probe, probe_labels, gallery, gallery_labels), fpir, within_rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = evaluation.open_set_identification(
            probe, probe_labels, gallery, gallery_labels, [fpir, 1.0], len(gallery), within_rank
        )
    assert result.tpir[0] == expected
    assert result.cmc.tolist() == [sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, len(gallery) + 1)]
    assert (result.num_mated, result.num_nonmated) == (len(ranks), len(probe) - len(ranks))
    assert result.threshold[1] < -1


def test_a_search_counts_once_for_all_wrong_candidates():
    """Counts a search once, however many wrong candidates it raises."""
    # One nonmated probe close to three entries: pooled impostor scores would call that three false positives.
    gallery = np.array([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [1.0, 0.2, 0.0], [0.0, 0.0, 1.0]])
    probe = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.2, 1.0]])
    result = evaluation.open_set_identification(probe, [8, 9, 3], gallery, [0, 1, 2, 3], fpir=0.5, max_rank=1)
    assert result.tpir.tolist() == [1.0] and result.threshold[0] < 0.98


def test_ijb_averages_the_galleries_and_pools_the_ranks():
    """Averages IJB's galleries, and pools their ranks."""
    generator = np.random.default_rng(2)
    unit, ids = generator.normal(size=(30, 4)), np.arange(100, 130)
    probe = (ids[:18], np.arange(18) % 6)
    galleries = [(ids[18:24], np.array([0, 1, 2, 7, 8, 9])), (ids[24:30], np.array([3, 4, 5, 10, 11, 12]))]
    result = evaluation.ijb_identification(unit, ids, probe, galleries, fpir=[0.2], max_rank=3)
    tpirs, ranks = [], []
    for templates, subjects in galleries:
        tpir, some = count_by_trial(searches(unit[:18], probe[1], unit[templates - 100], subjects), 0.2, 1)
        tpirs.append(tpir)
        ranks += some
    assert result.tpir.tolist() == pytest.approx([sum(tpirs) / 2])
    assert result.cmc.tolist() == pytest.approx([sum(rank <= k for rank in ranks) / 18 for k in (1, 2, 3)])
    assert result.threshold.shape == (2, 1) and (result.num_mated, result.num_nonmated) == (18, 18)


def test_an_fpir_too_low_warns_at_the_callers_line():
    """Warns at the caller's line of an FPIR below what the nonmated searches can show."""
    arguments = np.eye(3), [0, 1, 2], np.eye(3)[:2], [0, 1]
    with pytest.warns(UserWarning, match="FPIR=0.01 is below 1 / 1 = 1: 1 nonmated searches cannot show it") as record:
        evaluation.open_set_identification(*arguments, max_rank=2)
    assert [warning.filename for warning in record] == [__file__]
    with pytest.warns(UserWarning) as record:
        evaluation.ijb_identification(np.eye(3), [0, 1, 2], ([0, 1, 2], [0, 1, 2]), [([0, 1], [0, 1])], max_rank=1)
    assert [warning.filename for warning in record] == [__file__]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probe_labels": [0, 1, 1]}, "no nonmated one. Use cmc for a closed set"),
        ({"probe_labels": [5, 6, 7]}, "no mated one. Check the labels"),
        ({"fpir": 0}, "fpir must be in (0, 1]"),
        ({"max_rank": 3}, "max_rank must be in [1, 2]"),
        ({"within_rank": 2}, "within_rank must be in [1, 1]"),
        ({"gallery": np.zeros((2, 3))}, "gallery must not be zero"),
    ],
)
def test_open_set_refuses(change, words):
    """Refuses invalid input."""
    arguments = {"probe": np.eye(3), "probe_labels": [0, 1, 2], "gallery": np.eye(3)[:2], "gallery_labels": [0, 1]}
    with pytest.raises(ValueError, match=re.escape(words)):
        evaluation.open_set_identification(**({**arguments, "fpir": 1.0, "max_rank": 1} | change))


def test_ijb_refuses_templates_without_images_and_no_gallery():
    """Refuses templates without images, and an empty gallery."""
    with pytest.raises(ValueError, match="Each named template needs images"):
        evaluation.ijb_identification(np.eye(2), [0, 1], ([0, 5], [0, 1]), [([1], [1])], fpir=1.0, max_rank=1)
    with pytest.raises(ValueError, match="at least one gallery"):
        evaluation.ijb_identification(np.eye(2), [0, 1], ([0], [0]), [])
