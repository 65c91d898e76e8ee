"""Classes numbered 0, 1, 2 ... out of whatever a set calls them."""

import numpy as np

from keras_margin._typing import ArrayLike


def relabel(labels: ArrayLike) -> tuple[np.ndarray, tuple[str, ...]]:
    """Renumbers classes without gaps: 0 .. number of classes - 1, in the order of their old labels.

    Args:
        labels: Integer or string array or sequence, (n,), n >= 1; who is on each image, in any numbering.

    Returns:
        (labels, names): int32 array (n,), and a tuple of str, the old label of every class.

    Raises:
        TypeError: If the labels are neither integers nor strings.
        ValueError: If they are not in a one-dimensional array of at least one.

    Example:
        >>> relabel([7, 3, 7, 1000])
        (array([1, 0, 1, 2], dtype=int32), ('3', '7', '1000'))
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        labels = labels.astype(str)
    if labels.size and labels.dtype.kind not in "iuU":
        raise TypeError(f"relabel needs integers or strings. Received: dtype={labels.dtype}, shape={labels.shape}.")
    if labels.ndim != 1 or not labels.size:
        hint = " If they are one-hot, pass labels.argmax(axis=1)." if labels.ndim == 2 else ""
        raise ValueError(
            f"relabel needs a one-dimensional array of at least one label. Received: shape={labels.shape}.{hint}"
        )
    classes, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int32), tuple(str(label) for label in classes.tolist())


def renumbered(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers class ids, which may have gaps, without gaps.

    Args:
        ids: Int array (n,), >= 0 and of a size that an array of as many booleans fits into memory.

    Returns:
        (labels, classes): int32 array (n,) in [0, number of classes); int array of the ids that occur, ascending.
    """
    # np.unique does the same in a minute for 17 million.
    occurs = np.zeros(int(ids.max(initial=-1)) + 1, bool)
    occurs[ids] = True
    label_of = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return label_of[ids], np.flatnonzero(occurs)
