"""Reads and writes the files of torch.save, tensors by name, without PyTorch and without running what a pickle names.

Format: a zip archive of stored entries: NAME/data.pkl, a pickle whose tensors name their storages, NAME/data/KEY, a
storage's bytes, NAME/byteorder. Before PyTorch 1.6: four pickles and the storages in one stream.

Reference: torch/serialization.py and torch/_utils.py of PyTorch; docs/source/notes/serialization.rst.
"""

import io
import math
import struct
import zipfile
from typing import NamedTuple

import numpy as np

from keras_margin._utils import pickles
from keras_margin._utils.pickles import RefusedError, require

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# The most that is read of a tensor's shape: kernels have four sides.
_MOST_SIDES = 5
_BFLOAT16 = "bfloat16"

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Storage(NamedTuple):
    """Numbers that a pickle names by a key; tensors are views of them."""

    key: str
    dtype: str
    count: int  # type: ignore[assignment]


class _Tensor(NamedTuple):
    """A view of a storage, whose numbers may still have to be read."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def load(path, machine=None):
    """The value of a file of torch.save: dicts, lists and numbers, tensors as NumPy arrays.

    Args:
        path: The file.
        machine: Class of the pickle machine; None for Machine, which refuses whatever is not a tensor or plain.

    Returns:
        The value. bfloat16 becomes float32.

    Raises:
        ValueError: Where the file is none of torch.save, is cut off or damaged, or asks for anything but tensors and
            plain values; the message names the file and the place.
        OSError: Where it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            require(start in _LOADERS, "it does not begin like a file of torch.save")
            return _LOADERS[start](file, machine or Machine)
        except RefusedError as error:
            raise ValueError(f"{path} is not read: {error}. Tensors and plain values are; nothing was run.") from None
        except RecursionError:
            raise ValueError(f"{path} is not read: its lists are nested beyond any use.") from None
        # zipfile too says in many ways that an archive is damaged.
        except (zipfile.BadZipFile, EOFError, struct.error, ValueError, RuntimeError, LookupError, OSError) as error:
            raise ValueError(f"{path} is cut off or damaged: {error}.") from None


def _load_zip(file, machine):
    with zipfile.ZipFile(file) as archive:
        names = {entry.filename: entry for entry in archive.infolist()}
        program = any(name.endswith("/constants.pkl") for name in names)
        require(not program, "it is a TorchScript program, not a state dict")
        packed = [name for name, entry in names.items() if entry.compress_type != zipfile.ZIP_STORED]
        require(not packed, f"its entry {packed[0] if packed else ''} is compressed, which torch.save never does")
        pickled = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        require(len(pickled) == 1, f"the zip archive holds {len(pickled)} data.pkl, a file of torch.save one")
        folder = pickled[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        require(order not in names or archive.read(order) == b"little", "its numbers are big-endian")

        def numbers(storage):
            entry = names.get(f"{folder}data/{storage.key}")
            require(entry is not None, f"storage {storage.key!r} is missing from the archive")
            require(entry.file_size == storage.count * _size(storage), f"storage {storage.key!r} has another length")
            return archive.read(entry)

        value = machine(archive.read(pickled[0]), _ADMITTED).run()
        return _filled(value, numbers)


def _load_stream(file, machine):
    """The format before PyTorch 1.6."""
    magic, version, _ = (Machine(file, {}).run() for _ in range(3))
    require((magic, version) == (_LEGACY_MAGIC, 1001), "it does not begin like a file of torch.save")
    value = machine(file, _ADMITTED).run()
    keys = Machine(file, {}).run()
    require(isinstance(keys, list), "it has no list of storages")
    sizes = {}
    _visit(value, lambda tensor: sizes.setdefault(tensor.storage.key, tensor.storage))
    found = {}
    for key in keys:
        require(key in sizes, f"storage {key!r} belongs to no tensor")
        (count,) = struct.unpack("<q", _exactly(file, 8))
        require(count == sizes[key].count, f"storage {key!r} has another length")
        found[key] = _exactly(file, count * _size(sizes[key]))

    def numbers(storage):
        require(storage.key in found, f"storage {storage.key!r} is missing")
        return found[storage.key]

    return _filled(value, numbers)


# By the first four bytes; a stream begins with the pickle of its magic number.
_LOADERS = {b"PK\x03\x04": _load_zip, b"\x80\x02\x8a\x0a": _load_stream}


def _exactly(file, count):
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"{count:,} bytes are promised, {len(data):,} are there")
    return data


def _size(storage):
    return 2 if storage.dtype == _BFLOAT16 else np.dtype(storage.dtype).itemsize


def _visit(value, on_tensor, visited=None):
    """`value` with each tensor in it replaced by what `on_tensor` makes of it."""
    visited = {} if visited is None else visited
    if isinstance(value, _Tensor):
        return on_tensor(value)
    if isinstance(value, (dict, list, tuple)):
        # Each once: a small pickle can name a list within a list so often that no machine would come to the end.
        if id(value) not in visited:
            visited[id(value)] = value
            if isinstance(value, dict):
                found = {key: _visit(item, on_tensor, visited) for key, item in value.items()}
            else:
                found = [_visit(item, on_tensor, visited) for item in value]
            visited[id(value)] = found
        return visited[id(value)]
    return value


