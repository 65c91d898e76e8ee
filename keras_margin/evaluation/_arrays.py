"""Checks and row arithmetic that every protocol needs; numpy alone."""

import operator
import warnings
from typing import Any

import numpy as np

from keras_margin._typing import ArrayLike

# No temporary is larger than this: big enough to keep a matrix product fast, small compared with the inputs.
BLOCK_BYTES = 32 * 2**20


def blocks(count: int, row_bytes: int) -> list[slice]:
    """Slices that cover range(count), each of at most `BLOCK_BYTES` (and at least one row)."""
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def check_count(value: Any, name: str, low: int, high: int | None = None) -> int:
    """`value` as an int in [low, high]; TypeError or ValueError where it is not."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer. Received: {value!r}.") from None
    if number < low or (high is not None and number > high):
        limits = f">= {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be {limits}. Received: {name}={number}.")
    return number


def check_embeddings(embeddings: ArrayLike, name: str = "embeddings") -> np.ndarray:
    """Embeddings as an array (n, embedding_size) whose every row has a direction.

    Args:
        embeddings: Real array (n, embedding_size), n and embedding_size >= 1.
        name: What the error calls it.

    Returns:
        The same values as an array, not copied where it already is one.

    Raises:
        TypeError: Not numbers.
        ValueError: Not two-dimensional, empty, or a row that is zero, NaN or infinite; it names the first such row.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers. Received: dtype={embeddings.dtype}.")
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"{name} must be shaped (n, embedding_size), none of them 0. Received: {embeddings.shape}.")
    # The extremes of a row find NaN, infinity and zero without a temporary of the input's size.
    largest, smallest = embeddings.max(axis=1), embeddings.min(axis=1)
    bad = ~(np.isfinite(largest) & np.isfinite(smallest))
    if bad.any():
        raise ValueError(
            f"{name} must be finite. Received: {bad.sum()} rows with NaN or infinity, the first is row "
            f"{bad.argmax()}. Drop those images, or find the layer that overflows."
        )
    bad = (largest == 0) & (smallest == 0)
    if bad.any():
        raise ValueError(
            f"{name} must not be zero: a zero embedding has no direction. Received: {bad.sum()} zero rows, the first "
            f"is row {bad.argmax()}. Drop those images, or look for a dead network."
        )
    return embeddings


def check_same_size(embeddings: np.ndarray, others: np.ndarray, name: str, others_name: str) -> None:
    """ValueError unless both arrays of vectors have one embedding size."""
    if embeddings.shape[1] != others.shape[1]:
        raise ValueError(
            f"{name} and {others_name} must have one embedding size. Received: {embeddings.shape[1]} and "
            f"{others.shape[1]}. Embed both with the same model."
        )


def check_labels(labels: ArrayLike, count: int | None = None, name: str = "labels") -> np.ndarray:
    """Labels as an array (n,) of integers or strings; TypeError or ValueError where they are not."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or (count is None and not labels.size):
        raise ValueError(f"{name} must be shaped (n,), n >= 1. Received: shape={labels.shape}.")
    if count is not None and len(labels) != count:
        raise ValueError(f"{name} must have one entry per embedding. Received: {len(labels)} for {count} embeddings.")
    if labels.dtype.kind not in "iuUS":
        raise TypeError(f"{name} must be integers or strings. Received: dtype={labels.dtype}.")
    return labels


def check_pairs(pairs: ArrayLike, count: int) -> np.ndarray:
    """Pairs as an integer array (n, 2) of indices in [0, count); TypeError or ValueError where they are not."""
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"pairs must be shaped (n, 2), n >= 1. Received: shape={pairs.shape}.")
    if pairs.dtype.kind not in "iu":
        raise TypeError(f"pairs must be integer indices of rows. Received: dtype={pairs.dtype}.")
    bad = ((pairs < 0) | (pairs >= count)).any(axis=1)
    if bad.any():
        first = bad.argmax()
        raise ValueError(
            f"pairs must be indices in [0, {count}). Received: {bad.sum()} pairs out of range, the first is pair "
            f"{first}: {pairs[first].tolist()}. Were they made for another set of embeddings?"
        )
    return pairs.astype(np.intp, copy=False)


def check_scores(scores: ArrayLike, is_same: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores and their truth, ready for any threshold metric.

    Args:
        scores: Real array (n,), finite; higher is more similar.
        is_same: Array (n,), bool or numbers that are all 0 or 1; True is a genuine pair.

    Returns:
        (scores, is_same): float array (n,) of at least float32, bool array (n,).

    Raises:
        TypeError: Scores that are not numbers.
        ValueError: Shapes that differ, NaN or infinite scores, a truth that is not 0 or 1, no genuine or no impostor
            pair.
    """
    scores, is_same = np.asarray(scores), np.asarray(is_same)
    if scores.ndim != 1 or scores.shape != is_same.shape:
        raise ValueError(
            f"scores and is_same must both be shaped (n,), one entry per pair. Received: {scores.shape} and "
            f"{is_same.shape}."
        )
    if scores.dtype.kind not in "fiu":
        raise TypeError(f"scores must be numbers. Received: dtype={scores.dtype}. The order is (scores, is_same).")
    scores = scores.astype(np.result_type(scores.dtype, np.float32), copy=False)
    finite = np.isfinite(scores)
    if not finite.all():
        raise ValueError(
            f"scores must be finite. Received: {(~finite).sum()} NaN or infinite, the first is score "
            f"{finite.argmin()}. Look for a zero or NaN embedding."
        )
    return scores, check_is_same(is_same)


