"""LFW, CFP-FP, AgeDB-30, CALFW, CPLFW and whatever else comes as a verification `.bin`."""

import pathlib

import numpy as np

from keras_margin import data
from keras_margin.evaluation.protocols._pairs import measure_in_folds, some_of
from keras_margin.evaluation.protocols.base import Protocol, fitted


def recognizes(path):
    """Whether this is a `.bin` file."""
    return path.suffix.lower() == ".bin" and path.is_file()


def open_protocol(path, name, image_size, fit):
    """`BinProtocol` of a file."""
    return BinProtocol(path, name, image_size, fit)


class BinProtocol(Protocol):
    """Ten folds of consecutive pairs: image 2 i beside image 2 i + 1."""

    def __init__(self, path, name=None, image_size=None, fit=None):
        images, self._is_same = data.load_bin(path)
        self._images = fitted(images, image_size, fit, str(path))
        super().__init__(name or pathlib.Path(path).stem, path, "verification, folds of consecutive pairs", len(images))
        self._pairs = np.arange(len(images)).reshape(-1, 2)

    def batches(self, batch_size):
        for start in range(0, self.num_images, batch_size):
            yield self._images[start : start + batch_size]

    def images(self, rows):
        return self._images[np.asarray(rows)]

    def sample_pairs(self, count, seed=0):
        return some_of(self._pairs, self._is_same, count, seed)

    def _measure(self, embeddings, settings):
        return measure_in_folds(embeddings, self._pairs, self._is_same, None, settings.folds, settings)
