"""Small pictures and networks for the tests of exported files, and what such a file gives for them."""

import numpy as np
from PIL import Image

from keras_margin import runtime


def smooth_picture(seed, width, height):
    """A picture as smooth as faces are; uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))


def small_network(height, width, seed):
    """A Keras network from (height, width, 3) to 24 numbers, with the kinds of layer that a backbone has."""
    import keras

    keras.utils.set_random_seed(seed)
    images = keras.Input((height, width, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127.5 / 128)(images)
    x = keras.layers.Conv2D(8, 3, strides=4, use_bias=False)(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2])(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(12, 3, strides=4, activation="relu")(x)
    return keras.Model(images, keras.layers.Dense(24)(keras.layers.Flatten()(x)), name="small")


def unit(rows):
    rows = np.float64(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosines(found, wanted):
    """Cosine of each row of `found` with the same row of `wanted`, float64."""
    return np.sum(unit(found) * unit(wanted), axis=1)


def run_tflite(path, images):
    """Unit embeddings of the images by an exported .tflite file."""
    return runtime.Embedder(str(path)).embed(images)
