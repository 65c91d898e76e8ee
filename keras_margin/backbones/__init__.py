"""Networks from images to embeddings: functional Keras models, built by name or by function.

Any other Keras model whose output is (batch, embedding_size) fits an EmbeddingModel as well, and one that ends in a
feature map does with a tail (`with_tail`).
"""

from keras_margin.backbones._cost import multiply_adds, parameters
from keras_margin.backbones._tails import TAILS, with_tail
from keras_margin.backbones._training import rematerialized, set_batch_norm
from keras_margin.backbones.inception_resnet import inception_resnet_v1
from keras_margin.backbones.ir_resnet import (
    ir_resnet,
    ir_resnet18,
    ir_resnet34,
    ir_resnet50,
    ir_resnet100,
    ir_resnet200,
    ir_small,
)
from keras_margin.backbones.mnist import lenet_plus_plus, mnist_net
from keras_margin.backbones.mobilefacenet import mobilefacenet, mobilefacenet_large, mobilefacenet_x2
from keras_margin.backbones.spherenet import (
    spherenet,
    spherenet4,
    spherenet10,
    spherenet20,
    spherenet36,
    spherenet64,
)
from keras_margin.messages import did_you_mean

# Names for flags and recipes.
BACKBONES = {
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
    "TAILS",
    "build",
    "get",
    "ir_resnet",
    "multiply_adds",
    "parameters",
    "rematerialized",
    "set_batch_norm",
    "spherenet",
    "with_tail",
    *BACKBONES,
]


def get(name):
    """Returns the function that builds the backbone called `name`.

    Raises:
        ValueError: On an unknown name; the message lists the names.
    """
    if name not in BACKBONES:
        known = ", ".join(sorted(BACKBONES))
        raise ValueError(f"Unknown backbone {name!r}.{did_you_mean(name, BACKBONES)} Known backbones: {known}.")
    return BACKBONES[name]


def build(name, **kwargs):
    """Builds the backbone called `name` with its function's arguments.

    Raises:
        ValueError: On an unknown name; the message lists the names.
    """
    return get(name)(**kwargs)
