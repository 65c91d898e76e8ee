"""Which way up an image file is to be shown, by the EXIF tag that cameras write. Python and NumPy alone.

Every reader of image files asks here, so that a photograph is the same pixels wherever it is read.
"""

import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

UPRIGHT = 1

_TAG = 0x0112
_EXIF = b"Exif\0\0"
_PNG = b"\x89PNG\r\n\x1a\n"
# A directory of EXIF has a few dozen entries; a damaged count would have us read far beyond.
_MOST_ENTRIES = 1000
# Struct codes of the whole-number types that writers use for the tag: BYTE, SHORT, LONG.
_TYPES = {1: "B", 3: "H", 4: "I"}


def orientation(contents: bytes) -> int:
    """Returns the EXIF orientation of an image file.

    Args:
        contents: bytes, the whole file. EXIF is looked for in JPEG and PNG.

    Returns:
        Int in [1, 8], as EXIF numbers them; 1 is upright, and the answer for files without the tag, with a damaged
        one, or of another format.

    Example:
        >>> orientation(b"no image")
        1
    """
    return orientation_of(lambda start, size: contents[start : start + size])


def orientation_of(read: Callable[[int, int], bytes]) -> int:
    """Returns the EXIF orientation of an image file that is read in parts, as `orientation` does.

    Args:
        read: Function of (start, size) that returns these bytes, fewer at the end of the file.

    Returns:
        Int in [1, 8].
    """
    head = read(0, 8)
    try:
        if head[:2] == b"\xff\xd8":
            return _in_jpeg(read)
        if head == _PNG:
            return _in_png(read)
    except (struct.error, ValueError):  # The file ends early.
        pass
    return UPRIGHT


def orientation_of_file(file: BinaryIO, head: bytes = b"") -> int:
    """Returns the EXIF orientation of an open file, of which a few kilobytes are read.

    Args:
        file: Binary file that can seek; where it stands afterwards is not defined.
        head: Its first bytes, where they were read already.

    Returns:
        Int in [1, 8].
    """

    def read(start, size):
        if start + size <= len(head):
            return head[start : start + size]
        file.seek(start)
        return file.read(size)

    return orientation_of(read)


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image upright.

    Args:
        image: Array (height, width, ...), as it is stored.
        orientation: Int in [1, 8], from `orientation`.

    Returns:
        Array, a view of `image`: (height, width, ...) for an orientation up to 4, otherwise (width, height, ...).

    Example:
        >>> turn(np.array([[1, 2], [3, 4]]), 6).tolist()
        [[3, 1], [4, 2]]
    """
    transposed, down, across = parts(orientation)
    image = image.swapaxes(0, 1) if transposed else image
    return image[:: -1 if down else 1, :: -1 if across else 1]


def parts(orientation: Any) -> tuple[Any, Any, Any]:
    """Returns what turns an image of this orientation upright: (transpose, then flip rows, then flip columns).

    Args:
        orientation: Integer in [1, 8], or a tensor of one.

    Returns:
        Three bools, or tensors of them. By arithmetic alone, so that a graph can compute them.
    """
    number = orientation - 1
    return number >= 4, number // 2 % 2 == 1, (number + 1) // 2 % 2 == 1


def _in_jpeg(read):
    """EXIF is in one of the application segments that precede all others."""
    place = 2
    while True:
        marker, kind, size = struct.unpack(">BBH", read(place, 4))
        if marker != 0xFF or not (0xE0 <= kind <= 0xEF or kind in (0xFE, 0xFF)):
            return UPRIGHT
        if kind == 0xFF:  # A fill byte.
            place += 1
            continue
        if kind == 0xE1 and read(place + 4, 6) == _EXIF:
            return _in_tiff(read, place + 10, size - 8)
        place += 2 + size


def _in_png(read):
    place = 8
    while True:
        size, kind = struct.unpack(">I4s", read(place, 8))
        if kind == b"eXIf":
            prefix = 6 if read(place + 8, 6) == _EXIF else 0  # Some writers put it there, as in JPEG.
            return _in_tiff(read, place + 8 + prefix, size - prefix)
        if kind == b"IEND":
            return UPRIGHT
        place += 12 + size


def _in_tiff(read, start, size):
    """The tag in the first directory of the TIFF structure that EXIF is."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(read(start, 4))
    if order is None:
        return UPRIGHT
    (directory,) = struct.unpack(order + "I", read(start + 4, 4))
    (count,) = struct.unpack(order + "H", read(start + directory, 2))
    for entry in range(min(count, _MOST_ENTRIES)):
        place = directory + 2 + 12 * entry
        if place + 12 > size:
            return UPRIGHT
        tag, kind, number = struct.unpack(order + "HHI", read(start + place, 8))
        if tag == _TAG:
            code = _TYPES.get(kind)
            if code is None or number != 1:
                return UPRIGHT
            (value,) = struct.unpack_from(order + code, read(start + place + 8, 4))
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
