"""Augmentation, pixel by pixel: each change against its formula, and all of them against one affine map in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_margin.data import _changes
from keras_margin.data.augmentation import Augmentation

HEIGHT, WIDTH = 12, 16
SEED = [3, 14]


def noise(count=1, dtype="uint8"):
    images = np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3))
    return images.astype(dtype)


def ramps():
    """An image whose channels are x, y and 7: an interpolated pixel says where it was taken from."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, y, np.full_like(x, 7)], axis=-1)[None].astype("float32")


def impulse(x, y):
    image = np.zeros((1, HEIGHT, WIDTH, 1), "float32")
    image[0, y, x] = 200
    return image


def brightest(image):
    """(x, y) of the largest pixel."""
    y, x = np.unravel_index(np.argmax(image[0, :, :, 0]), (HEIGHT, WIDTH))
    return x, y


@pytest.fixture
def drawn(monkeypatch):
    """Function that fixes what an augmentation draws, each in [-1, 1]: the first decides the mirroring."""

    def fix(mirror=1.0, rotate=0.0, zoom=0.0, shift_x=0.0, shift_y=0.0, contrast=0.0):
        draws = tf.constant([[mirror], [rotate], [zoom], [shift_x], [shift_y], [contrast]], tf.float32)

        def uniform(shape, seed, low, high):
            assert (low, high) == (-1.0, 1.0)
            np.testing.assert_array_equal(shape, draws.shape)
            return draws

        monkeypatch.setattr(tf.random, "stateless_uniform", uniform)

    return fix


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nothing_asked_for_changes_nothing(dtype):
    """Changes nothing without options."""
    images = noise(5, dtype)
    found = Augmentation(flip=False).apply(images, SEED)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_half_of_the_images_are_mirrored_to_the_pixel(dtype):
    """Mirrors half of the images, exact to the pixel."""
    images = noise(400, dtype)
    found = Augmentation(flip=True).apply(images, SEED).numpy()
    kept = (found == images).all(axis=(1, 2, 3))
    mirrored = (found == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert np.all(kept ^ mirrored)
    # 400 fair coins: 200 within five standard deviations of 10.
    assert 150 < mirrored.sum() < 250


def test_a_seed_decides_every_change():
    """Makes the same changes for the same seed."""
    augmentation = Augmentation(flip=True, shift=0.1, zoom=0.1, rotate=10.0, contrast=0.3)
    images = noise(6)
    first, same, other = (augmentation.apply(images, seed).numpy() for seed in ([1, 2], [1, 2], [2, 2]))
    np.testing.assert_array_equal(first, same)
    assert np.all(np.any(first != other, axis=(1, 2, 3)))
    # One image of the batch is changed unlike the next.
    repeated = augmentation.apply(np.repeat(images[:1], 6, axis=0), [1, 2]).numpy()
    assert len({each.tobytes() for each in repeated}) == 6


@pytest.mark.parametrize(("draw_x", "draw_y", "moved"), [(0.5, 0.0, (-2, 0)), (-1.0, 0.0, (4, 0)), (0.0, 1.0, (0, -3))])
def test_a_shift_moves_an_impulse_by_its_share_of_the_side(drawn, draw_x, draw_y, moved):
    """Moves an impulse by its share of the side."""
    drawn(shift_x=draw_x, shift_y=draw_y)
    # A quarter of the width is 4 pixels, of the height 3.
    found = Augmentation(flip=False, shift=0.25).apply(impulse(8, 6), SEED).numpy()
    wanted = impulse(8 + moved[0], 6 + moved[1])
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_what_a_shift_brings_in_repeats_the_edge(drawn):
    """Repeats the edge where a shift brings new pixels in."""
    drawn(shift_x=1.0)
    found = Augmentation(flip=False, shift=0.25).apply(ramps(), SEED).numpy()
    np.testing.assert_allclose(found[0, 0, :, 0], [*range(4, 16), 15, 15, 15, 15], atol=1e-4)


def test_a_rotation_by_a_right_angle_turns_right_to_up(drawn):
    """Turns right to up in a rotation by a right angle."""
    drawn(rotate=1.0)
    # The centre of 16 x 12 pixels is (7.5, 5.5): (10, 6) is 2.5 right of it and 0.5 below.
    found = Augmentation(flip=False, rotate=90.0).apply(impulse(10, 6), SEED).numpy()
    assert brightest(found) == (8, 3)
    assert found.max() == pytest.approx(200, rel=1e-3)


@pytest.mark.parametrize("rotate", [5.0, 30.0, 180.0])
def test_a_rotation_s_size_is_in_degrees(drawn, rotate):
    """Takes a rotation's size in degrees."""
    drawn(rotate=0.5)
    found = Augmentation(flip=False, rotate=rotate).apply(ramps(), SEED).numpy()[0]
    # The pixel 1 right of the centre column's pixel comes from cos right and sin below.
    right, here = found[5, 8, :2], found[5, 7, :2]
    angle = math.radians(rotate / 2)
    np.testing.assert_allclose(right - here, [math.cos(angle), math.sin(angle)], atol=1e-4)


@pytest.mark.parametrize(("draw", "step"), [(-1.0, 0.8), (1.0, 1.2), (0.5, 1.1)])
def test_a_zoom_changes_the_step_about_the_centre(drawn, draw, step):
    """Samples the image in smaller or larger steps about its centre."""
    drawn(zoom=draw)
    found = Augmentation(flip=False, zoom=0.2).apply(ramps(), SEED).numpy()[0]
    np.testing.assert_allclose(found[5, :, 0], np.clip(7.5 + step * (np.arange(16) - 7.5), 0, 15), atol=1e-4)
    np.testing.assert_allclose(found[:, 8, 1], np.clip(5.5 + step * (np.arange(12) - 5.5), 0, 11), atol=1e-4)


@pytest.mark.parametrize("mirror", [-0.1, 0.1])
def test_all_moves_together_are_one_affine_map(drawn, mirror):
    """Composes all moves into one affine map."""
    rotate, zoom, shift_x, shift_y = 0.7, -0.4, 0.3, -0.8
    drawn(mirror, rotate, zoom, shift_x, shift_y)
    augmentation = Augmentation(flip=True, shift=0.1, zoom=0.2, rotate=20.0)
    found = augmentation.apply(ramps(), SEED).numpy()[0]
    angle, factor = math.radians(20 * rotate), 1 + 0.2 * zoom
    y, x = np.mgrid[:HEIGHT, :WIDTH] - np.array([5.5, 7.5])[:, None, None]
    from_x = factor * (math.cos(angle) * x - math.sin(angle) * y) * (-1 if mirror < 0 else 1)
    from_y = factor * (math.sin(angle) * x + math.cos(angle) * y)
    from_x, from_y = from_x + 7.5 + 0.1 * WIDTH * shift_x, from_y + 5.5 + 0.1 * HEIGHT * shift_y
    # float32 rounding of a coordinate next to a pixel's edge moves the value by as much, no more.
    np.testing.assert_allclose(found[..., 0], np.clip(from_x, 0, WIDTH - 1), atol=1e-4)
    np.testing.assert_allclose(found[..., 1], np.clip(from_y, 0, HEIGHT - 1), atol=1e-4)
    np.testing.assert_allclose(found[..., 2], 7, atol=1e-4)


@pytest.mark.parametrize("draw", [-1.0, 0.25, 1.0])
def test_contrast_is_about_the_image_s_own_mean(drawn, draw):
    """Changes the contrast about the image's own mean."""
    drawn(contrast=draw)
    images = 100 + noise(dtype="float64") / 10
    found = Augmentation(flip=False, contrast=0.4).apply(images.astype("float32"), SEED).numpy()
    wanted = images.mean() + (1 + 0.4 * draw) * (images - images.mean())
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_pixels_stay_between_0_and_255():
    """Keeps pixels between 0 and 255."""
    augmentation = Augmentation(flip=True, shift=0.2, zoom=0.3, rotate=40.0, contrast=0.9)
    images = np.where(noise(64) < 128, 0, 255).astype("uint8")
    found = augmentation.apply(images, SEED).numpy()
    assert found.dtype == np.float32
    assert found.min() == 0 and found.max() == 255


def test_draws_fill_the_range_that_is_asked_for():
    """Of 500 impulses the shifts reach nine tenths of the limit on every side, and none goes past it."""
    images = np.repeat(impulse(8, 6), 500, axis=0)
    found = Augmentation(flip=False, shift=0.25).apply(images, SEED).numpy()[..., 0].astype("float64")
    mass = found.sum(axis=(1, 2))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for axis, start, limit in ((x, 8, 4), (y, 6, 3)):
        moved = (found * axis).sum(axis=(1, 2)) / mass - start
        assert -limit - 1e-3 < moved.min() < -0.9 * limit and 0.9 * limit < moved.max() < limit + 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 1.0}, r"shift in \[0, 1\), a share. Received: shift=1.0"),
        ({"zoom": -0.1}, r"zoom in \[0, 1\), a share. Received: zoom=-0.1"),
        ({"contrast": 20}, "contrast=20"),
        ({"shift": float("nan")}, "shift=nan"),
        ({"crop": 1.0}, "crop=1.0"),
        ({"cutout": 50}, "cutout=50"),
        ({"hue": 181}, r"hue in \[0, 180\] degrees"),
        ({"grey": 1.1}, r"grey in \[0, 1\], a share. Received: grey=1.1"),
        ({"blur": -1}, r"blur in \[0, 50\], pixels"),
        ({"jpeg": 100}, r"jpeg in \[0, 99\], 100 - quality"),
        ({"rotate": 181.0}, r"rotate in \[0, 180\] degrees. Received: rotate=181.0"),
        ({"rotate": -5}, "rotate=-5"),
    ],
)
def test_a_number_out_of_range_is_refused(changes, message):
    """Refuses a number out of range."""
    with pytest.raises(ValueError, match=message):
        Augmentation(**changes)


