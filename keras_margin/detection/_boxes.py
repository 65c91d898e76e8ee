"""Boxes as TensorFlow operations of static shapes: rows of (x1, y1, x2, y2), each with a strength.

A strength says how far a box's logit lies above its threshold: 0 is an empty slot.
"""

import numpy as np
import tensorflow as tf


def best(count, rank, *rows):
    """Sorts by `rank`, the largest first, and keeps `count`.

    Args:
        count: int; all are kept where there are fewer.
        rank: float32 (n,).
        rows: Tensors of n rows.

    Returns:
        Tuple of the rows of each, sorted.
    """
    _, index = tf.math.top_k(rank, min(count, rank.shape[0]))
    return tuple(tf.gather(each, index) for each in rows)


def suppress(boxes, strengths, threshold, of_smaller=False):
    """Empties the slots of boxes that a stronger one overlaps, whether or not that one was removed itself.

    This is the package's rule. It is not the greedy one, in which a removed box removes none.

    Args:
        boxes: float32 (n, 4), sorted by their strength.
        strengths: float32 (n,), falling.
        threshold: Largest overlap that is kept: intersection over union.
        of_smaller: Whether the overlap is intersection over the smaller area.

    Returns:
        float32 (n,), the strengths, 0 where a box was removed.
    """
    count = boxes.shape[0]
    x1, y1, x2, y2 = tf.split(boxes, 4, 1)
    across = tf.nn.relu(tf.minimum(x2, tf.transpose(x2)) - tf.maximum(x1, tf.transpose(x1)))
    down = tf.nn.relu(tf.minimum(y2, tf.transpose(y2)) - tf.maximum(y1, tf.transpose(y1)))
    shared, areas = across * down, (x2 - x1) * (y2 - y1)
    whole = tf.minimum(areas, tf.transpose(areas)) if of_smaller else areas + tf.transpose(areas) - shared
    # Built of two ranges: a triangle of constants would be a fifth of the file.
    place = np.arange(count, dtype=np.float32)
    stronger = tf.nn.relu(tf.sign(place[None] - tf.reshape(tf.range(count, dtype=tf.float32), (-1, 1))))
    live = tf.cast(strengths > 0, tf.float32)[:, None]
    over = tf.reduce_max(tf.nn.relu(shared - threshold * whole) * stronger * live, 0)
    return tf.where(over > 0, 0.0, strengths)


def squares(boxes):
    """The squares around the middles of boxes, of their longer sides."""
    low, high = boxes[:, :2], boxes[:, 2:]
    side = tf.reduce_max(high - low, 1, keepdims=True)
    low = low + (high - low) * 0.5 - side * 0.5
    return tf.concat([low, low + side], 1)


def sides(boxes):
    """Widths and heights of boxes whose last pixel counts, (n, 2)."""
    return boxes[:, 2:] - boxes[:, :2] + 1


def moved(boxes, offsets):
    """Boxes moved by offsets, (n, 4), that are given in their sides."""
    side = sides(boxes)
    return boxes + offsets * tf.concat([side, side], 1)


def areas(boxes):
    """Areas of boxes, float32 (n,), >= 0."""
    side = tf.nn.relu(boxes[:, 2:] - boxes[:, :2])
    return side[:, 0] * side[:, 1]


def live_count(strengths):
    """How many slots are taken, float32 scalar."""
    return tf.reduce_sum(tf.cast(strengths > 0, tf.float32))
