"""A pickle machine that runs nothing: it knows no way to call anything but the functions of a table that it is given.

What a pickle names (os.system, builtins.eval, a class) is looked up in that table, never imported.
"""

import codecs
import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class RefusedError(Exception):
    """Says at which byte of a pickle there is what is not read here, and what it is."""


class Named(NamedTuple):
    """What a pickle named and may: a function of ours, or None for a name that is only handed on."""

    name: str
    function: object


class Unbuilt:
    """A value whose state is still to come.

    Args:
        set_state: Function from that state to the value.
        is_argument: Whether it is handed to our functions as it is, and never a value of its own.
    """

    def __init__(self, set_state: Callable[[Any], Any], is_argument: bool = False) -> None:
        self.set_state, self.is_argument = set_state, is_argument
        self.value = None


def text(value: Any) -> Any:
    """A name that Python 2 may have written as bytes, as str."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def require(condition: Any, what: str) -> None:
    """Raises RefusedError(what) where the condition does not hold."""
    if not condition:
        raise RefusedError(what)


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_PYTHON_2_STRINGS = {"BINSTRING", "SHORT_BINSTRING"}
_AS_THEY_ARE = _NUMBERS | _STRINGS | _BYTES
# Operations that name what they want made: the words for it.
_NAMING = {"INST": " of {}", "PERSID": " {}", "BINPERSID": "", "EXT1": " {}", "EXT2": " {}", "EXT4": " {}"}


class Machine:
    """The pickle machine, without the operations that make objects of other people's classes.

    Args:
        data: bytes, the pickle, or a binary file that stands at its first byte.
        admitted: dict from full names to functions of ours, or to None for a name that is only handed on.
    """

    def __init__(self, data: Any, admitted: Mapping[str, Callable[..., Any] | None]) -> None:
        self._file = io.BytesIO(data) if isinstance(data, bytes) else data
        self._admitted = admitted
        self._stack: list[Any] = []
        self._marks: list[Any] = []
        self._memo: dict[Any, Any] = {}

    def run(self) -> Any:
        """The pickle's value; a file then stands behind its last byte.

        Raises:
            RefusedError: For what the table does not admit, before it is built, and for a pickle that is not sound.
        """
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
            raise ValueError(f"{code!r} is not an operation" if code else "the file ends inside it")
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
        """What an unbuilt value became; one that is still without its state is handed to our functions as it is."""
        built = isinstance(item, Unbuilt) and not item.is_argument and item.value is not None
        return item.value if built else item

    def _extend(self, items):
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError("only a list is appended to")
        target.extend(items)

    def _look_up(self, name):
        if name not in self._admitted:
            raise RefusedError(name)
        self._stack.append(Named(name, self._admitted[name]))

    def _global(self, argument):
        self._look_up(argument.replace(" ", "."))

    def _stack_global(self, _):
        name, module = self._pop(), self._pop()
        self._look_up(f"{text(module)}.{text(name)}")

    def _reduce(self, _):
        arguments, named = self._pop(), self._pop()
        if not isinstance(named, Named) or named.function is None or not isinstance(arguments, tuple):
            raise RefusedError("a call of what is not a function")
        try:
            self._stack.append(named.function(*arguments))
        except TypeError:
            raise RefusedError(f"{named.name} with arguments that it does not take") from None

    def _build(self, _):
        state, target = self._pop(), self._stack[-1]
        if not isinstance(target, Unbuilt):
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
