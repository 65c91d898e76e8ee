"""Readers of arrays take what they can train on, and nothing else."""

import numpy as np
import pytest

from keras_margin.data import ArrayReader, relabel

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
LABELS = [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("images", "labels", "names", "error", "message"),
    [
        (np.zeros((4, 6, 5, 4), np.uint8), LABELS, "ab", ValueError, "The last channel looks like alpha"),
        (PIXELS / 255, LABELS, "ab", TypeError, r"ArrayReader needs uint8 images.*values from 0 to 1"),
        (PIXELS, [0, 0, 2, 2], "abc", ValueError, r"keras_margin\.data\.relabel\(labels\)"),
        (PIXELS, LABELS, "abc", ValueError, "2 different ones, 3 names"),
        (PIXELS, LABELS[:3], "ab", ValueError, r"shape \(4,\)\. Received: labels of shape \(3,\)"),
        (PIXELS, [0.5, 0.5, 1, 1], "ab", TypeError, "integer labels"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_the_reader(images, labels, names, error, message):
    """Alpha, floats, gaps and missing labels are errors of the constructor."""
    with pytest.raises(error, match=message):
        ArrayReader(images, labels, names)


def test_names_default_to_the_labels():
    """Without names, classes are called by their labels."""
    assert ArrayReader(PIXELS, LABELS).label_names == ("0", "1")


def test_a_dark_image_of_a_sound_set_can_be_chosen():
    """A subset is not checked as an array of its own."""
    images = PIXELS.copy()
    images[1] = 1
    dark = ArrayReader(images, LABELS).subset([1])
    assert (dark.num_images, dark.label_names) == (1, ("0",))
    np.testing.assert_array_equal(dark.arrays()[0], images[1:2])


def test_a_subset_of_a_reader_that_was_used_has_its_own_pixels():
    """Pixels that a reader keeps are not those of its subset."""
    reader = ArrayReader(PIXELS, LABELS)
    reader.arrays()
    np.testing.assert_array_equal(reader.subset([3, 0]).arrays()[0], PIXELS[[3, 0]])


def test_classes_are_renumbered_in_the_order_of_their_labels():
    """Labels with gaps become 0, 1, 2 in ascending order."""
    labels, names = relabel([7, 3, 7, 1000])
    assert (labels.tolist(), names) == ([1, 0, 1, 2], ("3", "7", "1000"))
    assert labels.dtype == np.int32


def test_names_become_labels():
    """Strings are numbered in their order, whether in a list or in an array of objects."""
    for given in (["bob", "ann", "bob"], np.array(["bob", "ann", "bob"], object)):
        labels, names = relabel(given)
        assert (labels.tolist(), names) == ([1, 0, 1], ("ann", "bob"))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.5], TypeError, "integers or strings"),
        (np.eye(2, dtype=int), ValueError, r"shape=\(2, 2\)\. If they are one-hot"),
        ([], ValueError, "at least one label"),
    ],
)
def test_labels_that_cannot_be_renumbered_are_refused(labels, error, message):
    """Floats, one-hot rows and no labels are errors."""
    with pytest.raises(error, match=message):
        relabel(labels)
