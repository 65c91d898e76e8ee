"""The similarity transform against linear least squares, the warp against the formula pixel by pixel."""

import math
import pathlib

import numpy as np
import pytest

from keras_margin.alignment import align_points
from keras_margin.alignment.transform import LANDMARKS_112, landmark_template, similarity_transform, warp


def similarity(scale, angle, shift):
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def least_squares(source, target):
    """min over (a, b, u, v) of ||(a x - b y + u, b x + a y + v) - target||^2: linear, and never a reflection."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1.0, 0.0], [y, x, 0.0, 1.0]]
        values += [u, v]
    (a, b, u, v), *_ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    return np.array([[a, -b, u], [b, a, v]])


def brute_force(image, matrix, height, width):
    """out(p) = sum over all pixels q of in(q) max(0, 1 - |dx|) max(0, 1 - |dy|) at M^-1 p: q outside gives nothing."""
    (a, b, u), (c, d, v) = matrix
    determinant = a * d - b * c
    out = np.zeros((height, width, 3))
    for row in range(height):
        for column in range(width):
            x = (d * (column - u) - b * (row - v)) / determinant
            y = (-c * (column - u) + a * (row - v)) / determinant
            across = np.maximum(0.0, 1.0 - np.abs(np.arange(image.shape[1]) - x))
            down = np.maximum(0.0, 1.0 - np.abs(np.arange(image.shape[0]) - y))
            out[row, column] = np.einsum("y,x,yxc->c", down, across, image)
    return out


def assert_rounds(image, exact):
    """`image` is uint8 and the nearest grey level to `exact`, either one on a tie."""
    assert image.dtype == np.uint8 and image.shape == exact.shape
    assert np.abs(image - exact).max() <= 0.5 + 1e-9


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_template_is_the_published_one_at_every_size():
    """Scales the published template with the size."""
    published = [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
    np.testing.assert_array_equal(landmark_template(), published)
    np.testing.assert_allclose(landmark_template(224), 2 * np.array(published))
    np.testing.assert_allclose(landmark_template((112, 96)), np.array(published) - [8, 0])
    np.testing.assert_allclose(landmark_template((56, 48)), (np.array(published) - [8, 0]) / 2)


def test_the_template_cannot_be_changed_by_its_readers():
    """Protects the template from changes by its readers."""
    with pytest.raises(ValueError, match="read-only"):
        LANDMARKS_112[0, 0] = 0.0
    landmark_template()[0, 0] = 0.0
    assert landmark_template()[0, 0] == 38.2946


@pytest.mark.parametrize("seed", range(20))
def test_an_exact_similarity_is_recovered(seed):
    """Recovers an exact similarity."""
    rng = np.random.default_rng(seed)
    matrix = similarity(math.exp(rng.uniform(-4, 4)), rng.uniform(-math.pi, math.pi), rng.uniform(-1e3, 1e3, 2))
    source = rng.uniform(-100, 500, (rng.integers(2, 8), 2))
    np.testing.assert_allclose(similarity_transform(source, apply(matrix, source)), matrix, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_noisy_points_are_fitted_by_least_squares(seed):
    """Fits noisy points as linear least squares does."""
    rng = np.random.default_rng(seed)
    matrix = similarity(rng.uniform(0.1, 3), rng.uniform(-math.pi, math.pi), rng.uniform(-200, 200, 2))
    source = rng.uniform(0, 300, (5, 2))
    target = apply(matrix, source) + rng.normal(0, 8, (5, 2))
    np.testing.assert_allclose(similarity_transform(source, target), least_squares(source, target), atol=1e-9)


def test_mirrored_points_are_fitted_without_a_reflection():
    """Fits mirrored points without a reflection."""
    mirrored = LANDMARKS_112 * [-1, 1]
    matrix = similarity_transform(mirrored, LANDMARKS_112)
    assert np.linalg.det(matrix[:, :2]) > 0
    np.testing.assert_allclose(matrix, least_squares(mirrored, LANDMARKS_112), atol=1e-9)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([[3, 4]] * 5, LANDMARKS_112, "source points that are not all the same"),
        (LANDMARKS_112, [[3, 4]] * 5, "target points that are not all the same"),
        ([[0, 0]] * 2, [[0, 0], [1, 1]], "source points that are not all the same"),
        # A square and its mirror image: every rotation fits equally badly, at scale 0.
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [[1, 0], [0, 0], [0, 1], [1, 1]], "the best scale is 0"),
        ([[0, 0], [1, math.nan]], [[0, 0], [1, 1]], "finite source points"),
        ([[0, 0], [1, 1]], [[0, 0], [math.inf, 1]], "finite target points"),
        ([[0, 0]], [[1, 1]], r"shape \(n, 2\), n >= 2. Received: \(1, 2\)"),
        ([[0, 0, 0], [1, 1, 1]], [[0, 0], [1, 1]], r"Received: \(2, 3\)"),
        ([[0, 0], [1, 1]], LANDMARKS_112, "as many source as target points"),
    ],
)
def test_points_that_fix_no_transform_are_refused(source, target, message):
    """Refuses points that fix no transform."""
    with pytest.raises(ValueError, match=message):
        similarity_transform(source, target)


@pytest.mark.parametrize("seed", range(8))
def test_the_warp_equals_the_formula_at_every_pixel(seed):
    """Equals the formula at every pixel."""
    rng = np.random.default_rng(seed)
    image = random_image(rng.integers(1, 25), rng.integers(1, 25), seed)
    # Any angle, sizes 0.2 to 5, partly outside the image on every side.
    matrix = similarity(math.exp(rng.uniform(-1.6, 1.6)), rng.uniform(-math.pi, math.pi), (0, 0))
    matrix[:, 2] = [8, 6] - matrix[:, :2] @ (np.array([image.shape[1], image.shape[0]]) / 2)
    assert_rounds(warp(image, matrix, (12, 16), antialias=False), brute_force(image, matrix, 12, 16))


def test_the_warp_takes_any_affine_matrix():
    """Accepts any affine matrix."""
    image, matrix = random_image(14, 18), np.array([[0.7, 0.4, -1.3], [-0.1, 1.6, 2.2]])
    assert_rounds(warp(image, matrix, (15, 11)), brute_force(image, matrix, 15, 11))


def test_whole_shifts_copy_pixels_and_fill_with_black():
    """Copies pixels under the identity and whole shifts, and fills with black."""
    image = random_image(9, 7)
    np.testing.assert_array_equal(warp(image, [[1, 0, 0], [0, 1, 0]], (9, 7)), image)
    shifted = warp(image, [[1, 0, 2], [0, 1, -3]], (9, 7))
    np.testing.assert_array_equal(shifted[:6, 2:], image[3:, :5])
    assert not shifted[6:].any() and not shifted[:, :2].any()


def test_half_a_pixel_is_the_mean_of_two():
    """Averages two pixels at a shift of half a pixel, and fades into the border."""
    image = np.full((1, 2, 3), 200, np.uint8)
    image[0, 1] = 100
    np.testing.assert_array_equal(warp(image, [[1, 0, 0.5], [0, 1, 0]], (1, 3))[0, :, 0], [100, 150, 50])


def test_a_warp_far_outside_the_image_is_black():
    """Returns black far outside the image."""
    assert not warp(random_image(5, 5), [[1, 0, 1e300], [0, 1, -1e300]], 4).any()


def test_a_read_only_or_strided_image_is_read_and_never_written():
    """Reads a read-only or strided image, and never writes to it."""
    image = random_image(20, 20)
    image.setflags(write=False)
    matrix = similarity(0.8, 0.3, (1, 2))
    np.testing.assert_array_equal(warp(image[::2, ::-1], matrix, 9), warp(image[::2, ::-1].copy(), matrix, 9))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 0, 0], [0, 0, 0]], "can be inverted"),
        ([[1, 2, 0], [2, 4, 0]], "can be inverted"),
        (np.zeros((2, 3)), "can be inverted"),
        ([[1, 0, math.nan], [0, 1, 0]], "finite 2x3"),
        (np.eye(3), "finite 2x3"),
    ],
)
def test_a_matrix_without_an_inverse_is_refused(matrix, message):
    """Refuses a matrix without an inverse."""
    with pytest.raises(ValueError, match=message):
        warp(random_image(4, 4), matrix, 4)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (random_image(4, 4).astype(np.float32), TypeError, r"uint8 RGB.*Received: float32.*np\.rint\(image \* 255\)"),
        (random_image(4, 4).tolist(), TypeError, "Received: list"),
        (random_image(4, 4)[..., 0], ValueError, r"Received: shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"Received: shape \(4, 4, 4\)"),
        (random_image(4, 4)[None], ValueError, r"Received: shape \(1, 4, 4, 3\)"),
        (random_image(4, 4)[:0], ValueError, r"Received: shape \(0, 4, 3\)"),
    ],
)
def test_an_image_of_the_wrong_type_or_shape_is_refused(image, error, message):
    """Refuses an image of the wrong type or shape."""
    with pytest.raises(error, match=message):
        warp(image, np.eye(2, 3), 4)


@pytest.mark.parametrize(
    ("size", "error"),
    [(0, ValueError), ((112, -1), ValueError), (11.2, TypeError), ((1, 2, 3), TypeError), ("112", TypeError)],
)
def test_an_impossible_size_is_refused(size, error):
    """Refuses an impossible size."""
    with pytest.raises(error, match="size must be"):
        landmark_template(size)


def test_an_aligned_face_has_its_points_on_the_template():
    """Moves a face so that its points lie on the template."""
    # A white pixel block at each of five points of a rotated, shifted, larger face.
    matrix = similarity(2.5, 0.4, (150, 60))
    points = apply(matrix, LANDMARKS_112)
    for size, template in ((112, LANDMARKS_112), ((112, 96), LANDMARKS_112 - [8, 0])):
        for point, wanted in zip(points, template, strict=True):
            image = np.zeros((500, 500, 3), np.uint8)
            rows, columns = np.mgrid[0:500, 0:500]
            near = np.hypot(rows - point[1], columns - point[0]) < 6
            image[near] = 255
            weights = align_points(image, points, size)[..., 0].astype(np.float64)
            centre = [np.sum(weights * axis) / weights.sum() for axis in np.mgrid[0:112, 0 : weights.shape[1]]]
            np.testing.assert_allclose(centre[::-1], wanted, atol=0.1)


def test_align_points_refuses_other_than_five_points():
    """Refuses other than five points."""
    with pytest.raises(ValueError, match=r"five \(x, y\) points.*\(4, 2\)"):
        align_points(random_image(4, 4), LANDMARKS_112[:4])


OPENCV = np.load(pathlib.Path(__file__).with_name("fixtures") / "opencv.npz")


@pytest.mark.parametrize("number", range(12))
def test_the_warp_is_within_one_grey_level_of_opencv_s(number):
    """Stays within one grey level of OpenCV's warp."""
    name = "noise" if number < 8 else "smooth"
    wanted = OPENCV[f"{name}{number}"]
    found = warp(OPENCV[name], OPENCV[f"matrix{number}"], wanted.shape[:2], antialias=False)
    assert wanted.any()
    assert np.abs(found.astype(int) - wanted).max() <= 1
