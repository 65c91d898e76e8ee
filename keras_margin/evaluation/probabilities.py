"""How good probabilities are: Cllr, what calibration could reach at best, and the reliability diagram with its ECE."""

from dataclasses import dataclass

import numpy as np

from keras_margin._utils.decisions import checked_prior
from keras_margin.evaluation import _arrays
from keras_margin.evaluation._isotonic import isotonic_llr


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: what was said against what came true.

    Attributes:
        said: float64 (bins,), mean probability of the pairs in each bin that has any.
        true: float64 (bins,), share of genuine pairs among them, each kind weighed as the prior has it.
        weight: float64 (bins,), share of all pairs, weighed likewise; the sum is 1.
        count: int64 (bins,), how many pairs.
        prior: The prior.
        ece: Expected calibration error, sum(weight * |said - true|), in [0, 1].
    """

    said: np.ndarray
    true: np.ndarray
    weight: np.ndarray
    count: np.ndarray
    prior: float
    ece: float


def cllr(llr, is_same):
    """Computes the log-likelihood-ratio cost in bits: 0 for an oracle, 1 for a system that says nothing.

    Cllr = (mean over genuine of log2(1 + exp(-llr)) + mean over impostor of log2(1 + exp(llr))) / 2

    Args:
        llr: Real array (n,), natural
            log-likelihood ratios. -inf of an impostor and +inf of a genuine pair cost nothing.
        is_same: Bool array (n,); True is a genuine pair.

    Returns:
        Float >= 0.

    Raises:
        ValueError: NaN, lengths that differ, no genuine or no impostor pair.

    Example:
        >>> cllr([0.0, 0.0], [True, False])
        1.0

    Reference: Brummer and du Preez, Application-independent evaluation of speaker detection, Computer Speech and
    Language 20, 2006, eq. 9.
    """
    llr = np.asarray(llr, np.float64)
    is_same = _arrays.check_truth(is_same, len(llr))
    if np.isnan(llr).any():
        raise ValueError(f"llr must hold numbers. Received: {np.isnan(llr).sum()} NaN.")
    costs = np.logaddexp(0, -llr[is_same]).mean() + np.logaddexp(0, llr[~is_same]).mean()
    return float(costs / (2 * np.log(2)))


def min_cllr(scores, is_same):
    """Computes the least Cllr that a monotone calibration of these scores could have: what discrimination costs.

    The calibration is isotonic regression (pool adjacent violators) on the scores themselves; Cllr less this is what
    calibration costs.

    Args:
        scores: Real array (n,), finite; higher is more alike. Likelihood ratios will do.
        is_same: Bool array (n,); True is a genuine pair.

    Returns:
        Float in [0, 1].

    Raises:
        TypeError, ValueError: As `roc`.

    Example:
        >>> min_cllr([0.9, 0.8, 0.2], [True, True, False])
        0.0

    Reference: Brummer and du Preez, 2006, section 5.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    return cllr(isotonic_llr(scores, is_same), is_same)


def reliability(probability, is_same, prior=0.5, bins=15):
    """Computes the reliability diagram and the expected calibration error.

    Bins are of equal width. Genuine pairs weigh `prior` together and impostor pairs 1 - prior, whatever their numbers:
    the probabilities were said at that prior.

    Args:
        probability: Real array (n,) in [0, 1], of one person.
        is_same: Bool array (n,); True is a genuine pair.
        prior: In (0, 1).
        bins: Number of bins, >= 1.

    Returns:
        `Reliability`.

    Raises:
        ValueError: Probabilities out of range, lengths that differ, no genuine or no impostor pair.

    Example:
        >>> reliability([0.9, 0.9, 0.1, 0.1], [True, True, False, False]).ece
        0.1

    Reference: Guo et al., On calibration of modern neural networks, ICML 2017, eq. 3.
    """
    probability = np.asarray(probability, np.float64)
    is_same = _arrays.check_truth(is_same, len(probability))
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("reliability needs probabilities in [0, 1]. Received: others, or NaN.")
    bins = _arrays.check_count(bins, "bins", 1)
    prior = checked_prior(prior)
    weights = np.where(is_same, prior / is_same.sum(), (1 - prior) / (~is_same).sum())
    at = np.minimum((probability * bins).astype(int), bins - 1)
    weight = np.bincount(at, weights, bins)
    kept = weight > 0
    said = np.bincount(at, weights * probability, bins)[kept] / weight[kept]
    true = np.bincount(at, weights * is_same, bins)[kept] / weight[kept]
    ece = float(weight[kept] @ np.abs(said - true))
    return Reliability(said, true, weight[kept], np.bincount(at, minlength=bins)[kept], prior, round(ece, 15))
