"""Names for annotations that hold on every backend."""

import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np


class HasArray(Protocol):
    """What NumPy turns into an array: the tensors of TensorFlow, JAX and PyTorch among others."""

    def __array__(self) -> Any:
        """Returns the values as a NumPy array."""

    def __len__(self) -> int:
        """Returns the number of rows."""


# A tensor of the Keras backend in use, a Keras variable, or what `keras.ops.convert_to_tensor` takes.
Tensor: TypeAlias = Any
# A nested structure of tensors: a tuple, NamedTuple, list or dict of them, or ().
State: TypeAlias = Any
Shape: TypeAlias = Sequence[int | None]
# An array, or a nested sequence that NumPy makes one of. Not numpy.typing's, which single numbers and strings are too.
ArrayLike: TypeAlias = np.ndarray | Sequence[Any] | HasArray
# The name of a file or folder.
PathLike: TypeAlias = str | os.PathLike[str]
# Height and width of images, in pixels.
Size: TypeAlias = tuple[int, int]


class Embedder(Protocol):
    """What photographs are prepared for: `runtime.Embedder` and `evaluation.FileEmbedder` have it."""

    @property
    def path(self) -> Any:
        """The file or folder."""

    @property
    def image_size(self) -> Size:
        """Height and width of the images that it takes, in pixels."""

    @property
    def metadata(self) -> Any:
        """What the export wrote into the file, a dict; None of a file without."""

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Returns an embedding a row, of uint8 RGB images (n, height, width, 3)."""
