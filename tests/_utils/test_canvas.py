"""Photographs placed on a canvas: where they lie, how they are shrunk, how coordinates come back."""

import numpy as np
import pytest

from keras_margin._utils import canvas


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def means_matrix(side, count):
    """Row i holds how much of each pixel lies in [i, i + 1) * side / count, over the length of that stretch."""
    edges = np.arange(count + 1) * (side / count)
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0) * count / side


@pytest.mark.parametrize(
    ("before", "after"), [((97, 61), (50, 60)), ((30, 40), (10, 20)), ((7, 9), (7, 3)), ((5, 1000), (1, 640))]
)
def test_a_shrunken_pixel_is_the_mean_of_its_area(before, after):
    """Equal to two products with the matrix of overlaps, in float64, to the rounding."""
    image = noise(*before)
    wanted = np.einsum("an,nmc->amc", means_matrix(before[0], after[0]), image.astype(np.float64))
    wanted = np.einsum("bm,amc->abc", means_matrix(before[1], after[1]), wanted)
    assert np.abs(canvas.shrunk(image, after) - wanted).max() <= 0.5 + 1e-3


def test_a_photograph_that_fits_is_not_changed():
    """It lies at the top left, black follows, and coordinates stay what they are."""
    photo = noise(5, 7)
    placed = canvas.place(photo, (8, 9))
    np.testing.assert_array_equal(placed.pixels[:5, :7], photo)
    assert placed.pixels[5:].max() == placed.pixels[:, 7:].max() == 0
    assert placed.size.tolist() == [5, 7] and placed.shrink == 1.0
    np.testing.assert_array_equal(placed.to_photograph([[3.25, -1.5]]), [[3.25, -1.5]])


def test_corners_of_a_shrunken_photograph_stay_corners():
    """The outer corner of the last pixel, half a pixel beyond its centre, is the same place on both."""
    placed = canvas.place(noise(100, 60), (40, 40))
    assert placed.size.tolist() == [40, 24] and placed.shrink == 2.5
    np.testing.assert_allclose(placed.to_photograph([[-0.5, -0.5], [23.5, 39.5]]), [[-0.5, -0.5], [59.5, 99.5]])


def test_a_strip_keeps_a_pixel():
    """Of 1 x 10,000 pixels shrunk to 64 columns one row is left."""
    assert canvas.place(noise(1, 10_000), (48, 64)).size.tolist() == [1, 64]


@pytest.mark.parametrize(
    ("photo", "error", "message"),
    [
        ("face.jpg", TypeError, "Received: str.*read_image"),
        (np.zeros((4, 4, 3)), TypeError, "float64 array"),
        (np.zeros((4, 4), np.uint8), ValueError, r"shape \(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"shape \(0, 4, 3\)"),
    ],
)
def test_what_is_no_photograph_is_refused(photo, error, message):
    """The message names the type or shape received."""
    with pytest.raises(error, match=message):
        canvas.place(photo, (8, 8))
