"""Confidence intervals of TAR at a FAR: resampled people or pairs, and exact binomial limits at the ends."""

from dataclasses import dataclass

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays
from keras_margin.evaluation._binomial import clopper_pearson


@dataclass(frozen=True)
class Bootstrap:
    """Settings of a bootstrap.

    Attributes:
        resamples: How many times, >= 1; the ends of a 95 % interval rest on a fortieth of them.
        level: Share of the resampled values between the ends, in (0, 1).
        seed: Seed of numpy's default generator.

    Example:
        >>> few = Bootstrap(resamples=200, seed=1)
        >>> scores, is_same = np.r_[np.linspace(0.4, 1, 100), np.linspace(0, 0.5, 100)], np.arange(200) < 100
        >>> (low,), (high,) = tar_interval(scores, is_same, [0.1], bootstrap=few)
        >>> low < tar_at_far(scores, is_same, 0.1) < high
        True
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0


DEFAULT_BOOTSTRAP = Bootstrap()


def tar_interval(
    scores: ArrayLike,
    is_same: ArrayLike,
    far: float | ArrayLike,
    identities: ArrayLike | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> tuple[list[float], list[float]]:
    """Computes a confidence interval of TAR at a FAR: the wider of a bootstrap and exact binomial limits.

    Bootstrap by identity: P people are drawn from the P people with replacement; with c[p] the times that p was drawn,
    a genuine pair of p counts c[p] times, an impostor pair of p and q counts c[p] * c[q] times. Pairs of one person
    stand and fall together, so intervals that draw pairs are too narrow; those are what `identities=None` gives. The
    threshold is chosen again in every resample. Resamples without a genuine or without an impostor pair are left out.

    Exact limits: with v the variance of the resampled TARs, the genuine pairs are worth n = TAR * (1 - TAR) / v
    independent ones (at most as many as there are), and the limits are those of Clopper and Pearson for TAR * n of n.
    A resample of pairs that all succeed always succeeds, so at the ends the people decide: of P people with genuine
    pairs (of P genuine pairs without identities) not one of whom fails, low = ((1 - level) / 2) ** (1 / P). No lower
    limit is above that one, and no upper limit below 1 less that one.

    The intervals cover their share only where at least ten impostor pairs may be accepted, far * impostors >= 10:
    with fewer the threshold is too uncertain (`TarAtFar.measurable`).

    Args:
        scores: Real array (n,), finite; higher is more similar.
        is_same: Bool array (n,); True is a genuine pair.
        far: Wanted FARs, numbers in (0, 1], array (k,).
        identities: Integer or string array (n, 2), who is on either side of each pair; or None.
        bootstrap: `Bootstrap`.

    Returns:
        (low, high): lists of k floats in [0, 1].

    Raises:
        TypeError, ValueError: As `roc`; identities that contradict is_same, a level outside (0, 1), fewer than half
            of the resamples with both kinds of pair.

    Example:
        >>> scores, is_same = np.linspace(1, 0, 200), np.arange(200) < 100  # No genuine pair of 100 fails.
        >>> low, high = tar_interval(scores, is_same, [0.1])
        >>> round(low[0], 4), high[0]  # 0.025 ** (1 / 100)
        (0.9638, 1.0)

    Reference: Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap, 2004;
    Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data, Survey Methodology 24, 1998.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    far = np.atleast_1d(_arrays.check_far(far))
    resamples = _arrays.check_count(bootstrap.resamples, "resamples", 1)
    if not 0 < bootstrap.level < 1:
        raise ValueError(f"level must be in (0, 1). Received: level={bootstrap.level}. 95 % is 0.95.")
    identities = _check_identities(identities, is_same)
    drawn = _resampled_tars(scores, is_same, far, identities, bootstrap)
    if 2 * len(drawn) < resamples:
        raise ValueError(
            f"A bootstrap needs both kinds of pair in its resamples. Received: {resamples - len(drawn)} of {resamples} "
            "without. Score pairs of more people, or pass bootstrap=None."
        )
    ends = np.quantile(drawn, [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2], axis=0)
    tar = _arrays.tar_above(scores[is_same], _arrays.best_refused(scores[~is_same], far))
    num_genuine = int(is_same.sum())
    people = num_genuine if identities is None else len(np.unique(identities[is_same, 0]))
    limits = [
        _exact_limits(share, variance, num_genuine, people, bootstrap.level)
        for share, variance in zip(tar.tolist(), np.var(drawn, axis=0).tolist(), strict=True)
    ]
    low, high = np.transpose(limits)
    return np.minimum(ends[0], low).tolist(), np.maximum(ends[1], high).tolist()