def _filled(value, numbers):
    read = {}

    def fill(tensor):
        storage = tensor.storage
        if storage.key not in read:
            data = numbers(storage)
            if storage.dtype == _BFLOAT16:
                # The upper half of a float32.
                read[storage.key] = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
            else:
                read[storage.key] = np.frombuffer(data, storage.dtype)
        flat = read[storage.key][tensor.offset :]
        strides = [stride * flat.itemsize for stride in tensor.strides]
        # Within the storage: _rebuild held offset, shape and strides to its length.
        return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False).copy()

    return _visit(value, fill)


def _ordered_dict(*arguments):
    require(arguments in ((), ([],)), "an OrderedDict of something")
    return {}


def _rebuild(storage, offset, shape, strides, *_):
    require(isinstance(storage, _Storage), "a tensor without a storage")
    sizes = [offset, *shape, *strides]
    require(all(type(size) is int and 0 <= size < 2**40 for size in sizes), "a tensor with sizes that are none")
    require(len(shape) == len(strides) <= _MOST_SIDES, "a tensor of more sides than kernels have")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    empty = 0 in shape
    inside = empty or last < storage.count and math.prod(shape) <= storage.count
    require(inside, f"a tensor beyond the end of storage {storage.key!r}")
    return _Tensor(storage, 0 if empty else offset, tuple(shape), tuple(strides))


def _parameter(data, *_):
    require(isinstance(data, _Tensor), "a parameter without a tensor")
    return data


_ADMITTED = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.{name}": None for name in _DTYPES},
}


class Machine(pickles.Machine):
    """The pickle machine with dicts, and with the identifiers by which torch.save names storages."""

    def _fill(self, items):
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("only a dict is filled, by pairs")
        for key, value in zip(items[::2], items[1::2], strict=True):
            require(isinstance(key, str | bytes | int), f"a dict with a key of type {type(key).__name__}")
            target[key] = value

    def _make_dict(self, _):
        items = self._pop_to_mark()
        self._stack.append({})
        self._fill(items)

    def _set_item(self, _):
        value, key = self._value(self._pop()), self._pop()
        self._fill([key, value])

    def _storage(self, _):
        named = self._pop()
        require(isinstance(named, tuple) and len(named) >= 5 and named[0] == "storage", "an identifier of no storage")
        kind, key, _, count, *view = named[1:]
        require(isinstance(kind, pickles.Named) and kind.name.startswith("torch."), "a storage of no known kind")
        require(isinstance(key, str) and type(count) is int and count >= 0, "a storage without a key or a length")
        require(not view or view == [None], "a storage that is a view of another")
        self._stack.append(_Storage(key, _DTYPES[kind.name.removeprefix("torch.")], count))

    def _build(self, _):
        _, target = self._pop(), self._stack[-1]
        # An OrderedDict's attributes: the versions of its modules, which tell nothing about the numbers.
        require(type(target) is dict, "a change of what has no state")

    _OPERATIONS = {
        **pickles.Machine._OPERATIONS,
        "EMPTY_DICT": lambda self, _: self._stack.append({}),
        "DICT": _make_dict,
        "SETITEM": _set_item,
        "SETITEMS": lambda self, _: self._fill(self._pop_to_mark()),
        "BINPERSID": _storage,
        "BUILD": _build,
    }


_NAMES = {"float32": "FloatStorage", "int64": "LongStorage"}


def save(state_dict, path, name="backbone"):
    """Writes tensors by name as torch.save writes a state dict; torch.load(path, weights_only=True) reads it.

    Args:
        state_dict: dict from str to float32 or int64 arrays.
        path: File to write, at once: rename it into place afterwards.
        name: Folder inside the archive.

    Raises:
        ValueError: On an array of another dtype.
    """
    pickled, storages = io.BytesIO(), []
    pickled.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for key, array in state_dict.items():
        if array.dtype.name not in _NAMES:
            raise ValueError(f"{key} is {array.dtype.name}; float32 and int64 are written.")
        pickled.write(_word(key))
        pickled.write(_described(array, len(storages)))
        storages.append(np.ascontiguousarray(array))
    pickled.write(b"u.")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        entries = {"data.pkl": pickled.getvalue(), "byteorder": b"little"}
        entries |= {
            f"data/{number}": array.astype(array.dtype.newbyteorder("<")) for number, array in enumerate(storages)
        }
        for entry, data in {**entries, "version": b"3\n"}.items():
            # A fixed time, so that equal weights make equal files.
            archive.writestr(zipfile.ZipInfo(f"{name}/{entry}"), memoryview(data).cast("B") if len(data) else b"")


def _word(text):
    data = text.encode()
    return b"X" + struct.pack("<i", len(data)) + data


def _number(value):
    return b"J" + struct.pack("<i", value)


def _numbers(values):
    return b"(" + b"".join(map(_number, values)) + b"t"


def _described(array, key):
    """torch._utils._rebuild_tensor_v2((storage), 0, shape, strides, False, OrderedDict()), as a pickle says it."""
    strides = [stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides]
    storage = b"(" + _word("storage") + b"ctorch\n" + _NAMES[array.dtype.name].encode() + b"\n"
    storage += _word(str(key)) + _word("cpu") + _number(array.size) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0)
    return tensor + _numbers(array.shape) + _numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
