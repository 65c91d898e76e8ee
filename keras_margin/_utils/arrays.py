"""Checks of what a caller passes, images and labels first of all, before anything computes. NumPy alone."""

import numpy as np

from keras_margin._typing import ArrayLike

# Images looked at together, so that a check needs little memory whatever the size of the array.
_BLOCK = 256

_SHAPES = "(n, height, width) grey, (n, height, width, 1) grey or (n, height, width, 3) RGB"

# Three or four columns of at least so many rows are one colour image, not a batch of grey ones.
_NARROWEST = 16

# What can be done with an image of another size than a network takes.
FITS = (None, "crop", "resize")


def check_fit(fit: str | None) -> None:
    """Raises ValueError unless `fit` is one of FITS."""
    if fit not in FITS:
        raise ValueError(f'fit must be None, "crop" or "resize". Received: fit={fit!r}.')


def checked_threads(num_threads: int | None, owner: str) -> int | None:
    """Returns a number of threads as an int, None as None.

    Args:
        num_threads: Integer >= 1, or None for the library's own default.
        owner: Name of the caller, for the message.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below 1.

    Example:
        >>> checked_threads(np.int64(2), "Embedder")
        2
    """
    if num_threads is None:
        return None
    if isinstance(num_threads, bool) or not isinstance(num_threads, (int, np.integer)):
        raise TypeError(f"{owner} needs num_threads as an integer or None. Received: num_threads={num_threads!r}.")
    if num_threads < 1:
        raise ValueError(f"{owner} needs num_threads >= 1. Received: num_threads={num_threads}.")
    return int(num_threads)


def check_images(images: ArrayLike, owner: str, floats: bool = False) -> np.ndarray:
    """Returns images as an array, or raises an error that names what is wrong and how to convert it.

    The values are read in blocks; of uint8 images no further than the first value above 1.

    Args:
        images: Array or nested sequence, (n, height, width) grey, (n, height, width, 1) grey or
            (n, height, width, 3) RGB, values in [0, 255].
        owner: Name of the caller, for the message.
        floats: Whether floats in [0, 255] pass too; otherwise the dtype must be uint8.

    Returns:
        The array; not a copy where `images` is an array.

    Raises:
        TypeError: If the dtype is another; the message has the conversion.
        ValueError: If the shape or the number of channels is another, there is no image, or the values are not in
            [0, 255], or are all in [0, 1] and not all 0.

    Example:
        >>> check_images(np.full((2, 112, 112, 3), 128, np.uint8), "fit").shape
        (2, 112, 112, 3)
    """
    images = _as_array(images)
    if images.dtype.kind not in "biuf":
        raise TypeError(
            f"{owner} needs images as numbers in one array, {_SHAPES}. Received: dtype={images.dtype}, "
            f"shape={images.shape}. Images of different sizes make an array of objects: resize them to one size first."
        )
    _check_shape(images, owner)
    is_float = floats and images.dtype.kind == "f"
    if images.dtype != np.uint8 and not is_float:
        allowed = "uint8 or float images" if floats else "uint8 images"
        raise TypeError(
            f"{owner} needs {allowed}, values in [0, 255]. Received: dtype={images.dtype}, {_range_in_words(images)}. "
            f"{_conversion(images)}"
        )
    low, high = _range(images) if is_float else _start_of_range(images)
    # Not `low < 0 or high > 255`, which NaN would pass.
    if not (low >= 0 and high <= 255):
        raise ValueError(
            f"{owner} needs pixel values in [0, 255]. Received: {_range_in_words(images)}. {_conversion(images)}"
        )
    if 0 < high <= 1:
        raise ValueError(
            f"{owner} needs pixel values in [0, 255]; all of these are in [0, 1], where white is 1: as pixels they are "
            f"black. Received: dtype={images.dtype}, {_range_in_words(images)}. {_conversion(images)}"
        )
    return images


