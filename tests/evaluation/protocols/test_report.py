"""Reports read back as written; bounds hold, fail, or are refused."""

import re

import numpy as np
import pytest

from keras_margin.evaluation.protocols import report
from keras_margin.evaluation.protocols.report import Requirement

VALUES = {
    "num_genuine": 300,
    "num_impostor": 3000,
    "accuracy": 0.9875,
    "accuracy_std": 0.004,
    "accuracy_grid": 0.98,
    "accuracy_grid_std": 0.005,
    "eer": 0.0123,
    "tar_at_far_1e-02": 0.97,
    "tar_at_far_1e-02_low": 0.95,
    "tar_at_far_1e-02_high": 0.99,
    "threshold_at_far_1e-02": 0.31234,
    "tar_at_far_1e-06": 0.5,
    "threshold_at_far_1e-06": 0.9,
    "rank_1": 1.0,
    "intra_angle": 33.333,
}
HIDDEN = ("tar_at_far_1e-06", "threshold_at_far_1e-06")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("lfw.accuracy>=0.98", True),
        (" lfw.accuracy >= 0.99 ", False),
        ("lfw.eer<0.02", True),
        ("lfw.eer<=0.0123", True),
        ("lfw.eer>0.0123", False),
        ("lfw.rank_1==1", True),
        ("lfw.tar_at_far_1e-2>=0.9", True),
        ("lfw.v2.accuracy>=0.98", True),
    ],
)
def test_a_bound_holds_or_does_not(text, holds):
    """Holds or fails a bound by the value."""
    bound = Requirement.parse(text, ["lfw.v2", "lfw"])
    found, said = bound.judge(VALUES, HIDDEN)
    assert found is holds and ("NOT MET" in said) is not holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lfw.accuracy", "A requirement is SET.VALUE>=NUMBER"),
        ("lfw.accuracy>=high", "A requirement is SET.VALUE>=NUMBER"),
        ("cfp.accuracy>=0.9", "begins with a set that is evaluated and a dot: lfw"),
    ],
)
def test_what_is_no_bound_is_refused_before_anything_is_measured(text, words):
    """Refuses an invalid bound before anything is measured."""
    with pytest.raises(ValueError, match=re.escape(words)):
        Requirement.parse(text, ["lfw"])


def test_a_bound_on_a_missing_value_is_an_error():
    """Raises for a bound on a value that is missing or cannot be measured, instead of passing it."""
    with pytest.raises(ValueError, match="no value 'acuracy'. Did you mean accuracy"):
        Requirement.parse("lfw.acuracy>=0.1", ["lfw"]).judge(VALUES, HIDDEN)
    with pytest.raises(
        ValueError, match="too small to show tar_at_far_1e-06: that FAR lets fewer than 10 of its 3,000"
    ):
        Requirement.parse("lfw.tar_at_far_1e-6>=0.1", ["lfw"]).judge(VALUES, HIDDEN)


def test_values_have_their_spread_and_nan_is_not_shown():
    """Shows values with their spread, and never those that cannot be measured."""
    cells = report.shown(VALUES, HIDDEN)
    assert cells["accuracy"] == "98.75% ± 0.40%" and cells["accuracy, grid"] == "98.00% ± 0.50%"
    assert cells["TAR@FAR=1e-2"] == "97.00% [95.00%, 99.00%]" and cells["threshold, FAR=1e-2"] == "0.3123"
    assert cells["TAR@FAR=1e-6"] == cells["threshold, FAR=1e-6"] == "too few impostors"
    assert cells["impostor pairs"] == "3,000" and cells["intra angle, degrees"] == "33.33"


def whole():
    sets = {"lfw": {"path": "lfw.bin", "protocol": "verification", "images": 10, "values": VALUES, "notes": ["a note"]}}
    sets["lfw"]["unmeasurable"] = list(HIDDEN)
    finding = {"set": "lfw", "check": "channels", "level": "ok", "text": "fine"}
    arrays = {"lfw/scores": np.array([0.5, 0.25], np.float32), "lfw/is_same": np.array([True, False])}
    return report.Report(
        {"path": "face.tflite", "kind": "tflite"}, sets, [finding], [{"text": "x", "met": False}], arrays
    )


def test_a_report_reads_back_as_it_was_written(tmp_path):
    """Reads back a report as it was written."""
    whole().write(tmp_path / "face.json")
    found = report.read(tmp_path / "face.json")
    assert found.as_dict() == whole().as_dict()
    np.testing.assert_array_equal(found.arrays["lfw/scores"], whole().arrays["lfw/scores"])
    page = (tmp_path / "face.md").read_text()
    assert "| TAR@FAR=1e-2 | 97.00% [95.00%, 99.00%] |" in page and "1e-6" not in page and "x: NOT MET" in page


def test_another_json_is_no_report(tmp_path):
    """Refuses another JSON file."""
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="no report of keras-margin evaluate"):
        report.read(tmp_path / "other.json")
