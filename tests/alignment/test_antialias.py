"""Crops of faces larger than the template: every pixel of the photograph counts; near scale 1 nothing is averaged."""

import math

import numpy as np
import pytest

from keras_margin.alignment import align_points
from keras_margin.alignment.transform import LANDMARKS_112, warp


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph_like(side, seed=0):
    """Noise whose amplitude falls as 1 / frequency, as that of photographs does."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequencies[0, 0] = np.inf
    noise = np.random.default_rng(seed).normal(size=(3, side, side))
    image = np.fft.irfft2(np.fft.rfft2(noise) / frequencies, s=(side, side))
    return np.clip(128 + 40 * image / image.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def turned(shrink, angle, image, size):
    """The matrix that turns and shrinks, and carries the image's middle to the output's."""
    cosine, sine = math.cos(angle) / shrink, math.sin(angle) / shrink
    linear = np.array([[cosine, -sine], [sine, cosine]])
    middle, target = (np.array([shape[1] - 1, shape[0] - 1]) / 2 for shape in (image.shape, (size, size)))
    return np.column_stack([linear, target - linear @ middle])


def places(matrix, row, column):
    """(x, y) in the image of a place of the output."""
    (a, b, u), (c, d, v) = matrix
    determinant = a * d - b * c
    return (d * (column - u) - b * (row - v)) / determinant, (a * (row - v) - c * (column - u)) / determinant


def documented(image, matrix, size, shrink):
    """docs/alignment.md's formula, a pixel at a time: means of squares, then n x n bilinear samples an output pixel."""
    k = 0
    while shrink / 2**k > 4:
        k += 1
    r, square = shrink / 2**k, 2**k
    n = math.ceil(r - 1e-6)
    step = math.sqrt((r**2 - 3 + 2 / 4**k) / (n**2 - 1)) / r
    height, width = (-(-side // square) for side in image.shape[:2])
    black = np.zeros((height * square, width * square, 3))
    black[: image.shape[0], : image.shape[1]] = image
    level = black.reshape(height, square, width, square, 3).mean(axis=(1, 3))
    out = np.zeros((size, size, 3))
    for row, column, down, across in np.ndindex(size, size, n, n):
        offset_y, offset_x = (down - (n - 1) / 2) * step, (across - (n - 1) / 2) * step
        x, y = places(matrix, row + offset_y, column + offset_x)
        x, y = (x + 0.5) / square - 0.5, (y + 0.5) / square - 0.5
        weights_x = np.maximum(0.0, 1.0 - np.abs(np.arange(width) - x))
        weights_y = np.maximum(0.0, 1.0 - np.abs(np.arange(height) - y))
        out[row, column] += np.einsum("y,x,yxc->c", weights_y, weights_x, level) / n**2
    return out


def area_mean(image, matrix, size, samples):
    """The mean over each output pixel's area of the image, whose pixels are squares of one colour; black outside."""
    total = np.zeros((size, size, 3))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float64)
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    for offset_y in offsets:
        for offset_x in offsets:
            x, y = (np.rint(place).astype(int) for place in places(matrix, rows + offset_y, columns + offset_x))
            inside = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0])
            total += image[y.clip(0, image.shape[0] - 1), x.clip(0, image.shape[1] - 1)] * inside[..., None]
    return total / samples**2


@pytest.mark.parametrize("shrink", [1.3, 1.9, 2.0, 2.6, 3.7, 4.0, 4.3, 8.0, 13.0, 33.0])
def test_a_shrinking_warp_equals_the_documented_formula(shrink):
    """Any angle, odd sides, partly outside the image: within half a grey level, the rounding, of a float64 formula."""
    image = random_image(41, 55, seed=int(10 * shrink))
    matrix = turned(shrink, 2.3 * shrink, image, 7)
    matrix[:, 2] += [2, -1]
    exact = documented(image, matrix, 7, shrink)
    assert exact.any() and np.abs(warp(image, matrix, 7) - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("shrink", [2, 3, 4])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.5])
def test_upright_whole_shrinks_are_the_mean_of_the_area(shrink, phase):
    """Without rotation, at 2, 3 and 4, whatever the position: the exact integral over squares, cut at their edges."""
    image = random_image(40, 40, seed=shrink)
    size, first = 6, 4 + phase  # Where the first output pixel begins, counted from the image's edge.
    shift = -(first - 0.5 + shrink / 2) / shrink
    matrix = [[1 / shrink, 0, shift], [0, 1 / shrink, shift]]
    edges = first + shrink * np.arange(size + 1)
    low, high = edges[:-1, None], edges[1:, None]
    cover = np.clip(np.minimum(high, np.arange(40) + 1) - np.maximum(low, np.arange(40)), 0, None) / shrink
    exact = np.einsum("ry,cx,yxk->rck", cover, cover, image)
    assert np.abs(warp(image, matrix, size) - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("shrink", "bound"), [(1.5, 0.3), (2, 0.1), (3, 0.1), (4, 0.1), (6, 0.1), (8, 0.1), (16, 0.1)])
def test_a_crop_is_near_the_mean_of_the_area(shrink, bound):
    """Mean distance in grey levels to 32 x 32 samples a pixel: at most this share of what point samples have."""
    image, size = photograph_like(512, seed=int(10 * shrink)), 24
    matrix = turned(shrink, 0.35, image, size)
    exact = area_mean(image, matrix, size, 32)
    found, sampled = (np.abs(warp(image, matrix, size, antialias=each) - exact).mean() for each in (True, False))
    assert found <= bound * sampled


@pytest.mark.parametrize("shrink", [0.3, 0.9, 1.0, 1.1, 1.25])
def test_near_scale_one_a_crop_is_bilinear_to_the_bit(shrink):
    """An output pixel of up to 1.25 pixels a side is one bilinear sample, as in the field's own alignment code."""
    image = random_image(60, 50)
    matrix = turned(shrink, 0.4, image, 32)
    np.testing.assert_array_equal(warp(image, matrix, 32), warp(image, matrix, 32, antialias=False))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_photograph_of_more_pixels_gives_the_same_crop(factor):
    """Each pixel repeated factor x factor times shows the same picture: the crop differs by rounding alone."""
    image = random_image(160, 160)
    points = LANDMARKS_112 + [20.3, 17.8]
    larger = image.repeat(factor, axis=0).repeat(factor, axis=1)
    found = align_points(larger, (points + 0.5) * factor - 0.5)
    assert np.abs(found.astype(int) - align_points(image, points)).max() <= 1


@pytest.mark.parametrize("shrink", [1.5, 5.0, 40.0, 1e5, 1e150])
def test_one_color_shrinks_to_itself_and_to_black_outside(shrink):
    """The image's middle keeps its colour until the image is smaller than an output pixel; then it fades to black."""
    image = np.full((600, 601, 3), 90, np.uint8)
    found = warp(image, turned(shrink, 0.7, image, 3), 3)[1, 1]
    np.testing.assert_array_equal(found, [90 if shrink < 100 else 0] * 3)