def check_labels(
    labels: ArrayLike, num_images: int, owner: str, num_classes: int | None = None, every_class: bool = True
) -> np.ndarray:
    """Returns labels as an int32 array, or raises an error that names what is wrong and how to convert it.

    Args:
        labels: Integer array or sequence, (num_images,), a class of every image, 0 .. number of classes - 1.
        num_images: How many images there are.
        owner: Name of the caller, for the message.
        num_classes: Number of classes; None is the largest label plus 1.
        every_class: Whether each class must have an image. Part of a set, such as a batch, may lack some.

    Returns:
        int32 array (num_images,); a copy.

    Raises:
        TypeError: If the labels are not integers.
        ValueError: If there is not one an image, one is out of range, or a class has no image.

    Example:
        >>> check_labels([0, 1, 1], 3, "ArrayReader")
        array([0, 1, 1], dtype=int32)
    """
    labels = _as_array(labels)
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(
            f"{owner} needs integer labels, a class of every image from 0. Received: dtype={labels.dtype}, "
            f"shape={labels.shape}. {_label_conversion(labels)}"
        )
    if labels.shape != (num_images,):
        hint = " Pass labels.argmax(axis=1)." if labels.ndim == 2 and labels.shape[1] > 1 else ""
        raise ValueError(
            f"{owner} needs one label for every image, shape ({num_images},). Received: labels of shape "
            f"{labels.shape} and {num_images} images.{hint}"
        )
    if not labels.size:
        return labels.astype(np.int32)
    low, high = int(labels.min()), int(labels.max())
    count = high + 1 if num_classes is None else num_classes
    in_range = low >= 0 and high < min(count, 2**31)
    # More classes than images leave one without, and would take memory to count.
    complete = (
        in_range and count <= num_images and np.bincount(labels.astype(np.int64, copy=False), minlength=count).all()
    )
    if not (complete if every_class else in_range):
        each = ", each of at least one image" if every_class else ""
        raise ValueError(
            f"{owner} needs labels 0 .. {count - 1}{each}. Received: labels from {low} to "
            f"{high}, {len(np.unique(labels)):,} different ones{'' if num_classes is None else f', {count:,} names'}. "
            "Pass labels, names = keras_margin.data.relabel(labels), which numbers them without gaps."
        )
    return labels.astype(np.int32)


def _as_array(values: ArrayLike) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    try:
        return np.asarray(values)
    except ValueError:  # A list of arrays of different shapes.
        return np.array([None] * len(values), object)


def _check_shape(images: np.ndarray, owner: str) -> None:
    shape = images.shape
    if len(shape) in (3, 4) and 0 not in shape and (len(shape) == 3 or shape[3] in (1, 3)) and not _is_one(shape):
        return
    hint = ""
    if 0 in shape:
        hint = " That is not an image."
    elif _is_one(shape) or len(shape) == 2:
        hint = " A single image needs a leading axis: images[np.newaxis]."
    elif len(shape) == 4 and shape[1] in (1, 3, 4):
        hint = " With the channels first, pass np.moveaxis(images, 1, -1)."
    elif len(shape) == 4 and shape[3] in (2, 4):
        hint = f" The last channel looks like alpha: pass images[..., :{shape[3] - 1}]."
    raise ValueError(f"{owner} needs images of shape {_SHAPES}. Received: shape={shape}.{hint}")


def _is_one(shape: tuple[int, ...]) -> bool:
    """Whether a shape of three axes is of one colour image."""
    return len(shape) == 3 and shape[2] in (3, 4) and shape[0] >= _NARROWEST and shape[1] >= _NARROWEST


def _blocks(images: np.ndarray):
    return (images[start : start + _BLOCK] for start in range(0, len(images), _BLOCK))


def _range(images):
    """(smallest, largest) value, NaN where there is one."""
    ends = np.array([(block.min(), block.max()) for block in _blocks(images)])
    return ends[:, 0].min(), ends[:, 1].max()


def _start_of_range(images):
    """(smallest, largest) value of uint8 images, or (0, a value above 1) as soon as one is found."""
    high = 0
    for block in _blocks(images):
        high = max(high, int(block.max()))
        if high > 1:
            break
    return 0, high


def _range_in_words(images: np.ndarray) -> str:
    low, high = _range(images)
    return f"values from {low:g} to {high:g}"


def _conversion(images: np.ndarray) -> str:
    """How an array of another dtype or range becomes uint8 pixels."""
    low, high = _range(images)
    if not (np.isfinite(low) and np.isfinite(high)):
        return "NaN and inf are not pixels: look where they come from."
    if images.dtype.kind == "b" or (images.dtype.kind in "iu" and low >= 0 and high <= 1):
        return "Pass images.astype(np.uint8) * 255."
    if low >= 0 and high <= 1:
        return "Pass np.round(images * 255).astype(np.uint8)."
    if low >= -1 and high <= 1:
        return "Pass np.round((images + 1) * 127.5).astype(np.uint8)."
    if low >= 0 and high <= 255:
        return "Pass np.round(images).astype(np.uint8)."
    return "Undo the normalisation: the networks here take pixels and normalise them themselves."


def _label_conversion(labels: np.ndarray) -> str:
    if labels.ndim == 2 and labels.shape[1] > 1:
        return "If they are one-hot, pass labels.argmax(axis=1)."
    if labels.dtype.kind in "USO":
        return "Names become labels by labels, names = keras_margin.data.relabel(names)."
    return "Pass labels.astype(np.int32)."
