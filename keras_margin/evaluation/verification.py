"""Verification, one against one: are these two images the same person?

A pair is accepted where `score >= threshold`. FAR is the share of impostor pairs accepted, TAR the share of genuine
pairs accepted, FRR = 1 - TAR. All metrics are exact: ties are accepted or rejected together, and nothing is binned
unless a published protocol says so.
"""

import warnings
from dataclasses import dataclass

import numpy as np

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
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray
    num_genuine: int
    num_impostor: int


@dataclass(frozen=True, eq=False)
class KFoldAccuracy:
    """Accuracy by folds, each tested with the threshold of the others.

    Attributes:
        mean: Mean of the folds' accuracies, in [0, 1].
        std: Their population standard deviation (ddof=0), as the field's scripts print it.
        accuracies: float64 (folds,).
        thresholds: float64 (folds,), as scores.
    """

    mean: float
    std: float
    accuracies: np.ndarray
    thresholds: np.ndarray


def pair_scores(embeddings, pairs):
    """Cosine score of each pair of embeddings.

    score = sum(a * b) / sqrt(sum(a * a) * sum(b * b))

    Args:
        embeddings: Real array (n, embedding_size), any length of row; whole numbers (raw pixels) are welcome.
        pairs: Integer array (m, 2), indices in [0, n).

    Returns:
        Array (m,) in [-1, 1], float32, or float64 where the embeddings are float64 or wide integers. Many pairs of
        few rows go through a matrix product, so the last bit of a score may depend on the other pairs.

    Raises:
        TypeError: Embeddings that are not numbers, pairs that are not integers.
        ValueError: A zero, NaN or infinite embedding (the row is named), a pair out of range, a wrong shape.

    Example:
        >>> pair_scores(np.array([[2.0, 0.0], [0.0, 5.0], [3.0, 0.0]]), [[0, 1], [0, 2]]).tolist()
        [0.0, 1.0]
    """
    embeddings = _arrays.check_embeddings(embeddings)
    pairs = _arrays.check_pairs(pairs, len(embeddings))
    return _arrays.paired_cosines(_arrays.unit_rows(embeddings), pairs)


def all_pairs(labels):
    """Every unordered pair of images, n * (n - 1) / 2 of them.

    Args:
        labels: Integer or string array (n,), n >= 2; who is on each image.

    Returns:
        (pairs, is_same): integer array (m, 2), first index < second, rows in order; bool array (m,).

    Raises:
        TypeError, ValueError: Labels of another type or shape.

    Example:
        >>> pairs, is_same = all_pairs([7, 7, 3])
        >>> pairs.tolist(), is_same.tolist()
        ([[0, 1], [0, 2], [1, 2]], [True, False, False])
    """
    labels = _arrays.check_labels(labels)
    _require_two(labels)
    pairs = _arrays.enumerate_pairs(np.arange(1, len(labels) + 1), np.arange(len(labels) - 1, -1, -1))
    return pairs, labels[pairs[:, 0]] == labels[pairs[:, 1]]


def make_pairs(labels, num_genuine, num_impostor, seed=0):
    """Random distinct pairs, drawn uniformly and without replacement.

    The two kinds are spread evenly over the result, so that any run of it (a tenth, as `k_fold_accuracy` cuts it)
    holds both in the same proportion. Memory grows with the pairs drawn, not with the pairs there are.

    Args:
        labels: Integer or string array (n,), n >= 2; who is on each image.
        num_genuine: Pairs of one person, >= 0.
        num_impostor: Pairs of two persons, >= 0.
        seed: Seed of numpy's default generator; the same seed gives the same pairs.

    Returns:
        (pairs, is_same): integer array (num_genuine + num_impostor, 2), first index < second; bool array.

    Raises:
        TypeError: A number that is not an integer, labels of another type.
        ValueError: More pairs than there are; the error gives the number there is.

    Example:
        >>> pairs, is_same = make_pairs([0, 0, 1, 1], num_genuine=2, num_impostor=2)
        >>> is_same.tolist()
        [True, False, True, False]
    """
    labels = _arrays.check_labels(labels)
    _require_two(labels)
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    ends = np.searchsorted(ordered, ordered, side="right")  # one past the last image of the same person
    after = np.arange(1, len(labels) + 1)
    rng = np.random.default_rng(seed)
    drawn = [
        _draw_pairs(after, ends - after, num_genuine, "num_genuine", rng),
        _draw_pairs(ends, len(labels) - ends, num_impostor, "num_impostor", rng),
    ]
    place = np.concatenate([(np.arange(len(pairs)) + 0.5) / max(1, len(pairs)) for pairs in drawn])
    mixed = np.argsort(place, kind="stable")
    return np.sort(order[np.concatenate(drawn)[mixed]], axis=1), mixed < len(drawn[0])


