"""Images to compare on, to quantise by and to measure with, out of a data set."""

import dataclasses
from typing import Any

import numpy as np

from keras_margin import data
from keras_margin._typing import PathLike
from keras_margin.export._source import extract_embedder


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
    """Some images of a data set.

    Attributes:
        images: uint8 array (n, height, width, 3), RGB, of the size that the model takes.
        labels: int array (n,), whose image it is; None where that is not known.
        names: Tuple of str, where each image is: its file, and its place there if it is one of many.

    Example:
        >>> faces = Faces(np.zeros((2, 112, 112, 3), np.uint8), np.array([0, 1]), ("s1/1.pgm", "s2/1.pgm"))
        >>> len(faces.images), faces.names[1]
        (2, 's2/1.pgm')
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: tuple


def faces_from(path: PathLike, model: Any, most: int = 300, whole_identities: bool = False) -> Faces:
    """Reads images for `representative=`, `samples=` and `pairs=` from a data set.

    Args:
        path: As for keras_margin.data.open: a folder of identities, a .rec, TFRecord shards, or "orl".
        model: What is to be exported; the images get the size that it takes.
        most: How many to read, at most, >= 1.
        whole_identities: Whether to take the images of the first identities, so that there are pairs of one person;
            otherwise they are spread evenly over the set.

    Returns:
        Faces.

    Raises:
        ValueError, OSError, ImportError: As keras_margin.data.open and `extract_embedder`.

    Example:
        >>> network = keras.Sequential([keras.Input((56, 46, 3)), keras.layers.GlobalAveragePooling2D()])
        >>> faces_from("orl", network, most=20).images.shape
        (20, 56, 46, 3)
    """
    if most < 1:
        raise ValueError(f"faces_from needs most >= 1. Received: most={most}.")
    reader = data.open(path, image_size=extract_embedder(model).input_shape[1:3])
    if whole_identities:
        chosen = np.sort(np.argsort(reader.labels, kind="stable")[:most])
    else:
        chosen = np.linspace(0, reader.num_images - 1, min(reader.num_images, most)).astype(int)
    images, labels = reader.subset(chosen).arrays()
    return Faces(images, np.asarray(labels), tuple(reader.name_of(int(index)) for index in chosen))
