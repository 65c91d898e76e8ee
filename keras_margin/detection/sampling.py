"""Reads a photograph on a canvas at any positions, as TensorFlow operations that LiteRT has builtin."""

from typing import NamedTuple

import tensorflow as tf


class Reading(NamedTuple):
    """What was read.

    Attributes:
        values: float32 (..., 3), bilinear, at the nearest position inside the photograph.
        above_y: float32 (...), how far the position lay outside, pixels, 0 inside; likewise `above_x`.
        above_x: See `above_y`.
    """

    values: tf.Tensor
    above_y: tf.Tensor
    above_x: tf.Tensor


def bilinear(photo, size, ys, xs):
    """Reads a photograph at positions, bilinearly.

    Args:
        photo: (H, W, 3), uint8 or float32, H * W < 2^24; the photograph at its top left.
        size: float32 (2,), the photograph's height and width, whole numbers.
        ys: float32, positions (rows); (0, 0) is the centre of the first pixel.
        xs: float32, positions (columns), of a shape that broadcasts with `ys`: a grid needs no full arrays.

    Returns:
        Reading.
    """
    width = photo.shape[1]
    top, next_row, part_y, above_y = _axis(ys, size[0])
    left, next_column, part_x, above_x = _axis(xs, size[1])
    pixels = tf.reshape(photo, (-1, 3))
    # Whole numbers below 2^24 are exact in float32.
    corner = tf.cast(top * width + left, tf.int32)
    right, below = tf.cast(next_column, tf.int32), tf.cast(next_row * width, tf.int32)

    def read(index):
        return tf.cast(tf.gather(pixels, index), tf.float32)

    part_x, part_y = part_x[..., None], part_y[..., None]
    upper = _mix(read(corner), read(corner + right), part_x)
    lower = _mix(read(corner + below), read(corner + below + right), part_x)
    return Reading(_mix(upper, lower, part_y), above_y, above_x)


def black_outside(reading):
    """The values of a Reading with black pixels around the photograph, each of the four taps for itself."""
    return reading.values * (tf.nn.relu(1 - reading.above_y) * tf.nn.relu(1 - reading.above_x))[..., None]


def constant_outside(reading, value):
    """The values of a Reading, and `value` wherever the position itself lies outside of the photograph."""
    inside = tf.cast(reading.above_y + reading.above_x <= 0, tf.float32)[..., None]
    return (reading.values - value) * inside + value


def _axis(at, count):
    """(first pixel, 1 or 0 to the next, weight of the next, distance outside) of positions along an axis."""
    last = count - 1
    outside = tf.nn.relu(tf.maximum(-at, at - last))
    at = tf.minimum(tf.nn.relu(at), last)
    first = tf.floor(at)
    return first, tf.minimum(first + 1, last) - first, at - first, outside


def _mix(first, second, weight):
    return first * (1 - weight) + second * weight
