"""RecordIO, against what mxnet wrote and read (tests/data/fixtures), and against files written by the specification."""

import hashlib
import io
import json
import logging
import pathlib
import shutil
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from records import MAGIC, frame, jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import _record_index

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def ids_of(reader):
    return [int(reader.label_names[label]) for label in reader.labels]


def encoded(reader):
    return [reader.encoded(number) for number in range(reader.num_images)]


@pytest.fixture
def copy(tmp_path):
    """A RecordIO folder of four images of two classes, keys from 0: (folder, images, offsets)."""
    images = [jpeg(number) for number in range(4)]
    offsets = write_records(tmp_path / "set", [payload(n // 2, image, n) for n, image in enumerate(images)])
    return tmp_path / "set", images, offsets


@pytest.mark.parametrize("index", ["by its .idx", "by a scan"])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_mxnet_wrote_is_read_as_mxnet_reads_it(tmp_path, name, index):
    """Reads what mxnet wrote as mxnet reads it."""
    folder = shutil.copytree(FIXTURES / name, tmp_path / name)
    if index == "by a scan":
        (folder / "train.idx").unlink()
    reader = keras_margin.data.open(folder)
    found = [
        [label, hashlib.sha256(data).hexdigest()] for label, data in zip(ids_of(reader), encoded(reader), strict=True)
    ]
    assert len(EXPECTED[name]) >= 5
    assert found == EXPECTED[name]
    assert reader.unreadable == ()


def test_image_size_and_pixels_match_property_and_pillow():
    """Takes the image size from property and the pixels that Pillow decodes."""
    reader = keras_margin.data.open(FIXTURES / "insightface")
    assert (reader.num_images, reader.num_classes, reader.image_size) == (9, 3, (24, 24))
    images, labels = reader.arrays()
    assert labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    for image, data in zip(images, encoded(reader), strict=True):
        np.testing.assert_array_equal(image, decoded(data))


def test_a_rec_file_is_opened_by_its_name():
    """Opens a .rec file by its name."""
    reader = keras_margin.data.open(str(FIXTURES / "split" / "train.rec"), image_size=(24, 24))
    assert reader.num_images == 7
    np.testing.assert_array_equal(reader.arrays()[0][2], decoded(reader.encoded(2)))


def test_keys_and_float32_ranges_past_2_to_24_lose_no_image(tmp_path):
    """Keeps every image where keys and float32 ranges exceed 2**24."""
    first = 2**24 + 1  # The nearest float32 is 2**24.
    keys = [*range(first, first + 5), first + 5, first + 6, 0]
    payloads = [payload(n // 3, jpeg(n), key) for n, key in enumerate(keys[:5])]
    payloads += [payload([first, first + 3], b"", first + 5), payload([first + 3, first + 5], b"", first + 6)]
    payloads += [payload([first + 5, first + 7], b"", 0)]
    write_records(tmp_path, payloads, keys)
    reader = keras_margin.data.open(tmp_path, strict=True)
    assert reader.labels.tolist() == [0, 0, 0, 1, 1]
    assert encoded(reader) == [jpeg(n) for n in range(5)]


def test_the_records_own_labels_count_and_ids_may_have_gaps(tmp_path):
    """Counts classes by the records' own labels, whose ids may have gaps."""
    # The identities' record says that image 1 is of the first; its own label says the second.
    payloads = [payload([3, 5], b"", 0), payload([7000.0, 0.1, 0.2], jpeg(1), 1), payload(12, jpeg(2), 2)]
    payloads += [payload([1, 3], b"", 3), payload([3, 3], b"", 4)]
    write_records(tmp_path, payloads)
    reader = keras_margin.data.open(tmp_path)
    assert reader.label_names == ("12", "7000")
    assert reader.labels.tolist() == [1, 0]


def test_a_first_record_with_two_labels_and_an_image_is_an_image(tmp_path):
    """Reads a first record of two labels and an image as an image."""
    write_records(tmp_path, [payload([0, 0.5], jpeg(0), 0), payload([1, 0.5], jpeg(1), 1)])
    assert encoded(keras_margin.data.open(tmp_path)) == [jpeg(0), jpeg(1)]


@pytest.mark.parametrize(
    "idx",
    [
        b"0\t0\n1\t4\n",
        b"0\t0\n1\t2\n",
        b"0\t0\n1\t99999999\n",
        b"0\t0\n1\n",
        b"0\t0\nfirst\t8\n",
        b"0\t-8\n",
        b"",
        b"\x00\xff\x00",
        b"0\t0\n1\t99999999999999999999999\n",
    ],
)
def test_an_idx_that_is_not_the_recs_is_made_up_for_by_a_scan(copy, caplog, idx):
    """Scans the records where the .idx belongs to another file."""
    folder, images, _ = copy
    (folder / "train.idx").write_bytes(idx)
    assert encoded(keras_margin.data.open(folder, strict=True)) == images
    assert "is not the index of" in caplog.text and "train.rec" in caplog.text


def test_an_unordered_idx_with_repetitions_is_read(copy, caplog):
    """Reads an .idx in another order, with repetitions and without a last newline."""
    folder, images, offsets = copy
    lines = [f"{key}\t{offsets[key]}" for key in (2, 0, 3, 1, 1)]
    (folder / "train.idx").write_text("\r\n".join(lines))
    assert encoded(keras_margin.data.open(folder, strict=True)) == images
    assert caplog.messages == []


def test_a_long_idx_is_read_in_parts(copy, monkeypatch):
    """Reads a long .idx in parts."""
    folder, images, _ = copy
    monkeypatch.setattr("keras_margin.data._record_frames._TEXT_BLOCK", 7)
    monkeypatch.setattr("keras_margin.data._record_frames._BLOCK", 3)
    assert encoded(keras_margin.data.open(folder, strict=True)) == images


def test_records_that_the_idx_leaves_out_are_counted_and_named(copy, caplog):
    """Counts and names records that the .idx leaves out."""
    folder, images, offsets = copy
    (folder / "train.idx").write_text(f"0\t0\n3\t{offsets[3]}\n")
    assert encoded(keras_margin.data.open(folder)) == [images[0], images[3]]
    assert f"{offsets[3] - offsets[1]:,} bytes of" in caplog.text and f"from byte {offsets[1]:,} on" in caplog.text
    with pytest.raises(ValueError, match=r"strict=True.*in no record"):
        keras_margin.data.open(folder, strict=True)


def test_a_magic_number_inside_a_payload_is_not_a_record(tmp_path):
    """Scans past a magic number that a writer left inside a payload."""
    image = jpeg(0)[:2] + b"\xff\xfe\x00\x0c" + b"xx" + MAGIC + bytes(4) + jpeg(0)[2:]
    assert (8 + 24 + 8) % 4 == 0  # Where the magic is: aligned, so mxnet would have split here.
    frames = [frame(payload(0, image)), frame(payload(1, jpeg(1)))]
    (tmp_path / "train.rec").write_bytes(b"".join(frames))
    assert encoded(keras_margin.data.open(tmp_path, strict=True)) == [image, jpeg(1)]


BAD_PAYLOADS = {
    "a fraction": (payload(1.5, jpeg(9)), "its label is not a class id"),
    "a negative label": (payload(-1, jpeg(9)), "its label is not a class id"),
    "no number": (payload(float("nan"), jpeg(9)), "its label is not a class id"),
    "a label past 2**24": (payload(2.0**25, jpeg(9)), "its label is not a class id"),
    "a text": (payload(0, b"<html>404</html>"), "its image is not a JPEG, PNG or BMP file"),
    "more labels than bytes": (struct.pack("<IfQQ", 2**31, 0.0, 9, 0) + jpeg(9), "too short for its header"),
    "half a header": (b"12345678", "too short for its header"),
    "nothing": (b"", "too short for its header"),
    "a split record of a text": (payload(0, b"text" + MAGIC + b"text"), "its image is not a JPEG, PNG or BMP file"),
}


@pytest.mark.parametrize("with_idx", [True, False])
@pytest.mark.parametrize("case", BAD_PAYLOADS)
def test_a_record_without_an_image_is_named_or_refused(tmp_path, caplog, case, with_idx):
    """Leaves a record that is not an image out by name, or refuses it."""
    bad, reason = BAD_PAYLOADS[case]
    offsets = write_records(tmp_path, [payload(0, jpeg(0)), bad, payload(1, jpeg(1))])
    if not with_idx:
        (tmp_path / "train.idx").unlink()
    reader = keras_margin.data.open(tmp_path)
    assert encoded(reader) == [jpeg(0), jpeg(1)]
    (name,) = reader.unreadable
    assert f"train.rec, the record at byte {offsets[1]:,} (" in name and reason in name
    assert name in caplog.text
    with pytest.raises(ValueError, match=rf"strict=True.*byte {offsets[1]:,} \(.*{reason.replace('*', '.')}"):
        keras_margin.data.open(tmp_path, strict=True)


@pytest.mark.parametrize("with_idx", [True, False])
def test_a_wrong_length_loses_its_own_record_alone(copy, with_idx):
    """Loses the record whose length is wrong, and no other."""
    folder, images, offsets = copy
    data = bytearray((folder / "train.rec").read_bytes())
    data[offsets[1] + 6] ^= 0x80  # 8 MiB more.
    (folder / "train.rec").write_bytes(data)
    if not with_idx:
        (folder / "train.idx").unlink()
    reader = keras_margin.data.open(folder)
    assert encoded(reader) == [images[0], images[2], images[3]]
    assert [name.partition("byte ")[2].partition(" ")[0] for name in reader.unreadable] == [f"{offsets[1]:,}"]


def test_a_file_that_was_cut_short_loses_its_last_record_by_name(copy):
    """Loses the last record of a truncated file, by name."""
    folder, images, offsets = copy
    data = (folder / "train.rec").read_bytes()
    for cut in (len(data) - 5, offsets[3] + 12):
        (folder / "train.rec").write_bytes(data[:cut])
        for idx in (True, False):
            if not idx:
                (folder / "train.idx").rename(folder / "kept")
            reader = keras_margin.data.open(folder)
            assert encoded(reader) == images[:3]
            assert f"at byte {offsets[3]:,} (" in reader.unreadable[0]
        (folder / "kept").rename(folder / "train.idx")


def test_missing_images_announced_by_record_0_are_counted(tmp_path, caplog):
    """Counts the images that record 0 announces and that are missing."""
    payloads = [payload([31, 33], b"", 0), *(payload(n // 2, jpeg(n), n + 1) for n in range(4))]
    write_records(tmp_path, payloads)
    assert keras_margin.data.open(tmp_path).num_images == 4
    assert "26 images that are missing" in caplog.text and "announces 30, 4 are there" in caplog.text
    with pytest.raises(ValueError, match=r"strict=True.*announces 30"):
        keras_margin.data.open(tmp_path, strict=True)


def test_a_part_that_a_split_record_lacks_is_named(tmp_path):
    """Names the missing part of a split record."""
    whole = payload(0, jpeg(0)[:2] + b"\xff\xfe\x00\x0a" + b"xx" + MAGIC + b"yy" + jpeg(0)[2:])
    offsets = write_records(tmp_path, [payload(0, jpeg(1)), whole, payload(1, jpeg(2))])
    data = bytearray((tmp_path / "train.rec").read_bytes())
    second = offsets[1] + 8 + 32
    assert data[second : second + 4] == MAGIC and data[second + 7] >> 5 == 3
    data[second + 7] = data[second + 7] & 0x1F  # As if a whole record began there.
    (tmp_path / "train.rec").write_bytes(data)
    reader = keras_margin.data.open(tmp_path)
    assert encoded(reader) == [jpeg(1), jpeg(2)]
    assert f"byte {offsets[1]:,} (a part of a split record is missing at byte {second:,})" in reader.unreadable[0]


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"train.idx": b"0\t0\n", "property": b"1,2,2"}, FileNotFoundError, r"train\.idx and no \.rec file.*Put train"),
        ({"a.rec": b"", "b.rec": b""}, ValueError, r"One set is opened at a time.*with a\.rec, b\.rec\. Pass one"),
        ({"train.rec": b"\n#", "train.idx": b"0\t0\n"}, ValueError, r"at least 2 people\. Received: .*with 0 images"),
        ({"train.rec": b""}, ValueError, r"at least 2 people\. Received: .*train\.rec, with 0 images of 0"),
        ({"train.rec": b"not RecordIO"}, ValueError, r"at least 2 people\. Received: .*train\.rec, with 0 images"),
        ({"train.rec": frame(payload(0, jpeg(0)))}, ValueError, r"at least 2 people.*with 1 images of 1\."),
        (
            {"train.rec": b"", "property": b"85742 112 112"},
            ValueError,
            r"num_classes,height,width.*begins with b'85742",
        ),
        (
            {"train.rec": b"", "property": b"9,112,99999999"},
            ValueError,
            r"num_classes,height,width.*Correct it or remove",
        ),
    ],
)
def test_a_set_without_what_it_needs_is_refused_by_name(tmp_path, files, error, message):
    """Refuses a set that lacks a file or a record, by name."""
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message):
        keras_margin.data.open(tmp_path)


def test_a_file_that_is_mostly_no_images_is_refused_early(tmp_path, monkeypatch):
    """Refuses a file of few images early."""
    monkeypatch.setattr(_record_index, "_FEW", 3)
    write_records(tmp_path, [payload(0, b"text")] * 9)
    with pytest.raises(ValueError, match=r"At least half of the records must be images\. Received: .*byte 0 \("):
        keras_margin.data.open(tmp_path)


def test_classes_without_an_image_are_a_warning(caplog):
    """Warns of classes that property counts and of which no image is there."""
    reader = keras_margin.data.open(FIXTURES / "recbuilder", strict=True)
    assert reader.label_names == ("0", "1", "3")
    assert "says 4 classes; it has images of 3" in caplog.text


@pytest.mark.slow
def test_a_broken_image_is_replaced_and_named_by_its_byte(copy, caplog):
    """Replaces an image that is broken inside by the next one, and names its byte."""
    folder, images, offsets = copy
    data = bytearray((folder / "train.rec").read_bytes())
    place = data.index(b"\xff\xc4", offsets[1]) + 4
    data[place : place + 20] = b"\xff" * 20
    (folder / "train.rec").write_bytes(data)
    reader = keras_margin.data.open(folder, image_size=(24, 24))
    found, labels = next(reader.dataset(4).as_numpy_iterator())
    np.testing.assert_array_equal(found[1], decoded(images[2]))
    assert labels.tolist() == [0, 1, 1, 1]
    assert reader.replaced == (f"{folder / 'train.rec'}, the image at byte {offsets[1] + 32:,}",)
    strict = keras_margin.data.open(folder, strict=True).dataset(4)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"strict=True\. Received: .*byte {offsets[1] + 32:,} \("):
        list(strict)


def test_a_file_that_shrinks_under_the_reader_ends_in_words(copy):
    """Raises in words when a file shrinks under the reader."""
    folder, _, offsets = copy
    dataset = keras_margin.data.open(folder).dataset(2, repeat=True)
    with open(folder / "train.rec", "rb+") as file:
        file.truncate(offsets[1])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"At least half.*the file ends before"):
        list(dataset.take(10))


def test_a_subset_reads_its_own_records(copy):
    """Reads the records of a subset."""
    folder, images, _ = copy
    subset = keras_margin.data.open(folder).subset([3, 0])
    assert encoded(subset) == [images[3], images[0]]
    assert subset.labels.tolist() == [1, 0]


def test_headers_of_a_large_set_are_kept_until_a_file_changes(copy, monkeypatch, caplog):
    """Caches the headers of a large set until a file changes."""
    folder, images, offsets = copy
    monkeypatch.setattr(_record_index, "_WORTH_KEEPING", 4)
    reads = []
    monkeypatch.setattr(
        _record_index, "_read", lambda *paths, read=_record_index._read: reads.append(1) or read(*paths)
    )
    for _ in range(3):
        assert encoded(keras_margin.data.open(folder, strict=True)) == images
    assert len(reads) == 1
    kept = folder / "train.headers.npz"
    for damaged in (b"", b"PK", kept.read_bytes()[:-40]):
        kept.write_bytes(damaged)
        assert encoded(keras_margin.data.open(folder, strict=True)) == images
    assert len(reads) == 4
    (folder / "train.idx").write_text(f"0\t0\n3\t{offsets[3]}\n")
    assert encoded(keras_margin.data.open(folder)) == [images[0], images[3]]


def test_headers_of_a_read_only_folder_are_cached(copy, tmp_path, monkeypatch):
    """Keeps the headers of a folder that cannot be written in the cache."""
    folder, images, _ = copy
    monkeypatch.setattr(_record_index, "_WORTH_KEEPING", 4)
    monkeypatch.setenv("KERAS_MARGIN_CACHE", str(tmp_path / "cache"))
    reads = []
    monkeypatch.setattr(
        _record_index, "_read", lambda *paths, read=_record_index._read: reads.append(1) or read(*paths)
    )
    atomic_write = _record_index.files.atomic_write

    def refuse(path):
        if str(path).startswith(str(folder)):
            raise PermissionError(f"{path} cannot be written")
        return atomic_write(path)

    monkeypatch.setattr(_record_index.files, "atomic_write", refuse)
    before = sorted(folder.iterdir())
    for _ in range(3):
        assert encoded(keras_margin.data.open(folder)) == images
    assert len(reads) == 1 and sorted(folder.iterdir()) == before
    (kept,) = (tmp_path / "cache").iterdir()
    other = shutil.copytree(folder, tmp_path / "other")  # Another set of the same name has headers of its own.
    monkeypatch.setattr(_record_index.files, "atomic_write", atomic_write)
    assert encoded(keras_margin.data.open(other)) == images
    assert len(reads) == 2 and [path.name for path in (tmp_path / "cache").iterdir()] == [kept.name]
    assert (other / "train.headers.npz").exists()


def test_headers_that_can_be_kept_nowhere_are_read_each_time(copy, monkeypatch, caplog):
    """Reads headers each time where they cannot be cached."""
    folder, images, _ = copy
    monkeypatch.setattr(_record_index, "_WORTH_KEEPING", 4)

    def refuse(path):
        raise PermissionError(f"{path} cannot be written")

    monkeypatch.setattr(_record_index.files, "atomic_write", refuse)
    with caplog.at_level(logging.INFO):
        assert encoded(keras_margin.data.open(folder)) == images
    assert caplog.text.count("The headers are not kept there") == 2
