"""Tests of decisions, what a device does with a file's calibration and search thresholds: NumPy formulas."""

import json
import math

import numpy as np
import pytest

from keras_margin._utils.decisions import ASK, DIFFERENT, SAME, Calibration, SearchThresholds, Zone, percent, posterior

CALIBRATION = Calibration([0.0, 0.5], [-5.0, 5.0], [-6.0, 4.0], [-4.0, 6.0], 0.5, Zone(0.2, 0.4, 1e-3, 1e-2))


@pytest.mark.parametrize("prior", [0.5, 0.01, 0.999])
def test_probability_is_bayes_formula(prior):
    """prior * ratio / (prior * ratio + 1 - prior), with the ratio on the line between the knots."""
    found = CALIBRATION.probability(0.3, prior)
    ratio = math.exp(-5 + 10 * 0.3 / 0.5)
    assert found.probability == pytest.approx(prior * ratio / (prior * ratio + 1 - prior), rel=1e-12)
    assert found.low < found.probability < found.high
    assert found.log_likelihood_ratio == pytest.approx(1.0)


def test_probabilities_of_many_cosines_are_bayes_formula():
    """One for each cosine, at the calibration's own prior, in the shape they came in."""
    cosines = np.array([[0.0, 0.3], [0.5, 0.9]])
    ratio = np.exp([[-5.0, 1.0], [5.0, 5.0]])
    np.testing.assert_allclose(CALIBRATION.probabilities(cosines), ratio / (1 + ratio), rtol=1e-12)


@pytest.mark.parametrize(("llr", "wanted"), [(-800.0, 0.0), (800.0, 1.0), (0.0, 0.25), (-40.0, math.exp(-40) / 3)])
def test_no_likelihood_ratio_overflows(llr, wanted):
    """At a prior of 1/4, a third in odds; far below, the probability keeps its digits."""
    assert posterior(llr, 0.25) == pytest.approx(wanted, rel=1e-12)


def test_beyond_the_knots_the_ratio_is_level():
    """No cosine is worth more than the calibration has seen."""
    assert CALIBRATION.log_likelihood_ratio([-1.0, 1.0]).tolist() == [-5.0, 5.0]


def test_the_prior_of_the_file_is_the_default():
    """A calibration that states a prior uses it where none is given."""
    stated = Calibration(*(getattr(CALIBRATION, name) for name in ("cosine", "llr", "low", "high")), prior=0.1)
    assert stated.probability(0.3).prior == 0.1
    assert stated.probability(0.3).probability == CALIBRATION.probability(0.3, 0.1).probability


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.97, "97 %"), (0.995, "99.5 %"), (1.0, "over 99.9 %"), (0.0, "under 0.1 %"), (0.004, "0.4 %"), (0.5, "50 %")],
)
def test_no_probability_is_called_certain(share, text):
    """Near 0 and 1 more digits are shown, and at the ends a bound."""
    assert percent(share) == text


def test_a_probability_says_its_interval_and_prior():
    """In words: the percentage, its interval, the odds."""
    assert str(CALIBRATION.probability(0.3)) == "73 % (50 to 88 %) at even odds"
    assert str(CALIBRATION.probability(0.3, 0.25)).endswith("at a prior of 0.25")


@pytest.mark.parametrize(("cosine", "verdict"), [(0.1, DIFFERENT), (0.2, ASK), (0.399, ASK), (0.4, SAME)])
def test_between_the_thresholds_a_person_is_asked(cosine, verdict):
    """The zone includes its lower end and not its upper one."""
    assert CALIBRATION.zone.verdict(cosine) == verdict


def test_a_calibration_comes_back_from_metadata():
    """JSON and back, zone and prior included."""
    metadata = {"calibration": json.loads(json.dumps(CALIBRATION.as_metadata()))}
    found = Calibration.from_metadata(metadata)
    assert found.zone == CALIBRATION.zone and found.prior == 0.5
    assert found.llr.tolist() == [-5.0, 5.0] and found.high.tolist() == [-4.0, 6.0]
    assert Calibration.from_metadata({}) is None and Calibration.from_metadata(None) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llr": [5.0, -5.0]}, "must not fall"),
        ({"cosine": [0.0]}, r"shaped \(k,\)"),
        ({"low": [0.0, float("nan")]}, "low must be finite"),
        ({"prior": 0}, "prior=0"),
        ({"zone": {"same_from": 0.4}}, "damaged"),
        ({"llr": None}, "llr must be shaped"),
    ],
)
def test_a_damaged_calibration_is_refused(changes, message):
    """Metadata that are not sound are named."""
    with pytest.raises(ValueError, match=message):
        Calibration.from_metadata({"calibration": CALIBRATION.as_metadata() | changes})


