"""The frames of an MXNet RecordIO file: where they are, and what their headers say.

A frame is u32 magic, u32 (cflag << 29 | length), the payload, and zeros up to a multiple of 4. A payload that has the
magic at a multiple of 4 is split there into frames of cflag 1, 2 .. 2, 3, so that an aligned magic is always a frame's
beginning. The payload is `IfQQ` (flag, label, id, id2), then `flag` float32 labels, then the image. Little-endian.
"""

import mmap
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_margin._typing import PathLike
from keras_margin._utils.progress import Progress
from keras_margin.data._encoded import UnreadableError

MAGIC = 0xCED7230A
HEADER_SIZE = 24
# Class ids are float32, which holds every integer up to here.
LARGEST_ID = 2**24

_LENGTH_BITS = 29
_BLOCK = 1 << 15
_TEXT_BLOCK = 1 << 25
_SCAN_BLOCK = 1 << 24


class Heads(NamedTuple):
    """What frames say of themselves, an entry a frame.

    Attributes:
        offset: int64, of the frame.
        cflag: uint32; 0 for a whole record, 1 for the first part of a split one, whose other entries mean nothing.
        length: int64, bytes of the payload.
        flag: int64, how many float32 labels are behind the header; 0 where the one in the header counts.
        label: float32, the label that counts.
        key: uint32, the lower half of the header's id.
        begins: uint32, the first four bytes of the image, if there is one.
    """

    offset: np.ndarray
    cflag: np.ndarray
    length: np.ndarray
    flag: np.ndarray
    label: np.ndarray
    key: np.ndarray
    begins: np.ndarray


