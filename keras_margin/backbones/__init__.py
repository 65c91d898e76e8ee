"""Networks from images to embeddings: functional Keras models, built by name or by function.

Any other Keras model whose output is (batch, embedding_size) fits an EmbeddingModel as well.
"""

from keras_margin.backbones.ir_resnet import (
    ir_resnet,
    ir_resnet18,
    ir_resnet34,
    ir_resnet50,
    ir_resnet100,
    ir_small,
)
from keras_margin.backbones.mnist import mnist_net

# Names for flags and recipes.
BACKBONES = {
    "ir_small": ir_small,
    "ir_resnet18": ir_resnet18,
    "ir_resnet34": ir_resnet34,
    "ir_resnet50": ir_resnet50,
    "ir_resnet100": ir_resnet100,
    "mnist_net": mnist_net,
}

__all__ = ["BACKBONES", "build", "ir_resnet", *BACKBONES]


def build(name, **kwargs):
    """The backbone called `name`, built with its function's arguments.

    Raises:
        ValueError: On an unknown name; the message lists the names.
    """
    if name not in BACKBONES:
        raise ValueError(f"Unknown backbone {name!r}. Known backbones: {', '.join(sorted(BACKBONES))}.")
    return BACKBONES[name](**kwargs)
