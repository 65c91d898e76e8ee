"""LFW, CFP-FP, AgeDB-30, CALFW, CPLFW and whatever else comes as a verification `.bin`."""

import pathlib
from collections.abc import Iterator

import numpy as np

from keras_margin import data
from keras_margin._typing import Size
from keras_margin.evaluation.protocols._pairs import measure_in_folds, some_of
from keras_margin.evaluation.protocols.base import Protocol, Settings, fitted


def recognizes(path: pathlib.Path) -> bool:
    """Whether this is a `.bin` file."""
    return path.suffix.lower() == ".bin" and path.is_file()


def open_protocol(path: pathlib.Path, name: str | None, image_size: Size | None, fit: str | None) -> "BinProtocol":
    """`BinProtocol` of a file."""
    return BinProtocol(path, name, image_size, fit)


class BinProtocol(Protocol):
    """Ten folds of consecutive pairs: image 2 i beside image 2 i + 1."""

    def __init__(
        self, path: pathlib.Path, name: str | None = None, image_size: Size | None = None, fit: str | None = None
    ) -> None:
        images, self._is_same = data.load_bin(path)
        self._images = fitted(images, image_size, fit, str(path))
        super().__init__(name or pathlib.Path(path).stem, path, "verification, folds of consecutive pairs", len(images))
        self._pairs = np.arange(len(images)).reshape(-1, 2)

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.num_images, batch_size):
            yield self._images[start : start + batch_size]

    def images(self, rows: np.ndarray) -> np.ndarray:
        return self._images[np.asarray(rows)]

    def sample_pairs(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return some_of(self._pairs, self._is_same, count, seed)

    def _measure(self, embeddings: np.ndarray, settings: Settings):
        return measure_in_folds(embeddings, self._pairs, self._is_same, None, settings.folds, settings)
