"""TFRecord shards, as `keras_margin.data.prepare` writes them: every reader of TFRecord reads them, this one at random.

A record is a tf.train.Example of `image` (bytes of a JPEG, PNG or BMP file) and `label` (int64). Next to each shard a
.npy lists where its images are, with checksums; index.json has the counts, the names and the checksums of the files.
"""

import json
import operator
import os
import zlib
from typing import Any

import numpy as np

from keras_margin._typing import PathLike, Size
from keras_margin.data import _shards
from keras_margin.data._arguments import check_image_size
from keras_margin.data._encoded import UnreadableError, leave_out
from keras_margin.data._labels import renumbered
from keras_margin.data._ranges import RangeFile, RangeReader

_RANGE = np.dtype([("file", "<u2"), *((name, _shards.RANGE[name]) for name in ("start", "size", "crc"))])
_LAYOUT = "A TFRecord set is a folder that keras_margin.data.prepare wrote: index.json, and .tfrecord and .npy files."


class TFRecordReader(RangeReader):
    """A reader of TFRecord shards, in the order of their bytes. Made by `keras_margin.data.open`.

    Attributes:
        unreadable, replaced: See `EncodedReader`; the names are the file and the byte in it.
    """

    def _read(self, file: RangeFile, place: Any) -> bytes:
        data = file.read(int(place["start"]), int(place["size"]))
        if zlib.crc32(data) != place["crc"]:
            raise UnreadableError("its bytes are not those that were written, by their checksum")
        return data


def recognizes(path: Any) -> bool:
    """Whether `keras_margin.data.open(path)` means TFRecord shards: a folder with an index.json or a .tfrecord."""
    if path is None or not os.path.isdir(path):
        return False
    names = os.listdir(os.fsdecode(path))
    return _shards.INDEX in names or any(name.endswith(".tfrecord") for name in names)


def open_reader(path: PathLike, image_size: Size | None = None, strict: bool = False) -> TFRecordReader:
    """Opens TFRecord shards. See `keras_margin.data.open`, which calls this.

    The files' sizes and the checksums of the .npy files are compared with index.json; an image's checksum is when it
    is read.

    Args:
        path: The folder.
        image_size: (height, width); None is that of the set which was prepared. Images of another size are resized.
        strict: Whether to refuse what is otherwise left out or replaced with a warning.

    Returns:
        TFRecordReader.

    Raises:
        FileNotFoundError: If index.json or a file that it lists is missing.
        ValueError: If index.json or a .npy file is not what was written, if there are not readable images of at least
            two identities, or, if `strict`, a shard is cut short.
    """
    root = os.fsdecode(path)
    index = _read_index(os.path.join(root, _shards.INDEX))
    files, tables, unreadable = [], [], []
    for number, shard in enumerate(index["shards"]):
        file, table = _open_shard(root, shard)
        if file.size != shard["records"]["bytes"]:
            there = table["start"] + table["size"] <= file.size
            unreadable += [f"{file.path}, the image at byte {byte:,}" for byte in table["start"][~there].tolist()]
            leave_out(
                f"images of {file.path}",
                [f"it has {file.size:,} bytes, and had {shard['records']['bytes']:,}"],
                strict,
                int(np.count_nonzero(~there)),
            )
            table = table[there]
        files.append(file)
        tables.append((number, table))
    labels = np.concatenate([table["label"] for _, table in tables])
    ranges = np.empty(len(labels), _RANGE)
    done = 0
    for number, table in tables:
        rows = ranges[done : done + len(table)]
        rows["file"] = number
        for name in ("start", "size", "crc"):
            rows[name] = table[name]
        done += len(table)
    names = index["label_names"]
    if len(labels) + len(unreadable) != index["num_images"] or ((labels < 0) | (labels >= len(names))).any():
        raise ValueError(f"{root}: index.json and the .npy files are not of one set. {_LAYOUT}")
    labels, classes = renumbered(labels)
    if len(classes) < len(names):
        bare = [names[label] for label in np.setdiff1d(np.arange(len(names)), classes)]
        leave_out(f"identities of {root} without a readable image", bare, strict)
        names = [names[label] for label in classes]
    if len(names) < 2:
        raise ValueError(
            f"A TFRecord set needs readable images of at least 2 people. Received: {root}, with {len(labels):,} images "
            f"of {len(names)}. {_LAYOUT}"
        )
    size = check_image_size(index["image_size"] if image_size is None else image_size)
    return TFRecordReader(files, ranges, labels, names, size, strict, unreadable)


def _read_index(path: PathLike) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing, without which the shards are not read here. {_LAYOUT} A call of prepare() that did "
            "not end is finished by repeating it."
        ) from None
    try:
        index = json.loads(text)
        if index["format"] != _shards.FORMAT:
            raise ValueError(f"its format is {index['format']!r}")
        _check_index(index)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not an index that prepare() wrote: {error}. {_LAYOUT}") from None
    return index


def _check_index(index: Any) -> None:
    """Raises ValueError, KeyError or TypeError unless all that is used of an index is there and of its type."""
    names = index["label_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("label_names are not a list of names")
    if check_image_size(index["image_size"]) is None:
        raise ValueError("it has no image_size")
    operator.index(index["num_images"])
    if not isinstance(index["shards"], list) or not index["shards"]:
        raise ValueError("shards are not a list of files")
    for shard in index["shards"]:
        operator.index(shard["num_images"])
        for file in (shard["records"], shard["ranges"]):
            operator.index(file["bytes"])
            if not isinstance(file["sha256"], str) or os.path.basename(file["file"]) != file["file"]:
                raise ValueError(f"{file['file']!r} is not a name of a file next to it")


def _open_shard(root: str, shard: dict[str, Any]) -> tuple[RangeFile, np.ndarray]:
    """(RangeFile, table of its images)."""
    records, ranges = (os.path.join(root, shard[kind]["file"]) for kind in ("records", "ranges"))
    for path in (records, ranges):
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"{path} is missing, which index.json lists. Copy it again, or prepare() the set again."
            )
    if os.path.getsize(ranges) != shard["ranges"]["bytes"] or _shards.sha256_of(ranges) != shard["ranges"]["sha256"]:
        raise ValueError(f"{ranges} is not the file that was written, by its size or checksum. Copy it again.")
    with open(ranges, "rb") as file:
        table = np.load(file, allow_pickle=False)
    if table.dtype != _shards.RANGE or table.shape != (shard["num_images"],):
        raise ValueError(f"{ranges} is not the table of {records}. {_LAYOUT}")
    return RangeFile(records), table