EVERYTHING = {
    "flip": True,
    "crop": 0.4,
    "shift": 0.1,
    "zoom": 0.1,
    "rotate": 10.0,
    "contrast": 0.3,
    "brightness": 0.3,
    "saturation": 0.5,
    "hue": 20.0,
    "grey": 0.2,
    "blur": 1.5,
    "jpeg": 70.0,
    "cutout": 0.4,
}
LATER = ("crop", "brightness", "saturation", "hue", "grey", "blur", "jpeg", "cutout")


@pytest.fixture
def chosen(monkeypatch, drawn):
    """Function that fixes the draws of the later changes, each in [0, 1); the others are in the middle."""

    def fix(**draws):
        drawn()
        names = ("crop", "crop_x", "crop_y", "brightness", "saturation", "hue", "grey", "blur", "jpeg", "cutout")
        values = dict.fromkeys((*names, "cutout_x", "cutout_y"), 0.5) | draws
        constants = {name: tf.constant([value], tf.float32) for name, value in values.items()}
        monkeypatch.setattr(Augmentation, "_more_draws", lambda self, count, seed: constants)

    return fix


def test_the_default_is_the_papers_flip_and_nothing_else():
    """Mirrors by default, as the papers do, and changes nothing else."""
    assert {name for name in EVERYTHING if getattr(Augmentation(), name)} == {"flip"}


