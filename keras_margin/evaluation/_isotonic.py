"""Isotonic regression of a truth on scores: pool adjacent violators, and the likelihood ratios that it gives."""

import numpy as np


def pool_adjacent_violators(scores, is_same, weights):
    """Fits the non-decreasing function of the score that is nearest to the truth, in weighted squares.

    Args:
        scores: Real array (n,), finite.
        is_same: Bool array (n,).
        weights: float64 array (n,), >= 0, of each pair.

    Returns:
        (lowest, highest, genuine, impostor), float64 arrays (blocks,): of each block of equal values, from the lowest
        scores to the highest, its first and last score and its weight of either kind. Its value is
        genuine / (genuine + impostor).

    Reference: Barlow et al., Statistical Inference under Order Restrictions, 1972, chapter 1.
    """
    distinct, index = np.unique(scores, return_inverse=True)
    genuine = np.bincount(index, weights * is_same, len(distinct))
    impostor = np.bincount(index, weights * ~np.asarray(is_same), len(distinct))
    # No block ends inside a run of one kind, so that a run is one entry from the start.
    kind = np.where(impostor == 0, 1, np.where(genuine == 0, -1, 0))
    starts = np.flatnonzero(np.append(True, (kind[1:] != kind[:-1]) | (kind[1:] == 0)))
    genuine, impostor = np.add.reduceat(genuine, starts), np.add.reduceat(impostor, starts)
    ends = np.append(starts[1:], len(distinct)) - 1
    blocks = []
    for start, end, same, other in zip(
        starts.tolist(), ends.tolist(), genuine.tolist(), impostor.tolist(), strict=True
    ):
        # value <= value of the block before, without a division: same / other ascends with the value.
        while blocks and same * blocks[-1][3] <= blocks[-1][2] * other:
            start, _, more_same, more_other = blocks.pop()
            same, other = same + more_same, other + more_other
        blocks.append((start, end, same, other))
    start, end, genuine, impostor = (np.array(column) for column in zip(*blocks, strict=True))
    return distinct[start].astype(np.float64), distinct[end].astype(np.float64), genuine, impostor


def isotonic_llr(scores, is_same):
    """Returns the log-likelihood ratio of each pair by isotonic regression on the pairs themselves, (n,); may be inf.

    Args:
        scores: Real array (n,), finite.
        is_same: Bool array (n,), both kinds present.
    """
    lowest, _, genuine, impostor = pool_adjacent_violators(scores, is_same, np.ones(len(scores)))
    with np.errstate(divide="ignore"):
        llr = np.log(genuine / genuine.sum()) - np.log(impostor / impostor.sum())
    return llr[np.searchsorted(lowest, np.asarray(scores, np.float64), side="right") - 1]
