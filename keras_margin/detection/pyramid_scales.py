"""Which levels MTCNN's image pyramid has."""

import numpy as np

CELL = 12  # Pixels: the smallest image that P-Net takes, and the face that it looks for in it.
_FACTOR = 0.709  # From a level of the pyramid to the next.


def pyramid_scales(height: int, width: int, min_face_size: float) -> np.ndarray:
    """Computes the scales of the image pyramid: 12 / min_face_size * 0.709^k while both sides keep 12 pixels.

    mtcnn 1.0 counts the levels as if min_face_size were 20. With a larger one its last levels are smaller than P-Net
    takes; with a smaller one the levels of the largest faces are missing.

    Args:
        height: Of the image, pixels, >= 1.
        width: Of the image, pixels, >= 1.
        min_face_size: Pixels, > 0.

    Returns:
        float64 array (levels,), falling; empty where the image is too small for such a face.

    Example:
        >>> pyramid_scales(30, 40, 20).round(3).tolist()
        [0.6, 0.425]
    """
    first, shortest = CELL / min_face_size, min(height, width)
    scales: list[float] = []
    # The package cuts a level's sides to whole pixels.
    while int(shortest * (scale := first * _FACTOR ** len(scales))) >= CELL:
        scales.append(scale)
    return np.array(scales)


def finer(min_face_size: float, most: float) -> float:
    """Returns the largest of min_face_size * 0.709^k, k >= 0, that is at most `most` pixels."""
    while min_face_size > most * (1 + 1e-9):
        min_face_size *= _FACTOR
    return min_face_size
