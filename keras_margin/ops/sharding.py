"""Prototypes split by class over devices: Keras's ModelParallel, where it does what it says."""

import keras


def is_sharded() -> bool:
    """Tells whether the model being built lays its weights out over devices."""
    return isinstance(keras.distribution.distribution(), keras.distribution.ModelParallel)


def check(owner: str, implementation: str) -> None:
    """Raises where the prototypes would be laid out over devices in vain.

    Args:
        owner: Name of the head's class, for the message.
        implementation: The head's.

    Raises:
        NotImplementedError: On another backend than JAX, where Keras takes the layout and keeps every row everywhere.
        ValueError: An implementation that would gather what was split.
    """
    if not is_sharded():
        return
    backend = keras.backend.backend()
    if backend != "jax":
        raise NotImplementedError(
            f"keras.distribution.ModelParallel shards on JAX alone; on {backend} Keras keeps a whole copy of {owner}'s "
            "prototypes on every device and says nothing. Set KERAS_BACKEND=jax, or use fewer classes at a time: "
            "sample_rate."
        )
    if implementation == "streaming":
        raise ValueError(
            "The streaming implementation walks through all classes on every device: it would gather what "
            f"ModelParallel split. Received: {owner}(implementation='streaming'). Leave implementation='auto': each "
            "device then computes its own classes."
        )