def check_truth(is_same: ArrayLike, count: int) -> np.ndarray:
    """The truth of `count` pairs as bool (count,), with both kinds among them."""
    is_same = np.asarray(is_same)
    if is_same.shape != (count,):
        raise ValueError(f"is_same must hold one truth per pair. Received: shape={is_same.shape} for {count} pairs.")
    return check_is_same(is_same)


def check_is_same(is_same: np.ndarray) -> np.ndarray:
    """The truth as bool; ValueError where it is not 0 or 1, or holds one kind of pair only."""
    if is_same.dtype.kind != "b":
        if is_same.dtype.kind not in "fiu" or not np.isin(is_same, (0, 1)).all():
            raise ValueError(
                "is_same must be bool, or numbers that are all 0 or 1. Received: "
                f"dtype={is_same.dtype}, values such as {np.unique(is_same)[:4].tolist()}."
            )
        is_same = is_same.astype(bool)
    for kind, number in (("genuine", is_same.sum()), ("impostor", (~is_same).sum())):
        if not number:
            value = "True" if kind == "genuine" else "False"
            raise ValueError(
                f"Verification needs genuine and impostor pairs. Received: {len(is_same)} pairs, no {kind} one "
                f"(is_same={value}). Add {kind} pairs, for instance with make_pairs."
            )
    return is_same


def check_far(far: float | ArrayLike, name: str = "far") -> np.ndarray:
    """Wanted rates as a float64 array; ValueError where one is outside (0, 1]."""
    wanted = np.asarray(far, np.float64)
    if not ((wanted > 0) & (wanted <= 1)).all():
        raise ValueError(f"{name} must be in (0, 1]. Received: {name}={far}. One per cent is 0.01.")
    return wanted


def warn_unmeasurable(
    wanted: np.ndarray, count: int, stacklevel: int, rate: str = "FAR", kind: str = "impostor pairs"
) -> None:
    """Warns where a wanted rate is under what so many impostors can show."""
    if wanted.size and wanted.min() < 1 / count:
        warnings.warn(
            f"{rate}={wanted.min():g} is below 1 / {count} = {1 / count:g}: {count} {kind} cannot show it, "
            f"the value is that of none accepted. Score more {kind}.",
            stacklevel=stacklevel + 1,
        )


def most_accepted(wanted: np.ndarray, count: int) -> np.ndarray:
    """How many of `count` impostors may be accepted at each wanted FAR: the largest k with k / count <= far."""
    # far * count may round to the wrong side of a whole number (0.29 * 100 < 29); decide by the division roc uses.
    accepted = np.floor(wanted * count) + 1
    accepted -= accepted / count > wanted
    accepted -= accepted / count > wanted
    return np.minimum(accepted, count).astype(np.intp)