@pytest.mark.slow
def test_a_seed_decides_all_changes_in_a_graph_too():
    """Makes the same changes for the same seed, all of them together, inside a graph too."""
    augmentation, images = Augmentation(**EVERYTHING), noise(6)
    first, same, other = (augmentation.apply(images, seed).numpy() for seed in ([1, 2], [1, 2], [2, 2]))
    np.testing.assert_array_equal(first, same)
    assert np.all(np.any(first != other, axis=(1, 2, 3)))
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 255
    halves = [augmentation.apply(images[3 * k : 3 * k + 3], [1, 2], part=(k, 2)).numpy() for k in range(2)]
    np.testing.assert_allclose(np.concatenate(halves), first, atol=1e-3)
    dataset = tf.data.Dataset.from_tensors(images).map(lambda batch: augmentation.apply(batch, [1, 2]))
    assert dataset.element_spec.shape == images.shape
    # Fused multiply-adds of the graph round otherwise, and JPEG quantises the difference.
    assert np.abs(next(dataset.as_numpy_iterator()) - first).mean() < 0.5


@pytest.mark.parametrize("name", LATER)
def test_each_change_alone_leaves_the_flip_as_it_was(name):
    """Changes images with each option alone, and leaves the flip as it was."""
    images = np.repeat(noise(1), 40, axis=0)
    found = Augmentation(flip=True, **{name: EVERYTHING[name]}).apply(images, SEED).numpy()
    plain = Augmentation(flip=True).apply(images, SEED).numpy()
    differs = (np.abs(found - plain) > 0.5).any(axis=(1, 2, 3))
    # Grey is for a fifth of them; a square may miss every pixel's middle.
    assert differs.sum() >= (1 if name == "grey" else 20) and len({image.tobytes() for image in found}) > 2


