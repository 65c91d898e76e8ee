"""Embedder: aligned faces, and whole photographs where the file has the signatures for them."""

import os
from typing import Any

import numpy as np

from keras_margin._utils.canvas import check_photograph
from keras_margin.alignment.transform import align_points
from keras_margin.runtime import _rows
from keras_margin.runtime._embedder import AlignedEmbedder
from keras_margin.runtime._photographs import Face, Photographs


class Embedder(AlignedEmbedder):
    """A TFLite face embedder: uint8 RGB images in, unit-length embeddings out.

    embedding = y / ||y||,  y the network's output (dequantised: scale * (q - zero_point))

    What the network is fed depends on its input:

        pixels: uint8, or quantised so that its range is 0 to 255:  the image itself; `normalization` is refused
        float32:                                         (image - mean) / std; `normalization` is required
        other int8 or uint8, scale and zero point:       round((image - mean) / std / scale) + zero_point, clipped;
                                                         `normalization` is required

    A file that `export.to_tflite(photo=...)` wrote also finds and aligns the faces of photographs: `faces`, `detect`,
    and `verify` of two photographs.

    Thread-safe: one embedder may be shared, calls that run the network wait for one another. To compute on several
    cores, set `num_threads`, or give each thread an Embedder of its own.

    Args:
        path: A .tflite file with one image input of rank 4 and one output (of several, the signature's `embedding`).
        normalization: (mean, std) of a network that takes normalised pixels, in grey levels 0 to 255; each a number
            or three numbers (R, G, B), std > 0; or a name, such as "imagenet". (127.5, 128.0) is the habit of ArcFace's
            code; (0.0, 1.0), or "raw", feeds a float network raw pixels. None for a network that takes pixels, or
            whose metadata declare `image.normalization`.
        num_threads: Threads for LiteRT, >= 1. None leaves LiteRT's own default.
        channels: "RGB" or "BGR", the order a foreign network wants; None for what its metadata say, else "RGB". Images,
            and the three numbers of a normalization, are given as RGB either way.

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
        >>> embedder.embed(images).shape, embedder.embedding_size, embedder.takes_photographs
        ((8, 4), 4, False)
        >>> embedder.verify(images[0], images[0]) > 0.999
        True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        normalization: Any = None,
        num_threads: int | None = None,
        channels: str | None = None,
    ):
        super().__init__(path, normalization, num_threads, channels)
        self._settings = self.path, normalization, num_threads, channels
        about = (self.metadata or {}).get("photo")
        self._photographs = Photographs(self.path, about, num_threads) if about else None

    def __reduce__(self):
        # An interpreter does not travel to another process; the settings do.
        return type(self), self._settings

    # It takes a photograph as it is: see alignment.detector.bounded.
    shrinks_photographs = True

    @property
    def takes_photographs(self) -> bool:
        """Whether the file finds and aligns faces itself."""
        return self._photographs is not None

    def faces(self, photo: np.ndarray) -> list[Face]:
        """Finds, aligns and embeds the faces of a photograph.

        Args:
            photo: uint8 array (height, width, 3), RGB, upright, of any size; `alignment.read_image` reads files so. For
                the detector a photograph larger than the file's canvas is shrunk; faces are cut out of it as it is.

        Returns:
            List of `Face`, the largest first; empty where none is found, as in a photograph of less than 12 pixels.
            Where there are more than the file has room for, the largest, and the logger `keras_margin.runtime` warns.

        Raises:
            TypeError: `photo` is not a uint8 array.
            ValueError: its shape is wrong, the file takes aligned faces alone, or answered NaN or infinity.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images, photo=(48, 64))
            >>> photograph = np.zeros((96, 128, 3), np.uint8)
            >>> [(face.box, face.score) for face in Embedder("face.tflite").faces(photograph)]  # No face is there.
            []
        """
        signatures = self._of_photographs(photo)
        with self._lock:
            placed, boxes, points, scores = signatures.detect(photo)
            found = [signatures.embed(placed, each) for each in points] if placed.shrink == 1 else []
        images = [image for _, image in found]
        if found:
            rows = _rows.unit_rows(np.concatenate([row for row, _ in found]), f"The network in {self.path}")
        elif len(points):
            # Out of the photograph itself: its copy on the canvas lacks what an aligned face has room for.
            images = [align_points(photo, each, self.image_size) for each in points]
            rows = self.embed(np.stack(images))
        else:
            return []
        return [
            Face(box, five, float(score), row, image)
            for box, five, score, row, image in zip(boxes, points, scores, rows, images, strict=True)
        ]

    def detect(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds the faces of a photograph: a detector as `alignment.align` takes it.

        Args:
            photo: As for `faces`.

        Returns:
            boxes: float64 array (n, 4) of (x1, y1, x2, y2), pixels of the photograph.
            points: float64 array (n, 5, 2) of (x, y).
            scores: float64 array (n,) in [0, 1].

        Raises:
            TypeError, ValueError: As `faces`.
        """
        with self._lock:
            return self._of_photographs(photo).detect(photo)[1:]

    def verify(self, a: np.ndarray, b: np.ndarray) -> float:
        """How alike two faces are: the cosine of their embeddings.

        Args:
            a: uint8 array (height, width, 3), RGB: an aligned face of `image_size`; or, where the file takes them, a
                photograph of any other size, of which the largest face counts.
            b: The other image, likewise.

        Returns:
            float in [-1, 1], higher is more alike; 0.0 where the network left either embedding at zero.

        Raises:
            TypeError: an image is not uint8.
            ValueError: an image has the wrong shape, a photograph shows no face, or the network answered NaN or
                infinity.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
            >>> Embedder("face.tflite").verify(images[0], images[0]) > 0.999
            True
        """
        if not self.takes_photographs:
            return super().verify(a, b)
        return super().verify(self.aligned(a), self.aligned(b))

    def aligned(self, photo: np.ndarray) -> np.ndarray:
        """The largest face of a photograph, as the network takes it.

        Args:
            photo: As for `faces`; an image of `image_size` is an aligned face, and returned as it is.

        Returns:
            uint8 array (*image_size, 3).

        Raises:
            TypeError: As `faces`.
            ValueError: As `faces`; and where no face is found.
        """
        face = self.largest_face(photo)
        if face is None:
            raise ValueError(f"No face was found in a photograph of {photo.shape[0]} x {photo.shape[1]} pixels.")
        return face

    def largest_face(self, photo: np.ndarray) -> np.ndarray | None:
        """As `aligned`, but None where no face is found. Nothing is embedded."""
        check_photograph(photo)
        if photo.shape[:2] == tuple(self.image_size):
            return photo
        signatures = self._of_photographs(photo)
        with self._lock:
            placed, _, points, _ = signatures.detect(photo)
            if not len(points):
                return None
            if placed.shrink == 1:
                return signatures.embed(placed, points[0])[1]
        return align_points(photo, points[0], self.image_size)

    def _of_photographs(self, photo):
        if self._photographs is None:
            raise ValueError(
                f"{self.path} takes aligned faces alone. Export it with photo=True (keras-margin export --photo), or "
                "crop the face by keras_margin.alignment.align."
            )
        check_photograph(photo)
        return self._photographs
