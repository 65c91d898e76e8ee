"""Closed-set identification, one against many: whose face is this, among people we know?

Each probe is compared with every gallery entry. Its rank is the place of its best mate (an entry of the same person)
in the list sorted by falling cosine: 1 where a mate comes first.
"""

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays

# Equal cosines computed at different places of a float32 matrix product differed by up to five units in the last place
# of 1 over 2,000 random probes, from 64-D to 10,304-D. The next power of two still counts as a tie.
_TIE_UNITS = 8


def rank_k(
    probe: ArrayLike, probe_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike, k: int = 1
) -> float:
    """Computes the rank-k identification rate: the share of probes with a mate among their k best gallery entries.

    rank_k = mean(rank <= k); rank = 1 + number of entries of other people with cosine >= the best mate's cosine

    Ties count against the probe, and cosines within 8 units in the last place of 1 (9.5e-7 in float32) are ties: an
    embedder that maps everybody to one point scores 0, not 1. Entries are images: two images of one wrong person take
    two places. A probe that is in the gallery itself finds itself; leave it out before.

    Args:
        probe: Real array (num_probes, embedding_size), rows of any length but 0.
        probe_labels: Integer or string array (num_probes,), each in `gallery_labels` too.
        gallery: Real array (num_gallery, embedding_size).
        gallery_labels: Integer or string array (num_gallery,).
        k: Integer in [1, num_gallery].

    Returns:
        Float in [0, 1].

    Raises:
        TypeError: Embeddings that are not numbers, labels that are neither integers nor strings, a k that is no
            integer.
        ValueError: A zero, NaN or infinite embedding, sizes that differ, a probe whose identity is not in the
            gallery, k out of range.

    Example:
        >>> gallery = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> rank_k(np.array([[3.0, 1.0], [2.0, 1.0]]), [0, 1], gallery, [0, 1])
        0.5

    Reference: Kemelmacher-Shlizerman et al., The MegaFace Benchmark, CVPR 2016.
    """
    k = _arrays.check_count(k, "k", 1, len(gallery))
    return float(np.mean(_ranks(probe, probe_labels, gallery, gallery_labels) <= k))


def cmc(
    probe: ArrayLike, probe_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike, max_rank: int = 10
) -> np.ndarray:
    """Computes the cumulative match characteristic: the rank-k rate of every k up to `max_rank`.

    cmc[k - 1] = mean(rank <= k), ranks and ties as in `rank_k`

    Args:
        probe: As for `rank_k`, and so are the next three.
        probe_labels: Who the probes are.
        gallery: The known images.
        gallery_labels: Who they are.
        max_rank: Integer in [1, num_gallery].

    Returns:
        float64 array (max_rank,) in [0, 1], never falling.

    Raises:
        TypeError, ValueError: As `rank_k`.

    Example:
        >>> gallery = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> cmc(np.array([[3.0, 1.0], [2.0, 1.0]]), [0, 1], gallery, [0, 1], max_rank=2).tolist()
        [0.5, 1.0]

    Reference: Phillips et al., The FERET evaluation methodology, PAMI 2000.
    """
    max_rank = _arrays.check_count(max_rank, "max_rank", 1, len(gallery))
    ranks = _ranks(probe, probe_labels, gallery, gallery_labels)
    return np.cumsum(np.bincount(ranks, minlength=max_rank + 1)[1 : max_rank + 1]) / len(ranks)


def _ranks(probe: ArrayLike, probe_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike) -> np.ndarray:
    """Rank of each probe's best mate, integers >= 1, (num_probes,)."""
    probe = _arrays.check_embeddings(probe, "probe")
    gallery = _arrays.check_embeddings(gallery, "gallery")
    _arrays.check_same_size(probe, gallery, "probe", "gallery")
    probe_labels = _arrays.check_labels(probe_labels, len(probe), "probe_labels")
    gallery_labels = _arrays.check_labels(gallery_labels, len(gallery), "gallery_labels")
    probe_labels, gallery_labels = _common_labels(probe_labels, gallery_labels)

    dtype = np.result_type(probe.dtype, gallery.dtype, np.float32)
    best = _best_mate(probe, probe_labels, gallery, gallery_labels, dtype)
    floor = best - dtype.type(_TIE_UNITS * np.finfo(dtype).eps)
    ranks = np.ones(len(probe), np.intp)
    side = int((_arrays.BLOCK_BYTES / dtype.itemsize) ** 0.5)  # square tiles read each operand least often
    for columns in _arrays.blocks(len(gallery), side * dtype.itemsize):
        entries = _arrays.unit_rows(gallery, columns, dtype).T
        for rows in _arrays.blocks(len(probe), side * dtype.itemsize):
            ahead = _arrays.unit_rows(probe, rows, dtype) @ entries >= floor[rows, None]
            ahead &= probe_labels[rows, None] != gallery_labels[columns]
            ranks[rows] += np.count_nonzero(ahead, axis=1)
    return ranks


def _common_labels(probe_labels: np.ndarray, gallery_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays as indices of the gallery's identities; ValueError where a probe's is not among them."""
    _arrays.check_same_kind(probe_labels, gallery_labels)
    identities, gallery_index = np.unique(gallery_labels, return_inverse=True)
    missing = ~np.isin(probe_labels, identities)
    if missing.any():
        raise ValueError(
            f"Closed-set identification needs every probe's identity in the gallery. Received: {missing.sum()} probes "
            f"without one, of identities such as {np.unique(probe_labels[missing])[:5].tolist()}. Add a gallery image "
            "of each, or leave those probes out."
        )
    return np.searchsorted(identities, probe_labels), gallery_index


def _best_mate(probe, probe_index, gallery, gallery_index, dtype):
    """Cosine of each probe with its most similar gallery entry of the same identity, (num_probes,)."""
    best = np.empty(len(probe), dtype)
    mates_of = _rows_by_identity(gallery_index)
    for identity, mine in _rows_by_identity(probe_index).items():
        mates = _arrays.unit_rows(gallery, mates_of[identity], dtype)
        for block in _arrays.blocks(len(mine), mates.nbytes):
            rows = mine[block]
            best[rows] = (_arrays.unit_rows(probe, rows, dtype) @ mates.T).max(axis=1)
    return best


def _rows_by_identity(index: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(index, kind="stable")
    identities, starts = np.unique(index[order], return_index=True)
    return dict(zip(identities.tolist(), np.split(order, starts[1:]), strict=True))
