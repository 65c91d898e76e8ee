"""Tensors out of whole pickled modules and training checkpoints, still without running what a pickle names.

A class or function that is not of tensors becomes an empty object, a call of one another; what is set on an object is
kept as a dict, so that a module's `_parameters`, `_buffers` and `_modules` can be read.
"""

import numpy as np

from keras_margin._utils import pickles
from keras_margin.models.convert import _torch_file

# Where a file of training keeps the network, next to epochs and optimizers.
_NESTED = ("state_dict_backbone", "backbone", "state_dict", "model_state_dict", "model", "net")
# What wraps a network in training: DistributedDataParallel, Lightning's `self.model`, a pair of network and head.
_PREFIXES = ("module.", "model.", "backbone.", "network.")


class _Object(dict):
    """Stands for what a pickle would have made; its items are what was set on it."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__


class _Machine(_torch_file.Machine):
    """The machine of `_torch_file`, for which a name that is not admitted is an object without a meaning."""

    def _look_up(self, name):
        self._stack.append(pickles.Named(name, self._admitted.get(name, _made)))

    def _reduce(self, argument):
        if isinstance(self._stack[-2], pickles.Named):
            super()._reduce(argument)
        else:
            self._replace(2)

    def _replace(self, count):
        """Puts an object in the place of so many values."""
        for _ in range(count):
            self._pop()
        self._stack.append(_Object())

    def _fill(self, items):
        target = self._stack[-1]
        if isinstance(target, dict) and len(items) % 2 == 0:
            target.update((key, value) for key, value in zip(items[::2], items[1::2], strict=True) if _is_key(key))

    def _extend(self, items):
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _build(self, _):
        state, target = self._value(self._pop()), self._stack[-1]
        if isinstance(target, _Object):
            for part in state if isinstance(state, tuple) else (state,):
                target.update(part if isinstance(part, dict) else {})

    def _persistent(self, argument):
        named = self._stack[-1]
        if isinstance(named, tuple) and named[:1] == ("module",):  # Before PyTorch 1.6, with the source of its class.
            self._stack[-1] = pickles.Named("module", _made)
        else:
            self._storage(argument)

    def _made_of_mark(self, _):
        self._pop_to_mark()
        self._stack.append(_Object())

    _OPERATIONS = {
        **_torch_file.Machine._OPERATIONS,
        "APPEND": lambda self, _: self._extend([self._value(self._pop())]),
        "APPENDS": lambda self, _: self._extend(self._pop_to_mark()),
        "REDUCE": _reduce,
        "BUILD": _build,
        "BINPERSID": _persistent,
        "NEWOBJ": lambda self, _: self._replace(2),
        "NEWOBJ_EX": lambda self, _: self._replace(3),
        "INST": _made_of_mark,
        "OBJ": _made_of_mark,
        "FROZENSET": _made_of_mark,
        "EMPTY_SET": lambda self, _: self._stack.append(_Object()),
        "ADDITEMS": lambda self, _: self._pop_to_mark() and None,
        "SETITEM": lambda self, _: self._fill([self._value(self._pop()), self._pop()][::-1]),
        "SETITEMS": lambda self, _: self._fill(self._pop_to_mark()),
    }


def _made(*_):
    return _Object()


def _is_key(key):
    return isinstance(key, str | bytes | int | float | None)


def load(path):
    """Returns the tensors of a state dict, a checkpoint or a pickled module, by name, as NumPy arrays.

    Args:
        path: A file of torch.save.

    Returns:
        dict from str to array, without what wraps names in training ("module.", "model.").

    Raises:
        ValueError: Where the file is damaged or holds no tensors by name.
        OSError: Where it cannot be read.
    """
    value = _torch_file.load(path, _Machine)
    state = _by_name(value)
    for key in _NESTED:
        if not state and isinstance(value, dict) and isinstance(value.get(key), dict):
            state = _by_name(value[key])
    if not state:
        what = f"a dict of {', '.join(map(str, list(value)[:5]))}" if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{path} holds no state dict, tensors by name, but {what}.")
    return _unwrapped(state)


def _by_name(value, prefix=""):
    """Tensors of a dict of them, or of a module."""
    if not isinstance(value, dict):
        return {}
    if "_parameters" not in value:
        return {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, np.ndarray)}
    found = {}
    for kind in ("_parameters", "_buffers"):
        tensors = value.get(kind) or {}
        found |= {f"{prefix}{key}": item for key, item in tensors.items() if isinstance(item, np.ndarray)}
    for name, module in (value.get("_modules") or {}).items():
        found |= _by_name(module, f"{prefix}{name}.") if isinstance(module, dict) and "_parameters" in module else {}
    return found


def _unwrapped(state):
    """The tensors behind a wrapper's name; without one, all."""
    for prefix in _PREFIXES:
        inside = {key.removeprefix(prefix): item for key, item in state.items() if key.startswith(prefix)}
        # A head that was trained along has another name.
        if len(inside) > len(state) / 2:
            return _unwrapped(inside)
    return state
