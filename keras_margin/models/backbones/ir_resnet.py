"""IR-ResNet: the improved residual networks of ArcFace, 18 to 200 layers, and a small one for small data.

Unit: BN - Conv3x3 - BN - PReLU - Conv3x3(stride) - BN, plus the identity, or at a stage's start Conv1x1(stride) - BN.
Tail: BN - Dropout - Flatten - FC - BN, whose last scale is fixed at 1.

Reference: Deng et al., ArcFace, CVPR 2019, section 3.1 ("BN-Dropout-FC-BN", improved residual unit); the stages are
those of its released code.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_margin._typing import Size, Tensor
from keras_margin.models.backbones import _layers, _tails

WIDTHS = (64, 128, 256, 512)


def ir_resnet(
    units: Sequence[int],
    *,
    widths: Sequence[int] = WIDTHS,
    image_size: Size = (112, 112),
    embedding_size: int = 512,
    dropout: float = 0.4,
    squeeze_excite: bool = False,
    stem_strides: int = 1,
    input_scale: float = 128.0,
    name: str | None = None,
) -> keras.Model:
    """Builds an IR-ResNet as a functional Keras model.

    Args:
        units: Residual units in each stage, such as (3, 4, 14, 3). Each stage halves height and width.
        widths: Channels of each stage; the stem has the first.
        image_size: (height, width) of the input, pixels.
        embedding_size: Size of the output.
        dropout: Rate before the fully connected layer, [0, 1).
        squeeze_excite: Whether each unit ends in squeeze-and-excitation, ratio 16.
        stem_strides: Stride of the first convolution; 2 for small machines.
        input_scale: Pixels enter as (x - 127.5) / input_scale. insightface's PyTorch code has 127.5.
        name: Name of the model.

    Returns:
        keras.Model from RGB pixels (batch, height, width, 3) in [0, 255], uint8 or float, to embeddings
        (batch, embedding_size), not normalised.

    Raises:
        ValueError: Where units and widths differ in length.

    Example:
        >>> ir_resnet((1, 1), widths=(16, 32), image_size=(56, 56), embedding_size=64).output_shape
        (None, 64)
    """
    if len(units) != len(widths):
        raise ValueError(f"An IR-ResNet needs a width for each stage. Received: units={units}, widths={widths}.")
    images, x = _layers.image_input(image_size, scale=input_scale)
    x = _layers.conv(widths[0], 3, "stem_conv", stem_strides)(x)
    x = _layers.batch_norm("stem_bn")(x)
    x = _layers.prelu("stem_prelu")(x)
    for stage, (count, width) in enumerate(zip(units, widths, strict=True), 1):
        for unit in range(1, count + 1):
            first = unit == 1
            x = _unit(x, width, 2 if first else 1, first, squeeze_excite, f"stage{stage}_unit{unit}")
    x = _tails.bn_dropout_fc_bn(x, embedding_size, dropout)
    return keras.Model(images, x, name=name)


def _unit(x: Tensor, width: int, strides: int, project: bool, squeeze_excite: bool, name: str) -> Tensor:
    shortcut = x
    if project:
        shortcut = _layers.conv(width, 1, f"{name}_shortcut_conv", strides)(x)
        shortcut = _layers.batch_norm(f"{name}_shortcut_bn")(shortcut)
    x = _layers.batch_norm(f"{name}_bn1")(x)
    x = _layers.conv(width, 3, f"{name}_conv1")(x)
    x = _layers.batch_norm(f"{name}_bn2")(x)
    x = _layers.prelu(f"{name}_prelu")(x)
    x = _layers.conv(width, 3, f"{name}_conv2", strides)(x)
    x = _layers.batch_norm(f"{name}_bn3")(x)
    if squeeze_excite:
        x = _squeeze_excite(x, width, name)
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _squeeze_excite(x: Tensor, width: int, name: str) -> Tensor:
    gate = layers.GlobalAveragePooling2D(_layers.CHANNELS_LAST, keepdims=True, name=f"{name}_se_pool")(x)
    gate = layers.Conv2D(max(1, width // 16), 1, data_format=_layers.CHANNELS_LAST, name=f"{name}_se_reduce")(gate)
    gate = _layers.prelu(f"{name}_se_prelu")(gate)
    expand = {"activation": "sigmoid", "data_format": _layers.CHANNELS_LAST, "name": f"{name}_se_expand"}
    gate = layers.Conv2D(width, 1, **expand)(gate)
    return layers.Multiply(name=f"{name}_se")([x, gate])


def ir_resnet18(**kwargs: Any) -> keras.Model:
    """Builds IR-ResNet-18: units 2-2-2-2. Arguments as in `ir_resnet`.

    Example:
        >>> ir_resnet18(embedding_size=256).output_shape
        (None, 256)
    """
    return ir_resnet((2, 2, 2, 2), **{"name": "ir_resnet18", **kwargs})


def ir_resnet34(**kwargs: Any) -> keras.Model:
    """Builds IR-ResNet-34: units 3-4-6-3. Arguments as in `ir_resnet`.

    Example:
        >>> get("ir_resnet34") is ir_resnet34  # ir_resnet34() builds it
        True
    """
    return ir_resnet((3, 4, 6, 3), **{"name": "ir_resnet34", **kwargs})


def ir_resnet50(**kwargs: Any) -> keras.Model:
    """Builds IR-ResNet-50: units 3-4-14-3. Arguments as in `ir_resnet`.

    Example:
        >>> get("ir_resnet50") is ir_resnet50  # ir_resnet50() builds it
        True
    """
    return ir_resnet((3, 4, 14, 3), **{"name": "ir_resnet50", **kwargs})


def ir_resnet100(**kwargs: Any) -> keras.Model:
    """Builds IR-ResNet-100: units 3-13-30-3. Arguments as in `ir_resnet`.

    Example:
        >>> get("ir_resnet100") is ir_resnet100  # ir_resnet100() builds it
        True
    """
    return ir_resnet((3, 13, 30, 3), **{"name": "ir_resnet100", **kwargs})


def ir_resnet200(**kwargs: Any) -> keras.Model:
    """Builds IR-ResNet-200: units 6-26-60-6. Arguments as in `ir_resnet`.

    Example:
        >>> get("ir_resnet200") is ir_resnet200  # ir_resnet200() builds it
        True
    """
    return ir_resnet((6, 26, 60, 6), **{"name": "ir_resnet200", **kwargs})


def ir_small(**kwargs: Any) -> keras.Model:
    """Builds a small IR network, for hundreds of images on two cores.

    Units 1-1-1-1, a quarter of the width, stem at stride 2.

    Arguments as in `ir_resnet`.

    Example:
        >>> ir_small(image_size=(56, 48), embedding_size=128).output_shape
        (None, 128)
    """
    defaults = {"widths": (16, 32, 64, 128), "embedding_size": 128, "stem_strides": 2, "name": "ir_small"}
    return ir_resnet((1, 1, 1, 1), **{**defaults, **kwargs})
