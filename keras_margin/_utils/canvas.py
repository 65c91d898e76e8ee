"""Places photographs of any size on a canvas of one size, shrunk where they are larger. NumPy alone.

A network of static shapes takes one size of picture. The photograph lies at the top left of the canvas and the network
is told its height and width; what lies beyond them is never read.
"""

import operator
from typing import Any, NamedTuple

import numpy as np

LEAST_SIDE, MOST_SIDE = 12, 2**13
# Positions in a canvas are counted in float32, exactly up to here.
_MOST_PIXELS = 2**24


class Placed(NamedTuple):
    """A photograph on a canvas.

    Attributes:
        pixels: uint8 array (canvas height, canvas width, 3), 0 beyond the photograph.
        size: int32 array (2,), height and width of the photograph on the canvas, pixels.
        factors: float64 array (2,), (x, y): pixels of the photograph for each pixel of the canvas, about >= 1.
    """

    pixels: np.ndarray
    size: np.ndarray
    factors: np.ndarray

    @property
    def shrink(self):
        """The larger of the two factors; 1.0 where the photograph fits as it is."""
        return float(self.factors.max())

    @property
    def own(self):
        """The photograph itself as it lies on the canvas, a uint8 array (height, width, 3)."""
        return np.ascontiguousarray(self.pixels[: self.size[0], : self.size[1]])

    def to_photograph(self, points):
        """Carries (x, y) coordinates of the canvas, any array (..., 2), to those of the photograph, float64."""
        # (0, 0) is the centre of the first pixel on both: half a pixel more at either end.
        return (np.asarray(points, np.float64) + 0.5) * self.factors - 0.5


def checked_canvas(canvas: Any) -> tuple[int, int]:
    """Returns the (height, width) of a canvas as integers.

    Raises:
        TypeError: It is not two integers.
        ValueError: A side is outside of [12, 8192] pixels, or the canvas has 2^24 pixels or more.

    Example:
        >>> checked_canvas([480, 640])
        (480, 640)
    """
    try:
        height, width = (operator.index(side) for side in canvas)
    except (TypeError, ValueError):
        raise TypeError(f"canvas must be (height, width), two integers. Received: canvas={canvas!r}.") from None
    if not LEAST_SIDE <= min(height, width) <= max(height, width) <= MOST_SIDE or height * width >= _MOST_PIXELS:
        raise ValueError(
            f"canvas needs sides of {LEAST_SIDE} to {MOST_SIDE:,} pixels, and less than {_MOST_PIXELS:,} pixels. "
            f"Received: canvas={canvas!r}."
        )
    return height, width


def place(photo, canvas):
    """Places a photograph at the top left of a canvas; a larger one is shrunk until it fits, its sides' ratio kept.

    Args:
        photo: uint8 array (height, width, 3), RGB, of any size.
        canvas: (height, width), pixels, >= 1.

    Returns:
        Placed.

    Raises:
        TypeError: `photo` is not a uint8 NumPy array.
        ValueError: Its shape is not (height, width, 3), or a side is 0.

    Example:
        >>> placed = place(np.zeros((960, 640, 3), np.uint8), (480, 640))
        >>> placed.pixels.shape, placed.size.tolist(), placed.factors.tolist()
        ((480, 640, 3), [480, 320], [2.0, 2.0])
    """
    check_photograph(photo)
    scale = min(1.0, *(limit / side for limit, side in zip(canvas, photo.shape[:2], strict=True)))
    # Each side rounded for itself; a strip of 1 x 100,000 keeps one pixel.
    size = [min(limit, max(1, round(side * scale))) for limit, side in zip(canvas, photo.shape[:2], strict=True)]
    factors = np.array([photo.shape[1] / size[1], photo.shape[0] / size[0]])
    pixels = np.zeros((*canvas, 3), np.uint8)
    pixels[: size[0], : size[1]] = photo if scale == 1.0 else shrunk(photo, size)
    return Placed(pixels, np.array(size, np.int32), factors)


def shrunk(image, size):
    """Makes an image smaller: each pixel is the mean of the area that it covers.

    Args:
        image: uint8 array (height, width, channels).
        size: (height, width), each in [1, the image's].

    Returns:
        uint8 array (*size, channels), rounded to nearest.
    """
    rows = _area_means(image, 0, size[0])
    return np.rint(_area_means(rows, 1, size[1])).astype(np.uint8)


def check_photograph(photo):
    """Raises unless `photo` is a uint8 RGB array (height, width, 3) with at least one pixel."""
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8:
        what = f"{photo.dtype} array" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise TypeError(
            f"A photograph must be a uint8 RGB array (height, width, 3). Received: {what}. Files are read by "
            "keras_margin.alignment.read_image."
        )
    if photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ValueError(f"A photograph must be RGB, of shape (height, width, 3). Received: shape {photo.shape}.")


def _area_means(image, axis, count):
    """The means over `count` equal stretches of an axis, float32; a pixel that two stretches share is divided."""
    side = image.shape[axis]
    if count == side:
        return image.astype(np.float32)
    edges = np.arange(count + 1) * (side / count)
    whole = np.minimum(np.floor(edges + 1e-9).astype(np.int64), side)
    part = np.maximum(edges - whole, 0.0).astype(np.float32)
    shape = [-1 if each == axis else 1 for each in range(3)]
    # Sums from each edge's pixel up to the next edge's; integers of the photograph are summed exactly.
    dtype = np.uint32 if image.dtype == np.uint8 else np.float32
    sums = np.add.reduceat(image, whole[:-1], axis=axis, dtype=dtype).astype(np.float32)
    # What of an edge's pixel lies before the edge belongs to the stretch before.
    before = np.take(image, np.minimum(whole, side - 1), axis=axis).astype(np.float32) * part.reshape(shape)
    low, high = (
        tuple(cut if each == axis else slice(None) for each in range(3)) for cut in (slice(None, -1), slice(1, None))
    )
    return (sums - before[low] + before[high]) * np.float32(count / side)
