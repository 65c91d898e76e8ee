"""Estimates of peak memory, computed analytically; tests compare them with measurements."""

import dataclasses
import functools
import os

# Classes that the streaming implementation holds at a time.
CHUNK = 4096

_FLOAT = 4
_MIB = 2**20
# What the passes' code and the libraries' buffers take apart from tensors, measured on TensorFlow's CPU build.
_OVERHEAD = 24 * _MIB


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a head needs on one device in training, bytes.

    Attributes:
        implementation: Name of the implementation.
        batch_size: Samples on a device at a time.
        classes_used: Classes in the softmax of a training batch.
        prototypes: The weight.
        optimizer: Its slots, as large as the weight each; SGD with momentum has one.
        working: Peak of everything else from the loss to the gradient of the prototypes, which is part of it, and where
            classes are sampled, of the update of their rows.

    Example:
        >>> memory = keras_margin.layers.memory_of(keras_margin.ArcFaceHead(10_000), 256, embedding_size=512)
        >>> memory.prototypes  # 4 bytes * 10,000 * 512
        20480000
    """

    implementation: str
    batch_size: int
    classes_used: int
    prototypes: int
    optimizer: int
    working: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.prototypes + self.optimizer + self.working


def peak_bytes(implementation: str, batch_size: int, num_classes: int, embedding_size: int) -> int:
    """Estimates the peak of a loss and its gradient, without embeddings and prototypes.

    The prototypes' gradient is part of it. With T = batch x classes and D = classes x size floats:

        reference  max(T + 7 D, 3 T + 2 D)     the rows normalised and differentiated step by step; or the logits
        fused      max(2 T, 2 D)               products with G made from them; then the rows' gradient with its tangent
        streaming  D + 2 chunks (of T and of D)

    and 24 MiB of code and buffers.

    Args:
        implementation: "reference", "fused" or "streaming".
        batch_size: Int >= 1.
        num_classes: Int >= 2; with several centers a class, their number.
        embedding_size: Int >= 1.

    Returns:
        Int, bytes.

    Raises:
        ValueError: On another implementation.

    Example:
        >>> round(peak_bytes("fused", batch_size=512, num_classes=85_742, embedding_size=512) / 2**20)  # MiB
        359
    """
    table, rows = _FLOAT * batch_size * num_classes, _FLOAT * num_classes * embedding_size
    chunk = min(CHUNK, num_classes)
    needs = {
        "reference": max(table + 7 * rows, 3 * table + 2 * rows),
        "fused": max(2 * table, 2 * rows),
        "streaming": rows + 2 * _FLOAT * chunk * (batch_size + embedding_size),
    }
    if implementation not in needs:
        raise ValueError(f"implementation must be one of {', '.join(needs)}. Received: {implementation!r}.")
    return needs[implementation] + _OVERHEAD


def sampled_bytes(implementation: str, batch_size: int, classes_used: int, embedding_size: int) -> int:
    """Estimates `peak_bytes` where the prototypes are gathered rows, whose weights and velocities are then updated.

    Example:
        >>> round(sampled_bytes("fused", batch_size=512, classes_used=8_575, embedding_size=512) / 2**20)  # MiB
        99
    """
    rows = _FLOAT * classes_used * embedding_size
    step = rows + peak_bytes(implementation, batch_size, classes_used, embedding_size)
    return max(step, int(4.5 * rows) + _OVERHEAD)


@functools.cache
def device_memory() -> int:
    """Returns the bytes of the first accelerator's memory where the backend tells them, else of the machine's."""
    try:
        import keras
    except ImportError:  # The estimates are for whoever plans, on any machine.
        backend = None
    else:
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
