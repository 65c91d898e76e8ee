"""Fits of a log-likelihood ratio to scores, as knots of straight lines, and their band over resampled people."""

import numpy as np

from keras_margin.evaluation import _arrays, _intervals
from keras_margin.evaluation._isotonic import pool_adjacent_violators
from keras_margin.evaluation._logistic import fit_logistic

_GRID = np.linspace(-1, 1, 41)
_MOST_KNOTS = 200
# Resamples are fitted on scores in so many bins: at 1 / 2048 of a cosine, which moves no likelihood ratio visibly.
_BINS = 4096


def fit_knots(method, scores, genuine, impostor, limits, start=None):
    """Returns (knots, log-likelihood ratios) of a fit to weighted pairs."""
    if method == "logistic":
        return _line(*fit_logistic(scores, genuine, impostor, start), limits)
    is_same = genuine > 0
    lowest, highest, same, other = _pooled(scores, genuine, impostor, is_same)
    with np.errstate(divide="ignore"):
        values = np.clip(np.log(same / same.sum()) - np.log(other / other.sum()), *limits)
    knots = np.stack([lowest, highest], axis=1).ravel()
    knots, first = np.unique(knots, return_index=True)
    values = np.repeat(values, 2)[first]
    if len(knots) > _MOST_KNOTS:
        grid = knots[np.linspace(0, len(knots) - 1, _MOST_KNOTS).round().astype(int)]
        knots, values = grid, np.interp(grid, knots, values)
    return knots, values


def _pooled(scores, genuine, impostor, is_same):
    """Pools pairs, or bins that hold both kinds at once."""
    both = (genuine > 0) & (impostor > 0)
    if not both.any():
        return pool_adjacent_violators(scores, is_same, genuine + impostor)
    twice, truth = np.concatenate([scores, scores]), np.arange(2 * len(scores)) < len(scores)
    return pool_adjacent_violators(twice, truth, np.concatenate([genuine, impostor]))


def _line(slope, intercept, limits):
    """Returns the knots of a straight line between limits."""
    slope = max(slope, 1e-6)  # A resample may rank the wrong way round; a calibration never falls.
    corners = (np.array(limits) - intercept) / slope
    knots = np.unique(np.concatenate([_GRID, corners[np.abs(corners) < 1]]))
    return knots, np.clip(slope * knots + intercept, *limits)


def resampled_band(method, knots, values, scores, is_same, identities, limits, bootstrap):
    """Returns the (low, high) log-likelihood ratios at the knots, by resampled people or pairs."""
    edges = np.linspace(scores.min(), scores.max(), _BINS + 1)
    at = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, _BINS - 1)
    centers = (edges[1:] + edges[:-1]) / 2
    genuine, impostor = np.flatnonzero(is_same), np.flatnonzero(~is_same)
    weigh = _intervals._weights(genuine, impostor, identities)
    rng, drawn, start = np.random.default_rng(bootstrap.seed), [], None
    for _ in range(_arrays.check_count(bootstrap.resamples, "resamples", 1)):
        of_genuine, of_impostor = weigh(rng)
        if not (of_genuine.any() and of_impostor.any()):
            continue
        counts = np.bincount(at[genuine], of_genuine, _BINS), np.bincount(at[impostor], of_impostor, _BINS)
        if method == "logistic":
            start = fit_logistic(centers, *counts, start)
            drawn.append(np.interp(knots, *_line(*start, limits)))
        else:
            drawn.append(np.interp(knots, *fit_knots(method, centers, *counts, limits)))
    tail = (1 - bootstrap.level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return np.minimum(low, values), np.maximum(high, values)
