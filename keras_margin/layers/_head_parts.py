"""What a MarginHead does apart from its calls: its output's source, its state's weights, its memory."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_margin import _cosine_source, _keras
from keras_margin._typing import Shape, State, Tensor
from keras_margin.layers import sampling
from keras_margin.ops import memory, numerics
from keras_margin.ops.negatives import cosine_matrix


def embedding_size_of(owner: str, embeddings_shape: Shape) -> int:
    """Returns the embedding size of a shape (batch, embedding_size).

    Raises:
        ValueError: On another shape.
    """
    if len(embeddings_shape) != 2 or embeddings_shape[-1] is None:
        raise ValueError(
            f"{owner} needs embeddings of shape (batch, embedding_size), the last known. "
            f"Received: shape={tuple(embeddings_shape)}. End the backbone with Flatten or global pooling."
        )
    return int(embeddings_shape[-1])


def guarded_cosines(head: Any, embeddings: Tensor, training: bool) -> Tensor:
    """Computes a head's cosines, with what its loss needs attached."""
    # A bad row must not reach the prototypes: through the product's gradient it would spoil them all.
    finite = ops.all(ops.isfinite(embeddings), axis=1, keepdims=True)
    embeddings = ops.where(finite, embeddings, ops.zeros_like(embeddings))
    unit, _ = numerics.unit_normalize(embeddings)
    cosines = ops.where(finite, cosine_matrix(unit, numerics.as_tensor(head.prototypes)), math.nan)
    if _keras.in_symbolic_scope():
        return cosines
    source = _cosine_source.CosineSource(head, cosines if training else None, embeddings, training)
    return _cosine_source.with_source(_cosine_source.guarded(cosines) if training else cosines, source)


def prototypes_shape(head: Any, embedding_size: int) -> tuple[int, ...]:
    """Returns the shape of a head's prototypes."""
    centers = () if head.centers is None else (head.centers,)
    return (head.num_classes, *centers, embedding_size)


def add_state(layer: keras.layers.Layer, initial: State) -> list[keras.Variable]:
    """Adds a weight for each number of a margin's initial state, named by its field; returns them in tree order."""
    fields = getattr(initial, "_fields", ())
    paths = [path for path, _ in tree.flatten_with_path(initial)]
    names = fields if len(fields) == len(paths) else ["_".join(["state", *map(str, path)]) for path in paths]
    return [
        layer.add_weight(
            name=name,
            shape=np.shape(value),
            initializer=keras.initializers.Constant(value),
            dtype="int32" if np.asarray(value).dtype.kind in "iub" else "float32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",  # All replicas compute the same.
        )
        for name, value in zip(names, tree.flatten(initial), strict=True)
    ]


def memory_of(
    head: Any,
    batch_size: int,
    embedding_size: int | None = None,
    implementation: str | None = None,
    slots: int = 1,
) -> memory.Memory:
    """Estimates what training a head needs on each device, analytically; tests compare it with measured peaks.

    Args:
        head: MarginHead.
        batch_size: Int >= 1, samples on a device at a time.
        embedding_size: Int >= 1; None once the head is built.
        implementation: "reference", "fused" or "streaming"; None for the head's own choice.
        slots: Tensors that the optimiser keeps for a weight: 1 for SGD with momentum, 2 for Adam.

    Returns:
        keras_margin.ops.Memory. It is for TensorFlow on a CPU, where it was measured; elsewhere a first guess.

    Raises:
        ValueError: Where the size is unknown, or the implementation.

    Example:
        >>> head = keras_margin.ArcFaceHead(85_742, implementation="fused")
        >>> round(memory_of(head, batch_size=512, embedding_size=512).total / 2**20)  # MiB
        694
    """
    size = embedding_size or (head.prototypes.shape[-1] if head.built else None)
    if size is None:
        raise ValueError(f"{type(head).__name__} is not built: memory() needs embedding_size.")
    weights = (head.centers or 1) * head.num_classes * size
    used = sampling.num_sampled(head.sample_rate, head.num_classes, batch_size)
    implementation = implementation or head.implementation_for(batch_size)
    peak = memory.sampled_bytes if head.sample_rate < 1 else memory.peak_bytes
    working = peak(implementation, batch_size, used * (head.centers or 1), size)
    return memory.Memory(implementation, batch_size, used, 4 * weights, slots * 4 * weights, working)
