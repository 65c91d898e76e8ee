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
import time

import numpy as np
import pytest
from PIL import Image
from records import MAGIC, jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import write_bin

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
