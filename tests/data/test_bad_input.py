"""Files truncated, with bits flipped, with bytes overwritten, taken out and put in: seeded, and every outcome defined.

Each mutation must end in an error that names the file, or in a set whose images can be loaded, with what is not there
counted; quickly, and in little memory. The suite runs few; KERAS_MARGIN_MUTATIONS=2000 in the environment runs more:

    KERAS_MARGIN_MUTATIONS=2000 python -m pytest -q tests/data/test_bad_input.py
"""

import io
import logging
import os
import resource
import shutil
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from records import MAGIC, jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import folder as folder_format
from keras_margin.data import write_bin
from keras_margin.data._decoding import LARGEST_PIXELS, announced_size
from keras_margin.data._encoded import UnreadableError, decode

MUTATIONS = int(os.environ.get("KERAS_MARGIN_MUTATIONS", "40"))
SECONDS = 10
MEBIBYTES = 400


def mutated(data, generator):
    """Other bytes than `data`, little or much."""
    data = bytearray(data)
    place = int(generator.integers(len(data)))
    # A header is a small part of a file, and where the lengths are.
    place = place if generator.random() < 0.5 else int(generator.integers(min(len(data), 64)))
    length = int(generator.integers(1, 9))
    kind = generator.integers(6)
    if kind == 0:
        del data[place:]
    elif kind == 1:
        for bit in generator.integers(0, 8 * len(data), length):
            data[bit // 8] ^= 1 << bit % 8
    elif kind == 2:
        data[place] ^= 1 << int(generator.integers(8))
    elif kind == 3:
        data[place : place + length] = generator.choice([b"\xff", b"\x00", b"\x7f"]) * length
    elif kind == 4:
        del data[place : place + length]
    else:
        data[place:place] = generator.bytes(length)
    return bytes(data)


def encoded(seed, kind):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg(seed))).save(buffer, kind)
    return buffer.getvalue()


