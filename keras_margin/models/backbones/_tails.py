"""Tails: from the last feature map to an embedding.

Reference: Deng et al., ArcFace, CVPR 2019, section 3.1 (BN-Dropout-FC-BN), and its first version, arXiv:1801.07698v1,
section 3.2.2 (options A to E: GAP-FC-BN is option C, BN-Dropout-FC-BN option E); Chen et al., MobileFaceNets, 2018,
section 3.2 (GDC).
"""

from typing import Any

import keras
from keras import layers

from keras_margin import _keras
from keras_margin._typing import Tensor
from keras_margin.models.backbones import _layers


def bn_dropout_fc_bn(x: Tensor, embedding_size: int, dropout: float = 0.4) -> Tensor:
    """BN - Dropout - Flatten - FC - BN, whose last scale is fixed at 1."""
    x = _layers.batch_norm("tail_bn")(x)
    x = layers.Dropout(dropout, name="tail_dropout")(x)
    x = layers.Flatten(_layers.CHANNELS_LAST, name="tail_flatten")(x)
    x = layers.Dense(embedding_size, name="tail_fc")(x)
    return _layers.batch_norm("embedding", scale=False)(x)


def gdc(x: Tensor, embedding_size: int) -> Tensor:
    """Global depthwise convolution: one kernel as large as the map for each channel - BN - Flatten - FC - BN.

    GDC_c = sum over h, w of K_hwc F_hwc: an average that learns where in the map to look.
    """
    kernel_size = tuple(x.shape[1:3])
    x = layers.DepthwiseConv2D(
        kernel_size,
        data_format=_layers.CHANNELS_LAST,
        use_bias=False,
        depthwise_initializer=_layers.he_normal("fan_in"),
        name="tail_gdc",
    )(x)
    x = _layers.batch_norm("tail_bn")(x)
    x = layers.Flatten(_layers.CHANNELS_LAST, name="tail_flatten")(x)
    x = layers.Dense(embedding_size, use_bias=False, kernel_initializer=_layers.he_normal("fan_out"), name="tail_fc")(x)
    return _layers.batch_norm("embedding")(x)


def gap(x: Tensor, embedding_size: int) -> Tensor:
    """Global average pooling - FC - BN."""
    x = layers.GlobalAveragePooling2D(_layers.CHANNELS_LAST, name="tail_pool")(x)
    x = layers.Dense(embedding_size, use_bias=False, name="tail_fc")(x)
    return _layers.batch_norm("embedding", scale=False)(x)


TAILS = {"bn-dropout-fc-bn": bn_dropout_fc_bn, "gdc": gdc, "gap": gap}


def with_tail(backbone: keras.Model, tail: str, embedding_size: int = 512, **options: Any) -> keras.Model:
    """Adds a tail to a Keras model that ends in a feature map, so that it ends in an embedding.

    Args:
        backbone: Functional or Sequential model from images to one feature map (batch, height, width, channels), such
            as any of keras.applications with include_top=False, or a keras-hub backbone. It shares its layers with
            the result. Its own normalisation of pixels stays its own.
        tail: "bn-dropout-fc-bn" (ArcFace), "gdc" (MobileFaceNet) or "gap" (average, FC, BN).
        embedding_size: Size of the output.
        **options: `dropout=` for "bn-dropout-fc-bn".

    Returns:
        keras.Model from the backbone's images to embeddings (batch, embedding_size), not normalised.

    Raises:
        ValueError: On an unknown tail, or where the backbone has no such map: another rank, several outputs, or an
            unknown height or width where the tail's weights depend on them, or channels in front of rows and columns.

    Example:
        >>> maps = keras.Sequential([keras.Input((28, 28, 3)), keras.layers.Conv2D(16, 3, strides=4)])
        >>> with_tail(maps, "gdc", embedding_size=256).output_shape
        (None, 256)
    """
    if tail not in TAILS:
        raise ValueError(f"tail must be one of {', '.join(map(repr, TAILS))}. Received: tail={tail!r}.")
    shape = getattr(backbone, "output_shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 4 and isinstance(shape[3], int)):
        raise ValueError(
            "A tail goes behind one feature map (batch, height, width, channels) of a functional or Sequential model. "
            f"Received: {backbone.name} with output shape {shape}. For keras.applications pass include_top=False."
        )
    first = next((each for each in _keras.all_layers(backbone) if _is_channels_first(each)), None)
    if first is not None:
        raise ValueError(
            f"A tail takes maps with the channels last. Received: {backbone.name}, whose layer {first.name!r} has "
            "data_format='channels_first'. Build it under keras.config.set_image_data_format('channels_last')."
        )
    if tail != "gap" and None in shape[1:3]:
        raise ValueError(
            f"tail={tail!r} has weights for each place of the map, whose size {backbone.name} leaves open: {shape}. "
            "Give the backbone an input shape, such as (112, 112, 3), or take tail='gap'."
        )
    return keras.Model(
        backbone.inputs[0], TAILS[tail](backbone.outputs[0], embedding_size, **options), name=backbone.name
    )


def _is_channels_first(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"
