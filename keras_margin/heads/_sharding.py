"""Prototypes split by class over devices: Keras's ModelParallel, where it does what it says."""

import keras


def is_sharded():
    """Whether the model being built lays its weights out over devices."""
    return isinstance(keras.distribution.distribution(), keras.distribution.ModelParallel)


def check(head):
    """Raises where the prototypes were laid out over devices in vain.

    Raises:
        NotImplementedError: On another backend than JAX, where Keras takes the layout and keeps every row everywhere.
        ValueError: An engine that would gather what was split.
    """
    if not is_sharded():
        return
    name, backend = type(head).__name__, keras.backend.backend()
    if backend != "jax":
        raise NotImplementedError(
            f"keras.distribution.ModelParallel shards on JAX alone; on {backend} Keras keeps a whole copy of {name}'s "
            "prototypes on every device and says nothing. Set KERAS_BACKEND=jax, or meet fewer classes at a time: "
            "sample_rate."
        )
    if head.engine == "streaming":
        raise ValueError(
            "The streaming engine walks through all classes on every device: it would gather what ModelParallel split. "
            f"Received: {name}(engine='streaming'). Leave engine='auto': each device then meets its own classes."
        )
