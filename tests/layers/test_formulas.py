"""Every head of the table, in every way of use, against the float64 formulas of head_formulas."""

import math

import keras
import numpy as np
import pytest
from gradients import differences, relative_error, value_and_gradients
from head_formulas import (
    BATCH,
    CASES,
    OPTIONS,
    batch,
    exactly,
    gradients_of,
    loss_implementations,
    make,
    monotone,
    parts,
    reference,
)
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM

EPS = float(np.finfo("float32").eps)


def test_every_head_of_the_table_has_its_formula():
    """Requires a formula for every head of the table."""
    assert {case.head for case in CASES.values()} == set(km.layers.HEADS)


@pytest.mark.parametrize("name", [*CASES, *OPTIONS])
def test_every_way_gives_the_published_loss_and_its_gradients(name):
    """Computes the published loss and its gradients in every way of use."""
    case = (CASES | OPTIONS)[name]
    head = make(case)
    embeddings, prototypes, labels = batch(head)
    exact = exactly(embeddings, prototypes)
    ways = loss_implementations(head, labels)
    for way in ways if name in CASES else ["compute_loss"]:
        # What a head's paper adds travels next to the logits, as a loss of the layer.
        formula = reference(case, embeddings, labels, added=way != "logits")
        value, gradients = gradients_of(head, ways[way], embeddings, prototypes)
        np.testing.assert_allclose(value, formula(*exact), rtol=1e-6, atol=2e-6, err_msg=way)
        for found, want in zip(gradients, differences(formula, *exact), strict=True):
            assert relative_error(found, want) < 1e-5, way


@pytest.mark.parametrize("name", ["arcface", "qamface", "magface", "curricularface", "softmax"])
def test_iam_adds_equation_7_to_heads_of_every_kind(name):
    """Adds equation 7 to heads of every kind."""
    head = make(name, auxiliary_loss=IAM(0.9))
    embeddings, prototypes, labels = batch(head, seed=1)
    exact = exactly(embeddings, prototypes)
    formula = reference(name, embeddings, labels, beta=0.9)
    value, gradients = gradients_of(head, loss_implementations(head, labels)["loss on cosines"], embeddings, prototypes)
    np.testing.assert_allclose(value, formula(*exact), rtol=2e-6, atol=3e-6)
    for found, want in zip(gradients, differences(formula, *exact), strict=True):
        assert relative_error(found, want) < 1e-5


GRID = np.concatenate([[0, 1e-3, 1e-2], np.linspace(0.03, math.pi - 0.03, 95), math.pi - np.array([1e-2, 1e-3, 0])])


def at_angles(case, length=2.0):
    """A head of two classes, embeddings at GRID from the first; the other stands upright on their plane."""
    head = make(case, num_classes=2)
    prototypes = np.array([[1.5, 0, 0, 0, 0], [0, 0, 0.8, 0, 0]])
    if len(head.prototypes.shape) == 3:
        prototypes = np.repeat(prototypes[:, None], head.prototypes.shape[1], axis=1)
    embeddings = np.zeros((len(GRID), 5))
    embeddings[:, 0], embeddings[:, 1] = length * np.cos(GRID), length * np.sin(GRID)
    # At pi exactly: the float32 sine of pi is -8.7e-8, an angle of its own.
    embeddings[-1, 1] = 0
    return head, embeddings.astype("float32"), prototypes.astype("float32"), np.zeros(len(GRID), "int32")


def slopes(function, x, step=1e-6):
    """Central differences of each sample's own loss: next to others' a loss of 1e-9 would drown."""
    steps = step * np.eye(x.shape[1])
    return np.stack([(function(x + each) - function(x - each)) / (2 * step) for each in steps], axis=1)


