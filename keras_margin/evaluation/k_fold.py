"""Verification accuracy by folds, the number of LFW and the sets that follow it: the threshold never sees its test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays

# How a fold's threshold is searched.
Search: TypeAlias = Literal["exact", "grid", "sphereface"]


@dataclass(frozen=True, eq=False)
class KFoldAccuracy:
    """Accuracy by folds, each tested with the threshold of the others.

    Attributes:
        mean: Mean of the folds' accuracies, in [0, 1].
        std: Their population standard deviation (ddof=0), as the field's scripts print it.
        accuracies: float64 (folds,).
        thresholds: float64 (folds,), as scores.
        balanced: Whether the accuracies are (TAR + 1 - FAR) / 2, because there are more pairs of one kind.

    Example:
        >>> result = k_fold_accuracy([0.9, 0.1, 0.8, 0.2], [True, False, True, False], folds=2)
        >>> isinstance(result, KFoldAccuracy), result.mean, result.accuracies.tolist()
        (True, 1.0, [1.0, 1.0])
    """

    mean: float
    std: float
    accuracies: np.ndarray
    thresholds: np.ndarray
    balanced: bool = False


def assign_folds(
    pairs: ArrayLike, labels: ArrayLike, folds: int = 10, by: Literal["identity", "pair"] = "identity", seed: int = 0
) -> np.ndarray:
    """Assigns a fold to each pair, for sets that come without published folds.

    `by="identity"` deals the people, not the pairs: the threshold is tested on people it was not chosen on, as LFW's
    view 2 does. An impostor pair of people in different folds belongs to none and gets -1. With P people it keeps
    about (P / folds - 1) / (P - 1) of the impostor pairs and needs P >= 2 * folds. `by="pair"` deals genuine and
    impostor pairs separately and keeps them all; use it where people are few, and say so, because people are shared
    between folds. The published sets (LFW, CFP-FP, AgeDB-30 ...) give their folds by the order of their pairs: they
    need no assignment, pass `folds=10` to `k_fold_accuracy`.

    Args:
        pairs: Integer array (m, 2), indices in [0, n).
        labels: Integer or string array (n,); who is on each image.
        folds: Number of folds, >= 2.
        by: "identity" or "pair".
        seed: Seed of numpy's default generator.

    Returns:
        Integer array (m,) in [-1, folds), for `k_fold_accuracy(..., folds=)`.

    Raises:
        TypeError: Pairs that are not integers, labels of another type.
        ValueError: An unknown `by`, a pair out of range, or a fold without a genuine or without an impostor pair.

    Example:
        >>> labels = np.repeat(np.arange(4), 2)
        >>> pairs, is_same = all_pairs(labels)
        >>> np.bincount(assign_folds(pairs, labels, folds=2) + 1).tolist()  # dropped, fold 0, fold 1
        [16, 6, 6]

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2.
    """
    labels = _arrays.check_labels(labels)
    pairs = _arrays.check_pairs(pairs, len(labels))
    folds = _arrays.check_count(folds, "folds", 2)
    if by not in ("identity", "pair"):
        raise ValueError(f'assign_folds deals by="identity" or by="pair". Received: by={by!r}.')
    rng = np.random.default_rng(seed)
    is_same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    if by == "identity":
        identities, index = np.unique(labels, return_inverse=True)
        fold_of = rng.permutation(np.arange(len(identities)) % folds)[index]
        first, second = fold_of[pairs].T
        fold = np.where(first == second, first, -1)
    else:
        fold = np.empty(len(pairs), np.intp)
        for kind in (is_same, ~is_same):
            fold[kind] = rng.permutation(np.arange(kind.sum()) % folds)
    _check_folds(fold, is_same, folds)
    return fold


def _check_folds(fold, is_same, folds):
    for kind, chosen in (("genuine", is_same), ("impostor", ~is_same)):
        empty = np.bincount(fold[chosen & (fold >= 0)], minlength=folds) == 0
        if empty.any():
            raise ValueError(
                f"Each fold needs genuine and impostor pairs. Received: no {kind} pair in fold {empty.argmax()} of "
                f"{folds}. Take fewer folds or more pairs, mix their order (make_pairs does), or pass folds= from "
                'assign_folds(..., by="pair").'
            )


def k_fold_accuracy(
    scores: ArrayLike, is_same: ArrayLike, folds: int | np.ndarray | Sequence[int] = 10, search: Search = "exact"
) -> KFoldAccuracy:
    """Computes verification accuracy by folds: the threshold of all other folds, tested on the one left out.

    accuracy = share of pairs judged right     with as many genuine as impostor pairs, as LFW and its like have
    accuracy = (TAR + 1 - FAR) / 2             otherwise, the balanced accuracy: each kind counts half

    Without the balance "never the same" would score 0.91 on 450 genuine and 4,500 impostor pairs.

    `search="exact"` tries the midpoint between every two neighbouring scores, and both ends. `search="grid"` tries
    the squared distances 0, 0.01 ... 3.99 of unit vectors, d = 2 - 2 * score, and accepts d < threshold: the numbers
    of insightface's script. Of equally good thresholds both take the strictest. `search="sphereface"` tries the
    cosines -1, -0.9999 ... 1 and takes the mean of the equally good ones, as SphereFace's script does; there a score
    equal to the threshold is wrong whatever it is.

    Args:
        scores: Real array (n,), finite, higher is more similar; cosines in [-1, 1] unless the search is exact.
        is_same: Bool array (n,); True is a genuine pair. 0 and 1 will do.
        folds: A number >= 2: that many runs of consecutive pairs, the first ones longer by one where n does not
            divide, which is how LFW and the `.bin` sets give their folds. Or an integer array (n,) naming each
            pair's fold, 0 to folds - 1, -1 for a pair in none (left out), as `assign_folds` returns it.
        search: "exact", "grid" or "sphereface".

    Returns:
        `KFoldAccuracy`. Its thresholds are scores: 1 - d / 2 for the grid.

    Raises:
        TypeError: Scores that are not numbers, folds that are not integers.
        ValueError: As `roc`; an unknown search, a fold without a genuine or without an impostor pair, a grid over
            scores that are not cosines.

    Example:
        >>> result = k_fold_accuracy([0.9, 0.2, 0.8, 0.1, 0.3, 0.4], [True, False] * 3, folds=3)
        >>> result.accuracies.tolist()
        [1.0, 1.0, 0.5]

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2; Brodersen et al., The balanced accuracy and its
    posterior distribution, ICPR 2010, eq. 3.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    judge = _check_search(search)
    fold, count = _fold_index(folds, len(scores))
    _check_folds(fold, is_same, count)
    balanced = bool(2 * is_same[fold >= 0].sum() != (fold >= 0).sum())
    parts = [((fold >= 0) & (fold != test), fold == test) for test in range(count)]
    return _of_folds([judge(scores.astype(np.float64), is_same, *part, balanced) for part in parts], balanced)


