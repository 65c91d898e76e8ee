"""The sizes that images are stored in, out of their headers, and what they say about alignment."""

import collections
from collections.abc import Mapping

import numpy as np

from keras_margin._typing import Size
from keras_margin._utils import exif
from keras_margin.data._decoding import announced_size
from keras_margin.data._encoded import UnreadableError
from keras_margin.data.reader import LabelledImages

# Faces that were aligned have one size; a few crops of another source among them change nothing.
_SHARE = 0.9


def stored_sizes(reader: LabelledImages, most: int = 200) -> dict[Size, int]:
    """Counts the sizes that a set's images are stored in, before they are resized; nothing is decoded.

    Args:
        reader: From `keras_margin.data.open`.
        most: How many images to look at, evenly spaced, >= 1.

    Returns:
        {(height, width): number of images}, upright, the commonest first. Images that cannot be read do not count.

    Example:
        >>> stored_sizes(keras_margin.data.open("orl"))
        {(112, 92): 200}
    """
    import tensorflow as tf

    sizes: collections.Counter[Size] = collections.Counter()
    for number in np.unique(np.linspace(0, reader.num_images - 1, most).astype(int)).tolist():
        try:
            contents = reader.encoded(number)
            with tf.device("CPU:0"):
                size = tuple(announced_size(contents).numpy().tolist())
        except (UnreadableError, tf.errors.OpError):
            continue
        transposed, _, _ = exif.parts(exif.orientation(contents))
        sizes[size[::-1] if transposed else size] += 1
    return dict(sizes.most_common())


def looks_aligned(sizes: Mapping[Size, int]) -> bool:
    """Whether images of these sizes may be aligned faces: nine tenths of them or more have one size.

    A folder of photographs has many sizes. One size proves nothing: photographs of one camera have that too.

    Args:
        sizes: {(height, width): number of images}, from `stored_sizes` or `Audit.sizes`.

    Returns:
        bool; True where there is no image.

    Example:
        >>> looks_aligned({(112, 112): 95, (250, 250): 5}), looks_aligned({(600, 800): 2, (480, 640): 1})
        (True, False)
    """
    return max(sizes.values(), default=0) >= _SHARE * sum(sizes.values())
