import math
import warnings

import numpy as np
import pytest
from gradients import relative_error, value_and_gradients
from keras import ops

from keras_margin.losses import IAM
from keras_margin.ops.sample import LossInputs, Sample


def inputs(log_negatives, target_logit, num_classes=5):
    return LossInputs(
        Sample(None, None, None, ops.zeros(len(log_negatives), "int32"), None),
        num_classes=num_classes,
        target_logit=target_logit,
        negative_logsumexp=log_negatives,
    )


def iam(beta, num_classes=5):
    return lambda negatives, target: IAM(beta).weighted(inputs(negatives, target, num_classes))


def test_iam_is_the_log_of_the_mean_wrong_probability():
    """Computes the log of the mean wrong probability."""
    logits = np.array([[2.0, 0.5, -1.0, 0.3, 1.7], [-3.0, 4.0, 0.1, 0.2, 0.0]])
    p = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    negatives = np.log(np.exp(logits[:, 1:]).sum(axis=1))
    value, _ = value_and_gradients(iam(0.7), negatives, logits[:, 0])
    np.testing.assert_allclose(value, 0.7 * np.log((1 - p) / 4), rtol=1e-6)


def test_iam_has_the_gradients_of_equations_10_and_11():
    """Computes the gradients of equations 10 and 11."""
    # By the target logit -p, by the negatives' logsumexp +p: p_ij2 - p_ij1 summed over j != y is 1 - (1 - p).
    target, negatives = np.array([3.0, -2.0, 0.0]), np.array([1.0, 4.0, 0.0])
    p = 1 / (1 + np.exp(negatives - target))
    _, (by_negatives, by_target) = value_and_gradients(iam(1.0), negatives, target)
    assert relative_error(by_target, -p) < 1e-6
    assert relative_error(by_negatives, p) < 1e-6


def test_iam_is_exact_where_float32_rounds_1_minus_p_to_0():
    """Stays exact where float32 rounds 1 - p to 0."""
    value, gradients = value_and_gradients(iam(1.0), np.array([0.0]), np.array([200.0]))
    assert value[0] == pytest.approx(-200.0 - math.log(4), rel=1e-6)
    assert gradients[1][0] == pytest.approx(-1.0)


def test_iam_of_two_classes_is_the_other_ones_log_probability():
    """Computes the other class's log-probability for two classes."""
    value, _ = value_and_gradients(iam(1.0, num_classes=2), np.array([0.3]), np.array([1.1]))
    assert value[0] == pytest.approx(math.log(1 / (1 + math.exp(1.1 - 0.3))), rel=1e-6)


@pytest.mark.parametrize(("beta", "grows_with_p"), [(0.0, False), (0.5, False), (1.0, None), (2.0, True)])
def test_beta_shows_in_the_pull_to_the_own_class(beta, grows_with_p):
    """Equation 13: the pull is 1 - p + beta p; above 1 it grows as the class is reached."""
    target = np.linspace(-4, 4, 41)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = IAM(beta)

    def total(logit):
        zero = ops.zeros_like(logit)
        return ops.softplus(zero - logit) + loss.weighted(inputs(zero, logit))

    _, (gradient,) = value_and_gradients(total, target)
    p = 1 / (1 + np.exp(-target))
    assert relative_error(-gradient, 1 - p + beta * p) < 1e-6
    slope = np.diff(-gradient)
    assert np.all(np.abs(slope) < 1e-6) if grows_with_p is None else np.all((slope > 0) == grows_with_p)


def test_a_beta_above_one_gives_a_warning():
    """Warns of a beta above one."""
    with pytest.warns(UserWarning, match="beta=1.5 > 1"):
        IAM(1.5)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, "0.1", None])
def test_a_weight_out_of_range_is_refused(weight):
    """Refuses a weight out of range."""
    with pytest.raises(ValueError, match="IAM needs weight >= 0. Received: weight="):
        IAM(weight)
