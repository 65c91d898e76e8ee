"""The threshold of a search among N people, from impostor pairs: order statistics, and a Pareto tail beyond them."""

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin._utils.decisions import SearchThresholds
from keras_margin.evaluation import _arrays
from keras_margin.evaluation.thresholds import lowest_above

# Exceedances of a threshold that make its FAR measured; below, single mislabelled people set it.
_MEASURED = 300
# Share of the impostor scores that the tail is fitted to, and how many it needs at least.
_TAIL, _FEWEST_IN_TAIL = 0.003, 100
# The table's FARs, eight a decade; the last is one false match in 10^11 comparisons.
_FAR = 10.0 ** -np.arange(0, 11.01, 0.125)


def fit_search_thresholds(scores: ArrayLike) -> SearchThresholds:
    """Fits the FAR of one comparison over all thresholds, of which a search's threshold follows.

    FAR(t) = share of the scores >= t                                           where 300 scores are, or 100 of few
    FAR(t) = FAR(u) (1 + shape (t - u) / scale)^(-1 / shape)  for t > u         beyond: a generalised Pareto tail

    u is the score that 0.3 % of all exceed (at least 100 scores); scale and shape are found by probability-weighted
    moments of the excesses over u: with a_0 their mean and a_1 the mean of excess * (1 - rank / n),
    shape = 2 - a_0 / (a_0 - 2 a_1), scale = 2 a_0 a_1 / (a_0 - 2 a_1).

    Args:
        scores: Real array (n,) of impostor pairs, cosines, finite; pairs of all people with all others are best.

    Returns:
        `keras_margin.runtime.SearchThresholds`.

    Raises:
        TypeError, ValueError: Not numbers, NaN, fewer than 1,000 scores, scores that do not differ.

    Example:
        >>> scores = np.random.default_rng(0).normal(0, 0.1, 1_000_000)
        >>> found = fit_search_thresholds(scores)
        >>> [round(found.threshold(size, far_per_search=0.01), 2) for size in (1, 100, 10_000)]
        [0.23, 0.37, 0.47]

    Reference: Pickands, Statistical inference using extreme order statistics, Annals of Statistics 3, 1975; Hosking and
    Wallis, Parameter and quantile estimation for the generalized Pareto distribution, Technometrics 29, 1987, eq. 6.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.dtype.kind not in "fiu":
        raise TypeError(f"scores must be numbers, shaped (n,). Received: {scores.dtype} of shape {scores.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite. Received: {(~np.isfinite(scores)).sum()} NaN or infinite.")
    if len(scores) < 10 * _FEWEST_IN_TAIL:
        raise ValueError(
            f"Search thresholds need at least {10 * _FEWEST_IN_TAIL:,} impostor scores. Received: {len(scores):,}. "
            "Score pairs of more people."
        )
    descending = np.sort(scores)[::-1].astype(np.float64)
    if descending[0] == descending[-1]:
        raise ValueError(f"Search thresholds need scores that differ. Received: {len(scores):,} of {scores[0]:g}.")
    count = max(int(_TAIL * len(scores)), _FEWEST_IN_TAIL)
    level, share = descending[count], count / len(scores)
    scale, shape = _pareto(descending[:count] - level)
    measured_to = min(_MEASURED, count) / len(scores)
    measured = lowest_above(scores, _arrays.best_refused(scores, _FAR))  # A score at the threshold is accepted.
    # expm1 and log keep their digits where the shape is near 0, of an exponential tail.
    logs = np.log(share / _FAR)
    excess = scale * (np.expm1(shape * logs) / shape if abs(shape) > 1e-9 else logs)
    cosine = np.where(measured_to <= _FAR, measured, np.maximum(level + excess, level))
    return SearchThresholds(_FAR, np.minimum(np.maximum.accumulate(cosine), 1.0), float(f"{measured_to:.3g}"))


def _pareto(excesses):
    """Returns (scale, shape) of a generalised Pareto distribution by probability-weighted moments; falling excesses."""
    # Hosking and Wallis, 1987: p_j = (j - 0.35) / n of rising excesses; here 1 - p, of falling ones.
    exceeded = (np.arange(len(excesses)) + 0.35) / len(excesses)
    first, second = excesses.mean(), (exceeded * excesses).mean()
    if first == 0:
        return 0.0, 0.0
    return 2 * first * second / (first - 2 * second), 2 - first / (first - 2 * second)