def centered_k_fold_accuracy(
    embeddings: ArrayLike,
    pairs: ArrayLike,
    is_same: ArrayLike,
    folds: int | np.ndarray | Sequence[int] = 10,
    search: Search = "sphereface",
) -> KFoldAccuracy:
    """Computes `k_fold_accuracy` of embeddings less their mean over the other folds, as SphereFace publishes it.

    mean_f = mean of the embeddings of both sides of every pair outside fold f, an image counted each time it occurs
    score  = cosine(a - mean_f, b - mean_f), for the pairs of all folds

    The fold's own images never enter its mean. Raw embeddings are averaged: a longer one weighs more. The published
    numbers use each image's embedding next to that of its mirror image (`combine_flips(..., how="concatenate")`).

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0; whole, not of unit length.
        pairs: Integer array (m, 2), indices in [0, n).
        is_same: Bool array (m,); True is a genuine pair. 0 and 1 will do.
        folds: As for `k_fold_accuracy`.
        search: As for `k_fold_accuracy`.

    Returns:
        `KFoldAccuracy`; its thresholds are cosines of centred embeddings, each fold's of its own centre.

    Raises:
        TypeError, ValueError: As `pair_scores` and `k_fold_accuracy`; an embedding equal to a mean, which has no
            direction left.

    Example:
        >>> x = np.array([[2.0, 9.0], [2.1, 9.0], [-2.0, 9.0], [-2.2, 9.0]])
        >>> pairs = [[0, 1], [0, 2], [2, 3], [1, 3]]
        >>> centered_k_fold_accuracy(x, pairs, [True, False] * 2, folds=2).mean
        1.0

    Reference: Liu et al., SphereFace, CVPR 2017, section 4.3; its released evaluation script.
    """
    embeddings = _arrays.check_embeddings(embeddings)
    pairs = _arrays.check_pairs(pairs, len(embeddings))
    is_same = _arrays.check_truth(is_same, len(pairs))
    judge = _check_search(search)
    fold, count = _fold_index(folds, len(pairs))
    _check_folds(fold, is_same, count)
    balanced = bool(2 * is_same[fold >= 0].sum() != (fold >= 0).sum())
    used, index = np.unique(pairs, return_inverse=True)
    rows, index = embeddings[used].astype(np.float64), index.reshape(pairs.shape)
    results = []
    for test in range(count):
        train = (fold >= 0) & (fold != test)
        times = np.bincount(index[train].ravel(), minlength=len(rows))
        centered = _without_rounding(rows - times @ rows / times.sum(), np.abs(rows).max())
        _arrays.check_embeddings(centered, f"The embeddings in pairs, less the mean outside fold {test},")
        scores = _arrays.paired_cosines(_arrays.unit_rows(centered), index)
        results.append(judge(scores, is_same, train, fold == test, balanced))
    return _of_folds(results, balanced)


def _without_rounding(centered: np.ndarray, largest: float) -> np.ndarray:
    """Rows that are zero but for the rounding of a mean of so many rows, as zeros, which have no direction."""
    rounding = len(centered) * np.finfo(np.float64).eps * largest
    return np.where((np.abs(centered) <= rounding).all(axis=1, keepdims=True), 0, centered)


