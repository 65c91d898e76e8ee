"""The cosine of two embeddings of one image, whatever their lengths, and why some have none."""

import numpy as np


def cosines(wanted, found):
    """Computes the cosine of each row of `wanted` with the same row of `found`, -1 where either has no direction.

    Args:
        wanted: Float array (n, size), the model's embeddings.
        found: Float array (n, size), the file's.

    Returns:
        float64 array (n,).
    """
    # A zero, infinite or NaN embedding is as far from the model's as can be, never passed over.
    usable = _usable(wanted) & _usable(found)
    return np.where(usable, np.sum(_unit(wanted) * _unit(found), axis=1), -1.0)


def _usable(rows):
    """Which rows have a direction: finite, and not all zero."""
    return np.isfinite(rows).all(axis=1) & rows.any(axis=1)


def _unit(rows):
    """Rows of unit length, float64; zero where a row has no direction."""
    rows = np.where(_usable(rows)[:, None], np.float64(rows), 0)
    # Divided by the largest entry first: its square may be beyond the largest number, or below the smallest.
    rows = rows / np.where(rows.any(axis=1), np.abs(rows).max(axis=1), 1)[:, None]
    return rows / np.maximum(np.linalg.norm(rows, axis=1), 1)[:, None]


def why(wanted, found):
    """Says why the embeddings of some sample images cannot be compared.

    Args:
        wanted: Float array (n, size), the model's embeddings.
        found: Float array (n, size), the file's, of unit length where float32 can make it so.

    Returns:
        A sentence; empty where all can be compared.
    """
    ours, theirs = ~_usable(wanted), ~_usable(found)
    if ours.any():
        return (
            f"The model's own embedding of sample image {np.flatnonzero(ours)[0]} is zero, infinite or NaN "
            f"({ours.sum()} of {len(ours)} images): train it on, or look at its weights."
        )
    if not theirs.any():
        return ""
    worst = np.flatnonzero(theirs)[0]
    largest = np.abs(wanted[worst]).max()
    # What float32 can square, and sum over an embedding of some thousand numbers.
    limit = np.sqrt(np.finfo(np.float32).max / wanted.shape[1])
    if largest > limit:
        return (
            f"The model's embedding of sample image {worst} has numbers up to {largest:.1e}, whose squares float32 "
            f"cannot sum (beyond {limit:.1e}), so that the file's unit length comes out as zero. End the network in a "
            "BatchNormalization, or divide its output by a constant."
        )
    return (
        f"The file's embedding of sample image {worst} is zero, infinite or NaN ({theirs.sum()} of {len(theirs)} "
        f"images), where the model's has numbers up to {largest:.1e}."
    )
