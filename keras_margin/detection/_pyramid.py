"""The image pyramid of a photograph on a canvas: every level as the package would see the photograph alone."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_margin.detection.pyramid_scales import CELL, pyramid_scales

# Beyond any activation of P-Net.
_BOUND = 1e4
# A side of exactly n pixels must not become n - 1 by float32's rounding of the scale.
_ROUNDING = 1e-4


class Level(NamedTuple):
    """A level of the pyramid.

    Attributes:
        scale: float, of the level to the photograph.
        image: float32 (1, rows, columns, 3), in [-1, 1], 0 beyond the photograph.
        bound: float32 (1, rows - 2, columns - 2, 1), see `Networks.proposal`.
        live: float32 (rows of cells, columns of cells), 1 where a cell lies inside the photograph, 0 elsewhere.
    """

    scale: float
    image: tf.Tensor
    bound: tf.Tensor
    live: tf.Tensor


def levels(photo, size, min_face_size):
    """Computes the pyramid.

    Args:
        photo: uint8 (H, W, 3), the photograph at the top left of its canvas.
        size: float32 (2,), the photograph's height and width.
        min_face_size: Pixels.

    Returns:
        List of Level.
    """
    height, width = photo.shape[:2]
    pixels = (tf.cast(photo, tf.float32) - 127.5) / 128
    return [_level(pixels, size, scale) for scale in pyramid_scales(height, width, min_face_size)]


def _level(pixels, size, scale):
    rows, columns = (int(side * scale) for side in pixels.shape[:2])
    # The photograph's own part, cut to whole pixels as the package does; at least 1, by which sides are divided.
    own = tf.maximum(tf.floor(size * np.float32(scale) + _ROUNDING), 1)
    image = area_means(area_means(pixels, 0, rows, size[0], own[0]), 1, columns, size[1], own[1])
    y, x = (np.arange(side - 2, dtype=np.float32) for side in (rows, columns))
    inside = (y[:, None] < own[0] - 2) & (x[None] < own[1] - 2)
    # After a 3x3 convolution, a 2x2 pool that takes an odd edge alone, and two more 3x3 convolutions.
    cells = tf.math.ceil((own - 2) / 2) - 4
    y, x = (np.arange(-(-(side - 2) // 2) - 4, dtype=np.float32) for side in (rows, columns))
    live = (y[:, None] < cells[0]) & (x[None] < cells[1]) & (tf.reduce_min(own) >= CELL)
    bound = tf.where(inside, _BOUND, -_BOUND)[None, ..., None]
    return Level(float(scale), image[None], bound, tf.cast(live, tf.float32))


def area_means(image, axis, most, side, count):
    """Computes the means over equal stretches of an axis, as tf.image's AREA does, of a length known at run time.

    mean(i) = (S(edge(i + 1)) - S(edge(i))) * count / side,   edge(i) = min(i side / count, side)

    with S the running sum, linear between whole pixels. AREA itself is not an operator of TFLite.

    Args:
        image: float32 (rows, columns, 3).
        axis: 0 or 1.
        most: Length of that axis in the result; stretches beyond `count` are 0.
        side: float32 scalar, how many pixels of the axis count.
        count: float32 scalar, stretches, in [1, most].

    Returns:
        float32, `image` with `most` in the place of that axis's length.
    """
    ratio = side / count
    edges = tf.minimum(np.arange(most + 1, dtype=np.float32) * ratio, side)
    whole = tf.minimum(tf.floor(edges), image.shape[axis] - 1.0)
    part = tf.reshape(edges - whole, [-1 if each == axis else 1 for each in range(3)])
    whole = tf.cast(whole, tf.int32)
    sums = tf.gather(tf.cumsum(image, axis, exclusive=True), whole, axis=axis)
    sums += tf.gather(image, whole, axis=axis) * part
    low, high = ([slice(None)] * axis + [cut] for cut in (slice(None, -1), slice(1, None)))
    return (sums[tuple(high)] - sums[tuple(low)]) / ratio