def _require_two(labels):
    if len(labels) < 2:
        raise ValueError(f"A pair needs at least two images. Received: {len(labels)} label.")


def _draw_pairs(starts, counts, number, name, rng):
    available = int(counts.sum())
    number = _arrays.check_count(number, name, 0)
    if number > available:
        raise ValueError(
            f"{name} must be at most the pairs there are. Received: {name}={number} where these labels give "
            f"{available}. Ask for fewer, or add images."
        )
    return _arrays.enumerate_pairs(
        starts, counts, rng.choice(available, number, replace=False) if number else np.arange(0)
    )


def assign_folds(pairs, labels, folds=10, by="identity", seed=0):
    """A fold for each pair, for sets that come without published folds.

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


def roc(scores, is_same):
    """The receiver operating characteristic, exact: one point per distinct score, none dropped.

    far[i] = mean(impostor_scores >= thresholds[i]); tar[i] = mean(genuine_scores >= thresholds[i])

    Args:
        scores: Real array (n,), finite; higher is more alike.
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
    thresholds, genuine, impostor = _operating_points(*_arrays.check_scores(scores, is_same))
    num_genuine, num_impostor = int(genuine[-1]), int(impostor[-1])
    return Roc(impostor / num_impostor, genuine / num_genuine, thresholds, num_genuine, num_impostor)


def _operating_points(scores, is_same):
    """Thresholds from +inf down each distinct score, and how many genuine and impostor pairs each accepts."""
    # Sorts of bare values and one search take at most half the time of an argsort with its gathers.
    ordered = np.sort(scores)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    distinct = ordered[starts]
    genuine = is_same.sum() - np.searchsorted(np.sort(scores[is_same]), distinct)
    impostor = len(scores) - starts - genuine
    thresholds = np.concatenate([[np.inf], distinct[::-1].astype(np.float64)])
    return thresholds, np.concatenate([[0], genuine[::-1]]), np.concatenate([[0], impostor[::-1]])


def auc(scores, is_same):
    """Area under the ROC, the chance that a genuine pair scores above an impostor pair.

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


def eer(scores, is_same):
    """Equal error rate: the error where FAR = FRR.

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


def tar_at_far(scores, is_same, far):
    """The highest TAR among thresholds whose FAR is at most `far`; no interpolation.

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
    genuine = np.sort(scores[is_same])
    refused = _refused_score(scores, is_same, far)
    tar = (len(genuine) - np.searchsorted(genuine, refused, side="right")) / len(genuine)
    return float(tar) if np.ndim(far) == 0 else tar


def threshold_at_far(scores, is_same, far):
    """The operating threshold to ship: the lowest whose FAR on these scores is at most `far`.

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
    ordered = np.sort(scores)
    ordered = np.append(ordered, np.nextafter(ordered[-1], np.array(np.inf, ordered.dtype))).astype(np.float64)
    threshold = ordered[np.searchsorted(ordered[:-1], _refused_score(scores, is_same, far), side="right")]
    return float(threshold) if np.ndim(far) == 0 else threshold


def _refused_score(scores, is_same, far):
    """Per wanted FAR, the score of the best impostor that must be refused; -inf where none must."""
    wanted = np.asarray(far, np.float64)
    if not ((wanted > 0) & (wanted <= 1)).all():
        raise ValueError(f"far must be in (0, 1]. Received: far={far}. One per cent is 0.01.")
    impostor = np.sort(scores[~is_same])
    count = len(impostor)
    if wanted.size and wanted.min() < 1 / count:
        warnings.warn(
            f"FAR={wanted.min():g} is below 1 / impostors = {1 / count:g}: {count} impostor pairs cannot show it, the "
            "value is that of no impostor accepted. Score more impostor pairs.",
            stacklevel=3,
        )
    # far * count may round to the wrong side of a whole number (0.29 * 100 < 29); decide by the division roc uses.
    accepted = np.floor(wanted * count) + 1
    accepted -= accepted / count > wanted
    accepted -= accepted / count > wanted
    descending = np.append(impostor[::-1], np.array(-np.inf, impostor.dtype))
    return descending[np.minimum(accepted, count).astype(np.intp)]


