"""Networks from images to embeddings: functional Keras models, built by name or by function.

Any other Keras model whose output is (batch, embedding_size) fits an EmbeddingModel as well, and one that ends in a
feature map does with a tail (`with_tail`).
"""

from collections.abc import Callable
from typing import Any

import keras

from keras_margin._utils.messages import did_you_mean
from keras_margin.models.backbones import _lookup
from keras_margin.models.backbones._tails import with_tail
from keras_margin.models.backbones._training import rematerialized, set_batch_norm
from keras_margin.models.backbones.inception_resnet import inception_resnet_v1
from keras_margin.models.backbones.ir_resnet import (
    ir_resnet,
    ir_resnet18,
    ir_resnet34,
    ir_resnet50,
    ir_resnet100,
    ir_resnet200,
    ir_small,
)
from keras_margin.models.backbones.mnist import lenet_plus_plus, mnist_net
from keras_margin.models.backbones.mobilefacenet import mobilefacenet, mobilefacenet_large, mobilefacenet_x2
from keras_margin.models.backbones.spherenet import (
    spherenet,
    spherenet4,
    spherenet10,
    spherenet20,
    spherenet36,
    spherenet64,
)

# Names for flags and recipes.
BACKBONES: dict[str, Callable[..., keras.Model]] = {
    "ir_small": ir_small,
    "ir_resnet18": ir_resnet18,
    "ir_resnet34": ir_resnet34,
    "ir_resnet50": ir_resnet50,
    "ir_resnet100": ir_resnet100,
    "ir_resnet200": ir_resnet200,
    "mobilefacenet": mobilefacenet,
    "mobilefacenet_x2": mobilefacenet_x2,
    "mobilefacenet_large": mobilefacenet_large,
    "spherenet4": spherenet4,
    "spherenet10": spherenet10,
    "spherenet20": spherenet20,
    "spherenet36": spherenet36,
    "spherenet64": spherenet64,
    "inception_resnet_v1": inception_resnet_v1,
    "mnist_net": mnist_net,
    "lenet_plus_plus": lenet_plus_plus,
}

__all__ = [
    "BACKBONES",
    "build",
    "get",
    "ir_resnet",
    "rematerialized",
    "set_batch_norm",
    "spherenet",
    "with_tail",
]


def get(name: str) -> Callable[..., keras.Model]:
    """Looks up the function that builds a network.

    Args:
        name: Name in BACKBONES; or "package.module:name" of your own, which is a function that takes
            input_shape=(height, width, 3) and embedding_size= and returns a Keras model from images to embeddings, or
            such a model. The module is looked for in the current folder too.

    Returns:
        Function that takes image_size=(height, width), embedding_size= and the network's own options, and returns a
        keras.Model.

    Raises:
        ValueError: On an unknown name, or a module that is missing or cannot be imported.
        TypeError: Where "package.module:name" is neither a function nor a Keras model.

    Example:
        >>> get("mnist_net")(embedding_size=2).output_shape
        (None, 2)
    """
    if ":" in name:
        return _lookup.builder(name)
    if name not in BACKBONES:
        known = ", ".join(sorted(BACKBONES))
        raise ValueError(
            f"Unknown backbone {name!r}.{did_you_mean(name, BACKBONES)} Known backbones: {known}; or "
            "'package.module:name' for one of your own."
        )
    return BACKBONES[name]


def build(name: str, **kwargs: Any) -> keras.Model:
    """Builds the network called `name`, as `get` finds it, with its function's arguments.

    Raises:
        ValueError, TypeError: As `get`; on arguments that do not fit.

    Example:
        >>> build("mnist_net", embedding_size=2).output_shape
        (None, 2)
    """
    return get(name)(**kwargs)
