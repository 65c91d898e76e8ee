"""Inception-ResNet-V1: FaceNet's network as David Sandberg's facenet trains it, the one of the IAM loss.

Reference: Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, AAAI 2017,
figures 10-15 (arXiv:1602.07261); channels, residual scales, batch normalisation and initial weights as in facenet.
"""

from collections.abc import Sequence
from typing import TypeAlias

import keras
from keras import layers

from keras_margin._typing import Size, Tensor
from keras_margin.models.backbones import _layers

# facenet's: no scale in front of a ReLU's next convolution, moving averages over 200 steps.
_BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.995, "scale": False}
_SMALLEST = 75

_Chain: TypeAlias = tuple[tuple[int, int | tuple[int, int]], ...]
_Branches: TypeAlias = tuple[_Chain, ...]

# (units, residual scale, branches); a branch is a chain of (channels, kernel size).
_A = (5, 0.17, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (32, 3), (32, 3))))
_B = (10, 0.10, (((128, 1),), ((128, 1), (128, (1, 7)), (128, (7, 1)))))
_C = (5, 0.20, (((192, 1),), ((192, 1), (192, (1, 3)), (192, (3, 1)))))
# Branches whose last convolution halves the image; a pool goes next to them.
_REDUCTION_A = (((384, 3),), ((192, 1), (192, 3), (256, 3)))
_REDUCTION_B = (((256, 1), (384, 3)), ((256, 1), (256, 3)), ((256, 1), (256, 3), (256, 3)))


def inception_resnet_v1(
    *,
    image_size: Size = (160, 160),
    embedding_size: int = 512,
    dropout: float = 0.2,
    units: Sequence[int] | None = None,
    name: str = "inception_resnet_v1",
) -> keras.Model:
    """Builds Inception-ResNet-V1 as a functional Keras model.

    Args:
        image_size: (height, width) of the input, pixels, each >= 75.
        embedding_size: Size of the output; facenet's older models have 128.
        dropout: Rate before the fully connected layer, [0, 1).
        units: Residual units of the kinds A, B and C; None for the published (5, 10, 5). One of kind C more, without
            a ReLU, always follows.
        name: Name of the model.

    Returns:
        keras.Model from RGB pixels (batch, height, width, 3) in [0, 255], uint8 or float, to embeddings
        (batch, embedding_size), not normalised.

    Raises:
        ValueError: Where the image is too small.

    Example:
        >>> inception_resnet_v1(units=(1, 1, 1), embedding_size=128).output_shape
        (None, 128)

    Reference: Szegedy et al., arXiv:1602.07261, figure 15.
    """
    if min(image_size) < _SMALLEST:
        raise ValueError(
            f"inception_resnet_v1 needs images of at least {_SMALLEST} x {_SMALLEST} pixels. "
            f"Received: image_size={tuple(image_size)}."
        )
    counts = units or tuple(count for count, _, _ in (_A, _B, _C))
    images, x = _layers.image_input(image_size)
    x = _stem(x)
    x = _repeat(x, counts[0], _A, "block_a")
    x = _reduction(x, _REDUCTION_A, "reduction_a")
    x = _repeat(x, counts[1], _B, "block_b")
    x = _reduction(x, _REDUCTION_B, "reduction_b")
    x = _repeat(x, counts[2], _C, "block_c")
    x = _residual(x, 1.0, _C[2], "block_c_last", activated=False)
    x = layers.GlobalAveragePooling2D(_layers.CHANNELS_LAST, name="tail_pool")(x)
    x = layers.Dropout(dropout, name="tail_dropout")(x)
    x = layers.Dense(embedding_size, use_bias=False, kernel_initializer=_truncated(), name="tail_fc")(x)
    x = _layers.batch_norm("embedding", **_BATCH_NORM)(x)
    return keras.Model(images, x, name=name)


def _stem(x: Tensor) -> Tensor:
    x = _conv(x, 32, 3, "stem_conv1", strides=2, padding="valid")
    x = _conv(x, 32, 3, "stem_conv2", padding="valid")
    x = _conv(x, 64, 3, "stem_conv3")
    x = _pool(x, "stem_pool")
    x = _conv(x, 80, 1, "stem_conv4")
    x = _conv(x, 192, 3, "stem_conv5", padding="valid")
    return _conv(x, 256, 3, "stem_conv6", strides=2, padding="valid")


def _repeat(x: Tensor, count: int, kind: tuple, name: str) -> Tensor:
    _, scale, branches = kind
    for unit in range(1, count + 1):
        x = _residual(x, scale, branches, f"{name}{unit}")
    return x


def _residual(x: Tensor, scale: float, branches: _Branches, name: str, activated: bool = True) -> Tensor:
    ends = [_branch(x, chain, f"{name}_branch{number}") for number, chain in enumerate(branches)]
    up = layers.Concatenate(name=f"{name}_concat")(ends)
    up = layers.Conv2D(
        x.shape[-1], 1, data_format=_layers.CHANNELS_LAST, kernel_initializer=_truncated(), name=f"{name}_up"
    )(up)
    if scale != 1:
        up = layers.Rescaling(scale, name=f"{name}_scale")(up)
    x = layers.Add(name=f"{name}_add")([x, up])
    return layers.ReLU(name=f"{name}_relu")(x) if activated else x


def _reduction(x: Tensor, branches: _Branches, name: str) -> Tensor:
    ends = [_branch(x, chain, f"{name}_branch{number}", halved=True) for number, chain in enumerate(branches)]
    return layers.Concatenate(name=f"{name}_concat")([*ends, _pool(x, f"{name}_pool")])


def _branch(x: Tensor, chain: _Chain, name: str, halved: bool = False) -> Tensor:
    for number, (channels, kernel_size) in enumerate(chain):
        last = halved and number == len(chain) - 1
        x = _conv(x, channels, kernel_size, f"{name}_conv{number}", 2 if last else 1, "valid" if last else "same")
    return x


def _conv(
    x: Tensor, channels: int, kernel_size: int | tuple[int, int], name: str, strides: int = 1, padding: str = "same"
) -> Tensor:
    x = layers.Conv2D(
        channels,
        kernel_size,
        strides,
        padding,
        _layers.CHANNELS_LAST,
        use_bias=False,
        kernel_initializer=_truncated(),
        name=name,
    )(x)
    x = _layers.batch_norm(f"{name}_bn", **_BATCH_NORM)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _pool(x: Tensor, name: str) -> Tensor:
    return layers.MaxPooling2D(3, 2, data_format=_layers.CHANNELS_LAST, name=name)(x)


def _truncated() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.1)