@pytest.mark.parametrize("prior", [0.0, 1.0, -1, float("nan")])
def test_a_prior_that_is_certain_is_refused(prior):
    """0 and 1 need no photograph."""
    with pytest.raises(ValueError, match="prior must be in"):
        CALIBRATION.probability(0.3, prior)


TABLE = SearchThresholds(10.0 ** -np.arange(0, 8.1, 0.1), np.arange(81) / 100, 1e-6)


@pytest.mark.parametrize(("faces", "far_per_search"), [(1, 0.01), (10, 0.1), (1000, 0.03), (100_000, 0.01)])
def test_the_threshold_of_a_search_has_the_wanted_rate(faces, far_per_search):
    """1 - (1 - FAR)^N = FPIR, with FAR = 10^(-10 cosine)."""
    threshold = TABLE.threshold(faces, far_per_search)
    assert 1 - (1 - 10 ** (-10 * threshold)) ** faces == pytest.approx(far_per_search, rel=0.005)


def test_what_a_threshold_predicts_is_its_inverse():
    """false_positive_rate(threshold(N, q)) = q."""
    assert TABLE.false_positive_rate(500, TABLE.threshold(500, 0.02)) == pytest.approx(0.02, rel=1e-6)


def test_probes_that_differ_raise_fewer_false_alarms():
    """The prediction is an upper bound: the mean over probes of 1 - (1 - FAR)^N is lower where their FARs differ."""
    far = np.array([0.0, 0.002])
    truth = np.mean(1 - (1 - far) ** 500)
    assert truth < TABLE.false_positive_rate(500, 0.3) == pytest.approx(1 - (1 - far.mean()) ** 500, rel=1e-9)


def test_knots_that_lie_close_come_back_from_metadata():
    """Cosines of an isotonic fit that differ in the eighth digit still rise in the file."""
    close = Calibration([0.1, 0.10000003, 0.4], [-1.0, -1.0, 2.0], [-2.0, -2.0, 1.0], [0.0, 0.0, 3.0])
    found = Calibration.from_metadata({"calibration": json.loads(json.dumps(close.as_metadata()))})
    np.testing.assert_array_equal(found.cosine, [0.1, 0.10000003, 0.4])


def test_search_thresholds_come_back_from_metadata():
    """JSON and back gives the same threshold."""
    found = SearchThresholds.from_metadata({"search": json.loads(json.dumps(TABLE.as_metadata()))})
    assert found.threshold(70, 0.01) == pytest.approx(TABLE.threshold(70, 0.01), rel=1e-5)
    assert found.measured_to == 1e-6 and SearchThresholds.from_metadata({}) is None


def test_search_thresholds_are_said_as_far_as_they_reach():
    """At FPIR 0.01 among N, FAR 0.01 / N: cosine 0.3 for 10 by this table; a table that ends at 1e-4 has two sizes."""
    assert str(TABLE) == (
        "of a search, to name one stranger in a hundred: cosine 0.300 among 10, 0.400 among 100, 0.500 among 1,000, "
        "0.600 among 10,000 faces"
    )
    short = SearchThresholds(TABLE.far[:41], TABLE.cosine[:41], 1e-3)
    assert str(short).endswith("cosine 0.300 among 10, 0.400 among 100 faces")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TABLE.threshold(10, 0.0), "far_per_search=|Received: 0.0"),
        (lambda: TABLE.threshold(0, 0.1), "at least one embedding"),
        (lambda: TABLE.threshold(1, 1e-12), "reach an FPIR of 1e-08"),
        (lambda: SearchThresholds([1e-2, 1e-1], [0.1, 0.2], 1e-2), "FARs that fall"),
        (lambda: SearchThresholds([1e-1, 1e-2], [0.2, 0.1], 1e-2), "do not fall"),
        (lambda: SearchThresholds.from_metadata({"search": {"far": [1.0]}}), "damaged"),
    ],
)
def test_searches_that_cannot_be_told_of_are_refused(call, message):
    """Each error names the rule and what came."""
    with pytest.raises(ValueError, match=message):
        call()
