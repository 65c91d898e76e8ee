"""Embeddings as rows of unit length."""

import os
from concurrent import futures

import numpy as np

# Most probes per matrix product: 64 x 1 million float32 scores are 256 MB.
PROBES_AT_ONCE = 64
_ROWS_AT_ONCE = 512
# From here on rows are divided in threads: most of the time goes into fresh memory that the system hands out.
_MANY, _MOST_THREADS = 100_000, 4


def unit_rows(rows: np.ndarray, source: str) -> np.ndarray:
    """float32 rows over their length; a zero row stays zero."""
    unit = np.empty(rows.shape, np.float32)
    divide(rows, lengths_of(rows, source), unit)
    return unit


def lengths_of(rows, source):
    """float64 length (n,) of each row; ValueError where a row is not finite."""
    # Squares of float32 overflow at 2e19 and vanish below 1e-23; those of float64 do neither.
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    if not np.isfinite(lengths).all():  # One look at n numbers instead of n x d.
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{source} holds NaN or infinity in {len(bad)} of {len(rows)} rows, first in row {bad[0]}."
            )
    return lengths


def divide(rows, lengths, out):
    """Writes float32 rows / lengths into `out`; a row of length 0 becomes zeros."""
    divisors = np.where(lengths > 0, lengths, 1.0)[:, None]

    # In pieces that stay in the cache: a float64 copy of a million rows would cost more than the division.
    def write(start):
        part = slice(start, start + _ROWS_AT_ONCE)
        np.divide(rows[part].astype(np.float64, copy=False), divisors[part], out=out[part], casting="same_kind")

    starts = range(0, len(rows), _ROWS_AT_ONCE)
    if len(rows) < _MANY:
        for start in starts:
            write(start)
        return
    with futures.ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(write, starts))


def nearest(probes: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 index of the most similar row of `gallery`, float32 cosine) of each unit row of `probes`."""
    indices, scores = np.empty(len(probes), np.int64), np.empty(len(probes), np.float32)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        part = slice(start, start + PROBES_AT_ONCE)
        cosines = probes[part] @ gallery.T
        indices[part] = cosines.argmax(axis=1)
        scores[part] = np.clip(cosines.max(axis=1), -1.0, 1.0)
    return indices, scores


def checked_gallery(gallery, embedding_size):
    """`gallery` as a float array (m, embedding_size), m >= 1."""
    gallery = np.asarray(gallery)
    if not np.issubdtype(gallery.dtype, np.floating):
        raise TypeError(
            f"identify needs a gallery of embeddings, floats. Received: {gallery.dtype} of shape {gallery.shape}. "
            "Embed the known faces first: gallery = embedder.embed(images)."
        )
    if gallery.ndim != 2 or gallery.shape[1] != embedding_size or len(gallery) == 0:
        raise ValueError(
            f"identify needs a gallery of shape (m, {embedding_size}), m >= 1. Received: shape {gallery.shape}."
        )
    return gallery
