"""Whether a quality says which images will fail: errors against the share of images discarded, and what to reject."""

from dataclasses import dataclass

import numpy as np

from keras_margin.evaluation import _arrays


@dataclass(frozen=True, eq=False)
class ErrorVersusDiscard:
    """FNMR of what is left when the worst images are discarded, at a fixed threshold.

    Attributes:
        discarded: float64 (m,), share of the images discarded, rising from 0.
        fnmr: float64 (m,), share of the remaining genuine pairs that are refused.
        area: Area under the curve over its range, divided by the range: the mean FNMR; lower is better.
        random: The same of a quality that says nothing, the FNMR of all pairs.
        threshold: Of the pairs.
    """

    discarded: np.ndarray
    fnmr: np.ndarray
    area: float
    random: float
    threshold: float


def error_versus_discard(scores, is_same, pairs, quality, threshold, most=0.3):
    """Computes the error-versus-discard curve of a quality.

    A pair is as good as its worse image. At each share d, the d * n images of lowest quality are discarded and with
    them all pairs of theirs; the threshold stays. Images of equal quality go in the order of their numbers.

    Args:
        scores: Real array (n,), finite; higher is more alike.
        is_same: Bool array (n,); True is a genuine pair.
        pairs: Integer array (n, 2), the images of each pair, in [0, images).
        quality: Real array (images,), finite; higher is better.
        threshold: A pair is accepted where score >= threshold.
        most: Largest share to discard, in (0, 1).

    Returns:
        `ErrorVersusDiscard`; it ends before the last genuine pair goes.

    Raises:
        TypeError, ValueError: As `roc`; qualities that are not finite or all equal, shapes that differ, a share out of
            range.

    Example:
        >>> pairs, is_same = np.array([[0, 1], [2, 3], [0, 2]]), [True, True, False]
        >>> found = error_versus_discard([0.9, 0.2, 0.1], is_same, pairs, [1.0, 1.0, 0.5, 0.1], 0.5, most=0.5)
        >>> found.discarded.tolist(), found.fnmr.tolist()
        ([0.0, 0.25, 0.5], [0.5, 0.0, 0.0])

    Reference: Grother and Tabassi, Performance of biometric quality measures, PAMI 29, 2007; Schlett et al.,
    Considerations on the evaluation of biometric quality assessment algorithms, 2023.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    quality = check_quality(quality)
    pairs = _arrays.check_pairs(pairs, len(quality))
    if len(pairs) != len(scores):
        raise ValueError(f"pairs must be as many as scores. Received: {len(pairs)} pairs, {len(scores)} scores.")
    if not 0 < most < 1:
        raise ValueError(f"most must be in (0, 1), a share of the images. Received: most={most}.")
    used = np.unique(pairs)
    rank = np.full(len(quality), -1)
    rank[used[np.argsort(quality[used], kind="stable")]] = np.arange(len(used))
    # A pair goes with the first of its images: discarding k images leaves the pairs whose lower rank is >= k.
    goes = rank[pairs[is_same]].min(axis=1)
    wrong = scores[is_same] < threshold
    steps = np.arange(int(most * len(used) + 1e-9) + 1)
    left = len(goes) - np.searchsorted(np.sort(goes), steps)
    errors = wrong.sum() - np.searchsorted(np.sort(goes[wrong]), steps)
    steps, left, errors = (each[left > 0] for each in (steps, left, errors))
    discarded, fnmr = steps / len(used), errors / left
    area = float(fnmr.mean())
    if len(steps) > 1:
        area = float(((fnmr[1:] + fnmr[:-1]) / 2 * np.diff(discarded)).sum() / discarded[-1])
    return ErrorVersusDiscard(discarded, fnmr, area, float(wrong.mean()), float(threshold))


def rejection_threshold(quality, share):
    """Returns the quality below which a share of the images lies: what enrollment should refuse.

    Args:
        quality: Real array (n,), finite; of images as they will come.
        share: Share of the images to refuse, in (0, 1).

    Returns:
        Float: the largest quality with at most `share` of the images below it.

    Raises:
        TypeError, ValueError: Qualities that are not finite or all equal, a share out of range.

    Example:
        >>> rejection_threshold([1.0, 2.0, 3.0, 4.0], share=0.25)
        2.0
    """
    quality = check_quality(quality)
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1). Received: share={share}. One per cent is 0.01.")
    return float(np.sort(quality)[_arrays.most_accepted(np.float64(share), len(quality))])


def check_quality(quality):
    """Returns qualities as float64 (n,); TypeError or ValueError where they are no numbers, not finite or all equal."""
    quality = np.asarray(quality)
    if quality.dtype.kind not in "fiu":
        raise TypeError(f"quality must hold numbers. Received: dtype={quality.dtype}.")
    if quality.ndim != 1 or not quality.size:
        raise ValueError(f"quality must be shaped (n,), one an image. Received: shape={quality.shape}.")
    if not np.isfinite(quality).all():
        raise ValueError(f"quality must be finite. Received: {(~np.isfinite(quality)).sum()} NaN or infinite.")
    if quality.min() == quality.max():
        raise ValueError(
            f"quality must differ between images. Received: {len(quality)} times {quality[0]:g}. Embeddings of unit "
            "length have lost theirs: take them from the Keras file."
        )
    return quality.astype(np.float64)
