"""A folder of identities: `root/identity/*.jpg`, the layout of CASIA-WebFace and most face sets."""

import collections
import concurrent.futures
import itertools
import logging
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

from keras_margin._typing import PathLike, Size, Tensor
from keras_margin._utils import exif
from keras_margin._utils.progress import Progress
from keras_margin.data import _contents
from keras_margin.data._arguments import check_image_size
from keras_margin.data._encoded import EncodedReader, UnreadableError, decode, leave_out

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png")
DEFAULT_IMAGE_SIZE = (112, 112)

_LAYOUT = "The layout is root/identity/image.jpg: one directory per person."
_MAX_NAMED = 20

# Bytes that are read of every file: most JPEG files have their whole header, EXIF too, in one page of the disk's cache.
_HEAD = 4096

_logger = logging.getLogger("keras_margin.data")


class FolderReader(EncodedReader):
    """A reader of image files, one an image. Made by `keras_margin.data.open`.

    Attributes:
        paths: Tuple of str, the file of every image, in the order of `labels`.
        unreadable, replaced: See `EncodedReader`; the names are paths.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray | Sequence[int],
        label_names: Sequence[str],
        image_size: Size,
        strict: bool = False,
        unreadable: Sequence[str] = (),
        orientations: np.ndarray | None = None,
    ) -> None:
        super().__init__(labels, label_names, image_size, strict, unreadable, orientations)
        self.paths = tuple(paths)

    def name_of(self, number: int) -> str:
        return self.paths[number]

    def encoded(self, number: int) -> bytes:
        return _read(self.paths[number])

    def _handles(self) -> Callable[[Tensor], Tensor]:
        import tensorflow as tf

        paths = tf.constant([os.fsencode(path) for path in self.paths])
        return lambda numbers: tf.gather(paths, numbers)

    def _contents(self, handle: Tensor) -> Tensor:
        import tensorflow as tf

        return tf.io.read_file(handle)

    def _select(self, indices: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> "FolderReader":
        paths = [self.paths[i] for i in indices]
        orientations = None if self._orientations is None else self._orientations[indices]
        return type(self)(paths, labels, label_names, self.image_size, self._strict, orientations=orientations)


def recognizes(path: Any) -> bool:
    """Whether `keras_margin.data.open(path)` means a folder of identities."""
    return path is not None and os.path.isdir(path)


def open_reader(path: PathLike, image_size: Size | None = None, strict: bool = False) -> FolderReader:
    """Opens a folder of identities. See `keras_margin.data.open`, which calls this for directories.

    Args:
        path: The root directory.
        image_size: (height, width); None is (112, 112). Images of another size are resized to it.
        strict: Whether to refuse what is otherwise left out with a warning.

    Returns:
        FolderReader.

    Raises:
        ValueError: If there are not at least two identities with a readable image, or, if `strict`, for anything
            that would be left out.
    """
    root = os.fsdecode(path)
    image_size = check_image_size(image_size) or DEFAULT_IMAGE_SIZE
    identities, stray = _list_identities(root)
    _check_layout(root, identities, stray)
    if stray:
        leave_out(f"images directly in {root}, which belong to no identity", stray, strict)

    paths = [path for files in identities.values() for path in files]
    bad, turned = _check_files(paths, strict)
    if bad:
        leave_out("images that cannot be read", [f"{path} ({reason})" for path, reason in bad.items()], strict)
    identities = {name: [path for path in files if path not in bad] for name, files in identities.items()}
    bare = [name for name, files in identities.items() if not files]
    if bare:
        leave_out(f"identities of {root} without a readable image {_listed_extensions()}", bare, strict)
    identities = {name: files for name, files in identities.items() if files}
    if len(identities) < 2:
        raise ValueError(
            f"A folder of identities needs images of at least 2 people. Received: {root}, with readable images of "
            f"{len(identities)}: {', '.join(identities) or 'nobody'}. {_LAYOUT}"
        )

    labels = [label for label, files in enumerate(identities.values()) for _ in files]
    paths = [path for files in identities.values() for path in files]
    orientations = np.array([turned.get(path, exif.UPRIGHT) for path in paths], np.uint8) if turned else None
    return FolderReader(paths, labels, tuple(identities), image_size, strict, tuple(bad), orientations)


def _list_identities(root: str) -> tuple[dict[str, list[str]], list[str]]:
    """Returns ({identity: [path]}, [path of an image directly in root]), by name; hidden entries do not count."""
    directories, stray = [], []
    for entry in _entries(root):
        if _is_directory(entry):
            directories.append(entry)
        elif _is_image(entry.name):
            stray.append(entry.path)
    identities: dict[str, list[str]] = {}
    others: collections.Counter[str] = collections.Counter()
    for directory in directories:
        identities[directory.name] = files = []
        try:
            entries = _entries(directory.path)
        except OSError as error:  # It went while its neighbours were listed, or may not be looked into.
            _logger.warning("%s cannot be listed: %s.", directory.path, error.strerror or error)
            continue
        for entry in entries:
            if _is_image(entry.name) and not _is_directory(entry):
                files.append(entry.path)
            else:
                others[os.path.splitext(entry.name)[1].lower() or "no extension"] += 1
    if others:
        kinds = ", ".join(f"{kind} ({count:,})" for kind, count in others.most_common(_MAX_NAMED))
        _logger.warning("Entries of %s that are not images %s are ignored: %s.", root, _listed_extensions(), kinds)
    return identities, stray


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _listed_extensions() -> str:
    return "(*" + ", *".join(EXTENSIONS) + ")"


def _check_layout(root: str, identities: dict[str, list[str]], stray: Sequence[str]) -> None:
    if any(identities.values()):
        return
    if stray:
        raise ValueError(
            f"A folder of identities has its images one level down. Received: {root}, with {len(stray):,} images "
            f"directly in it, such as {os.path.basename(stray[0])}, and none in its directories. {_LAYOUT}"
        )
    found, hint = _contents.described(root)
    if found is None and not identities:
        raise ValueError(f"A folder of identities needs images. Received: {root}, which is empty. {_LAYOUT}")
    inside = (os.path.join(root, name) for name in identities)
    deeper = next((path for path in inside if any(_list_identities(path)[0].values())), None)
    if deeper:
        hint = f"Did you mean {deeper}?"
    raise ValueError(
        f"A folder of identities needs images {_listed_extensions()}. Received: {root}, with {len(identities):,} "
        f"directories and no image in them. Its files: {found or 'none'}. {hint or _LAYOUT}"
    )


def _check_files(paths: Sequence[str], strict: bool) -> tuple[dict[str, str], dict[str, int]]:
    """Looks at every file; logs the progress.

    The files' first and last bytes are looked at, and a file is decoded only if those leave a doubt.

    Returns:
        ({path: reason} of the unreadable files, the first only if `strict`; {path: EXIF orientation} of the files that
        are not upright).
    """
    bad: dict[str, str] = {}
    turned: dict[str, int] = {}
    progress = Progress("Checked", "images", len(paths))
    # Threads do not hurt on a local disk, and on a network's they hide its latency, which would else add up to hours.
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        for start in range(0, len(paths), 4096):
            chunk = paths[start : start + 4096]
            parts = (chunk[first : first + 512] for first in range(0, len(chunk), 512))
            for path, reason, orientation in itertools.chain.from_iterable(executor.map(_check_some, parts)):
                if reason is not None:
                    bad[path] = reason
                    if strict:
                        return bad, turned
                else:
                    turned[path] = orientation
            progress.at(start + len(chunk))
    return bad, turned


def _check_some(paths: Sequence[str]) -> list[tuple[str, str | None, int]]:
    """[(path, reason or None, orientation)] of the files that are unreadable or not upright."""
    checks = ((path, *_check_file(path)) for path in paths)
    return [(path, reason, turned) for path, reason, turned in checks if reason or turned != exif.UPRIGHT]


def _check_file(path: str) -> tuple[str | None, int]:
    """(why an image file cannot be read, or None; its EXIF orientation)."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            size = file.seek(0, os.SEEK_END)
            file.seek(-min(size, 64), os.SEEK_END)
            tail = file.read(64)
            if head.startswith(b"BM"):
                return _bmp_reason(head, size, file), exif.UPRIGHT
            orientation = exif.orientation_of_file(file, head)
    except OSError as error:
        return error.strerror or str(error), exif.UPRIGHT
    if not head:
        return "the file is empty", exif.UPRIGHT
    if head.startswith(b"\xff\xd8\xff"):
        complete = tail.rstrip(b"\0").endswith(b"\xff\xd9")
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        complete = tail.endswith(b"IEND\xaeB\x60\x82")
    else:
        return f"not a JPEG, PNG or BMP file: it begins with {head[:8]!r}", exif.UPRIGHT
    return None if complete else _decoding_error(path), orientation


def _bmp_reason(head: bytes, size: int, file: BinaryIO) -> str | None:
    """Why a BMP file cannot be read, or None. TensorFlow ignores palettes, masks and compression: we do not."""
    if len(head) < 54:
        return "the file is truncated"
    offset, header_size, width, height, _, bits, compression = struct.unpack_from("<10xIIiiHHI", head)
    if header_size < 40 or compression or bits not in (8, 24, 32):
        return "a BMP file of a kind that is not supported; convert it to PNG"
    if bits == 8:
        file.seek(14 + header_size)
        palette = np.frombuffer(file.read(1024), np.uint8)
        if not np.array_equal(palette.reshape(-1, 4)[:, :3], np.repeat(np.arange(256)[:, None], 3, axis=1)):
            return "a BMP file with a colour palette, which is not supported; convert it to PNG"
    row_size = (width * bits + 31) // 32 * 4
    return "the file is truncated" if offset + row_size * abs(height) > size else None


def _decoding_error(path: str) -> str | None:
    """Why a file cannot be decoded as a whole, or None."""
    try:
        decode(_read(path))
    except UnreadableError as error:
        return str(error)
    return None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
