"""What a Gallery does straight from photographs: their faces found, aligned and embedded by the file."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class PhotoGallery:
    """The part of a `Gallery` that takes photographs; `enroll` and `search` are the gallery's."""

    model: Any
    enroll: Any
    search: Any

    def enroll_photographs(self, name: str, photographs: Sequence[np.ndarray], embedder: Any) -> None:
        """Adds a person by the largest face of each photograph; none where one of them has no face.

        Args:
            name: Who; a str that is not empty.
            photographs: List of uint8 arrays (height, width, 3), RGB, of any size.
            embedder: `Embedder` of a file that takes photographs.

        Raises:
            TypeError, ValueError: As `enroll`; another model's embedder; a photograph without a face.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
            >>> embedder = Embedder("face.tflite")
            >>> gallery = Gallery(embedder.embedding_size, embedder.model_id)
            >>> gallery.enroll_photographs("Ada", [images[0], images[1]], embedder)  # Of its size: aligned already.
            >>> len(gallery), gallery.names
            (2, ('Ada',))
        """
        check_model(self, embedder)
        if not len(photographs):
            raise ValueError("enroll_photographs needs at least one photograph. Received: none.")
        # All of them before any is added.
        self.enroll(name, embedder.embed(np.stack([embedder.aligned(photo) for photo in photographs])))

    def identify(
        self, photo: np.ndarray, embedder: Any, threshold: float | None = None, far_per_search: float | None = None
    ) -> list[Any]:
        """Says who is on a photograph: a list of (`Face`, `Match` or None), the largest face first.

        Args:
            photo: As for `Embedder.faces`.
            embedder: As for `enroll_photographs`.
            threshold: Cosine below which a face is nobody's; None for the file's.
            far_per_search: In place of a threshold, as for `Embedder.identify`.

        Raises:
            TypeError, ValueError: As `Embedder.faces`; another model's embedder; no threshold.

        Example:
            >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
            >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
            >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
            >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images, photo=(48, 64))
            >>> embedder = Embedder("face.tflite")
            >>> gallery = Gallery(embedder.embedding_size, embedder.model_id)
            >>> gallery.enroll("Ada", embedder.embed(images[0]))
            >>> photograph = np.zeros((96, 128, 3), np.uint8)
            >>> found = gallery.identify(photograph, embedder, threshold=0.5)
            >>> [(face.box, match and match.name) for face, match in found]  # No face is there.
            []
        """
        check_model(self, embedder)
        if far_per_search is None:
            threshold = embedder.decided(threshold)
        faces = embedder.faces(photo)
        if not faces:
            return []
        rows = np.stack([face.embedding for face in faces])
        matches = self.search(rows, 1, threshold, far_per_search, embedder.search_thresholds)
        return [(face, found[0] if found else None) for face, found in zip(faces, matches, strict=True)]


def check_model(gallery: Any, embedder: Any) -> None:
    """Raises ValueError where a gallery is of another model's embeddings."""
    if gallery.model is not None and gallery.model != embedder.model_id:
        raise ValueError(
            f"The gallery holds embeddings of another model ({gallery.model[:12]}...) than {embedder.path} "
            f"({embedder.model_id[:12]}...): their cosines mean nothing. Enroll its people again with this one."
        )
