"""keras_margin.data.open, and what every reader does, shown on readers of arrays whose pixels are known."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from records import jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import ArrayReader

NUM_IMAGES = 100


def numbered_reader():
    """A hundred 2 x 3 images, each filled with its own number, of the classes 0 0 0 0 0 1 1 1 1 1 2 ..."""
    images = np.broadcast_to(np.arange(NUM_IMAGES, dtype=np.uint8)[:, None, None], (NUM_IMAGES, 2, 3))
    return ArrayReader(images, np.arange(NUM_IMAGES) // 5, [f"person{n:02}" for n in range(20)])


def numbers(dataset):
    return [int(number) for images, _ in dataset.as_numpy_iterator() for number in np.atleast_1d(images[..., 0, 0, 0])]


def test_without_a_path_the_orl_faces_are_opened():
    """Opens the ORL faces without a path."""
    for reader in (keras_margin.data.open(), keras_margin.data.open("orl")):
        assert (reader.num_classes, reader.num_images, reader.image_size) == (40, 400, (112, 92))


def test_a_directory_called_orl_can_be_opened(tmp_path, monkeypatch):
    """Opens a directory called orl."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orl").mkdir()
    for path in ("./orl", pathlib.Path("orl")):
        with pytest.raises(ValueError, match="which is empty"):
            keras_margin.data.open(path)


def test_a_path_where_there_is_nothing_is_refused_by_name(tmp_path):
    """Refuses a path to nothing by name."""
    with pytest.raises(FileNotFoundError, match=r"needs a directory that exists\. Received: .*casia.*Pass a folder"):
        keras_margin.data.open(tmp_path / "casia")


def test_a_file_is_refused_by_name(tmp_path):
    """Refuses a file by name."""
    (tmp_path / "faces.zip").write_bytes(b"PK")
    with pytest.raises(NotADirectoryError, match=r"set of labelled images\. Received: .*faces\.zip.*Pass a folder"):
        keras_margin.data.open(str(tmp_path / "faces.zip"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("train.parquet", "Parquet and Arrow tables are not read: save their images"),
        ("lfw.bin", r"loaded by keras_margin\.data\.load_bin"),
        ("train.idx", r"in the \.rec file next to it"),
        ("images-00000-of-00001.tfrecord", r"Pass the directory that holds all shards"),
    ],
)
def test_a_part_of_a_set_is_refused_with_the_whole(tmp_path, name, hint):
    """Refuses a file that is part of a set, and says what to pass."""
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=hint):
        keras_margin.data.open(tmp_path / name)


