"""AlignedEmbedder: a TFLite face embedder through LiteRT, on faces that are aligned already."""

import hashlib
import os
import threading
from typing import Any

import numpy as np

from keras_margin._utils.decisions import Calibration, Probability, SearchThresholds
from keras_margin.runtime import _rows, _tensors
from keras_margin.runtime._gallery import Gallery
from keras_margin.runtime._litert import LiteRTNetwork
from keras_margin.runtime._photo_gallery import check_model

# Most images per call of a network with a free batch: bounds the activations' memory.
MAX_BATCH = 32


class AlignedEmbedder:
    """The part of `Embedder` that takes aligned faces; arguments and errors are Embedder's."""

    # What opens the file, and runs it: a class with LiteRTNetwork's attributes and `run`.
    _open: Any = LiteRTNetwork

    def __init__(
        self,
        path: str | os.PathLike[str],
        normalization: Any = None,
        num_threads: int | None = None,
        channels: str | None = None,
    ):
        self._network = self._open(path, normalization, num_threads, channels)
        self._lock = threading.Lock()
        self._model_id: str | None = None
        # One black image: a file that loads but cannot run fails here, and the output's real shape is known.
        self._embedding_size = self._network.run(np.zeros((1, *self.image_size, 3), np.uint8))[0].shape[1]

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
    def search_thresholds(self) -> SearchThresholds | None:
        """The file's SearchThresholds, for `identify` at a `far_per_search`; None where it has none."""
        return SearchThresholds.from_metadata(self.metadata)

    @property
    def model_id(self) -> str:
        """SHA-256 of the file as it was exported, hexadecimal: whose embeddings these are. See `Gallery`.

        A file that got a calibration later says in its metadata what it was before; its embeddings are the same.
        """
        if self._model_id is None:
            self._model_id = (self.metadata or {}).get("model_id")
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

    def __repr__(self) -> str:
        about = f"image_size={self.image_size}, embedding_size={self._embedding_size}"
        return f"{type(self).__name__}({self.path!r}, {about})"

    @property
    def keeps_length(self) -> bool:
        """Whether the lengths of embeddings are known: an output `length`, or rows that are not of unit length."""
        own = (self.metadata or {}).get("embedding") or {}
        return self._network.tells_length or not own.get("unit_length", False)

    def embed(self, images: np.ndarray, lengths: bool = False) -> np.ndarray:
        """Embeds images.

        Args:
            images: uint8 array (n, height, width, 3), RGB, n >= 1, of `image_size`; or one image
                (height, width, 3). Aligned faces: see `keras_margin.alignment`.
            lengths: Whether rows keep the length that the network gave them; needs `keeps_length`.

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
        rows, told = self._answers(images)
        if not lengths:
            return _rows.unit_rows(rows, f"The network in {self.path}")
        if not self.keeps_length:
            raise ValueError(
                f"{self.path} gives embeddings of unit length: their own is lost. Export the model again with "
                "Options(length=True), or --length."
            )
        _rows.lengths_of(rows, f"The network in {self.path}")  # Refuses NaN.
        return rows if told is None else rows * told[:, None]

    def quality(self, images: np.ndarray) -> np.ndarray:
        """How good images are: the length of their embeddings before it was made 1, which blur and darkness shorten.

        Args:
            images: As for `embed`.

        Returns:
            float32 array (n,), > 0, on the network's own scale: `evaluation.rejection_threshold` finds where to refuse.

        Raises:
            TypeError, ValueError: As `embed` with lengths.
        """
        rows = self.embed(images, lengths=True)
        return np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64)).astype(np.float32)

    def _answers(self, images):
        """(float32 rows as the network gave them, their told lengths or None)."""
        images = _tensors.checked_images(images, self.image_size)
        step = self._network.batch or MAX_BATCH
        with self._lock:
            parts = [self._network.run(images[start : start + step]) for start in range(0, len(images), step)]
        rows, lengths = zip(*parts, strict=True)
        return np.concatenate(rows), None if lengths[0] is None else np.concatenate(lengths)

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
        a, b = (_tensors.checked_images(image, self.image_size, single=True) for image in (a, b))
        first, second = self.embed(np.concatenate([a, b])).astype(np.float64)
        return float(np.clip(first @ second, -1.0, 1.0))

    def probability(self, a: np.ndarray, b: np.ndarray, prior: float | None = None) -> Probability:
        """How probable it is that two faces are one person's, by the calibration that came with the file.

        Args:
            a: As for `verify`.
            b: As for `verify`.
            prior: Probability of one person before the faces were seen, in (0, 1); None for the one that the file
                states, 0.5 unless it was calibrated with another.

        Returns:
            `Probability`: the probability, its interval, the cosine.

        Raises:
            TypeError, ValueError: As `verify`; a prior out of range, or a file without a calibration.
        """
        calibration = Calibration.from_metadata(self.metadata)
        if calibration is None:
            raise ValueError(
                f"{self.path} has no calibration, which tells what a cosine is worth. Add one: "
                f"keras-margin calibrate {self.path} PAIRS."
            )
        return calibration.probability(self.verify(a, b), prior)

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

    def identify(
        self,
        images: np.ndarray,
        gallery: Gallery | np.ndarray,
        threshold: float | None = None,
        far_per_search: float | None = None,
    ) -> Any:
        """The gallery's most alike face for each image.

        score = max over rows g of cos(embedding, g)

        Args:
            images: uint8 array (n, height, width, 3) or (height, width, 3), as for `embed`.
            gallery: `Gallery`; or a float array (m, embedding_size), m >= 1, a known face a row, of any lengths.
            threshold: With a Gallery, the cosine in [-1, 1] below which an image is nobody's; None for the one shipped
                with the file. -1 names the nearest person whoever the image shows.
            far_per_search: With a Gallery, in place of a threshold, how often an image of a stranger may be given a
                name, in (0, 1): the file's `search_thresholds` make a threshold of it and of the gallery's size.

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
            return self._identify(images, gallery, threshold, far_per_search)
        if threshold is not None or far_per_search is not None:
            raise ValueError("identify takes a threshold with a Gallery; of an array, compare the scores.")
        known = _rows.checked_gallery(gallery, self._embedding_size)
        return _rows.nearest(self.embed(images), _rows.unit_rows(known, "The gallery"))

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

    def _identify(self, images, gallery, threshold, far_per_search):
        check_model(gallery, self)
        if far_per_search is None:
            found = gallery.search(self.embed(images), threshold=self.decided(threshold))
        else:
            found = gallery.search(self.embed(images), 1, threshold, far_per_search, self.search_thresholds)
        return [matches[0] if matches else None for matches in found]