@pytest.mark.parametrize(("draw_x", "draw_y"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.25)])
def test_a_crop_is_a_part_of_the_same_shape(chosen, draw_x, draw_y):
    """Cuts a part of the image's own shape and stretches it to the whole."""
    chosen(crop=1.0, crop_x=draw_x, crop_y=draw_y)
    # Three quarters of the area gone: half of each side is left, from the left edge to half way along.
    found = Augmentation(flip=False, crop=0.75).apply(ramps(), SEED).numpy()[0]
    left, top = 8 * draw_x, 6 * draw_y
    wanted_x, wanted_y = (left + (np.arange(16) + 0.5) / 2 - 0.5), (top + (np.arange(12) + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(found[4, :, 0], wanted_x.clip(0, 15), atol=1e-4)
    np.testing.assert_allclose(found[:, 4, 1], wanted_y.clip(0, 11), atol=1e-4)


def rotation_about_grey(angle):
    """Rodrigues: cos I + sin [k]x + (1 - cos) k k^T, k = (1, 1, 1) / sqrt(3)."""
    k = np.ones(3) / math.sqrt(3)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * np.outer(k, k)


@pytest.mark.parametrize(
    ("name", "largest", "draw"), [("brightness", 0.4, 0.9), ("saturation", 0.6, 0.1), ("hue", 40.0, 0.8)]
)
def test_colors_go_through_the_matrix_of_the_formula(chosen, name, largest, draw):
    """Multiplies colors by the matrix of the formula."""
    chosen(**{name: draw})
    images = 90 + noise(dtype="float64") / 4
    found = Augmentation(flip=False, **{name: largest}).apply(images.astype("float32"), SEED).numpy()
    change = largest * (2 * draw - 1)
    luma = np.array([0.299, 0.587, 0.114])
    to_grey = np.outer(np.ones(3), luma)
    rest = np.eye(3) - to_grey
    matrix = {
        "brightness": (1 + change) * np.eye(3),
        "saturation": to_grey + (1 + change) * rest,
        "hue": to_grey + rest @ rotation_about_grey(math.radians(change)) @ rest,
    }[name]
    np.testing.assert_allclose(found, images @ matrix.T, rtol=1e-5)
    if name != "brightness":
        np.testing.assert_allclose(found @ luma, images @ luma, rtol=1e-5)
        grey = np.full((1, 2, 2, 3), 77.0, "float32")
        np.testing.assert_allclose(Augmentation(flip=False, **{name: largest}).apply(grey, SEED), grey, rtol=1e-5)


@pytest.mark.parametrize(("draw", "loses"), [(0.29, True), (0.31, False)])
def test_a_share_of_the_images_becomes_grey_by_luma(chosen, draw, loses):
    """Turns a share of the images grey by luma."""
    chosen(grey=draw)
    images = noise(dtype="float64")
    found = Augmentation(flip=False, grey=0.3).apply(images.astype("float32"), SEED).numpy()
    wanted = np.repeat((images @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1) if loses else images
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0, 6.0])
def test_a_blur_is_a_normalized_gaussian(sigma):
    """Blurs by a Gaussian whose weights inside the image sum to one."""
    images = noise(dtype="float64")

    def weights(side):
        away = np.subtract.outer(np.arange(side), np.arange(side)) ** 2
        gauss = np.exp(-away / (2 * sigma**2)) if sigma else (away == 0).astype(float)
        return gauss / gauss.sum(axis=1, keepdims=True)

    wanted = np.einsum("ij,njkc,lk->nilc", weights(HEIGHT), images, weights(WIDTH))
    found = _changes.blur(tf.constant(images, tf.float32), tf.constant([sigma], tf.float32)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_jpeg_writes_the_quality_that_is_drawn_for_each_image():
    """Encodes each image with the JPEG quality that was drawn for it."""
    images = np.repeat(noise(1), 3, axis=0)
    found = _changes.jpeg(tf.constant(images, tf.float32), tf.constant([100.0, 50.0, 30.0])).numpy()
    for image, quality in zip(found, (100, 50, 30), strict=True):
        encoded = tf.io.encode_jpeg(images[0], quality=quality)
        np.testing.assert_array_equal(image, tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE"))


def test_the_worst_quality_is_100_minus_jpeg(chosen, monkeypatch):
    """Draws qualities down to 100 - jpeg."""
    chosen(jpeg=0.75)
    asked = []
    monkeypatch.setattr(_changes, "jpeg", lambda images, qualities: asked.append(qualities.numpy()) or images)
    Augmentation(flip=False, jpeg=80).apply(noise(), SEED)
    np.testing.assert_allclose(asked, [[40.0]])


def test_cutout_greys_a_square_of_its_share(chosen):
    """Greys a square of its share about its middle, and nothing else."""
    chosen(cutout=0.5, cutout_x=0.25, cutout_y=1.0)
    images = noise(dtype="float32")
    found = Augmentation(flip=False, cutout=0.5).apply(images, SEED).numpy()
    # A quarter of 16 x 12 is 4 x 3 pixels; about x = 4 and the lower edge, which leaves one and a half of its rows.
    wanted = images.copy()
    wanted[:, 11:, 2:6] = 127.5
    np.testing.assert_array_equal(found, wanted)
