"""AlignedEmbedder: a TFLite face embedder through LiteRT, on faces that are aligned already."""

import hashlib
import os
import threading
from typing import Any

import numpy as np

from keras_margin.runtime import _rows
from keras_margin.runtime._gallery import Gallery
from keras_margin.runtime._litert import LiteRTNetwork

# Most images per call of a network with a free batch: bounds the activations' memory.
MAX_BATCH = 32


class AlignedEmbedder:
    """What `Embedder` does with aligned faces: uint8 RGB images in, unit-length embeddings out.

    embedding = y / ||y||,  y the network's output (dequantised: scale * (q - zero_point))

    What the network is fed depends on its input:

        pixels: uint8, or quantised so that its range is 0 to 255:  the image itself; `normalization` is refused
        float32:                                         (image - mean) / std; `normalization` is required
        other int8 or uint8, scale and zero point:       round((image - mean) / std / scale) + zero_point, clipped;
                                                         `normalization` is required

    Thread-safe: one embedder may be shared, calls that run the network wait for one another. To compute on several
    cores, set `num_threads`, or give each thread an Embedder of its own.

    Args:
        path: A .tflite file with one image input of rank 4 and one output (of several, the signature's `embedding`).
        normalization: (mean, std) of a network that takes normalised pixels, in grey levels 0 to 255; each a number
            or three numbers (R, G, B), std > 0; or a name, such as "imagenet". (127.5, 128.0) is the habit of ArcFace's
            code; (0.0, 1.0), or "raw", feeds a float network raw pixels. None for a network that takes pixels, or
            whose metadata declare `image.normalization`.
        num_threads: Threads for LiteRT, >= 1. None leaves LiteRT's own default.
        channels: "RGB" or "BGR", the order a foreign network wants; images, and the three numbers of a
            normalization, are given as RGB either way.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a TFLite model, is damaged, or is no image embedder; `normalization` is missing,
            not wanted, or out of range; `num_threads` is below 1; `channels` is neither, or not the file's own.
        TypeError: an argument has the wrong type.
        ImportError: ai-edge-litert is not installed; the message names the extra.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
        >>> embedder = Embedder("face.tflite")
        >>> embedder.embed(images).shape, embedder.embedding_size
        ((8, 4), 4)
        >>> embedder.verify(images[0], images[0]) > 0.999
        True
    """

    # What opens the file, and runs it: a class with LiteRTNetwork's attributes and `run`.
    _open: Any = LiteRTNetwork

    def __init__(
        self,
        path: str | os.PathLike[str],
        normalization: Any = None,
        num_threads: int | None = None,
        channels: str = "RGB",
    ):
        self._network = self._open(path, normalization, num_threads, channels)
        self._lock = threading.Lock()
        self._model_id: str | None = None
        # One black image: a file that loads but cannot run fails here, and the output's real shape is known.
        self._embedding_size = self._network.run(np.zeros((1, *self.image_size, 3), np.uint8)).shape[1]

    @property
    def path(self) -> str:
        """The file, a str."""
        return self._network.path

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the images the network takes."""
        return self._network.image_size

    @property
    def embedding_size(self) -> int:
        """Length of one embedding."""
        return self._embedding_size

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The file's metadata, a dict as keras_margin.runtime.read_metadata gives it; None of a foreign file."""
        return self._network.metadata

    @property
    def threshold(self) -> float | None:
        """The cosine from which two faces count as one person's, as shipped with the file; None where none was."""
        shipped = (self.metadata or {}).get("threshold") or {}
        return shipped.get("cosine")

    @property
    def model_id(self) -> str:
        """SHA-256 of the file, hexadecimal: whose embeddings these are. See `Gallery`."""
        if self._model_id is None:
            digest = hashlib.sha256()
            with open(self.path, "rb") as file:
                while piece := file.read(2**20):
                    digest.update(piece)
            self._model_id = digest.hexdigest()
        return self._model_id

    @property
    def input_details(self) -> dict[str, Any]:
        """What LiteRT says of the input tensor: a dict with name, shape, shape_signature, dtype, quantization, ..."""
        return dict(self._network.details)

    def __repr__(self):
        about = f"image_size={self.image_size}, embedding_size={self._embedding_size}"
        return f"{type(self).__name__}({self.path!r}, {about})"

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Embeds images.

        Args:
            images: uint8 array (n, height, width, 3), RGB, n >= 1, of `image_size`; or one image
                (height, width, 3). Aligned faces: see `keras_margin.alignment`.

        Returns:
            float32 array (n, embedding_size), rows of unit length (n = 1 for one image). A row the network left at
            zero length stays zero, so its cosine with anything is 0; it is never NaN.

        Raises:
            TypeError: `images` is not uint8.
            ValueError: the shape is wrong, there is no image, or the network answered NaN or infinity.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
            >>> np.linalg.norm(Embedder("face.tflite").embed(images[:2]), axis=1).round(4).tolist()
            [1.0, 1.0]
        """
        images = self._checked_images(images)
        step = self._network.batch or MAX_BATCH
        with self._lock:
            rows = [self._network.run(images[start : start + step]) for start in range(0, len(images), step)]
        return _rows.unit_rows(np.concatenate(rows), f"The network in {self.path}")

    def verify(self, a: np.ndarray, b: np.ndarray) -> float:
        """How alike two faces are: the cosine of their embeddings.

        Args:
            a: uint8 array (height, width, 3), RGB, of `image_size`.
            b: The other image, likewise.

        Returns:
            float in [-1, 1], higher is more alike; 0.0 where the network left either embedding at zero.

        Raises:
            TypeError: an image is not uint8.
            ValueError: an image has the wrong shape, or the network answered NaN or infinity.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
            >>> Embedder("face.tflite").verify(images[0], images[0]) > 0.999
            True
        """
        a, b = (self._checked_images(image, single=True) for image in (a, b))
        first, second = self.embed(np.concatenate([a, b])).astype(np.float64)
        return float(np.clip(first @ second, -1.0, 1.0))

    def is_same(self, a: np.ndarray, b: np.ndarray, threshold: float | None = None) -> bool:
        """Whether two faces are one person's: verify(a, b) >= threshold.

        Args:
            a: As for `verify`.
            b: As for `verify`.
            threshold: Cosine in [-1, 1]; None for the one shipped with the file.

        Returns:
            bool.

        Raises:
            TypeError, ValueError: As `verify`; and where neither the call nor the file has a threshold.
        """
        threshold = self.decided(threshold)
        return self.verify(a, b) >= threshold

    def identify(self, images: np.ndarray, gallery: Gallery | np.ndarray, threshold: float | None = None) -> Any:
        """The gallery's most alike face for each image.

        score = max over rows g of cos(embedding, g)

        Args:
            images: uint8 array (n, height, width, 3) or (height, width, 3), as for `embed`.
            gallery: `Gallery`; or a float array (m, embedding_size), m >= 1, a known face a row, of any lengths.
            threshold: With a Gallery, the cosine in [-1, 1] below which an image is nobody's; None for the one shipped
                with the file. -1 names the nearest person whoever the image shows.

        Returns:
            Of a Gallery, a list of n `Match`, None where nobody reaches the threshold. Of an array:
            indices: int64 array (n,), the best row of `gallery`; the first of equals.
            scores: float32 array (n,), its cosine in [-1, 1].

        Raises:
            TypeError: `images` is not uint8, or `gallery` is not floats.
            ValueError: a shape is wrong, a value is NaN or infinite, the Gallery is of another model's embeddings, with
                a Gallery neither the call nor the file has a threshold, or a threshold is given with an array.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
            >>> embedder = Embedder("face.tflite")
            >>> indices, scores = embedder.identify(images[3], embedder.embed(images))
            >>> indices.tolist()
            [3]
        """
        if isinstance(gallery, Gallery):
            return self._identify(images, gallery, self.decided(threshold))
        if threshold is not None:
            raise ValueError("identify takes a threshold with a Gallery; of an array, compare the scores.")
        gallery = np.asarray(gallery)
        if not np.issubdtype(gallery.dtype, np.floating):
            raise TypeError(
                f"identify needs a gallery of embeddings, floats. Received: {gallery.dtype} of shape {gallery.shape}. "
                "Embed the known faces first: gallery = embedder.embed(images)."
            )
        if gallery.ndim != 2 or gallery.shape[1] != self._embedding_size or len(gallery) == 0:
            raise ValueError(
                f"identify needs a gallery of shape (m, {self._embedding_size}), m >= 1. "
                f"Received: shape {gallery.shape}."
            )
        return _rows.nearest(self.embed(images), _rows.unit_rows(gallery, "The gallery"))

    def decided(self, threshold: float | None) -> float:
        """The threshold of a decision: the caller's, or where that is None the file's.

        Raises:
            ValueError: Neither there, or outside of [-1, 1].
        """
        threshold = self.threshold if threshold is None else threshold
        if threshold is None:
            reason = (self.metadata or {}).get("no_threshold")
            raise ValueError(
                f"{self.path} ships no threshold{f' ({reason})' if reason else ''}: pass threshold=, chosen on pairs "
                "of your own, or export the model with pairs=."
            )
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold must be a cosine in [-1, 1]. Received: threshold={threshold}.")
        return threshold

    def _identify(self, images, gallery, threshold):
        if gallery.model is not None and gallery.model != self.model_id:
            raise ValueError(
                f"The gallery holds embeddings of another model ({gallery.model[:12]}...) than {self.path} "
                f"({self.model_id[:12]}...): their cosines mean nothing. Enroll its people again with this one."
            )
        found = gallery.search(self.embed(images), threshold=threshold)
        return [matches[0] if matches else None for matches in found]

    def _checked_images(self, images: np.ndarray, single: bool = False):
        """`images` as a uint8 array (n, height, width, 3) of the network's size."""
        try:
            images = np.asarray(images)
        except ValueError as error:
            raise ValueError(f"Embedder needs images of one size, {self.image_size}. {error}") from error
        if images.dtype != np.uint8:
            raise TypeError(
                f"Embedder needs uint8 RGB images, 0 to 255. Received: {images.dtype} of shape {images.shape}. "
                "Pass the pixels as they were decoded; if they are in [0, 1], np.rint(images * 255).astype(np.uint8)."
            )
        wanted = (*self.image_size, 3)
        shown = f"{wanted}" if single else f"(n, {wanted[0]}, {wanted[1]}, 3) or {wanted}"
        batch = images[None] if images.ndim == 3 else images
        if batch.ndim != 4 or batch.shape[1:] != wanted or (single and images.ndim != 3):
            raise ValueError(f"Embedder needs images of shape {shown}. Received: shape {images.shape}.")
        if len(batch) == 0:
            raise ValueError(f"Embedder needs at least one image. Received: shape {images.shape}.")
        return batch
