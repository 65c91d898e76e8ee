"""Reads the plain values of a pickle, and runs nothing: a machine of its own, which knows no way to call anything.

What a pickle names (os.system, builtins.eval, a class) is looked up in a table of what lists of images need, never
imported. The table's functions build records of ours, and not NumPy arrays, whose own unpickling can run code.
"""

import codecs
import io
import math
import pickletools
from typing import NamedTuple


class RefusedError(Exception):
    """Says at which byte of a pickle there is what is not read here, and what it is."""


class PickledArray(NamedTuple):
    """A NumPy array as its pickle describes it.

    Attributes:
        shape: Tuple of int.
        fortran_order: Whether the first index changes fastest.
        data: bytes, one a value: uint8, or bool as 0 and 1.
        is_bool: Whether the dtype is bool.
    """

    shape: tuple
    fortran_order: bool
    data: bytes
    is_bool: bool


def load(data):
    """The value of a pickle of lists, tuples, bytes, strings, numbers, booleans, None and arrays of uint8 or bool.

    Args:
        data: bytes, the pickle; of any protocol, by Python 2 or 3, with the module names of NumPy 1 or 2.

    Returns:
        The value; strings of Python 2 as bytes, arrays as PickledArray.

    Raises:
        RefusedError: For anything else, before it is built.
    """
    return _Machine(data).run()


class _Named(NamedTuple):
    """What a pickle named and may: a function of ours, or None for a name that is only handed on."""

    name: str
    function: object


class _Unbuilt:
    """An array or dtype whose state is still to come."""

    def __init__(self, set_state):
        self.set_state = set_state
        self.value = None


def _text(value):
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _require(condition, what):
    if not condition:
        raise RefusedError(what)


def _dtype(code, *_):
    code = _text(code)
    is_object = isinstance(code, str) and code.startswith("O")
    _require(not is_object, "an array of Python objects")
    _require(code in ("u1", "b1", "|u1", "|b1"), f"an array of dtype {code!r}; uint8 is read here")

    def set_state(state):
        # (version, byte order, subdtype, names, fields, ...): plain numbers have none of the three.
        _require(isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None,) * 3, "a dtype with fields")
        return code[-2:]

    built = _Unbuilt(set_state)
    built.value = code[-2:]
    return built


def _array(shape, dtype, fortran_order, data):
    code = dtype.value if isinstance(dtype, _Unbuilt) else None
    _require(code in ("u1", "b1"), "an array without a dtype")
    sizes = isinstance(shape, tuple) and all(type(side) is int and 0 <= side < 2**31 for side in shape)
    _require(sizes and len(shape) <= 4, "an array of a shape that images do not have")
    _require(isinstance(data, bytes | bytearray) and len(data) == math.prod(shape), "an array without all its bytes")
    return PickledArray(shape, bool(fortran_order), bytes(data), code == "b1")


def _reconstruct(kind, *_):
    _require(isinstance(kind, _Named) and kind.name == "numpy.ndarray", "_reconstruct of something else than an array")

    def set_state(state):
        _require(isinstance(state, tuple) and len(state) == 5, "an array without its state")
        return _array(*state[1:])

    return _Unbuilt(set_state)


def _from_buffer(data, dtype, shape, order, *_):
    return _array(shape, dtype, _text(order) == "F", data)


def _scalar(dtype, data):
    return bool(_array((1,), dtype, False, data).data[0])


def _encode(text, encoding):
    # How Python 3 writes bytes in the protocols of Python 2.
    _require(isinstance(text, str) and _text(encoding) in ("latin1", "latin-1"), "codecs.encode of something else")
    return text.encode("latin-1")


def _no_bytes(*arguments):
    _require(not arguments, "bytes() of something")
    return b""


