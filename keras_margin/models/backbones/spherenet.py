"""SphereNet: the plain and residual networks of SphereFace, 4 to 64 convolutions, on faces of 112 x 96 pixels.

Stage: Conv3x3(stride 2)-PReLU, then residual units of two Conv3x3-PReLU plus the identity. Tail: FC. No batch
normalisation, and no ReLU at the end.

Reference: Liu et al., SphereFace, CVPR 2017, table 2; initial weights and biases as in its released code.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_margin._typing import Size, Tensor
from keras_margin.models.backbones import _layers

WIDTHS = (64, 128, 256, 512)


def spherenet(
    units: Sequence[int],
    *,
    widths: Sequence[int] = WIDTHS,
    image_size: Size = (112, 96),
    embedding_size: int = 512,
    name: str | None = None,
) -> keras.Model:
    """Builds a SphereNet as a functional Keras model.

    Args:
        units: Residual units in each stage, such as (1, 2, 4, 1). Each stage halves height and width.
        widths: Channels of each stage.
        image_size: (height, width) of the input, pixels.
        embedding_size: Size of the output.
        name: Name of the model.

    Returns:
        keras.Model from RGB pixels (batch, height, width, 3) in [0, 255], uint8 or float, to embeddings
        (batch, embedding_size), not normalised.

    Raises:
        ValueError: Where units and widths differ in length.

    Example:
        >>> spherenet((0, 1, 0, 0), embedding_size=256).output_shape
        (None, 256)

    Reference: Liu et al., SphereFace, CVPR 2017, table 2.
    """
    if len(units) != len(widths):
        raise ValueError(f"A SphereNet needs a width for each stage. Received: units={units}, widths={widths}.")
    images, x = _layers.image_input(image_size)
    for stage, (count, width) in enumerate(zip(units, widths, strict=True), 1):
        # The released code trains a bias where the image is halved, and none inside the units.
        start = _layers.conv(width, 3, f"conv{stage}_1", 2, initializer=_xavier(), use_bias=True)
        x = _layers.prelu(f"relu{stage}_1")(start(x))
        for unit in range(count):
            x = _unit(x, width, stage, 2 * unit + 2)
    x = layers.Flatten(_layers.CHANNELS_LAST, name="flatten")(x)
    x = layers.Dense(embedding_size, kernel_initializer=_xavier(), name="embedding")(x)
    return keras.Model(images, x, name=name)


def _unit(x: Tensor, width: int, stage: int, first: int) -> Tensor:
    shortcut = x
    for number in (first, first + 1):
        x = _layers.conv(width, 3, f"conv{stage}_{number}", initializer=keras.initializers.RandomNormal(stddev=0.01))(x)
        x = _layers.prelu(f"relu{stage}_{number}")(x)
    return layers.Add(name=f"res{stage}_{first + 1}")([shortcut, x])


def _xavier() -> keras.initializers.Initializer:
    # Caffe's xavier counts inputs alone: uniform, variance 1 / fan_in.
    return keras.initializers.VarianceScaling(1.0, mode="fan_in", distribution="uniform")


def spherenet4(**kwargs: Any) -> keras.Model:
    """Builds SphereNet-4: units 0-0-0-0. Arguments as in `spherenet`.

    Example:
        >>> spherenet4(embedding_size=256).output_shape
        (None, 256)
    """
    return spherenet((0, 0, 0, 0), **{"name": "spherenet4", **kwargs})


def spherenet10(**kwargs: Any) -> keras.Model:
    """Builds SphereNet-10: units 0-1-2-0. Arguments as in `spherenet`.

    Example:
        >>> spherenet10().input_shape
        (None, 112, 96, 3)
    """
    return spherenet((0, 1, 2, 0), **{"name": "spherenet10", **kwargs})


def spherenet20(**kwargs: Any) -> keras.Model:
    """Builds SphereNet-20: units 1-2-4-1. Arguments as in `spherenet`.

    Example:
        >>> spherenet20().output_shape
        (None, 512)
    """
    return spherenet((1, 2, 4, 1), **{"name": "spherenet20", **kwargs})


def spherenet36(**kwargs: Any) -> keras.Model:
    """Builds SphereNet-36: units 2-4-8-2. Arguments as in `spherenet`.

    Example:
        >>> get("spherenet36") is spherenet36  # spherenet36() builds it
        True
    """
    return spherenet((2, 4, 8, 2), **{"name": "spherenet36", **kwargs})


def spherenet64(**kwargs: Any) -> keras.Model:
    """Builds SphereNet-64: units 3-8-16-3. Arguments as in `spherenet`.

    Example:
        >>> get("spherenet64") is spherenet64  # spherenet64() builds it
        True
    """
    return spherenet((3, 8, 16, 3), **{"name": "spherenet64", **kwargs})
