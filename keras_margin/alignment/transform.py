"""Similarity transform and warp of a face onto the landmark template. NumPy only.

Points are (x, y), x to the right and y downwards, the centre of the top left pixel at (0, 0). The five points of a
face are, in order: the eye at smaller x, the eye at larger x, the nose tip, the mouth corner at smaller x, the mouth
corner at larger x. Left and right are the image's, as the viewer sees them, not the person's.
"""

import math
import operator
from typing import Any

import numpy as np

from keras_margin._typing import ArrayLike, Size
from keras_margin.alignment import resample

# The five points of an upright face in a 112x112 crop, as ArcFace's released data sets are aligned.
LANDMARKS_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)
LANDMARKS_112.setflags(write=False)


def landmark_template(size: int | Size = 112) -> np.ndarray:
    """Returns where the five points of a face lie in an aligned crop.

    With LANDMARKS_112 the published points of the 112x112 crop:

        x = LANDMARKS_112[:, 0] * height / 112 - (height - width) / 2
        y = LANDMARKS_112[:, 1] * height / 112

    The height sets the face's scale and a narrower crop loses the same strip on both sides, so 112x96 subtracts 8
    from x, as SphereFace's crops do.

    Args:
        size: Side of a square crop, or (height, width), in pixels, each >= 1.

    Returns:
        float64 array (5, 2) of (x, y).

    Raises:
        TypeError: `size` is not an integer or a pair of integers.
        ValueError: a side is below 1.

    Example:
        >>> landmark_template((112, 96))[0].round(4).tolist()
        [30.2946, 51.6963]

    Reference: Deng et al., ArcFace, CVPR 2019, section 3.1 (112x112); Liu et al., SphereFace, CVPR 2017 (112x96).
    """
    height, width = _height_width(size)
    ratio = height / 112.0
    return LANDMARKS_112 * ratio - np.array([(height - width) / 2.0, 0.0])