_ADMITTED = {
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

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_PYTHON_2_STRINGS = {"BINSTRING", "SHORT_BINSTRING"}
_AS_THEY_ARE = _NUMBERS | _STRINGS | _BYTES
# Operations that name what they want made: the words for it.
_NAMING = {"INST": " of {}", "PERSID": " {}", "BINPERSID": "", "EXT1": " {}", "EXT2": " {}", "EXT4": " {}"}


class _Machine:
    """The pickle machine, without the operations that make objects."""

    def __init__(self, data):
        self._file = io.BytesIO(data)
        self._stack, self._marks, self._memo = [], [], {}

    def run(self):
        at = 0
        try:
            while True:
                at = self._file.tell()
                name, argument = self._next()
                if name == "STOP":
                    return self._value(self._pop())
                self._do(name, argument)
        except RefusedError as error:
            raise RefusedError(f"byte {at:,} asks for {error}") from None
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
            raise RefusedError(f"byte {at:,} is not of a sound pickle: {error}") from None

    def _next(self):
        """(name, argument) of the next operation."""
        code = self._file.read(1)
        operation = pickletools.code2op.get(code.decode("latin-1"))
        if operation is None:
            raise ValueError(f"{code!r} is no operation" if code else "the file ends inside it")
        if operation.name == "STRING":
            return "STRING", codecs.escape_decode(self._file.readline().strip()[1:-1])[0]
        return operation.name, operation.arg.reader(self._file) if operation.arg else None

    def _do(self, name, argument):
        if name in _AS_THEY_ARE:
            self._stack.append(argument)
        elif name in _PYTHON_2_STRINGS:
            self._stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in self._OPERATIONS:
            self._OPERATIONS[name](self, argument)
        else:
            raise RefusedError(name + _NAMING.get(name, "").format(argument))

    def _pop(self):
        if self._marks and self._marks[-1] == len(self._stack):
            raise ValueError("its stack is empty")
        return self._stack.pop()

    def _pop_to_mark(self):
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return [self._value(item) for item in items]

    @staticmethod
    def _value(item):
        """The array that an unbuilt one became; dtypes and names are handed to our functions as they are."""
        return item.value if isinstance(item, _Unbuilt) and isinstance(item.value, PickledArray) else item

    def _extend(self, items):
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError("only a list is appended to")
        target.extend(items)

    def _look_up(self, name):
        if name not in _ADMITTED:
            raise RefusedError(name)
        self._stack.append(_Named(name, _ADMITTED[name]))

    def _global(self, argument):
        self._look_up(argument.replace(" ", "."))

    def _stack_global(self, _):
        name, module = self._pop(), self._pop()
        self._look_up(f"{_text(module)}.{_text(name)}")

    def _reduce(self, _):
        arguments, named = self._pop(), self._pop()
        if not isinstance(named, _Named) or named.function is None or not isinstance(arguments, tuple):
            raise RefusedError("a call of what is no function")
        try:
            self._stack.append(named.function(*arguments))
        except TypeError:
            raise RefusedError(f"{named.name} with arguments that it does not take") from None

    def _build(self, _):
        state, target = self._pop(), self._stack[-1]
        if not isinstance(target, _Unbuilt):
            raise RefusedError("a change of what has no state")
        target.value = target.set_state(state)

    def _tuple(self, count):
        items = [self._value(self._pop()) for _ in range(count)][::-1]
        self._stack.append(tuple(items))

    def _remember(self, key):
        self._memo[key] = self._stack[-1]

    _OPERATIONS = {
        "PROTO": lambda self, _: None,
        "FRAME": lambda self, _: None,
        "MARK": lambda self, _: self._marks.append(len(self._stack)),
        "EMPTY_LIST": lambda self, _: self._stack.append([]),
        "LIST": lambda self, _: self._stack.append(self._pop_to_mark()),
        "APPEND": lambda self, _: self._extend([self._value(self._pop())]),
        "APPENDS": lambda self, _: self._extend(self._pop_to_mark()),
        "EMPTY_TUPLE": lambda self, _: self._stack.append(()),
        "TUPLE": lambda self, _: self._stack.append(tuple(self._pop_to_mark())),
        "TUPLE1": lambda self, _: self._tuple(1),
        "TUPLE2": lambda self, _: self._tuple(2),
        "TUPLE3": lambda self, _: self._tuple(3),
        "PUT": _remember,
        "BINPUT": _remember,
        "LONG_BINPUT": _remember,
        "MEMOIZE": lambda self, _: self._remember(len(self._memo)),
        "GET": lambda self, key: self._stack.append(self._memo[key]),
        "BINGET": lambda self, key: self._stack.append(self._memo[key]),
        "LONG_BINGET": lambda self, key: self._stack.append(self._memo[key]),
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "BUILD": _build,
    }
