"""Which of several faces is meant."""

import numpy as np


def _largest(boxes, shape):
    return [int(np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))]


def _centre(boxes, shape):
    middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
    offsets = (boxes[:, :2] + boxes[:, 2:]) / 2 - middle
    return [int(np.argmin(np.sum(offsets**2, axis=1)))]


def _all(boxes, shape):
    # By the reader's habit, whatever order the detector has: left to right, then downwards.
    return np.lexsort((boxes[:, 1], boxes[:, 0])).tolist()


def _skip(boxes, shape):
    return [0] if len(boxes) == 1 else []


# Each: boxes (n, 4) of x1, y1, x2, y2, n >= 1, and the image's shape -> indices of the faces that are cropped.
POLICIES = {"largest": _largest, "centre": _centre, "all": _all, "skip": _skip}


def check_policy(policy: str) -> None:
    """Raises ValueError unless there is such a policy."""
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}. Received: policy={policy!r}.")


def checked_faces(boxes, points):
    """(boxes, points) as a detector returned them, as float64 arrays.

    Raises:
        ValueError: If they have other shapes than (n, 4) and (n, 5, 2).
    """
    boxes, points = np.asarray(boxes, dtype=np.float64), np.asarray(points, dtype=np.float64)
    if len(boxes) == 0:
        return np.empty((0, 4)), np.empty((0, 5, 2))
    if boxes.shape[1:] != (4,) or points.shape != (len(boxes), 5, 2):
        raise ValueError(
            "align needs a detector that returns boxes (n, 4), points (n, 5, 2) and scores (n,). "
            f"Received: boxes {boxes.shape}, points {points.shape}."
        )
    return boxes, points
