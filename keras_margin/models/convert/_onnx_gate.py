"""How near a Keras model comes to the file that it was made of."""

import numpy as np

# Smallest cosine between the embeddings of the model and of the file.
LEAST_COSINE = 0.99999
_NOISE = 4


def noise(image_size):
    """Returns uint8 images (n, *image_size, 3) that a fresh network is compared on."""
    return np.random.default_rng(0).integers(0, 256, (_NOISE, *image_size, 3), dtype=np.uint8)


def compared(path, wanted, found, runtime="ONNX Runtime"):
    """Returns the cosines of rows, float64; `runtime` is what ran the file.

    Raises:
        ValueError: Where one is below LEAST_COSINE, or the rows differ in shape.
    """
    if wanted.shape != found.shape:
        raise ValueError(f"{path} answers shape {wanted.shape}, the converted network {found.shape}.")
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    cosines = np.divide((wanted * found).sum(axis=1), lengths, out=np.zeros(len(wanted)), where=lengths > 0)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= LEAST_COSINE:
        raise ValueError(
            f"The network converted from {path} is not the file's: cosine {cosines[worst]:.6f} to {runtime} for "
            f"image {worst}; at least {LEAST_COSINE} is needed."
        )
    return cosines
