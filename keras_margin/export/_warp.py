"""The aligner's crop as TensorFlow operations that LiteRT has builtin: `alignment.align_points`, step by step.

A loop halves the photograph as often as the face is too large, and a loop adds the samples of an output pixel: faces
that are not larger than the template pay for one sample. See alignment/resample.py for the formulas.
"""

import numpy as np
import tensorflow as tf

from keras_margin.alignment import resample, transform
from keras_margin.detection import sampling

# A power of two, which float16 holds, of a pixel: the template is kept to a 16,384th of a pixel.
_TEMPLATE_UNITS = 2.0**14


def crop(photo, size, points, shape):
    """Crops a face whose five points are known onto the landmark template.

    Args:
        photo: uint8 (H, W, 3), the photograph at the top left of its canvas.
        size: int32 (2,), the photograph's height and width.
        points: float32 (5, 2) of (x, y), pixels of the photograph.
        shape: (height, width) of the crop.

    Returns:
        float32 (height, width, 3), whole numbers in [0, 255], within one of `align_points`.
    """
    template = _template(shape, size)
    (a, b), middle = _inverse(points, template)
    centre = tf.reduce_mean(template, 0)
    columns, rows = _grid(shape)
    across, down = columns - centre[0], rows - centre[1]
    halvings, count, step = _samples(tf.sqrt(a * a + b * b))
    table, size = _halved(tf.cast(photo, tf.float32), tf.cast(size, tf.float32), halvings)
    square = tf.pow(2.0, halvings)
    xs = (a * across + b * down + middle[0] + 0.5) / square - 0.5
    ys = (a * down - b * across + middle[1] + 0.5) / square - 0.5

    def add(number, total):
        row = tf.floor((number + 0.5) / count)
        x, y = (number - row * count - (count - 1) / 2) * step, (row - (count - 1) / 2) * step
        reading = sampling.bilinear(table, size, ys + (a * y - b * x) / square, xs + (a * x + b * y) / square)
        return number + 1, total + sampling.black_outside(reading)

    start = tf.constant(0.0), tf.zeros((*shape, 3))
    _, total = tf.while_loop(lambda number, _: number < count * count, add, start)
    return tf.round(total / (count * count))


def _template(shape, size):
    """The landmark template, float32 (5, 2), out of whole numbers, which float16 weights leave as they are.

    What is added is 0, which no converter knows: it would compute the constant first, and round it to float16.
    """
    whole = np.rint(transform.landmark_template(tuple(shape)) * _TEMPLATE_UNITS).astype(np.int32)
    return tf.cast(whole + tf.minimum(size[0], 0), tf.float32) / _TEMPLATE_UNITS


def _grid(shape):
    """(columns (1, width), rows (height, 1)) of the crop's pixels, float32."""
    return np.arange(shape[1], dtype=np.float32)[None], np.arange(shape[0], dtype=np.float32)[:, None]


def _inverse(points, template):
    """((a, b), the points' mean) of the similarity from the template to the points: x = a u + b v, y = a v - b u.

    Umeyama's solution in closed form: with p and q the two sets less their means, the transform from p to q is
    [[c, -s], [s, c]], c = sum p . q / sum p^2 and s = sum p x q / sum p^2. Its inverse is [[c, s], [-s, c]] over
    c^2 + s^2.
    """
    middle = tf.reduce_mean(points, 0)
    p, q = points - middle, template - tf.reduce_mean(template, 0)
    cosine = tf.reduce_sum(p * q)
    sine = tf.reduce_sum(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])
    # Over the squared scale: (c / sum p^2) / ((c^2 + s^2) / (sum p^2)^2). Points that are all one give a crop of them.
    factor = tf.reduce_sum(p * p) / tf.maximum(cosine * cosine + sine * sine, 1e-12)
    return (cosine * factor, sine * factor), middle


def _samples(shrink):
    """(halvings, samples an axis, their distance in output pixels) as `resample.sampling` chooses them, float32."""
    most = (resample.MOST_SAMPLES + resample.ROUNDING) * np.float32(2.0) ** np.arange(_MOST_HALVINGS, dtype=np.float32)
    halvings = tf.reduce_sum(tf.cast(shrink > most, tf.float32))
    ratio = shrink / tf.pow(2.0, halvings)
    one = tf.cast(shrink <= resample.LEAST_SHRINK + resample.ROUNDING, tf.float32)
    count = one + (1 - one) * tf.minimum(tf.math.ceil(ratio - resample.ROUNDING), resample.MOST_SAMPLES)
    variance = tf.nn.relu(ratio * ratio - 3 + 2 / tf.pow(4.0, halvings)) / tf.maximum(count * count - 1, 1)
    return halvings, count, (1 - one) * tf.sqrt(variance) / tf.maximum(ratio, 1e-6)


# A face of 64 x 112 pixels a template pixel is larger than any canvas.
_MOST_HALVINGS = 8


def _halved(pixels, size, halvings):
    """(pixels, size) of a photograph after each square of 2^halvings pixels became its mean, black beyond the edge."""
    height, width = pixels.shape[:2]
    odd = [[0, height % 2], [0, width % 2], [0, 0]]
    rest = [[0, height - (height + 1) // 2], [0, width - (width + 1) // 2], [0, 0]]
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]

    def halve(number, pixels, size):
        inside = tf.cast((y < size[0]) & (x < size[1]), tf.float32)[..., None]
        means = tf.nn.avg_pool2d(tf.pad(pixels * inside, odd)[None], 2, 2, "VALID")[0]
        return number + 1, tf.ensure_shape(tf.pad(means, rest), pixels.shape), tf.math.ceil(size / 2)

    start = tf.constant(0.0), pixels, size
    _, pixels, size = tf.while_loop(lambda number, *_: number < halvings, halve, start)
    return pixels, size
