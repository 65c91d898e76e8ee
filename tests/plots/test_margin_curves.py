"""Curves against the same float64 formulas as the heads, and against the numbers that the papers print."""

import math

import numpy as np
import pytest
from head_formulas import CASES, make, parts

import keras_margin as km
from keras_margin.plots import margin_curves

ANGLES = np.linspace(0.01, math.pi - 0.01, 60)


def exact(case, angles, norm, gap):
    """Target logit and loss of the case by its formula, float64."""
    x = norm * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    w = np.array([[1, 0], [math.cos(gap), -math.sin(gap)]])
    w = np.repeat(w[:, None], 3, axis=1) if case == "subcenter_arcface" else w
    target, log_negatives, added = parts(case, x, np.zeros(len(angles), "int64"))(x, w)
    return target, np.logaddexp(0, log_negatives - target) + added


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_head_s_curve_is_its_formula(name):
    """Equals the formula of every head."""
    head = make(name)
    curve = margin_curves.target_curve(head, ANGLES, norm=2.5, gap=0.7)
    case = name if name not in ("softmax", "l2softmax") else CASES_WITHOUT_BIAS[name]
    logit, loss = exact(case, ANGLES, 2.5, 0.7)
    largest = np.max(np.abs(logit))
    np.testing.assert_allclose(curve.logit, logit, rtol=1e-6, atol=5e-7 * largest)
    np.testing.assert_allclose(curve.loss, loss, rtol=1e-5, atol=5e-7 * largest)
    slope = (exact(case, ANGLES + 1e-6, 2.5, 0.7)[0] - exact(case, ANGLES - 1e-6, 2.5, 0.7)[0]) / 2e-6
    np.testing.assert_allclose(curve.gradient, slope, rtol=1e-5, atol=2e-5 * np.max(np.abs(slope)))


def without_bias(formula):
    return lambda b: formula(b) - formula(type(b)(0 * b.x, b.w, b.labels, b.frozen))


CASES_WITHOUT_BIAS = {}
for _name in ("softmax", "l2softmax"):
    _case = CASES[_name]
    CASES_WITHOUT_BIAS[_name] = type(_case)(_case.head, _case.options, without_bias(_case.logits))


def test_losses_are_those_printed_in_qamface_section_3_2():
    """Computes the losses of ArcFace and QAMFace that QAMFace's section 3.2 prints."""
    angles = np.array([math.pi / 3, math.pi / 6])
    arcface = margin_curves.target_curve(km.ArcFaceHead(2), angles).loss
    qamface = margin_curves.target_curve(km.QAMFaceHead(2), angles).loss
    wanted = [math.log1p(math.exp(-64 * (math.cos(t + 0.5) - math.cos(t + math.pi / 6)))) for t in angles]
    np.testing.assert_allclose(arcface, wanted, rtol=1e-5)
    # Cut after two digits: ArcFace 0.19 at the larger angle and 0.24 at the smaller, QAMFace 0.23 and 0.20.
    np.testing.assert_array_equal(np.floor(100 * np.stack([arcface, qamface])), [[19, 24], [23, 20]])


def test_qamface_s_curves_are_monotone_and_its_gradient_a_line():
    """Draws monotone curves of QAMFace, whose gradient is a line."""
    curve = margin_curves.target_curve(km.QAMFaceHead(2))
    assert len(curve.angles) == 361 and curve.angles[0] == 0 and curve.angles[-1] == pytest.approx(math.pi)
    assert np.all(np.diff(curve.logit) < 0) and np.all(np.diff(curve.loss) > 0)
    inside = np.clip(curve.angles, 1e-3, math.pi - 1e-3)
    np.testing.assert_allclose(curve.gradient, -12 * (2 * np.pi - inside - 0.5), rtol=1e-5)


def test_the_monotone_arcface_does_not_turn_back_up():
    """Falls at every angle with beyond_pi="monotone", as the printed ArcFace does not."""
    falls = {option: margin_curves.target_curve(km.ArcFaceHead(2, beyond_pi=option)) for option in ("none", "monotone")}
    assert np.max(np.diff(falls["none"].logit)) > 0.1 and np.max(falls["none"].gradient) > 1
    assert np.max(np.diff(falls["monotone"].logit)) < 1e-4


def test_a_straight_through_gradient_is_that_of_the_cosine():
    """Draws the gradient of the cosine for straight_through."""
    curve = margin_curves.target_curve(km.ArcFaceHead(2, gradient="straight_through"), ANGLES)
    np.testing.assert_allclose(curve.gradient, -64 * np.sin(ANGLES), rtol=1e-5)
    np.testing.assert_allclose(curve.logit, margin_curves.target_curve(km.ArcFaceHead(2), ANGLES).logit)


def test_a_curve_leaves_the_head_as_it_is_and_reads_its_state():
    """Reads the state of a head, and leaves it as it is."""
    head = make("sphereface")
    before = head.get_weights()
    start = margin_curves.target_curve(head, ANGLES, norm=1.0)
    assert all(np.array_equal(old, new) for old, new in zip(before, head.get_weights(), strict=True))
    head.state.step.assign(5000)
    assert margin_curves.target_curve(head, ANGLES, norm=1.0).logit[-1] < start.logit[-1] - 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2), [10.0, 90.0]), r"\[0, pi\] radians.*They are radians"),
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2), []), "needs angles"),
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2), [[0.1]]), "needs angles"),
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2), [math.nan]), "needs angles"),
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2), gap=0), "gap=0"),
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2), norm=-1), "norm=-1"),
        (lambda: margin_curves.target_curve(km.MagFaceHead(2)), "MagFaceHead depend on the embedding's length.*norm="),
        (lambda: margin_curves.target_curve(km.ArcFaceHead(2, scale=None)), "ArcFaceHead depend"),
    ],
)
def test_what_cannot_be_drawn_says_why(call, message):
    """Says why a head cannot be drawn."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()
