"""MTCNN's three networks as TensorFlow operations on constants, with logits where the package has a softmax.

Softmax saturates: in float32 every logit above 17 becomes the same 1.0, and which of two such boxes removes the other
would be chance. The logit of "face" less that of "no face" ranks them. One column of weights gives it.
"""

import importlib.util
import pathlib

import numpy as np
import tensorflow as tf

from keras_margin._utils.messages import install_hint


class Networks:
    """P-Net, R-Net and O-Net of the `mtcnn` package.

    Raises:
        ImportError: The package is not installed; the message names the extra.
    """

    def __init__(self):
        self._proposal, self._refine, self._output = (_weights(name) for name in ("pnet", "rnet", "onet"))

    def proposal(self, image, bound):
        """Runs P-Net.

        Args:
            image: float32 (1, height, width, 3), in [-1, 1].
            bound: float32 (1, height - 2, width - 2, 1): an upper bound of the activations in front of the pool, which
                ends the image before the tensor ends.

        Returns:
            Offsets (1, rows, columns, 4) and logits (1, rows, columns), for each cell of 12 pixels.
        """
        layers = _Layers(self._proposal)
        x = tf.minimum(layers.prelu(layers.conv(image)), bound)
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        x = layers.prelu(layers.conv(x))
        x = layers.prelu(layers.conv(x))
        return layers.conv(x), layers.conv(x, _face_logit)[..., 0]

    def refine(self, crops):
        """Runs R-Net on float32 (n, 24, 24, 3): offsets (n, 4) and logits (n,)."""
        layers = _Layers(self._refine)
        x = tf.nn.max_pool2d(layers.prelu(layers.conv(crops)), 3, 2, "SAME")
        x = tf.nn.max_pool2d(layers.prelu(layers.conv(x)), 3, 2, "VALID")
        x = layers.flat(layers.prelu(layers.conv(x)))
        x = layers.prelu(layers.dense(x))
        return layers.dense(x), layers.dense(x, _face_logit)[:, 0]

    def output(self, crops):
        """Runs O-Net on float32 (n, 48, 48, 3): offsets (n, 4), points (n, 5, 2) in sides of the box, logits (n,)."""
        layers = _Layers(self._output)
        x = tf.nn.max_pool2d(layers.prelu(layers.conv(crops)), 3, 2, "SAME")
        x = tf.nn.max_pool2d(layers.prelu(layers.conv(x)), 3, 2, "VALID")
        x = tf.nn.max_pool2d(layers.prelu(layers.conv(x)), 2, 2, "SAME")
        x = layers.flat(layers.prelu(layers.conv(x)))
        x = layers.prelu(layers.dense(x))
        offsets, points = layers.dense(x), layers.dense(x, _interleaved)
        return offsets, tf.reshape(points, (-1, 5, 2)), layers.dense(x, _face_logit)[:, 0]


class _Layers:
    """Takes a network's arrays in the order in which its layers were saved."""

    def __init__(self, arrays):
        self._arrays = iter(arrays)

    def conv(self, x, change=lambda array: array):
        kernel, bias = change(next(self._arrays)), change(next(self._arrays))
        return tf.nn.conv2d(x, kernel, 1, "VALID") + bias

    def dense(self, x, change=lambda array: array):
        kernel, bias = change(next(self._arrays)), change(next(self._arrays))
        return tf.matmul(x, kernel) + bias

    def prelu(self, x):
        # As Keras writes it, minus and all: the converter makes one PRELU of this, and five operators of a difference.
        return tf.nn.relu(x) + -next(self._arrays) * tf.nn.relu(-x)

    @staticmethod
    def flat(x):
        # The weights come from Caffe, whose images lie on their side.
        x = tf.transpose(x, (0, 2, 1, 3))
        return tf.reshape(x, (x.shape[0], -1))


def _face_logit(array):
    """The weights of (no face, face) as those of their difference."""
    return (np.float64(array[..., 1:2]) - array[..., 0:1]).astype(np.float32)


def _interleaved(array):
    """The weights of the five x and then the five y as those of (x, y), five times."""
    return np.ascontiguousarray(np.stack([array[..., :5], array[..., 5:]], axis=-1).reshape(*array.shape[:-1], 10))


def _weights(name):
    try:
        import joblib

        package = importlib.util.find_spec("mtcnn")
        if package is None:
            raise ImportError("No module named 'mtcnn'", name="mtcnn")
    except ImportError as error:
        raise ImportError(
            f"The face detector is made of the mtcnn package's weights: {install_hint('align')}. "
            f"The import failed with: {error}"
        ) from error
    # The file is a pickle: the package's own and no other, wherever the program runs.
    return joblib.load(pathlib.Path(package.submodule_search_locations[0]) / "assets" / "weights" / f"{name}.lz4")
