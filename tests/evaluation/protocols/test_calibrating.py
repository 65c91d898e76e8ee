"""Tests of evaluation.protocols.calibrate: which pairs a calibration is judged on."""

import math

import numpy as np
import pytest

pytest.importorskip("tensorflow")
from keras_margin import data
from keras_margin.evaluation import protocols
from keras_margin.evaluation._logistic import fit_logistic

pytestmark = pytest.mark.tensorflow_only

_PAIRS = 400


def bin_of_pairs(path):
    """Writes a .bin and returns (protocol, embeddings, scores, is_same)."""
    rng = np.random.default_rng(0)
    is_same = np.arange(_PAIRS) % 2 == 0
    # The angle of a pair: smaller of one person, and growing from fold to fold.
    angle = np.where(is_same, 1.0, 1.4) + 0.25 * rng.normal(size=_PAIRS) + 0.3 * np.arange(_PAIRS) / _PAIRS
    embeddings = np.zeros((2 * _PAIRS, 2))
    embeddings[0::2, 0] = 1
    embeddings[1::2] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    data.write_bin(path, np.zeros((2 * _PAIRS, 4, 4, 3), np.uint8), is_same)
    return protocols.load_protocol(path, image_size=(4, 4)), embeddings, np.cos(angle), is_same


def test_pairs_without_names_are_judged_by_the_sets_folds(tmp_path):
    """Of a .bin the held-out pairs are those of each of its ten folds, and the fit is on the other nine."""
    protocol, embeddings, scores, is_same = bin_of_pairs(tmp_path / "set.bin")
    llr = np.empty(_PAIRS)
    for fold in range(10):
        judged = np.arange(_PAIRS) // 40 == fold
        slope, intercept = fit_logistic(scores[~judged], is_same[~judged] * 1.0, 1.0 - is_same[~judged])
        llr[judged] = np.clip(slope * scores[judged] + intercept, -math.log(201), math.log(201))
    wanted = (np.log2(1 + np.exp(-llr[is_same])).mean() + np.log2(1 + np.exp(llr[~is_same])).mean()) / 2
    found = protocols.calibrate(protocol, embeddings, method="logistic", resamples=5).report
    assert found.cllr == pytest.approx(wanted, rel=1e-6)


def test_pairs_without_names_are_called_held_out_pairs(tmp_path):
    """Where nobody says who is on the pairs the report does not speak of held-out people."""
    protocol, embeddings, _, _ = bin_of_pairs(tmp_path / "set.bin")
    said = str(protocols.calibrate(protocol, embeddings, resamples=5).report)
    assert "On held-out pairs: Cllr" in said and "people" not in said
