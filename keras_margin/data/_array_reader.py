"""Images that are in memory already, as a reader."""

import copy
import functools
from collections.abc import Callable, Sequence

import numpy as np

from keras_margin._typing import Size, Tensor
from keras_margin._utils import arrays
from keras_margin.data._arguments import check_image_size
from keras_margin.data._decoding import resize_image
from keras_margin.data.reader import Reader


class ArrayReader(Reader):
    """A reader of images that are in memory already.

    Args:
        images: uint8 array, (num_images, height, width) or (num_images, height, width, 1) grey, or
            (num_images, height, width, 3) RGB, in [0, 255]. Grey is kept with its one channel, and comes out with that
            three times.
        labels: Int array, (num_images,), 0 .. number of classes - 1, each of at least one image.
        label_names: Sequence of str, one per class; None for the labels as they are written, "0", "1" ...
        image_size: (height, width) to resize to; None keeps the size of `images`.

    Raises:
        TypeError: If the images are not uint8, or the labels not integers; the message has the conversion.
        ValueError: If the images have another shape, other channels or values of 0 and 1 alone, or the labels are not
            one an image or leave a class out.

    Example:
        >>> images = np.full((4, 112, 112, 3), 128, np.uint8)
        >>> labels, names = keras_margin.data.relabel([12, 12, 7, 7])
        >>> ArrayReader(images, labels, names)
        <ArrayReader: 4 images of 2 identities, image_size=(112, 112)>
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int],
        label_names: Sequence[str] | None = None,
        image_size: Size | None = None,
    ) -> None:
        self._array = arrays.check_images(images, type(self).__name__)
        numbers = arrays.check_labels(labels, len(self._array), type(self).__name__)
        if label_names is None:
            label_names = [str(label) for label in range(numbers.max() + 1)]
        super().__init__(numbers, label_names, check_image_size(image_size) or self._array.shape[1:3])

    @functools.cached_property
    def _pixels(self) -> np.ndarray:
        """uint8 array (num_images, *image_size, 1 or 3): resized once, not in every epoch."""
        images = self._array if self._array.ndim == 4 else self._array[..., np.newaxis]
        if images.shape[1:3] != self.image_size:
            # In parts, because TensorFlow resizes in float32.
            parts = (images[start : start + 64] for start in range(0, len(images), 64))
            images = np.concatenate([resize_image(part, self.image_size) for part in parts])
        return images

    def encoded(self, number: int) -> bytes:
        import tensorflow as tf

        with tf.device("CPU:0"):
            # Of grey as of RGB: `decode_image` makes three channels of one.
            return tf.io.encode_png(self._pixels[number]).numpy()

    def _loader(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        import tensorflow as tf

        images = tf.constant(self._pixels)
        labels = tf.constant(self.labels)

        def load(numbers):
            chosen = tf.gather(images, numbers)
            return tf.repeat(chosen, 3 // images.shape[-1], axis=-1), tf.gather(labels, numbers)

        return load

    def _select(self, indices: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> "ArrayReader":
        # Not by the constructor: a few dark images of a sound set would look like floats that were cast.
        selected = copy.copy(self)
        selected.__dict__.pop("_pixels", None)
        selected._array = self._array[indices]
        Reader.__init__(selected, labels, label_names, self.image_size)
        return selected
