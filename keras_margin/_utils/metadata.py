"""Metadata of an exported file: a JSON object inside the TFLite file, read with Python's own library alone.

A TFLite file is a FlatBuffer whose root table lists `metadata`: names, each with the number of a buffer. Ours are
the buffer called METADATA_NAME, UTF-8 JSON. The same JSON lies next to the file, and in a SavedModel's folder.
"""

import json
import mmap
import os
import struct
from typing import Any

from keras_margin._typing import PathLike

METADATA_NAME = "keras_margin.contract"
# In a SavedModel's folder; beside another file it is the file's name and ".json".
FILE_NAME = "contract.json"
# In a preset's folder, next to config.json.
PRESET_FILE_NAME = "metadata.json"
FORMAT = "keras-margin embedder"
FORMAT_VERSION = 1

# Places of these fields in their tables, from TFLite's schema.fbs; a vtable lists them from its fifth byte on.
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0


def read_metadata(path: str | os.PathLike[str]) -> dict | None:
    """Reads the metadata of an exported file.

    Args:
        path: A .tflite file; or the folder of a preset, or of a SavedModel with a contract.json; or another file with
            `FILE.json` beside it, as an .onnx file has: the same text is in its metadata too, which would take the
            onnx package to read.

    Returns:
        Dict, or None where the file is a sound TFLite file, folder or other file without metadata. Of a TFLite file
        only what is inside counts: a JSON beside it may be another file's.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: A damaged TFLite file, or metadata that are not a JSON object or of a later format.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> report = keras_margin.export.to_tflite(model, "face.tflite", samples=images)
        >>> read_metadata("face.tflite")["embedding"]["size"]
        4
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return _read_json(in_folder(path))
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no such file: {path}")
    if not is_tflite(path):
        return _read_json(f"{path}.json")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        text = find(content, path)
    return None if text is None else parse(text, path)


def is_preset(path: PathLike) -> bool:
    """Whether a path is a folder in the layout of presets."""
    return all(os.path.exists(os.path.join(path, name)) for name in ("config.json", PRESET_FILE_NAME))


def in_folder(path: PathLike) -> str:
    """Returns the file with the metadata of a folder, a preset or a SavedModel, whether it is there or not."""
    return os.path.join(path, PRESET_FILE_NAME if is_preset(path) else FILE_NAME)


def parse(text, name):
    """Reads the JSON text of metadata.

    Args:
        text: str or bytes.
        name: What errors call the file.

    Returns:
        Dict.

    Raises:
        ValueError: Where it is not a JSON object, or of a later format.

    Example:
        >>> parse('{"format_version": 1}', "face.onnx")
        {'format_version': 1}
    """
    try:
        metadata = json.loads(text)
    except ValueError as error:  # JSON's own error and Unicode's are both one.
        raise ValueError(f"The metadata in {name} are not JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"The metadata in {name} must be a JSON object. Received: {type(metadata).__name__}.")
    version = metadata.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ValueError(
            f"The metadata in {name} have format {version!r}; this keras-margin reads {FORMAT_VERSION}. "
            "Update keras-margin."
        )
    return metadata


def is_tflite(path: PathLike) -> bool:
    """Whether a file calls itself TFLite: 'TFL3' at bytes 4 to 7."""
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"TFL3"


def find(content: Any, name: str = "The model", entry: str = METADATA_NAME) -> bytes | None:
    """Returns the bytes that a TFLite model keeps under a metadata name, or None.

    Args:
        content: The model, bytes or a mapped file.
        name: What errors call it.
        entry: The metadata's name.

    Raises:
        ValueError: Where an offset points outside of the content.
    """
    try:
        model = _Table(content, _unsigned(content, 0))
        buffers = model.vector(_MODEL_BUFFERS)
        for place in model.vector(_MODEL_METADATA):
            entry_table = _Table(content, place + _unsigned(content, place))
            if entry_table.bytes(_METADATA_NAME) == entry.encode():
                place = buffers[entry_table.number(_METADATA_BUFFER)]
                return _Table(content, place + _unsigned(content, place)).bytes(_BUFFER_DATA)
    except (struct.error, IndexError) as error:
        raise ValueError(
            f"{name} ({len(content)} bytes) is damaged: its metadata point outside of it. Is the file whole?"
        ) from error
    return None


def replace(content: bytes, text: bytes, entry: str = METADATA_NAME) -> bytes:
    """Returns a TFLite model's bytes with another text under a metadata name; graph and weights stay as they were.

    The text goes to the end of the file, where its buffer then points; the old one is overwritten by zeros.

    Args:
        content: The model, bytes.
        text: Bytes of the new text.
        entry: The metadata's name.

    Raises:
        KeyError: Where the model has nothing under that name.
        ValueError: Where an offset points outside of the content.
    """
    old = find(content, entry=entry)
    if old is None:
        raise KeyError(f"The model has no metadata called {entry!r}.")
    model, renewed = _Table(content, _unsigned(content, 0)), bytearray(content)
    buffers = model.vector(_MODEL_BUFFERS)
    for place in model.vector(_MODEL_METADATA):
        table = _Table(content, place + _unsigned(content, place))
        if table.bytes(_METADATA_NAME) == entry.encode():
            place = buffers[table.number(_METADATA_BUFFER)]
            field = _Table(content, place + _unsigned(content, place))._field(_BUFFER_DATA)
            start = field + _unsigned(content, field)
            renewed[start : start + 4 + len(old)] = bytes(4 + len(old))
            # A vector is its length and its bytes, which TFLite's schema wants at a multiple of 16.
            renewed += bytes(-(len(renewed) + 4) % 16)
            renewed[field : field + 4] = struct.pack("<I", len(renewed) - field)
            renewed += struct.pack("<I", len(text)) + text
            return bytes(renewed)
    raise KeyError(entry)


def _unsigned(content: Any, at: int, form: str = "<I") -> int:
    if at < 0:
        raise IndexError(at)
    return struct.unpack_from(form, content, at)[0]


class _Table:
    """A FlatBuffers table: at `start` the signed way back to its vtable, which says where each field lies."""

    def __init__(self, content: Any, start: int) -> None:
        self.content, self.start = content, start
        self.vtable = start - struct.unpack_from("<i", content, start)[0]
        self.vtable_bytes = _unsigned(content, self.vtable, "<H")

    def _field(self, number):
        """Where the field lies, or None where the table leaves it out."""
        entry = 4 + 2 * number
        if entry + 2 > self.vtable_bytes:
            return None
        offset = _unsigned(self.content, self.vtable + entry, "<H")
        return self.start + offset if offset else None

    def number(self, number: int) -> int:
        place = self._field(number)
        return 0 if place is None else _unsigned(self.content, place)

    def vector(self, number: int) -> Any:
        """The places of a vector's four-byte elements."""
        place = self._field(number)
        if place is None:
            return range(0)
        place += _unsigned(self.content, place)
        count = _unsigned(self.content, place)
        if place + 4 + 4 * count > len(self.content):
            raise IndexError(place)
        return range(place + 4, place + 4 + 4 * count, 4)

    def bytes(self, number: int) -> Any:
        place = self._field(number)
        if place is None:
            return b""
        place += _unsigned(self.content, place)
        end = place + 4 + _unsigned(self.content, place)
        if end > len(self.content):
            raise IndexError(end)
        return self.content[place + 4 : end]


def _read_json(path: PathLike) -> Any:
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return parse(file.read(), path)