@pytest.mark.slow
def test_every_format_gives_the_same_images_labels_and_names(tmp_path):
    """Reads the same images, labels and names from every format."""
    images = [jpeg(number) for number in range(6)]
    write_records(tmp_path / "rec", [payload(number // 3, image, number) for number, image in enumerate(images)])
    for number, image in enumerate(images):
        (tmp_path / "folder" / str(number // 3)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / str(number // 3) / f"{number}.jpg").write_bytes(image)
    keras_margin.data.prepare(tmp_path / "rec", tmp_path / "shards", shards=2, seed=3)
    expected = np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in images])
    orders = {"rec": range(6), "folder": range(6), "shards": np.random.default_rng(3).permutation(6)}
    for path in ("rec", "rec/train.rec", "folder", "shards"):
        reader = keras_margin.data.open(tmp_path / path, image_size=(24, 24))
        order = list(orders[path.split("/")[0]])
        assert (reader.num_classes, reader.num_images, reader.image_size) == (2, 6, (24, 24))
        assert reader.label_names == ("0", "1")
        spec_image, spec_label = reader.dataset().element_spec
        assert (spec_image.dtype, spec_image.shape, spec_label.dtype) == (tf.uint8, (24, 24, 3), tf.int32)
        loaded, labels = reader.arrays()
        np.testing.assert_array_equal(loaded, expected[order])
        assert labels.tolist() == [number // 3 for number in order]


@pytest.mark.parametrize("image_size", [112, (112,), (0, 112), (112, 112, 3), (112.0, 112.0), "ab", (8193, 1)])
def test_an_invalid_image_size_is_refused(image_size):
    """Refuses an image size that is not two integers in range."""
    with pytest.raises(ValueError, match=r"two integers in \[1, 8192\], \(height, width\)\. Received"):
        keras_margin.data.open("orl", image_size=image_size)


def test_an_unshuffled_set_keeps_the_order_of_the_files():
    """Keeps the order of the files in every epoch without shuffling."""
    dataset = numbered_reader().dataset(7)
    assert numbers(dataset) == numbers(dataset) == list(range(NUM_IMAGES))


def test_a_label_stays_with_its_image_when_shuffled():
    """Keeps a label with its image when shuffled."""
    for images, labels in numbered_reader().dataset(8, shuffle=True, seed=5).as_numpy_iterator():
        np.testing.assert_array_equal(labels, images[:, 0, 0, 0] // 5)
        assert labels.dtype == np.int32


def test_grey_comes_out_on_three_equal_channels():
    """Yields grey on three equal channels."""
    image, _ = next(numbered_reader().subset([42]).dataset().as_numpy_iterator())
    np.testing.assert_array_equal(image, np.full((2, 3, 3), 42, np.uint8))
    assert image.dtype == np.uint8


def test_every_epoch_is_a_new_permutation_of_all_images():
    """Draws a new permutation of all images every epoch."""
    dataset = numbered_reader().dataset(16, shuffle=True, seed=3)
    epochs = [numbers(dataset) for _ in range(3)]
    assert all(sorted(epoch) == list(range(NUM_IMAGES)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_documented_generator_gives_the_order_of_an_epoch():
    """Orders an epoch by the documented generator."""
    dataset = numbered_reader().dataset(shuffle=True, seed=3)
    for epoch in range(2):
        assert numbers(dataset) == np.random.default_rng((3, epoch)).permutation(NUM_IMAGES).tolist()


@pytest.mark.slow
def test_the_seed_alone_decides_the_orders():
    """Orders images by the seed alone."""

    def two_epochs(seed):
        return numbers(numbered_reader().dataset(9, shuffle=True, seed=seed, repeat=True).unbatch().take(200))

    first = two_epochs(seed=1)
    tf.random.set_seed(987)
    assert two_epochs(seed=1) == first
    assert two_epochs(seed=2) != first


@pytest.mark.slow
def test_the_last_image_can_come_first():
    """Brings images from the far end to the front, as no small shuffle buffer can."""
    # A shuffle in a buffer of n images cannot bring an image forward by more than n places.
    first_image = numbered_reader().dataset(shuffle=True).take(1)
    firsts = [numbers(first_image)[0] for _ in range(40)]
    assert min(firsts) < 20 and max(firsts) >= 80


def test_a_repeated_set_has_full_batches():
    """Fills batches across the ends of epochs in a repeated set."""
    dataset = numbered_reader().dataset(30, repeat=True)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert numbers(dataset.take(7)) == (list(range(NUM_IMAGES)) * 3)[:210]


def test_the_length_is_known_and_the_remainder_kept_or_dropped():
    """Knows the length, with the remainder kept or dropped."""
    reader = numbered_reader()
    for shuffle in (False, True):
        assert reader.dataset(30, shuffle=shuffle).cardinality() == 4
        assert reader.dataset(30, shuffle=shuffle, drop_remainder=True).cardinality() == 3
    assert numbers(reader.dataset(30))[90:] == list(range(90, 100))
    assert numbers(reader.dataset(30, drop_remainder=True)) == list(range(90))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"batch_size needs an integer >= 1\. Received: batch_size=0"),
        ({"batch_size": 8, "seed": -1}, r"seed needs an integer >= 0\. Received: seed=-1"),
        ({"drop_remainder": True}, "drop_remainder=True without a batch_size"),
    ],
)
def test_arguments_of_a_dataset_that_make_no_sense_are_refused(arguments, message):
    """Refuses arguments of a dataset that contradict one another."""
    with pytest.raises(ValueError, match=message):
        numbered_reader().dataset(**arguments)


def test_a_subset_numbers_its_classes_again_in_their_old_order():
    """Numbers the classes of a subset again, in their old order."""
    subset = numbered_reader().subset([97, 11, 12, 36])  # Of the classes 19, 2, 2 and 7.
    assert subset.label_names == ("person02", "person07", "person19")
    assert subset.labels.tolist() == [2, 0, 0, 1]
    assert subset.num_classes == 3
    images, labels = subset.arrays()
    assert images[:, 0, 0, 0].tolist() == [97, 11, 12, 36]
    assert labels.tolist() == [2, 0, 0, 1]


def test_a_subset_of_a_subset_counts_from_the_subset():
    """Counts the images of a subset's subset from the subset."""
    subset = numbered_reader().subset(range(50, 60)).subset([0, 9])
    assert subset.arrays()[0][:, 0, 0, 0].tolist() == [50, 59]
    assert subset.label_names == ("person10", "person11")


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([], ValueError, "at least one image number"),
        ([[1, 2]], ValueError, r"one-dimensional array.*Received shape \(1, 2\)"),
        ([3, 100], ValueError, r"image numbers in \[0, 100\)\. Received numbers from 3 to 100"),
        ([-1], ValueError, "Received numbers from -1 to -1"),
        (np.ones(NUM_IMAGES, bool), TypeError, r"np\.flatnonzero\(mask\)"),
    ],
)
def test_indices_that_are_no_image_numbers_are_refused(indices, error, message):
    """Refuses indices that are not numbers of images."""
    with pytest.raises(error, match=message):
        numbered_reader().subset(indices)


def test_labels_cannot_be_changed_behind_the_readers_back():
    """Protects labels from changes behind the reader's back."""
    with pytest.raises(ValueError, match="read-only"):
        numbered_reader().labels[0] = 3
