"""Reads a pickle of images, and runs nothing: what lists of images name is in a table here, and nothing else is read.

The table's functions build records of ours, and not NumPy arrays, whose own unpickling can run code.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_margin._utils import pickles
from keras_margin._utils.pickles import RefusedError, require, text

__all__ = ["PickledArray", "RefusedError", "load"]

# Bytes of a value of each kind of number that is read: bool, and whole and floating numbers.
_SIZES = {kind: int(kind[1]) for kind in ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")}


class PickledArray(NamedTuple):
    """A NumPy array as its pickle describes it.

    Attributes:
        shape: Tuple of int.
        fortran_order: Whether the first index changes fastest.
        data: bytes of the values.
        dtype: str, of numbers or bools, as NumPy takes it: "<i8", "|u1".
    """

    shape: tuple
    fortran_order: bool
    data: bytes
    dtype: str

    def values(self) -> np.ndarray:
        """The NumPy array of this shape; not to be written to."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape, order="F" if self.fortran_order else "C")


def load(data: bytes) -> Any:
    """The value of a pickle of lists, tuples, bytes, strings, numbers, booleans, None and arrays of numbers or bools.

    Args:
        data: bytes, the pickle; of any protocol, by Python 2 or 3, with the module names of NumPy 1 or 2.

    Returns:
        The value; strings of Python 2 as bytes, arrays as PickledArray.

    Raises:
        RefusedError: For anything else, before it is built.
    """
    return pickles.Machine(data, _ADMITTED).run()


def _dtype(code: Any, *_: Any) -> pickles.Unbuilt:
    code = text(code)
    is_object = isinstance(code, str) and code.startswith("O")
    require(not is_object, "an array of Python objects")
    kind = code[-2:] if isinstance(code, str) and code[:-2] in ("", "|", "<", ">", "=") else None
    require(kind in _SIZES, f"an array of dtype {code!r}; numbers and bools are read here")

    def set_state(state):
        # (version, byte order, subdtype, names, fields, ...): plain numbers have none of the three.
        require(isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None,) * 3, "a dtype with fields")
        require(text(state[1]) in ("|", "<", ">", "="), "a dtype without a byte order")
        return text(state[1]) + kind

    built = pickles.Unbuilt(set_state, is_argument=True)
    built.value = code[:-2] + kind
    return built


def _array(shape: Any, dtype: Any, fortran_order: Any, data: Any) -> PickledArray:
    code: Any = dtype.value if isinstance(dtype, pickles.Unbuilt) else None
    require(code is not None, "an array without a dtype")
    sizes = isinstance(shape, tuple) and all(type(side) is int and 0 <= side < 2**31 for side in shape)
    require(sizes and len(shape) <= 4, "an array of a shape that images do not have")
    size = math.prod(shape) * _SIZES[code[-2:]]
    require(isinstance(data, bytes | bytearray) and len(data) == size, "an array without all its bytes")
    return PickledArray(shape, bool(fortran_order), bytes(data), code)


def _reconstruct(kind: Any, *_: Any) -> pickles.Unbuilt:
    require(
        isinstance(kind, pickles.Named) and kind.name == "numpy.ndarray", "_reconstruct of something else than an array"
    )

    def set_state(state):
        require(isinstance(state, tuple) and len(state) == 5, "an array without its state")
        return _array(*state[1:])

    return pickles.Unbuilt(set_state)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
    return _array(shape, dtype, text(order) == "F", data)


def _scalar(dtype: Any, data: Any) -> Any:
    return _array((1,), dtype, False, data).values()[0].item()


def _encode(word: Any, encoding: Any) -> bytes:
    # How Python 3 writes bytes in the protocols of Python 2.
    require(isinstance(word, str) and text(encoding) in ("latin1", "latin-1"), "codecs.encode of something else")
    return word.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    require(not arguments, "bytes() of something")
    return b""


_ADMITTED: dict[str, Callable[..., Any] | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED |= {
        f"{_core}.multiarray._reconstruct": _reconstruct,
        f"{_core}.multiarray.scalar": _scalar,
        f"{_core}.numeric._frombuffer": _from_buffer,
    }
