"""Reads an image along an affine map: bilinear, and averaged over an output pixel's area where the map shrinks.

A bilinear sample of the image itself is a weighted mean of four pixels. Where an output pixel covers more than that,
samples miss pixels, and fine detail of the image becomes false coarse detail of the output (aliasing). The exact
remedy is the mean over the output pixel's area. It is approximated here in two steps that every language can repeat
with the same float64 arithmetic: exact means over squares of 2^k pixels, then a few bilinear samples an output pixel.
"""

import math
from typing import NamedTuple

import numpy as np

# Here four samples are nearer to the area's mean by 0.07 grey levels on photographs; below, by less.
LEAST_SHRINK = 1.25
# At most 4 x 4 samples an output pixel; beyond, squares of the image are averaged first.
MOST_SAMPLES = 4
# Languages differ in the last bits of a scale: a shrink of exactly 2 must not give 2 samples here and 3 there.
ROUNDING = 1e-6


class Sampling(NamedTuple):
    """How an output pixel's area is covered.

    Attributes:
        halvings: k >= 0: the image is replaced by the means of its squares of 2^k x 2^k pixels.
        count: Samples an axis, 1 to 4.
        step: Distance between neighbouring samples, in output pixels.
    """

    halvings: int = 0
    count: int = 1  # type: ignore[assignment]
    step: float = 0.0

    def offsets(self):
        """float64 array (count,): where the samples lie along an axis, from the output pixel's centre."""
        return (np.arange(self.count) - (self.count - 1) / 2) * self.step


def sampling(shrink):
    """Chooses the samples of an output pixel that covers `shrink` x `shrink` pixels of the image.

    With r = shrink / 2^k <= 4 for the smallest k >= 0, and n = ceil(r):

        step = sqrt((r^2 - 3 + 2 / 4^k) / (n^2 - 1)) / r

    The mean over the area weights pixels with variance (shrink^2 + 1) / 12: a box of that width over pixels that are
    squares. Means of 2^k pixels, interpolated linearly, have (3 * 4^k - 1) / 12, and n samples `step` * r squares apart
    add 4^k (step r)^2 (n^2 - 1) / 12. The formula makes the two equal. Without rotation it is the area's mean itself at
    the shrinks 2, 3 and 4.

    Args:
        shrink: Side of the output pixel in pixels of the image, > 0.

    Returns:
        Sampling; `Sampling()`, one bilinear sample, up to a shrink of LEAST_SHRINK.

    Example:
        >>> sampling(2.0)
        Sampling(halvings=0, count=2, step=0.5)
    """
    if shrink <= LEAST_SHRINK + ROUNDING:
        return Sampling()
    halvings, ratio = 0, shrink
    while ratio > MOST_SAMPLES + ROUNDING:
        halvings, ratio = halvings + 1, ratio / 2
    count = math.ceil(ratio - ROUNDING)
    step = math.sqrt((ratio**2 - 3 + 2 / 4.0**halvings) / (count**2 - 1)) / ratio
    return Sampling(halvings, count, step)


def resample(image, inverse, x, y, samples):
    """Computes the output pixels whose centres lie at (x, y) of the image, with 0 (black) outside the image.

    Args:
        image: uint8 array (height, width, channels).
        inverse: float64 array (2, 2), from steps of the output to steps of the image.
        x: float64 array (rows, columns), image coordinates of the output pixels' centres.
        y: Shaped like `x`.
        samples: Sampling.

    Returns:
        float64 array (rows, columns, channels).
    """
    square = 2.0**samples.halvings
    if samples.halvings:
        # The centre of the first square lies (square - 1) / 2 pixels beyond the centre of the first pixel.
        x, y = (x + 0.5) / square - 0.5, (y + 0.5) / square - 0.5
    # Two pixels out is black whatever lies beyond, and int64 cannot hold every float64.
    limits = [math.ceil(side / square) + 1.0 for side in image.shape[:2]]
    places = [
        (np.clip(x + across / square, -2.0, limits[1]), np.clip(y + down / square, -2.0, limits[0]))
        for across, down in _shifts(inverse, samples)
    ]
    left, top = (math.floor(min(place[axis].min() for place in places)) for axis in (0, 1))
    right, bottom = (math.floor(max(place[axis].max() for place in places)) + 2 for axis in (0, 1))
    canvas = _canvas(image, samples.halvings, (top, bottom), (left, right))
    total = sum(_bilinear(canvas, across - left, down - top) for across, down in places)
    return total / len(places)


def _shifts(inverse, samples):
    """(x, y) of each sample from the output pixel's centre, in pixels of the image."""
    offsets = samples.offsets()
    return [inverse @ (across, down) for down in offsets for across in offsets]


def _canvas(image, halvings, rows, columns):
    """The means of an image's squares, of rows and columns (first, end): (channels, rows, columns), black outside."""
    canvas = np.zeros((image.shape[2], rows[1] - rows[0], columns[1] - columns[0]))
    square = 2**halvings
    (top, bottom), (left, right) = (
        (max(first, 0), max(0, min(end, -(-side // square))))
        for (first, end), side in zip((rows, columns), image.shape[:2], strict=True)
    )
    if top < bottom and left < right:
        part = image[top * square : bottom * square, left * square : right * square]
        target = canvas[:, top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]
        np.multiply(_sums(part, halvings).transpose(2, 0, 1), 0.25**halvings, out=target)
    return canvas


def _sums(image, halvings):
    """The sums of an image's squares of 2^halvings pixels a side, as integers: exact in every language."""
    # 255 * 4^12 is the last that 32 bits hold.
    dtype = np.uint32 if halvings <= 12 else np.uint64
    # Rows first: NumPy adds them whole, and leaves few columns to add.
    for _ in range(halvings):
        image = _even(image, 0)
        image = np.add(image[0::2], image[1::2], dtype=dtype)
    for _ in range(halvings):
        image = _even(image, 1)
        image = np.add(image[:, 0::2], image[:, 1::2], dtype=dtype)
    return image


def _even(image, axis):
    """An image with a black row (axis 0) or column (1) more where it has an odd number of them."""
    return np.pad(image, [(0, each == axis) for each in range(3)]) if image.shape[axis] % 2 else image


def _bilinear(canvas, x, y):
    """The canvas at (x, y), which lie with their four pixels inside it: (rows, columns, channels)."""
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_weight, bottom_weight = x - left, y - top
    width = canvas.shape[2]
    corner = top * width + left
    found = np.empty((*x.shape, len(canvas)))
    # A channel at a time: NumPy gathers single numbers faster than rows of three.
    for channel, pixels in enumerate(canvas.reshape(len(canvas), -1)):
        above = _mix(pixels[corner], pixels[corner + 1], right_weight)
        below = _mix(pixels[corner + width], pixels[corner + width + 1], right_weight)
        found[..., channel] = _mix(above, below, bottom_weight)
    return found


def _mix(first, second, weight):
    return first + (second - first) * weight
