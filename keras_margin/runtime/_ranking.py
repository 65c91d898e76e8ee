"""From scores of rows to people: the best row of each, best first."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Match:
    """A person found.

    Attributes:
        name: Who.
        score: Cosine to the nearest of their embeddings, in [-1, 1].

    Example:
        >>> gallery = Gallery(2)
        >>> gallery.enroll("Ada", np.array([3.0, 4.0]))
        >>> gallery.search(np.array([0.6, 0.8]))[0][0].name
        'Ada'
    """

    name: str
    score: float


def best_rows(scores, wanted):
    """Returns (rows, their scores), each (n, wanted), in no order, of the highest of scores (n, rows)."""
    if wanted == 1:
        best = scores.argmax(axis=1)[:, None]
    else:
        best = np.argpartition(scores, scores.shape[1] - wanted, axis=1)[:, scores.shape[1] - wanted :]
    return best, np.take_along_axis(scores, best, axis=1)


def indexed_rows(index, rows, probes, wanted):
    """As `best_rows`, of what an index finds; scores are computed again from the rows, -inf where it found fewer."""
    found = index.search(probes, wanted)
    scores = np.einsum("nd,nkd->nk", probes, rows[np.maximum(found, 0)])
    return found, np.where(found >= 0, scores, -np.inf)


def matches(rows, scores, people, names, k, threshold):
    """Returns at most k `Match`es, best first, of rows (m,) with these scores; a person counts once."""
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique(people[rows[order]], return_index=True)
    chosen = order[np.sort(first)[:k]]
    return [
        Match(names[people[rows[at]]], float(np.clip(scores[at], -1.0, 1.0)))
        for at in chosen
        if scores[at] >= threshold and scores[at] > -np.inf
    ]


def decided(count, threshold, far_per_search, thresholds):
    """Returns the threshold of a search among `count` rows: what was given, or that of a wanted rate."""
    if far_per_search is None:
        return -np.inf if threshold is None else threshold
    if threshold is not None:
        raise ValueError(
            f"search takes a threshold or far_per_search. Received: threshold={threshold} and "
            f"far_per_search={far_per_search}."
        )
    if thresholds is None:
        raise ValueError(
            f"far_per_search={far_per_search} needs search thresholds, and the file has none. Add them: "
            "keras-margin calibrate FILE PAIRS, with images of at least ten people; or pass a threshold."
        )
    return thresholds.threshold(count, far_per_search)
