"""Pairs of images and their scores: what verification is measured on."""

from collections.abc import Sequence

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays


def pair_scores(embeddings: ArrayLike, pairs: ArrayLike) -> np.ndarray:
    """Computes the cosine score of each pair of embeddings.

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


def all_pairs(labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Lists every unordered pair of images, n * (n - 1) / 2 of them.

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


def make_pairs(
    labels: ArrayLike, num_genuine: int, num_impostor: int, seed: int | Sequence[int] = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws distinct pairs at random, uniformly and without replacement.

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


def _require_two(labels: np.ndarray) -> None:
    if len(labels) < 2:
        raise ValueError(f"A pair needs at least two images. Received: {len(labels)} label.")


def _draw_pairs(starts: np.ndarray, counts: np.ndarray, number: int, name: str, rng: np.random.Generator) -> np.ndarray:
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
