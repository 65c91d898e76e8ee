"""Which images an MXNet RecordIO file holds, where, and of which classes: from its .idx, and from every header."""

import dataclasses
import hashlib
import logging
import os
import zipfile

import numpy as np

from keras_margin._utils import files
from keras_margin.data import _record_frames as frames
from keras_margin.data._encoded import UnreadableError

# A row of `ranges`. An image of size 0 is in a split record, which starts there.
RANGE = np.dtype([("start", "<i8"), ("size", "<u4")])

# Fewer headers are read again faster than a user would notice.
_WORTH_KEEPING = 100_000

# So many damaged records are borne with in any case.
_FEW = 1000

_logger = logging.getLogger("keras_margin.data")


@dataclasses.dataclass
class RecordIndex:
    """The images of a .rec file, in the order of their bytes.

    Attributes:
        ranges: Structured array (n,) of dtype RANGE.
        ids: int32 array (n,), class ids as they are in the file; gaps are allowed.
        damaged: List of (byte, reason), the records that are not images and should be.
        announced: How many images record 0 says there are, or None.
        unused: (byte, number): the first byte of those between records that belong to none of them, and how many.
    """

    ranges: np.ndarray
    ids: np.ndarray
    damaged: list = dataclasses.field(default_factory=list)
    announced: int | None = None
    unused: tuple[int, int] = (0, 0)


def read(rec_path: str, idx_path: str) -> RecordIndex:
    """Reads the headers of all records, or what an earlier call kept of them.

    A large set's headers are spread over all of its bytes: reading them takes as long as the disk takes for the
    whole file. So they are kept in a file `.headers.npz` next to it, or where that cannot be written in the folder
    KERAS_MARGIN_CACHE, by default `~/.cache/keras-margin`. It is used while both files have the size and time that it
    notes, and may be removed at any time.

    Args:
        rec_path: The .rec file.
        idx_path: The .idx file, which may be missing.

    Returns:
        RecordIndex.
    """
    stamp = _stamp(rec_path, idx_path)
    caches = _caches(rec_path)
    index = next(filter(None, (_kept(cache, stamp) for cache in caches)), None)
    if index is None:
        index = _read(rec_path, idx_path)
        if len(index.ids) >= _WORTH_KEEPING and not index.damaged and not index.unused[1]:
            any(_keep(cache, stamp, index) for cache in caches)
    return index


def _caches(rec_path: str) -> tuple[str, str]:
    """Where headers may be kept, the best place first."""
    real = os.path.realpath(rec_path)
    beside = os.path.splitext(rec_path)[0] + ".headers.npz"
    # Two sets of one name must not share a file: the whole path is in it.
    name = f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.headers.npz"
    elsewhere = os.environ.get("KERAS_MARGIN_CACHE") or os.path.expanduser("~/.cache/keras-margin")
    return beside, os.path.join(elsewhere, name)


def _read(rec_path: str, idx_path: str) -> RecordIndex:
    file = frames.Words(rec_path)
    try:
        offsets = frames.read_offsets(idx_path)
        if not len(offsets) and file.size:
            raise UnreadableError("it is empty")
        return _judge(file, offsets)
    except FileNotFoundError:
        _logger.warning("%s is not there: the records are found by scanning %s.", idx_path, rec_path)
    except (UnreadableError, OSError) as error:
        _logger.warning("%s is not the index of %s (%s): the records are found by scanning.", idx_path, rec_path, error)
    offsets, broken = frames.scan(file)
    index = _judge(file, offsets)
    index.damaged += [(int(byte), "the record does not end where it says") for byte in broken]
    return index


def _judge(file: frames.Words, offsets: np.ndarray) -> RecordIndex:
    """The index of the records at these offsets."""
    ranges, ids = np.empty(len(offsets), RANGE), np.empty(len(offsets), np.int32)
    index = RecordIndex(ranges, ids)
    count = done = 0
    for heads in frames.read_heads(file, offsets):
        done += len(heads.offset)
        following = np.append(heads.offset[1:], offsets[done] if done < len(offsets) else file.size)
        start, size, label, keep = _judge_some(file, heads, following, index)
        new = slice(count, count + int(np.count_nonzero(keep)))
        ranges["start"][new], ranges["size"][new], ids[new] = start[keep], size[keep], label[keep]
        count = new.stop
        if len(index.damaged) > max(_FEW, done / 2):
            byte, reason = index.damaged[0]
            raise ValueError(
                f"At least half of the records must be images. Received: {file.path}, with {len(index.damaged):,} that "
                f"are none among the first {done:,}, such as the one at byte {byte:,} ({reason})."
            )
    index.ranges, index.ids = ranges[:count], ids[:count]
    return index


