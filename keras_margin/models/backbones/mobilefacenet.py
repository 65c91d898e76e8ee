"""MobileFaceNet: bottlenecks of depthwise convolutions for devices, about a million parameters.

Bottleneck: Conv1x1-BN-PReLU - DWConv3x3(stride)-BN-PReLU - Conv1x1-BN, plus the identity where shapes allow.
Tail: Conv1x1-BN-PReLU of 512 channels - GDC - FC - BN.

Reference: Chen et al., MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices, CCBR
2018, table 1. `mobilefacenet_x2` and `mobilefacenet_large` are the wider ones that insightface trains as mbf and
mbf_large.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_margin._typing import Size, Tensor
from keras_margin.models.backbones import _layers, _tails

# Channels inside the bottlenecks of each stage: the first, which halves the image, and those behind it. They stay when
# `width` grows, as in insightface's code.
EXPANDED = ((128, 128), (256, 256), (512, 256))
LAST_CHANNELS = 512


def mobilefacenet(
    *,
    blocks: Sequence[int] = (1, 4, 6, 2),
    width: int = 1,
    image_size: Size = (112, 112),
    embedding_size: int = 128,
    activation: str = "prelu",
    input_scale: float = 128.0,
    name: str = "mobilefacenet",
) -> keras.Model:
    """Builds a MobileFaceNet as a functional Keras model.

    Args:
        blocks: Bottlenecks behind the stem and behind each of the three that halve the image. One behind the stem is a
            single depthwise convolution, as in the paper.
        width: Channels between bottlenecks, as a multiple of the paper's 64 and 128; an int >= 1. From 2 on the single
            convolution behind the stem mixes `width` channels at a time, as insightface's does.
        image_size: (height, width) of the input, pixels.
        embedding_size: Size of the output.
        activation: "prelu" as published; "relu", "relu6" or "leaky_relu" (slope 0.25), which int8 runs faster.
        input_scale: Pixels enter as (x - 127.5) / input_scale. insightface's PyTorch code has 127.5.
        name: Name of the model.

    Returns:
        keras.Model from RGB pixels (batch, height, width, 3) in [0, 255], uint8 or float, to embeddings
        (batch, embedding_size), not normalised.

    Raises:
        ValueError: On an unknown activation, or where blocks and width are not such numbers.

    Example:
        >>> mobilefacenet().output_shape
        (None, 128)

    Reference: Chen et al., MobileFaceNets, 2018, table 1.
    """
    if len(blocks) != 4 or min(blocks) < 1 or width < 1 or width != int(width):
        raise ValueError(
            "A MobileFaceNet needs four numbers of blocks, each >= 1, and an int width >= 1. "
            f"Received: blocks={blocks}, width={width}."
        )
    narrow, wide = 64 * width, 128 * width
    images, x = _layers.image_input(image_size, scale=input_scale)
    x = _activated(_layers.conv(narrow, 3, "stem_conv", 2)(x), activation, "stem")
    if blocks[0] == 1:
        x = _activated(_stem_depthwise(width)(x), activation, "stem_depthwise")
    else:
        for unit in range(1, blocks[0] + 1):
            x = _bottleneck(x, narrow, EXPANDED[0][1], 1, activation, f"stem_unit{unit}")
    for stage, (count, channels, expanded) in enumerate(
        zip(blocks[1:], (narrow, wide, wide), EXPANDED, strict=True), 1
    ):
        x = _bottleneck(x, channels, expanded[0], 2, activation, f"stage{stage}_unit1")
        for unit in range(2, count + 2):
            x = _bottleneck(x, channels, expanded[1], 1, activation, f"stage{stage}_unit{unit}")
    x = _activated(_layers.conv(LAST_CHANNELS, 1, "last_conv")(x), activation, "last")
    return keras.Model(images, _tails.gdc(x, embedding_size), name=name)


def _stem_depthwise(group: int) -> layers.Layer:
    """Convolution within groups of `group` channels: of one, depthwise."""
    if group == 1:
        return _layers.depthwise_conv(3, "stem_depthwise_conv")
    return _layers.GroupedConv2D(group, 3, name="stem_depthwise_conv")


def _activated(x: Tensor, activation: str, name: str) -> Tensor:
    return _layers.activation(activation, f"{name}_{activation}")(_layers.batch_norm(f"{name}_bn")(x))


def _bottleneck(x: Tensor, channels: int, expanded: int, strides: int, activation: str, name: str) -> Tensor:
    shortcut = x
    x = _activated(_layers.conv(expanded, 1, f"{name}_expand_conv")(x), activation, f"{name}_expand")
    x = _activated(_layers.depthwise_conv(3, f"{name}_depthwise_conv", strides)(x), activation, f"{name}_depthwise")
    x = _layers.batch_norm(f"{name}_project_bn")(_layers.conv(channels, 1, f"{name}_project_conv")(x))
    # Of the bottlenecks, only those that halve the image have no identity.
    return layers.Add(name=f"{name}_add")([shortcut, x]) if strides == 1 else x


def mobilefacenet_x2(**kwargs: Any) -> keras.Model:
    """Builds insightface's `mbf`: twice the channels, 512-D. Arguments as in `mobilefacenet`.

    Example:
        >>> get("mobilefacenet_x2") is mobilefacenet_x2  # mobilefacenet_x2() builds it
        True
    """
    return mobilefacenet(**{"width": 2, "embedding_size": 512, "name": "mobilefacenet_x2", **kwargs})


def mobilefacenet_large(**kwargs: Any) -> keras.Model:
    """Builds insightface's `mbf_large`: four times the channels, twice the blocks, 512-D.

    Arguments as in `mobilefacenet`.

    Example:
        >>> mobilefacenet_large(blocks=(1, 1, 1, 1)).output_shape
        (None, 512)
    """
    defaults = {"blocks": (2, 8, 12, 4), "width": 4, "embedding_size": 512, "name": "mobilefacenet_large"}
    return mobilefacenet(**{**defaults, **kwargs})
