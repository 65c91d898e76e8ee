"""Verification sets as insightface ships them: `lfw.bin`, `cfp_fp.bin`, `agedb_30.bin` and the like."""

import concurrent.futures
import os
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_margin._typing import ArrayLike, PathLike, Size, Tensor
from keras_margin._utils import files
from keras_margin.data import _pickle
from keras_margin.data._arguments import check_image_size
from keras_margin.data._decoding import resize_image
from keras_margin.data._encoded import UnreadableError, decode

# A file this many times smaller than its pixels names its images again and again, or lies about their sizes.
_LARGEST_RATIO = 300
_BORNE_BYTES = 2**28

_LAYOUT = "A verification .bin is a pickle of (list of images, list of bool), two images for each bool."


def load_bin(path: PathLike, image_size: Size | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Loads a verification set.

    The file is a pickle, and a pickle can run any program on the machine that loads it. This one is read by a machine
    that knows lists, tuples, bytes, numbers and arrays of numbers, and refuses anything else by the name of what the
    file asks for, without running it.

    Args:
        path: The .bin file, of Python 2 or 3: JPEG or PNG bytes, also as uint8 arrays (n,) or (n, 1), or uint8 arrays
            (height, width, 3) in RGB; for each pair a bool, or a number that is 0 or 1, in a list or an array.
        image_size: (height, width) to resize to; None keeps the images as they are, if all have one size.

    Returns:
        (images, is_same): uint8 RGB array (n, height, width, 3), whose rows 2i and 2i + 1 are a pair, and bool array
        (n / 2,). `evaluation.pair_scores(embeddings, np.arange(n).reshape(-1, 2))` scores them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it asks for anything but such values, or does not hold them; an image is named by its number.

    Example:
        >>> write_bin("two.bin", np.zeros((2, 112, 112, 3), np.uint8), [True])
        >>> images, is_same = load_bin("two.bin")
        >>> images.shape, is_same.tolist()
        ((2, 112, 112, 3), [True])
    """
    path = os.fsdecode(path)
    image_size = check_image_size(image_size)
    with open(path, "rb") as file:
        data = file.read()
    try:
        value = _pickle.load(data)
    except _pickle.RefusedError as error:
        begin = "" if data.startswith(b"\x80") else f" It begins with {data[:16]!r}."
        raise ValueError(f"{_LAYOUT} Received: {path}, where {error}. Nothing of it was run.{begin}") from None
    images, is_same = _checked(value, path)
    if not images:
        raise ValueError(f"{_LAYOUT} Received: {path}, without an image.")
    first = _pixels(images[0], 0, path, image_size)
    size = max(_BORNE_BYTES, _LARGEST_RATIO * len(data))
    if len(images) * first.size > size:
        raise ValueError(
            f"{path} has {len(data):,} bytes and wants {len(images) * first.size:,} for its {len(images):,} images of "
            f"{first.shape[0]} x {first.shape[1]} pixels, which is not plausible. Pass image_size to make them smaller."
        )
    result = np.empty((len(images), *first.shape), np.uint8)

    def put(number):
        image = _pixels(images[number], number, path, image_size)
        if image.shape != first.shape:
            raise ValueError(
                f"The images of a verification set have one size. Received: {path}, where image 0 is "
                f"{first.shape[0]} x {first.shape[1]} and image {number} is {image.shape[0]} x {image.shape[1]} "
                "pixels. Pass image_size=(112, 112)."
            )
        result[number] = image

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        for _ in executor.map(put, range(len(images))):  # The error of the first image that has one.
            pass
    return result, is_same


def write_bin(path: PathLike, images: Sequence[np.ndarray | bytes] | np.ndarray, is_same: ArrayLike) -> None:
    """Writes a verification set that `load_bin` and insightface's evaluation read.

    Args:
        path: The file; it appears whole or not at all.
        images: Sequence of n images: uint8 RGB arrays (height, width, 3), which are written as PNG and lose nothing, or
            bytes of JPEG or PNG files, which are written as they are. Rows 2i and 2i + 1 are a pair.
        is_same: Bool array or sequence (n / 2,), whether each pair is of one person.

    Raises:
        ValueError: If the two do not fit together, or an image is neither.
        OSError: If the file cannot be written.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> images, _ = reader.subset([0, 1, 0, 10]).arrays()
        >>> write_bin("orl.bin", images, [True, False])
    """
    is_same = np.asarray(is_same)
    if is_same.dtype != bool or is_same.ndim != 1 or len(images) != 2 * len(is_same):
        raise ValueError(
            "write_bin needs two images for each bool. Received: "
            f"{len(images)} images, is_same of shape {is_same.shape} and dtype {is_same.dtype}."
        )
    encoded = [_encoded(image, number) for number, image in enumerate(images)]
    with files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        pickle.dump((encoded, is_same.tolist()), file, protocol=4)


def _encoded(image: np.ndarray | bytes, number: int) -> bytes:
    if isinstance(image, bytes):
        return image
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        what = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}".strip()
        raise ValueError(
            f"write_bin needs uint8 arrays (height, width, 3) or bytes. Received: images[{number}] of {what}."
        )
    import tensorflow as tf

    with tf.device("CPU:0"):
        return tf.io.encode_png(image).numpy()


def _checked(value: Any, path: str) -> tuple[list[Any], np.ndarray]:
    """(list of images, bool array) of what the pickle holds."""
    if type(value) not in (tuple, list) or len(value) != 2:
        what = _in_words(value) + (f" of {len(value)}" if type(value) in (tuple, list) else "")
        raise ValueError(f"{_LAYOUT} Received: {path}, which holds {what}.")
    images, is_same = (_listed(part) for part in value)
    for name, values in (("images", images), ("bools", is_same)):
        if type(values) not in (tuple, list):
            raise ValueError(f"{_LAYOUT} Received: {path}, whose {name} are {_in_words(values)}.")
    if len(images) != 2 * len(is_same):
        hint = ""
        if len(images) == len(is_same):
            hint = " One label an image is a labelled set: keras_margin.data.write_protocol draws pairs of one."
        raise ValueError(f"{_LAYOUT} Received: {path}, with {len(images):,} images and {len(is_same):,} bools.{hint}")
    odd = next(
        (at for at, same in enumerate(is_same) if type(same) not in (bool, int, float) or same not in (0, 1)), -1
    )
    if odd >= 0:
        what = f"{is_same[odd]!r}" if type(is_same[odd]) in (int, float) else _in_words(is_same[odd])
        raise ValueError(f"{_LAYOUT} Received: {path}, whose bool {odd} is {what}; True and 1 are one person.")
    return images, np.array(is_same, bool)


def _listed(values: Any) -> Any:
    """What stands in an array as a list: numbers of a vector, and the images of an array of images."""
    if not isinstance(values, _pickle.PickledArray):
        return values
    if len(values.shape) == 1 or (len(values.shape) == 2 and values.shape[1] == 1):
        return values.values().ravel().tolist()
    if len(values.shape) == 4 and 0 not in values.shape:
        return [
            values._replace(shape=image.shape, fortran_order=False, data=image.tobytes()) for image in values.values()
        ]
    return values


def _in_words(value: Any) -> str:
    if isinstance(value, _pickle.PickledArray):
        return f"a {np.dtype(value.dtype).name} array of shape {value.shape}"
    return f"a {type(value).__name__}"


def _pixels(image: Any, number: int, path: str, image_size: Size | None) -> np.ndarray:
    """uint8 array (height, width, 3) of one entry of the list."""
    if isinstance(image, _pickle.PickledArray) and np.dtype(image.dtype) == np.uint8:
        if len(image.shape) in (1, 2) and len(image.data) == max(image.shape):
            image = image.data  # The bytes of a JPEG file as an array: (n,), and (n, 1) by OpenCV's imencode.
        elif len(image.shape) == 3 and image.shape[2] == 3 and 0 not in image.shape:
            return _resized(image.values(), image_size)
    if not isinstance(image, bytes | bytearray):
        raise ValueError(
            f"{_LAYOUT} Received: {path}, whose image {number} is {_in_words(image)}; images are bytes of JPEG or PNG "
            "files, or uint8 arrays (height, width, 3)."
        )
    try:
        return _resized(decode(bytes(image)), image_size)
    except UnreadableError as error:
        raise ValueError(f"Every image must be readable. Received: {path}, image {number} ({error}).") from None


def _resized(image: Tensor, image_size: Size | None) -> np.ndarray:
    return np.asarray(image if image_size is None else resize_image(image, image_size))