def _of_folds(results, balanced):
    thresholds, accuracies = np.array(results).T
    return KFoldAccuracy(float(accuracies.mean()), float(accuracies.std()), accuracies, thresholds, balanced)


def _share_right(right: np.ndarray, is_same: np.ndarray, balanced: bool) -> float:
    """Returns the share of pairs judged right; balanced, the mean of the two kinds' shares, rounded once."""
    if not balanced:
        return right.mean()
    genuine, impostor = right[is_same], right[~is_same]
    weighted = int(genuine.sum()) * len(impostor) + int(impostor.sum()) * len(genuine)
    return weighted / (2 * len(genuine) * len(impostor))


def _judge_exact(scores, is_same, train, held_out, balanced):
    """Returns (threshold, accuracy) of one fold; so do the two functions below."""
    threshold = _best_threshold(scores[train], is_same[train], _midpoints(scores[train]), balanced)
    same = is_same[held_out]
    return threshold, _share_right((scores[held_out] >= threshold) == same, same, balanced)


# insightface's script accepts d < threshold, that is -d > -threshold; the next number up turns it into our "at least".
_GRID = np.nextafter(-np.arange(0, 4, 0.01), np.inf)


def _judge_grid(scores, is_same, train, held_out, balanced):
    values = 2 * _cosines(scores, "grid") - 2  # -d of unit vectors, so that higher is still more similar.
    threshold = _best_threshold(values[train], is_same[train], _GRID, balanced)
    same = is_same[held_out]
    return 1 + threshold / 2, _share_right((values[held_out] >= threshold) == same, same, balanced)


_COSINES = np.arange(-10_000, 10_001) / 10_000


def _judge_sphereface(scores, is_same, train, held_out, balanced):
    scores = _cosines(scores, "sphereface")
    genuine, impostor = np.sort(scores[train & is_same]), np.sort(scores[train & ~is_same])
    refused, lost = np.searchsorted(impostor, _COSINES), np.searchsorted(genuine, _COSINES, side="right")
    right = _weighted(refused, lost, impostor, genuine, balanced)
    threshold = _COSINES[right == right.max()].mean()
    held, same = scores[held_out], is_same[held_out]
    return threshold, _share_right(np.where(same, held > threshold, held < threshold), same, balanced)


_JUDGES = {"exact": _judge_exact, "grid": _judge_grid, "sphereface": _judge_sphereface}


def _check_search(search: str):
    if search not in _JUDGES:
        raise ValueError(f'search must be "exact", "grid" or "sphereface". Received: search={search!r}.')
    return _JUDGES[search]


def _cosines(scores: np.ndarray, search: Search):
    # A cosine computed in float32 may pass 1 by a few units in its last place.
    if np.abs(scores).max() > 1 + 1e-5:
        raise ValueError(
            f'search="{search}" needs cosines in [-1, 1]. Received: scores in [{scores.min():g}, {scores.max():g}]. '
            'Use pair_scores, or search="exact".'
        )
    return np.clip(scores, -1, 1)


def _midpoints(scores: np.ndarray) -> np.ndarray:
    """One threshold in every gap of the scores, strictest first, from above the highest to the lowest score."""
    distinct = np.unique(scores)[::-1]
    upper, lower = distinct[:-1], distinct[1:]
    middle = 0.5 * upper + 0.5 * lower
    # Between neighbouring floats the middle rounds to either of them, and the lower one would let `lower` in.
    middle = np.where(middle > lower, middle, upper)
    return np.concatenate([[np.nextafter(distinct[0], np.inf)], middle, distinct[-1:]])


def _best_threshold(scores, is_same, candidates, balanced):
    """Returns the first of the candidates (strictest first) with the highest accuracy."""
    genuine, impostor = np.sort(scores[is_same]), np.sort(scores[~is_same])
    refused, lost = np.searchsorted(impostor, candidates), np.searchsorted(genuine, candidates)
    return candidates[np.argmax(_weighted(refused, lost, impostor, genuine, balanced))]


def _weighted(refused, lost, impostor, genuine, balanced):
    """Returns whole numbers that rank thresholds by accuracy; shares would round."""
    return refused * len(genuine) - lost * len(impostor) if balanced else refused - lost


def _fold_index(folds: int | np.ndarray | Sequence[int], count: int) -> tuple[np.ndarray, int]:
    """Each pair's fold and the number of folds."""
    if np.ndim(folds) == 0:
        number = _arrays.check_count(folds, "folds", 2)
        return np.arange(number).repeat([len(part) for part in np.array_split(np.arange(count), number)]), number
    fold = np.asarray(folds)
    if fold.dtype.kind not in "iu":
        raise TypeError(f"folds must be a number or integers, one per pair. Received: dtype={fold.dtype}.")
    if fold.shape != (count,):
        raise ValueError(f"folds must name one fold per pair. Received: shape={fold.shape} for {count} pairs.")
    if fold.min() < -1 or not 1 <= fold.max() < count:
        raise ValueError(
            "folds must be numbered from 0, at least two of them, with -1 for pairs in none. Received: numbers in "
            f"[{fold.min()}, {fold.max()}]."
        )
    return fold.astype(np.intp), int(fold.max()) + 1
