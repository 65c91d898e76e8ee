"""The threshold of a search among N people, from impostor pairs: order statistics, and a fitted tail beyond them."""

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin._utils.decisions import SearchThresholds
from keras_margin.evaluation import _arrays, _tail
from keras_margin.evaluation.thresholds import lowest_above

# Exceedances of a threshold that make its FAR measured; below, single mislabelled people set it.
_MEASURED = 300
# Share of the impostor scores that the tail is fitted to, and how many it needs at least. Between 0.3 % and 2 % the
# thresholds hardly differ.
_TAIL, _FEWEST_IN_TAIL = 0.01, 100
# The table's FARs, eight a decade; the last is one false match in 10^11 comparisons.
_FAR = 10.0 ** -np.arange(0, 11.01, 0.125)


def fit_search_thresholds(scores: ArrayLike) -> SearchThresholds:
    """Fits the FAR of one comparison over all thresholds, of which a search's threshold follows.

    FAR(t) = share of the scores >= t                                  where 300 scores are, or 100 of few
    ln FAR(t) = ln FAR(u) (1 + power (t - u) / scale)^(1 / power)      beyond: a generalised Weibull tail

    u is the score that 1 % of all exceed (at least 100 scores); scale and power are those of the greatest likelihood of
    the scores over u. A normal distribution has power 1/2, an exponential one 1.

    Args:
        scores: Real array (n,) of impostor pairs, cosines, finite; pairs of all people with all others are best.

    Returns:
        The table: `threshold(size, far_per_search)`, `far_per_search(size, cosine)`, `as_metadata`.

    Raises:
        TypeError, ValueError: Not numbers, NaN, fewer than 1,000 scores, scores that do not differ.

    Example:
        >>> scores = np.random.default_rng(0).normal(0, 0.1, 1_000_000)
        >>> found = fit_search_thresholds(scores)
        >>> [round(found.threshold(size, far_per_search=0.01), 2) for size in (1, 100, 10_000)]
        [0.23, 0.37, 0.48]

    Reference: de Valk, Approximation of high quantiles from intermediate quantiles, Extremes 19, 2016.
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
    tail = _tail.fit_tail(descending[:count] - level, share)
    measured_to = min(_MEASURED, count) / len(scores)
    measured = lowest_above(scores, _arrays.best_refused(scores, _FAR))  # A score at the threshold is accepted.
    excess = _tail.tail_value(np.minimum(_FAR, share), share, *tail)
    cosine = np.where(measured_to <= _FAR, measured, level + excess)
    return SearchThresholds(_FAR, np.minimum(np.maximum.accumulate(cosine), 1.0), float(f"{measured_to:.3g}"))
