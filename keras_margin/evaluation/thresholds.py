"""What thresholds do to scores: the ROC and the numbers read off it.

A pair is accepted where `score >= threshold`. FAR is the share of impostor pairs accepted, TAR the share of genuine
pairs accepted, FRR = 1 - TAR. All metrics are exact: ties are accepted or rejected together, nothing is binned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays


@dataclass(frozen=True, eq=False)
class Roc:
    """Every operating point of a set of scores, from the strictest threshold to the most lenient.

    Attributes:
        far: float64 (m,), share of impostors with score >= threshold; rises from 0 to 1.
        tar: float64 (m,), share of genuine pairs with score >= threshold; rises from 0 to 1.
        thresholds: float64 (m,), falls; +inf (nothing accepted), then each distinct score.
        num_genuine: How many genuine pairs were scored.
        num_impostor: How many impostor pairs were scored; no FAR under 1 / num_impostor can be seen but 0.

    Example:
        >>> curve = roc([0.9, 0.5, 0.1], [True, False, True])
        >>> isinstance(curve, Roc), curve.far.tolist(), curve.tar.tolist()
        (True, [0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray
    num_genuine: int
    num_impostor: int


def roc(scores: ArrayLike, is_same: ArrayLike) -> Roc:
    """Computes the receiver operating characteristic, exact: one point per distinct score, none dropped.

    far[i] = mean(impostor_scores >= thresholds[i]); tar[i] = mean(genuine_scores >= thresholds[i])

    Args:
        scores: Real array (n,), finite; higher is more similar.
        is_same: Bool array (n,); True is a genuine pair. 0 and 1 will do.

    Returns:
        `Roc`, from the point (0, 0) at threshold +inf to (1, 1) at the lowest score.

    Raises:
        TypeError: Scores that are not numbers.
        ValueError: NaN or infinite scores, lengths that differ, no genuine or no impostor pair, is_same not 0 or 1.

    Example:
        >>> curve = roc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
        >>> curve.far.tolist(), curve.tar.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])

    Reference: Fawcett, An introduction to ROC analysis, 2006, algorithm 1.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    # A sort of bare values and a search for the few genuine ones take a fraction of an argsort with its gathers; what
    # follows works in place, because new memory costs more than the arithmetic.
    ordered = np.sort(scores)
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    distinct = ordered[starts]
    far, tar, thresholds = np.empty((3, len(distinct) + 1))
    thresholds[0], thresholds[1:] = np.inf, distinct[::-1]
    genuine = np.sort(scores[is_same])
    tar[:] = 0
    np.add.at(tar, len(distinct) - np.searchsorted(distinct, genuine), 1)
    np.cumsum(tar, out=tar)
    far[0] = 0
    np.subtract(len(ordered), starts[::-1], out=far[1:])
    far -= tar
    num_genuine, num_impostor = len(genuine), len(ordered) - len(genuine)
    far /= num_impostor
    tar /= num_genuine
    return Roc(far, tar, thresholds, num_genuine, num_impostor)


def auc(scores: ArrayLike, is_same: ArrayLike) -> float:
    """Computes the area under the ROC, the chance that a genuine pair scores above an impostor pair.

    auc = mean(genuine > impostor) + mean(genuine == impostor) / 2, over all couples of a genuine and an impostor score

    Args:
        scores: As for `roc`.
        is_same: As for `roc`.

    Returns:
        Float in [0, 1].

    Raises:
        TypeError, ValueError: As `roc`.

    Example:
        >>> auc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
        0.875

    Reference: Hanley and McNeil, Radiology 143, 1982.
    """
    curve = roc(scores, is_same)
    return float(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1])) / 2)


def eer(scores: ArrayLike, is_same: ArrayLike) -> float:
    """Computes the equal error rate: the error where FAR = FRR.

    Thresholds give a staircase of (FAR, FRR) points. Where none of them has FAR = FRR, the two points on either side
    are joined by a straight line and the EER is where it crosses FAR = FRR. That is the crossing of the linearly
    interpolated ROC; scripts that print min(max(FAR, FRR)) or a mean of the two differ by up to a step.

    Args:
        scores: As for `roc`.
        is_same: As for `roc`.

    Returns:
        Float in [0, 1]; 0.5 is chance, above it the scores rank the wrong way round.

    Raises:
        TypeError, ValueError: As `roc`.

    Example:
        >>> eer([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
        0.25

    Reference: ISO/IEC 19795-1, equal error rate.
    """
    curve = roc(scores, is_same)
    surplus = curve.far - (1 - curve.tar)  # rises from -1 to 1
    right = int(np.argmax(surplus >= 0))
    share = surplus[right - 1] / (surplus[right - 1] - surplus[right])
    return float(curve.far[right - 1] + share * (curve.far[right] - curve.far[right - 1]))


@overload
def tar_at_far(scores: ArrayLike, is_same: ArrayLike, far: float) -> float: ...


@overload
def tar_at_far(scores: ArrayLike, is_same: ArrayLike, far: Sequence[float] | np.ndarray) -> np.ndarray: ...


def tar_at_far(scores: ArrayLike, is_same: ArrayLike, far: float | Sequence[float] | np.ndarray) -> float | np.ndarray:
    """Computes the highest TAR among thresholds whose FAR is at most `far`; no interpolation.

    Args:
        scores: As for `roc`.
        is_same: As for `roc`.
        far: Wanted FAR in (0, 1], a number or an array of them. Under 1 / impostors the only FAR that the data can
            show is 0: the answer stands, and a warning says that it claims more than it knows.

    Returns:
        Float in [0, 1], or float64 array shaped like `far`.

    Raises:
        TypeError, ValueError: As `roc`; and a `far` outside (0, 1].

    Example:
        >>> tar_at_far([0.9, 0.8, 0.3, 0.1], [True, False, True, False], far=0.5)
        1.0

    Reference: Maze et al., IARPA Janus Benchmark-C, ICB 2018.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    refused = _refused_score(scores[~is_same], far)
    tar = _arrays.tar_above(scores[is_same], refused)
    return float(tar) if np.ndim(far) == 0 else tar


@overload
def threshold_at_far(scores: ArrayLike, is_same: ArrayLike, far: float) -> float: ...


@overload
def threshold_at_far(scores: ArrayLike, is_same: ArrayLike, far: Sequence[float] | np.ndarray) -> np.ndarray: ...


def threshold_at_far(
    scores: ArrayLike, is_same: ArrayLike, far: float | Sequence[float] | np.ndarray
) -> float | np.ndarray:
    """Computes the operating threshold to ship: the lowest whose FAR on these scores is at most `far`.

    It is the lowest observed score that keeps to the wanted FAR, as `roc` lists it; where even the highest score is
    an impostor's that must be refused, the next number above it. Accept a pair where `score >= threshold`. Measured
    on few impostors it is a guess: choose it on many more than 1 / far impostors.

    Args:
        scores: As for `roc`.
        is_same: As for `roc`.
        far: As for `tar_at_far`, with the same warning.

    Returns:
        Float, or float64 array shaped like `far`.

    Raises:
        TypeError, ValueError: As `tar_at_far`.

    Example:
        >>> threshold_at_far([0.9, 0.8, 0.3, 0.1], [True, False, True, False], far=0.5)
        0.3
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    threshold = lowest_above(scores, _refused_score(scores[~is_same], far))
    return float(threshold) if np.ndim(far) == 0 else threshold


def _refused_score(impostor: np.ndarray, far: float | ArrayLike) -> np.ndarray:
    wanted = _arrays.check_far(far)
    _arrays.warn_unmeasurable(wanted, len(impostor), stacklevel=3)
    return _arrays.best_refused(impostor, wanted)


def lowest_above(scores: ArrayLike, refused: np.ndarray) -> np.ndarray:
    """The lowest of the scores above each refused score, float64; the next number up where there is none."""
    ordered = np.sort(scores)
    ordered = np.append(ordered, np.nextafter(ordered[-1], np.array(np.inf, ordered.dtype))).astype(np.float64)
    return ordered[np.searchsorted(ordered[:-1], refused, side="right")]
