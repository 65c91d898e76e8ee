"""Exact confidence limits of a binomial share, by the quantiles of the beta distribution; math alone."""

import math

# Terms of the continued fraction: about sqrt(a + b) are needed, and 1e6 trials take some 1,000.
_MOST_TERMS = 20_000
# A denominator of zero is replaced by the smallest number whose reciprocal is finite (Lentz's method).
_TINY = 1e-300
_EPS = 2.0**-52


def clopper_pearson(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Computes the Clopper-Pearson interval of a share.

    low  = quantile (1 - level) / 2 of Beta(successes, trials - successes + 1), 0 where successes = 0
    high = quantile (1 + level) / 2 of Beta(successes + 1, trials - successes), 1 where successes = trials

    Args:
        successes: Number in [0, trials]; a fraction is allowed, as of an effective sample size.
        trials: Number > 0; a fraction is allowed.
        level: Share of repetitions that the interval covers at least, in (0, 1).

    Returns:
        (low, high), floats in [0, 1].

    Example:
        >>> low, high = clopper_pearson(100, 100)  # (0.025 ** (1 / 100), 1.0)
        >>> round(low, 4), high
        (0.9638, 1.0)

    Reference: Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26, 1934.
    """
    tail = (1 - level) / 2
    low = _beta_quantile(tail, successes, trials - successes + 1) if successes > 0 else 0.0
    high = _beta_quantile(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return low, high


def _beta_quantile(share: float, a: float, b: float) -> float:
    """Returns x with I_x(a, b) = share, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if _incomplete_beta(middle, a, b) < share:
            low = middle
        else:
            high = middle


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Computes the regularised incomplete beta function I_x(a, b), a and b > 0."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # The continued fraction converges fast on the other side.
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Evaluates 1 + d1 / (1 + d2 / (1 + ...)) of I_x(a, b) by Lentz's method.

    d_2m     = m (b - m) x / ((a + 2 m - 1) (a + 2 m))
    d_2m + 1 = -(a + m) (a + b + m) x / ((a + 2 m) (a + 2 m + 1))
    """
    value = numerator = 1.0
    denominator = 0.0
    for term in range(1, _MOST_TERMS):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / ((1 + d * denominator) or _TINY)
        numerator = (1 + d / numerator) or _TINY
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < 4 * _EPS:
            break
    return value
