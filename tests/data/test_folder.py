"""Folders of identities, made by Pillow in a temporary directory."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_margin.data


def smooth_image(seed, height=112, width=112):
    """A colour image as smooth as a photograph; uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels, kind="JPEG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def broken_inside(data):
    """A JPEG whose beginning and end are sound, but not its Huffman tables."""
    place = data.index(b"\xff\xc4")
    return data[: place + 4] + b"\xff" * 20 + data[place + 24 :]


def write(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture
def folder(tmp_path):
    """Three people with two JPEGs each."""
    names = [f"{person}/{number}.jpg" for person in ("ann", "bob", "cyd") for number in (1, 2)]
    return write(tmp_path, {name: encoded(smooth_image(seed)) for seed, name in enumerate(names)})


def test_classes_are_numbered_by_the_characters_of_their_names(tmp_path):
    """Numbers classes by the characters of their names."""
    names = ["10/a.jpg", "2/b.jpg", "2/a.jpg", "Zoe/a.jpg", "anna/a.jpg"]
    data = {name: encoded(smooth_image(seed)) for seed, name in enumerate(names)}
    reader = keras_margin.data.open(write(tmp_path, data))
    assert reader.label_names == ("10", "2", "Zoe", "anna")
    assert reader.labels.tolist() == [0, 1, 1, 2, 3]
    assert [os.path.relpath(path, tmp_path) for path in reader.paths] == [
        os.path.join(*name.split("/")) for name in ("10/a.jpg", "2/a.jpg", "2/b.jpg", "Zoe/a.jpg", "anna/a.jpg")
    ]
    images, labels = reader.arrays()
    for image, name in zip(images, ("10/a.jpg", "2/a.jpg", "2/b.jpg", "Zoe/a.jpg", "anna/a.jpg"), strict=True):
        np.testing.assert_array_equal(image, decoded(data[name]))
    assert labels.tolist() == [0, 1, 1, 2, 3]


def test_extensions_count_in_any_case_and_hidden_files_do_not(tmp_path):
    """Accepts extensions in any case, and skips hidden files."""
    names = ["a/1.JPG", "a/2.Jpeg", "a/.3.jpg", "b/4.PNG", "b/5.bmp", ".hidden/6.jpg"]
    kinds = {"JPG": "JPEG", "PNG": "PNG", "bmp": "BMP"}
    files = {name: encoded(smooth_image(0), kinds.get(name[4:], "JPEG")) for name in names}
    reader = keras_margin.data.open(write(tmp_path, files))
    assert [os.path.basename(path) for path in reader.paths] == ["1.JPG", "2.Jpeg", "4.PNG", "5.bmp"]
    assert reader.label_names == ("a", "b")


def test_a_linked_identity_counts(folder, tmp_path_factory):
    """Follows a link to an identity."""
    elsewhere = write(tmp_path_factory.mktemp("elsewhere"), {"dee/1.jpg": encoded(smooth_image(9))})
    (folder / "dee").symlink_to(elsewhere / "dee", target_is_directory=True)
    assert keras_margin.data.open(folder).label_names == ("ann", "bob", "cyd", "dee")


PIXELS = smooth_image(7)
RGB = Image.fromarray(PIXELS)
GREY = np.asarray(RGB.convert("L"))
ENCODINGS = {
    "a PNG": (encoded(PIXELS, "PNG"), PIXELS),
    "a BMP": (encoded(PIXELS, "BMP"), PIXELS),
    "a progressive JPEG": (encoded(PIXELS, progressive=True), None),
    "a JPEG with halved colour": (encoded(PIXELS, subsampling=2), None),
    "a grey JPEG": (encoded(GREY), None),
    "a CMYK JPEG": (encoded(RGB.convert("CMYK"), quality=95), None),
    "a grey PNG": (encoded(GREY, "PNG"), np.stack([GREY] * 3, axis=-1)),
    "a grey BMP": (encoded(GREY, "BMP"), np.stack([GREY] * 3, axis=-1)),
    "a PNG with alpha": (encoded(np.dstack([PIXELS, GREY]), "PNG"), PIXELS),
    "a BMP with alpha": (encoded(np.dstack([PIXELS, GREY]), "BMP"), PIXELS),
    "a PNG with a palette": (encoded(RGB.quantize(16), "PNG"), np.asarray(RGB.quantize(16).convert("RGB"))),
    "a 16-bit PNG": (encoded(GREY.astype(np.uint16) * 256 + 99, "PNG"), np.stack([GREY] * 3, axis=-1)),
    "a JPEG with bytes after its end": (encoded(PIXELS) + b"MPF second image", None),
    "a PNG that is called .jpg": (encoded(PIXELS, "PNG"), PIXELS),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ENCODINGS)
def test_pixels_are_those_written_or_decoded_by_pillow(tmp_path, case):
    """Reads the pixels that were written, or those that Pillow decodes."""
    data, expected = ENCODINGS[case]
    reader = keras_margin.data.open(write(tmp_path, {"a/1.jpg": data, "b/1.jpg": data}), strict=True)
    images, _ = reader.arrays()
    np.testing.assert_array_equal(images[0], decoded(data) if expected is None else expected)


@pytest.mark.slow
def test_images_of_another_size_are_resized_as_pillow_does(tmp_path):
    """Resizes images of another size as Pillow does."""
    pixels = {(224, 224): smooth_image(1, 224, 224), (90, 150): smooth_image(2, 90, 150)}
    files = {f"{height}/{width}.png": encoded(image, "PNG") for (height, width), image in pixels.items()}
    for image_size in ((112, 112), (112, 96)):
        given = None if image_size == (112, 112) else image_size
        images, _ = keras_margin.data.open(write(tmp_path, files), image_size=given).arrays()
        for image, original in zip(images, pixels.values(), strict=True):
            resized = Image.fromarray(original).resize(image_size[::-1], Image.Resampling.BILINEAR)
            assert np.abs(image.astype(int) - np.asarray(resized).astype(int)).max() <= 1


SOUND = encoded(smooth_image(3))
BAD_FILES = {
    "an empty file": (b"", "the file is empty"),
    "half a JPEG": (SOUND[: len(SOUND) // 2], "Invalid JPEG data"),
    "a JPEG without its last byte but two": (SOUND[:-2], "Invalid JPEG data"),
    "a text": (b"404 Not Found\n", r"not a JPEG, PNG or BMP file: it begins with b'404 Not '"),
    "a GIF": (encoded(RGB.quantize(16), "GIF"), "not a JPEG, PNG or BMP file"),
    "half a PNG": (encoded(PIXELS, "PNG")[:9000], "PNG"),
    "half a BMP": (encoded(PIXELS, "BMP")[:9000], "the file is truncated"),
    "a beginning of a BMP": (b"BM123", "the file is truncated"),
    "a BMP with a palette": (encoded(RGB.quantize(256), "BMP"), "a BMP file with a colour palette"),
    "a BMP of one bit": (encoded(RGB.convert("1"), "BMP"), "a BMP file of a kind that is not supported"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_FILES)
def test_an_unreadable_file_is_left_out_by_name_or_refused(folder, caplog, case):
    """Leaves an unreadable file out by name, or refuses it."""
    data, reason = BAD_FILES[case]
    path = folder / "bob" / "1.jpg"
    path.write_bytes(data)
    reader = keras_margin.data.open(folder)
    assert reader.unreadable == (str(path),)
    assert (reader.num_images, reader.labels.tolist()) == (5, [0, 0, 1, 2, 2])
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(
        f"Left out 1 images that cannot be read: {path} ("
    )
    with pytest.raises(ValueError, match=rf"Nothing may be left out if strict=True.*1\.jpg \(.*{reason}"):
        keras_margin.data.open(folder, strict=True)
    np.testing.assert_array_equal(reader.arrays()[0][2], decoded((folder / "bob" / "2.jpg").read_bytes()))


def test_a_link_to_nowhere_is_unreadable(folder):
    """Treats a link to nothing as unreadable."""
    (folder / "ann" / "3.jpg").symlink_to(folder / "gone.jpg")
    assert keras_margin.data.open(folder).unreadable == (str(folder / "ann" / "3.jpg"),)


def test_many_unreadable_files_are_counted_and_the_first_named(folder, caplog):
    """Counts many unreadable files, and names the first."""
    write(folder, {f"dee/{number:02}.jpg": b"" for number in range(30)})
    reader = keras_margin.data.open(folder)
    assert len(reader.unreadable) == 30
    assert reader.label_names == ("ann", "bob", "cyd")
    assert caplog.messages[0].startswith("Left out 30 images that cannot be read: ")
    assert (
        "19.jpg" in caplog.messages[0]
        and "20.jpg" not in caplog.messages[0]
        and caplog.messages[0].endswith("; and 10 more.")
    )
    assert "1 identities" in caplog.messages[1] and caplog.messages[1].endswith("*.png): dee.")


def test_stray_images_and_empty_identities_are_named(folder, caplog):
    """Names or refuses identities without images and images without an identity."""
    (folder / "eve").mkdir()
    reader = keras_margin.data.open(folder)
    assert reader.label_names == ("ann", "bob", "cyd")
    assert caplog.messages[-1].endswith("without a readable image (*.bmp, *.jpeg, *.jpg, *.png): eve.")
    with pytest.raises(ValueError, match=r"strict=True.*without a readable image.*eve"):
        keras_margin.data.open(folder, strict=True)
    (folder / "eve").rmdir()
    write(folder, {"preview.jpg": SOUND})
    assert keras_margin.data.open(folder).num_images == 6
    assert "belong to no identity" in caplog.messages[-1] and "preview.jpg" in caplog.messages[-1]
    with pytest.raises(ValueError, match=r"strict=True.*belong to no identity.*preview\.jpg"):
        keras_margin.data.open(folder, strict=True)


def test_files_of_other_kinds_are_counted_in_a_warning(folder, caplog):
    """Warns of files of other kinds with their number."""
    write(folder, {"ann/a.webp": b"", "ann/b.webp": b"", "bob/notes": b"", "landmarks.txt": b""})
    assert keras_margin.data.open(folder, strict=True).num_images == 6
    assert caplog.messages[0].endswith("are ignored: .webp (2), no extension (1).")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"needs images\. Received: .*, which is empty\. The layout is root/identity/image\.jpg"),
        (
            {"1.jpg": SOUND, "2.jpg": SOUND},
            r"one level down\. Received: .*with 2 images directly in it, such as 1\.jpg",
        ),
        (
            {"ann/1.txt": b""},
            r"needs images \(\*\.bmp, .*with 1 directories and no image.*: 1 \.txt\. The layout is",
        ),
        (
            {"0.parquet": b"", "1.parquet": b"", "a.md": b""},
            r": 2 \.parquet, 1 \.md\. Parquet and .* not read",
        ),
        ({"data/train-0.parquet": b""}, r"Its files: 1 \.parquet\. Parquet and Arrow tables are not read"),
        ({"faces.zip": b""}, r"Its files: 1 \.zip\. Unpack archives first\."),
        ({"ann/1.webp": b"", "ann/2.webp": b""}, r"Its files: 2 \.webp\. Convert these images"),
        ({"train/ann/1.jpg": SOUND, "train/bob/1.jpg": SOUND}, r"no image in them.*Did you mean .*train\?"),
        ({"ann/1.jpg": SOUND, "ann/2.jpg": SOUND}, r"at least 2 people\. Received: .*images of 1: ann\. The layout is"),
        ({"ann/1.jpg": SOUND, "bob/1.jpg": b""}, r"at least 2 people\. Received: .*images of 1: ann\."),
        ({"ann/1.jpg": b"", "bob/1.jpg": b""}, r"at least 2 people\. Received: .*images of 0: nobody\."),
    ],
)
def test_fewer_than_two_identities_are_refused(tmp_path, files, message):
    """Refuses a folder without two identities, and shows the layout."""
    with pytest.raises(ValueError, match=message):
        keras_margin.data.open(write(tmp_path, files))


def test_a_broken_image_is_replaced_and_named_once(folder, caplog):
    """Replaces an image that is broken inside by the next one, and names it once."""
    path = folder / "bob" / "1.jpg"
    path.write_bytes(broken_inside(path.read_bytes()))
    reader = keras_margin.data.open(folder)
    assert (reader.num_images, reader.unreadable, reader.replaced) == (6, (), ())
    dataset = reader.dataset(4)
    for _ in range(2):
        (images, labels), (_, last_labels) = dataset.as_numpy_iterator()
        assert [*labels, *last_labels] == [0, 0, 1, 1, 2, 2]
        np.testing.assert_array_equal(images[2], decoded((folder / "bob" / "2.jpg").read_bytes()))
        np.testing.assert_array_equal(images[1], decoded((folder / "ann" / "2.jpg").read_bytes()))
    assert reader.replaced == (str(path),)
    assert len(caplog.messages) == 1 and str(path) in caplog.messages[0]


def test_the_replacement_comes_with_its_own_label(folder):
    """Yields a replacement with its own label."""
    path = folder / "cyd" / "2.jpg"
    path.write_bytes(broken_inside(path.read_bytes()))
    image, label = list(keras_margin.data.open(folder).dataset().as_numpy_iterator())[5]
    np.testing.assert_array_equal(image, decoded((folder / "ann" / "1.jpg").read_bytes()))
    assert label == 0


def test_arrays_leave_out_what_a_dataset_replaces(folder):
    """Leaves out of arrays() what a dataset replaces."""
    path = folder / "bob" / "1.jpg"
    path.write_bytes(broken_inside(path.read_bytes()))
    images, labels = keras_margin.data.open(folder).arrays()
    assert labels.tolist() == [0, 0, 1, 2, 2]
    np.testing.assert_array_equal(images[2], decoded((folder / "bob" / "2.jpg").read_bytes()))


def test_an_image_broken_inside_stops_a_strict_set_by_name(folder):
    """Stops a strict set at an image broken inside, by name."""
    path = folder / "bob" / "1.jpg"
    path.write_bytes(broken_inside(path.read_bytes()))
    reader = keras_margin.data.open(folder, strict=True).subset(range(5))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"readable if strict=True\. Received: {path} \("):
        list(reader.dataset(2))


