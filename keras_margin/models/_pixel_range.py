"""A check of the first images: pixels in [0, 1] for a network that rescales [0, 255] itself."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_margin import _keras

# Images looked at.
_SAMPLES = 64


def check_pixel_range(images: Any, network: Any) -> None:
    """Warns where images are floats in [0, 1] and the network's first layer rescales [0, 255].

    Such a network sees black images, trains, and comes out worse without an error.

    Args:
        images: Array (batch, height, width, channels); anything else passes unread.
        network: Keras model.
    """
    if not isinstance(images, np.ndarray) or images.dtype.kind != "f" or images.ndim != 4 or not len(images):
        return
    sample = images[:_SAMPLES]
    if not (sample.max() <= 1.0 and sample.min() >= -1.0 and sample.max() > 0) or not rescales_bytes(network):
        return
    warnings.warn(
        f"The images are {images.dtype} between {sample.min():.3g} and {sample.max():.3g}, and the network begins with "
        "a Rescaling layer for pixels in [0, 255]: it would see them as black. Pass pixels as they are, uint8 or float "
        "in [0, 255], and leave out the division by 255.",
        stacklevel=3,
    )


def rescales_bytes(network: Any) -> bool:
    """Tells whether the network's first layer that computes rescales pixels in [0, 255] to about [-1, 1] or [0, 1]."""
    for layer in _keras.all_layers(network) if isinstance(network, keras.Model) else ():
        if isinstance(layer, (keras.layers.InputLayer, keras.Model)):
            continue
        return isinstance(layer, keras.layers.Rescaling) and bool(np.all(np.asarray(layer.scale) < 0.02))
    return False
