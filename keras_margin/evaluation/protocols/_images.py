"""Image files one by one, decoded as they are needed."""

import concurrent.futures
import pathlib

import numpy as np

from keras_margin.data._encoded import UnreadableError, decode
from keras_margin.evaluation.protocols.base import fitted

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class ImageFiles:
    """Images by their paths, all brought to one size.

    Args:
        paths: Sequence of paths.
        image_size: (height, width) that the model takes; None for whatever they have, if all have the same.
        fit: As for `evaluation.load_protocol`.
        prepare: Function of (row, uint8 image) to uint8 image, such as an alignment; None for none.
    """

    def __init__(self, paths, image_size, fit, prepare=None):
        self._paths, self._size, self._fit, self._prepare = paths, image_size, fit, prepare

    def batches(self, batch_size):
        for start in range(0, len(self._paths), batch_size):
            yield self.load(range(start, min(start + batch_size, len(self._paths))))

    def load(self, rows):
        with concurrent.futures.ThreadPoolExecutor(8) as executor:
            images = list(executor.map(self._one, rows))
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise ValueError(
                f"The images of a set have one size. Received: {sorted(shapes)} in and beside "
                f"{pathlib.Path(self._paths[0]).parent}. Align them, or name the size to resize to."
            )
        return np.stack(images)

    def _one(self, row):
        path = self._paths[row]
        try:
            image = np.asarray(decode(pathlib.Path(path).read_bytes()))
        except FileNotFoundError:
            raise ValueError(f"The lists name an image that is not there: {path}.") from None
        except UnreadableError as error:
            raise ValueError(f"Every image of a protocol must be readable. Received: {path} ({error}).") from None
        if self._prepare is not None:
            return self._prepare(row, image)
        return fitted(image[None], self._size, self._fit, str(path))[0]
