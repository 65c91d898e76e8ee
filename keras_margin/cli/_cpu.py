"""What TensorFlow is told of the CPU before it is imported; afterwards it no longer listens."""

import os
import sys

# Networks that TensorFlow's own convolutions train faster: docs/networks.md, Speed.
WITHOUT_ONEDNN = ("mobilefacenet",)


def choose_onednn(words):
    """Asks TensorFlow for oneDNN's convolutions, unless a network is named that is faster without.

    TensorFlow takes them by itself only on CPUs with AVX-512 VNNI or AMX. On AVX2 the gradient of an IR-ResNet's
    convolutions by their input takes half the time with them. What TF_ENABLE_ONEDNN_OPTS says already stays; once
    TensorFlow is there nothing is set: only child processes would heed it.

    Args:
        words: What a command line says, in which a network may be named.
    """
    if "tensorflow" not in sys.modules and not any(name in word for word in words for name in WITHOUT_ONEDNN):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
