"""Embeddings as rows of unit length."""

import numpy as np

# Most probes per matrix product: 64 x 1 million float32 scores are 256 MB.
PROBES_AT_ONCE = 64


def unit_rows(rows: np.ndarray, source: str) -> np.ndarray:
    """float32 rows over their length; a zero row stays zero."""
    # Squares of float32 overflow at 2e19 and vanish below 1e-23; those of float64 do neither.
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
    if not np.isfinite(lengths).all():  # One look at n numbers instead of n x d.
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{source} holds NaN or infinity in {len(bad)} of {len(rows)} rows, first in row {bad[0]}."
            )
    return np.divide(rows, lengths, out=np.zeros(rows.shape, np.float32), where=lengths > 0, casting="same_kind")


def nearest(probes: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 index of the most similar row of `gallery`, float32 cosine) of each unit row of `probes`."""
    indices, scores = np.empty(len(probes), np.int64), np.empty(len(probes), np.float32)
    for start in range(0, len(probes), PROBES_AT_ONCE):
        part = slice(start, start + PROBES_AT_ONCE)
        cosines = probes[part] @ gallery.T
        indices[part] = cosines.argmax(axis=1)
        scores[part] = np.clip(cosines.max(axis=1), -1.0, 1.0)
    return indices, scores
