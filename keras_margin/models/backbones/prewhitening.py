"""Pre-whitening in front of any backbone: each image less its own mean, over its own standard deviation."""

import math

import keras
from keras import ops


def prewhitened(backbone: keras.Model) -> keras.Model:
    """The backbone behind pre-whitening, with the same input.

    x = (x - mean(x)) / max(std(x), 1 / sqrt(number of values in x))

    The mean and the deviation are those of one image, over all its pixels and channels; the bound is facenet's, for
    blank images. The backbone's own normalisation is undone, so that its first convolution sees the x above.

    Args:
        backbone: Keras model of this package, from pixels in [0, 255], with its layer "normalize".

    Returns:
        keras.Model of the same input and output, not normalised.

    Raises:
        ValueError: Where the backbone has no such layer.

    Reference: Yang et al., IAM loss, 2020, section 5.2 ("The face images are pre-whitened"); the formula is facenet's.
    """
    normalize = next((layer for layer in backbone.layers if layer.name == "normalize"), None)
    if not isinstance(normalize, keras.layers.Rescaling):
        raise ValueError(
            f"Pre-whitening needs a backbone of keras_margin.models.backbones, with its layer 'normalize'. Received: "
            f"{backbone.name}, with {', '.join(layer.name for layer in backbone.layers[:4])} ..."
        )
    shape = backbone.input_shape[1:]
    images = keras.Input(shape, name="image")
    centered = images - ops.mean(images, axis=(1, 2, 3), keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(centered), axis=(1, 2, 3), keepdims=True))
    white = centered / ops.maximum(deviation, 1 / math.sqrt(math.prod(shape)))
    outputs = backbone((white - normalize.offset) / normalize.scale)
    return keras.Model(images, outputs, name=f"{backbone.name}_prewhitened")
