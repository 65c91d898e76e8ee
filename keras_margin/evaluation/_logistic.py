"""Logistic regression of a truth on one score, by Newton's method in float64."""

import numpy as np

_MOST_STEPS = 100
# A step that lowers the loss by less than this share of it ends the search: float64 shows no more.
_EPS = 1e-14


def fit_logistic(scores, genuine, impostor, start=None):
    """Fits llr(score) = slope * score + intercept to weighted counts of both kinds, each kind worth a half.

    loss = sum_i w_i (t+ ln(1 + exp(-llr_i)) + (1 - t+) ln(1 + exp(llr_i)))   over genuine counts w, likewise impostors
    t+ = (N+ + 1) / (N+ + 2) for genuine, t- = 1 / (N- + 2) for impostor pairs: Platt's targets, which keep the slope
    finite where scores separate the kinds; N is the number of pairs of the kind.

    Args:
        scores: float64 array (n,).
        genuine: float64 array (n,): how often the score is a genuine pair's.
        impostor: float64 array (n,): how often it is an impostor pair's.
        start: (slope, intercept) to begin with, for speed; None for a guess.

    Returns:
        (slope, intercept), floats.

    Reference: Platt, Probabilistic outputs for support vector machines, 1999; Lin, Lin and Weng, A note on Platt's
    probabilistic outputs, Machine Learning 68, 2007.
    """
    num_genuine, num_impostor = genuine.sum(), impostor.sum()
    up, down = (num_genuine + 1) / (num_genuine + 2), 1 / (num_impostor + 2)
    # Of each score its whole weight and the target's weighted sum; the two kinds weigh a half each.
    weights = genuine / (2 * num_genuine) + impostor / (2 * num_impostor)
    targets = up * genuine / (2 * num_genuine) + down * impostor / (2 * num_impostor)
    center = float(weights @ scores)
    spread = float(np.sqrt(weights @ (scores - center) ** 2)) or 1.0
    x = (scores - center) / spread  # Of unit spread the two parameters are of one size.
    value = np.array([0.0, 0.0]) if start is None else np.array([start[0] * spread, start[1] + start[0] * center])
    loss = _loss(value, x, weights, targets)
    for _ in range(_MOST_STEPS):
        share = 1 / (1 + np.exp(-np.clip(value[0] * x + value[1], -700, 700)))
        residual, curvature = weights * share - targets, weights * share * (1 - share)
        gradient = np.array([residual @ x, residual.sum()])
        cross = curvature @ x
        hessian = np.array([[curvature @ x**2, cross], [cross, curvature.sum()]])
        # The smallest addition that keeps a Hessian of saturated scores invertible.
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while (lower := _loss(value - length * step, x, weights, targets)) > loss and length > 1e-10:
            length /= 2
        done = loss - lower <= _EPS * abs(loss)
        if lower <= loss:
            value, loss = value - length * step, lower
        if done:
            break
    slope = value[0] / spread
    return float(slope), float(value[1] - slope * center)


def _loss(value, x, weights, targets):
    llr = value[0] * x + value[1]
    return float(weights @ np.logaddexp(0, llr) - targets @ llr)
