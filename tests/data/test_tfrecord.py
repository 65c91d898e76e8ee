"""TFRecord shards: what prepare() writes, against TensorFlow's own reader of TFRecord, and what open() reads of it."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from records import jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import _shards

NUM_IMAGES = 23


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def class_of(number):
    return number * 5 // NUM_IMAGES


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A RecordIO folder of 23 images of the classes 0, 10, 20, 30, 40."""
    folder = tmp_path_factory.mktemp("source")
    write_records(folder, [payload(10 * class_of(n), jpeg(n), n) for n in range(NUM_IMAGES)])
    (folder / "property").write_text("41,24,24\n")
    return folder


@pytest.fixture
def out(source, tmp_path):
    keras_margin.data.prepare(source, tmp_path / "out", shards=3, seed=7)
    return tmp_path / "out"


def encoded(reader):
    return [reader.encoded(number) for number in range(reader.num_images)]


def test_any_tfrecord_reader_finds_the_documented_order(out):
    """Writes images in the documented order, for any reader of TFRecord."""
    order = np.random.default_rng(7).permutation(NUM_IMAGES)
    found = []
    for shard, numbers in enumerate(np.array_split(order, 3)):
        records = tf.data.TFRecordDataset(str(out / f"images-{shard:05}-of-00003.tfrecord"))
        examples = [tf.train.Example.FromString(record) for record in records.as_numpy_iterator()]
        assert len(examples) == len(numbers)
        found += [
            (
                example.features.feature["image"].bytes_list.value[0],
                example.features.feature["label"].int64_list.value[0],
            )
            for example in examples
        ]
    assert found == [(jpeg(number), class_of(number)) for number in order]


def test_the_reader_gives_the_same_images_labels_and_names(out):
    """Reads the same images, labels and names back."""
    reader = keras_margin.data.open(out, strict=True)
    order = np.random.default_rng(7).permutation(NUM_IMAGES)
    assert encoded(reader) == [jpeg(number) for number in order]
    assert reader.labels.tolist() == [class_of(number) for number in order]
    assert reader.label_names == ("0", "10", "20", "30", "40") and reader.image_size == (24, 24)
    images, labels = reader.arrays()
    np.testing.assert_array_equal(images, [decoded(jpeg(number)) for number in order])
    subset = reader.subset([4, 0])
    assert encoded(subset) == [jpeg(order[4]), jpeg(order[0])]


def test_the_index_has_the_files_counts_and_checksums(out):
    """Writes the counts and the checksums of the files into the index."""
    index = json.loads((out / "index.json").read_text())
    assert (index["num_images"], index["num_classes"], index["num_skipped"]) == (NUM_IMAGES, 5, 0)
    listed = {"index.json"}
    for shard in index["shards"]:
        for file in (shard["records"], shard["ranges"]):
            data = (out / file["file"]).read_bytes()
            assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
            listed.add(file["file"])
    assert set(os.listdir(out)) == listed
    assert os.listdir(out.parent) == ["out"]


def test_the_seed_alone_decides_the_bytes(source, out, tmp_path):
    """Writes the same bytes for the same seed."""
    keras_margin.data.prepare(keras_margin.data.open(source), tmp_path / "again", shards=3, seed=7)
    keras_margin.data.prepare(source, tmp_path / "other", shards=3, seed=8)

    def digests(folder):
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())]

    assert digests(out) == digests(tmp_path / "again") != digests(tmp_path / "other")


