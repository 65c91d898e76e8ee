"""What an opened embedder is, whatever its file."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_margin.evaluation.embedders import _pixels

CHANNELS = ("RGB", "BGR")


@dataclasses.dataclass(frozen=True, eq=False)
class FileEmbedder:
    """What `load_embedder` returns; `embed` is all one needs.

    Attributes:
        path: The file or folder.
        kind: "keras", "savedmodel", "tflite" or "onnx".
        image_size: (height, width) in pixels of the images it takes.
        embedding_size: Length of one embedding.
        takes_pixels: Whether the file says itself that it takes pixels, 0 to 255, and normalises inside. Of a Keras
            file that cannot be read off, so False.
        keeps_length: Whether `embed(lengths=True)` is possible. Our exports end in unit length, and keep their length
            where they were written with `length=True`.
        channels: "RGB" or "BGR", what the network is fed. Images are given in RGB all the same.
        normalization: (mean, std) applied to pixels first, each a number or three (R, G, B), or None for none.
        metadata: What the export wrote into the file, as `keras_margin.runtime.read_metadata` gives it; or None.

    Example:
        >>> import keras
        >>> keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]).save("tiny.keras")
        >>> embedder = load_embedder("tiny.keras")
        >>> isinstance(embedder, FileEmbedder), embedder.kind, embedder.image_size, embedder.embedding_size
        (True, 'keras', (8, 8), 3)
    """

    path: str
    kind: str
    image_size: tuple[int, int]
    embedding_size: int
    takes_pixels: bool
    keeps_length: bool
    channels: str
    normalization: tuple | None
    metadata: dict | None
    network: Callable = dataclasses.field(repr=False)

    def embed(self, images: np.ndarray, lengths: bool = False) -> np.ndarray:
        """Embeds images.

        Args:
            images: uint8 array (n, height, width, 3), RGB, of `image_size`, n >= 1.
            lengths: Whether rows keep the length that the network gave them, which published scripts let weigh where
                they add or average embeddings. False brings them to unit length.

        Returns:
            float32 array (n, embedding_size). A row of zeros stays zero.

        Raises:
            TypeError: Images that are not uint8.
            ValueError: Another shape, NaN or infinity from the network, lengths of a file that does not keep them.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise TypeError(f"embed takes uint8 RGB images, 0 to 255. Received: {images.dtype} of {images.shape}.")
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3) or not len(images):
            raise ValueError(
                f"{self.path} takes images of shape (n, {self.image_size[0]}, {self.image_size[1]}, 3). "
                f"Received: {images.shape}."
            )
        if lengths and not self.keeps_length:
            raise ValueError(
                f"{self.path} gives embeddings of unit length: their own length is lost. Evaluate the Keras file or "
                "one that was exported with --length, or leave lengths out."
            )
        given = self.normalization
        if self.channels == "BGR":
            images, given = np.ascontiguousarray(images[..., ::-1]), _pixels.turned(given)
        rows = np.asarray(self.network(images, given), np.float32)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{self.path} answers NaN or infinity to {len(bad)} of {len(rows)} images, first {bad[0]}."
            )
        if lengths:
            return rows
        # In float64: squares of float32 overflow at 2e19.
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0, casting="same_kind")

    def varied(self, **changes: Any) -> "FileEmbedder":
        """The same network fed otherwise: `channels=`, `normalization=`; to measure what it wants."""
        return dataclasses.replace(self, **changes)