def _judge_some(file, heads, following, index):
    """Returns (start, size, label, whether it is an image) of each frame; notes the others in `index`."""
    header = frames.HEADER_SIZE + 4 * heads.flag
    start, size, label = heads.offset + 8 + header, heads.length - header, heads.label.copy()
    whole = heads.cflag == 0
    ends = frames.frame_ends(heads.offset, heads.length)
    is_image = whole & (size > 0)
    faults = {
        "the file ends inside it": whole & (heads.offset + 8 + heads.length > file.size),
        "it reaches into the next record": whole & (ends > np.maximum(following, heads.offset)),
        "it is too short for its header and labels": whole & (size < 0),
        "its image is not a JPEG, PNG or BMP file": is_image & ~_is_image(heads.begins),
        "its label is not a class id, an integer in [0, 2**24]": is_image & ~_is_class_id(label),
    }
    keep = is_image.copy()
    for reason, wrong in faults.items():
        wrong = wrong & (keep | ~is_image)  # One reason a record is enough.
        index.damaged += [(int(byte), reason) for byte in heads.offset[wrong]]
        keep &= ~wrong
    _note_the_rest(heads, whole & (size == 0) & (heads.key == 0) & (heads.flag > 0), ends, following, whole, index)
    for place in np.flatnonzero(~whole):
        try:
            label[place] = _check_split(file, int(heads.offset[place]))
        except UnreadableError as error:
            index.damaged.append((int(heads.offset[place]), str(error)))
        else:
            start[place], size[place], keep[place] = heads.offset[place], 0, True
    return start, size, label, keep


def _note_the_rest(heads, is_record_0, ends, following, whole, index):
    if is_record_0.any():
        # Its first label is the number of the first identity's record, which follows those of the images 1, 2 ...
        first = float(heads.label[is_record_0.argmax()])
        # From 2**24 on, float32 has no longer every integer.
        index.announced = int(first) - 1 if 1 <= first < 2**24 else None
    gaps = np.where(whole, following - ends, 0)
    if (gaps > 0).any():
        first, number = index.unused
        place = (gaps > 0).argmax()
        index.unused = (first if number else int(ends[place]), number + int(gaps[gaps > 0].sum()))


def _check_split(file, offset):
    """The label of a split record."""

    def read(start, size):
        if start + size > file.size:
            raise UnreadableError("the file ends inside it")
        return bytes(file.words.base[start : start + size])

    label, image, _ = frames.unpack(frames.join(read, offset))
    if not _is_image(np.frombuffer(image[:4].ljust(4, b"\0"), "<u4"))[0]:
        raise UnreadableError("its image is not a JPEG, PNG or BMP file")
    if not _is_class_id(np.float32([label]))[0]:
        raise UnreadableError("its label is not a class id, an integer in [0, 2**24]")
    return label


def _is_image(begins: np.ndarray) -> np.ndarray:
    """Whether four bytes, as a little-endian u32, are the beginning of a JPEG, PNG or BMP file."""
    return ((begins & 0xFFFFFF) == 0xFFD8FF) | (begins == 0x474E5089) | ((begins & 0xFFFF) == 0x4D42)


def _is_class_id(label: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (label >= 0) & (label <= frames.LARGEST_ID) & (label == np.floor(label))


def _stamp(rec_path: str, idx_path: str) -> np.ndarray:
    """Size and time of both files; zeros where there is none."""
    stats = [os.stat(path) if os.path.exists(path) else None for path in (rec_path, idx_path)]
    return np.array([(stat.st_size, stat.st_mtime_ns) if stat else (0, 0) for stat in stats], np.int64)


def _keep(cache: str, stamp: np.ndarray, index: RecordIndex) -> bool:
    """Writes what `_kept` reads; returns whether that was possible."""
    try:
        with files.atomic_write(cache) as temporary, open(temporary, "wb") as file:
            announced = -1 if index.announced is None else index.announced
            np.savez(file, stamp=stamp, ranges=index.ranges, ids=index.ids, announced=announced)
    except OSError as error:
        _logger.info("The headers are not kept there: %s", error)
        return False
    _logger.info("Kept the headers in %s.", cache)
    return True


def _kept(cache: str, stamp: np.ndarray) -> RecordIndex | None:
    """What `_keep` wrote for these very files, or None."""
    try:
        with open(cache, "rb") as file, np.load(file, allow_pickle=False) as kept:
            if not np.array_equal(kept["stamp"], stamp):
                return None
            ranges, ids, announced = kept["ranges"], kept["ids"], int(kept["announced"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    if ranges.dtype != RANGE or ids.dtype != np.int32 or ranges.shape != ids.shape or ids.ndim != 1:
        return None
    return RecordIndex(ranges, ids, announced=None if announced < 0 else announced)