def _exact_limits(tar: float, variance: float, num_genuine: int, people: int, level: float) -> tuple[float, float]:
    """Returns (low, high) by Clopper and Pearson, as `tar_interval` describes them."""
    if tar in (0.0, 1.0):
        trials: float = people
    else:
        trials = num_genuine if variance == 0 else min(max(tar * (1 - tar) / variance, 1.0), num_genuine)
    low, high = clopper_pearson(tar * trials, trials, level)
    without_failure = ((1 - level) / 2) ** (1 / people)
    return min(low, without_failure), max(high, 1 - without_failure)


def _resampled_tars(
    scores: np.ndarray, is_same: np.ndarray, far: np.ndarray, identities: np.ndarray | None, bootstrap: Bootstrap
):
    """Returns the TARs (k,) of every resample that has both kinds of pair."""
    order = np.argsort(-scores, kind="stable")
    genuine, impostor = order[is_same[order]], order[~is_same[order]]
    weigh = _weights(genuine, impostor, identities)
    negative = -scores[genuine]
    rng, drawn = np.random.default_rng(bootstrap.seed), []
    for _ in range(bootstrap.resamples):
        of_genuine, of_impostor = (np.cumsum(weights) for weights in weigh(rng))
        if of_genuine[-1] and of_impostor[-1]:
            allowed = _arrays.most_accepted(far, of_impostor[-1])
            refused = np.searchsorted(of_impostor, allowed, side="right")
            bound = np.append(-scores[impostor], np.inf)[refused]
            accepted = np.append(0, of_genuine)[np.searchsorted(negative, bound)]
            drawn.append(accepted / of_genuine[-1])
    return drawn


def _weights(genuine, impostor, identities):
    """Returns a function of a generator: how often a resample holds each genuine and each impostor pair."""
    if identities is None:
        count = len(genuine) + len(impostor)

        def weigh(rng):
            times = np.bincount(rng.integers(count, size=count), minlength=count)
            return times[genuine], times[impostor]
    else:
        own, (first, second) = identities[genuine, 0], identities[impostor].T
        count = int(identities.max()) + 1

        def weigh(rng):
            times = np.bincount(rng.integers(count, size=count), minlength=count)
            return times[own], times[first] * times[second]

    return weigh


def _check_identities(identities: ArrayLike | None, is_same: np.ndarray) -> np.ndarray | None:
    """Returns identities as indices (n, 2), or None; ValueError where they contradict the truth."""
    if identities is None:
        return None
    identities = np.asarray(identities)
    if identities.shape != (len(is_same), 2):
        raise ValueError(
            f"identities must be shaped (n, 2), both sides of each pair. Received: {identities.shape} for "
            f"{len(is_same)} pairs."
        )
    _arrays.check_labels(identities[:, 0], name="identities")
    wrong = (identities[:, 0] == identities[:, 1]) != is_same
    if wrong.any():
        first = wrong.argmax()
        raise ValueError(
            f"Labels and is_same must agree. Received: {wrong.sum()} pairs where they do not, the first is pair "
            f"{first}: {identities[first].tolist()} with is_same={bool(is_same[first])}."
        )
    return _as_indices(identities)


def _as_indices(identities: np.ndarray) -> np.ndarray:
    """Returns the same identities numbered from 0 without gaps."""
    if identities.dtype.kind in "iu" and int(identities.max()) - int(identities.min()) < 4 * identities.size:
        # A table instead of a sort, which takes longer than everything else on millions of pairs.
        shifted = (identities - identities.min()).astype(np.intp)
        present = np.bincount(shifted.ravel()) > 0
        return (np.cumsum(present) - 1)[shifted]
    return np.unique(identities, return_inverse=True)[1].reshape(identities.shape)
