"""How much memory an engine takes, by arithmetic held to measured peaks."""

import dataclasses
import functools
import os

import keras

from keras_margin.engines._streaming import CHUNK

_FLOAT = 4
_MIB = 2**20
# What the passes' code and the libraries' buffers take beside tensors, measured on TensorFlow's CPU build.
_OVERHEAD = 24 * _MIB


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a head needs on one device in training, bytes.

    Attributes:
        engine: Name of the engine.
        batch_size: Samples a device meets at a time.
        classes_met: Classes that they meet.
        prototypes: The weight.
        optimizer: Its slots, as large as the weight each; SGD with momentum has one.
        working: Peak of everything else from the loss to the gradient of the prototypes, which is part of it, and where
            classes are sampled, of the update of their rows.
    """

    engine: str
    batch_size: int
    classes_met: int
    prototypes: int
    optimizer: int
    working: int

    @property
    def total(self):
        """Bytes in all."""
        return self.prototypes + self.optimizer + self.working


def peak_bytes(engine, batch_size, num_classes, embedding_size):
    """Peak bytes of a loss and its gradient beside embeddings and prototypes; the prototypes' gradient is part of it.

    With T = batch x classes and D = classes x size floats:

        plain      max(T + 7 D, 3 T + 2 D)     the rows normalised and differentiated step by step; or the logits
        fused      max(2 T, 2 D)               products with G made from them; then the rows' gradient with its tangent
        streaming  D + 2 chunks (of T and of D)

    and 24 MiB of code and buffers.

    Args:
        engine: Name in keras_margin.engines.ENGINES.
        batch_size: Int >= 1.
        num_classes: Int >= 2; with several centres a class, their number.
        embedding_size: Int >= 1.

    Returns:
        Int, bytes.

    Raises:
        ValueError: On another engine.
    """
    table, rows = _FLOAT * batch_size * num_classes, _FLOAT * num_classes * embedding_size
    chunk = min(CHUNK, num_classes)
    needs = {
        "plain": max(table + 7 * rows, 3 * table + 2 * rows),
        "fused": max(2 * table, 2 * rows),
        "streaming": rows + 2 * _FLOAT * chunk * (batch_size + embedding_size),
    }
    if engine not in needs:
        raise ValueError(f"engine must be one of {', '.join(needs)}. Received: engine={engine!r}.")
    return needs[engine] + _OVERHEAD


def sampled_bytes(engine, batch_size, classes_met, embedding_size):
    """`peak_bytes` where the classes met are gathered rows, whose weights and velocities are then read and written."""
    rows = _FLOAT * classes_met * embedding_size
    step = rows + peak_bytes(engine, batch_size, classes_met, embedding_size)
    return max(step, int(4.5 * rows) + _OVERHEAD)


@functools.cache
def device_memory():
    """Bytes of the first accelerator's memory where the backend tells them, else of the machine's."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        if "bytes_limit" in stats:
            return stats["bytes_limit"]
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.mem_get_info()[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
