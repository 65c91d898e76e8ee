"""How much memory an engine takes, by arithmetic."""

import functools
import os

import keras

_FLOAT = 4


def fused_bytes(batch_size, num_classes):
    """Bytes of the fused engine's (batch, num_classes) products and of G, made from them, while both are alive."""
    return 2 * _FLOAT * batch_size * num_classes


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