def similarity_transform(source: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Computes the least-squares rotation, uniform scale and shift from `source` to `target`, never a reflection.

    With mu the means, sigma_s^2 the mean squared distance of the source points from their mean, and
    C = mean((target - mu_t) (source - mu_s)^T) = U D V^T, D descending:

        S = diag(1, 1) if det(U) det(V) > 0 else diag(1, -1)
        R = U S V^T,   c = trace(D S) / sigma_s^2,   t = mu_t - c R mu_s

    which minimises mean ||target - (c R source + t)||^2.

    Args:
        source: Array (n, 2) of (x, y), n >= 2, finite, not all the same point.
        target: Array (n, 2) of (x, y), n >= 2, finite, not all the same point.

    Returns:
        float64 array (2, 3), [c R | t]: `target ~= source @ matrix[:, :2].T + matrix[:, 2]`.

    Raises:
        ValueError: the shapes are wrong, a value is not finite, or the points fix no transform (all source or all
            target points coincide, or the best scale is 0).

    Example:
        >>> similarity_transform([[0, 0], [1, 0]], [[5, 5], [5, 7]]).round(6).tolist()
        [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]

    Reference: Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    IEEE TPAMI 13(4), 1991, eq. 38-43.
    """
    source, target = _points(source, "source"), _points(target, "target")
    if source.shape != target.shape:
        raise ValueError(
            "similarity_transform needs as many source as target points. "
            f"Received: source {source.shape}, target {target.shape}."
        )
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_offset, target_offset = source - source_mean, target - target_mean
    source_variance = np.mean(np.sum(source_offset**2, axis=1))

    covariance = target_offset.T @ source_offset / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0 if np.linalg.det(left) * np.linalg.det(right) > 0 else -1.0])
    strength = float(np.sum(singular * signs))
    # trace(D S) is at most sqrt(sigma_s^2 sigma_t^2); 1e-9 of that is rounding (a mirrored square), not a scale.
    target_variance = np.mean(np.sum(target_offset**2, axis=1))
    if strength <= 1e-9 * np.sqrt(source_variance * target_variance):
        raise ValueError(
            "similarity_transform found no rotation and scale that fits: the best scale is 0. "
            f"Received: source {source.tolist()}, target {target.tolist()}. Is one of them mirrored or shuffled?"
        )
    linear = strength / source_variance * (left * signs) @ right
    return np.column_stack([linear, target_mean - linear @ source_mean])


def warp(image: np.ndarray, matrix: ArrayLike, size: int | Size, antialias: bool = True) -> np.ndarray:
    """Maps an image through an affine transform, with 0 (black) outside the image.

    out(p) = sum over the 4 pixels q around `inverse(matrix) p` of in(q) (1 - |dx|) (1 - |dy|), in(q) = 0 outside

    That is bilinear interpolation, and the result wherever an output pixel covers at most 1.25 x 1.25 pixels of the
    image, 1.25 = 1 / sqrt(|det|) of the matrix. Where it covers more, it is the mean of 4 to 16 such samples spread
    over its area, taken beyond 4 x 4 pixels from means of 2 x 2, 4 x 4, ... pixels; docs/alignment.md has the formula.

    Args:
        image: uint8 array (height, width, 3), RGB.
        matrix: Array (2, 3), finite and invertible, from image coordinates to the output's, as
            `similarity_transform` returns.
        size: Side of a square output, or (height, width), in pixels, each >= 1.
        antialias: Whether an output pixel averages the area that it covers. False is the field's own alignment code,
            OpenCV's `warpAffine`: the four nearest pixels, whatever the scale.

    Returns:
        uint8 array (out_height, out_width, 3), rounded to nearest (ties to even).

    Raises:
        TypeError: `image` is not a uint8 NumPy array, or `size` is not an integer or a pair of integers.
        ValueError: a shape is wrong, or `matrix` is not finite or cannot be inverted.

    Example:
        >>> warp(np.full((4, 4, 3), 7, np.uint8), [[1, 0, 0], [0, 1, 0]], 2)[0, 0].tolist()
        [7, 7, 7]
    """
    check_image(image, "warp")
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise ValueError(f"warp needs a finite 2x3 matrix. Received: {matrix.tolist()}.")
    inverse, shrink = _inverse(matrix)
    height, width = _height_width(size)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down = columns - matrix[0, 2], rows - matrix[1, 2]
    (a, b), (c, d) = inverse
    samples = resample.sampling(shrink) if antialias else resample.Sampling()
    found = resample.resample(image, inverse, a * across + b * down, c * across + d * down, samples)
    return np.rint(found).astype(np.uint8)


def align_points(image: np.ndarray, points: ArrayLike, size: int | Size = 112, antialias: bool = True) -> np.ndarray:
    """Crops one face whose five points are known: `warp` by `similarity_transform` onto `landmark_template`.

    Args:
        image: uint8 array (height, width, 3), RGB.
        points: Array (5, 2) of (x, y) in the order of this module's first paragraph.
        size: Side of a square crop, or (height, width), in pixels.
        antialias: See `warp`.

    Returns:
        uint8 array (size, size, 3) or (height, width, 3), RGB.

    Raises:
        TypeError: `image` is not a uint8 NumPy array, or `size` is not an integer or a pair of integers.
        ValueError: a shape is wrong, or the points fix no transform.

    Example:
        >>> align_points(np.zeros((200, 200, 3), np.uint8), LANDMARKS_112 + 40).shape
        (112, 112, 3)
    """
    if np.shape(points) != (5, 2):
        raise ValueError(f"align_points needs five (x, y) points, shape (5, 2). Received: shape {np.shape(points)}.")
    return warp(image, similarity_transform(points, landmark_template(size)), size, antialias)


def check_image(image: Any, caller: str) -> None:
    """Raises unless `image` is a uint8 RGB array (height, width, 3) with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        what = f"{image.dtype} array" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(
            f"{caller} needs a uint8 RGB image as a NumPy array. Received: {what}. "
            "If its values are in [0, 1], pass np.rint(image * 255).astype(np.uint8)."
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"{caller} needs one RGB image of shape (height, width, 3). Received: shape {image.shape}. "
            "Repeat a grey image three times along a last axis; drop an alpha channel."
        )


def _inverse(matrix):
    """(inverse of a matrix's linear part, side of an output pixel in the image)."""
    linear = matrix[:, :2]
    determinant = linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]
    # A similarity has determinant / squared norm = 1/2; at 1e-12 the inverse would keep four digits of a coordinate.
    if abs(determinant) <= 1e-12 * np.sum(linear**2):
        raise ValueError(f"warp needs a matrix that can be inverted. Received: {matrix.tolist()}.")
    return np.linalg.inv(linear), 1 / math.sqrt(abs(determinant))


def _points(points: ArrayLike, name: str) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise ValueError(f"similarity_transform needs {name} points of shape (n, 2), n >= 2. Received: {points.shape}.")
    if not np.isfinite(points).all():
        raise ValueError(f"similarity_transform needs finite {name} points. Received: {points.tolist()}.")
    # Spread below float64's rounding of the coordinates themselves carries no direction.
    if np.ptp(points, axis=0).max() <= 1e-12 * max(np.abs(points).max(), np.finfo(np.float64).tiny):
        raise ValueError(
            f"similarity_transform needs {name} points that are not all the same. Received: {points.tolist()}."
        )
    return points


def _height_width(size):
    """(height, width) of `size`, an integer or a pair of integers."""
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    try:
        height, width = (operator.index(side) for side in pair)
    except (TypeError, ValueError):
        raise TypeError(f"size must be an integer or (height, width). Received: size={size!r}.") from None
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1 pixel a side. Received: size={size!r}.")
    return height, width
