"""MXNet RecordIO, as insightface ships CASIA, MS1M and Glint360K: `train.rec`, `train.idx`, `property`. No mxnet."""

import logging
import os
from typing import Any

from keras_margin._typing import PathLike, Size
from keras_margin.data import _record_frames, _record_index
from keras_margin.data._arguments import check_image_size
from keras_margin.data._encoded import leave_out
from keras_margin.data._labels import renumbered
from keras_margin.data._ranges import RangeFile, RangeReader

DEFAULT_IMAGE_SIZE = (112, 112)

_LAYOUT = "A RecordIO set is a folder with train.rec, train.idx and property, or a .rec file by its name."

_logger = logging.getLogger("keras_margin.data")


class RecordIOReader(RangeReader):
    """A reader of the images in a .rec file, in the order of its bytes. Made by `keras_margin.data.open`.

    Attributes:
        unreadable, replaced: See `EncodedReader`; the names are the file and the byte in it.
    """

    def _read(self, file: RangeFile, place: Any) -> bytes:
        start, size = int(place["start"]), int(place["size"])
        if size:
            return file.read(start, size)
        return _record_frames.unpack(_record_frames.join(file.read, start))[1]


def recognizes(path: Any) -> bool:
    """Whether `keras_margin.data.open(path)` means a RecordIO set: a .rec file, or a folder with one or its .idx."""
    if path is None:
        return False
    path = os.fsdecode(path)
    if os.path.isdir(path):
        return any(_is_part(name) for name in os.listdir(path))
    return path.endswith(".rec") and os.path.lexists(path)


def open_reader(path: PathLike, image_size: Size | None = None, strict: bool = False) -> RecordIOReader:
    """Opens a RecordIO set. See `keras_margin.data.open`, which calls this.

    Every record's own label counts; what record 0 says of identities is not used, because its float32 numbers are
    rounded in sets of more than 2**24 images. A record without an image (record 0, and those of identities) is none
    of the images. Labels behind the header (flag > 0) give their first. The class ids that occur are numbered
    0 .. num_classes - 1 in their order; `label_names` has the ids.

    Args:
        path: A folder, or a .rec file; its .idx has the same name, and is replaced by a scan if it is missing or wrong.
        image_size: (height, width); None is what `property` says, or (112, 112). Images of another size are resized.
        strict: Whether to refuse what is otherwise left out with a warning.

    Returns:
        RecordIOReader.

    Raises:
        FileNotFoundError: If the folder has no .rec file.
        ValueError: If it has several and none is train.rec, if `property` is not one, if there are not images of at
            least two identities, or, if `strict`, for anything that would be left out.
    """
    rec_path = _rec_path(os.fsdecode(path))
    idx_path = os.path.splitext(rec_path)[0] + ".idx"
    announced_classes, size = _read_property(os.path.join(os.path.dirname(rec_path), "property"))
    index = _record_index.read(rec_path, idx_path)
    unreadable = [f"{rec_path}, the record at byte {byte:,} ({reason})" for byte, reason in sorted(index.damaged)]
    if unreadable:
        leave_out("records that are not images", unreadable, strict)
    _compare(rec_path, idx_path, index, strict)
    labels, ids = renumbered(index.ids)
    names = [str(number) for number in ids]
    if len(names) < 2:
        raise ValueError(
            f"A RecordIO set needs images of at least 2 people. Received: {rec_path}, with {len(labels):,} images of "
            f"{len(names)}. {_LAYOUT}"
        )
    if announced_classes not in (None, len(names)):
        # Not a fault by itself: RecBuilder counts ids that no image has.
        _logger.warning(
            "The property next to %s says %s classes; it has images of %s.",
            rec_path,
            f"{announced_classes:,}",
            f"{len(names):,}",
        )
    image_size = check_image_size(image_size) or size or DEFAULT_IMAGE_SIZE
    return RecordIOReader([RangeFile(rec_path)], index.ranges, labels, names, image_size, strict, unreadable)


def _is_part(name: str) -> bool:
    return name.endswith((".rec", ".idx")) and not name.startswith(".")


def _rec_path(path: str) -> str:
    if not os.path.isdir(path):
        return path
    parts = sorted(name for name in os.listdir(path) if _is_part(name))
    recs = [name for name in parts if name.endswith(".rec")]
    if "train.rec" in recs:
        recs = ["train.rec"]
    if not recs:
        raise FileNotFoundError(
            f"{path} has {parts[0]} and no .rec file, which holds the images. Put {parts[0][:-4]}.rec next to it. "
            f"{_LAYOUT}"
        )
    if len(recs) > 1:
        raise ValueError(
            f"One set is opened at a time. Received: {path}, with {', '.join(recs)}. Pass one of them, such as "
            f"{os.path.join(path, recs[0])}."
        )
    return os.path.join(path, recs[0])


def _read_property(path: PathLike) -> tuple[int | None, Size | None]:
    """(num_classes, (height, width)) out of a file `num_classes,height,width`, or (None, None) without it."""
    try:
        with open(path, "rb") as file:
            text = file.read(200)
    except FileNotFoundError:
        return None, None
    try:
        num_classes, height, width = (int(number) for number in text.split(b"\n")[0].split(b","))
        size = check_image_size((height, width))
    except ValueError:
        num_classes = 0
    if num_classes < 1:
        raise ValueError(
            f"property holds num_classes,height,width, such as 10572,112,112. Received: {path}, which begins with "
            f"{text[:40]!r}. Correct it or remove it."
        )
    return num_classes, size


def _compare(rec_path: str, idx_path: str, index: _record_index.RecordIndex, strict: bool) -> None:
    """Says what the parts of a set say differently."""
    start, number = index.unused
    if number:
        leave_out(
            f"bytes of {rec_path} that are in no record",
            [f"from byte {start:,} on. If {idx_path} is not a choice of records, remove it: it is then made up for"],
            strict,
            count=number,
        )
    if index.announced is not None and index.announced > len(index.ids) + len(index.damaged):
        leave_out(
            "images that are missing",
            [f"record 0 of {rec_path} announces {index.announced:,}, {len(index.ids):,} are there"],
            strict,
            count=index.announced - len(index.ids) - len(index.damaged),
        )