def best_refused(impostor: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Per wanted FAR, the score of the best impostor that must be refused; -inf where none must."""
    descending = np.append(np.sort(impostor)[::-1], np.array(-np.inf, impostor.dtype))
    return descending[most_accepted(wanted, len(impostor))]


def tar_above(genuine: np.ndarray, refused: np.ndarray) -> np.ndarray:
    """Share of the genuine scores above each refused score."""
    return (len(genuine) - np.searchsorted(np.sort(genuine), refused, side="right")) / len(genuine)


def check_same_kind(probe_labels: np.ndarray, gallery_labels: np.ndarray) -> None:
    """TypeError unless both are integers or both strings."""
    kinds = {labels.dtype.kind.replace("u", "i") for labels in (probe_labels, gallery_labels)}
    if len(kinds) > 1:
        raise TypeError(
            "probe_labels and gallery_labels must be of one type. Received: "
            f"{probe_labels.dtype} and {gallery_labels.dtype}."
        )


def common_index(probe_labels: np.ndarray, gallery_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays as indices of the identities of either."""
    check_same_kind(probe_labels, gallery_labels)
    index = np.unique(np.concatenate([probe_labels, gallery_labels]), return_inverse=True)[1]
    return index[: len(probe_labels)], index[len(probe_labels) :]


def mates(probe_index: np.ndarray, gallery_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of every probe with every gallery entry of the same identity, rows in order."""
    order = np.argsort(gallery_index, kind="stable")
    ordered = gallery_index[order]
    starts = np.searchsorted(ordered, probe_index)
    counts = np.searchsorted(ordered, probe_index, side="right") - starts
    rows, places = enumerate_pairs(starts, counts).T
    return rows, order[places]


def unit_rows(embeddings: np.ndarray, rows: np.ndarray | slice = slice(None), dtype: Any = None) -> np.ndarray:
    """Chosen rows divided by their length, as a new array of `dtype`, by default theirs but at least float32.

    Rows whose squares leave the range of the dtype, as of float32 entries beyond 1.8e19, are scaled by their largest
    entry first. Each row is treated by itself: equal rows give equal bits.
    """
    values = embeddings[rows].astype(dtype or np.result_type(embeddings.dtype, np.float32))
    limits = np.finfo(values.dtype)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", values, values)
    # Below the lower limit a square that underflows may count.
    unsafe = np.flatnonzero(~((squares > limits.tiny / limits.eps**2) & (squares < limits.max)))
    if len(unsafe):
        scaled = values[unsafe]
        scaled /= np.maximum(scaled.max(axis=1), -scaled.min(axis=1))[:, None]
        values[unsafe], squares[unsafe] = scaled, np.einsum("ij,ij->i", scaled, scaled)
    values /= np.sqrt(squares)[:, None]
    return values


def paired_cosines(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Cosine of each pair of unit rows, (len(pairs),), in [-1, 1]; the score of every pair, never the whole matrix."""
    # Gathering rows costs about ten times a matrix product per pair: take the product where the pairs fill it.
    dense = 8 * len(pairs) >= len(unit) ** 2
    cosines = _dense_cosines(unit, pairs) if dense else _gathered_cosines(unit, pairs)
    return np.clip(cosines, -1, 1, out=cosines)


def _gathered_cosines(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    cosines = np.empty(len(pairs), unit.dtype)
    for block in blocks(len(pairs), 2 * unit.itemsize * unit.shape[1]):
        cosines[block] = np.einsum("ij,ij->i", unit[pairs[block, 0]], unit[pairs[block, 1]])
    return cosines


def _dense_cosines(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    first, second = pairs.T
    order = np.argsort(first, kind="stable")
    ends = np.searchsorted(first, np.arange(len(unit) + 1), sorter=order)
    cosines = np.empty(len(pairs), unit.dtype)
    for block in blocks(len(unit), unit.itemsize * len(unit)):
        product = unit[block] @ unit.T
        chosen = order[ends[block.start] : ends[block.stop]]
        cosines[chosen] = product[first[chosen] - block.start, second[chosen]]
    return cosines


def enumerate_pairs(starts: np.ndarray, counts: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """Pairs (i, j) with j in [starts[i], starts[i] + counts[i]), all of them or those at places `chosen`, (m, 2)."""
    ends = np.cumsum(counts)
    if chosen is None:
        first = np.repeat(np.arange(len(counts)), counts)
        chosen = np.arange(ends[-1])
    else:
        first = np.searchsorted(ends, chosen, side="right")
    second = chosen - (ends - counts)[first] + starts[first]
    return np.stack([first, second], axis=1)


def angles(unit: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles in radians between corresponding unit rows, float64 (n,).

    theta = 2 * atan2(|a - b|, |a + b|), which keeps its digits at 0 and pi, where arccos of the cosine loses half.
    """
    theta = np.empty(len(unit))
    for block in blocks(len(unit), 8 * unit.shape[1]):
        a, b = unit[block].astype(np.float64), others[block].astype(np.float64)
        theta[block] = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return theta


def paired_angles(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Angles in radians of each pair of unit rows, float64 (len(pairs),)."""
    theta = np.empty(len(pairs))
    for block in blocks(len(pairs), 4 * 8 * unit.shape[1]):
        theta[block] = angles(unit[pairs[block, 0]], unit[pairs[block, 1]])
    return theta