def k_fold_accuracy(scores, is_same, folds=10, search="exact"):
    """Verification accuracy by folds: the threshold of all other folds, tested on the one left out.

    `search="exact"` tries the midpoint between every two neighbouring scores, and both ends. `search="grid"` tries
    the squared distances 0, 0.01 ... 3.99 of unit vectors, d = 2 - 2 * score, and accepts d < threshold: the numbers
    of insightface's script. Of equally good thresholds both take the strictest. Accuracy counts pairs: with nine
    impostors to a genuine pair "never the same" scores 0.9, so give it as many of each (`make_pairs`).

    Args:
        scores: Real array (n,), finite, higher is more alike; cosines in [-1, 1] for the grid.
        is_same: Bool array (n,); True is a genuine pair. 0 and 1 will do.
        folds: A number >= 2: that many runs of consecutive pairs, the first ones longer by one where n does not
            divide, which is how LFW and the `.bin` sets give their folds. Or an integer array (n,) naming each
            pair's fold, 0 to folds - 1, -1 for a pair in none (left out), as `assign_folds` returns it.
        search: "exact" or "grid".

    Returns:
        `KFoldAccuracy`. Its thresholds are scores: 1 - d / 2 for the grid.

    Raises:
        TypeError: Scores that are not numbers, folds that are not integers.
        ValueError: As `roc`; an unknown search, a fold without a genuine or without an impostor pair, a grid over
            scores that are no cosines.

    Example:
        >>> result = k_fold_accuracy([0.9, 0.2, 0.8, 0.1, 0.3, 0.4], [True, False] * 3, folds=3)
        >>> result.accuracies.tolist()
        [1.0, 1.0, 0.5]

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2.
    """
    scores, is_same = _arrays.check_scores(scores, is_same)
    if search not in ("exact", "grid"):
        raise ValueError(f'search must be "exact" or "grid". Received: search={search!r}.')
    fold, count = _fold_index(folds, len(scores))
    _check_folds(fold, is_same, count)
    grid = search == "grid"
    values = _negative_distances(scores) if grid else scores.astype(np.float64)
    thresholds, accuracies = np.empty(count), np.empty(count)
    for test in range(count):
        train, held_out = (fold >= 0) & (fold != test), fold == test
        candidates = _GRID if grid else _midpoints(values[train])
        thresholds[test] = _best_threshold(values[train], is_same[train], candidates)
        accuracies[test] = np.mean((values[held_out] >= thresholds[test]) == is_same[held_out])
    thresholds = 1 + thresholds / 2 if grid else thresholds
    return KFoldAccuracy(float(accuracies.mean()), float(accuracies.std()), accuracies, thresholds)


# The script accepts d < threshold, that is -d > -threshold; the next number up turns it into our "at least".
_GRID = np.nextafter(-np.arange(0, 4, 0.01), np.inf)


def _negative_distances(scores):
    """-d = 2 * score - 2 of unit vectors, so that higher is still more alike."""
    # A cosine computed in float32 may pass 1 by a few units in its last place.
    if np.abs(scores).max() > 1 + 1e-5:
        raise ValueError(
            f'search="grid" needs cosines in [-1, 1]. Received: scores in [{scores.min():g}, {scores.max():g}]. '
            'Use pair_scores, or search="exact".'
        )
    return 2 * np.clip(scores.astype(np.float64), -1, 1) - 2


def _midpoints(scores):
    """One threshold in every gap of the scores, strictest first, from above the highest to the lowest score."""
    distinct = np.unique(scores)[::-1]
    upper, lower = distinct[:-1], distinct[1:]
    middle = 0.5 * upper + 0.5 * lower
    # Between neighbouring floats the middle rounds to either of them, and the lower one would let `lower` in.
    middle = np.where(middle > lower, middle, upper)
    return np.concatenate([[np.nextafter(distinct[0], np.inf)], middle, distinct[-1:]])


def _best_threshold(scores, is_same, candidates):
    """The first of the candidates (strictest first) with the most pairs judged right."""
    genuine, impostor = np.sort(scores[is_same]), np.sort(scores[~is_same])
    right = np.searchsorted(impostor, candidates) - np.searchsorted(genuine, candidates)
    return candidates[np.argmax(right)]


def _fold_index(folds, count):
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
