"""A function from images to a network's embeddings, on every backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_margin import evaluation


def make_embed_fn(network: keras.Model, flip: str = "none", batch_size: int = 64) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 images to the network's embeddings, compiled once for any number of images.

    `predict` compiles again for a last batch that is shorter, and TensorFlow warns of that after a few networks.

    Args:
        network: Keras model from images to embeddings.
        flip: One of recipes.FLIPS: what becomes of each image's mirror image.
        batch_size: Images at a time.

    Example:
        >>> network = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> make_embed_fn(network)(np.zeros((3, 2, 2, 3), "uint8")).shape
        (3, 4)
    """
    embed = _FORWARD[keras.backend.backend()](network)

    def embed_part(images):
        missing = batch_size - len(images)
        if missing and keras.backend.backend() == "jax":  # Compiled by size: the last ones are filled up.
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
        return np.asarray(embed(images.astype(np.float32)))[: batch_size - missing]

    def embed_all(images):
        return np.concatenate(
            [embed_part(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        )

    def with_mirrored(images):
        mirrored = embed_all(images[:, :, ::-1])
        return evaluation.combine_flips(embed_all(images), mirrored, flip)  # type: ignore[arg-type]

    return embed_all if flip == "none" else with_mirrored


def _tensorflow(network: keras.Model) -> Callable:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)], autograph=False)
    def embed(images):
        return tf.cast(network(images, training=False), tf.float32)

    return embed


def _jax(network: keras.Model) -> Callable:
    import jax

    @jax.jit
    def forward(trainable: Any, non_trainable: Any, images: Any) -> Any:
        embeddings, _ = network.stateless_call(trainable, non_trainable, images, training=False)
        return embeddings.astype("float32")

    def embed(images):
        trainable = [variable.value for variable in network.trainable_variables]
        return forward(trainable, [variable.value for variable in network.non_trainable_variables], images)

    return embed


def _torch(network: keras.Model) -> Callable:
    import torch

    def embed(images):
        with torch.no_grad():
            return keras.ops.convert_to_numpy(network(keras.ops.convert_to_tensor(images), training=False))

    return embed


_FORWARD = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
