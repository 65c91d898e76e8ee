"""The far tail of a distribution, fitted to its highest values: a generalised Weibull tail, by maximum likelihood."""

import numpy as np

_MOST_STEPS = 200
# A step that lowers the mean loss by less than this ends the search: the estimates are far less sure than that.
_EPS = 1e-10
# Below this the power is taken for it: (y^power - 1) / power has lost no digit yet and is ln(y) to four of them.
_LEAST_POWER = 1e-4


def fit_tail(excesses, share):
    """Fits t(y) = u + scale ((y / y_u)^power - 1) / power, the value exceeded with probability exp(-y).

    y_u = -ln(share); power 1 is an exponential tail, 1/2 that of a normal distribution, 0 a logarithm. A generalised
    Pareto tail has another shape at each level u of such distributions; this one is theirs at every level.

    With z = ln(1 + power x / scale) / power the loss of an excess x = t - u is
        ln(scale) - ln(y_u) - (1 - power) z + y_u (exp(z) - 1)
    and is lowered by Newton's method, the Hessian by the gradients' outer product (Berndt et al., 1974).

    Args:
        excesses: float64 array (n,), >= 0, of the values over u.
        share: Of all values, those over u, in (0, 1).

    Returns:
        (scale, power), floats; scale 0 where the excesses are all 0.

    Reference: de Valk, Approximation of high quantiles from intermediate quantiles, Extremes 19, 2016.
    """
    level, mean = -np.log(share), excesses.mean()
    if mean == 0:
        return 0.0, 1.0
    x = excesses / mean
    value = np.array([np.log(level), 1.0])  # An exponential tail of this mean.
    loss, gradients = _loss(value, x, level)
    for _ in range(_MOST_STEPS):
        gradient = gradients.mean(axis=1)
        # The smallest addition that keeps a Hessian of equal excesses invertible.
        step = np.linalg.solve(gradients @ gradients.T / len(x) + 1e-12 * np.eye(2), gradient)
        length = 1.0
        while (lower := _loss(value - length * step, x, level))[0] > loss and length > 1e-10:
            length /= 2
        done = not loss - lower[0] > _EPS
        if lower[0] <= loss:
            value, (loss, gradients) = value - length * step, lower
        if done:
            break
    return float(np.exp(value[0]) * mean), float(value[1])


def _loss(value, x, level):
    """Returns (mean loss, its gradients (2, n) by ln(scale) and power); infinite for excesses beyond the tail's end."""
    log_scale, power = value
    power = power if abs(power) > _LEAST_POWER else _LEAST_POWER
    ratio = x / np.exp(log_scale)
    inside = 1 + power * ratio
    if inside.min() <= 0:
        return np.inf, None
    z = np.log(inside) / power
    with np.errstate(over="ignore"):  # Of a step that is too long: its loss is infinite.
        log_share = level * np.exp(z)
        loss = (log_scale - np.log(level) - (1 - power) * z + log_share - level).mean()
    if not np.isfinite(loss):
        return np.inf, None
    by_scale = -ratio / inside
    by_power = (-by_scale - z) / power
    return loss, np.stack([1 + (log_share - 1 + power) * by_scale, z + (log_share - 1 + power) * by_power])


def tail_value(shares, share, scale, power):
    """Returns by how much values of these exceedance probabilities lie over u, as `fit_tail` has it.

    Args:
        shares: float64 array, in (0, share].
        share: Probability of exceeding u.
        scale: `fit_tail`'s.
        power: `fit_tail`'s.
    """
    # expm1 and log keep their digits where the power is near 0.
    logs = np.log(np.log(shares) / np.log(share))
    return scale * (np.expm1(power * logs) / power if abs(power) > _LEAST_POWER else logs)