class Words:
    """A file as a memory map of 32-bit words, which is let go of as one reads on."""

    def __init__(self, path: PathLike) -> None:
        self.path = path
        with open(path, "rb") as file:
            self.size = file.seek(0, 2)
            self._map: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        self.words = np.frombuffer(self._map, "<u4", count=self.size // 4)

    def forget(self) -> None:
        """Takes what was read out of this process's memory; the system keeps it as long as it likes."""
        if hasattr(mmap, "MADV_DONTNEED") and self.size:
            self._map.madvise(mmap.MADV_DONTNEED)


def read_offsets(path: PathLike) -> np.ndarray:
    """The offsets that an .idx file lists, `key<TAB>offset` a line; the keys are not needed.

    Args:
        path: The file.

    Returns:
        int64 array, ascending, without repetition.

    Raises:
        UnreadableError: If it is not such a file; gives the byte up to which it was.
    """
    parts, done = [np.empty(0, np.int64)], 0
    with open(path, "rb") as file:
        rest = b""
        while block := file.read(_TEXT_BLOCK):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            if not cut and len(block) >= _TEXT_BLOCK:
                raise UnreadableError(f"no line ends after byte {done:,}")
            parts.append(_offsets_in(block[:cut], done))
            rest, done = block[cut:], done + cut
        parts.append(_offsets_in(rest + b"\n" if rest.strip() else b"", done))
    offsets = np.concatenate(parts)
    ascending = offsets[1:] > offsets[:-1]
    if not ascending.all():
        offsets.sort()
        offsets = offsets[np.append(True, offsets[1:] > offsets[:-1])]
    return offsets


def _offsets_in(text: bytes, done: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # What NumPy 1 makes of a text that is not numbers.
        try:
            numbers = np.fromstring(text, np.int64, sep=" ") if text else np.empty(0, np.int64)
        except (ValueError, DeprecationWarning):
            numbers = None
    if numbers is None or len(numbers) != 2 * text.count(b"\n") or (numbers < 0).any():
        raise UnreadableError(f"the lines from byte {done:,} on are not all `key<TAB>offset`")
    return numbers[1::2]


def scan(file: Words) -> tuple[np.ndarray, np.ndarray]:
    """The offsets of all frames that begin a record, found without an index.

    Every aligned magic is a candidate. One inside the payload of a frame that ends where another begins is none: a
    writer that does not split its payloads left it there. Where a frame does not end where another begins it is
    damaged itself, or the bytes behind it are, and the next candidate counts.

    Args:
        file: Words.

    Returns:
        (offsets, damaged): int64 arrays, of the records, and of the frames that do not end where they say.
    """
    candidates = np.concatenate([np.empty(0, np.int64), *_candidates(file)])
    keep = np.ones(len(candidates), bool)
    damaged = []
    skip_to = 0
    # In parts: whole columns of 17 million, and the pages that the frames are on, would take gigabytes.
    for start in range(0, len(candidates), _BLOCK):
        some, following = candidates[start : start + _BLOCK], candidates[start + 1 : start + _BLOCK + 1]
        heads = file.words[np.minimum(some // 4 + 1, len(file.words) - 1)]
        file.forget()
        keep[start : start + _BLOCK] &= (heads >> _LENGTH_BITS) <= 1
        ends = frame_ends(some, heads & (2**_LENGTH_BITS - 1))
        broken = ends != (following if len(following) == len(some) else np.append(following, file.size))
        # Only where the chain breaks does Python look: in a sound file nowhere.
        for place in start + np.flatnonzero(broken):
            if place < skip_to:
                continue
            end = ends[place - start]
            target = np.searchsorted(candidates, end)
            if end == (candidates[target] if target < len(candidates) else file.size):
                keep[place + 1 : target] = False
                skip_to = target
            else:
                keep[place] = False
                damaged.append(candidates[place])
    return candidates if keep.all() else candidates[keep], np.array(damaged, np.int64)


def _candidates(file: Words) -> Iterator[np.ndarray]:
    progress = Progress("Scanned", "bytes", file.size)
    for start in range(0, len(file.words), _SCAN_BLOCK):
        yield 4 * (start + np.flatnonzero(file.words[start : start + _SCAN_BLOCK] == MAGIC))
        file.forget()
        progress.at(4 * start)


def frame_ends(offsets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Where frames end: 8 bytes of head, the payload, and its padding to a multiple of 4."""
    return offsets + 8 + (lengths.astype(np.int64) + 3) // 4 * 4


def read_heads(file: Words, offsets: np.ndarray) -> Iterator[Heads]:
    """The heads of frames and the headers of their payloads, some at a time.

    Args:
        file: Words.
        offsets: int64 array, ascending; where records begin.

    Yields:
        Heads, in the order of `offsets`.

    Raises:
        UnreadableError: If no record begins at one of the offsets; gives the first.
    """
    progress = Progress("Read the headers of", "records", len(offsets))
    for start in range(0, len(offsets), _BLOCK):
        yield _read_some_heads(file, offsets[start : start + _BLOCK])
        file.forget()
        progress.at(start)


def _read_some_heads(file: Words, offsets: np.ndarray) -> Heads:
    words = file.words
    _require_none((offsets % 4 != 0) | (offsets + 8 > file.size), offsets)

    def word(at):
        return words[np.minimum(at, len(words) - 1)]  # What lies past the end is told by the length.

    first = offsets >> 2
    magic, head, flag, label, key = (word(first + column) for column in range(5))
    cflag = head >> _LENGTH_BITS
    _require_none((magic != MAGIC) | (cflag > 1), offsets)
    flag = flag.astype(np.int64)
    label = np.where(flag > 0, word(first + 8), label).view(np.float32)
    length = (head & (2**_LENGTH_BITS - 1)).astype(np.int64)
    return Heads(offsets, cflag, length, flag, label, key, word(first + 8 + flag))


def _require_none(wrong: np.ndarray, offsets: np.ndarray) -> None:
    if wrong.any():
        raise UnreadableError(f"no record begins at byte {int(offsets[wrong.argmax()]):,}")


def join(read: Callable[[int, int], bytes], offset: int) -> bytes:
    """The payload of a split record.

    Args:
        read: Function of (start, size) to bytes; raises UnreadableError.
        offset: Of its first frame.

    Returns:
        bytes: the parts, with the magic that was taken out between them.

    Raises:
        UnreadableError: If a part is missing.
    """
    parts, cflag = [], None
    while cflag != 3:
        magic, head = struct.unpack("<II", read(offset, 8))
        wanted = (1,) if cflag is None else (2, 3)
        cflag, length = head >> _LENGTH_BITS, head & (2**_LENGTH_BITS - 1)
        if magic != MAGIC or cflag not in wanted:
            raise UnreadableError(f"a part of a split record is missing at byte {offset:,}")
        parts.append(read(offset + 8, length))
        offset += 8 + (length + 3) // 4 * 4
    return struct.pack("<I", MAGIC).join(parts)


def unpack(payload: bytes) -> tuple[float, bytes, int]:
    """The payload of one record, taken apart.

    Returns:
        (label, image, key): float, bytes, and the header's id.

    Raises:
        UnreadableError: If it is too short for what its header says.
    """
    flag, label, key = struct.unpack_from("<IfQ", payload) if len(payload) >= HEADER_SIZE else (0, 0.0, 0)
    if len(payload) < HEADER_SIZE + 4 * flag:
        raise UnreadableError(f"its {len(payload):,} bytes do not hold its header and {flag:,} labels")
    if flag:
        (label,) = struct.unpack_from("<f", payload, HEADER_SIZE)
    return label, payload[HEADER_SIZE + 4 * flag :], key