def records(folder):
    split = jpeg(6)[:2] + b"\xff\xfe\x00\x0a" + b"xx" + MAGIC + b"yy" + jpeg(6)[2:]
    payloads = [payload([9, 11], b"", 0), *(payload(n // 2, jpeg(n), n + 1) for n in range(6))]
    write_records(folder, [*payloads, payload([2, 0.5], split, 7), payload(2, jpeg(7), 8)])
    (folder / "property").write_text("3,24,24\n")


def records_alone(folder):
    records(folder)
    (folder / "train.idx").unlink()


def shards(folder):
    records(folder / "source")
    keras_margin.data.prepare(folder / "source", folder / "shards", shards=2)
    shutil.rmtree(folder / "source")
    for path in (folder / "shards").iterdir():
        path.rename(folder / path.name)
    (folder / "shards").rmdir()


def identities(folder):
    for person in range(3):
        (folder / str(person)).mkdir()
        (folder / str(person) / "0.jpg").write_bytes(jpeg(person))
        (folder / str(person) / "1.png").write_bytes(encoded(person, "PNG"))
        (folder / str(person) / "2.bmp").write_bytes(encoded(person, "BMP"))


def verification(folder):
    write_bin(folder / "a.bin", [jpeg(n) for n in range(4)], [True, False])


# Name: (what writes the set, the file to change).
SETS = {
    "a .rec with its .idx": (records, "train.rec"),
    "a .rec alone": (records_alone, "train.rec"),
    "an .idx": (records, "train.idx"),
    "a property": (records, "property"),
    "a shard": (shards, "images-00000-of-00002.tfrecord"),
    "a shard's table": (shards, "images-00000-of-00002.npy"),
    "an index.json": (shards, "index.json"),
    "a JPEG": (identities, "1/0.jpg"),
    "a PNG": (identities, "1/1.png"),
    "a BMP": (identities, "1/2.bmp"),
    "a .bin": (verification, "a.bin"),
}


def outcome_of(folder, file):
    """What opening the set and loading all of its images comes to, in a word; anything undefined is raised."""
    try:
        if file.endswith(".bin"):
            images, is_same = keras_margin.data.load_bin(folder / file)
            assert images.shape[1:] == (24, 24, 3) and len(images) == 2 * len(is_same)
            return "read"
        reader = keras_margin.data.open(folder, image_size=(24, 24))
        images, numbers = reader._load_carefully(np.arange(reader.num_images))
        assert images.shape == (reader.num_images, 24, 24, 3)
        assert reader.labels.min() >= 0 and reader.labels.max() < reader.num_classes
        assert len(set(numbers.tolist())) == reader.num_images - len(reader.replaced)
    except (ValueError, OSError) as error:
        assert str(folder) in str(error), f"no file is named: {error!r}"
        return "refused"
    if reader.unreadable:
        return "left out"
    return "replaced" if reader.replaced else "read"


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_whatever_happened_to_a_file_ends_in_words(tmp_path, name):
    """Reads a damaged file, or refuses it in words."""
    make, file = SETS[name]
    make(tmp_path)
    path = tmp_path / file
    sound = path.read_bytes()
    assert outcome_of(tmp_path, file) == "read"
    logging.getLogger("keras_margin.data").setLevel(logging.ERROR)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {}
    try:
        for seed in range(MUTATIONS):
            path.write_bytes(mutated(sound, np.random.default_rng(seed)))
            started = time.monotonic()
            try:
                outcome = outcome_of(tmp_path, file)
            except BaseException as error:
                raise AssertionError(f"mutation {seed} of {name} ends in {error!r}") from error
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            assert time.monotonic() - started < SECONDS, f"mutation {seed} of {name} takes too long"
    finally:
        logging.getLogger("keras_margin.data").setLevel(logging.NOTSET)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{name}: {outcomes}, {grown:.0f} MiB more at the peak")
    assert grown < MEBIBYTES
    assert set(outcomes) != {"read"}  # Mutations that never matter would test nothing.


def bomb(kind, height, width):
    """A small file that announces height x width pixels and whose header is in order."""
    data = bytearray(encoded(3, kind))
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "height", "width"),
    [("JPEG", 65_500, 65_500), ("JPEG", 20_000, 20_000), ("PNG", 20_000, 20_000), ("BMP", 20_000, -20_000)],
)
def test_a_bomb_is_left_unread_and_takes_no_memory(tmp_path, kind, height, width):
    """Leaves a decompression bomb unread wherever it is, without using memory."""
    data = bomb(kind, height, width)
    write_records(tmp_path, [payload(n % 2, jpeg(n), n) for n in range(5)] + [payload(1, data, 5)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableError, match=rf"it has {height:,} x {abs(width):,} pixels, more than 67,108,864"):
        decode(data)
    reader = keras_margin.data.open(tmp_path, image_size=(24, 24))
    images, _ = next(iter(reader.dataset(6)))
    assert images.shape == (6, 24, 24, 3) and len(reader.replaced) == 1
    write_bin(tmp_path / "a.bin", [jpeg(0), data], [True])
    with pytest.raises(ValueError, match=rf"a\.bin, image 1 \(it has {height:,} x"):
        keras_margin.data.load_bin(tmp_path / "a.bin")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 150


@pytest.mark.slow
def test_a_bomb_that_holds_what_it_announces_is_left_unread(tmp_path):
    """Leaves an image unread that really holds as many pixels as it announces."""
    packer, rows = zlib.compressobj(9), bytes(9000 + 1)
    body = b"".join([*(packer.compress(rows) for _ in range(9000)), packer.flush()])

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert len(data) < 100_000  # 81 million pixels.
    write_records(tmp_path, [payload(n % 2, jpeg(n), n) for n in range(5)] + [payload(1, data, 5)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = keras_margin.data.open(tmp_path, image_size=(24, 24))
    assert len(list(reader.dataset(6))) == 1 and len(reader.replaced) == 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100


def test_the_largest_image_has_8192_pixels_a_side():
    """Reads images of up to 8192 pixels a side, and none larger."""
    for sides, fits in (((8192, 8192), True), ((8192, 8193), False)):
        size = announced_size(bomb("PNG", *sides)).numpy().tolist()
        assert size == list(sides) and (size[0] * size[1] <= LARGEST_PIXELS) == fits


def test_dead_links_and_vanishing_folders_are_survived(tmp_path, monkeypatch, caplog):
    """Survives links to nothing or to themselves, and folders that vanish."""
    identities(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "0" / "self.jpg").symlink_to(tmp_path / "0" / "self.jpg")
    (tmp_path / "0" / "up").symlink_to(tmp_path)
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "gone").mkdir()
    listed = folder_format._entries

    def entries(directory):
        if directory.endswith("gone"):
            os.rmdir(directory)
        return listed(directory)

    monkeypatch.setattr(folder_format, "_entries", entries)
    reader = keras_margin.data.open(tmp_path)
    assert reader.label_names == ("0", "1", "2") and reader.num_images == 9
    assert reader.unreadable == (str(tmp_path / "0" / "self.jpg"),)
    assert "gone cannot be listed: No such file" in caplog.text


NAMES = ["Ünïcödé", "彼女 の 写真", "Ольга", "إيمان", "a\tb", "quote\"'", "100% {x}", "-rf", "~", "🙂"]


@pytest.mark.slow
@pytest.mark.parametrize("made", ["folder", "shards"])
def test_names_in_any_script_come_through(tmp_path, made):
    """Reads names in any script."""
    names = [*NAMES, os.fsdecode(b"\xff\xfe latin-1 \xe9")]
    for number, name in enumerate(names):
        (tmp_path / "faces" / name).mkdir(parents=True)
        (tmp_path / "faces" / name / f"{name} {number}.jpg").write_bytes(jpeg(number))
    root = tmp_path / "faces"
    if made == "shards":
        keras_margin.data.prepare(root, tmp_path / "shards", shards=2)
        root = tmp_path / "shards"
    reader = keras_margin.data.open(root, image_size=(24, 24))
    assert sorted(reader.label_names) == sorted(names)
    images, labels = reader.arrays()
    assert not reader.replaced
    for image, label in zip(images, labels, strict=True):
        wanted = decode(jpeg(names.index(reader.label_names[label])))
        np.testing.assert_array_equal(image, wanted)