def test_images_in_memory_and_in_folders_are_prepared_too(tmp_path):
    """Prepares images in memory and in folders too."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    reader = keras_margin.data.ArrayReader(pixels, [0, 0, 0, 1, 1, 1], ["ann", "bob"])
    keras_margin.data.prepare(reader, tmp_path / "arrays", shards=2)
    images, _ = keras_margin.data.open(tmp_path / "arrays").arrays()
    np.testing.assert_array_equal(images, pixels[np.random.default_rng(0).permutation(6)])
    for number in range(4):
        (tmp_path / "folder" / str(number // 2)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / str(number // 2) / f"{number}.jpg").write_bytes(jpeg(number))
    keras_margin.data.prepare(tmp_path / "folder", tmp_path / "shards", shards=1)
    assert sorted(encoded(keras_margin.data.open(tmp_path / "shards"))) == sorted(map(jpeg, range(4)))


KILLED_IN_THE_SECOND_SHARD = """
import os, pathlib, signal, sys
import keras_margin.data
from keras_margin.data import _shards
source, out = sys.argv[1:]
read, calls = _shards._read_some, []
def read_and_die(reader, numbers):
    calls.append(numbers)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(reader, numbers)
_shards._read_some = read_and_die
keras_margin.data.prepare(source, out, shards=3, seed=7)
"""


@pytest.mark.slow
def test_a_killed_call_keeps_its_shards_and_its_result(source, out, tmp_path, monkeypatch):
    """Keeps what a killed call finished, with the same result."""
    child = subprocess.run([sys.executable, "-c", KILLED_IN_THE_SECOND_SHARD, source, tmp_path / "late"], check=False)
    assert child.returncode == -signal.SIGKILL
    partial = tmp_path / ".late.partial"
    assert not (tmp_path / "late").exists() and (partial / "images-00001-of-00003.tfrecord.tmp").exists()
    written = []
    write = _shards._write_shard
    monkeypatch.setattr(_shards, "_write_shard", lambda *given: written.append(given[1]) or write(*given))
    keras_margin.data.prepare(source, tmp_path / "late", shards=3, seed=7)
    assert written == ["images-00001-of-00003", "images-00002-of-00003"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "late").iterdir()
    }


def test_what_is_left_of_another_call_is_not_mixed_in(source, tmp_path):
    """Removes what is left of another call."""
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "plan.json").write_text('{"shards": 3, "seed": 1}')
    with pytest.raises(ValueError, match=r"\.out\.partial was left by a call of prepare\(\) with other data"):
        keras_margin.data.prepare(source, tmp_path / "out", shards=3, seed=7)


def test_an_unreadable_image_is_named_or_refused(source, tmp_path, caplog):
    """Leaves an image that cannot be read out by name, or refuses it."""
    reader = keras_margin.data.open(source)
    read = reader.encoded

    def encoded_or_not(number):
        if number == 11:
            raise _shards.UnreadableError("the disk is gone")
        return read(number)

    reader.encoded = encoded_or_not
    keras_margin.data.prepare(reader, tmp_path / "out", shards=3)
    assert f"{reader.name_of(11)} (the disk is gone)" in caplog.text
    assert sorted(encoded(keras_margin.data.open(tmp_path / "out"))) == sorted(jpeg(n) for n in range(23) if n != 11)
    assert json.loads((tmp_path / "out" / "index.json").read_text())["num_skipped"] == 1
    with pytest.raises(ValueError, match=r"strict=True.*the disk is gone"):
        keras_margin.data.prepare(reader, tmp_path / "strict", shards=3, strict=True)
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shards": 0}, r"shards in \[1, 23\]\. Received: shards=0"),
        ({"shards": 24}, "Received: shards=24"),
        ({"seed": -1}, "seed >= 0. Received: seed=-1"),
    ],
)
def test_arguments_out_of_range_are_refused(source, tmp_path, arguments, message):
    """Refuses arguments out of range."""
    with pytest.raises(ValueError, match=message):
        keras_margin.data.prepare(source, tmp_path / "out", **{"shards": 1} | arguments)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_there_is_not_overwritten(source, out):
    """Refuses to overwrite a folder."""
    with pytest.raises(ValueError, match="out is there already. Remove it"):
        keras_margin.data.prepare(source, out, shards=1)


@pytest.mark.slow
def test_a_flipped_bit_is_found_and_its_image_replaced(out, caplog):
    """Finds a flipped bit by the checksum, and replaces its image."""
    reader = keras_margin.data.open(out)
    images = reader.arrays()[0]
    name = reader.name_of(1)
    place = int(name.rpartition(" ")[2].replace(",", ""))
    with open(out / "images-00000-of-00003.tfrecord", "r+b") as file:
        file.seek(place + 300)
        byte = file.read(1)[0]
        file.seek(place + 300)
        file.write(bytes([byte ^ 1]))
    reader = keras_margin.data.open(out)
    found, _ = next(reader.dataset(NUM_IMAGES).as_numpy_iterator())
    np.testing.assert_array_equal(found[1], images[2])
    assert reader.replaced == (name,) and f"{name} (its bytes are not those that were written" in caplog.text


def test_a_shard_cut_short_loses_what_was_cut_by_name(out, caplog):
    """Loses by name what was cut off a shard."""
    whole = keras_margin.data.open(out)
    images = encoded(whole)
    path = out / "images-00001-of-00003.tfrecord"
    names = [whole.name_of(number) for number in range(8, 16)]  # Of the second of the shards of 8, 8 and 7.
    assert all(name.startswith(f"{path}, the image at byte ") for name in names)
    with open(path, "r+b") as file:
        file.truncate(int(names[5].rpartition(" ")[2].replace(",", "")) + 100)
    reader = keras_margin.data.open(out)
    assert reader.unreadable == tuple(names[5:])
    assert encoded(reader) == images[:13] + images[16:]
    assert f"Left out 3 images of {path}" in caplog.text
    with pytest.raises(ValueError, match=r"strict=True\. Received: 3 images of .*00001-of-00003\.tfrecord"):
        keras_margin.data.open(out, strict=True)


def _without_labels(index):
    del index["label_names"]


def _without_count(index):
    del index["shards"][0]["num_images"]


def _outside(index):
    index["shards"][0]["records"]["file"] = "../secret"


INDICES = {
    "no JSON": (b"{", "is not an index that prepare"),
    "another format": (b'{"format": "x"}', "its format is 'x'"),
    "a list": (b"[]", "is not an index that prepare"),
    "no names": (_without_labels, "'label_names'"),
    "no count": (_without_count, "'num_images'"),
    "a file elsewhere": (_outside, "is not a name of a file next to it"),
    "another size": (lambda index: index.update(image_size=[0, 5]), "image_size needs two integers"),
    "another count": (lambda index: index.update(num_images=24), "are not of one set"),
    "fewer names": (lambda index: index["label_names"].pop(), "are not of one set"),
    "no size": (lambda index: index.update(image_size=None), "image_size"),
    "a giant size": (lambda index: index.update(image_size=[10**6, 10**6]), "image_size needs two integers"),
    "nested too deep": (b"[" * 100_000, "is not an index that prepare"),
}


@pytest.mark.parametrize("case", INDICES)
def test_an_index_that_is_none_is_refused_by_name(out, case):
    """Refuses a file that is not an index, by name."""
    change, message = INDICES[case]
    path = out / "index.json"
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message) as raised:
        keras_margin.data.open(out)
    assert str(out) in str(raised.value)


def test_a_missing_piece_is_named(out):
    """Names a missing file of the set."""
    (out / "images-00002-of-00003.npy").rename(out / "kept")
    with pytest.raises(FileNotFoundError, match=r"images-00002-of-00003\.npy is missing, which index\.json lists"):
        keras_margin.data.open(out)
    (out / "kept").rename(out / "images-00002-of-00003.npy")
    (out / "images-00001-of-00003.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match=r"images-00001-of-00003\.tfrecord is missing"):
        keras_margin.data.open(out)
    (out / "index.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing.*A call of prepare\(\) that did not end"):
        keras_margin.data.open(out)


def test_a_changed_table_is_refused_by_its_checksum(out):
    """Refuses a changed table by its checksum."""
    path = out / "images-00000-of-00003.npy"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"00000-of-00003\.npy is not the file that was written, by its size"):
        keras_margin.data.open(out)
