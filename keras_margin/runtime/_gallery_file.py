"""The file of a Gallery: an .npz of plain arrays and JSON, of which nothing is run."""

import json
import os
import struct
import zipfile
from collections.abc import Sequence

import numpy as np

from keras_margin._typing import PathLike
from keras_margin._utils import files

_FORMAT, _FORMAT_VERSION = "keras-margin gallery", 1
_PARTS = ("about", "embeddings", "people")
# Of a file inside a zip file, ending in the lengths of its name and of its extra field.
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# An extra field's kind and length; 0xD935 is what Android's zipalign pads with. Bytes of the field of large files.
_PADDING, _PADDING_KIND, _LARGE_FILE_FIELD = struct.Struct("<2H"), 0xD935, 20
# Of an array in the file, and of NumPy's header in front of it.
_ALIGNMENT = 64


def write(path: PathLike, model: str | None, names: Sequence[str], rows: np.ndarray, people: np.ndarray) -> None:
    """Writes a gallery; the file appears whole or not at all.

    Args:
        path: File to write.
        model: str or None.
        names: List of str.
        rows: float32 array (n, embedding_size) of unit rows.
        people: int64 array (n,), of each row its person's place in `names`.
    """
    about = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "model": model, "names": names}
    text = json.dumps(about, ensure_ascii=False).encode("utf-8")
    with files.atomic_write(path) as temporary, open(temporary, "wb") as file:  # NumPy would add .npz to a bare name.
        parts = (np.frombuffer(text, np.uint8), rows, people)
        with zipfile.ZipFile(file, "w") as archive:
            for name, values in zip(_PARTS, parts, strict=True):
                _write_part(archive, f"{name}.npy", values)


def _write_part(archive, name, values):
    """Writes an array into a zip file, uncompressed, where a memory map of it is aligned: NumPy copies others."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    # The array lies behind the local header, the name, this extra field and zipfile's own for large files.
    begins = archive.fp.tell() + _LOCAL_HEADER.size + len(name) + _PADDING.size + _LARGE_FILE_FIELD
    padding = -begins % _ALIGNMENT
    entry.extra = _PADDING.pack(_PADDING_KIND, padding) + bytes(padding)
    with archive.open(entry, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)


def read(path: PathLike, memory_map: bool = False) -> tuple[str | None, list[str], np.ndarray, np.ndarray]:
    """Returns (model, names, rows, people) as `write` took them, once they are sound.

    Args:
        path: The file.
        memory_map: Whether the rows stay in the file, a read-only np.memmap.

    Raises:
        FileNotFoundError: Where there is no such file.
        ValueError: Where it is not a gallery, or damaged.
    """
    try:
        parts = _parts_of(path, memory_map)
        about = json.loads(parts["about"].tobytes())
        names, rows, people = about["names"], parts["embeddings"], parts["people"]
        _check(about, names, rows, people)
        return _model_of(about), list(names), rows, people
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no gallery at {path}.") from None
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a gallery, or a damaged one: {error}.") from error


def _model_of(about):
    if about["model"] is not None and not isinstance(about["model"], str):
        raise TypeError(f"model {about['model']!r}, not a text")
    return about["model"]


def _check(about, names, rows, people):
    if (about["format"], about["format_version"]) != (_FORMAT, _FORMAT_VERSION):
        raise ValueError(f"format {about['format']!r} {about['format_version']!r}, not {_FORMAT!r} {_FORMAT_VERSION}")
    if rows.dtype != np.float32 or rows.ndim != 2 or people.dtype != np.int64 or people.shape != rows.shape[:1]:
        raise ValueError(f"embeddings {rows.dtype} {rows.shape} with people {people.dtype} {people.shape}")
    if rows.shape[1] < 1:
        raise ValueError("embeddings of no numbers")
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise ValueError("names that are empty, twice there or no text")
    if not np.array_equal(np.unique(people), np.arange(len(names))):
        raise ValueError("embeddings of nobody, or people without any")
    if not (np.abs(np.einsum("nd,nd->n", rows, rows) - 1) < 1e-3).all():
        raise ValueError("embeddings that are not of unit length")


def _parts_of(path: PathLike, memory_map: bool):
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            # As it was written; a compressed part could be a thousand times larger than its file.
            if part.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{part.filename} is compressed, which no gallery is")
        mapped = {"embeddings": _mapped(path, archive.getinfo("embeddings.npy"))} if memory_map else {}
    with np.load(path, allow_pickle=False) as parts:
        return {name: mapped[name] if name in mapped else parts[name] for name in _PARTS}


def _mapped(path, part):
    """A stored array of a zip file where it lies."""
    with open(path, "rb") as file:
        file.seek(part.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        name_length, extra_length = _LOCAL_HEADER.unpack(header)[-2:]
        file.seek(name_length + extra_length, os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](file)
        if fortran or dtype.hasobject:
            raise ValueError("embeddings in another order than rows")
        return np.memmap(path, dtype, "r", file.tell(), shape)