@pytest.mark.parametrize("name", [name for name in CASES | OPTIONS if name != "subcenter_arcface"])
def test_the_formula_holds_on_a_grid_of_angles(name):
    """Equals the formula on a fine grid of angles and at both ends."""
    case = (CASES | OPTIONS)[name]
    head, embeddings, prototypes, labels = at_angles(case)
    exact = exactly(embeddings, prototypes)
    formula = reference(case, embeddings, labels)
    target, log_negatives, _ = parts(case, embeddings, labels)(*exact)
    value, (gradient, _) = gradients_of(
        head, loss_implementations(head, labels)["compute_loss"], embeddings, prototypes
    )
    wanted = formula(*exact)
    # A head's logits are sums and products of numbers as large as its largest logit v: each is known to a few eps v.
    # The loss depends on their difference d with slope 1 - p; where it is tiny, the slope is as tiny.
    logit_error = 4 * EPS * max(np.max(np.abs(target)), np.max(np.abs(log_negatives)))
    slope = 1 / (1 + np.exp(target - log_negatives))
    excess = np.abs(value - wanted) / (1e-6 * np.abs(wanted) + slope * logit_error)
    assert np.max(excess) <= 1, f"{np.max(excess):.2f} at {GRID[np.argmax(excess)]}"
    if name not in ("arcface beyond none", "arcface beyond linear"):
        assert np.all(np.diff(value) > -2 * logit_error) and value[-1] > value[0] + 1
    wanted = slopes(lambda x: formula(x, exact[1]), exact[0])
    assert np.all(np.isfinite(gradient))
    # The gradient is slope times a tangent; the slope is known to d's error, the tangent, a difference of unit vectors
    # of length sin(theta), to eps. At 0 and pi themselves it has no direction, at the jump of "linear" no size.
    size = np.maximum(np.max(np.abs(wanted), axis=1), slope)
    allowed = size * (1e-5 + logit_error + EPS / np.maximum(np.sin(GRID), EPS)) + 1e-8
    smooth = (np.abs(GRID - math.pi / 2) < math.pi / 2) & (size < 1e3)
    assert np.sum(~smooth) <= 2 + ("linear" in name)
    excess = np.where(smooth, np.max(np.abs(gradient - wanted), axis=1) / allowed, 0)
    assert np.max(excess) <= 1, f"{np.max(excess):.2f} at {GRID[np.argmax(excess)]}"


def test_what_magface_adds_is_added_to_the_model_s_losses():
    """Adds MagFace's regularization to the model's losses."""
    head = make("magface", auxiliary_loss=IAM(0.5))
    embeddings, prototypes, labels = batch(head, seed=2)
    head.prototypes.assign(prototypes)
    head(embeddings, ops.array(labels, "int32"))
    exact = exactly(embeddings, prototypes)
    bare = reference("magface", embeddings, labels, added=False)
    wanted = np.mean(reference("magface", embeddings, labels, beta=0.5)(*exact) - bare(*exact))
    assert float(ops.convert_to_numpy(head.losses[0])) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["softmax", "l2softmax"])
def test_the_bias_has_the_gradient_of_a_softmax(name):
    """Gives the bias the gradient of a softmax."""
    head = make(name)
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)
    found = {}
    for way, function in loss_implementations(head, labels).items():

        def of_bias(bias, function=function):
            with keras.StatelessScope(state_mapping=[(head.bias, bias)]):
                return function(ops.array(embeddings))

        _, (found[way],) = value_and_gradients(of_bias, CASES[name].state["bias"], jit=False)
    x = np.asarray(embeddings, "float64")
    x = x if name == "softmax" else 10 * x / np.linalg.norm(x, axis=1, keepdims=True)
    logits = x @ np.asarray(prototypes, "float64").T + CASES[name].state["bias"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = (p - np.eye(len(prototypes))[labels]).sum(axis=0)
    assert all(relative_error(gradient, wanted) < 1e-5 for gradient in found.values())


def test_plain_softmax_has_its_gradient_at_a_zero_embedding():
    """Gives plain softmax its gradient at a zero embedding."""
    head = make("softmax")
    embeddings, prototypes, labels = batch(head)
    embeddings[2] = 0
    _, (gradient, _) = gradients_of(head, loss_implementations(head, labels)["compute_loss"], embeddings, prototypes)
    formula = reference("softmax", embeddings, labels)
    wanted, _ = differences(formula, *exactly(embeddings, prototypes))
    assert np.max(np.abs(wanted[2])) > 0.1
    assert relative_error(gradient[2], wanted[2]) < 1e-5


def test_straight_through_keeps_the_value_with_slope_one():
    """Keeps the value straight through, and gives the target cosine a slope of one."""
    head, straight = make("arcface"), make("arcface", gradient="straight_through")
    embeddings, prototypes, labels = batch(head, seed=6)
    exact = exactly(embeddings, prototypes)
    value, _ = gradients_of(head, loss_implementations(head, labels)["compute_loss"], embeddings, prototypes)

    def with_frozen_margin(x, w):
        """The loss whose target is cos + (psi - cos), the bracket held at the batch's own values."""
        cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
        rows = np.arange(BATCH)
        logits = 16 * cosines
        logits[rows, labels] = 16 * (cosines[rows, labels] + frozen)
        return np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels]

    x, w = exact
    own = np.sum(x / np.linalg.norm(x, axis=1, keepdims=True) * w[labels], axis=1) / np.linalg.norm(w[labels], axis=1)
    frozen = monotone(np.arccos(own) + 0.5) - own
    wanted = differences(with_frozen_margin, *exact)
    for way, function in loss_implementations(straight, labels).items():
        found, gradients = gradients_of(straight, function, embeddings, prototypes)
        np.testing.assert_allclose(found, value, rtol=1e-6)
        assert all(relative_error(got, want) < 1e-5 for got, want in zip(gradients, wanted, strict=True)), way