@pytest.mark.slow
def test_a_disk_that_goes_away_stops_even_an_endless_set(folder):
    """Stops even an endless set when its disk goes away."""
    dataset = keras_margin.data.open(folder).dataset(2, shuffle=True, repeat=True)
    for path in folder.glob("*/*.jpg"):
        path.unlink()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"At least half of the images.*Is the disk still there\?"):
        list(dataset.take(100))


@pytest.mark.slow
def test_images_beyond_one_load_come_once_in_order(tmp_path):
    """Yields each image once and in order where they do not fit into one load."""
    # A chunk is 32 images: three full ones and a rest, one broken image in the first and one alone in the last.
    files = {
        f"{number // 10}/{number:02}.png": encoded(np.full((4, 4, 3), number, np.uint8), "PNG") for number in range(97)
    }
    for number in (5, 96):
        data = files[f"{number // 10}/{number:02}.png"]
        place = data.index(b"IDAT") + 6
        files[f"{number // 10}/{number:02}.png"] = data[:place] + b"\xff\xff" + data[place + 2 :]
    reader = keras_margin.data.open(write(tmp_path, files), image_size=(4, 4))
    dataset = reader.dataset(10)
    assert dataset.cardinality() == 10
    values = np.concatenate([images[:, 0, 0, 0] for images, _ in dataset.as_numpy_iterator()])
    assert values.tolist() == [*range(5), 6, *range(6, 96), 0]
    shuffled = reader.dataset(shuffle=True, seed=1).as_numpy_iterator()
    assert sorted(image[0, 0, 0] for image, _ in shuffled) == [0, *range(5), 6, *range(6, 96)]


def test_a_subset_of_a_folder_reads_its_own_files(folder):
    """Reads the files of a subset of a folder."""
    subset = keras_margin.data.open(folder).subset([5, 0])
    assert subset.label_names == ("ann", "cyd")
    images, labels = subset.arrays()
    assert labels.tolist() == [1, 0]
    np.testing.assert_array_equal(images[0], decoded((folder / "cyd" / "2.jpg").read_bytes()))
