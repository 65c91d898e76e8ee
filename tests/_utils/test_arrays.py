"""Arrays of images and labels are checked before anything computes, and the message has the conversion that works."""

import numpy as np
import pytest

from keras_margin._utils import arrays

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


@pytest.mark.parametrize("images", [PIXELS, PIXELS[..., 0], PIXELS[..., :1]])
def test_grey_and_rgb_pass_as_they_are(images):
    """Sound arrays are returned without a copy."""
    assert arrays.check_images(images, "fit") is images


def test_a_list_of_images_becomes_an_array():
    """A list of images of one size is stacked."""
    np.testing.assert_array_equal(arrays.check_images(list(PIXELS), "fit"), PIXELS)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.dstack([PIXELS[0], PIXELS[0, ..., :1]])[None],
            r"shape=\(1, 6, 5, 4\)\. .*alpha: pass images\[\.\.\., :3\]",
        ),
        (PIXELS[..., :2], r"alpha: pass images\[\.\.\., :1\]"),
        (np.moveaxis(PIXELS, -1, 1), r"shape=\(4, 3, 6, 5\)\. .*np\.moveaxis\(images, 1, -1\)"),
        (np.zeros((20, 20, 3), np.uint8), r"A single image needs a leading axis: images\[np\.newaxis\]"),
        (PIXELS[0, ..., 0], r"shape=\(6, 5\)\. A single image"),
        (PIXELS[:0], r"shape=\(0, 6, 5, 3\)\. That is not an image"),
        (PIXELS[None], r"shape=\(1, 4, 6, 5, 3\)\."),
    ],
)
def test_another_shape_is_refused_with_the_indexing_that_helps(images, message):
    """Alpha, channels first and single images are errors with the code that converts them."""
    with pytest.raises(ValueError, match=rf"^fit needs images of shape \(n, height, .*Received: .*{message}"):
        arrays.check_images(images, "fit")


CONVERTED = {
    "[0, 1]": (PIXELS / 255, lambda images: np.round(images * 255).astype(np.uint8)),
    "[-1, 1]": (PIXELS / 127.5 - 1, lambda images: np.round((images + 1) * 127.5).astype(np.uint8)),
    "[0, 255]": (PIXELS.astype(np.float32), lambda images: np.round(images).astype(np.uint8)),
    "int64": (PIXELS.astype(np.int64), lambda images: np.round(images).astype(np.uint8)),
    "bool": (PIXELS > 127, lambda images: images.astype(np.uint8) * 255),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_another_dtype_is_refused_with_its_range_and_conversion(case):
    """The code in the message makes the pixels that were meant."""
    images, convert = CONVERTED[case]
    with pytest.raises(TypeError, match=r"^fit needs uint8 images.*values from ") as raised:
        arrays.check_images(images, "fit")
    code = str(raised.value).rpartition("Pass ")[2].rstrip(".")
    found = eval(code, {"np": np, "images": images})
    np.testing.assert_array_equal(found, convert(images))
    assert arrays.check_images(found, "fit") is found
    if case != "bool":
        np.testing.assert_array_equal(found, PIXELS)


def test_floats_in_0_to_1_cast_to_uint8_are_refused():
    """What training on black images began with."""
    images = (PIXELS / 255).astype(np.uint8)
    assert set(np.unique(images)) == {0, 1}
    with pytest.raises(ValueError, match=r"where white is 1: as pixels they are black\. .*Pass images\.astype"):
        arrays.check_images(images, "fit")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS / np.float32(255), r"where white is 1.*Pass np\.round\(images \* 255\)"),
        (PIXELS - 127.5, r"values in \[0, 255\]\. Received: values from -127\.5 to .*Undo the normalisation"),
        (PIXELS * np.float32(np.nan), "values from nan to nan. NaN and inf are not pixels"),
        (PIXELS * 2.0, r"values in \[0, 255\]\."),
    ],
)
def test_floats_that_are_no_pixels_are_refused(images, message):
    """Where floats may pass, their range and NaN are checked."""
    with pytest.raises(ValueError, match=message):
        arrays.check_images(images, "fit", floats=True)


def test_floats_that_are_pixels_pass_where_floats_may():
    """Floats in [0, 255] are returned without a copy where they are allowed."""
    images = PIXELS.astype(np.float32)
    assert arrays.check_images(images, "fit", floats=True) is images


def test_a_bright_pixel_in_the_last_image_is_seen():
    """Images are called black only if all values of all of them are 0 or 1."""
    images = np.ones((1000, 2, 2), np.uint8)
    images[-1, 1, 1] = 2
    assert arrays.check_images(images, "fit") is images


def test_images_of_different_sizes_are_refused():
    """An array of objects is an error that says to resize."""
    with pytest.raises(TypeError, match="different sizes make an array of objects: resize them"):
        arrays.check_images([PIXELS[0], PIXELS[0, 1:]], "fit")


def test_labels_come_out_as_int32():
    """Labels of any integer dtype become int32."""
    labels = arrays.check_labels(np.array([1, 0, 1], np.uint64), 3, "fit")
    assert labels.dtype == np.int32 and labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.0, 1.0, 1.0], TypeError, r"dtype=float64, shape=\(3,\)\. Pass labels\.astype\(np\.int32\)"),
        (["a", "b", "b"], TypeError, r"relabel\(names\)"),
        (np.eye(3), TypeError, r"one-hot, pass labels\.argmax\(axis=1\)"),
        (np.eye(3, dtype=int), ValueError, r"Pass labels\.argmax\(axis=1\)"),
        ([0, 1], ValueError, r"labels of shape \(2,\) and 3 images"),
        ([[0], [1], [1]], ValueError, r"labels of shape \(3, 1\)"),
        ([0, 2, 2], ValueError, r"labels from 0 to 2, 2 different ones\. Pass labels, names = .*relabel\(labels\)"),
        ([1, 1, 2], ValueError, "labels from 1 to 2"),
        ([-1, 0, 1], ValueError, "labels from -1 to 1"),
        (np.array([0, 1, 2**32 + 1], np.uint64), ValueError, "labels from 0 to 4294967297"),
    ],
)
def test_labels_that_number_no_classes_are_refused(labels, error, message):
    """Floats, names, one-hot rows, gaps and other lengths are errors with the conversion."""
    with pytest.raises(error, match=rf"^fit needs .*{message}"):
        arrays.check_labels(labels, 3, "fit")


def test_a_name_without_an_image_is_refused():
    """More names than classes that occur is an error."""
    with pytest.raises(ValueError, match=r"labels 0 \.\. 2, each of at least one image.*2 different ones, 3 names"):
        arrays.check_labels([0, 1, 1], 3, "fit", num_classes=3)


def test_part_of_a_set_may_lack_classes_but_not_pass_the_last():
    """With every_class=False a class may have no image."""
    assert arrays.check_labels([0, 3], 2, "fit", num_classes=5, every_class=False).tolist() == [0, 3]
    for labels in ([0, 5], [-1, 0]):
        with pytest.raises(ValueError, match=r"^fit needs labels 0 \.\. 4\. Received: labels from"):
            arrays.check_labels(labels, 2, "fit", num_classes=5, every_class=False)
