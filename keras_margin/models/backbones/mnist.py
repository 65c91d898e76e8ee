"""The networks of the papers' toy examples: six convolutions from a digit to two or three numbers one can draw.

Reference: Yang et al., Inter-class Angular Margin Loss for Face Recognition, 2020, table 1; Wen et al.,
A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, table 1.
"""

import keras
from keras import layers

from keras_margin._typing import Size
from keras_margin.models.backbones import _layers

WIDTHS = (32, 64, 128)

# Side of a pool, and its stride: three of them take 27 or 28 pixels to one.
_POOL = 3
_SMALLEST = _POOL ** len(WIDTHS)


def mnist_net(*, image_size: Size = (28, 28), embedding_size: int = 3, name: str = "mnist_net") -> keras.Model:
    """Builds the MNIST network of IAM's table 1 as a functional Keras model.

    [Conv3x3 x 2 - MaxPool3x3] of 32, 64 and 128 channels - FC, whose output is drawn.

    The table names kernels and channels alone. Chosen here: zero padding that keeps the size (without any, the sixth
    convolution has nothing left to see), pools at a stride of their own size (28 - 9 - 3 - 1 pixels; at a stride of 2
    the network costs nearly twice as much), ReLU behind each convolution and none behind the fully connected layer
    (SphereFace, appendix A: it would leave a quarter of the plane), He's initial weights, no batch normalisation.

    Args:
        image_size: (height, width) of the input, pixels, each >= 27.
        embedding_size: Size of the output.
        name: Name of the model.

    Returns:
        keras.Model from grey pixels (batch, height, width, 1) in [0, 255], uint8 or float, to embeddings
        (batch, embedding_size), not normalised.

    Raises:
        ValueError: Where the image is too small for three pools.

    Example:
        >>> mnist_net(embedding_size=2).output_shape
        (None, 2)

    Reference: Yang et al., Inter-class Angular Margin Loss for Face Recognition, 2020, table 1.
    """
    if min(image_size) < _SMALLEST:
        raise ValueError(
            f"mnist_net needs images of at least {_SMALLEST} x {_SMALLEST} pixels: each of its three pools takes three "
            f"to one. Received: image_size={tuple(image_size)}."
        )
    images, x = _layers.image_input(image_size, channels=1)
    for block, width in enumerate(WIDTHS, 1):
        for number in (2 * block - 1, 2 * block):
            x = _conv(width, f"conv{number}")(x)
        x = layers.MaxPooling2D(_POOL, data_format=_layers.CHANNELS_LAST, name=f"pool{block}")(x)
    x = layers.Flatten(_layers.CHANNELS_LAST, name="flatten")(x)
    x = layers.Dense(embedding_size, name="embedding")(x)
    return keras.Model(images, x, name=name)


def _conv(width: int, name: str) -> layers.Conv2D:
    return layers.Conv2D(
        width,
        3,
        padding="same",
        data_format=_layers.CHANNELS_LAST,
        activation="relu",
        kernel_initializer="he_normal",
        name=name,
    )


def lenet_plus_plus(
    *, image_size: Size = (28, 28), embedding_size: int = 2, name: str = "lenet_plus_plus"
) -> keras.Model:
    """Builds LeNets++, the MNIST network of the centre loss, as a functional Keras model.

    [Conv5x5-PReLU x 2 - MaxPool2x2] of 32, 64 and 128 channels - FC, whose output is drawn. 28 pixels become 14, 7, 3.

    Args:
        image_size: (height, width) of the input, pixels, each >= 8.
        embedding_size: Size of the output.
        name: Name of the model.

    Returns:
        keras.Model from grey pixels (batch, height, width, 1) in [0, 255], uint8 or float, to embeddings
        (batch, embedding_size), not normalised.

    Raises:
        ValueError: Where the image is too small for three pools.

    Example:
        >>> lenet_plus_plus().output_shape
        (None, 2)

    Reference: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, table 1.
    """
    if min(image_size) < 2 ** len(WIDTHS):
        raise ValueError(
            f"lenet_plus_plus needs images of at least {2 ** len(WIDTHS)} pixels a side: each of its three pools "
            f"halves them. Received: image_size={tuple(image_size)}."
        )
    images, x = _layers.image_input(image_size, channels=1)
    for block, width in enumerate(WIDTHS, 1):
        for number in (2 * block - 1, 2 * block):
            settings = {"padding": "same", "data_format": _layers.CHANNELS_LAST, "kernel_initializer": "he_normal"}
            x = layers.Conv2D(width, 5, **settings, name=f"conv{number}")(x)
            x = _layers.prelu(f"prelu{number}")(x)
        x = layers.MaxPooling2D(2, data_format=_layers.CHANNELS_LAST, name=f"pool{block}")(x)
    x = layers.Flatten(_layers.CHANNELS_LAST, name="flatten")(x)
    x = layers.Dense(embedding_size, name="embedding")(x)
    return keras.Model(images, x, name=name)
