"""Writing a set as TFRecord shards: streamed, globally shuffled, resumed where it was killed, renamed when whole."""

import concurrent.futures
import hashlib
import json
import logging
import operator
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_margin._typing import PathLike
from keras_margin._utils.progress import Progress
from keras_margin.data._encoded import UnreadableError, leave_out
from keras_margin.data.reader import LabelledImages

FORMAT = "keras-margin TFRecord set, version 1"
INDEX = "index.json"
# A row of a shard's .npy: where the image's own bytes are in the shard, their zlib.crc32, and the label.
RANGE = np.dtype([("start", "<i8"), ("size", "<u4"), ("crc", "<u4"), ("label", "<i4")])

# TFRecord's frame: u64 length, u32 checksum of it, the record, u32 checksum of that.
_BEFORE, _AFTER = 12, 4
_BLOCK = 256
_LARGEST_SHARDS = 1000

_logger = logging.getLogger("keras_margin.data")


def write(reader: LabelledImages, out: PathLike, shards: int, seed: int, strict: bool) -> None:
    """Writes what `keras_margin.data.prepare` says."""
    shards, seed = operator.index(shards), operator.index(seed)
    largest = min(_LARGEST_SHARDS, reader.num_images)
    if not 1 <= shards <= largest:
        raise ValueError(f"prepare() needs shards in [1, {largest}]. Received: shards={shards}.")
    if seed < 0:
        raise ValueError(f"prepare() needs a seed >= 0. Received: seed={seed}.")
    out = pathlib.Path(os.path.abspath(os.fsdecode(out)))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already. Remove it, or choose another name.")
    partial = out.parent / f".{out.name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    _check_plan(partial, reader, shards, seed)
    order = np.random.default_rng(seed).permutation(reader.num_images)
    progress = Progress("Wrote", "images", reader.num_images)
    notes, done = [], 0
    for number, numbers in enumerate(np.array_split(order, shards)):
        name = f"images-{number:05}-of-{shards:05}"
        notes.append(_finished(partial, name) or _write_shard(partial, name, reader, numbers, progress, done))
        done += len(numbers)
    skipped = [words for note in notes for words in note.pop("skipped")]
    if skipped:
        leave_out("images that cannot be read", skipped, strict)
    _write_json(partial / INDEX, _index(reader, seed, notes, len(skipped)))
    for leftover in [partial / "plan.json", *partial.glob("*.note")]:
        leftover.unlink()
    if out.is_dir():
        out.rmdir()
    os.replace(partial, out)


def _check_plan(partial: pathlib.Path, reader: LabelledImages, shards: int, seed: int) -> None:
    """Makes sure that what an earlier, unfinished call left there is of this call."""
    ends = [reader.name_of(0), reader.name_of(reader.num_images - 1)]
    plan = {
        "shards": shards,
        "seed": seed,
        "labels": hashlib.sha256(reader.labels.data).hexdigest(),
        "first_and_last": ends,
    }
    path = partial / "plan.json"
    if not path.exists():
        _write_json(path, plan)
        return
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if found != plan:
        raise ValueError(
            f"{partial} was left by a call of prepare() with other data, shards or seed. Remove it to begin again, or "
            "repeat that call to finish it."
        )
    _logger.info("Going on with %s.", partial)


def _finished(partial: pathlib.Path, name: str) -> dict[str, Any] | None:
    """The note of a shard that is there as a whole, or None."""
    try:
        note = json.loads((partial / f"{name}.note").read_bytes())
        whole = all(
            os.path.getsize(partial / file["file"]) == file["bytes"] for file in (note["records"], note["ranges"])
        )
    except (OSError, ValueError):
        return None
    return note if whole else None


def _write_shard(partial, name, reader, numbers, progress, done):
    import tensorflow as tf

    ranges, skipped, at = np.empty(len(numbers), RANGE), [], 0
    count = 0
    records = partial / f"{name}.tfrecord"
    with tf.io.TFRecordWriter(f"{records}.tmp") as writer:
        for start in range(0, len(numbers), _BLOCK):
            for number, image in _read_some(reader, numbers[start : start + _BLOCK]):
                if isinstance(image, UnreadableError):
                    skipped.append(f"{reader.name_of(number)} ({image})")
                    continue
                record = _example(image, reader.labels[number])
                writer.write(record)
                # Where the image's bytes are in the record: any place where they are will do.
                place = at + _BEFORE + record.index(image)
                ranges[count] = place, len(image), zlib.crc32(image), reader.labels[number]
                at += _BEFORE + len(record) + _AFTER
                count += 1
            progress.at(done + start)
    os.replace(f"{records}.tmp", records)
    table = partial / f"{name}.npy"
    with open(f"{table}.tmp", "wb") as file:
        np.save(file, ranges[:count])
    os.replace(f"{table}.tmp", table)
    note = {"num_images": count, "records": _described(records), "ranges": _described(table), "skipped": skipped}
    _write_json(partial / f"{name}.note", note)
    return note


def _read_some(reader: LabelledImages, numbers: np.ndarray) -> Iterator[tuple[np.integer, bytes | UnreadableError]]:
    """Yields (number, bytes or UnreadableError), in order; several are read at once."""

    def read(number):
        try:
            return reader.encoded(number)
        except UnreadableError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        yield from zip(numbers, executor.map(read, numbers), strict=True)


def _example(image: bytes, label: int) -> bytes:
    import tensorflow as tf

    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _described(path: pathlib.Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def sha256_of(path: PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _index(reader: LabelledImages, seed: int, notes: list[dict[str, Any]], num_skipped: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "features": {"image": "bytes, a JPEG, PNG or BMP file", "label": "int64, in [0, num_classes)"},
        "num_images": sum(note["num_images"] for note in notes),
        "num_skipped": num_skipped,
        "num_classes": reader.num_classes,
        "image_size": list(reader.image_size),
        "seed": seed,
        "shards": notes,
        "label_names": list(reader.label_names),
    }


def _write_json(path: pathlib.Path, value: Any) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        data = json.dumps(value, indent=1, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # A name holds bytes that are not characters, which JSON has an escape for.
        data = json.dumps(value, indent=1).encode()
    temporary.write_bytes(data + b"\n")
    os.replace(temporary, path)
