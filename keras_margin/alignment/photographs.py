"""Brings a photograph to what an embedder takes: its face aligned, or the picture scaled, but never silently."""

import functools
import logging
from typing import Literal

import numpy as np

from keras_margin._typing import Embedder
from keras_margin._utils.arrays import check_fit
from keras_margin._utils.messages import install_hint
from keras_margin.alignment import detector as faces
from keras_margin.alignment import transform
from keras_margin.alignment.detector import Detector, bounded, default_detector

# Template coordinates in a file are rounded to 4 decimals; a hundredth of a pixel is another template.
_TEMPLATE_TOLERANCE = 0.01

_logger = logging.getLogger("keras_margin.alignment.photographs")


def prepare_photograph(
    image: np.ndarray,
    embedder: Embedder,
    *,
    align: bool = False,
    detector: Detector | None = None,
    fit: Literal["crop", "resize"] | None = None,
) -> np.ndarray | None:
    """Brings a photograph to the size that an embedder takes.

    - With `align` or a `detector`: finds the face and crops it onto the landmark template.
    - An image of the embedder's size is taken as the crop that it is.
    - With `fit`: the middle is cut out ("crop"), or the whole picture is stretched ("resize").
    - Otherwise the file's metadata decide. Where they have an alignment, the picture is refused: an embedding of
      something other than an aligned face is a number without meaning. Where `alignment` is null the whole picture is
      scaled, and of a file without metadata too; the logger `keras_margin.alignment.photographs` warns of it.

    Args:
        image: uint8 array (height, width, 3), RGB, upright.
        embedder: `runtime.Embedder` or `evaluation.FileEmbedder`: its `image_size`, `metadata` and `path` are read.
        align: Whether to find the face.
        detector: Callable as `alignment.align` takes it, instead of the default one; given, it aligns.
        fit: None, "crop" or "resize", for images of another size that are not to be aligned, such as crops that are
            aligned already.

    Returns:
        uint8 array (*embedder.image_size, 3); None where no face was found.

    Raises:
        TypeError: The image is not a uint8 array.
        ValueError: The image has another size and the network takes aligned faces, or is smaller than the middle to cut
            out; `fit` is unknown or given with `align`; the file's template is not the library's.
        ImportError: The detector, or Pillow for scaling, is not installed.

    Example:
        >>> import types
        >>> embedder = types.SimpleNamespace(path="face.tflite", image_size=(112, 112), metadata=None)
        >>> photograph = np.zeros((240, 320, 3), np.uint8)
        >>> prepare_photograph(photograph, embedder, fit="crop").shape
        (112, 112, 3)
        >>> prepare_photograph(photograph, embedder, align=True) is None  # No face is there.
        True
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shown = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"prepare_photograph needs a uint8 RGB array (height, width, 3). Received: {shown}.")
    check_fit(fit)
    align = align or detector is not None
    if align and fit is not None:
        raise ValueError(f"An aligned face has the right size. Received: align=True and fit={fit!r}. Pass one of them.")
    if align:
        check_template(embedder)
        return faces.align(image, embedder.image_size, bounded(detector or default_detector()))
    if image.shape[:2] == tuple(embedder.image_size):
        return image
    if fit is None:
        _refuse_or_warn(image, embedder)
    return _cut(image, embedder.image_size) if fit == "crop" else _scaled(image, embedder.image_size)


def takes_aligned_faces(embedder: Embedder) -> bool | None:
    """Returns whether the metadata have an alignment: True, False, or None for a file without metadata."""
    return None if embedder.metadata is None else embedder.metadata.get("alignment") is not None


def _refuse_or_warn(image, embedder):
    (height, width), (rows, columns) = image.shape[:2], embedder.image_size
    if takes_aligned_faces(embedder):
        raise ValueError(
            f"{embedder.path} takes faces aligned by five points, {rows} x {columns} pixels, by its metadata. "
            f'Received: a picture of {height} x {width}. Pass align=True to find the face and crop it; or fit="crop" '
            'or fit="resize" if the picture is such a crop already.'
        )
    why = (
        "have alignment null" if embedder.metadata is not None else "are missing, so what it was trained on is unknown"
    )
    _warn_once(
        f"Pictures are scaled as a whole to {rows} x {columns} pixels, whatever the ratio of their sides: the metadata "
        f"of {embedder.path} {why}."
    )


def check_template(embedder: Embedder) -> None:
    """Checks that an embedder's faces lie on the library's template; warns where its metadata have no alignment.

    Raises:
        ValueError: They lie on another one.
    """
    aligned = takes_aligned_faces(embedder)
    if aligned is False:
        _warn_once(
            f"Faces are aligned by five points, but the metadata of {embedder.path} have alignment null: its network "
            "was trained on pictures that were not."
        )
    if not aligned:
        return
    points = np.asarray(embedder.metadata["alignment"].get("points", ()), np.float64)
    height, width = embedder.image_size
    template = transform.landmark_template((height, width))
    if points.shape != template.shape or np.abs(points - template).max() > _TEMPLATE_TOLERANCE:
        raise ValueError(
            f"{embedder.path} was trained on faces aligned onto another template than the library's: "
            f"{points.tolist()} instead of {template.round(4).tolist()}. Align its faces with your own code."
        )


@functools.cache
def _warn_once(text):
    _logger.warning(text)


def _cut(image, size):
    top, left = ((side - wanted) // 2 for side, wanted in zip(image.shape, size, strict=False))
    if top < 0 or left < 0:
        raise ValueError(
            f'fit="crop" cuts {size[0]} x {size[1]} pixels out. Received: a picture of {image.shape[0]} x '
            f'{image.shape[1]}. Pass fit="resize".'
        )
    return image[top : top + size[0], left : left + size[1]]


def _scaled(image, size):
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"Pictures are scaled with Pillow: {install_hint('litert')}.") from error
    # Antialiased where it shrinks: Pillow widens the filter by the scale.
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
